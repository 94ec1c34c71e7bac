import asyncio
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fsstore import FileStorage
from fsstore.errors import StorageError
from fsstore.filesystem.index import connection as connection_module
from fsstore.filesystem.index import index as index_module
from fsstore.filesystem.index import index_file as index_file_module
from fsstore.filesystem.index.connection import IndexDamagedError
from fsstore.filesystem.index.reconcile import Compared, Reconciler
from fsstore.filesystem.read.fresh_index import FreshIndex
from fsstore.model.records import JsonObject
from tests.filesystem.faults import Faults, place, until
from tests.filesystem.rescan import contradictions, documents

INDEX = ".fsstore/index.sqlite3"
FILES = (INDEX, f"{INDEX}-wal", f"{INDEX}-shm")


def note(number: int, status: str = "open") -> JsonObject:
    metadata = {"status": status, "rank": number % 5, "tags": ["red"] if number % 2 else ["blue"]}
    return {"id": f"n{number}", "session_id": f"s{number % 3}", "data": {"metadata": metadata, "text": f"t{number}"}}


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> Path:
    """Return a store with eight documents, all indexed, that no process has open."""
    async with await FileStorage.open(tmp_path / "store", fsync=False) as storage:
        await storage.batch_save(note(number) for number in range(8))
        await storage.refresh()
    return tmp_path / "store"


@pytest_asyncio.fixture
async def storage(store: Path) -> AsyncGenerator[FileStorage]:
    async with await FileStorage.open(store, fsync=False) as storage:
        await storage.list()
        yield storage


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(monkeypatch)


async def index_lies(storage: FileStorage) -> str:
    """Return where the index is: in its file, or in memory."""
    return str((await storage.health_check())["index"])


