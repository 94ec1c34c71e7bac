"""The contract of versions and times: which state of a record a version names, and what each change stamps."""

from __future__ import annotations

import re

from fsstore.errors import StorageConflictError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.clock import HandClock
from fsstore.model.mutations import deleting, patching, saving
from fsstore.testing.backend import BackendFixtures, refusal


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
