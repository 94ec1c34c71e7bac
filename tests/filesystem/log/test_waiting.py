"""A document that cannot be put in place, or not be synced there: it waits, and holds up nobody else."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageUnavailableError
from fsstore.filesystem.log.waiting import Waiting
from fsstore.filesystem.read import commit_waits
from fsstore.filesystem.write import writer as writing
from fsstore.model.mutations import deleting, patching, saving
from tests.filesystem.faults import Faults, contents, control, place, until
from tests.filesystem.test_crashes import crash

ROOT = Path(__file__).parents[3]


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(monkeypatch)


def note(record_id: str, value: str) -> dict[str, Any]:
    return {"id": record_id, "type": "note", "data": {"metadata": {"status": value}}}


def status(record: Any) -> Any:
    return None if record is None else record["data"]["metadata"]["status"]


def placing(*record_ids: str) -> Callable[[str, tuple[Any, ...]], bool]:
    """Choose the calls that put documents in place, or take them away."""
    files = {f"{record_id}.json" for record_id in record_ids}

    def chooses(name: str, arguments: tuple[Any, ...]) -> bool:
        if name == "unlink":
            return Path(arguments[0]).name in files
        return name == "replace" and Path(arguments[1]).name in files

    return chooses


def syncing(record_id: str, store: Path) -> Callable[[str, tuple[Any, ...]], bool]:
    """Choose the syncs of one document in its place."""

    def chooses(name: str, arguments: tuple[Any, ...]) -> bool:
        return name == "fsync" and Path(f"/proc/self/fd/{arguments[0]}").readlink() == place(store, record_id)

    return chooses


async def filled(store: Path, **options: Any) -> FileStorage:
    storage = await FileStorage.open(store, **options)
    await storage.batch_save(note(name, "old") for name in "abc")
    await storage.list()
    return storage


async def refused(storage: FileStorage, work: Any, *, outcome: str, number: int = errno.EPERM) -> str:
    """Return the text of the error by which something is refused, which names the document `a`."""
    with pytest.raises(StorageUnavailableError) as caught:
        await work
    error = caught.value
    assert (error.outcome, error.errno) == (outcome, number)
    assert error.path == str(place(Path(storage._tree.root), "a"))
    return str(error)


@pytest.mark.parametrize("fsync", [True, False], ids=["durable", "no fsync"])
async def test_one_document_of_a_batch_that_cannot_be_placed_raises_for_itself_and_the_others_are_done(
    tmp_path: Path, faults: Faults, *, fsync: bool
) -> None:
    async with await filled(tmp_path, fsync=fsync) as storage:
        with faults.where(placing("a"), errno.EPERM):
            batch = storage.commit([saving(note("a", "new")), saving(note("b", "new")), deleting("c")])
            await refused(storage, batch, outcome="applied")
            text = await refused(storage, storage.load("a"), outcome="not applied")
            assert "read it again" in text
            assert status(await storage.load("b")) == "new"
            assert await storage.load("c") is None
            # nothing else is held up
            await storage.save(note("d", "new"))
            await storage.batch_save([note("e", "new"), note("f", "new")])
            assert {row["id"] for row in await storage.list()} == set("bdef")
            assert {row["id"] for row in await storage.list_metadata()} == set("bdef")
            assert await storage.count({"data.metadata.status": "old"}) == 0
            assert await storage.query("SELECT id FROM documents WHERE id = 'a'") == []
            health = await storage.health_check()
            assert (health["status"], [Path(name).name for name in health["waiting"]]) == ("degraded", ["a.json"])
            await until(lambda: control(tmp_path, "log") == [])
            for work in (
                storage.save(note("a", "newer")),
                storage.delete("a"),
                storage.commit([patching("a", {"data": {}}), saving(note("g", "never"))]),
            ):
                await refused(storage, work, outcome="not applied")
            assert await storage.load("g") is None
        assert status(json.loads(place(tmp_path, "a").read_bytes())) == "old"
        # what was in the way is gone: whoever changes it next puts it in its place first
        await storage.update("a", {"data": {"more": 1}})
        found = await contents(storage)
        assert (status(found["a"]), found["a"]["data"]["more"]) == ("new", 1)
        assert control(tmp_path, "waiting") == []
        assert (await storage.health_check())["status"] == "ok"
    assert control(tmp_path, "quarantine") == []


async def test_a_document_that_waits_is_put_in_its_place_by_whoever_reads_it_once_that_is_possible(
    tmp_path: Path, faults: Faults
) -> None:
    async with await filled(tmp_path) as storage:
        with faults.where(placing("a"), errno.EBUSY):
            await refused(
                storage, storage.commit([saving(note("a", "new")), deleting("b")]), outcome="applied", number=16
            )
        assert status(await storage.load("a")) == "new"
        assert control(tmp_path, "waiting") == []
        assert set(await contents(storage)) == {"a", "c"}


async def test_a_deletion_that_could_not_be_done_waits_too(tmp_path: Path, faults: Faults) -> None:
    async with await filled(tmp_path) as storage:
        with faults.where(placing("a"), errno.EPERM):
            await refused(storage, storage.delete("a"), outcome="applied")
            await refused(storage, storage.exists("a"), outcome="not applied")
            assert {row["id"] for row in await storage.list()} == {"b", "c"}
        await storage.refresh()
        assert not await storage.exists("a")
        assert set(await contents(storage)) == {"b", "c"}


async def test_who_else_has_the_store_open_or_opens_it_never_takes_what_lies_there_for_current(
    tmp_path: Path, faults: Faults
) -> None:
    async with AsyncExitStack() as stack:
        storage = await stack.enter_async_context(await filled(tmp_path))
        other = await stack.enter_async_context(await FileStorage.open(tmp_path))
        assert status(await other.load("a")) == "old"
        assert await other.count() == 3
        with faults.where(placing("a"), errno.EPERM):
            await refused(storage, storage.save(note("a", "new")), outcome="applied")
            third = await stack.enter_async_context(await FileStorage.open(tmp_path))
            for reader in (other, third):
                # what lies there may be what the reader has in memory
                with pytest.raises(StorageUnavailableError) as caught:
                    await reader.load("a")
                assert caught.value.path == str(place(tmp_path, "a"))
                assert await reader.count() == 2
                with pytest.raises(StorageUnavailableError):
                    await reader.update("a", {"data": {}})
                await reader.save(note("b", "new"))
        assert status(await third.load("a")) == "new"
        assert status(await other.load("a")) == "new"
        assert await other.count() == 3


async def test_what_waits_is_found_after_a_restart_and_in_a_copy(tmp_path: Path, faults: Faults) -> None:
    store = tmp_path / "store"
    storage = await filled(store)
    await storage.save(note("a", "between"))
    with faults.where(placing("a"), errno.EPERM):
        await refused(storage, storage.save(note("a", "new")), outcome="applied")
        await storage.close()
        assert (control(store, "log"), len(control(store, "waiting"))) == ([], 1)
        async with await FileStorage.open(store) as again:
            await refused(again, again.load("a"), outcome="not applied")
            assert {row["id"] for row in await again.list()} == {"b", "c"}
    # an older value than the one that lay there: a medium may lose what was not synced
    copy = shutil.copytree(store, tmp_path / "copy")
    (copy / ".fsstore/seq").unlink()
    for where in (store, copy):
        async with await FileStorage.open(where) as again:
            assert status((await contents(again))["a"]) == "new"
        assert (control(where, "waiting"), control(where, "quarantine")) == ([], [])


async def test_every_value_that_the_log_knew_gives_way_to_what_waits(tmp_path: Path, faults: Faults) -> None:
    async with await filled(tmp_path) as storage:
        values = []
        for value in ("1", "2", "3"):
            await storage.save(note("a", value))
            values.append(place(tmp_path, "a").read_bytes())
        with faults.where(placing("a"), errno.EPERM):
            await refused(storage, storage.save(note("a", "new")), outcome="applied")
    for data in values:
        copy = shutil.copytree(tmp_path, tmp_path.with_name("copy"))
        place(copy, "a").write_bytes(data)
        async with await FileStorage.open(copy) as again:
            assert status(await again.load("a")) == "new"
        assert control(copy, "quarantine") == []
        shutil.rmtree(copy)


async def test_a_document_that_somebody_edited_while_it_waited_stays_and_what_waited_is_in_quarantine(
    tmp_path: Path, faults: Faults
) -> None:
    async with await filled(tmp_path) as storage:
        with faults.where(placing("a"), errno.EPERM):
            await refused(storage, storage.save(note("a", "new")), outcome="applied")
            place(tmp_path, "a").write_bytes(place(tmp_path, "a").read_bytes().replace(b"old", b"by hand"))
        assert status(await storage.load("a")) == "by hand"
        (aside,) = control(tmp_path, "quarantine")
        assert status(json.loads((tmp_path / ".fsstore/quarantine" / aside).read_bytes())) == "new"
        assert control(tmp_path, "waiting") == []


async def test_a_damaged_file_among_those_that_wait_goes_to_quarantine(tmp_path: Path) -> None:
    await (await filled(tmp_path)).close()
    (tmp_path / ".fsstore/waiting").mkdir()
    (tmp_path / ".fsstore/waiting/3f-a.json").write_bytes(b"no record")
    async with await FileStorage.open(tmp_path) as storage:
        assert set(await contents(storage)) == set("abc")
    assert (control(tmp_path, "waiting"), len(control(tmp_path, "quarantine"))) == ([], 1)


async def test_a_look_that_took_too_long_does_not_hide_what_has_begun_to_wait_since(
    tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looked has given up by then, and another one has found it."""
    async with await filled(tmp_path) as storage, await FileStorage.open(tmp_path) as other:
        waiting = other._store.recovery.waiting
        read, look = waiting.read, waiting.look
        begun, go, ended = (threading.Event() for _ in range(3))

        def read_slowly() -> list[Waiting]:
            found = read()
            if not begun.is_set():
                begun.set()
                assert go.wait(20)
            return found

        def look_and_say() -> None:
            is_slow = not begun.is_set()
            look()
            if is_slow:
                ended.set()

        monkeypatch.setattr(commit_waits, "_TRY_SECONDS", 600.0)
        monkeypatch.setattr(waiting, "read", read_slowly)
        monkeypatch.setattr(waiting, "look", look_and_say)
        slow = asyncio.ensure_future(other.load("b"))
        await until(begun.is_set)
        slow.cancel()
        await asyncio.wait([slow])
        with faults.where(placing("a"), errno.EPERM):
            await refused(storage, storage.save(note("a", "new")), outcome="applied")
            await refused(other, other.load("a"), outcome="not applied")
            assert status(await other.load("c")) == "old"
            go.set()
            await until(ended.is_set)
            await refused(other, other.load("a"), outcome="not applied")


