from typing import Any

import pytest

from fsstore.errors import StorageConflictError, StorageNotFoundError, StorageValidationError
from fsstore.model.expected import Expected
from fsstore.model.records import JsonObject, version_of

THEN, NOW = "2026-01-01T00:00:00.000000+00:00", "2026-01-02T00:00:00.000000+00:00"


def stored(**parts: Any) -> JsonObject:
    return {"id": "a", "type": "note", "data": {"n": 1}, "version": 3, "created_at": THEN, "updated_at": THEN, **parts}


def test_an_expected_version_must_be_the_actual_one() -> None:
    Expected(3).check("a", stored())
    Expected(None).check("a", stored())
    Expected(0).check("a", None)

    for current, expected, actual in ((stored(), 0, 3), (stored(), 2, 3), (None, 1, 0)):
        with pytest.raises(StorageConflictError) as caught:
            Expected(expected).check("a", current)
        assert (caught.value.id, caught.value.expected, caught.value.actual) == ("a", expected, actual)


def test_a_document_that_is_there_already_is_called_so() -> None:
    with pytest.raises(StorageConflictError) as caught:
        Expected(0).check("a", stored())
    assert str(caught.value) == (
        "document 'a' exists already, with version 3; "
        "choose another id, or leave out the expected version to change the document that is there"
    )
    with pytest.raises(StorageConflictError) as caught:
        Expected(2).check("a", stored())
    assert str(caught.value) == "document 'a' has version 3, expected 2; read it again and repeat the change"


def test_what_was_seen_must_still_be_there_value_by_value() -> None:
    Expected(seen=stored()).check("a", stored())
    Expected(seen=None).check("a", None)

    for current, seen in ((stored(data={"n": 2}), stored()), (None, stored()), (stored(), None)):
        with pytest.raises(StorageConflictError) as caught:
            Expected(seen=seen).check("a", current)
        assert (caught.value.expected, caught.value.actual) == (version_of(seen), version_of(current))


def test_another_type_is_in_the_way_and_nothing_is_not() -> None:
    session_there = Expected(type="session")
    session_there.check("a", stored(type="session"))
    session_there.check("a", None)

    with pytest.raises(StorageConflictError, match=r"type 'note' under that id.; choose another id for the session"):
        session_there.check("a", stored())


def test_a_record_that_must_be_there_is_missed_after_its_version() -> None:
    Expected(exists=True).check("a", stored())

    with pytest.raises(StorageNotFoundError):
        Expected(exists=True).check("a", None)
    with pytest.raises(StorageConflictError):
        Expected(2, exists=True).check("a", None)


@pytest.mark.parametrize("version", [-1, True, "1", 1.0])
def test_an_expected_version_that_is_none_is_refused(version: Any) -> None:
    with pytest.raises(StorageValidationError) as caught:
        Expected(version).check("a", stored())

    assert (caught.value.path, caught.value.id) == ("expected_version", "a")


@pytest.mark.parametrize("edited", [True, 1.0, "1"])
def test_what_was_seen_is_compared_with_its_types(edited: Any) -> None:
    seen = {"id": "a", "version": 3, "data": {"n": 1}}
    Expected(seen=seen).check("a", {**seen, "data": {"n": 1}})

    with pytest.raises(StorageConflictError):
        Expected(seen=seen).check("a", {**seen, "data": {"n": edited}})
