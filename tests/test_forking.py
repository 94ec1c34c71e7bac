"""What a fork does to stores that are open; the matrix of it is in `tests/campaign/test_forks.py`."""

import os
import threading
import time
from pathlib import Path
from weakref import WeakSet

import pytest

from fsstore import forking
from fsstore.errors import StorageClosedError
from fsstore.forking import _Sqlite
from tests.filesystem.forks import REFUSED, WORKED, Case, ended, lost, program_forked

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")


def run(program: str, *arguments: object) -> list[str]:
    """Run a program and return the lines that it prints."""
    said, _ = ended("-W", "ignore", "-c", program, *arguments, seconds=60)
    return said.splitlines()


# -- SQLite -----------------------------------------------------------------------------------------------------------


def test_nobody_begins_to_use_sqlite_while_the_process_is_forked() -> None:
    sqlite, inside = _Sqlite(), threading.Event()

    def use() -> None:
        with sqlite:
            inside.set()

    sqlite.before_fork()
    thread = threading.Thread(target=use)
    thread.start()
    assert not inside.wait(0.1)
    sqlite.after_fork()
    thread.join()
    assert inside.is_set()


def test_a_fork_waits_until_nobody_uses_sqlite_but_not_for_ever_and_not_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sqlite, inside, leave = _Sqlite(), threading.Event(), threading.Event()

    def use() -> None:
        with sqlite:
            inside.set()
            leave.wait()

    thread = threading.Thread(target=use)
    thread.start()
    assert inside.wait(20)
    begun = time.monotonic()
    sqlite.before_fork()
    assert time.monotonic() - begun < 30
    assert sqlite.in_child().is_lost
    sqlite.after_fork()
    # on a busy machine the other thread takes its time
    monkeypatch.setattr(forking, "_WAIT_SECONDS", 20.0)
    threading.Timer(0.01, leave.set).start()
    sqlite.before_fork()
    thread.join()
    assert not sqlite.in_child().is_lost
    sqlite.after_fork()
    with sqlite, sqlite:
        sqlite.before_fork()
        assert sqlite.in_child().is_lost
        sqlite.after_fork()
    assert sqlite._users == 0


def test_who_must_use_sqlite_while_a_fork_closes_connections_can_and_the_child_cannot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A signal handler in the forking thread waits for it."""
    sqlite, used, threads = _Sqlite(), threading.Event(), list[threading.Thread]()

    class Interrupted:
        def disconnect(self) -> None:
            threads.append(threading.Thread(target=use, daemon=True))
            threads[-1].start()
            used.wait(20)

    def use() -> None:
        with sqlite:
            used.set()

    who = Interrupted()
    monkeypatch.setattr(forking, "_LONGEST_FORK_SECONDS", 0.01)
    monkeypatch.setattr(forking, "_CONNECTED", WeakSet([who]))

    sqlite.before_fork()
    assert used.is_set()
    assert sqlite.in_child().is_lost
    sqlite.after_fork()
    threads.pop().join(20)
    # whoever wants to use it during the next fork waits for its end, however long the lines here take
    monkeypatch.setattr(forking, "_LONGEST_FORK_SECONDS", 600.0)
    sqlite.before_fork()
    assert not sqlite.in_child().is_lost
    sqlite.after_fork()
    threads.pop().join(20)


def test_a_process_that_was_forked_past_the_interpreter_uses_no_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(StorageClosedError, match="forked"), forking.using_sqlite():
        pass
    with pytest.raises(StorageClosedError, match="the store here is closed") as caught:
        forking.check_sqlite("here")
    assert "spawn" in caught.value.advice


LOST = """
import asyncio, os, sys, threading
from fsstore import FileStorage, LegacySessionStoreAdapter, MemoryStorage, StorageClosedError, open_sessions
from fsstore.forking import using_sqlite

async def refused(call):
    try:
        await call
    except StorageClosedError as error:
        assert "forked" in str(error)
    else:
        raise AssertionError("it was not refused")

