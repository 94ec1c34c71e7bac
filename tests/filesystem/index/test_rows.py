import pytest

from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.disk.trust import RACY_NS
from fsstore.filesystem.index.rows import (
    NOT_OURS,
    Entry,
    Known,
    marked_as_read,
    recorded_by_commit,
    signature_of,
    signature_values,
)

SIGNATURE = Signature(1, 2, 3, 4)


def entry(recorded_ns: int, data: bytes = b"data") -> Entry:
    return Entry("3f/a.json", {}, SIGNATURE, data, recorded_ns)


def test_the_last_bit_tells_who_recorded_a_row() -> None:
    for moment in (1_000, 1_001):
        assert Known(SIGNATURE, b"", recorded_by_commit(moment)).is_by_commit
        assert not Known(SIGNATURE, b"", marked_as_read(entry(moment), None).recorded_ns).is_by_commit
    assert not Known(SIGNATURE, b"", NOT_OURS).is_by_commit


def test_the_last_bit_makes_no_row_racy_that_is_sure() -> None:
    for changed_ns in (1_000, 1_001):
        placed = SIGNATURE._replace(ctime_ns=changed_ns)
        assert not Known(placed, b"", recorded_by_commit(changed_ns + RACY_NS)).is_racy
        assert Known(placed, b"", recorded_by_commit(changed_ns)).is_racy


def test_a_file_read_again_stays_a_commits_only_if_it_is_still_that_file() -> None:
    placed = entry(1_000)
    before = Known(placed.signature, placed.digest, recorded_by_commit(1_000))
    assert marked_as_read(entry(2_001), before).recorded_ns == 2_000
    assert marked_as_read(entry(2_000, b"edited"), before).recorded_ns == 2_001
    moved = before._replace(signature=Signature(9, 2, 3, 4))
    assert marked_as_read(entry(2_000), moved).recorded_ns == 2_001
    found = before._replace(recorded_ns=1_001)
    assert marked_as_read(entry(2_000), found).recorded_ns == 2_001


@pytest.mark.parametrize(
    "signature",
    [SIGNATURE, Signature(2**63, 2, 3, 4), Signature(2**64 - 1, 0, 2**63, -1), Signature(2**63 - 1, 2, 3, 4)],
)
def test_a_signature_comes_back_whatever_sqlite_can_hold(signature: Signature) -> None:
    values = signature_values(signature)
    assert all(type(value) is str or value < 2**63 for value in values)
    assert signature_of(*values) == signature
