from typing import Any

import pytest

from fsstore.errors import StorageConflictError, StorageNotFoundError, StorageValidationError
from fsstore.model.mutations import (
    AnyMutation,
    Mutation,
    apply_each,
    deleting,
    patching,
    saving,
    unchanged,
)
from fsstore.model.records import JsonObject, Outcome

THEN, NOW = "2026-01-01T00:00:00.000000+00:00", "2026-01-02T00:00:00.000000+00:00"


def stored(**parts: Any) -> JsonObject:
    return {"id": "a", "type": "note", "data": {"n": 1}, "version": 3, "created_at": THEN, "updated_at": THEN, **parts}


# -- what a mutation makes of a record ------------------------------------------------------------------------------


def test_saving_where_nothing_is_makes_version_one() -> None:
    made = saving({"id": "a", "type": "note", "data": {}}).apply(None, NOW)

    assert made == {"id": "a", "type": "note", "data": {}, "version": 1, "created_at": NOW, "updated_at": NOW}


def test_saving_over_a_record_replaces_it_and_keeps_its_creation() -> None:
    made = saving({"id": "a", "type": "memo", "data": [], "created_at": NOW, "version": 77}).apply(stored(), NOW)

    assert made == {"id": "a", "type": "memo", "data": [], "version": 4, "created_at": THEN, "updated_at": NOW}


def test_patching_changes_neither_the_record_nor_the_patch() -> None:
    current, patch = stored(), {"data": {"m": 2}, "colour": None}

    made = patching("a", patch).apply(current, NOW)

    assert made == stored(data={"n": 1, "m": 2}, version=4, updated_at=NOW)
    assert (current, patch) == (stored(), {"data": {"m": 2}, "colour": None})


def test_patching_what_is_absent_is_refused() -> None:
    with pytest.raises(StorageNotFoundError):
        patching("a", {}).apply(None, NOW)


def test_deleting_leaves_nothing_and_needs_nothing() -> None:
    assert deleting("a").apply(stored(), NOW) is None
    assert deleting("a").apply(None, NOW) is None


def test_a_rule_that_returns_its_argument_changes_nothing() -> None:
    current = stored()

    assert unchanged("a", stored()).apply(current, NOW) is current
    assert unchanged("a", None).apply(None, NOW) is None


def test_a_rule_that_makes_a_record_without_an_id_gets_its_own() -> None:
    made = Mutation("a", lambda _: {"type": "note", "data": 1}).apply(None, NOW)

    assert made is not None
    assert made["id"] == "a"


def test_the_id_cannot_be_changed() -> None:
    with pytest.raises(StorageValidationError) as caught:
        patching("a", {"id": "b"}).apply(stored(), NOW)

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
        Mutation("a", lambda _: record).apply(None, NOW)

    assert (caught.value.path, caught.value.id) == (path, "a")


# -- times ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("current", [None, stored()])
def test_an_import_keeps_the_times_it_gives_in_the_form_of_the_store(current: JsonObject | None) -> None:
    record = stored(created_at="2020-01-01T01:00:00+01:00", updated_at="2020-06-01T00:00:00Z")

    made = saving(record, keep_times=True).apply(current, NOW)

    assert made is not None
    assert made["created_at"] == "2020-01-01T00:00:00.000000+00:00"
    assert made["updated_at"] == "2020-06-01T00:00:00.000000+00:00"


def test_an_import_without_times_is_stamped() -> None:
    made = saving({"id": "a", "type": "note", "data": {}}, keep_times=True).apply(None, NOW)

    assert made is not None
    assert (made["created_at"], made["updated_at"]) == (NOW, NOW)


# -- several in a commit ---------------------------------------------------------------------------------------------


def test_the_error_that_refuses_a_mutation_has_its_position() -> None:
    changes: list[AnyMutation] = [deleting("a"), deleting("b"), patching("c", {}), deleting("d", expected_version=1)]

    def apply(change: AnyMutation) -> Outcome:
        change.apply(None, NOW)
        return Outcome(change.id, 0, 0)

    assert apply_each(changes[:2], apply) == [Outcome("a", 0, 0), Outcome("b", 0, 0)]
    for commit, position in ((changes, 2), (changes[3:], 0)):
        with pytest.raises((StorageNotFoundError, StorageConflictError)) as caught:
            apply_each(commit, apply)
        assert caught.value.index == position


@pytest.mark.parametrize(
    "mutation",
    [
        saving({"id": "a", "type": "note", "data": {}}, expected_version=2),
        patching("a", {}, expected_version=2),
        deleting("a", expected_version=2),
        unchanged("a", stored(version=2)),
    ],
)
def test_every_mutation_checks_what_it_was_based_on(mutation: AnyMutation) -> None:
    with pytest.raises(StorageConflictError):
        mutation.apply(stored(), NOW)