async def child():
    await refused(storage.save({"id": "b"}))
    await refused(storage.load("a"))
    await refused(storage.list())
    await refused(FileStorage.open(sys.argv[1]))
    await refused(memory.query("SELECT id FROM documents"))
    assert await memory.load("m") is not None
    await storage.close()

async def begin():
    storage, memory = await FileStorage.open(sys.argv[1], fsync=False), MemoryStorage()
    await storage.save({"id": "a"})
    await storage.list()
    await memory.save({"id": "m"})
    return storage, memory

def use():
    # as a long list does, with a connection of its own
    storage._store.index_file.use(lambda index: (inside.set(), leave.wait()))

storage, memory = asyncio.run(begin())
inside, leave = threading.Event(), threading.Event()
thread = threading.Thread(target=use)
thread.start()
inside.wait()
process = os.fork()
if not process:
    asyncio.run(child())
    # it ends as programs do
    sys.exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
leave.set()
thread.join()
asyncio.run(storage.save({"id": "c"}))
print(code, sorted(record["id"] for record in asyncio.run(storage.list())))
asyncio.run(storage.close())
"""


def test_a_child_that_was_forked_while_sqlite_was_at_work_is_refused_and_its_parent_is_not(tmp_path: Path) -> None:
    assert run(LOST, tmp_path / "store") == ["0 ['a', 'c']"]


KEPT = """
import asyncio, atexit, gc, os, sqlite3, sys, threading
from fsstore import FileStorage
from fsstore.filesystem.disk.files import Tree
from fsstore.forking import using_sqlite

async def begin():
    async with await FileStorage.open(sys.argv[1]) as storage:
        await storage.save({"id": "a"})
    # so its index is in memory, and it has no writer
    Tree.is_writable = lambda *_: False
    storage = await FileStorage.open(sys.argv[1])
    assert len(await storage.list()) == 1
    return storage

def use():
    with using_sqlite():
        inside.set()
        leave.wait()

def connections():
    return sum(isinstance(each, sqlite3.Connection) for each in gc.get_objects())

storage = asyncio.run(begin())
inside, leave = threading.Event(), threading.Event()
threading.Thread(target=use, daemon=True).start()
inside.wait()
process = os.fork()
if not process:
    # as when the interpreter forgets it, at the very end
    atexit.unregister(storage._store._end_at_exit)
    inherited, storage = connections(), None
    gc.collect()
    print(inherited, connections(), flush=True)
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
asyncio.run(storage.close())
"""


def test_such_a_child_closes_no_connection_since_that_might_wait_for_a_thread_of_its_parent(tmp_path: Path) -> None:
    assert run(KEPT, tmp_path / "store") == ["1 1"]


SAME_INDEX = """
import asyncio, os, sys
from pathlib import Path
from fsstore import FileStorage

def opened():
    links = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")
             if os.path.lexists(f"/proc/self/fd/{name}")]
    return sorted(link for link in links if link.startswith(sys.argv[1]))

async def begin():
    storage = await FileStorage.open(sys.argv[1], fsync=False)
    await storage.batch_save([{"id": f"{number}"} for number in range(20)])
    await asyncio.gather(*(storage.list() for _ in range(4)))
    return storage

storage = asyncio.run(begin())
index = Path(sys.argv[1], ".fsstore/index.sqlite3")
before, in_use = index.stat().st_ino, opened()
process = os.fork()
if not process:
    assert opened() == [], opened()
    asyncio.run(storage.save({"id": "child"}))
    assert len(asyncio.run(storage.list())) == 21
    assert index.stat().st_ino == before
    asyncio.run(storage.close())
    assert opened() == [], opened()
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
assert len(in_use) > 2
assert len(asyncio.run(storage.list())) == 21
assert index.stat().st_ino == before
asyncio.run(storage.close())
print("done")
"""


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not list descriptors")
def test_a_child_inherits_no_file_of_the_store_and_uses_the_index_that_is_there(tmp_path: Path) -> None:
    assert run(SAME_INDEX, tmp_path / "store") == ["done"]


# -- locks ------------------------------------------------------------------------------------------------------------

GUARDED = """
import asyncio, os, sys, threading
from fsstore import MemoryStorage, StorageClosedError

