"""The contract of tasks at the same time: nothing is lost between them, nothing seen by halves."""

from __future__ import annotations

import asyncio

from fsstore.errors import StorageConflictError, StorageNotFoundError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.mutations import saving
from fsstore.testing.backend import BackendFixtures, OpenAgain


class TaskContract(BackendFixtures):
    """Many callers at once."""

    async def test_no_reader_sees_half_a_batch(self, storage: IUnifiedStorage) -> None:
        ids = [f"{number:02}" for number in range(20)]

        async def write() -> None:
            for turn in range(10):
                await storage.batch_save([{"id": record_id, "data": {"turn": turn}} for record_id in ids])
                await asyncio.sleep(0)
                await storage.batch_delete(ids)
                await asyncio.sleep(0)

        async def read() -> set[tuple[int, ...]]:
            seen = set()
            while not writing.done():
                seen.add(tuple(sorted(record["data"]["turn"] for record in await storage.list())))
                await asyncio.sleep(0)
            return seen

        writing = asyncio.create_task(write())
        views = await read()
        await writing

        torn = [view for view in views if view and (len(view) != len(ids) or len(set(view)) != 1)]
        assert torn == [] or not storage.guarantees.isolated_batches
        assert await storage.count() == 0

    async def test_updates_at_the_same_time_are_all_applied(
        self, storage: IUnifiedStorage, open_again: OpenAgain
    ) -> None:
        handles = [storage, await open_again()] if storage.guarantees.cross_process else [storage]
        await storage.save({"id": "a", "data": {}})

        await asyncio.gather(
            *(handles[n % len(handles)].update("a", {"data": {f"key{n}": n}}) for n in range(30)),
        )

        loaded = await storage.load("a")
        assert loaded is not None
        assert loaded["data"] == {f"key{n}": n for n in range(30)}
        assert loaded["version"] == 31

    async def test_only_one_of_many_tasks_makes_a_record(self, storage: IUnifiedStorage) -> None:
        async def make(number: int) -> bool:
            record = {"id": "a", "type": "note", "data": {"by": number}}
            try:
                await storage.commit([saving(record, expected_version=0)])
            except StorageConflictError:
                return False
            return True

        made = await asyncio.gather(*(make(number) for number in range(10)))

        assert made.count(True) == 1
        assert (await storage.load("a") or {})["data"] == {"by": made.index(True)}

    async def test_one_failing_commit_does_not_harm_those_beside_it(self, storage: IUnifiedStorage) -> None:
        commits = [
            storage.update("nobody", {"data": {}}) if number % 2 else storage.save({"id": f"{number}"})
            for number in range(10)
        ]

        results = await asyncio.gather(*commits, return_exceptions=True)

        assert [isinstance(result, StorageNotFoundError) for result in results] == [False, True] * 5
        assert sorted(record["id"] for record in await storage.list()) == ["0", "2", "4", "6", "8"]

    async def test_a_task_that_is_cancelled_leaves_a_usable_store(self, storage: IUnifiedStorage) -> None:
        records = [{"id": f"{number:02}"} for number in range(20)]
        task = asyncio.create_task(storage.batch_save(records))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

        await storage.save({"id": "after"})

        assert await storage.count({"id": {"$ne": "after"}}) in (0, 20)
        assert await storage.exists("after") is True
