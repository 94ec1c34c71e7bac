"""Who syncs documents, what a sync that fails means for everybody, and when a segment of the log may go."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageTimeoutError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents.layout import CONTROL
from fsstore.filesystem.log.checkpoint import Checkpoint, CheckpointLock, sync_documents
from fsstore.filesystem.log.counters import Counters
from fsstore.filesystem.log.log import NotSyncedError
from fsstore.filesystem.write import writer as writing
from fsstore.filesystem.write.jobs import Job, Jobs
from tests.filesystem.crashing import in_child
from tests.filesystem.faults import Faults, contents, control, cut_off, first, place, until
from tests.filesystem.test_crashes import crash


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(monkeypatch)


@pytest.fixture(autouse=True)
def never_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let checkpoints run when a test says so."""
    monkeypatch.setattr(writing, "_IDLE_SECONDS", 600.0)


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[tuple[FileStorage, FileStorage]]:
    """Return a store that is open twice, as it is in two processes."""
    store = tmp_path / "store"
    async with await FileStorage.open(store) as one, await FileStorage.open(store) as other:
        yield one, other


def checkpoint(storage: FileStorage) -> bool:
    """Do in this thread what the thread of a checkpoint does; whether anything was sealed."""
    assert storage._store.writer is not None
    return storage._store.writer.checkpoints._checkpoint.run()


async def sealed(storage: FileStorage) -> Checkpoint:
    """Seal the log and return what empties it."""
    writer = storage._store.writer
    assert writer is not None
    await asyncio.wrap_future(writer.call(writer.checkpoints._checkpoint.seal))
    return writer.checkpoints._checkpoint


def inode(store: Path, record_id: str) -> int:
    return place(store, record_id).stat().st_ino


# -- a sync that failed -----------------------------------------------------------------------------------------------


async def test_what_one_process_could_not_sync_no_other_takes_for_synced(
    two: tuple[FileStorage, FileStorage], tmp_path: Path, faults: Faults
) -> None:
    """The system reports an error once: the second sync of the same bytes succeeds, whatever became of them."""
    one, other = two
    store = tmp_path / "store"
    await one.save({"id": "a", "data": "kept"})
    before = inode(store, "a")
    failing, going_on = await sealed(one), await sealed(other)
    with faults.where(first("fsync")):
        with pytest.raises(NotSyncedError):
            failing.run()
        assert faults.fired == ["fsync"]
    # no fault any more, and still it is not believed
    with pytest.raises(NotSyncedError):
        going_on.run()
    assert len(control(store, "log")) == 1
    await other.save({"id": "b"})
    assert inode(store, "a") != before
    assert not one._counters.read().is_doubtful
    assert (await contents(one)).keys() == {"a", "b"}


async def test_what_could_not_be_synced_is_written_anew_after_a_restart(tmp_path: Path, faults: Faults) -> None:
    store = tmp_path / "store"
    async with await FileStorage.open(store) as storage:
        await storage.save({"id": "a", "data": "kept"})
        emptying = await sealed(storage)
        with faults.where(first("fsync")), pytest.raises(NotSyncedError):
            emptying.run()
        # it dies now: what it knew is in the counters
        left = shutil.copytree(store, tmp_path / "left")
    before = inode(left, "a")
    async with await FileStorage.open(left) as storage:
        assert inode(left, "a") != before
        assert control(left, "log") == []
        assert (await contents(storage))["a"]["data"] == "kept"


