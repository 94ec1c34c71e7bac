import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from fsstore import FileStorage
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents.layout import COUNTERS
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.log.counters import Counters, State
from fsstore.filesystem.log.lock import StoreLock
from fsstore.filesystem.read.isolation import Isolation


@pytest_asyncio.fixture
async def storage(tmp_path: Path) -> AsyncGenerator[FileStorage]:
    async with await FileStorage.open(tmp_path, fsync=False) as opened:
        await opened.save({"id": "a"})
        yield opened


async def test_a_batch_that_is_placed_while_the_index_is_awaited_is_read_again(
    storage: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index need not know of that batch, while its documents are in place."""
    reading, store = storage._reading, storage._store
    awaited = reading._await_indexed
    asked: list[set[str]] = []

    async def awaited_beside_a_batch() -> State:
        await awaited()
        number = store.counters.applying()
        store.batches.note(number + 1, ["3f/a.json"])
        store.counters.write(applying=number + 2)
        return store.counters.read()

    monkeypatch.setattr(reading, "_await_indexed", awaited_beside_a_batch)
    await reading.ask_whole(lambda _index, isolation: asked.append(isolation.touched()))

    assert asked == [{"3f/a.json"}]


async def test_an_answer_counts_only_if_the_index_it_began_with_was_the_one_awaited(
    storage: FileStorage,
) -> None:
    reading, store = storage._reading, storage._store
    asked: list[Index] = []

    def ask(index: Index, isolation: Isolation) -> None:
        asked.append(index)
        if len(asked) == 1:
            store.counters.increase("stale")
        isolation.begin()

    await reading.ask_whole(ask)

    assert len(asked) == 2


async def test_a_batch_makes_no_answer_anew_that_reads_no_documents(storage: FileStorage) -> None:
    reading, counters = storage._reading, storage._store.counters
    asked: list[Index] = []

    def ask(index: Index) -> None:
        asked.append(index)
        counters.write(applying=counters.applying() + 2)

    await reading.ask(ask)

    assert len(asked) == 1


@pytest.mark.skipif(os.name == "nt", reason="there an open file cannot be removed")
@pytest.mark.parametrize("how", ["removed before", "removed while it is awaited"])
async def test_no_half_of_a_batch_is_read_whose_counters_are_removed(storage: FileStorage, how: str) -> None:
    counters, root = storage._store.counters, storage._tree.root
    await storage.list()
    # as another process that is placing a batch
    elsewhere = StoreLock(tree := Tree(root), Counters(tree))
    elsewhere.acquire(10)
    counters.write(applying=counters.applying() | 1)
    if how == "removed before":
        (root / COUNTERS).unlink()
    loading = asyncio.ensure_future(storage.load("a"))
    await asyncio.wait([loading], timeout=0.1)
    (root / COUNTERS).unlink(missing_ok=True)
    await asyncio.wait([loading], timeout=0.3)
    assert not loading.done()

    elsewhere.release()
    async with asyncio.timeout(20):
        assert (await loading or {})["id"] == "a"
    assert counters.are_named()
    assert not counters.look().unfinished
    elsewhere.close()
