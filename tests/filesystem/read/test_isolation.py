"""Lists while batches go on: the batches come at a step of the list that the test chooses."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fsstore import FileStorage
from fsstore.errors import StorageTimeoutError
from fsstore.filesystem.read import isolation as isolating
from fsstore.filesystem.read.isolation import Isolation
from fsstore.model.records import Records
from tests.filesystem.faults import busy_writer, until

ALL = {"data.text": {"$regex": "."}}
COUNT = 500


def record(number: int, text: str = "x", *, place: float | None = None) -> dict[str, Any]:
    metadata = {"number": number if place is None else place}
    return {"id": f"n{number:04}", "data": {"text": text, "metadata": metadata}}


@pytest_asyncio.fixture
async def storage(tmp_path: Path) -> AsyncGenerator[FileStorage]:
    async with await FileStorage.open(tmp_path, fsync=False) as opened:
        await opened.batch_save(record(number) for number in range(COUNT))
        await opened.count()
        yield opened


class Reads:
    """Counts the documents that lists read, and lets a test do something between two of them."""

    def __init__(self, storage: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.held: list[str] = []
        self.is_paused = False
        self.then: Callable[[int], None] = lambda _count: None
        documents = storage._documents
        monkeypatch.setattr(Isolation, "paused", self._pausing(Isolation.paused))
        for method in ("read", "read_named"):
            monkeypatch.setattr(documents, method, partial(self._read, getattr(documents, method)))

    def _read(self, read: Callable[..., Any], key: str, **options: Any) -> Any:
        if threading.current_thread().name.startswith("fsstore-reader"):
            self.then(len(self.names))
            self.names.append(key)
            if self.is_paused:
                self.held.append(key)
        return read(key, **options)

    def _pausing(self, paused: Callable[[Isolation], AbstractContextManager[None]]) -> Callable[[Isolation], Any]:
        @contextmanager
        def noted(isolation: Isolation) -> Iterator[None]:
            with paused(isolation):
                self.is_paused = True
                yield
            self.is_paused = False

        return noted


@pytest.fixture
def reads(storage: FileStorage, monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(storage, monkeypatch)


def in_between(storage: FileStorage, *works: Callable[[], Any], every: int = 50) -> Callable[[int], None]:
    """Return what does the next work each time that so many documents have been read, and waits for its end."""
    loop, left = asyncio.get_running_loop(), list(works)

    def work(count: int) -> None:
        if left and count and count % every == 0:
            asyncio.run_coroutine_threadsafe(left.pop(0)(), loop).result()

    assert storage is not None
    return work


def numbers(records: Records) -> list[float]:
    return [each["data"]["metadata"]["number"] for each in records]


async def test_a_list_reads_again_only_what_batches_have_touched(storage: FileStorage, reads: Reads) -> None:
    batches = [
        partial(storage.batch_save, [record(number, "new"), record(COUNT - 1 - number, "new")]) for number in range(5)
    ]
    reads.then = in_between(storage, *batches)

    found = await storage.list(ALL, order_by="id")

    assert numbers(found) == list(range(COUNT))
    assert sum(each["data"]["text"] == "new" for each in found) == 10
    # half of them had not been read yet
    assert len(reads.names) == COUNT + 5
    assert reads.held == []


async def test_a_batch_moves_a_document_in_and_another_out(storage: FileStorage, reads: Reads) -> None:
    """Whatever a list has read already, it shows one side of it."""
    wanted = {"data.text": "marked"}
    await storage.save(record(0, "marked"))
    for step in (1, COUNT // 2, COUNT - 1):
        there = [each["id"] for each in await storage.list(wanted)]
        move = [record(int(there[0][1:]), "plain"), record((int(there[0][1:]) + step) % COUNT, "marked")]
        reads.names.clear()
        reads.then = in_between(storage, partial(storage.batch_save, move), every=step)

        assert len(await storage.list(wanted)) == 1
        reads.names.clear()
        reads.then = in_between(storage, partial(storage.batch_save, list(reversed(move))), every=step)
        assert await storage.count(wanted) == 1


@pytest.mark.parametrize("every", [1, 7, 15])
async def test_limit_and_offset_hold_for_what_a_batch_has_reordered(
    storage: FileStorage, reads: Reads, every: int
) -> None:
    """One of the wanted leaves, one comes from behind, one is new, one is gone."""
    order = "data.metadata.number"
    reads.then = in_between(
        storage,
        partial(
            storage.transaction,
            [
                {"type": "save", "data": record(12, place=9_000)},
                {"type": "save", "data": record(400, place=11.5)},
                {"type": "save", "data": record(600, place=0.5)},
                {"type": "delete", "id": "n0015"},
            ],
        ),
        every=every,
    )

    found = await storage.list(ALL, limit=10, offset=10, order_by=order)

    assert numbers(found) == [9, 10, 11, 11.5, 13, 14, 16, 17, 18, 19]
    assert found == await storage.list(ALL, limit=10, offset=10, order_by=order)


async def test_a_limit_is_filled_up_where_a_batch_takes_hits_away(storage: FileStorage, reads: Reads) -> None:
    moved: list[dict[str, Any]] = [{"type": "delete", "id": f"n{number:04}"} for number in range(3, 6)]
    moved += [{"type": "save", "data": record(number, place=9_000 + number)} for number in range(6, 9)]
    reads.then = in_between(storage, partial(storage.transaction, moved), every=10)

    found = await storage.list(ALL, limit=11, order_by="data.metadata.number")

    assert numbers(found) == [0, 1, 2, *range(9, 17)]


async def test_a_batch_of_a_stream_shows_one_side_of_each_commit(storage: FileStorage, reads: Reads) -> None:
    move: list[dict[str, Any]] = [
        {"type": "delete", "id": "n0002"},
        {"type": "save", "data": record(3, "new")},
        {"type": "save", "data": {**record(0, "new"), "id": "n0002-after"}},
        {"type": "save", "data": {**record(0, "new"), "id": "z-beyond"}},
    ]
    reads.then = in_between(storage, partial(storage.transaction, move), every=20)

    batches = [[each["id"] for each in batch] async for batch in storage.stream_list(ALL, batch_size=50)]

    assert batches[0] == sorted({*(f"n{number:04}" for number in range(50)), "n0002-after"} - {"n0002"})
    assert [each for batch in batches for each in batch][-2:] == [f"n{COUNT - 1:04}", "z-beyond"]


async def test_batches_faster_than_they_can_be_read_are_paused_for_what_they_touched(
    storage: FileStorage, reads: Reads
) -> None:
    """Two documents are rewritten between each two reads; all others are read while writers write."""
    ends = [partial(storage.batch_save, [record(0, str(at)), record(COUNT - 1, str(at))]) for at in range(400)]
    reads.then = in_between(storage, *ends, every=1)

    # who is paused would wait for ever in the thread that reads
    def give_up(count: int, then: Callable[[int], None] = reads.then) -> None:
        if count > COUNT - 50 and not reads.is_paused:
            then(count)

    reads.then = give_up
    found = await storage.list(ALL, order_by="id")

    assert len(found) == COUNT
    assert found[0]["data"]["text"] == found[-1]["data"]["text"]
    assert 0 < len(reads.held) <= 4
    await storage.save(record(0))


async def test_a_pause_that_cannot_be_had_ends_in_a_timeout(tmp_path: Path, storage: FileStorage) -> None:
    async with await FileStorage.open(tmp_path, lock_timeout_seconds=0.1) as impatient:
        isolation = Isolation(impatient._store, impatient._counters.applying())
        with busy_writer(storage), pytest.raises(StorageTimeoutError), isolation.paused():
            pass
        holder = storage._store.writer
        assert holder is not None
        await until(lambda: not holder.lock_is_held())
        # the same once more, when it can be had
        with isolation.paused():
            assert impatient._store.writer is not None
            assert impatient._store.writer.lock_is_held()


async def test_who_cannot_have_writers_pause_gives_up_when_it_is_outrun_again_and_again(
    tmp_path: Path, storage: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolating, "_MOST_ROUNDS", 5)
    isolation = Isolation(storage._store, storage._counters.applying())
    async with await FileStorage.open(tmp_path, fsync=False) as other:
        with monkeypatch.context() as patched:
            patched.setattr(storage._store, "writer", None)
            for _ in range(5):
                await other.batch_save([record(0), record(1)])
                assert len(isolation.touched()) == 2
                assert not isolation.is_outrun(2)
            await other.batch_save([record(0), record(1)])
            with pytest.raises(StorageTimeoutError):
                isolation.touched()


async def test_a_batch_is_seen_whole_also_where_the_next_one_has_begun_when_a_list_ends(
    storage: FileStorage, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks at the counter the next batch begins: nothing of it is there yet."""
    counters, looks = storage._counters, list[int]()
    move = [record(0, "new"), record(COUNT - 1, "new")]
    reads.then = in_between(storage, partial(storage.batch_save, move), every=COUNT - 1)

    def applying(look: Callable[[], int] = counters.applying) -> int:
        if len(reads.names) < COUNT or not threading.current_thread().name.startswith("fsstore-reader"):
            return look()
        looks.append(look())
        return looks[-1] + (len(looks) == 2)

    monkeypatch.setattr(counters, "applying", applying)
    found = await storage.list(ALL, order_by="id")

    assert len(looks) > 2
    assert [each["id"] for each in found if each["data"]["text"] == "new"] == ["n0000", f"n{COUNT - 1:04}"]


async def test_a_list_begins_anew_where_nobody_knows_what_batches_touched(
    storage: FileStorage, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage._store.batches, "note", lambda *_: None)
    reads.then = in_between(
        storage, partial(storage.batch_save, [record(0, "new"), record(COUNT - 1, "new")]), every=COUNT // 2
    )

    found = await storage.list(ALL, order_by="id")

    assert found[0]["data"]["text"] == found[-1]["data"]["text"] == "new"
    assert len(reads.names) > COUNT
