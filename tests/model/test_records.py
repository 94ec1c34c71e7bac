from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsstore.errors import StorageConflictError, StorageNotFoundError, StorageValidationError
from fsstore.model.records import (
    MAX_ID_CHARACTERS,
    Guarantees,
    JsonObject,
    Mutation,
    check_id,
    deleting,
    expect_seen,
    expect_version,
    patching,
    saving,
    successor,
    unchanged,
    version_of,
)
from fsstore.testing.examples import HOSTILE_IDS, REFUSED_IDS
from fsstore.watching.changes import Change

THEN, NOW = "2026-01-01T00:00:00.000000+00:00", "2026-01-02T00:00:00.000000+00:00"


def stored(**parts: Any) -> JsonObject:
    return {"id": "a", "type": "note", "data": {"n": 1}, "version": 3, "created_at": THEN, "updated_at": THEN, **parts}


# -- what a mutation makes of a record ------------------------------------------------------------------------------


def test_saving_where_nothing_is_makes_version_one() -> None:
    made = successor(saving({"id": "a", "type": "note", "data": {}}), None, NOW)

    assert made == {"id": "a", "type": "note", "data": {}, "version": 1, "created_at": NOW, "updated_at": NOW}


def test_saving_over_a_record_replaces_it_and_keeps_its_creation() -> None:
    made = successor(saving({"id": "a", "type": "memo", "data": [], "created_at": NOW, "version": 77}), stored(), NOW)

    assert made == {"id": "a", "type": "memo", "data": [], "version": 4, "created_at": THEN, "updated_at": NOW}


def test_patching_changes_neither_the_record_nor_the_patch() -> None:
    current, patch = stored(), {"data": {"m": 2}, "colour": None}

    made = successor(patching("a", patch), current, NOW)

    assert made == stored(data={"n": 1, "m": 2}, version=4, updated_at=NOW)
    assert (current, patch) == (stored(), {"data": {"m": 2}, "colour": None})


def test_patching_what_is_absent_is_refused() -> None:
    with pytest.raises(StorageNotFoundError):
        successor(patching("a", {}), None, NOW)


def test_deleting_leaves_nothing_and_needs_nothing() -> None:
    assert successor(deleting("a"), stored(), NOW) is None
    assert successor(deleting("a"), None, NOW) is None


def test_a_rule_that_returns_its_argument_changes_nothing() -> None:
    current = stored()

    assert successor(unchanged("a", stored()), current, NOW) is current
    assert successor(unchanged("a", None), None, NOW) is None


def test_a_rule_that_makes_a_record_without_an_id_gets_its_own() -> None:
    made = successor(Mutation("a", lambda _: {"type": "note", "data": 1}), None, NOW)

    assert made is not None
    assert made["id"] == "a"


def test_the_id_can_not_be_changed() -> None:
    with pytest.raises(StorageValidationError) as caught:
        successor(patching("a", {"id": "b"}), stored(), NOW)

    assert (caught.value.path, caught.value.id) == ("$.id", "a")


@pytest.mark.parametrize(
    ("record", "path"),
    [
        ({"type": "note"}, "$.data"),
        ({"data": {}}, "$.type"),
        ({"data": {}, "type": 5}, "$.type"),
        ({"data": {}, "type": "note", "session_id": 5}, "$.session_id"),
        ({"data": {}, "type": "note", "thread_id": []}, "$.thread_id"),
    ],
)
def test_a_rule_that_makes_no_record_is_refused(record: JsonObject, path: str) -> None:
    with pytest.raises(StorageValidationError) as caught:
        successor(Mutation("a", lambda _: record), None, NOW)

    assert (caught.value.path, caught.value.id) == (path, "a")


# -- times ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("current", [None, stored()])
def test_an_import_keeps_the_times_it_gives_in_the_form_of_the_store(current: JsonObject | None) -> None:
    record = stored(created_at="2020-01-01T01:00:00+01:00", updated_at="2020-06-01T00:00:00Z")

    made = successor(saving(record, keep_times=True), current, NOW)

    assert made is not None
    assert made["created_at"] == "2020-01-01T00:00:00.000000+00:00"
    assert made["updated_at"] == "2020-06-01T00:00:00.000000+00:00"


def test_an_import_without_times_is_stamped() -> None:
    made = successor(saving({"id": "a", "type": "note", "data": {}}, keep_times=True), None, NOW)

    assert made is not None
    assert (made["created_at"], made["updated_at"]) == (NOW, NOW)


# -- what is expected -----------------------------------------------------------------------------------------------


def test_an_expected_version_must_be_the_actual_one() -> None:
    expect_version("a", stored(), 3)
    expect_version("a", stored(), None)
    expect_version("a", None, 0)

    for current, expected, actual in ((stored(), 0, 3), (stored(), 2, 3), (None, 1, 0)):
        with pytest.raises(StorageConflictError) as caught:
            expect_version("a", current, expected)
        assert (caught.value.id, caught.value.expected, caught.value.actual) == ("a", expected, actual)


def test_what_was_seen_must_still_be_there_value_by_value() -> None:
    expect_seen("a", stored(), stored())
    expect_seen("a", None, None)

    for current, seen in ((stored(data={"n": 2}), stored()), (None, stored()), (stored(), None)):
        with pytest.raises(StorageConflictError) as caught:
            expect_seen("a", current, seen)
        assert (caught.value.expected, caught.value.actual) == (version_of(seen), version_of(current))


@pytest.mark.parametrize(
    "mutation",
    [
        saving({"id": "a", "type": "note", "data": {}}, expected_version=2),
        patching("a", {}, expected_version=2),
        deleting("a", expected_version=2),
        unchanged("a", stored(version=2)),
    ],
)
def test_every_mutation_checks_what_it_was_based_on(mutation: Mutation) -> None:
    with pytest.raises(StorageConflictError):
        successor(mutation, stored(), NOW)


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
        promise.durable = False  # type: ignore[misc]  # that it can not be is the point


@pytest.mark.parametrize("edited", [True, 1.0, "1"])
def test_what_was_seen_is_compared_with_its_types(edited: Any) -> None:
    seen = {"id": "a", "version": 3, "data": {"n": 1}}
    expect_seen("a", {**seen, "data": {"n": 1}}, seen)

    with pytest.raises(StorageConflictError):
        expect_seen("a", {**seen, "data": {"n": edited}}, seen)
