import asyncio
import errno
import gc
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from filelock import lock_descriptor

from fsstore import FileStorage, SessionService
from fsstore.errors import (
    StorageCorruptedError,
    StorageError,
    StorageNotFoundError,
    StorageTimeoutError,
    StorageTooLargeError,
    StorageUnavailableError,
    StorageValidationError,
)
from fsstore.filesystem import storage as storage_module
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents import codec, documents
from fsstore.filesystem.documents.layout import Layout
from fsstore.filesystem.log import counters
from fsstore.filesystem.write import draft as draft_module
from fsstore.model.records import JsonObject
from fsstore.query.relation import guarded_select
from fsstore.testing.finding import ENDLESS_QUERY
from fsstore.transfer import export_sessions
from tests.filesystem import mounts
from tests.filesystem.crashing import in_child
from tests.filesystem.faults import below, contents, control, descriptors, place, threads_of_the_store, until
from tests.test_legacy import left_behind


async def test_a_store_of_two_levels_does_what_one_of_one_does(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path, shard_depth=2) as storage:
        sessions = SessionService(storage)
        await sessions.batch_save_sessions({f"S {number}": {"metadata": {"status": "x"}} for number in range(30)})
        await sessions.update_session("S 3", {"metadata": {"status": "y"}})
        await sessions.delete_session("S 4")
        assert await sessions.count_sessions({"status": "x"}) == 28
    # the marker tells the depth, whatever is asked for
    async with await FileStorage.open(tmp_path, shard_depth=1) as storage:
        assert len(await contents(storage)) == 29
        assert (tmp_path / Layout(2).name("S 3")).is_file()
        (tmp_path / Layout(2).name("S 5")).unlink()
        await storage.refresh()
        assert len(await contents(storage)) == 28


@pytest.mark.parametrize(("file_mode", "directory_mode"), [(0o600, 0o700), (0o640, 0o750), (0o644, 0o755)])
async def test_files_get_the_mode_that_was_asked_for(tmp_path: Path, file_mode: int, directory_mode: int) -> None:
    mask = os.umask(0)
    try:
        async with await FileStorage.open(tmp_path / "store", file_mode=file_mode) as storage:
            await storage.batch_save([{"id": "a"}, {"id": "b"}])
            await storage.list()
            paths = below(tmp_path / "store")
    finally:
        os.umask(mask)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in paths if path.exists()}
    files = {mode for path, mode in modes.items() if path.is_file()}
    directories = {mode for path, mode in modes.items() if path.is_dir()}
    assert (files, directories) == ({file_mode}, {directory_mode})


async def test_a_document_larger_than_allowed_is_not_written_and_can_be_read(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.save({"id": "large", "data": "x" * 2000})
    async with await FileStorage.open(tmp_path, max_bytes=1000) as storage:
        for attempt in (storage.save({"id": "new", "data": "x" * 2000}), storage.update("large", {"type": "other"})):
            with pytest.raises(StorageValidationError, match=r"more than the 1000 allowed.*max_bytes"):
                await attempt
        await storage.save({"id": "small"})
        assert set(await contents(storage)) == {"small", "large"}
        assert (await storage.health_check())["status"] == "ok"
        await storage.update("large", {"data": "shorter"})
        assert await storage.delete("large")


@pytest.mark.parametrize("indexed", [False, True])
async def test_a_document_larger_than_is_read_is_too_large_and_never_corrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, indexed: bool
) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.batch_save([{"id": "large", "data": "x" * 2000}, {"id": "small"}])
        if indexed:
            await storage.list()
        name = str(place(tmp_path, "large").relative_to(tmp_path))
    monkeypatch.setattr(documents, "READ_BYTES", 1000)
    async with await FileStorage.open(tmp_path, max_bytes=900) as storage:
        assert set(await contents(storage)) == {"small"}
        assert await storage.exists("large")
        for attempt in (storage.load("large"), storage.update("large", {"type": "other"})):
            with pytest.raises(StorageTooLargeError, match=r"more than 1000; .* larger max_bytes, delete"):
                await attempt
        report = await storage.health_check()
        assert (report["status"], report["corrupt"]) == ("degraded", [])
        assert [problem["file"] for problem in report["too_large"]] == [name]
        assert [problem["file"] for problem in await storage.unreadable()] == [name]
        # what one opener cannot read is hidden from no other, whether it was open before or is opened now
        async with await FileStorage.open(tmp_path, max_bytes=3000) as larger:
            assert set(await contents(larger)) == {"small", "large"}
            await storage.refresh()
            assert set(await contents(storage)) == {"small"}
            assert set(await contents(larger)) == {"small", "large"}
            assert (await larger.health_check())["status"] == "ok"


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_document_larger_than_is_read_can_be_deleted_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, replaced: bool
) -> None:
    monkeypatch.setattr(documents, "READ_BYTES", 1000)
    async with await FileStorage.open(tmp_path, max_bytes=3000) as storage:
        await storage.save({"id": "large", "data": "x" * 2000})
    before = place(tmp_path, "large").read_bytes()
    async with await FileStorage.open(tmp_path, max_bytes=900) as storage:
        assert await storage.count() == 0
        if replaced:
            await storage.save({"id": "large", "data": "short"})
            assert set(await contents(storage)) == {"large"}
        else:
            assert await storage.delete("large")
            assert await storage.load("large") is None
        assert (await storage.health_check())["status"] == "ok"
    kept = [(tmp_path / ".fsstore/quarantine" / name).read_bytes() for name in control(tmp_path, "quarantine")]
    assert kept == ([before] if replaced else [])