def alter(store: Path, *statements: str) -> None:
    """Let another SQLite client change the index."""
    with closing(sqlite3.connect(store / INDEX, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def occupy(path: Path) -> None:
    """Put a directory there that cannot be removed at one blow."""
    path.unlink(missing_ok=True)
    path.mkdir()
    (path / "file").touch()


# -- a file that cannot be written -----------------------------------------------------------------------------------


@contextmanager
def refused(faults: Faults) -> Iterator[None]:
    with faults.where(lambda _name, arguments: "index.sqlite3" in str(arguments[0]), errno.EACCES):
        yield


@contextmanager
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no connection that is opened now make the index any larger."""
    connect = connection_module.connect

    def small(path: str | None) -> sqlite3.Connection:
        connection = connect(path)
        if path is not None:
            connection.execute("PRAGMA max_page_count = 1")
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(index_module, "connect", small)
        yield


@pytest.mark.parametrize("missing", [True, False], ids=["missing", "there"])
async def test_while_no_index_can_be_made_answers_come_from_memory_and_later_from_the_file_again(
    store: Path, faults: Faults, *, missing: bool
) -> None:
    async with await FileStorage.open(store, fsync=False) as storage:
        (store / INDEX).unlink()
        if not missing:
            (store / INDEX).write_bytes(b"garbage" * 1000)
        with refused(faults):
            assert await contradictions(storage, store) == []
            await storage.batch_save([note(3, "done"), note(9)])
            await storage.delete("n1")
            assert await contradictions(storage, store) == []
            assert await index_lies(storage) == "memory"
        await storage.save(note(10))
        assert await contradictions(storage, store) == []
        assert await index_lies(storage) == "file"
        assert storage._store.index_file._memory is None


async def test_a_write_is_acknowledged_and_found_while_the_index_is_full(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full(monkeypatch):
        async with await FileStorage.open(store, fsync=False) as storage:
            for number in range(8, 30):
                await storage.save(note(number, "x" * 2000))
            assert await contradictions(storage, store) == []
            assert await index_lies(storage) == "memory"
    async with await FileStorage.open(store, fsync=False) as storage:
        assert await contradictions(storage, store) == []
        assert await index_lies(storage) == "file"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["/bin/mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["/bin/umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> None:
    with (disk / "ballast").open("ab", buffering=0) as ballast:
        try:
            while True:
                ballast.write(b"x" * 4096)
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 - it is how this ends


@pytest.mark.parametrize("files", [FILES, FILES[1:]], ids=["without an index", "without its log"])
async def test_a_store_on_a_full_disk_is_listed(small_disk: Path, files: tuple[str, ...]) -> None:
    store = small_disk / "store"
    async with await FileStorage.open(store, fsync=False) as storage:
        await storage.batch_save(note(number) for number in range(30))
        await storage.list()
    for name in files:
        (store / name).unlink(missing_ok=True)
    fill(small_disk)
    async with await FileStorage.open(store, fsync=False) as storage:
        assert await contradictions(storage, store) == []
        with pytest.raises(StorageError, match="space"):
            await storage.save(note(31) | {"text": "x" * 100_000})
        assert await contradictions(storage, store) == []
        (small_disk / "ballast").unlink()
        await storage.save(note(31))
        assert await contradictions(storage, store) == []
        assert await index_lies(storage) == "file"


async def test_a_disk_that_fills_up_while_the_store_is_open_loses_nothing_acknowledged(small_disk: Path) -> None:
    store, saved = small_disk / "store", set()
    async with await FileStorage.open(store, fsync=False) as storage:

        async def save_on() -> None:
            for number in range(1000):
                saved.add(await storage.save(note(number) | {"text": "x" * 3000}))

        await storage.list()
        with pytest.raises(StorageError, match="space"):
            await save_on()
        assert {path.stem for path in store.glob("??/*.json")} == saved
        assert await contradictions(storage, store) == []


async def test_an_index_that_another_program_keeps_locked_is_done_without(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_BUSY_TIMEOUT_SECONDS", 0.05)
    async with await FileStorage.open(store, fsync=False) as storage:
        with closing(sqlite3.connect(store / INDEX, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await storage.save(note(8))
            assert await contradictions(storage, store) == []
            assert await index_lies(storage) == "memory"
        assert await index_lies(storage) == "file"
        assert await contradictions(storage, store) == []


# -- an index in memory -----------------------------------------------------------------------------------------------


async def test_an_index_in_memory_follows_the_commits_of_others(store: Path) -> None:
    occupy(store / INDEX)
    async with await FileStorage.open(store, fsync=False) as one, await FileStorage.open(store, fsync=False) as other:
        assert await contradictions(one, store) == []
        for number in range(8, 10):
            await other.save(note(number))
            assert await contradictions(one, store) == []
            await one.batch_save([note(number, "done"), note(number + 10)])
            assert await contradictions(other, store) == []
        assert await index_lies(one) == await index_lies(other) == "memory"
        shutil.rmtree(store / INDEX)
        await one.delete("n0")
        assert await contradictions(one, store) == []
        assert await contradictions(other, store) == []
        assert await index_lies(one) == await index_lies(other) == "file"


async def test_one_process_falls_back_and_the_other_does_not(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await FileStorage.open(store, fsync=False) as good:
        # its connections are opened now, that of each thread
        await good.save(note(7))
        await good.list()
        await good._reading.executor.under_lock(
            lambda: good._store.index_file.use(lambda index: index.get_meta("complete"))
        )
        with full(monkeypatch):
            async with await FileStorage.open(store, fsync=False) as poor:
                for number in range(8, 30):
                    await poor.save(note(number, "x" * 2000))
                await until(lambda: poor._store.index_file.in_memory)
                assert await contradictions(good, store) == []
                await good.batch_save([note(0, "done"), note(300)])
                assert await contradictions(poor, store) == []
                assert not good._store.index_file.in_memory


async def test_a_commit_beside_a_reader_that_goes_over_to_memory_is_found_by_other_processes(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader does so when the writer has just found the file in use."""
    async with await FileStorage.open(store, fsync=False) as storage, await FileStorage.open(store) as other:
        await storage.list()
        await other.list()
        index_file, writer = storage._store.index_file, storage._store.writer
        using, blows = vars(index_file_module)["using_sqlite"], iter([True])
        assert writer is not None

        def struck() -> Any:
            if threading.current_thread() is writer._thread and next(blows, False):
                index_file.fall_back()
            return using()

        monkeypatch.setattr(index_file_module, "using_sqlite", struck)
        await storage.save(note(8))

        assert await other.count() == 9
        assert {record["id"] for record in await other.list()} == {f"n{number}" for number in range(9)}
        assert index_file.in_memory
        assert await contradictions(storage, store) == []


async def test_a_store_that_may_only_be_read_follows_the_commits_of_others(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await FileStorage.open(store, fsync=False) as writer:
        with monkeypatch.context() as patch:
            access = os.access
            patch.setattr(os, "access", lambda path, mode: not mode & os.W_OK and access(path, mode))
            reader = await FileStorage.open(store)
        async with reader:
            assert await contradictions(reader, store) == []
            await writer.batch_save([note(0, "done"), note(8)])
            await writer.delete("n1")
            assert await contradictions(reader, store) == []


async def test_an_answer_from_memory_does_not_count_though_the_file_is_in_use_again_by_then(
    storage: FileStorage,
) -> None:
    """Another call has gone over to memory, and a third one has tried the file again."""
    index_file, fresh_index = storage._store.index_file, storage._reading.fresh_index
    ask, blows = fresh_index.in_index, iter([True])

    async def struck(work: Callable[[Any], Any]) -> Any:
        if not next(blows, False):
            return await ask(work)
        index_file.fall_back()
        try:
            return await ask(work)
        finally:
            index_file.try_file()

    fresh_index.in_index = struck  # type: ignore[method-assign]
    assert await storage.count() == 8
    assert await index_lies(storage) == "file"


async def test_a_count_from_memory_never_shows_half_a_batch_and_is_answered_under_load(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch is committed whenever the index is compared, and again."""
    occupy(store / INDEX)
    async with await FileStorage.open(store, fsync=False) as storage, await FileStorage.open(store) as other:
        await storage.count()
        compared, turns = FreshIndex._compared, iter(range(1000))

        async def batch() -> None:
            turn = f"turn {next(turns)}"
            await other.batch_save(note(100 + number, turn) for number in range(4))

        async def disturbed(self: FreshIndex, progress: Any) -> Any:
            if self is not storage._reading.fresh_index:
                return await compared(self, progress)
            await batch()
            found = await compared(self, progress)
            await batch()
            return found

        monkeypatch.setattr(FreshIndex, "_compared", disturbed)
        for number in range(3):
            await other.save(note(50 + number))
            metadata = await storage.list_metadata({"data.metadata.status": {"$regex": "turn"}})
            assert len(metadata) == 4
            assert len({row["metadata"]["status"] for row in metadata}) == 1
        assert await contradictions(storage, store) == []


# -- something else in its place --------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["closed", "open"])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["dangling link", "link to an index", "pipe", "full directory"])
async def test_nothing_outside_of_the_store_is_written_whatever_stands_where_the_index_was(
    store: Path, tmp_path: Path, kind: str, name: str, when: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.copy(store / INDEX, outside / "index")

    def put() -> None:
        path = store / name
        path.unlink(missing_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "full directory":
            occupy(path)
        else:
            path.symlink_to(outside / ("index" if kind == "link to an index" else "missing"))

    if when == "closed":
        put()
    async with await FileStorage.open(store, fsync=False) as storage:
        if when == "open":
            await storage.list()
            put()
        before = {path.name: path.read_bytes() for path in outside.iterdir()}
        await storage.save(note(8))
        assert await contradictions(storage, store) == []
        assert await index_lies(storage) == ("memory" if kind == "full directory" else "file")
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == before


PEER = """
import asyncio, sys
from fsstore import FileStorage

async def main(store):
    async with await FileStorage.open(store, fsync=False) as storage:
        for line in sys.stdin:
            word, number = line.split()
            if word == "save":
                await storage.save({"id": number, "data": {"metadata": {"status": "peer"}}})
            print(sorted(record["id"] for record in await storage.list()), flush=True)

asyncio.run(main(sys.argv[1]))
"""


@contextmanager
def peer(store: Path) -> Iterator[Callable[[str], list[str]]]:
    """Have another process save and list; it tells which ids it finds."""
    command = [sys.executable, "-c", PEER, str(store)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        tell, answers = process.stdin, process.stdout

        def ask(command: str) -> list[str]:
            print(command, file=tell, flush=True)
            return [word.strip("[],'") for word in answers.readline().split()]

        yield ask
        tell.close()


TRUNCATING = """
import asyncio, os, sys
from fsstore import FileStorage

async def main(store):
    async with await FileStorage.open(store, fsync=False) as storage:
        for number in range(5):
            print(await storage.save({"id": f"x{number}"}), flush=True)
        await storage.list()
        os.truncate(f"{store}/.fsstore/index.sqlite3-shm", 0)
        print(await storage.save({"id": "last"}), flush=True)
        await storage.list()

asyncio.run(main(sys.argv[1]))
"""


def acknowledged_before_the_cut(store: Path) -> set[str]:
    command = [sys.executable, "-c", TRUNCATING, str(store)]
    return set(subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.split())


async def test_a_process_whose_shared_memory_is_cut_off_may_die_and_loses_nothing_acknowledged(store: Path) -> None:
    """The system ends a program that reads a mapped file behind its end; SQLite maps this one."""
    acknowledged = acknowledged_before_the_cut(store)
    assert len(acknowledged) >= 5
    async with await FileStorage.open(store) as storage:
        assert await contradictions(storage, store) == []
        assert acknowledged <= {record["id"] for record in await storage.list()}


async def test_a_thread_that_comes_later_does_not_take_the_shared_memory_of_others_for_its_own(store: Path) -> None:
    async with await FileStorage.open(store, fsync=False) as storage:
        await storage.list()
        (store / FILES[2]).unlink()
        with peer(store) as ask:
            assert "p0" in ask("save p0")
            # to SQLite this connection is one more of a process that has the old one mapped
            with pytest.raises(IndexDamagedError, match="has been replaced"):
                await asyncio.to_thread(storage._store.index_file.use, lambda _: None)
            assert await contradictions(storage, store) == []


@pytest.mark.parametrize("lost", [FILES[1:2], FILES[2:], FILES[1:], FILES], ids=["log", "memory", "both", "all"])
async def test_processes_that_lose_sight_of_each_others_index_files_see_each_others_commits(
    store: Path, lost: tuple[str, ...]
) -> None:
    async with await FileStorage.open(store, fsync=False) as storage:
        await storage.list()
        for name in lost:
            (store / name).unlink()
        ids = {f"n{number}" for number in range(8)}
        with peer(store) as ask:
            for number in range(2):
                ids |= {f"p{number}", f"n{20 + number}"}
                await storage.save(note(20 + number))
                assert set(ask(f"save p{number}")) == ids
                assert await contradictions(storage, store) == []
                ids |= {f"n{30 + number}"}
                await storage.save(note(30 + number))
                assert set(ask("list 0")) == ids


async def test_connections_that_are_closed_for_a_fork_are_opened_again_to_the_same_file(
    storage: FileStorage, store: Path
) -> None:
    await storage.save(note(8))
    assert await storage.count() == 9
    inode = (store / INDEX).stat().st_ino

    storage._store.index_file.disconnect()

    # not folded into the file, where Python can say so: that would keep a fork waiting for the disk
    assert (store / FILES[1]).exists() == hasattr(sqlite3.Connection, "setconfig")
    assert await storage.count() == 9
    await storage.save(note(9))
    assert len(await storage.list()) == await storage.count() == 10
    assert (store / INDEX).stat().st_ino == inode


async def test_an_index_that_is_replaced_just_before_it_is_asked_hides_nothing(
    storage: FileStorage, store: Path
) -> None:
    index_file, reading = storage._store.index_file, storage._reading
    ask, blows = reading.fresh_index.in_index, iter([True])

    async def struck(work: Callable[[Any], Any]) -> Any:
        if next(blows, False):
            (store / INDEX).unlink()
            await reading.executor.under_lock(lambda: index_file.record([], []))
        return await ask(work)

    # the blow falls between the look at the index and its use
    reading.fresh_index.in_index = struck  # type: ignore[method-assign]
    assert len(await storage.list()) == 8
    assert await contradictions(storage, store) == []


async def test_an_index_that_takes_the_place_of_the_one_that_was_compared_is_not_taken_for_complete(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = store.parent / "left"
    async with await FileStorage.open(store, fsync=False) as storage:
        index_file, executor, loop = storage._store.index_file, storage._reading.executor, asyncio.get_running_loop()
        compare, turns = Reconciler.compare, iter(range(1000))

        def make_anew() -> None:
            (store / INDEX).unlink()
            index_file.record([], [])

        def compare_too_early(*arguments: Any) -> Compared:
            turn = next(turns)
            if turn == 1:
                # what a process that dies now leaves
                shutil.copytree(store, left)
            found = compare(*arguments)
            if turn == 0:
                asyncio.run_coroutine_threadsafe(executor.under_lock(make_anew), loop).result()
            return found

        monkeypatch.setattr(Reconciler, "compare", compare_too_early)
        assert await contradictions(storage, store) == []
    async with await FileStorage.open(left, reconcile="off") as storage:
        assert await contradictions(storage, left) == []


async def test_a_process_that_dies_while_it_replaces_the_index_leaves_none_of_an_earlier_time(
    store: Path, faults: Faults
) -> None:
    async with await FileStorage.open(store, fsync=False) as storage:
        await storage.save(note(8))
        await storage.count()
        # all that was saved since the last checkpoint is in the log alone
        assert (store / FILES[1]).stat().st_size > 0
        alter(store, "CREATE TABLE more (value)")
        left = store.parent / "left"

        def second_unlink(name: str, arguments: tuple[Any, ...]) -> bool:
            if name == "unlink" and "index.sqlite3" in str(arguments[0]):
                unlinked.append(arguments)
                if len(unlinked) == 2:
                    shutil.copytree(store, left)
            return False

        unlinked: list[Any] = []
        with faults.where(second_unlink):
            await storage.refresh()
    assert (left / FILES[1]).exists() or not (left / INDEX).exists()
    async with await FileStorage.open(left, reconcile="off") as storage:
        assert await contradictions(storage, left) == []


# -- what SQLite does not notice --------------------------------------------------------------------------------------

ALTERED = {
    "a trigger": "CREATE TRIGGER foreign_one AFTER UPDATE ON entry BEGIN DELETE FROM entry; END",
    "a column": "ALTER TABLE entry ADD COLUMN more",
    "a table": "CREATE TABLE more (value)",
    "a view": "CREATE VIEW more AS SELECT 1",
    "no index": "DROP INDEX entry_recent",
    "no trigger": "DROP TRIGGER tags_of_new",
    "no relation": "DROP VIEW documents",
    "another number": "PRAGMA user_version = 7",
}


@pytest.mark.parametrize("when", ["closed", "open"])
@pytest.mark.parametrize("statement", ALTERED.values(), ids=ALTERED.keys())
async def test_tables_that_somebody_altered_are_made_anew_at_the_next_look(
    store: Path, statement: str, when: str
) -> None:
    if when == "closed":
        alter(store, statement)
    async with await FileStorage.open(store, fsync=False) as storage:
        if when == "open":
            await storage.list()
            alter(store, statement)
            await storage.refresh()
        await storage.batch_save([note(1, "done"), note(8)])
        await storage.save(note(2, "done"))
        assert await contradictions(storage, store) == []
    with closing(sqlite3.connect(store / INDEX)) as connection:
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    assert not names & {"foreign_one", "more"}
    assert {"entry_recent", "tags_of_new", "documents"} <= names


FOREIGN = {
    "metadata that are no JSON": "metadata = '{'",
    "text that is no UTF-8": "metadata = CAST(x'ff' AS TEXT)",
    "odd that is no JSON": "odd = '{', status = NULL, user_id = NULL, tags = NULL",
    "an id that is bytes": "id = x'ff'",
    "an id that is another": "id = 'n4711'",
    "a name that is another": "name = '00/n4711.json'",
    "a name that is no text": "name = 7",
    "a name outside of the store": "name = '../outside.json'",
    "a signature that is text": "inode = 'x'",
    "no signature": "inode = NULL",
    "no time of recording": "recorded_ns = NULL",
}


@pytest.mark.parametrize("when", ["closed", "open"])
@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN.keys())
async def test_rows_that_no_document_can_have_are_never_served(store: Path, change: str, when: str) -> None:
    (store.parent / "outside.json").write_bytes(place(store, "n1").read_bytes())
    statement = f"UPDATE entry SET {change} WHERE id = 'n1'"  # noqa: S608 - constants
    if when == "closed":
        alter(store, statement)
        async with await FileStorage.open(store, fsync=False) as storage:
            wrong = await contradictions(storage, store)
            # a row whose signature is right is believed by what only the index answers, until it is asked for more
            assert not [line for line in wrong if not line.startswith(("count", "query"))]
            assert await contradictions(storage, store) == []
    else:
        async with await FileStorage.open(store, fsync=False) as storage:
            await storage.list()
            alter(store, statement)
            await storage.list()
            await storage.list_metadata()
            await storage.refresh()
            assert await contradictions(storage, store) == []
            assert (await storage.health_check())["corrupt"] == []


async def test_rows_that_somebody_removed_are_found_by_the_next_reconciliation(store: Path) -> None:
    alter(store, "DELETE FROM entry WHERE id IN ('n1', 'n2')")
    async with await FileStorage.open(store, reconcile="off") as trusting:
        assert await trusting.count() == 6
        assert await trusting.load("n1") is not None
    async with await FileStorage.open(store) as storage:
        assert await contradictions(storage, store) == []
        alter(store, "DELETE FROM entry WHERE id IN ('n3', 'n4')")
        await storage.refresh()
        assert await contradictions(storage, store) == []


async def test_a_row_whose_document_says_otherwise_is_not_served_and_is_read_again(store: Path) -> None:
    alter(store, "UPDATE entry SET status = 'done', metadata = replace(metadata, 'open', 'done') WHERE id = 'n1'")
    async with await FileStorage.open(store, reconcile="off") as storage:
        assert await storage.list({"data.metadata.status": "done"}) == []
        # the writer does one thing after the other
        await storage.save(note(8))
        assert await contradictions(storage, store) == []


async def test_damage_to_the_index_never_touches_a_document(store: Path) -> None:
    before = documents(store)
    for damage in (b"", b"garbage" * 2000, (store / INDEX).read_bytes()[:9000]):
        for name in FILES:
            (store / name).write_bytes(damage)
        async with await FileStorage.open(store, fsync=False) as storage:
            assert await contradictions(storage, store) == []
        assert documents(store) == before


async def test_a_row_that_stands_for_another_document_hides_none(store: Path) -> None:
    alter(store, "DELETE FROM entry WHERE id = 'n2'", "UPDATE entry SET id = 'n2' WHERE id = 'n1'")
    async with await FileStorage.open(store, reconcile="off") as storage:
        assert await contradictions(storage, store) == []


async def test_nothing_outside_of_the_store_is_read_whatever_a_row_says(store: Path) -> None:
    (store.parent / "outside.json").write_bytes(place(store, "n1").read_bytes())
    alter(store, "UPDATE entry SET name = '../outside.json' WHERE id = 'n1'")
    async with await FileStorage.open(store) as storage:
        assert (await storage.health_check())["corrupt"] == []
        assert await contradictions(storage, store) == []
