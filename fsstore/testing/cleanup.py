"""The contract of cleaning up: what is old goes, and never anything younger."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fsstore.errors import StorageValidationError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.clock import HandClock
from fsstore.model.mutations import AnyMutation, patching
from fsstore.model.records import Outcomes
from fsstore.testing.backend import DAY_SECONDS, BackendFixtures, refusal


class CleanupContract(BackendFixtures):
    """`cleanup_old_data`."""

    async def test_cleanup_removes_what_is_older_and_nothing_younger(
        self, storage: IUnifiedStorage, clock: HandClock
    ) -> None:
        for name in ("older", "exactly", "younger", "now"):
            await storage.save({"id": name})
            clock.turn(DAY_SECONDS)
        clock.turn(-DAY_SECONDS)

        assert await storage.cleanup_old_data(2) == 1
        assert sorted(record["id"] for record in await storage.list()) == ["exactly", "now", "younger"]
        assert await storage.cleanup_old_data(1.5) == 1
        assert await storage.cleanup_old_data(0) == 1
        assert [record["id"] for record in await storage.list()] == ["now"]

    async def test_cleanup_goes_by_the_last_update_and_not_by_the_making(
        self, storage: IUnifiedStorage, clock: HandClock
    ) -> None:
        await storage.batch_save([{"id": "touched"}, {"id": "untouched"}])
        clock.turn(10 * DAY_SECONDS)
        await storage.update("touched", {"data": {"n": 1}})

        assert await storage.cleanup_old_data(5) == 1
        assert await storage.exists("touched") is True

    async def test_a_record_updated_while_cleanup_runs_stays(
        self, storage: IUnifiedStorage, clock: HandClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await storage.batch_save([{"id": "used"}, {"id": "unused"}])
        clock.turn(10 * DAY_SECONDS)
        commit = storage.commit
        interrupted: list[Outcomes] = []

        async def interrupting(changes: Sequence[AnyMutation]) -> Outcomes:
            if not interrupted:
                interrupted.append(await commit([patching("used", {"data": {"n": 1}})]))
            return await commit(changes)

        monkeypatch.setattr(storage, "commit", interrupting)

        assert await storage.cleanup_old_data(5) == 1
        assert interrupted
        assert [record["id"] for record in await storage.list()] == ["used"]

    async def test_cleanup_reaches_further_than_one_batch(self, storage: IUnifiedStorage, clock: HandClock) -> None:
        await storage.batch_save([{"id": f"{number:03}"} for number in range(250)])
        clock.turn(2 * DAY_SECONDS)
        await storage.save({"id": "120"})

        assert await storage.cleanup_old_data(1) == 249
        assert [record["id"] for record in await storage.list()] == ["120"]

    async def test_a_retention_that_is_no_span_is_refused(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a"})

        for days in (-1, -0.001, float("nan")):
            assert await refusal(storage.cleanup_old_data(days), StorageValidationError)

        assert await storage.count() == 1

    async def test_a_retention_longer_than_the_calendar_removes_nothing(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a"})

        for days in (1_000_000, 1e10, 1e300, float("inf")):
            assert await storage.cleanup_old_data(days) == 0

        assert await storage.count() == 1