async def test_the_marker_may_say_how_large_a_document_may_be(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        assert storage._documents.max_bytes == 64 << 20
    marker = {"format": 1, "shard_depth": 1, "max_bytes": 1000}
    (tmp_path / "fsstore.json").write_text(json.dumps(marker))
    async with await FileStorage.open(tmp_path) as storage:
        with pytest.raises(StorageValidationError, match="more than the 1000 allowed"):
            await storage.save({"id": "a", "data": "x" * 2000})
    async with await FileStorage.open(tmp_path, max_bytes=3000) as storage:
        await storage.save({"id": "a", "data": "x" * 2000})
    assert json.loads((tmp_path / "fsstore.json").read_text()) == marker


@pytest.mark.parametrize("declared", [0, -1, "1", 1.5, True, None])
async def test_a_marker_with_a_limit_that_is_none_is_refused(tmp_path: Path, declared: Any) -> None:
    (tmp_path / "fsstore.json").write_text(json.dumps({"format": 1, "shard_depth": 1, "max_bytes": declared}))
    error = await refused(tmp_path)
    assert isinstance(error, StorageCorruptedError)
    assert "max_bytes" in str(error)


@pytest.mark.parametrize("given", [0, -1, "1", 1.5, True])
async def test_a_limit_that_is_none_is_refused(tmp_path: Path, given: Any) -> None:
    error = await refused(tmp_path, max_bytes=given)
    assert isinstance(error, StorageValidationError)
    assert error.path == "max_bytes"


@pytest.mark.parametrize(
    ("option", "given"),
    [
        *(
            (name, given)
            for name in ("create", "fsync", "allow_network", "live", "polling", "read_only")
            for given in ("no", None, 0)
        ),
        *(("shard_depth", given) for given in (True, 1.0, "1")),
        *(("file_mode", given) for given in ("600", None, 1.5, True, -1)),
        *(("lock_timeout_seconds", given) for given in ("10", None, -1, float("nan"), True)),
        ("clock", None),
    ],
)
async def test_an_option_of_another_type_is_refused_and_nothing_is_made(
    tmp_path: Path, option: str, given: Any
) -> None:
    error = await refused(tmp_path / "store", **{option: given})
    assert isinstance(error, StorageValidationError)
    assert error.path == option
    assert not (tmp_path / "store").exists()


# -- what is no store -------------------------------------------------------------------------------------------------


async def refused(path: Path, **options: Any) -> StorageError:
    before, running = descriptors(), len(threads_of_the_store())
    with pytest.raises(StorageError) as caught:
        await FileStorage.open(path, **options)
    await until(lambda: len(threads_of_the_store()) <= running)
    assert descriptors() <= before
    return caught.value


async def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    assert isinstance(await refused(tmp_path / "file"), StorageUnavailableError)
    assert (tmp_path / "file").read_text() == "text"


async def test_no_store_is_made_where_none_is_wanted(tmp_path: Path) -> None:
    assert isinstance(await refused(tmp_path / "missing", create=False), StorageUnavailableError)
    assert isinstance(await refused(tmp_path, create=False), StorageUnavailableError)
    assert below(tmp_path) == []


async def test_a_store_of_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "fsstore.json").write_text(json.dumps({"format": 2, "shard_depth": 1, "more": True}))
    error = await refused(tmp_path)
    assert isinstance(error, StorageUnavailableError)
    assert "newer fsstore" in str(error)
    assert below(tmp_path) == [tmp_path / "fsstore.json"]


