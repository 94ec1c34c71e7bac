from typing import Any

import pytest

from fsstore.errors import StorageValidationError
from fsstore.model.mutations import Patch, Save
from fsstore.model.records import JsonObject
from fsstore.model.successor import Stamp, floor_above

THEN, NOW = "2026-01-01T00:00:00.000000+00:00", "2026-01-02T00:00:00.000000+00:00"


def stored(**parts: Any) -> JsonObject:
    return {"id": "a", "type": "note", "data": {"n": 1}, "version": 3, "created_at": THEN, "updated_at": THEN, **parts}


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


def test_a_version_that_no_store_counts_to_does_not_raise_the_floor() -> None:
    assert [floor_above(3, version) for version in (2, 5, 1 << 53, (1 << 53) + 1)] == [3, 5, 1 << 53, 3]
