import asyncio
import gc
import json
import os
import stat
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage, SessionService
from fsstore.errors import StorageCorruptedError, StorageError, StorageUnavailableError, StorageValidationError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents.layout import Layout
from tests.filesystem.faults import below, contents, descriptors, place, threads_of_the_store, until
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


async def test_a_document_larger_than_allowed_is_neither_written_nor_read(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.save({"id": "large", "data": "x" * 2000})
    async with await FileStorage.open(tmp_path, max_bytes=1000) as storage:
        with pytest.raises(StorageValidationError):
            await storage.save({"id": "new", "data": "x" * 2000})
        with pytest.raises(StorageCorruptedError, match="more than 1000"):
            await storage.load("large")
        await storage.save({"id": "small"})
        assert set(await contents(storage)) == {"small"}


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


async def drop(stores: list[FileStorage]) -> None:
    """Let nobody have them any more."""
    stores.clear()
    # tasks that have ended keep what they returned until the loop has turned
    await asyncio.sleep(0)
    gc.collect()


@pytest.mark.parametrize("live", [False, True])
async def test_stores_that_are_dropped_without_close_warn_and_leave_nothing_behind(tmp_path: Path, live: bool) -> None:  # noqa: FBT001 - pytest gives it by name
    before = threading.enumerate()
    paths = [tmp_path / str(number) for number in range(20)]
    stores = [await opened_and_used(path, live=live) for path in paths]
    assert len(threading.enumerate()) > len(before) + 20

    with pytest.warns(ResourceWarning) as warned:
        await drop(stores)
    left = left_behind(before)

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
            await drop(stores)
        assert (left_behind(before), descriptors_of(tmp_path)) == ([], [])


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
        await drop(stores)
    assert raised == [ResourceWarning]
    assert (left_behind(before), descriptors_of(tmp_path)) == ([], [])
    assert list((tmp_path / ".fsstore/log").iterdir()) == []


FORGETS = """
import asyncio, sys
from fsstore import FileStorage

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
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT); await asyncio.sleep(60)", "", -2),
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