@pytest.mark.parametrize("marker", ["", "garbage", "[]", "{}", '{"format": 1, "shard_depth": 7}', "\0" * 100])
async def test_a_damaged_marker_is_told_and_not_replaced(tmp_path: Path, marker: str) -> None:
    (tmp_path / "fsstore.json").write_text(marker)
    assert isinstance(await refused(tmp_path), StorageCorruptedError)
    assert (tmp_path / "fsstore.json").read_text() == marker


async def test_documents_without_a_marker_are_not_taken_for_an_empty_store(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.save({"id": "a"})
    (tmp_path / "fsstore.json").unlink()
    error = await refused(tmp_path)
    assert isinstance(error, StorageUnavailableError)
    assert "fsstore.json" in str(error)
    assert place(tmp_path, "a").exists()


async def test_a_control_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "store/.fsstore").symlink_to(tmp_path / "outside")
    assert isinstance(await refused(tmp_path / "store"), StorageUnavailableError)
    assert below(tmp_path / "outside") == []


async def test_a_store_made_by_several_at_once_is_one_store(tmp_path: Path) -> None:
    stores = await asyncio.gather(*(FileStorage.open(tmp_path / "store") for _ in range(6)))
    await asyncio.gather(*(storage.save({"id": f"n{number}"}) for number, storage in enumerate(stores)))
    for storage in stores:
        assert len(await contents(storage)) == 6
    for storage in stores:
        await storage.close()


# -- stores that nobody closes ----------------------------------------------------------------------------------------


def descriptors_of(path: Path) -> list[str]:
    """Return the open files of this process that lie there; none where the system does not list them."""
    there = Path("/proc/self/fd")
    found = [str(link.readlink()) for link in there.iterdir() if link.is_symlink()] if there.is_dir() else []
    return [name for name in found if name.startswith(str(path))]


async def opened_and_used(path: Path, *, live: bool) -> FileStorage:
    storage = await FileStorage.open(path, live=live)
    await storage.save({"id": "a"})
    assert len(await asyncio.gather(*(storage.list() for _ in range(4)))) == 4
    if live:
        await storage.watch().started()
    return storage


async def drop(stores: list[FileStorage], before: list[threading.Thread]) -> list[threading.Thread]:
    """Let nobody have them any more; return the threads that are left of them."""
    stores.clear()
    # tasks that have ended keep what they returned until the loop has turned
    await asyncio.sleep(0)
    gc.collect()
    # a thread that has just answered may be the last who has one
    return left_behind(before)


@pytest.mark.parametrize("live", [False, True])
async def test_stores_that_are_dropped_without_close_warn_and_leave_nothing_behind(tmp_path: Path, live: bool) -> None:  # noqa: FBT001 - pytest gives it by name
    before = threading.enumerate()
    paths = [tmp_path / str(number) for number in range(20)]
    stores = [await opened_and_used(path, live=live) for path in paths]
    assert len(threading.enumerate()) > len(before) + 20

    with pytest.warns(ResourceWarning) as warned:
        left = await drop(stores, before)

    said = {str(warning.message) for warning in warned}
    assert said >= {f"the store {path} was not closed" for path in paths}
    assert (left, descriptors_of(tmp_path)) == ([], [])
    for path in paths:
        # as after a close
        assert list((path / ".fsstore/log").iterdir()) == []
        async with await FileStorage.open(path) as storage:
            assert await storage.exists("a")


