"""One document or shard that the system refuses to read keeps nobody from any other."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage, SessionService
from fsstore.errors import StorageError, StorageUnavailableError
from fsstore.filesystem.documents.layout import Layout
from fsstore.transfer import export_sessions
from fsstore.watching.changes import Change
from tests.filesystem.faults import place, until
from tests.filesystem.refused import ANOTHER_USER, Bad, as_bound_by_permissions

IDS = [f"n{number}" for number in range(6)]
OTHERS = set(IDS) - {"n1"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    as_bound_by_permissions(lambda: _fill(tmp_path / "store"))
    yield tmp_path / "store"
    for shard in (tmp_path / "store").glob("??"):
        shard.chmod(0o700)


async def _fill(store: Path) -> None:
    async with await FileStorage.open(store) as storage:
        await storage.batch_save([_record(record_id) for record_id in IDS])
        await storage.list()


def _record(record_id: str) -> dict[str, Any]:
    return {"id": record_id, "type": "session", "data": {"metadata": {"status": "new"}}}


async def _answers(storage: FileStorage) -> dict[str, set[str]]:
    """Return the ids that each way of asking gives; of those that count, all that are listed if they are as many."""
    listed = [record["id"] for record in await storage.list()]
    limited = await storage.list_metadata(None, 4, order_by="id", offset=1)
    assert [summary["id"] for summary in limited] == sorted(listed)[1:5]
    target = storage._tree.root.parent / "export.jsonl"
    exported = await export_sessions(SessionService(storage), target)
    assert exported.sessions == len(target.read_bytes().splitlines())
    return {
        "list": set(listed),
        "filter": {record["id"] for record in await storage.list({"data.metadata.status": "new"})},
        "stream": {record["id"] async for batch in storage.stream_list(batch_size=2) for record in batch},
        "metadata": {summary["id"] for summary in await storage.list_metadata()},
        "query": {row["id"] for row in await storage.query("SELECT id FROM documents")},
        "count": _counted(listed, await storage.count()),
        "count some": _counted(listed, await storage.count({"data.metadata.status": "new"})),
        "rows": _counted(listed, (await storage.query("SELECT count(*) AS n FROM documents"))[0]["n"]),
    }


def _counted(listed: list[str], number: int) -> set[str]:
    return set(listed) if number == len(listed) else {f"{number} counted"}


def _all_give(ids: Iterable[str]) -> dict[str, set[str]]:
    ways = ("list", "filter", "stream", "metadata", "query", "count", "count some", "rows")
    return {way: set(ids) for way in ways}


async def _see_the_others(storage: FileStorage, named: str) -> None:
    """Ask in every way for all documents, of which one cannot be read."""
    assert {record["id"] for record in await storage.list()} == OTHERS
    answers = await _answers(storage)
    assert answers == _all_give(OTHERS)
    await storage.refresh()
    assert await _answers(storage) == answers
    report = await storage.health_check()
    assert (report["status"], report["documents"], report["trouble"]) == ("degraded", len(OTHERS), None)
    assert named in [problem["file"] for problem in report["corrupt"]]
    assert named in [problem["file"] for problem in await storage.unreadable()]
    assert all(problem["reason"] for problem in report["corrupt"])
    verified = await storage.verify(hash=True)
    assert [(finding.kind, finding.file) for finding in verified.damage] == [("refused", named.rstrip("/"))]
    for attempt in (storage.load("n1"), storage.save({"id": "n1"}), storage.update("n1", {"data": {}})):
        with pytest.raises(StorageUnavailableError) as caught:
            await attempt
        assert caught.value.outcome == "not applied"
    await storage.save(_record("n2"))
    repaired = await storage.repair()
    assert repaired.moved == []
    assert [finding.file for finding in repaired.left] == [named.rstrip("/")]
    assert await _answers(storage) == answers


def _refusing(store: Path, what: str) -> tuple[Path, str]:
    """Return what is to be refused, and the name under which it is reported."""
    path = place(store, "n1")
    return (path, f"{path.parent.name}/n1.json") if what == "document" else (path.parent, f"{path.parent.name}/")


@pytest.mark.parametrize("when", ["open", "closed", "not indexed"])
@pytest.mark.parametrize("what", ["document", "shard"])
def test_what_a_user_may_not_read_keeps_that_user_from_nothing_else(store: Path, what: str, when: str) -> None:
    path, named = _refusing(store, what)
    mode = path.stat().st_mode

    async def ask() -> None:
        if when == "not indexed":
            for file in (store / ".fsstore").glob("index*"):
                file.unlink()
        if when != "open":
            path.chmod(0)
        async with await FileStorage.open(store) as storage:
            if when == "open":
                await storage.list()
                path.chmod(0)
            await _see_the_others(storage, named)
            path.chmod(mode)
            # no operator, no refresh: the next answers look again, once a second
            storage._documents.unreadable._next_look = 0.0
            answers = await _answers(storage)
            assert answers == _all_give(IDS)
            assert (await storage.health_check())["status"] == "ok"

    as_bound_by_permissions(ask)


def test_a_shard_that_can_be_listed_and_not_entered_keeps_nobody_from_another(store: Path) -> None:
    path = place(store, "n1").parent

    async def ask() -> None:
        async with await FileStorage.open(store) as storage:
            path.chmod(0o400)
            await _see_the_others(storage, f"{path.name}/n1.json")

    as_bound_by_permissions(ask)


def test_a_shard_that_can_be_entered_and_not_listed_loses_no_row(store: Path) -> None:
    path = place(store, "n1").parent

    async def ask() -> None:
        async with await FileStorage.open(store) as storage:
            path.chmod(0o300)
            await storage.refresh()
            answers = await _answers(storage)
            assert answers == _all_give(IDS)
            report = await storage.health_check()
            assert [problem["file"] for problem in report["corrupt"]] == [f"{path.name}/"]

    as_bound_by_permissions(ask)


@pytest.mark.skipif(os.geteuid() != 0, reason="two users can be had by root alone")
@pytest.mark.parametrize("mode", [0, 0o400])
def test_an_upper_directory_that_is_closed_keeps_nobody_from_the_others(tmp_path: Path, mode: int) -> None:
    upper = tmp_path / "store" / Layout(2).name("n1").partition("/")[0]

    async def ask() -> None:
        async with await FileStorage.open(tmp_path / "store", shard_depth=2) as storage:
            await storage.batch_save([_record(record_id) for record_id in IDS])
        async with await FileStorage.open(tmp_path / "store") as storage:
            await storage.list()
            upper.chmod(mode)
            assert {record["id"] for record in await storage.list()} == OTHERS
            await storage.refresh()
            assert await _answers(storage) == _all_give(OTHERS)
            report = await storage.health_check()
            assert any(problem["file"].startswith(upper.name) for problem in report["corrupt"])
            assert (await storage.verify()).damage != []
            assert (await storage.repair()).moved == []
            async with await FileStorage.open(tmp_path / "store") as another:
                assert await _answers(another) == _all_give(OTHERS)
                async with another.watch():
                    await another.save(_record("n2"))
            upper.chmod(0o700)
            storage._documents.unreadable._next_look = 0.0
            assert await _answers(storage) == _all_give(IDS)

    try:
        as_bound_by_permissions(ask)
    finally:
        upper.chmod(0o700)


def test_what_one_user_may_not_read_is_hidden_from_no_other(store: Path) -> None:
    async def as_the_other() -> None:
        async with await FileStorage.open(store) as storage:
            assert (await storage.refresh()).corrupt == [f"{place(store, 'n1').parent.name}/n1.json"]
            assert await storage.count() == len(OTHERS)

    async def as_root() -> None:
        # as one who has the store open, and has compared everything before
        async with await FileStorage.open(store, reconcile="off") as storage:
            for answer in (await _answers(storage)).values():
                assert answer == set(IDS)

    os.chown(place(store, "n1"), ANOTHER_USER, ANOTHER_USER)
    as_bound_by_permissions(as_the_other)
    asyncio.run(as_root())


def _bad(bad: Bad, store: Path, what: str) -> str:
    """Let the disk fail at a document or a shard; returns the name under which it is reported."""
    path = place(store, "n1")
    bad.bases = {"n1.json"} if what == "document" else {"n1.json", path.parent.name}
    bad.looks_too = what == "shard"
    return f"{path.parent.name}/n1.json" if what == "document" else f"{path.parent.name}/"


@pytest.mark.parametrize("what", ["document", "shard"])
async def test_what_the_disk_cannot_read_keeps_nobody_from_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    await _fill(tmp_path / "store")
    bad = Bad(monkeypatch)
    async with await FileStorage.open(tmp_path / "store") as storage:
        named = _bad(bad, tmp_path / "store", what)
        await _see_the_others(storage, named)
        bad.bases = set()
        storage._documents.unreadable._next_look = 0.0
        answers = await _answers(storage)
        assert answers == _all_give(IDS)


@pytest.mark.parametrize("what", ["document", "shard"])
async def test_a_watcher_takes_nothing_for_deleted_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    await _fill(tmp_path / "store")
    bad = Bad(monkeypatch)
    async with await FileStorage.open(tmp_path / "store", polling=True) as storage:
        watch = storage.watch()
        async with watch:
            _bad(bad, tmp_path / "store", what)
            await storage.refresh()
            # what is looked at again and again, and reported of another document at last
            scanner, looks = storage._watched()._watcher._scanner, 0
            look = scanner._look

            def counting() -> None:
                nonlocal looks
                looks += 1
                look()

            scanner._look = counting  # type: ignore[method-assign]
            await until(lambda: looks > 2)
            # in a shard of its own, which only a look at all of them finds
            made = place(tmp_path / "store", "made")
            made.parent.mkdir()
            made.write_bytes(place(tmp_path / "store", "n2").read_bytes().replace(b'"n2"', b'"made"'))
            change = await asyncio.wait_for(anext(watch), 20)
            assert isinstance(change, Change)
            assert (change.kind, change.id) == ("created", "made")
            bad.bases = set()
            await storage.save(_record("n1"))
            change = await asyncio.wait_for(anext(watch), 20)
            assert isinstance(change, Change)
            assert (change.kind, change.id) == ("updated", "n1")


async def test_a_store_that_is_gone_is_an_error_and_no_list_without_its_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _fill(tmp_path / "store")
    bad = Bad(monkeypatch)
    async with await FileStorage.open(tmp_path / "store") as storage:
        await storage.list()
        bad.bases, bad.looks_too = {"fsstore.json", *(f"{key}.json" for key in IDS)}, True
        calls: list[Callable[[], Any]] = [storage.list, lambda: storage.list({"data.x": 1}), storage.verify]
        for call in calls:
            with pytest.raises(StorageError):
                await call()
        bad.bases = set()


async def test_a_process_without_descriptors_gets_an_error_and_no_list_without_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _fill(tmp_path / "store")
    async with await FileStorage.open(tmp_path / "store") as storage:
        await storage.list()
        real = os.open

        def without(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            if str(path).endswith(".json") and not flags & os.O_CREAT:
                raise OSError(24, os.strerror(24), path)
            return real(path, flags, *arguments, **options)

        storage._documents.cache.forget("n0")
        storage._documents.cache._kept.clear()
        monkeypatch.setattr(os, "open", without)
        with pytest.raises(StorageUnavailableError, match="open files"):
            await storage.list()
        monkeypatch.undo()
        assert len(await storage.list()) == len(IDS)
        assert (await storage.health_check())["status"] == "ok"


@pytest.mark.parametrize(("closed", "mode"), [(".fsstore", 0o555), (".fsstore/txn", 0)])
def test_a_write_to_a_store_that_may_only_be_read_names_what_is_closed_and_whose_it_is(
    store: Path, closed: str, mode: int
) -> None:
    path = store / closed
    mode_before = path.stat().st_mode
    path.chmod(mode)

    async def write() -> tuple[str, int | None, str]:
        async with await FileStorage.open(store) as storage:
            assert (await storage.load("n1")) is not None
            with pytest.raises(StorageUnavailableError, match="the store cannot be written") as caught:
                await storage.save(_record("n9"))
            return str(caught.value.path), caught.value.errno, caught.value.advice

    try:
        named, number, advice = as_bound_by_permissions(write)
    finally:
        path.chmod(mode_before)
    assert (named, number) == (str(path), errno.EACCES)
    assert advice.startswith("it is yours and has the mode ")


def test_a_write_to_a_store_that_has_become_writable_asks_for_it_to_be_opened_again(store: Path) -> None:
    control = store / ".fsstore"
    control.chmod(0o555)

    async def write() -> str:
        async with await FileStorage.open(store) as storage:
            control.chmod(0o700)
            with pytest.raises(StorageUnavailableError) as caught:
                await storage.save(_record("n9"))
            return caught.value.advice

    try:
        assert "open it again" in as_bound_by_permissions(write)
    finally:
        control.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="two users can be had by root alone")
@pytest.mark.parametrize("control", ["there", "gone"])
async def test_root_leaves_nothing_in_a_store_that_its_owner_cannot_use(tmp_path: Path, control: str) -> None:
    store = tmp_path / "store"
    async with await FileStorage.open(store) as storage:
        await storage.batch_save([_record(record_id) for record_id in IDS])
        await storage.count()
    if control == "gone":
        shutil.rmtree(store / ".fsstore")
    for path in (store, *store.rglob("*")):
        os.chown(path, ANOTHER_USER, ANOTHER_USER)

    async with await FileStorage.open(store) as storage:
        await storage.update("n1", {"data": {"metadata": {"status": "changed"}}})
        await storage.batch_save([_record(f"more{number}") for number in range(20)])
        await storage.delete("n2")
        place(store, "n3").write_text("damaged")
        await storage.save(_record("n3"))
        await storage.count()
        # also what there is only meanwhile, as it would stay after a crash
        during = {path for path in store.rglob("*") if path.lstat().st_uid != ANOTHER_USER}
    assert during == set()
    assert {path.lstat().st_uid for path in store.rglob("*")} == {ANOTHER_USER}
