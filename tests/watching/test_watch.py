"""What a watch is, without files: over records in memory, and over a source that publishes when the test wants it."""

import asyncio
import threading
import warnings

import pytest

from fsstore import Change, Gap, MemoryStorage
from fsstore.errors import StorageClosedError, StorageUnavailableError
from tests.filesystem.faults import until
from tests.watching.sources import FakeSource, next_of


async def test_metadata_of_a_change_is_the_watcher_s_own() -> None:
    storage = MemoryStorage()
    async with storage.watch() as one, storage.watch() as two:
        await storage.save({"id": "a", "data": {"metadata": {"tags": ["x"]}}})
        for watch in (one, two):
            change = await next_of(watch)
            assert isinstance(change, Change)
            assert change.metadata == {"tags": ["x"]}
            change.metadata["tags"].append("mine")
        assert (await storage.load("a") or {})["data"]["metadata"] == {"tags": ["x"]}


@pytest.mark.parametrize("metadata", [None, 7, "text", [1]])
async def test_metadata_that_is_no_object_is_empty(metadata: object) -> None:
    storage = MemoryStorage()
    async with storage.watch() as watch:
        await storage.save({"id": "a", "data": {"metadata": metadata}})
        assert await next_of(watch) == Change("created", "a", 1, "own")


async def test_a_full_queue_is_dropped_at_the_change_that_does_not_fit() -> None:
    source = FakeSource()
    async with source.watch(max_queued=3) as watch:
        for number in range(3):
            source.save(f"{number}")
        assert not watch._catch_up.is_behind
        assert [await next_of(watch)] == [Change("created", "0", 1, "own")]
        source.save("3")
        source.save("4")
        assert await next_of(watch) == Gap(4)
        assert not watch._queue


async def test_a_watcher_is_woken_by_another_thread() -> None:
    source = FakeSource()
    async with source.watch() as watch:
        waiting = asyncio.ensure_future(next_of(watch))
        await until(lambda: watch._waiting is not None)
        publisher = threading.Thread(target=source.save, args=("a",))
        publisher.start()
        assert await waiting == Change("created", "a", 1, "own")
        publisher.join()


def test_a_loop_that_was_closed_stops_no_publisher() -> None:
    async def begin() -> tuple[FakeSource, object]:
        source = FakeSource()
        watch = source.watch()
        await watch.started()
        waiting = asyncio.ensure_future(anext(watch))
        await until(lambda: watch._waiting is not None)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        watch._waiting = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
        return source, watch

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source, watch = asyncio.run(begin())
        source.save("a")
    assert watch is not None
    assert source.ledger.serial == 1


async def test_what_is_queued_is_given_before_the_end() -> None:
    source = FakeSource()
    watch = source.watch()
    await watch.started()
    source.save("a")
    source.ledger.end(StorageClosedError(path="fake:"))
    source.save("b")

    assert [change async for change in watch] == [Change("created", "a", 1, "own")]
    assert [change async for change in watch] == []


async def test_a_failure_is_raised_by_every_watch_and_every_later_one() -> None:
    source = FakeSource()
    watch = source.watch()
    await watch.started()
    source.ledger.end(StorageUnavailableError(reason="the thread has failed"))

    for ended in (watch, watch, source.watch()):
        with pytest.raises(StorageUnavailableError, match="the thread has failed"):
            await next_of(ended)


async def test_a_beginning_that_fails_receives_nothing_and_can_be_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    source = FakeSource("a")
    watch = source.watch()

    async def refuse(_filters: object) -> dict[str, str]:
        raise StorageUnavailableError(reason="busy")

    with monkeypatch.context() as busy:
        busy.setattr(source, "inside", refuse)
        with pytest.raises(StorageUnavailableError, match="busy"):
            await watch.started()
    assert list(source.ledger._watches) == []
    await watch.started()
    source.save("a")
    assert await next_of(watch) == Change("updated", "a", 2, "own")