async def test_a_store_whose_opening_is_dropped_half_way_ends(tmp_path: Path) -> None:
    before = threading.enumerate()
    opening = FileStorage.open(tmp_path)
    opening.send(None)
    with warnings.catch_warnings(record=True, action="always", category=ResourceWarning) as warned:
        opening.close()
        del opening
        # the thread that opens it is the last who has it
        left_behind(before)
        gc.collect()
    assert [str(warning.message) for warning in warned] == [f"the store {tmp_path} was not closed"]
    assert (left_behind(before), descriptors_of(tmp_path)) == ([], [])


async def test_a_store_that_cannot_be_written_ends_too_when_it_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.save({"id": "a"})
    monkeypatch.setattr(Tree, "is_writable", lambda *_: False)
    before = threading.enumerate()
    for is_used in (False, True):
        storage = await FileStorage.open(tmp_path)
        assert not is_used or len(await storage.list()) == 1
        stores = [storage]
        del storage
        with pytest.warns(ResourceWarning, match="was not closed"):
            left = await drop(stores, before)
        assert (left, descriptors_of(tmp_path)) == ([], [])


async def test_a_store_that_two_threads_close_at_once_is_closed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Descriptors that are closed twice may be those of somebody else by then."""
    storage = await FileStorage.open(tmp_path)
    begin = vars(storage_module)["in_own_thread"]
    begun, threads = list[object](), list[threading.Thread]()

    def begin_beside(run: Callable[[], None]) -> Any:
        begun.append(run)
        if not threads:
            threads.append(threading.Thread(target=lambda: asyncio.run(storage.close())))
            threads[0].start()
            # time for the other one to come
            threads[0].join(0.1)
        return begin(run)

    monkeypatch.setattr(storage_module, "in_own_thread", begin_beside)
    await storage.close()
    await asyncio.to_thread(threads[0].join)

    assert len(begun) == 1


async def test_a_system_without_threads_is_an_error_and_leaves_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "fsstore-writer":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(StorageUnavailableError, match="no thread could be started"):
        await FileStorage.open(tmp_path)
    assert descriptors_of(tmp_path) == []


async def test_a_store_that_is_dropped_ends_also_where_warnings_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raise_: raised.append(raise_.exc_type))
    before = threading.enumerate()
    stores = [await opened_and_used(tmp_path, live=False)]
    with warnings.catch_warnings(action="error"):
        left = await drop(stores, before)
    assert raised == [ResourceWarning]
    assert (left, descriptors_of(tmp_path)) == ([], [])
    assert list((tmp_path / ".fsstore/log").iterdir()) == []


FORGETS = """
import asyncio, signal, sys
from fsstore import FileStorage

# whoever began the tests may have had it ignored
signal.signal(signal.SIGINT, signal.default_int_handler)

async def main():
    global storage
    storage = await FileStorage.open(sys.argv[1])
    await storage.save({{"id": "a"}})
    await storage.list()
    {then}

