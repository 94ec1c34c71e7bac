from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.documents.documents import Document
from fsstore.filesystem.index.rows import Known
from fsstore.filesystem.watch.observation import Observation

SEEN = Document({"id": "a"}, b"{}", Signature(1, 2, 3, 4))
ROW = Known(SEEN.signature, SEEN.digest, 0)


def test_the_index_says_what_was_seen_if_it_has_the_same_file_with_the_same_bytes() -> None:
    observation = Observation(SEEN)

    assert observation.is_indexed_as(ROW)
    assert not observation.is_indexed_as(ROW._replace(signature=Signature(1, 2, 3, 5)))
    assert not observation.is_indexed_as(ROW._replace(digest=b"other"))
    assert not observation.is_indexed_as(None)


def test_of_what_is_gone_the_index_has_no_row() -> None:
    assert Observation().is_indexed_as(None)
    assert not Observation().is_indexed_as(ROW)