# -- syncing ----------------------------------------------------------------------------------------------------------


async def test_a_document_that_can_never_be_synced_pins_no_log_and_is_read_and_only_its_changes_are_refused(
    tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_IDLE_SECONDS", 0.05)
    async with await filled(tmp_path) as storage:
        await until(lambda: control(tmp_path, "log") == [])
        with faults.where(syncing("a", tmp_path)):
            await storage.save(note("a", "new"))
            await until(lambda: control(tmp_path, "waiting") != [] and control(tmp_path, "log") == [])
            assert status(await storage.load("a")) == "new"
            assert await storage.count({"data.metadata.status": "new"}) == 1
            await refused(storage, storage.save(note("a", "newer")), outcome="not applied", number=errno.EIO)
            await storage.save(note("b", "new"))
            await until(lambda: control(tmp_path, "log") == [])
            health = await storage.health_check()
            assert health["status"] == "degraded"
        await storage.save(note("a", "newer"))
        assert status((await contents(storage))["a"]) == "newer"
        assert control(tmp_path, "waiting") == []


# -- crashes ----------------------------------------------------------------------------------------------------------


def test_a_process_killed_at_any_step_of_letting_a_document_wait_has_lost_nothing(tmp_path: Path) -> None:
    results = crash("waiting", tmp_path)
    assert len(results) >= 15
    assert {result["state"] for result in results} == {"new"}
    assert {"mkdir", "fsync", "replace", "unlink", "pwrite"} <= {result["call"] for result in results}


# -- what is known before the commit point ----------------------------------------------------------------------------

CHATTR = shutil.which("chattr")


def chattr(change: str, target: Path) -> str:
    """Return what the system says against it, if it does."""
    done = subprocess.run([CHATTR or "", change, target], check=False, capture_output=True, text=True)
    return done.stderr


@pytest.mark.skipif(CHATTR is None or os.geteuid() != 0, reason="only root makes a file immutable, with chattr")
@pytest.mark.parametrize("what", ["document", "shard"])
async def test_what_is_immutable_is_refused_before_anything_has_happened(tmp_path: Path, what: str) -> None:
    async with await filled(tmp_path) as storage:
        await until(lambda: control(tmp_path, "log") == [])
        target = place(tmp_path, "a") if what == "document" else place(tmp_path, "a").parent
        if refusal := await asyncio.to_thread(chattr, "+i", target):
            pytest.skip(f"the file system of {tmp_path} knows no immutable files: {refusal}")
        try:
            for work in (
                storage.save(note("a", "new")),
                storage.delete("a"),
                storage.batch_save([note("a", "new"), note("b", "new")]),
            ):
                with pytest.raises(StorageUnavailableError) as caught:
                    await work
                assert caught.value.outcome == "not applied"
                assert str(target) in str(caught.value)
            assert control(tmp_path, "log") == []
            # in one group with it, too
            saves = [asyncio.ensure_future(storage.save(note(name, "new"))) for name in "abc"]
            results = await asyncio.gather(*saves, return_exceptions=True)
            assert [type(result) for result in results] == [StorageUnavailableError, str, str]
            assert {key: status(each) for key, each in (await contents(storage)).items()} == {
                "a": "old",
                "b": "new",
                "c": "new",
            }
        finally:
            assert await asyncio.to_thread(chattr, "-i", target) == ""
        await storage.save(note("a", "new"))
    assert (control(tmp_path, "waiting"), control(tmp_path, "quarantine")) == ([], [])


UNPRIVILEGED = """
import asyncio, os, sys
from pathlib import Path
from fsstore import FileStorage
from fsstore.errors import StorageUnavailableError

async def work(*, is_rehearsal):
    if is_rehearsal:
        # so that all modules are loaded, which somebody else may not read
        async with await FileStorage.open(sys.argv[2]) as storage:
            await storage.save({"id": "a"})
        return
    async with await FileStorage.open(sys.argv[1]) as storage:
        try:
            await storage.save({"id": "a", "data": "new"})
        except StorageUnavailableError as error:
            assert error.outcome == "not applied", error
            assert not os.listdir(Path(sys.argv[1]) / ".fsstore/log"), "it was logged"
            print(error.errno)
        await storage.save({"id": "b", "data": "new"})

asyncio.run(work(is_rehearsal=True))
os.setgid(65534)
os.setuid(65534)
asyncio.run(work(is_rehearsal=False))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
async def test_a_shard_that_may_not_be_written_refuses_its_documents_and_no_others(tmp_path: Path) -> None:
    store = tmp_path / "store"
    await (await filled(store)).close()
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_mode & 0o001 == 0:
            path.chmod(path.stat().st_mode | 0o011)
    for root, directories, files in os.walk(store):
        for name in (".", *directories, *files):
            os.chown(Path(root) / name, 65534, 65534)
    place(store, "a").parent.chmod(0o500)
    command = [sys.executable, "-c", UNPRIVILEGED, str(store), str(tmp_path / "rehearsal")]
    done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{errno.EACCES}\n"), done.stderr
    place(store, "a").parent.chmod(0o700)
    async with await FileStorage.open(store) as storage:
        found = await contents(storage)
    assert (status(found["a"]), found["b"]["data"]) == ("old", "new")