asyncio.run(main())
{last}
"""


@pytest.mark.parametrize(
    ("then", "last", "code"),
    [
        ("", "", 0),
        ("await storage.watch().started()", "", 0),
        ("", "sys.exit(3)", 3),
        ("1 / 0", "", 1),
        ("import os; os.kill(os.getpid(), signal.SIGINT); await asyncio.sleep(60)", "", -2),
        # it lives in a circle, which is collected when hardly anything is left
        ("storage.itself = storage", "del storage", 0),
    ],
    ids=["at its end", "watching", "by sys.exit", "by an exception", "by Ctrl-C", "dropped"],
)
@pytest.mark.skipif(os.name == "nt", reason="signals are another matter there")
def test_a_program_that_closes_no_store_ends_and_leaves_it_as_a_closed_one(
    then: str, last: str, code: int, tmp_path: Path
) -> None:
    path = tmp_path / "store"
    program = FORGETS.format(then=then, last=last)
    ended = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == code, ended.stderr
    assert code in (1, -2) or not ended.stderr
    assert list((path / ".fsstore/log").iterdir()) == []
    assert [found.name for found in path.glob("??/*.json")] == ["a.json"]


# -- a store that goes while it is open ------------------------------------------------------------------------------


def removed(store: Path) -> None:
    # first out of the way, since the writer may be making files in it
    shutil.rmtree(store.rename(store.with_name("away")))


def emptied(store: Path) -> None:
    store.rename(store.with_name("away"))
    store.mkdir()


def without_a_marker(store: Path) -> None:
    (store / "fsstore.json").unlink()


Gone = Callable[[Path], None]
GONE: list[Gone] = [removed, emptied, without_a_marker]


async def asked(sessions: SessionService, export: Path) -> dict[str, Any]:
    """Ask for everything, and return what came of it."""
    storage = sessions.storage
    assert isinstance(storage, FileStorage)

    async def stream() -> list[Any]:
        return [record async for batch in storage.stream_list() for record in batch]

    async def watch() -> None:
        async with storage.watch():
            pass

    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "list": sessions.list_sessions,
        "count": sessions.count_sessions,
        "list_metadata": sessions.list_metadata,
        "query": lambda: storage.query("SELECT id FROM documents"),
        "stream": stream,
        "export": lambda: export_sessions(sessions, export),
        "watch": watch,
        "verify": storage.verify,
        "refresh": storage.refresh,
        "repair": storage.repair,
        "get absent": lambda: sessions.get_session("absent"),
        "save": lambda: sessions.save_session("c", {}),
        "batch": lambda: sessions.batch_save_sessions({"c": {}, "d": {}}),
        "delete": lambda: sessions.delete_session("a"),
    }
    came: dict[str, Any] = {}
    for name, call in calls.items():
        try:
            came[name] = await asyncio.wait_for(call(), 30)
        except StorageError as error:
            came[name] = error
    return came


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("idle", [False, True])
@pytest.mark.parametrize("gone", GONE)
async def test_a_store_that_is_gone_is_an_error_and_never_an_empty_store(
    tmp_path: Path, gone: Gone, *, listed: bool, idle: bool
) -> None:
    async with await FileStorage.open(tmp_path / "store") as storage:
        sessions = SessionService(storage)
        await sessions.batch_save_sessions({"a": {}, "b": {}})
        if listed:
            assert len(await sessions.list_sessions()) == 2
        if idle:
            # the writer has let go of the lock, and the log is empty
            await until(lambda: not storage._store.log.numbers())
        gone(tmp_path / "store")
        came = await asked(sessions, tmp_path / "export.jsonl")
        health = await storage.health_check()
        assert {name: type(answer) for name, answer in came.items()} == dict.fromkeys(came, StorageUnavailableError)
        advices = {answer.advice for answer in came.values()}
        assert all("mount the medium again, or " in advice for advice in advices), advices
        assert all('{"format": 1, "shard_depth": 1}' in advice for advice in advices) is (gone is without_a_marker)
        assert health["status"] == "degraded"
        assert "gone" in health["trouble"]
        # not even a control directory was made
        assert below(tmp_path / "store") == [] or gone is without_a_marker


async def test_a_store_that_was_away_is_used_again_and_nothing_is_missing(tmp_path: Path) -> None:
    store = tmp_path / "store"
    async with await FileStorage.open(store) as storage:
        await storage.batch_save([{"id": "a"}, {"id": "b"}])
        await storage.list()
        emptied(store)
        with pytest.raises(StorageUnavailableError):
            await storage.list()
        store.rmdir()
        store.with_name("away").rename(store)
        await storage.save({"id": "c"})
        assert (await contents(storage)).keys() == {"a", "b", "c"}


async def test_a_shard_that_is_gone_is_no_store_that_is_gone(tmp_path: Path) -> None:
    """Git removes directories that it has emptied."""
    async with await FileStorage.open(tmp_path) as storage:
        await storage.batch_save([{"id": "a"}, {"id": "b"}])
        await storage.list()
        shutil.rmtree(place(tmp_path, "a").parent)
        await storage.refresh()
        assert (await contents(storage)).keys() == {"b"}
        assert not await storage.exists("a")
        assert (await storage.health_check())["status"] == "ok"


async def test_another_store_of_another_depth_in_the_place_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "store"
    async with await FileStorage.open(tmp_path / "other", shard_depth=2) as other:
        await other.batch_save([{"id": "a"}, {"id": "x"}])
    before = [path.relative_to(tmp_path / "other") for path in below(tmp_path / "other")]
    async with await FileStorage.open(store) as storage:
        await storage.batch_save([{"id": "a"}, {"id": "b"}])
        await storage.list()
        store.rename(tmp_path / "away")
        (tmp_path / "other").rename(store)
        came = await asked(SessionService(storage), tmp_path / "export.jsonl")
        assert {type(answer) for answer in came.values()} == {StorageUnavailableError}
        assert {answer.advice for answer in came.values()} == {"close the store and open it again"}
    assert [path.relative_to(store) for path in below(store)] == before


async def test_what_is_mounted_in_the_place_of_a_store_is_not_mixed_with_it(tmp_path: Path) -> None:
    """Two media whose files have the same inode numbers: only the device tells them apart."""
    mounts.need(tmp_path)
    point = tmp_path / "store"
    point.mkdir()

    async def made(value: str) -> None:
        async with await FileStorage.open(point) as storage:
            await storage.batch_save([{"id": value, "data": value}, {"id": "both", "data": value}])
            await storage.list()

    with mounts.in_memory(point):
        await made("first")
        async with await FileStorage.open(point, lock_timeout_seconds=1) as storage:
            assert (await contents(storage)).keys() == {"first", "both"}
            await storage.save({"id": "more", "data": "first"})
            inodes = {path.name: path.stat().st_ino for path in point.glob(".fsstore/*")}
            mounts.detach(point)
            came = await asked(SessionService(storage), tmp_path / "export.jsonl")
            assert {type(answer) for answer in came.values()} == {StorageUnavailableError}
            with mounts.in_memory(point):
                await made("second")
                same = {path.name for path in point.glob(".fsstore/*") if path.stat().st_ino == inodes[path.name]}
                assert {"lock", "seq", "index.sqlite3"} <= same, "the media do not show what they are made for"
                await storage.save({"id": "third", "data": "second"})
                found = await contents(storage)
                assert {record["data"] for record in found.values()} == {"second"}
                assert found.keys() == {"second", "both", "third"}
                async with await FileStorage.open(point, reconcile="off") as beside:
                    # the index that lies there has it, too
                    rows = await beside.query("SELECT id FROM documents")
                    assert {row["id"] for row in rows} == found.keys()
                writer = storage._store.writer
                assert writer is not None
                await until(lambda: not writer.is_holding)
                with (point / ".fsstore/lock").open() as lock:
                    assert lock_descriptor(lock.fileno(), blocking=False)
                    with pytest.raises(StorageTimeoutError):
                        await storage.save({"id": "fourth"})


def test_a_child_of_fork_makes_no_store_where_there_is_none_any_more(tmp_path: Path) -> None:
    async def work() -> None:
        storage = await FileStorage.open(tmp_path / "store")
        await storage.save({"id": "a"})
        removed(tmp_path / "store")

        def child() -> None:
            # of that loop, which runs in this thread, nothing is used
            asyncio._set_running_loop(None)
            with pytest.raises(StorageUnavailableError):
                asyncio.run(storage.list())

        assert in_child(child) == 0
        assert not (tmp_path / "store").exists()
        await storage.close()

    asyncio.run(work())


# -- the end of a list ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("file_clock")
async def test_the_end_of_a_list_is_that_of_the_file_whoever_has_written_it(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path, fsync=False) as one, await FileStorage.open(tmp_path) as other:
        sessions = SessionService(one)
        for number in range(30):
            writer = SessionService(other) if number % 3 == 2 else sessions
            await writer.append_session("a", [number])
            assert await sessions.read_tail("a", 2) == (list(range(number + 1))[-2:], max(number - 1, 0), number + 1)
        path = place(tmp_path, "a")
        record = json.loads(path.read_text())
        # not any 29 of the text: it may be the minute
        record["data"]["messages"][-1] = 92
        path.write_text(json.dumps(record))
        assert (await sessions.read_tail("a", 1)).items == [92]
        await sessions.delete_session("a")
        with pytest.raises(StorageNotFoundError):
            await sessions.read_tail("a", 1)


async def test_the_end_of_a_list_that_was_written_here_is_seen_without_parsing_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        sessions = SessionService(storage)
        await sessions.save_session("a", {"messages": list(range(100)), "none": [], "text": "x"})
        await sessions.append_session("a", [100])
        with monkeypatch.context() as patch:
            patch.setattr(documents, "decode_examined", None)
            patch.setattr(documents, "examine", None)
            assert await sessions.read_tail("a", 2) == ([99, 100], 99, 101)
            assert await sessions.read_tail("a", 2, before=99) == ([97, 98], 97, 101)
            assert await sessions.read_tail("a", 2, "none") == ([], 0, 0)
        with pytest.raises(StorageValidationError):
            await sessions.read_tail("a", 2, "text")


# -- what goes for a moment ------------------------------------------------------------------------------------------


async def test_a_document_that_is_away_for_a_moment_is_not_taken_for_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory is moved away right before the writer reads, and is back right after it."""
    store, read, away = tmp_path / "store", Tree.read, list[str]()

    def read_away(tree: Tree, name: str, *, max_bytes: int) -> Any:
        if away or not name.endswith("a.json"):
            return read(tree, name, max_bytes=max_bytes)
        away.append(name)
        store.rename(tmp_path / "away")
        try:
            return read(tree, name, max_bytes=max_bytes)
        finally:
            (tmp_path / "away").rename(store)

    async with await FileStorage.open(store, fsync=False) as storage:
        await SessionService(storage).append_session("a", [1, 2])
        storage._documents.cache.forget(Layout(1).name("a"))
        monkeypatch.setattr(Tree, "read", read_away)
        assert await SessionService(storage).append_session("a", [3]) == 3
    assert away


