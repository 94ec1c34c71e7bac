import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsstore.errors import StorageValidationError
from fsstore.model.records import MAX_ID_CHARACTERS, Guarantees, check_id
from fsstore.testing.examples import HOSTILE_IDS, REFUSED_IDS
from fsstore.watching.changes import Change

# -- ids ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record_id", HOSTILE_IDS)
def test_any_text_without_controls_is_an_id(record_id: str) -> None:
    assert check_id(record_id) == record_id


@pytest.mark.parametrize("name", REFUSED_IDS)
def test_what_is_not_an_id_is_refused(name: str) -> None:
    with pytest.raises(StorageValidationError) as caught:
        check_id(REFUSED_IDS[name])

    assert caught.value.path == "$.id"


@given(st.text(st.characters(), max_size=20) | st.text("x\n\x7f", max_size=MAX_ID_CHARACTERS + 5))
def test_an_id_is_1_to_1024_characters_of_text_without_controls(record_id: str) -> None:
    fits = 1 <= len(record_id) <= MAX_ID_CHARACTERS
    clean = not any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in record_id)

    if fits and clean:
        assert check_id(record_id) == record_id
    else:
        with pytest.raises(StorageValidationError):
            check_id(record_id)


# -- words ----------------------------------------------------------------------------------------------------------


def test_words_are_values_that_can_not_be_changed() -> None:
    promise = Guarantees(durable=True, cross_process=True, isolated_batches=True, external_edits=True)
    change = Change("created", "a", 1, "own")

    assert promise == Guarantees(durable=True, cross_process=True, isolated_batches=True, external_edits=True)
    assert (change.metadata, change) == ({}, Change("created", "a", 1, "own"))
    with pytest.raises(AttributeError):
        promise.durable = False  # type: ignore[misc]  # that it cannot be is the point
