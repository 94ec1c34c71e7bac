from pathlib import Path

import pytest

from fsstore import FileStorage
from fsstore.testing import SessionContract, StorageContract, WatchContract
from fsstore.testing.machine import storage_machine


async def open_durable(path: Path) -> FileStorage:
    return await FileStorage.open(path)


async def open_quick(path: Path) -> FileStorage:
    return await FileStorage.open(path, fsync=False)


class TestDurableFileStorage(StorageContract, SessionContract, WatchContract):
    async def open_store(self, path: Path) -> FileStorage:
        return await open_durable(path)


class TestQuickFileStorage(StorageContract, SessionContract, WatchContract):
    async def open_store(self, path: Path) -> FileStorage:
        return await open_quick(path)


@pytest.mark.usefixtures("coarse_clock")
class TestFileStorageOnACoarseClock(StorageContract, SessionContract, WatchContract):
    async def open_store(self, path: Path) -> FileStorage:
        return await open_quick(path)


TestDurableFileStorageAtRandom = storage_machine(open_durable, examples=8)
TestQuickFileStorageAtRandom = storage_machine(open_quick, examples=16)
