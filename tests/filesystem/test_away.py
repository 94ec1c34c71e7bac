"""A store that goes away during any one call of the system, and is back right after it: moved, or its medium was.

What a path leads to then says nothing of the store: it must neither be taken for absent nor for empty.
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageError, StorageUnavailableError
from fsstore.filesystem.disk import files
from fsstore.filesystem.log.log import Log
from fsstore.model.mutations import AnyMutation, Append, deleting, patching, saving
from fsstore.testing import HandClock
from tests.filesystem.faults import Faults, contents, control

_BY_PATH = (
    *("access", "link", "listdir", "lstat", "mkdir", "open", "readlink", "rename"),
    *("replace", "rmdir", "scandir", "stat", "unlink"),
)
IDS = "abcdef"


class Away:
    """Stands between Python and the system, and moves the store away for one call that takes a path."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.was_away = False
        self._left, self._store = 0, Path()
        self._rename = os.rename
        for name in _BY_PATH:
            monkeypatch.setattr(os, name, self._between(getattr(os, name)))
        monkeypatch.setattr(files, "exchange", self._between(vars(files)["exchange"]))
        # what names the features of the system knows the functions themselves
        for name in ("supports_dir_fd", "supports_effective_ids", "supports_fd", "supports_follow_symlinks"):
            monkeypatch.setattr(os, name, _Everything())

    def _between(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def tried(*arguments: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left:
                return call(*arguments, **options)
            self.was_away = True
            away = self._store.with_name("away")
            self._rename(self._store, away)
            try:
                return call(*arguments, **options)
            finally:
                self._rename(away, self._store)

        return tried

    @contextmanager
    def at_step(self, step: int, store: Path) -> Iterator[None]:
        """Move the store away for the call of that number, counting from 1."""
        self._left, self._store, self.was_away = step, store, False
        try:
            yield
        finally:
            self._left = 0


class _Everything:
    def __contains__(self, _: object) -> bool:
        return True


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(monkeypatch)


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Away:
    return Away(monkeypatch)


def note(record_id: str, value: Any = "old") -> dict[str, Any]:
    return {"id": record_id, "type": "note", "data": {"value": value, "list": [1]}}


COMMITS: dict[str, list[AnyMutation]] = {
    "a new one": [saving(note("new", "new"))],
    "over another one": [saving(note("a", "new"))],
    "an update": [patching("a", {"data": {"value": "new"}})],
    "an append": [Append("a", [2], ("data", "list"))],
    "a deletion": [deleting("a")],
    "a batch": [saving(note("new", "new")), patching("a", {"data": {"value": "new"}}), deleting("b"), deleting("c")],
}


async def opened(store: Path, *, fsync: bool = True) -> FileStorage:
    return await FileStorage.open(store, fsync=fsync, clock=HandClock())


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """Return a store of six documents that no process has open."""

    async def fill() -> None:
        async with await opened(tmp_path / "filled") as storage:
            await storage.batch_save(note(record_id) for record_id in IDS)
            await storage.list()

    asyncio.run(fill())
    return tmp_path / "filled"


def shown(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    # a commit that is tried again may begin above a floor that it has raised itself
    return {record_id: record["data"] for record_id, record in found.items()}


async def seen(store: Path) -> dict[str, Any]:
    """Return what a store holds that is opened twice, alone: what its log still tells is replayed."""
    async with await FileStorage.open(store) as storage:
        first = shown(await contents(storage))
    async with await FileStorage.open(store) as storage:
        assert shown(await contents(storage)) == first
    assert [control(store, name) for name in ("log", "staging", "waiting", "quarantine")] == [[], [], [], []]
    return first


@pytest.mark.parametrize("is_kept", [True, False], ids=["kept in memory", "to be read"])
@pytest.mark.parametrize("fsync", [True, False])
@pytest.mark.parametrize("changes", COMMITS.values(), ids=COMMITS.keys())
def test_what_a_commit_says_is_so_wherever_the_store_is_away_for_a_moment(
    tmp_path: Path, filled: Path, away: Away, changes: list[AnyMutation], *, fsync: bool, is_kept: bool
) -> None:
    async def commit(store: Path, step: int) -> StorageError | None:
        async with await opened(store, fsync=fsync) as storage:
            if is_kept:
                await storage.batch_save(note(record_id) for record_id in IDS)
            with away.at_step(step, store):
                try:
                    await storage.commit(changes)
                except StorageUnavailableError as error:
                    return error
        return None

    async def sweep() -> int:
        old = await seen(filled)
        store = Path(shutil.copytree(filled, tmp_path / "model"))
        assert await commit(store, 0) is None
        new = await seen(store)
        assert new != old
        for step in count(1):
            store = Path(shutil.copytree(filled, tmp_path / f"{step}"))
            error = await commit(store, step)
            if not away.was_away:
                return step
            expected = [new] if error is None else [old] if error.outcome == "not applied" else [old, new]
            found = await seen(store)
            assert found in expected, f"step {step}: {error!r}"
            shutil.rmtree(store)
        return 0

    assert asyncio.run(sweep()) > 10


@pytest.fixture
def half_placed(filled: Path, tmp_path: Path, faults: Faults) -> Path:
    """Return a store as a process leaves it that dies when a part of a batch is in its place."""

    async def stumble() -> None:
        turns = count()
        async with await opened(filled) as storage:
            with faults.where(lambda name, _: name in ("replace", "unlink") and next(turns) > 2):
                changes = [patching(each, {"data": {"value": "new"}}) for each in "abcd"]
                with pytest.raises(StorageUnavailableError):
                    await storage.commit([*changes, deleting("e"), deleting("f")])
                # nothing is under way: recovery fails, and the next access tries again
                shutil.copytree(filled, tmp_path / "half")

    asyncio.run(stumble())
    return tmp_path / "half"


def test_a_batch_is_finished_wherever_the_store_is_away_for_a_moment_while_it_is_recovered(
    tmp_path: Path, half_placed: Path, away: Away
) -> None:
    async def recover(store: Path, step: int) -> None:
        with away.at_step(step, store):
            try:
                storage = await opened(store)
            except StorageUnavailableError:
                # whoever opens it next does it
                return
        async with storage:
            # what is in the log by now goes with it
            await asyncio.gather(storage.save(note("f", "after")), return_exceptions=True)

    async def sweep() -> int:
        for step in count(1):
            store = Path(shutil.copytree(half_placed, tmp_path / f"{step}"))
            await recover(store, step)
            if not away.was_away:
                return step
            found = await seen(store)
            values = {name: data["value"] for name, data in found.items()}
            assert values.pop("f", "after") == "after", step
            assert values == dict.fromkeys("abcd", "new"), step
            shutil.rmtree(store)
        return 0

    assert asyncio.run(sweep()) > 50


def test_a_checkpoint_leaves_no_segment_behind_wherever_the_store_is_away_for_a_moment(
    tmp_path: Path, filled: Path, away: Away
) -> None:
    async def close(store: Path, step: int) -> None:
        storage = await opened(store)
        await storage.batch_save([note("a", "new"), note("b", "new")])
        await storage.delete("c")
        with away.at_step(step, store):
            await storage.close()

    async def sweep() -> int:
        for step in count(1):
            store = Path(shutil.copytree(filled, tmp_path / f"{step}"))
            await close(store, step)
            if not away.was_away:
                return step
            if control(store, "log"):
                async with await opened(store) as storage:
                    # the counters know it: what is written now comes behind it
                    assert storage._store.log.numbers() == Log.numbers_left(storage._store.log)
                    await storage.save(note("a", "newest"))
            found = {name: data["value"] for name, data in (await seen(store)).items()}
            assert found.pop("a") in ("new", "newest")
            assert found == {"b": "new", **dict.fromkeys("def", "old")}
            shutil.rmtree(store)
        return 0

    assert asyncio.run(sweep()) > 10
