"""Where functions run, and how long for the lock of somebody else is waited."""

import asyncio
import errno
from pathlib import Path

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageUnavailableError
from fsstore.filesystem.log.lock import StoreLock
from tests.filesystem.faults import until
from tests.filesystem.read.held_lock import WITHOUT_END, a_commit_that_the_index_lacks


async def test_what_the_system_refuses_in_a_reader_thread_is_an_error_of_the_store(storage: FileStorage) -> None:
    def refused() -> None:
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(StorageUnavailableError, match="Input/output error") as raised:
        await storage._reading.executor.in_thread(refused)
    assert raised.value.errno == errno.EIO


async def test_only_the_first_read_beside_a_held_lock_waits_for_it(
    tmp_path: Path, elsewhere: StoreLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await FileStorage.open(tmp_path, lock_timeout_seconds=WITHOUT_END) as storage:
        await storage.save({"id": "a", "data": 1})
        await storage.list()
        elsewhere.acquire(10)
        try:
            a_commit_that_the_index_lacks(tmp_path)
            assert await storage.count() == 1
            monkeypatch.setattr("fsstore.filesystem.read.executor._MOMENT_SECONDS", WITHOUT_END)
            async with asyncio.timeout(60):
                assert [
                    record["data"] for batch in [await storage.list(), await storage.list()] for record in batch
                ] == [5, 5]
        finally:
            elsewhere.release()


async def test_a_cancelled_read_leaves_nothing_waiting_for_the_lock(tmp_path: Path, elsewhere: StoreLock) -> None:
    async with await FileStorage.open(tmp_path) as writing:
        await writing.save({"id": "a", "data": 1})
    async with await FileStorage.open(tmp_path, lock_timeout_seconds=WITHOUT_END) as storage:
        elsewhere.acquire(10)
        reading, store = storage._reading, storage._store
        waiting = asyncio.ensure_future(reading.executor.soon_under_lock(lambda: None))
        assert store.writer is not None
        await until(lambda: store.writer is not None and store.writer._waiting_since is not None)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        try:
            async with asyncio.timeout(30):
                await storage.close()
        finally:
            elsewhere.release()
