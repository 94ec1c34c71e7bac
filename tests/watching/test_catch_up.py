"""How a watch catches up, over records that are published when the test wants it."""

import asyncio

import pytest
import pytest_asyncio

from fsstore import Change, Gap
from fsstore.errors import StorageClosedError
from fsstore.model.records import Filters
from fsstore.watching import catch_up
from fsstore.watching.watch import Watch
from tests.filesystem.faults import until
from tests.watching.sources import FakeSource, name_of, next_of

ALL = [f"r{number}" for number in range(5)]


@pytest_asyncio.fixture
async def source() -> FakeSource:
    return FakeSource(*ALL)


async def fall_behind(source: FakeSource, watch: Watch, *record_ids: str) -> None:
    """Have a watch drop what it has queued, and give the `Gap`."""
    for record_id in record_ids:
        source.save(record_id)
    gap = await next_of(watch)
    assert isinstance(gap, Gap)


async def test_each_difference_comes_once_as_it_is_now(source: FakeSource) -> None:
    async with source.watch(max_queued=1) as watch:
        source.save("r1", turn=1)
        source.save("r1", turn=2)
        source.delete("r2")
        source.save("new", turn=3)
        source.save("brief")
        source.delete("brief")

        assert await next_of(watch) == Gap(2)
        assert [await next_of(watch) for _ in range(3)] == [
            Change("deleted", "r2", 0, "external"),
            Change("updated", "r1", 3, "own", {"turn": 2}),
            Change("created", "new", 1, "own", {"turn": 3}),
        ]
        source.save("r3")
        assert await next_of(watch) == Change("updated", "r3", 2, "own")


async def test_what_changes_while_a_round_is_looked_at_comes_in_the_next(source: FakeSource) -> None:
    async with source.watch(max_queued=1) as watch:
        await fall_behind(source, watch, "r1", "r2")
        source.may_read.clear()
        waiting = asyncio.ensure_future(next_of(watch))
        await until(lambda: source.reads)
        source.save("r1", turn="later")
        source.delete("r2")
        source.may_read.set()

        found = [await waiting, await next_of(watch)]
        assert found == [Change("deleted", "r2", 0, "external"), Change("updated", "r1", 3, "own", {"turn": "later"})]


async def test_a_record_that_is_ahead_of_the_ledger_is_looked_at_again(source: FakeSource) -> None:
    async with source.watch(max_queued=1) as watch:
        await fall_behind(source, watch, "r1", "r2")
        source.put("r2", turn="not published")
        assert await next_of(watch) == Change("updated", "r1", 2, "own")
        waiting = asyncio.ensure_future(next_of(watch))
        await until(lambda: len(source.reads) >= 3)
        assert not waiting.done()
        source.publish("r2")

        assert await waiting == Change("updated", "r2", 3, "own", {"turn": "not published"})


async def test_a_record_that_cannot_be_read_is_passed_over_until_it_is_published(source: FakeSource) -> None:
    async with source.watch(max_queued=1) as watch:
        source.unreadable.add(name_of("r1"))
        await fall_behind(source, watch, "r1", "r2")
        assert await next_of(watch) == Change("updated", "r2", 2, "own")
        waiting = asyncio.ensure_future(next_of(watch))
        await until(lambda: not watch._catch_up.is_behind)
        source.unreadable.clear()
        source.save("r1")

        assert await waiting == Change("updated", "r1", 3, "own")


async def test_a_cancelled_reader_looks_at_the_same_once_more(source: FakeSource) -> None:
    async with source.watch(max_queued=1) as watch:
        await fall_behind(source, watch, "r1", "r2")
        source.may_read.clear()
        waiting = asyncio.ensure_future(anext(watch))
        await until(lambda: source.reads)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        source.may_read.set()

        assert [await next_of(watch) for _ in range(2)] == [
            Change("updated", "r1", 2, "own"),
            Change("updated", "r2", 2, "own"),
        ]


async def test_many_are_looked_at_in_parts(source: FakeSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up, "_CHUNK", 2)
    async with source.watch(max_queued=1) as watch:
        await fall_behind(source, watch, *ALL)
        found = [await next_of(watch) for _ in ALL]

    assert found == [Change("updated", record_id, 2, "own") for record_id in ALL]
    assert [len(names) for names in source.reads] == [2, 2, 1]


async def test_what_changed_while_watching_began_was_there_before(source: FakeSource) -> None:
    """The record that was written between the subscription and the list is in neither twice."""
    real = source.inside

    async def inside(filters: Filters) -> dict[str, str]:
        found = await real(filters)
        source.save("r1")
        source.save("new")
        source.delete("r2")
        return found

    source.inside = inside  # type: ignore[method-assign]
    async with source.watch() as watch:
        source.save("new")
        source.save("r2")

        assert [await next_of(watch) for _ in range(2)] == [
            Change("updated", "new", 2, "own"),
            Change("created", "r2", 1, "own"),
        ]


async def test_after_the_end_no_round_begins(source: FakeSource) -> None:
    """The store may be closed by then, and refuse to read."""
    watch = source.watch(max_queued=1)
    await watch.started()
    await fall_behind(source, watch, *ALL)
    source.unreadable.update(map(name_of, ALL))
    source.may_read.clear()
    waiting = asyncio.ensure_future(anext(watch))
    await until(lambda: source.reads)
    source.save("r1")
    source.ledger.end(StorageClosedError(path="fake:"))
    source.may_read.set()

    with pytest.raises(StopAsyncIteration):
        await waiting
    assert len(source.reads) == 1


@pytest.mark.parametrize("is_closed", [True, False])
async def test_the_end_comes_in_the_middle_of_a_round(source: FakeSource, *, is_closed: bool) -> None:
    watch = source.watch(max_queued=1)
    await watch.started()
    await fall_behind(source, watch, *ALL)
    source.may_read.clear()
    waiting = asyncio.ensure_future(anext(watch))
    await until(lambda: source.reads)
    if is_closed:
        await watch.aclose()
    else:
        await asyncio.to_thread(source.ledger.end, StorageClosedError(path="fake:"))
    source.may_read.set()
    await asyncio.gather(waiting, return_exceptions=True)

    assert [change async for change in watch] == []