@pytest.mark.parametrize("fsync", [True, False])
async def test_a_medium_that_fails_is_told_by_every_call_and_all_goes_on_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fsync: bool
) -> None:
    async with await FileStorage.open(tmp_path, fsync=fsync) as storage:
        await storage.save({"id": "a"})
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "load": lambda: storage.load("a"),
            "list": storage.list,
            "count": storage.count,
            "list_metadata": storage.list_metadata,
            "refresh": storage.refresh,
            "load_tail": lambda: storage.load_tail("a", ("data", "x"), 1),
            "save": lambda: storage.save({"id": "b"}),
        }
        with monkeypatch.context() as failing:

            def read_at(*_: int) -> bytes:
                raise OSError(errno.EIO, "Input/output error")

            failing.setattr(counters, "_read_at", read_at)
            for name, call in calls.items():
                told: Sequence[Any] = await asyncio.gather(call(), return_exceptions=True)
                assert isinstance(told[0], StorageError), (name, told)
            writer = storage._store.writer
            assert writer is not None
            # the idle writer looks whether a checkpoint is due
            assert not writer.checkpoints._seal()
            assert writer.checkpoints.error
        await storage.save({"id": "b"})
        assert await storage.count() == 2


async def test_jobs_that_wait_for_the_lock_together_wait_for_it_once(tmp_path: Path) -> None:
    async with (
        await FileStorage.open(tmp_path, lock_timeout_seconds=1.0) as storage,
        await FileStorage.open(tmp_path) as other,
    ):
        await storage.save({"id": "a"})
        holder = other._store.writer
        assert holder is not None
        held, go = threading.Event(), threading.Event()

        def hold() -> None:
            held.set()
            go.wait(60)

        holding = holder.call(hold)
        await asyncio.to_thread(held.wait)
        started = asyncio.get_running_loop().time()
        jobs = (storage._reading.executor.under_lock(lambda: None) for _ in range(12))
        came = await asyncio.gather(*jobs, return_exceptions=True)
        saved = await asyncio.gather(storage.save({"id": "b"}), return_exceptions=True)
        taken = asyncio.get_running_loop().time() - started
        go.set()
        await asyncio.wrap_future(holding)
        assert [type(each) for each in (*came, *saved)] == [StorageTimeoutError] * 13
        # one after the other they would wait for thirteen seconds
        assert taken < 8
        await storage.save({"id": "b"})


