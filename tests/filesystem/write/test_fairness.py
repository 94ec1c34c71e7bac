"""How long a turn at writing lasts, and what the others get meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from fsstore import FileStorage
from fsstore.filesystem.log import lock
from fsstore.filesystem.write import commit, index_updates
from tests.filesystem.faults import busy_writer, until

WITHOUT_END = 60.0


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a turn go on as long as there is work."""
    monkeypatch.setattr(lock, "_LONGEST_SECONDS", WITHOUT_END)
    monkeypatch.setattr(lock, "_REQUESTED_SECONDS", WITHOUT_END)
    monkeypatch.setattr(lock, "_LINGER_SECONDS", WITHOUT_END)
    monkeypatch.setattr(lock, "_SHORT_LINGER_SECONDS", WITHOUT_END)


@pytest.fixture
async def writing(tmp_path: Path) -> AsyncIterator[FileStorage]:
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        await storage.list()
        yield storage
    assert_checkpointed(storage)


@pytest.fixture
async def reading(tmp_path: Path, writing: FileStorage) -> AsyncIterator[FileStorage]:  # noqa: ARG001 - it comes first
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        await storage.list()
        yield storage
    assert_checkpointed(storage)


def assert_checkpointed(storage: FileStorage) -> None:
    """Let a checkpoint at close that fails, or is not done, not go unnoticed."""
    assert storage._store.writer is not None
    assert (storage._store.writer.checkpoints.error, storage._store.log.numbers()) == ("", [])


@asynccontextmanager
async def saving(storage: FileStorage) -> AsyncIterator[None]:
    """Save one document after the other."""

    async def save() -> None:
        number = 0
        while True:
            await storage.save({"id": f"busy-{number % 50}"})
            number += 1

    task = asyncio.create_task(save())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def turns(storage: FileStorage) -> int:
    return storage._store.counters.read().lock_acquisitions


def indexed(store: Path) -> int:
    """Return how many documents the index knows, asked behind the store's back."""
    with closing(sqlite3.connect(store / ".fsstore" / "index.sqlite3")) as connection:
        return int(connection.execute("SELECT count(*) FROM entry").fetchone()[0])


@pytest.mark.usefixtures("endless")
async def test_who_asks_the_index_elsewhere_does_not_wait_for_the_end_of_a_turn(
    writing: FileStorage, reading: FileStorage
) -> None:
    await writing.save({"id": "first"})
    async with saving(writing):
        before = turns(writing)
        for _ in range(3):
            assert "first" in {record["id"] for record in await asyncio.wait_for(reading.list_metadata(), 20)}
        assert turns(writing) == before


@pytest.mark.usefixtures("endless")
async def test_the_index_hears_of_many_documents_while_the_turn_goes_on(
    writing: FileStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "_MOST_UNTIDY", 1)
    monkeypatch.setattr(index_updates, "_MANY", 3)
    for number in range(5):
        await writing.save({"id": f"n{number}"})
    await until(lambda: indexed(tmp_path) >= 3)
    assert await writing.count() == 5


@pytest.mark.usefixtures("endless")
async def test_who_opens_a_store_does_not_wait_for_the_end_of_a_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await FileStorage.open(tmp_path) as writing:
        await writing.save({"id": "first"})
        async with saving(writing):
            opened = await asyncio.wait_for(FileStorage.open(tmp_path), 20)
            assert await opened.exists("first")
            monkeypatch.setattr(lock, "_REQUESTED_SECONDS", 0.01)
            await opened.close()


@pytest.mark.usefixtures("endless")
async def test_a_turn_that_is_wished_for_ends_soon_though_work_goes_on(
    writing: FileStorage, reading: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_REQUESTED_SECONDS", 0.01)
    async with saving(writing):
        for number in range(3):
            await asyncio.wait_for(reading.save({"id": f"other-{number}"}), 20)


async def test_without_work_the_lock_is_given_back_at_once(writing: FileStorage) -> None:
    writer = writing._store.writer
    assert writer is not None
    await writing.save({"id": "a"})
    await until(lambda: not writer.lock_is_held())
    with busy_writer(writing):
        assert writer.lock_is_held()


async def test_counters_from_before_the_ninth_are_read_and_grow(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        await storage.save({"id": "a"})
    counters = tmp_path / ".fsstore" / "seq"
    counters.write_bytes(counters.read_bytes()[:64])
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        assert storage._store.counters.increase("index_requests") == 1
        assert [record["id"] for record in await storage.list()] == ["a"]
