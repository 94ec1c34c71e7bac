from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from fsstore import FileStorage
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.log.counters import State
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
