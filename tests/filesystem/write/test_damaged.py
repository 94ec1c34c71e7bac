"""Changes of documents that cannot be read: which of them go through, and what becomes of the bytes."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fsstore import FileStorage, SessionService
from fsstore.errors import StorageConflictError, StorageCorruptedError, StorageError, StorageUnavailableError
from tests.filesystem.faults import Faults, busy_writer, contents, control, cut_off, place
from tests.filesystem.hostile import in_time

BEFORE = {f"n{number}": "before" for number in range(4)}


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> Path:
    async with await FileStorage.open(tmp_path / "store") as storage:
        await SessionService(storage).batch_save_sessions({key: _session(is_) for key, is_ in BEFORE.items()})
        await storage.list()
    return tmp_path / "store"


def _session(is_: str) -> dict[str, Any]:
    return {"metadata": {"status": "x"}, "is": is_}


def garbage(path: Path) -> None:
    path.write_bytes(b"garbage")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 30)


def another_id(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"id": "n1"', b'"id": "n7"'))


def a_directory(path: Path) -> None:
    path.unlink()
    (path / "below").mkdir(parents=True)


def a_link(path: Path) -> None:
    path.rename(path.parent / "elsewhere")
    path.symlink_to(path.parent / "elsewhere")


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_terabyte(path: Path) -> None:
    os.truncate(path, 1 << 40)


FILES = (garbage, empty, another_id, a_terabyte)
NO_FILES = (a_directory, a_link, a_pipe)
each_damage = pytest.mark.parametrize("damage", [*FILES, *NO_FILES], ids=lambda damage: damage.__name__)

Damage = Callable[[Path], None]
Change = Callable[[SessionService], Awaitable[Any]]

SAVES: dict[str, Change] = {
    "save": lambda sessions: sessions.save_session("n1", _session("after")),
    "batch": lambda sessions: sessions.batch_save_sessions({key: _session("after") for key in ("n0", "n1", "n5")}),
    "record": lambda sessions: sessions.storage.save({"id": "n1", "type": "session", "data": _session("after")}),
    "transaction of records": lambda sessions: sessions.storage.transaction(
        [{"type": "save", "data": {"id": "n1", "type": "session", "data": _session("after")}}]
    ),
}
DELETES: dict[str, Change] = {
    "delete": lambda sessions: sessions.delete_session("n1"),
    "batch": lambda sessions: sessions.batch_delete_sessions(["n0", "n1", "n5"]),
    "record": lambda sessions: sessions.storage.delete("n1"),
    "batch of records": lambda sessions: sessions.storage.batch_delete(["n1", "n2"]),
}


async def _in_transaction(sessions: SessionService) -> None:
    async with sessions.transaction() as transaction:
        await transaction.delete_session("n0")
        await transaction.save_session("n1", _session("after"))


CONDITIONAL: dict[str, Change] = {
    "update": lambda sessions: sessions.update_session("n1", {"is": "after"}),
    "edit": lambda sessions: sessions.edit_session("n1", lambda draft: draft.update({"is": "after"})),
    "compare-and-swap": lambda sessions: sessions.save_session("n1", _session("after"), expected_version=1),
    "only if new": lambda sessions: sessions.save_session("n1", _session("after"), expected_version=0),
    "delete a version": lambda sessions: sessions.delete_session("n1", expected_version=1),
    "transaction": _in_transaction,
    "batch": lambda sessions: sessions.storage.transaction(
        [{"type": "delete", "id": "n0"}, {"type": "update", "id": "n1", "data": {"data": {}}}]
    ),
}


def _kept(store: Path) -> list[Path]:
    return [store / ".fsstore/quarantine" / name for name in control(store, "quarantine")]


@each_damage
@pytest.mark.parametrize("change", SAVES)
@pytest.mark.parametrize("indexed", [False, True])
async def test_an_unconditional_save_replaces_what_cannot_be_read_and_keeps_it(
    store: Path, damage: Damage, change: str, *, indexed: bool
) -> None:
    path = place(store, "n1")
    damage(path)
    before = path.lstat()
    async with await FileStorage.open(store) as storage:
        if indexed:
            assert len(await storage.list()) == len(BEFORE) - 1
        await SAVES[change](SessionService(storage))
        record = await storage.load("n1")
        assert record is not None
        assert record["data"]["is"] == "after"
        assert "n1" in await contents(storage)
        assert (await storage.health_check())["status"] == "ok"
        # and it is a document like any other
        await SessionService(storage).update_session("n1", {"is": "later"})
    (kept,) = _kept(store)
    after = kept.lstat()
    assert (after.st_ino, after.st_mode, after.st_size) == (before.st_ino, before.st_mode, before.st_size)


@each_damage
@pytest.mark.parametrize("change", DELETES)
async def test_an_unconditional_delete_removes_what_cannot_be_read(store: Path, damage: Damage, change: str) -> None:
    damage(place(store, "n1"))
    async with await FileStorage.open(store) as storage:
        answer = await DELETES[change](SessionService(storage))
        assert answer in (None, True, 2)
        assert await storage.load("n1") is None
        assert (await storage.health_check())["status"] == "ok"
    # what is no file is never destroyed: it may hold anything
    assert len(_kept(store)) == (damage in NO_FILES)


@each_damage
@pytest.mark.parametrize("batch", [False, True])
async def test_what_is_deleted_is_kept_where_that_is_asked_for(store: Path, damage: Damage, *, batch: bool) -> None:
    path = place(store, "n1")
    damage(path)
    before = path.lstat().st_ino
    async with await FileStorage.open(store) as storage:
        sessions = SessionService(storage)
        if batch:
            await sessions.batch_delete_sessions(["n0", "n1"], keep_damaged=True)
        else:
            await sessions.delete_session("n1", keep_damaged=True)
        assert await storage.load("n1") is None
    (kept,) = _kept(store)
    assert kept.lstat().st_ino == before


@each_damage
@pytest.mark.parametrize("change", CONDITIONAL)
async def test_a_change_that_depends_on_what_is_there_raises_and_changes_nothing(
    store: Path, damage: Damage, change: str
) -> None:
    path = place(store, "n1")
    damage(path)
    before = path.lstat()
    async with await FileStorage.open(store) as storage:
        with pytest.raises(StorageError) as caught:
            await CONDITIONAL[change](SessionService(storage))
        assert type(caught.value).__name__ == (
            "StorageTooLargeError" if damage is a_terabyte else "StorageCorruptedError"
        )
        assert await storage.exists("n0")
    after = path.lstat()
    assert (after.st_ino, after.st_mode, after.st_size) == (before.st_ino, before.st_mode, before.st_size)
    assert _kept(store) == []


async def test_a_refused_change_takes_no_other_of_its_group_with_it(store: Path) -> None:
    garbage(place(store, "n1"))
    async with await FileStorage.open(store) as storage:
        with busy_writer(storage):
            changes = [
                asyncio.ensure_future(change)
                for change in (
                    storage.update("n1", {"data": {}}),
                    storage.save({"id": "n2", "data": {}}),
                    storage.save({"id": "n1", "data": {}}),
                    storage.update("n1", {"data": {"is": "updated"}}),
                    storage.delete("n1"),
                    storage.save({"id": "n1", "data": {"is": "last"}}),
                )
            ]
            await asyncio.sleep(0)
        first, *others = await asyncio.gather(*changes, return_exceptions=True)
        assert isinstance(first, StorageCorruptedError)
        assert others == ["n2", "n1", True, True, "n1"]
        record = await storage.load("n1")
        assert record is not None
        assert record["data"] == {"is": "last"}
    assert [path.read_bytes() for path in _kept(store)] == [b"garbage"]


# -- a quarantine that cannot be written ------------------------------------------------------------------------------


@each_damage
async def test_where_quarantine_cannot_be_written_nothing_is_replaced_and_nobody_else_refused(
    store: Path, damage: Damage
) -> None:
    path = place(store, "n1")
    damage(path)
    before = path.lstat()
    (store / ".fsstore/quarantine").write_bytes(b"in the way")
    async with await FileStorage.open(store) as storage:
        with busy_writer(storage):
            changes = [
                asyncio.ensure_future(storage.save({"id": key, "data": {"is": "after"}})) for key in ("n0", "n1", "n2")
            ]
            await asyncio.sleep(0)
        first, refused, last = await asyncio.gather(*changes, return_exceptions=True)
        assert (first, last) == ("n0", "n2")
        assert isinstance(refused, StorageUnavailableError)
        assert refused.outcome == "not applied"
        after = path.lstat()
        assert (after.st_ino, after.st_mode, after.st_size) == (before.st_ino, before.st_mode, before.st_size)
        (store / ".fsstore/quarantine").unlink()
        await storage.save({"id": "n1", "data": {"is": "after"}})
    assert len(_kept(store)) == 1


async def test_where_there_are_no_links_the_bytes_are_copied(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    garbage(place(store, "n1"))
    monkeypatch.setattr(os, "link", refusing)
    async with await FileStorage.open(store) as storage:
        await storage.save({"id": "n1", "data": {}})
    assert [path.read_bytes() for path in _kept(store)] == [b"garbage"]


# -- crashes ----------------------------------------------------------------------------------------------------------

LIKE: dict[Damage, Callable[[Path], bool]] = {
    garbage: lambda path: path.is_file() and path.read_bytes() == b"garbage",
    a_directory: lambda path: (path / "below").is_dir(),
    a_link: Path.is_symlink,
}
"""How what was damaged so is known again."""


@pytest.mark.parametrize("damage", LIKE, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("is_delete", [False, True])
async def test_whatever_step_fails_what_was_damaged_is_where_it_was_or_kept(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Damage, *, is_delete: bool
) -> None:
    damage(place(store, "n1"))
    faults, step, outcomes = Faults(monkeypatch), 0, set[str]()
    while not step or faults.fired:
        step += 1
        copy = Path(shutil.copytree(store, tmp_path / f"copy{step}", symlinks=True))
        async with await FileStorage.open(copy) as storage:
            sessions = SessionService(storage)
            with faults.at_step(step, errno.EIO):
                try:
                    if is_delete:
                        await sessions.delete_session("n1", keep_damaged=True)
                    else:
                        await sessions.save_session("n1", _session("after"))
                    outcome = "applied"
                except StorageError as error:
                    outcome = error.outcome
            outcomes.add(outcome)
        assert any(map(LIKE[damage], [place(copy, "n1"), *_kept(copy)])), f"step {step}: {faults.fired}"
        async with await FileStorage.open(copy) as storage:
            found = await in_time(storage.load("n1"))
            if outcome == "applied":
                assert (found is None) if is_delete else found["data"]["is"] == "after"
            elif outcome == "not applied":
                assert isinstance(found, StorageCorruptedError), f"step {step}: {faults.fired}"
    assert outcomes >= {"applied", "not applied"}


async def test_a_crash_behind_the_commit_point_leaves_the_new_document_and_the_damaged_bytes(
    store: Path, tmp_path: Path
) -> None:
    garbage(place(store, "n1"))
    async with await FileStorage.open(store) as storage:
        await storage.save({"id": "n1", "data": {"is": "after"}})
        left = cut_off(storage, store, tmp_path / "left")
    # as before the renames: the log has the new document, and the damaged one is in its place
    garbage(place(left, "n1"))
    (left / ".fsstore/seq").unlink()
    async with await FileStorage.open(left) as storage:
        record = await storage.load("n1")
        assert record is not None
        assert record["data"] == {"is": "after"}
    assert b"garbage" in [path.read_bytes() for path in _kept(left)]


@pytest.mark.parametrize("change", ["save", "batch_save", "delete", "delete and keep", "batch_delete"])
async def test_a_document_in_which_git_has_left_a_conflict_is_neither_replaced_nor_removed(
    tmp_path: Path, change: str
) -> None:
    """Both sides stand in that file alone, and it is for a person to choose."""
    async with await FileStorage.open(tmp_path) as storage:
        await storage.save({"id": "a", "data": 1})
        file = place(tmp_path, "a")
        text = file.read_text()
        conflict = f"<<<<<<< ours\n{text}=======\n{text.replace('1', '2')}>>>>>>> theirs\n"
        file.write_text(conflict)
        changes: dict[str, Callable[[], Awaitable[object]]] = {
            "save": lambda: storage.save({"id": "a", "data": 3}),
            "batch_save": lambda: storage.batch_save([{"id": "b"}, {"id": "a", "data": 3}]),
            "delete": lambda: storage.delete("a"),
            "delete and keep": lambda: storage.delete("a", keep_damaged=True),
            "batch_delete": lambda: storage.batch_delete(["a", "b"]),
        }

        with pytest.raises(StorageCorruptedError, match="keep one side of each conflict") as refused:
            await changes[change]()

        assert refused.value.outcome == "not applied"
        assert file.read_text() == conflict
        assert await storage.load("b") is None
        assert (await storage.health_check())["quarantined"] == 0


REPLACED: dict[str, Change] = {
    "save": SAVES["save"],
    "batch": SAVES["batch"],
    "delete and save": lambda sessions: _each(sessions.delete_session("n1"), SAVES["save"](sessions)),
    "repair and save": lambda sessions: _each(_repair(sessions), SAVES["save"](sessions)),
}


async def _repair(sessions: SessionService) -> None:
    assert isinstance(sessions.storage, FileStorage)
    await sessions.storage.repair()


async def _each(*changes: Awaitable[Any]) -> None:
    for change in changes:
        await change


@pytest.mark.parametrize("damage", [empty, truncated, a_terabyte, a_directory], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("change", REPLACED)
@pytest.mark.parametrize("known", ["to its writer", "to the index", "and seen by a list"])
async def test_no_compare_and_swap_takes_what_replaced_damage_for_what_was_there_before(
    store: Path, damage: Damage, change: str, known: str
) -> None:
    async with await FileStorage.open(store) as storage:
        sessions = SessionService(storage)
        for number in range(6):
            await sessions.save_session("n1", _session(str(number)))
        if known == "to its writer":
            damage(place(store, "n1"))
            await _replace_and_compare(sessions, change)
            return
    damage(place(store, "n1"))
    if known == "and seen by a list":
        async with await FileStorage.open(store) as storage:
            assert await storage.count() == len(BEFORE) - 1
    async with await FileStorage.open(store) as storage:
        await _replace_and_compare(SessionService(storage), change)


async def _replace_and_compare(sessions: SessionService, change: str) -> None:
    await REPLACED[change](sessions)
    for version in range(1, 8):
        with pytest.raises(StorageConflictError):
            await sessions.save_session("n1", _session("lost"), expected_version=version)
    record = await sessions.get_record("n1")
    assert record is not None
    assert (record["version"], record["data"]["is"]) == (8, "after")
