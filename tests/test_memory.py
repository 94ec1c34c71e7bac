from pathlib import Path

from fsstore import MemoryStorage
from fsstore.testing import SessionContract, StorageContract, WatchContract
from fsstore.testing.machine import storage_machine


class TestMemoryStorage(StorageContract, SessionContract, WatchContract):
    async def open_store(self, path: Path) -> MemoryStorage:  # noqa: ARG002 - it needs no place
        return MemoryStorage()


async def open_memory(path: Path) -> MemoryStorage:  # noqa: ARG001 - it needs no place
    return MemoryStorage()


TestMemoryStorageAtRandom = storage_machine(open_memory)
