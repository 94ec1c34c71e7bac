import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fsstore import MemoryStorage
from fsstore.sync import open_sessions
from fsstore.testing import SessionContract, StorageContract, WatchContract
from fsstore.testing.machine import storage_machine


class TestMemoryStorage(StorageContract, SessionContract, WatchContract):
    async def open_store(self, path: Path) -> MemoryStorage:  # noqa: ARG002 - it needs no place
        return MemoryStorage()


async def open_memory(path: Path) -> MemoryStorage:  # noqa: ARG001 - it needs no place
    return MemoryStorage()


TestMemoryStorageAtRandom = storage_machine(open_memory)


def test_no_append_of_threads_is_lost() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with open_sessions("memory:") as sessions, ThreadPoolExecutor(4) as threads:
            lengths = list(threads.map(lambda turn: sessions.append_session("a", [turn]), range(200)))
            assert sorted(lengths) == list(range(1, 201))
            assert sorted(sessions.read_tail("a", 1000).items) == list(range(200))
    finally:
        sys.setswitchinterval(interval)
