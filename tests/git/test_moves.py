"""A store that is moved, copied or cloned needs nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fsstore import FileStorage, SessionService
from fsstore.errors import StorageError, StorageUnavailableError
from tests.filesystem.faults import cut_off
from tests.git.conftest import Repository, assert_right, open_store

COUNT = 12


async def fill(storage: FileStorage) -> None:
    await SessionService(storage).batch_save_sessions(
        {f"s{number}": {"metadata": {"status": "open", "rank": number}} for number in range(COUNT)}
    )


def shell(*command: str) -> Callable[[Path, Path], None]:
    def run(source: Path, target: Path) -> None:
        program = shutil.which(command[0])
        assert program is not None
        subprocess.run([program, *command[1:], os.fspath(source), os.fspath(target)], check=True)

    return run


def copy_over_another(source: Path, target: Path) -> None:
    """Copy a store to where the index of an older copy still is."""
    shutil.copytree(source, target)
    for path in target.glob("??/*.json"):
        path.unlink()
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".fsstore"))


WAYS: dict[str, Callable[[Path, Path], object]] = {
    "mv": shell("mv"),
    "cp -r": shell("cp", "-r"),
    "cp -a": shell("cp", "-a"),
    "copytree": shutil.copytree,
    "clone": shell("git", "clone", "-q"),
    "over another": copy_over_another,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("changed", ["as it is", "edited on the way"])
async def test_a_store_is_taken_elsewhere(repository: Repository, tmp_path: Path, way: str, changed: str) -> None:
    home, target = repository.root, tmp_path / "another place"
    async with await open_store(home) as storage:
        await fill(storage)
        await assert_right(storage, home)
    repository.commit()
    WAYS[way](home, target)
    if changed != "as it is":
        for path in sorted(target.glob("??/*.json"))[:4]:
            status = path.stat()
            path.write_text(path.read_text().replace('"open"', '"done"'))
            # as old as it was, and as long
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        sorted(target.glob("??/*.json"))[5].unlink()
    async with await open_store(target) as storage:
        await assert_right(storage, target)
        await SessionService(storage).save_session("new", {"metadata": {"status": "open"}})
        await assert_right(storage, target)
        assert (await storage.verify(hash=True)).findings == []
        assert await storage.count() == COUNT + (1 if changed == "as it is" else 0)
    if way != "mv":
        async with await open_store(home) as storage:
            await assert_right(storage, home)
            assert await storage.load("new") is None


@pytest.mark.parametrize("lock", ["held", "free"])
async def test_a_store_that_is_moved_while_it_is_open_is_gone_for_who_has_it_open_and_whole_elsewhere(
    tmp_path: Path, lock: str
) -> None:
    home, target = tmp_path / "home", tmp_path / "target"
    async with await FileStorage.open(home, lock_timeout_seconds=0.5) as storage:
        await fill(storage)
        await storage.list()
        if lock == "held":
            # the writer keeps the lock for a moment, since more may come soon
            await SessionService(storage).save_session("s1", {"metadata": {"status": "open"}})
        else:
            async with await open_store(home) as other:
                await SessionService(other).save_session("s1", {"metadata": {"status": "open"}})
        home.rename(target)
        with pytest.raises(StorageUnavailableError, match="the directory of the store is gone"):
            await storage.load("s1")
        with pytest.raises(StorageError):
            await SessionService(storage).save_session("new", {})
        async with await open_store(target) as moved:
            await assert_right(moved, target)
            assert await moved.count() == COUNT
            await SessionService(moved).save_session("s1", {"metadata": {"status": "done"}})
    assert not home.exists()
    async with await open_store(target) as moved:
        await assert_right(moved, target)
        assert await moved.count() == COUNT


async def test_a_store_is_copied_while_it_is_open(tmp_path: Path) -> None:
    home, copy = tmp_path / "home", tmp_path / "copy"
    async with await FileStorage.open(home) as storage:
        await fill(storage)
        await storage.list()
        cut_off(storage, home, copy)
        async with await open_store(copy) as copied:
            await assert_right(copied, copy)
            assert await copied.count() == COUNT


def absolute_names(store: Path, root: Path) -> list[str]:
    wanted = os.fsencode(root)
    return [str(path) for path in store.rglob("*") if path.is_file() and wanted in path.read_bytes()]


async def test_no_file_of_a_store_names_where_it_is(tmp_path: Path) -> None:
    store = tmp_path / "a-name-that-is-nowhere-else"
    async with await FileStorage.open(store) as storage:
        await fill(storage)
        await storage.list()
        assert absolute_names(store, tmp_path) == []
    assert absolute_names(store, tmp_path) == []
    assert len([path for path in store.rglob("*") if path.is_file()]) > COUNT


@pytest.mark.parametrize("way", ["mv", "cp -r", "git mv"])
async def test_what_git_was_told_goes_along(repository: Repository, way: str) -> None:
    await repository.save("s-1", messages=[])
    repository.fsstore("git", "install")
    repository.commit()
    target = repository.root / "elsewhere" / "deeper"
    target.parent.mkdir()
    if way == "git mv":
        repository.git("mv", "store", "elsewhere/deeper")
    else:
        WAYS[way](repository.store, target)
    repository.commit()
    document = target / repository.place("s-1").relative_to(repository.store)
    assert repository.git("check-attr", "merge", "--", str(document)).endswith(": merge: fsstore\n")
    assert repository.fsstore("git", "install")[0] == ""
    async with await open_store(target) as storage:
        await assert_right(storage, target)
    assert repository.status() == ""