async def test_versions_do_not_repeat_though_no_log_tells_of_the_deletion_and_the_counters_are_removed(
    tmp_path: Path,
) -> None:
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        for _ in range(3):
            await storage.save({"id": "a"})
        await storage.delete("a")
        (tmp_path / ".fsstore/seq").unlink()
        async with await FileStorage.open(tmp_path, fsync=False) as other:
            await other.save({"id": "a"})
            assert (await other.load("a") or {})["version"] == 4


async def test_the_first_query_beside_what_is_too_large_uses_the_index_that_is_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.batch_save({"id": name} for name in "ab")
        await storage.list()
    os.truncate(place(tmp_path, "b"), documents.READ_BYTES + 1)
    async with await FileStorage.open(tmp_path) as storage:
        await storage.refresh()
        for _ in range(2):
            assert await storage.query("SELECT id FROM documents") == [{"id": "a"}]
        assert (await storage.health_check())["index"] == "file"
    assert "cannot be used" not in caplog.text


async def test_queries_that_nobody_waits_for_any_more_leave_the_readers_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = list[str]()

    def noted(connection: sqlite3.Connection, query: str, *arguments: Any, **options: Any) -> Any:
        begun.append(query)
        return guarded_select(connection, query, *arguments, **options)

    async with await FileStorage.open(tmp_path) as storage:
        await storage.save({"id": "a"})
        await storage.count()
        monkeypatch.setattr("fsstore.filesystem.index.index.guarded_select", noted)
        # as many as there are threads
        queries = [asyncio.ensure_future(storage.query(ENDLESS_QUERY)) for _ in range(4)]
        await until(lambda: len(begun) == len(queries))
        for query in queries:
            query.cancel()
        async with asyncio.timeout(5):
            assert await storage.query("SELECT count(*) AS n FROM documents") == [{"n": 1}]


