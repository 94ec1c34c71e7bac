from typing import Any

import pytest

from fsstore.errors import StorageConflictError, StorageNotFoundError, StorageValidationError
from fsstore.model.mutations import (
    AnyMutation,
    Expected,
    Mutation,
    Patch,
    Save,
    Stamp,
    apply_each,
    deleting,
    patching,
    saving,
    unchanged,
)
from fsstore.model.records import JsonObject, Outcome, version_of

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


def test_the_id_can_not_be_changed() -> None:
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


# -- an envelope that is mirrored in the metadata --------------------------------------------------------------------

MIRRORED = Stamp(at=NOW, is_mirrored=True)
SESSION = stored(type="session", session_id="a", thread_id="t1", beside=1, data={"n": 1, "metadata": {"user": "u"}})


def session(metadata: Any, *, stamp: Stamp = MIRRORED) -> Save:
    return Save("a", {"type": "session", "data": {"metadata": metadata}}, stamp=stamp)


def test_envelope_and_metadata_tell_the_same() -> None:
    made = session({"thread_id": "t2", "session_id": "other"}).apply(None, "not asked for")

    times = {"created_at": NOW, "updated_at": NOW}
    assert made == {
        "id": "a",
        "type": "session",
        "version": 1,
        "session_id": "a",
        "thread_id": "t2",
        **times,
        "data": {"metadata": {"session_id": "a", "thread_id": "t2", **times}},
    }


def test_what_stands_beside_the_data_stays_and_the_thread_goes_with_the_metadata() -> None:
    made = session({}).apply(SESSION, NOW)

    assert (made["beside"], made["version"], made["created_at"], made["updated_at"]) == (1, 4, THEN, NOW)
    assert "thread_id" not in made
    assert made["data"] == {"metadata": {"session_id": "a", "created_at": THEN, "updated_at": NOW}}


def test_a_thread_that_is_no_text_stays_in_the_metadata_alone() -> None:
    made = session({"thread_id": 5}).apply(None, NOW)

    assert "thread_id" not in made
    assert made["data"]["metadata"]["thread_id"] == 5


def test_a_patch_is_stamped_alike() -> None:
    patch = {"data": {"metadata": {"thread_id": "t2", "created_at": "no time at all"}, "n": None}}

    made = Patch("a", patch, stamp=MIRRORED).apply(SESSION, NOW)

    metadata = {"user": "u", "thread_id": "t2", "session_id": "a", "created_at": THEN, "updated_at": NOW}
    assert made == {**SESSION, "version": 4, "updated_at": NOW, "thread_id": "t2", "data": {"metadata": metadata}}


def test_times_in_the_metadata_count_for_a_new_record_and_for_an_import() -> None:
    future, past = "2030-01-01T00:00:00.000000+00:00", "2020-01-01T00:00:00.000000+00:00"
    new = session({"created_at": future, "updated_at": past}).apply(None, NOW)
    imported = session({"created_at": past, "updated_at": past}, stamp=Stamp(keep_times=True, is_mirrored=True))

    assert (new["created_at"], new["updated_at"]) == (future, future)
    for current in (None, SESSION):
        made = imported.apply(current, NOW)
        assert (made["created_at"], made["updated_at"]) == (past, past)


def test_a_clock_that_was_set_back_takes_no_update_back() -> None:
    late = {**SESSION, "updated_at": "2027-01-01T00:00:00.000000+00:00"}

    for made in (session({}).apply(late, NOW), Patch("a", {}, stamp=MIRRORED).apply(late, NOW)):
        assert made["updated_at"] == made["data"]["metadata"]["updated_at"] == late["updated_at"]


@pytest.mark.parametrize("metadata", [None, [], "text"])
def test_metadata_that_is_no_object_can_mirror_nothing(metadata: Any) -> None:
    with pytest.raises(StorageValidationError) as caught:
        session(metadata).apply(None, NOW)

    assert (caught.value.path, caught.value.id) == ("$.metadata", "a")


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


# -- what is expected -----------------------------------------------------------------------------------------------


def test_an_expected_version_must_be_the_actual_one() -> None:
    Expected(3).check("a", stored())
    Expected(None).check("a", stored())
    Expected(0).check("a", None)

    for current, expected, actual in ((stored(), 0, 3), (stored(), 2, 3), (None, 1, 0)):
        with pytest.raises(StorageConflictError) as caught:
            Expected(expected).check("a", current)
        assert (caught.value.id, caught.value.expected, caught.value.actual) == ("a", expected, actual)


def test_what_was_seen_must_still_be_there_value_by_value() -> None:
    Expected(seen=stored()).check("a", stored())
    Expected(seen=None).check("a", None)

    for current, seen in ((stored(data={"n": 2}), stored()), (None, stored()), (stored(), None)):
        with pytest.raises(StorageConflictError) as caught:
            Expected(seen=seen).check("a", current)
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
def test_every_mutation_checks_what_it_was_based_on(mutation: AnyMutation) -> None:
    with pytest.raises(StorageConflictError):
        mutation.apply(stored(), NOW)


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