async def begin():
    storage = MemoryStorage()
    watch = storage.watch()
    await watch.started()
    return storage, watch

async def child():
    await storage.save({"id": "a"})
    await watch.aclose()
    try:
        await anext(watch)
    except StorageClosedError as error:
        assert "forked" in str(error)
    async with storage.watch() as own:
        await storage.save({"id": "b"})
        assert (await anext(own)).id == "b"

def hold():
    with watch._ledger.guard:
        inside.set()
        leave.wait()

storage, watch = asyncio.run(begin())
inside, leave = threading.Event(), threading.Event()
thread = threading.Thread(target=hold)
thread.start()
inside.wait()
process = os.fork()
if not process:
    asyncio.run(asyncio.wait_for(child(), 20))
    sys.exit(0)
leave.set()
print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"""


def test_a_lock_that_was_held_at_the_fork_stops_no_child() -> None:
    assert run(GUARDED) == ["0"]


MANY_THREADS = """
import asyncio, os, sys, threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fsstore import FileStorage

storage = asyncio.run(FileStorage.open(sys.argv[1], live=True))
asyncio.run(storage.save({"id": "a"}))
assemble, both = FileStorage._assemble, threading.Barrier(2)

def slowly(storage):
    # whoever opens it waits a little for another one who does
    with suppress(threading.BrokenBarrierError):
        both.wait(0.5)
    assemble(storage)

FileStorage._assemble = slowly
process = os.fork()
if not process:
    changes = storage.watch()
    with ThreadPoolExecutor(4) as threads:
        for loaded in [threads.submit(asyncio.run, storage.load("a")) for _ in range(4)]:
            assert loaded.result(timeout=20) is not None
    assert sum(thread.name == "fsstore-writer" for thread in threading.enumerate()) == 1
    asyncio.run(storage.close())
    sys.exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
asyncio.run(storage.close())
"""


def test_threads_of_a_child_open_a_store_again_once(tmp_path: Path) -> None:
    assert run(MANY_THREADS, tmp_path / "store") == ["0"]
    assert run(MANY_THREADS.replace("    changes = storage.watch()\n", ""), tmp_path / "store") == ["0"]


# -- programs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("face", ["async", "legacy"])
async def test_parent_and_children_list_in_turn(face: str, tmp_path: Path) -> None:
    path = tmp_path / "store"
    said = program_forked(Case(face, "idle", "fork", "works"), 3, path)
    assert said["codes"] == [WORKED] * 3
    # every child uses the index that it finds, and no inode number is taken for another file's
    assert "made anew" not in said["errors"]
    assert await lost(path, said["saved"]) == []


@pytest.mark.parametrize(
    ("face", "work", "forked"),
    [
        ("async", "writing", "fork"),
        ("async", "watching", "multiprocessing"),
        ("legacy", "listing", "thread"),
        ("legacy", "writing", "multiprocessing"),
    ],
)
async def test_parent_and_children_go_on(face: str, work: str, forked: str, tmp_path: Path) -> None:
    path = tmp_path / "store"
    said = program_forked(Case(face, work, forked, "works"), 3, path)
    assert set(said["codes"]) <= {WORKED, REFUSED}
    assert await lost(path, said["saved"]) == []


@pytest.mark.parametrize("child", ["exits", "closes"])
async def test_a_child_that_does_nothing_harms_nobody(child: str, tmp_path: Path) -> None:
    path = tmp_path / "store"
    said = program_forked(Case("async", "writing", "fork", child), 3, path)
    assert said["codes"] == [WORKED] * 3
    assert await lost(path, said["saved"]) == []
