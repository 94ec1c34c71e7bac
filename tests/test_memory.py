import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fsstore import MemoryStorage, Mutation, StorageUnavailableError
from fsstore.model.mutations import saving
from fsstore.model.records import JsonObject
from fsstore.sync import Storage, open_sessions
from fsstore.testing import SessionContract, StorageContract, WatchContract
from fsstore.testing.machine import storage_machine


class TestMemoryStorage(StorageContract, SessionContract, WatchContract):
    async def open_store(self, path: Path) -> MemoryStorage:  # noqa: ARG002 - it needs no place
        return MemoryStorage()


async def open_memory(path: Path) -> MemoryStorage:  # noqa: ARG001 - it needs no place
    return MemoryStorage()


TestMemoryStorageAtRandom = storage_machine(open_memory)


async def test_a_commit_within_a_commit_is_refused_and_waits_for_nobody() -> None:
    storage, refused = MemoryStorage(), list[StorageUnavailableError]()

    def rule(current: JsonObject | None) -> JsonObject | None:
        # as a signal handler does that comes in between
        with pytest.raises(StorageUnavailableError, match="in the middle of a commit") as error:
            storage.commit([saving({"id": "b", "type": "t", "data": {}})]).send(None)
        refused.append(error.value)
        return current

    await storage.save({"id": "a", "data": {"n": 1}})
    await storage.commit([Mutation("a", rule)])
    assert [error.outcome for error in refused] == ["not applied"]
    await storage.save({"id": "c"})
    assert await storage.count() == 2


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


def test_no_thread_sees_half_a_batch_of_another() -> None:
    names, torn = [f"{at:03}" for at in range(150)], list[object]()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with open_sessions("memory:") as sessions, ThreadPoolExecutor(2) as threads:

            def write(turns: range) -> None:
                for turn in turns:
                    sessions.batch_save_sessions({name: {"turn": turn} for name in names})

            write(range(1))
            writing = threads.submit(write, range(1, 60))
            while not writing.done():
                seen = {session["turn"] for session in sessions.list_sessions()}
                if len(seen) != 1:
                    torn.append(seen)
            writing.result()
    finally:
        sys.setswitchinterval(interval)
    assert torn == []


def test_what_a_thread_reads_one_by_one_is_no_half_of_a_batch_of_another() -> None:
    seen, threads = list[object](), list[threading.Thread]()

    def read() -> None:
        for name in "ab":
            seen.append((storage.load(name) or {})["data"])

    class Interrupted(dict[str, JsonObject]):
        def __setitem__(self, key: str, value: JsonObject) -> None:
            super().__setitem__(key, value)
            if not threads:
                threads.append(threading.Thread(target=read))
                threads[0].start()
                # time for all of it, were it not kept out
                threads[0].join(0.1)

    inner = MemoryStorage()
    with Storage(inner) as storage:
        storage.batch_save([{"id": "a", "data": 1}, {"id": "b", "data": 1}])
        inner._records = Interrupted(inner._records)
        storage.batch_save([{"id": "a", "data": 2}, {"id": "b", "data": 2}])
        threads[0].join()
    assert seen in ([1, 1], [2, 2])