async def test_a_checkpoint_that_is_killed_after_a_failed_sync_is_not_believed(
    tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has seen an error, and dies before it can say so: the next sync of the same bytes succeeds."""
    store = tmp_path / "store"
    left = tmp_path / "left"
    async with await FileStorage.open(store) as storage:
        await storage.save({"id": "a", "data": "kept"})
        emptying = await sealed(storage)

        def die(_checkpoint: Checkpoint, _sealed: int) -> bool:
            shutil.copytree(store, left)
            return True

        with monkeypatch.context() as patch, faults.where(first("fsync")):
            patch.setattr(Checkpoint, "_note_failure", die)
            with pytest.raises(NotSyncedError):
                emptying.run()
    before = inode(left, "a")
    async with await FileStorage.open(left) as storage:
        emptying = await sealed(storage)
        with pytest.raises(NotSyncedError):
            emptying.run()
        await storage.save({"id": "b"})
        assert inode(left, "a") != before
        assert not storage._counters.read().is_doubtful
        assert (await contents(storage))["a"]["data"] == "kept"


async def test_where_the_counters_cannot_be_told_of_it_the_process_itself_knows(tmp_path: Path, faults: Faults) -> None:
    unsynced = 8 * type(Counters(Tree(tmp_path)).read())._fields.index("unsynced")
    syncing = first("fsync")
    async with await FileStorage.open(tmp_path) as storage:
        await storage.save({"id": "a"})
        before = inode(tmp_path, "a")
        writer = storage._store.writer
        assert writer is not None
        await sealed(storage)
        with faults.where(
            lambda name, arguments: syncing(name, arguments) or (name == "pwrite" and arguments[2] == unsynced)
        ):
            writer.checkpoints._sync()
            assert faults.fired == ["fsync", "pwrite"]
        await storage.save({"id": "b"})
        assert inode(tmp_path, "a") != before


@pytest.mark.parametrize("documents", [1, 20])
@pytest.mark.parametrize("level", ["document", "shard", "root"])
async def test_each_sync_that_fails_keeps_the_log(tmp_path: Path, faults: Faults, documents: int, level: str) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.batch_save({"id": f"n{number}"} for number in range(documents))
        target = {"document": place(tmp_path, "n0"), "shard": place(tmp_path, "n0").parent, "root": tmp_path}[level]
        emptying = await sealed(storage)
        with faults.where(
            lambda name, arguments: name == "fsync" and Path(f"/proc/self/fd/{arguments[0]}").readlink() == target
        ):
            with pytest.raises(NotSyncedError):
                emptying.run()
            names = [storage._documents.name(f"n{number}") for number in range(documents)]
            # what lies below is named, and nothing else
            told = {"document": {names[0]}, "root": set(names)}.get(
                level, {name for name in names if name.partition("/")[0] == names[0].partition("/")[0]}
            )
            assert sync_documents(storage._documents, names).keys() == told
        assert len(control(tmp_path, "log")) == 1
        assert storage._counters.read().is_doubtful


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("again", [False, True], ids=["in a checkpoint", "and in the recovery"])
async def test_a_directory_that_could_not_be_synced_is_changed_before_it_is_synced_again(
    tmp_path: Path, faults: Faults, *, depth: int, again: bool
) -> None:
    async with await FileStorage.open(tmp_path, shard_depth=depth) as storage:
        await storage.save({"id": "n0"})
        naming = (tmp_path / storage._documents.name("n0")).parent.parent
        emptying = await sealed(storage)
        seen: list[str] = []
        left = 1 + again

        def fails(name: str, arguments: tuple[object, ...]) -> bool:
            nonlocal left
            if name == "unlink" and Path(str(arguments[0])).name.startswith(".fsstore.json."):
                seen.extend(["changed"][seen[-1] == "changed" :])
            if name != "fsync" or Path(f"/proc/self/fd/{arguments[0]}").readlink() != naming:
                return False
            seen.append("synced")
            left -= 1
            return left >= 0

        with faults.where(fails):
            with pytest.raises(NotSyncedError):
                emptying.run()
            await storage.save({"id": "n0"})
            assert control(tmp_path, "waiting") == []
        # to the system a block is written once a sync of it has failed
        assert seen == ["synced", *["changed", "synced"] * (1 + again)]
        assert list(tmp_path.rglob(".fsstore.json.*")) == []


async def test_counters_that_were_lost_say_nothing_of_what_was_synced(tmp_path: Path) -> None:
    store = tmp_path / "store"
    async with await FileStorage.open(store) as storage:
        await storage.save({"id": "a"})
        left = cut_off(storage, store, tmp_path / "left")
    (left / ".fsstore/seq").unlink()
    before = inode(left, "a")
    async with await FileStorage.open(left):
        assert inode(left, "a") != before


async def test_a_segment_that_is_damaged_goes_to_quarantine_before_it_is_deleted(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        for name in "abc":
            await storage.save({"id": name, "data": f"value of {name}"})
        emptying = await sealed(storage)
        (segment,) = (tmp_path / ".fsstore/log").iterdir()
        segment.write_bytes(damaged := segment.read_bytes().replace(b"value of b", b"value of X"))
        with pytest.raises(NotSyncedError, match="damaged"):
            emptying.run()
        await storage.save({"id": "d"})
        (aside,) = control(tmp_path, "quarantine")
        assert (tmp_path / ".fsstore/quarantine" / aside).read_bytes() == damaged
        assert not segment.exists()
        assert (await contents(storage)).keys() == set("abcd")


def test_a_process_killed_at_any_step_of_writing_anew_what_is_in_doubt_has_lost_nothing(tmp_path: Path) -> None:
    results = crash("doubt", tmp_path)
    assert len(results) >= 20
    assert {result["state"] for result in results} == {"new"}
    assert {"fsync", "replace", "unlink", "pwrite"} <= {result["call"] for result in results}


# -- one at a time ----------------------------------------------------------------------------------------------------


async def test_two_checkpoints_are_never_at_it_at_once(
    two: tuple[FileStorage, FileStorage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    store = tmp_path / "store"
    await one.save({"id": "a"})
    slow, quick = await sealed(one), await sealed(other)
    begun, go = threading.Event(), threading.Event()
    sync = os.fsync

    def syncing(descriptor: int) -> None:
        begun.set()
        go.wait(20)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", syncing)
    running = asyncio.create_task(asyncio.to_thread(slow.run))
    try:
        assert await asyncio.to_thread(begun.wait, 20)
        assert not quick.run()
        assert len(control(store, "log")) == 1
        assert not quick.run(timeout_seconds=0.02)
    finally:
        go.set()
    assert await running
    assert control(store, "log") == []
    assert quick.run()


async def test_a_store_that_is_closed_waits_for_the_checkpoint_of_another_process_and_empties_the_log_itself(
    two: tuple[FileStorage, FileStorage], tmp_path: Path
) -> None:
    one, other = two
    await one.save({"id": "a"})
    lock = CheckpointLock(other._tree)
    with lock.taken(0) as is_taken:
        assert is_taken
        ending = asyncio.create_task(one.close())
        await asyncio.wait([ending], timeout=0.2)
        assert not ending.done()
        assert len(control(tmp_path / "store", "log")) == 1
    await ending
    assert control(tmp_path / "store", "log") == []


async def test_a_recovery_leaves_the_log_to_a_checkpoint_that_is_under_way(
    two: tuple[FileStorage, FileStorage], tmp_path: Path
) -> None:
    one, other = two
    store = tmp_path / "store"
    await one.save({"id": "a", "data": "first"})
    with CheckpointLock(other._tree).taken(0):
        await until(lambda: one._store.writer and not one._store.writer.lock_is_held())
        # a writer has died
        one._counters.write(indexing=one._counters.read().indexing | 1)
        await other.save({"id": "b"})
        assert len(control(store, "log")) == 2
        place(store, "a").write_bytes(edited := place(store, "a").read_bytes().replace(b"first", b"hand!"))
        await until(lambda: other._store.writer and not other._store.writer.lock_is_held())
        # and another one: what the first recovery has settled is settled
        one._counters.write(indexing=one._counters.read().indexing | 1)
        await one.save({"id": "c"})
        assert place(store, "a").read_bytes() == edited
        assert control(store, "log") != []
    assert (await contents(one)).keys() == {"a", "b", "c"}


async def test_what_is_in_doubt_waits_for_a_checkpoint_that_is_under_way_and_not_for_ever(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path, lock_timeout_seconds=0.05) as storage:
        await storage.save({"id": "a"})
        storage._counters.write(unsynced=1)
        with CheckpointLock(storage._tree).taken(0), pytest.raises(StorageTimeoutError) as caught:
            await storage.save({"id": "b"})
        assert caught.value.outcome == "not applied"
        assert "checkpoint" in str(caught.value)
        await storage.save({"id": "b"})
        assert (await contents(storage)).keys() == {"a", "b"}


@pytest.mark.parametrize("outcome", [False, OSError("no")], ids=["another one was at it", "the system has refused it"])
async def test_a_checkpoint_that_ends_in_vain_once_the_writer_has_nothing_to_do_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, outcome: OSError | bool
) -> None:
    monkeypatch.setattr(writing, "_IDLE_SECONDS", 0.05)
    asleep, outcomes = threading.Event(), [outcome]
    run, following = Checkpoint.run, Jobs.next

    def next_job(jobs: Jobs, timeout_seconds: float | None) -> Job | None:
        if timeout_seconds is None:
            asleep.set()
        job = following(jobs, timeout_seconds)
        asleep.clear()
        return job

    def run_in_vain(checkpoint: Checkpoint, **options: float) -> bool:
        if not outcomes:
            return run(checkpoint, **options)
        found = outcomes.pop()
        assert asleep.wait(20)
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(Jobs, "next", next_job)
    monkeypatch.setattr(Checkpoint, "run", run_in_vain)
    async with await FileStorage.open(tmp_path) as storage:
        await storage.save({"id": "a"})
        await until(lambda: control(tmp_path, "log") == [])


async def test_a_checkpoint_that_fails_again_and_again_by_the_same_error_warns_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors = ["one", "one", "another", "one"]

    def fail(_checkpoint: Checkpoint, **_options: float) -> bool:
        raise OSError(errors.pop(0))

    async with await FileStorage.open(tmp_path) as storage:
        writer = storage._store.writer
        assert writer is not None
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoint, "run", fail)
            while errors:
                writer.checkpoints._sync()
    warnings = [record.getMessage() for record in caplog.records if "stays" in record.msg]
    assert [warning.rpartition(" ")[2] for warning in warnings] == ["one", "another", "one"]


# -- the lock ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.make_directory(CONTROL)
    return tree


def test_a_checkpoint_lock_excludes_others_of_this_process_too(tree: Tree) -> None:
    with CheckpointLock(tree).taken(0) as first_taken, CheckpointLock(tree).taken(0.01) as second_taken:
        assert (first_taken, second_taken) == (True, False)
    with CheckpointLock(tree).taken(0) as third_taken:
        assert third_taken


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_who_is_killed_holds_the_checkpoint_lock_no_more(tree: Tree) -> None:
    def work() -> None:
        with CheckpointLock(tree).taken(0) as is_taken:
            assert is_taken
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(work) == -signal.SIGKILL
    with CheckpointLock(tree).taken(0) as is_taken:
        assert is_taken


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_forked_in_a_checkpoint_does_not_hold_its_lock(tree: Tree) -> None:
    with CheckpointLock(tree).taken(0):
        opened = len(list(Path("/proc/self/fd").iterdir()))
        assert in_child(lambda: None if len(list(Path("/proc/self/fd").iterdir())) == opened - 1 else os._exit(3)) == 0


def test_a_lock_on_a_file_that_was_removed_counts_for_nothing(tree: Tree) -> None:
    with CheckpointLock(tree).taken(0):
        tree.unlink(f"{CONTROL}/checkpoint")
        with CheckpointLock(tree).taken(0) as is_taken:
            assert is_taken