def _add(session: JsonObject, *, number: int) -> None:
    session["messages"].append({"n": number})


# -- large sessions ----------------------------------------------------------------------------------------------------


async def test_an_edit_is_not_parsed_again_under_the_lock_and_copied_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read is held against what is there as bytes."""
    parsed: list[bytes] = []

    def noted(data: bytes) -> JsonObject:
        parsed.append(data)
        return codec.decode_examined(data)

    monkeypatch.setattr(draft_module, "decode_examined", noted)
    async with await FileStorage.open(tmp_path) as storage:
        sessions = SessionService(storage)
        await sessions.save_session("a", {"messages": [{"text": "x" * 100}] * 50})
        for number in range(3):
            edited = await sessions.edit_session("a", partial(_add, number=number))
            assert edited == await sessions.get_session("a")
        assert parsed == []
        assert len(edited["messages"]) == 53


async def test_an_edit_stands_where_only_the_form_of_the_file_has_changed_meanwhile(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        sessions = SessionService(storage)
        await sessions.save_session("a", {"n": 1})
        tries: list[int] = []

        def edit(session: JsonObject) -> None:
            tries.append(session["n"])
            path = place(tmp_path, "a")
            record = json.loads(path.read_bytes())
            if len(tries) == 1:
                path.write_text(json.dumps(record))
            elif len(tries) == 2:
                record["data"]["n"] = 7
                path.write_text(json.dumps(record))
            session["n"] += 1

        await sessions.edit_session("a", edit)
        assert (tries, (await sessions.get_session("a") or {})["n"]) == ([1], 2)
        await sessions.edit_session("a", edit)
        assert (tries, (await sessions.get_session("a") or {})["n"]) == ([1, 2, 7], 8)


async def test_a_large_session_is_parsed_in_another_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: dict[str, set[str]] = {"small": set(), "large": set()}
    decode = codec.decode_examined

    def noted(data: bytes) -> JsonObject:
        record = decode(data)
        threads[record["id"]].add(threading.current_thread().name)
        return record

    monkeypatch.setattr(documents, "decode_examined", noted)
    async with await FileStorage.open(tmp_path) as storage:
        sessions = SessionService(storage)
        await sessions.save_session("small", {"messages": ["x"]})
        await sessions.save_session("large", {"messages": ["x" * 300_000]})
        for name in ("small", "large"):
            await sessions.get_session(name)
            place(tmp_path, name).touch()
            await sessions.get_session(name)
    assert threads["small"] == {threading.main_thread().name}
    assert all(name.startswith("fsstore-reader") for name in threads["large"])
    assert threads["large"]
