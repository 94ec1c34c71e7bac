"""The contract of watching: each change once, in the order of each document, and nothing lost without a `Gap`."""

from __future__ import annotations

import asyncio
import gc
import threading
from datetime import UTC, date, datetime

import pytest

from fsstore.errors import StorageClosedError, StorageValidationError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.clock import HandClock
from fsstore.testing.backend import BackendFixtures
from fsstore.watching.changes import Change, Gap
from fsstore.watching.watch import Watch

_SECONDS = 30.0


async def next_of(watch: Watch) -> Change | Gap:
    """Return what a watch gives next; it must not take for ever."""
    return await asyncio.wait_for(anext(watch), _SECONDS)


async def received(watch: Watch, number: int) -> list[tuple[str, str, int]]:
    """Return kind, id and version of the next changes."""
    found: list[tuple[str, str, int]] = []
    for _ in range(number):
        change = await next_of(watch)
        assert isinstance(change, Change)
        found.append((change.kind, change.id, change.version))
    return found


class WatchContract(BackendFixtures):
    """What `watch` promises, for backends whose guarantees say `watching`."""

    async def test_a_watcher_is_told_of_each_write_once_and_in_order(self, storage: IUnifiedStorage) -> None:
        async with storage.watch() as changes:
            await storage.save({"id": "a", "data": {"metadata": {"status": "new"}}})
            await storage.update("a", {"data": {"metadata": {"status": "old"}}})
            await storage.delete("a")
            await storage.save({"id": "end"})
            found = [await next_of(changes) for _ in range(4)]

        assert found == [
            Change("created", "a", 1, "own", {"status": "new"}),
            Change("updated", "a", 2, "own", {"status": "old"}),
            Change("deleted", "a", 2, "own"),
            Change("created", "end", 3, "own"),
        ]

    async def test_what_is_written_together_is_told_write_by_write(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a"})
        async with storage.watch() as changes:
            await asyncio.gather(*(storage.update("a", {"data": {"turn": turn}}) for turn in range(20)))
            await storage.batch_save([{"id": f"b{number}"} for number in range(5)])

            assert await received(changes, 20) == [("updated", "a", version) for version in range(2, 22)]
            assert sorted(await received(changes, 5)) == [("created", f"b{number}", 1) for number in range(5)]

    async def test_a_refused_commit_is_not_told(self, storage: IUnifiedStorage) -> None:
        async with storage.watch() as changes:
            operations = [{"type": "save", "data": {"id": "a"}}, {"type": "update", "id": "none", "data": {}}]
            with pytest.raises(Exception, match="operation 1"):
                await storage.transaction(operations)
            await storage.save({"id": "b"})

            assert await received(changes, 1) == [("created", "b", 1)]

    async def test_entering_and_leaving_the_filter_are_creation_and_deletion(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a", "data": {"metadata": {"status": "open"}}})
        await storage.save({"id": "b", "data": {"metadata": {"status": "shut"}}})
        async with storage.watch({"data.metadata.status": "open"}) as changes:
            for record_id, status in (("a", "shut"), ("a", "other"), ("b", "open"), ("b", "open"), ("a", "open")):
                await storage.update(record_id, {"data": {"metadata": {"status": status}}})
            await storage.delete("b")

            found = [await next_of(changes) for _ in range(5)]

        assert found == [
            Change("deleted", "a", 2, "own", {"status": "shut"}),
            Change("created", "b", 2, "own", {"status": "open"}),
            Change("updated", "b", 3, "own", {"status": "open"}),
            Change("created", "a", 4, "own", {"status": "open"}),
            Change("deleted", "b", 3, "own"),
        ]

    async def test_a_filter_may_ask_for_what_no_index_knows(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a", "data": {"text": "yes"}})
        async with storage.watch({"data.text": "yes"}) as changes:
            await storage.save({"id": "b", "data": {"text": "no"}})
            await storage.update("a", {"data": {"text": "no"}})
            await storage.update("b", {"data": {"text": "yes"}})

            assert await received(changes, 2) == [("deleted", "a", 2), ("created", "b", 2)]

    async def test_since_tells_first_what_was_updated_then_or_later(
        self, storage: IUnifiedStorage, clock: HandClock
    ) -> None:
        for record_id in ("old", "changed", "untouched"):
            await storage.save({"id": record_id})
        since = clock.turn()
        await storage.save({"id": "new"})
        clock.turn()
        await storage.update("changed", {"data": {"turn": 1}})
        aware = datetime.fromisoformat(since)
        local = aware.astimezone().replace(tzinfo=None)
        for moment in (since, aware, local, local.isoformat(), since.replace(".000000+00:00", "Z")):
            async with storage.watch(since=moment) as changes:
                assert await received(changes, 2) == [("created", "new", 1), ("updated", "changed", 2)]
        async with storage.watch({"id": {"$ne": "new"}}, since=since) as changes:
            await storage.update("old", {"data": {"turn": 1}})

            assert await received(changes, 2) == [("updated", "changed", 2), ("updated", "old", 2)]
            await storage.save({"id": "later"})
            assert await received(changes, 1) == [("created", "later", 1)]

    async def test_a_slow_watcher_gets_a_gap_and_then_each_difference_once(self, storage: IUnifiedStorage) -> None:
        await storage.batch_save([{"id": record_id} for record_id in ("gone", "kept", "left")])
        async with storage.watch() as witness, storage.watch({"data.out": None}, max_queued=3) as changes:
            await storage.save({"id": "first"})
            assert await received(changes, 1) == [("created", "first", 1)]
            for turn in range(5):
                await storage.update("kept", {"data": {"turn": turn}})
            await storage.delete("gone")
            await storage.update("left", {"data": {"out": 1}})
            await storage.save({"id": "new"})
            await storage.save({"id": "brief"})
            await storage.delete("brief")
            # a change reaches all watches at once, so that what the witness has seen has come here too
            await received(witness, 11)

            gap = await next_of(changes)
            assert isinstance(gap, Gap)
            assert gap.dropped >= 4
            found = [await next_of(changes) for _ in range(4)]
            assert sorted((change.kind, change.id) for change in found if isinstance(change, Change)) == [
                ("created", "new"),
                ("deleted", "gone"),
                ("deleted", "left"),
                ("updated", "kept"),
            ]
            await storage.update("first", {"data": {"turn": 1}})
            assert await received(changes, 1) == [("updated", "first", 2)]

    async def test_watchers_do_not_disturb_each_other(self, storage: IUnifiedStorage) -> None:
        async with storage.watch(max_queued=2), storage.watch() as changes:
            for number in range(10):
                await storage.save({"id": f"{number}"})

            assert await received(changes, 10) == [("created", f"{number}", 1) for number in range(10)]

    async def test_a_cancelled_watcher_loses_nothing_and_leaves_nothing(self, storage: IUnifiedStorage) -> None:
        tasks = asyncio.all_tasks()
        async with storage.watch() as changes:
            for number in range(3):
                waiting = asyncio.create_task(anext(changes))
                await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
                await storage.save({"id": f"{number}"})
                assert await received(changes, 1) == [("created", f"{number}", 1)]

        assert asyncio.all_tasks() == tasks

    async def test_a_watch_that_nobody_holds_is_forgotten(self, storage: IUnifiedStorage) -> None:
        changes = storage.watch()
        await changes.started()
        ledger = changes._ledger  # noqa: SLF001 - whether anything is left can only be seen there
        del changes
        gc.collect()
        assert list(ledger._watches) == []  # noqa: SLF001 - the same

    async def test_closing_the_store_ends_the_watch(self, storage: IUnifiedStorage) -> None:
        changes = storage.watch()
        await changes.started()
        await storage.save({"id": "a"})
        waiting = asyncio.create_task(_all_of(changes))
        await storage.close()

        assert [change.id for change in await asyncio.wait_for(waiting, _SECONDS) if isinstance(change, Change)] == [
            "a"
        ]
        with pytest.raises(StorageClosedError):
            storage.watch()

    async def test_a_watch_that_was_not_begun_ends_with_its_store_too(self, storage: IUnifiedStorage) -> None:
        watches = [storage.watch(), storage.watch(since=datetime.now(UTC)), storage.watch({"n": 1})]
        await storage.save({"id": "a"})
        await storage.close()
        before = threading.active_count()

        for changes in watches:
            with pytest.raises(StorageClosedError):
                await changes.started()
            assert await asyncio.wait_for(_all_of(changes), _SECONDS) == []
        assert threading.active_count() <= before, "a thread of a closed store goes on"

    async def test_what_can_not_be_watched_is_refused_at_once(self, storage: IUnifiedStorage) -> None:
        with pytest.raises(StorageValidationError, match="since: must be an ISO 8601 time: date"):
            storage.watch(since=date(2026, 1, 31))  # type: ignore[arg-type]  # that it is none is the point
        with pytest.raises(StorageValidationError, match="max_queued"):
            storage.watch(max_queued=0)
        with pytest.raises(StorageValidationError):
            storage.watch({"$no": 1})
        with pytest.raises(StorageValidationError, match="ISO 8601"):
            storage.watch(since="yesterday")
        assert storage.watch(since=datetime.now(UTC)) is not None


async def _all_of(watch: Watch) -> list[Change | Gap]:
    return [change async for change in watch]
