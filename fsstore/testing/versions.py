"""The contract of versions and times: which state of a record a version names, and what each change stamps."""

from __future__ import annotations

import re

from fsstore.errors import StorageConflictError, StorageValidationError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.clock import HandClock
from fsstore.model.mutations import Restore, deleting, patching, raising_floor, saving
from fsstore.model.records import JsonObject
from fsstore.testing.backend import BackendFixtures, refusal

_MOVED: JsonObject = {
    "id": "a",
    "type": "note",
    "data": {"n": 1, "metadata": {"status": "open"}},
    "extra": [1],
    "version": 41,
    "created_at": "2020-01-02T03:04:05.000006+00:00",
    "updated_at": "2021-01-02T03:04:05.000006+00:00",
}
"""A record as it was in another store."""


class VersionContract(BackendFixtures):
    """The version and the times of one record."""

    async def test_the_version_grows_by_one_with_every_change(self, storage: IUnifiedStorage) -> None:
        versions = []
        for change in range(3):
            await storage.save({"id": "a", "data": {"n": change}})
            versions.append((await storage.load("a") or {})["version"])
            await storage.update("a", {"data": {"patched": change}})
            versions.append((await storage.load("a") or {})["version"])

        assert versions == [1, 2, 3, 4, 5, 6]

    async def test_a_record_that_is_made_begins_above_every_version_that_was_deleted(
        self, storage: IUnifiedStorage
    ) -> None:
        for change in range(3):
            await storage.save({"id": "a", "data": {"n": change}})
        await storage.save({"id": "b"})
        await storage.delete("b")
        await storage.delete("a")

        await storage.save({"id": "a"})
        await storage.save({"id": "new"})
        await storage.save({"id": "a"})

        found = {record["id"]: record["version"] for record in await storage.list()}
        assert found == {"a": 5, "new": 4}
        assert (await storage.load("a") or {})["version"] == 5

    async def test_what_was_deleted_and_made_again_is_not_what_a_caller_has_seen(
        self, storage: IUnifiedStorage
    ) -> None:
        await storage.save({"id": "a", "data": {"n": 1}})
        seen = (await storage.load("a") or {})["version"]
        await storage.delete("a")
        await storage.commit([saving({"id": "a", "type": "note", "data": {"n": 2}}, expected_version=0)])

        for change in (
            saving({"id": "a", "type": "note", "data": {"n": 3}}, expected_version=seen),
            patching("a", {"data": {"n": 3}}, expected_version=seen),
            deleting("a", expected_version=seen),
        ):
            assert await refusal(storage.commit([change]), StorageConflictError) is not None
        assert (await storage.load("a") or {})["data"] == {"n": 2}

    async def test_the_version_and_update_time_that_a_caller_gives_are_ignored(
        self, storage: IUnifiedStorage, clock: HandClock
    ) -> None:
        await storage.save({"id": "a", "version": 99, "updated_at": "1999-01-01T00:00:00+00:00"})
        await storage.update("a", {"version": 50, "updated_at": "1999-01-01T00:00:00+00:00"})

        loaded = await storage.load("a")
        assert loaded is not None
        assert (loaded["version"], loaded["updated_at"]) == (2, clock.text)

    async def test_created_at_survives_and_updated_at_moves(self, storage: IUnifiedStorage, clock: HandClock) -> None:
        await storage.save({"id": "a"})
        born = clock.text

        saved_at = clock.turn()
        await storage.save({"id": "a", "created_at": saved_at})
        saved = await storage.load("a")
        patched_at = clock.turn()
        await storage.update("a", {"created_at": patched_at})
        patched = await storage.load("a")

        assert saved is not None
        assert patched is not None
        assert (saved["created_at"], saved["updated_at"]) == (born, saved_at)
        assert (patched["created_at"], patched["updated_at"]) == (born, patched_at)

    async def test_a_record_made_again_after_its_deletion_starts_anew_but_for_its_version(
        self, storage: IUnifiedStorage, clock: HandClock
    ) -> None:
        await storage.save({"id": "a"})
        await storage.save({"id": "a"})
        await storage.delete("a")
        clock.turn()

        await storage.save({"id": "a"})

        loaded = await storage.load("a")
        assert loaded is not None
        assert (loaded["version"], loaded["created_at"]) == (3, clock.text)

    async def test_times_are_utc_with_microseconds(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a", "created_at": "2020-02-29T23:30:00-02:00"})

        loaded = await storage.load("a")
        assert loaded is not None
        assert loaded["created_at"] == "2020-03-01T01:30:00.000000+00:00"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", loaded["updated_at"])

    async def test_a_floor_that_is_raised_changes_nothing_but_what_is_made_afterwards(
        self, storage: IUnifiedStorage, clock: HandClock
    ) -> None:
        await storage.save({"id": "a"})
        for floor in (41, 7):
            await storage.commit(raising_floor(floor, clock.text))

        await storage.save({"id": "a"})
        await storage.save({"id": "b"})

        assert {record["id"]: record["version"] for record in await storage.list()} == {"a": 2, "b": 42}
        assert await storage.count() == 2

    # -- records of another store -------------------------------------------------------------------------------------

    async def test_a_record_of_another_store_keeps_its_version_and_times_and_counts_on(
        self, storage: IUnifiedStorage
    ) -> None:
        (made,) = await storage.commit([Restore("a", _MOVED)])
        (again,) = await storage.commit([Restore("a", _MOVED)])

        assert (made.before, made.after, again.before, again.after) == (0, 41, 41, 41)
        assert await storage.load("a") == _MOVED
        assert await storage.list({"data.metadata.status": "open", "version": 41}) == [_MOVED]
        await storage.update("a", {"data": {"n": 2}})
        changed = await storage.load("a")
        assert changed is not None
        assert (changed["version"], changed["created_at"]) == (42, _MOVED["created_at"])

    async def test_a_record_of_another_store_takes_the_place_of_what_it_was_before_and_of_nothing_else(
        self, storage: IUnifiedStorage
    ) -> None:
        await storage.commit([Restore("a", _MOVED)])
        newer = {**_MOVED, "version": 50, "data": {"n": 5}}

        await storage.commit([Restore("a", newer)])

        assert await storage.load("a") == newer
        made_later = {**newer, "version": 60, "created_at": "2020-01-02T03:04:05.000007+00:00"}
        for other in (_MOVED, {**newer, "type": "memo"}, made_later):
            error = await refusal(
                storage.commit([saving({"id": "b", "type": "note", "data": 1}), Restore("a", other)]),
                StorageConflictError,
            )
            assert error is not None
        assert [record["id"] for record in await storage.list()] == ["a"]

    async def test_a_record_that_no_store_holds_is_not_restored(self, storage: IUnifiedStorage) -> None:
        for key, wrong in (("created_at", "2026"), ("updated_at", "soon"), ("version", 0), ("data", float("nan"))):
            error = await refusal(storage.commit([Restore("a", {**_MOVED, key: wrong})]), StorageValidationError)
            assert error is not None, key
            assert error.path == f"$.{key}"
        assert await storage.count() == 0
