import asyncio
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fsstore import FileStorage, SessionService
from fsstore.errors import StorageClosedError, StorageTimeoutError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.log.counters import Counters
from fsstore.filesystem.log.lock import StoreLock
from fsstore.filesystem.write import writer as writer_module
from fsstore.model.mutations import Mutation, saving
from fsstore.model.records import JsonObject
from tests.filesystem.faults import (
    Faults,
    busy_writer,
    contents,
    control,
    descriptors,
    place,
    threads_of_the_store,
    until,
)

ROOT = Path(__file__).parents[3]


@pytest_asyncio.fixture
async def storage(tmp_path: Path) -> AsyncGenerator[FileStorage]:
    async with await FileStorage.open(tmp_path / "store", fsync=False) as storage:
        yield storage


@pytest.fixture
def elsewhere(tmp_path: Path) -> StoreLock:
    """Return the lock as another process would have it."""
    tree = Tree(tmp_path / "store")
    return StoreLock(tree, Counters(tree))


# -- cancellation -----------------------------------------------------------------------------------------------------


async def test_a_storm_of_cancellations_breaks_nothing(storage: FileStorage) -> None:
    chance = random.Random(300)
    inside: list[str] = []
    overlaps: list[str] = []

    def rule(current: JsonObject | None) -> JsonObject:
        overlaps.extend(inside)
        inside.append("somebody")
        count = 0 if current is None else current["data"]["count"]
        inside.clear()
        return {"id": "counter", "type": "note", "data": {"count": count + 1}}

    def work(number: int) -> Any:
        kinds: list[Callable[[], Any]] = [
            lambda: storage.commit([Mutation("counter", rule)]),
            lambda: storage.save({"id": f"n{number}"}),
            lambda: storage.batch_save([{"id": f"m{number}"}, {"id": "shared"}]),
            storage.refresh,
            storage.list,
            lambda: storage.load("counter"),
        ]
        return chance.choice(kinds)()

    await storage.commit([Mutation("counter", rule)])
    await storage.list()
    before, running = descriptors(), set(threads_of_the_store())
    tasks = []
    for number in range(300):
        tasks.append(asyncio.ensure_future(work(number)))
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        chance.choice(tasks[-8:]).cancel()
    for task in tasks:
        task.cancel()
    async with asyncio.timeout(20):
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results if isinstance(result, BaseException)} <= {asyncio.CancelledError}
        await storage.save({"id": "after"})
        await storage.refresh()
        found = await contents(storage)
    assert "after" in found
    assert overlaps == []
    # a commit that nobody waits for any more still happens once, never more
    assert 1 <= found["counter"]["data"]["count"] == found["counter"]["version"] <= 301
    assert set(threads_of_the_store()) - running <= {t for t in threads_of_the_store() if "reader" in t.name}
    # each reader thread may have opened its index meanwhile: the file, its log and its shared memory
    assert descriptors() <= before + 12


async def test_whoever_stops_waiting_for_the_writer_does_not_stop_it(storage: FileStorage) -> None:
    with busy_writer(storage):
        waiting = asyncio.ensure_future(storage._reading.executor.under_lock(lambda: None))
        refreshing = asyncio.ensure_future(storage.refresh())
        await asyncio.sleep(0)
        waiting.cancel()
        refreshing.cancel()
        await asyncio.gather(waiting, refreshing, return_exceptions=True)
    async with asyncio.timeout(10):
        assert await storage.save({"id": "a"}) == "a"
        assert set(await contents(storage)) == {"a"}


async def test_a_cancelled_commit_happens_all_the_same_and_holds_the_lock_until_it_has(
    storage: FileStorage, elsewhere: StoreLock
) -> None:
    await storage.save({"id": "a"})
    entered, go = threading.Event(), threading.Event()

    def rule(_current: JsonObject | None) -> JsonObject:
        entered.set()
        go.wait(20)
        return {"id": "a", "type": "note", "data": "changed"}

    commit = asyncio.ensure_future(storage.commit([Mutation("a", rule)]))
    assert await asyncio.to_thread(entered.wait, 20)
    commit.cancel()
    with pytest.raises(asyncio.CancelledError):
        await commit
    assert elsewhere.is_held_by_somebody()
    go.set()
    await until(lambda: not elsewhere.is_held_by_somebody())
    record = await storage.load("a")
    assert record is not None
    assert record["data"] == "changed"


# -- the lock of another process --------------------------------------------------------------------------------------


async def test_a_lock_that_does_not_come_is_a_timeout_and_nothing_is_applied(
    tmp_path: Path, elsewhere: StoreLock
) -> None:
    async with await FileStorage.open(tmp_path / "store", lock_timeout_seconds=0.05) as storage:
        await storage.save({"id": "a"})
        elsewhere.acquire(20)
        try:
            with pytest.raises(StorageTimeoutError) as caught:
                await storage.batch_save([{"id": "a", "data": "new"}, {"id": "b"}])
            assert caught.value.outcome == "not applied"
            # what needs no lock does not wait for it
            assert await storage.load("b") is None
            assert await storage.exists("a")
        finally:
            elsewhere.close()
        assert await storage.save({"id": "c"}) == "c"
        assert set(await contents(storage)) == {"a", "c"}


async def test_a_store_closes_while_another_process_holds_the_lock(tmp_path: Path, elsewhere: StoreLock) -> None:
    storage = await FileStorage.open(tmp_path / "store", lock_timeout_seconds=0.05)
    await storage.save({"id": "a"})
    elsewhere.acquire(20)
    async with asyncio.timeout(10):
        await storage.close()
    elsewhere.close()
    async with await FileStorage.open(tmp_path / "store") as storage:
        assert set(await contents(storage)) == {"a"}


WITHOUT_END = 600.0


@pytest.mark.parametrize("what_is_left", ["a log", "an outdated row"])
async def test_a_store_that_only_read_closes_at_once_while_a_stopped_process_holds_the_lock(
    tmp_path: Path, elsewhere: StoreLock, what_is_left: str
) -> None:
    store = tmp_path / "store"
    async with await FileStorage.open(store) as writing:
        await writing.save({"id": "a"})
        await writing.list()
        if what_is_left == "a log":
            # as a process leaves it that is stopped between two commits
            store = shutil.copytree(store, tmp_path / "copy")
            elsewhere = StoreLock(tree := Tree(store), Counters(tree))
    reading = await FileStorage.open(store, lock_timeout_seconds=WITHOUT_END)
    async with asyncio.timeout(20):
        if what_is_left == "an outdated row":
            await reading.list()
        elsewhere.acquire(10)
        try:
            if what_is_left == "an outdated row":
                # a list that finds it has the row written again, and waits for nobody
                place(store, "a").write_bytes(
                    place(store, "a").read_bytes().replace(b'"type": "document"', b'"type": "paper"')
                )
                assert [record["type"] for record in await reading.list({"type": "document"})] == []
                assert reading._reading.commits._rereading is not None
            assert await reading.load("a") is not None
            await reading.close()
        finally:
            elsewhere.close()
    assert reading._store.writer is not None
    assert reading._store.writer.checkpoints.error == ""


async def test_a_store_that_only_read_looks_after_a_log_once_the_lock_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await FileStorage.open(tmp_path / "store") as writing:
        await writing.save({"id": "a"})
        await writing.list()
        left = shutil.copytree(tmp_path / "store", tmp_path / "left")
    # not before the copy, or the log might be empty in it
    monkeypatch.setattr(writer_module, "_IDLE_SECONDS", 0.01)
    lock = StoreLock(tree := Tree(left), Counters(tree))
    lock.acquire(10)
    async with await FileStorage.open(left, lock_timeout_seconds=WITHOUT_END) as reading:
        writer = reading._store.writer
        assert writer is not None
        await until(lambda: writer.checkpoints.is_due)
        # that somebody else is writing is no trouble
        assert writer.checkpoints.error == ""
        assert control(left, "log") != []
        lock.release()
        await until(lambda: control(left, "log") == [])
    lock.close()


async def test_a_store_that_is_opened_does_not_sweep_away_what_another_one_is_writing(
    storage: FileStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged, go = threading.Event(), threading.Event()
    replace = os.replace

    def slow(*arguments: Any, **options: Any) -> None:
        staged.set()
        go.wait(20)
        replace(*arguments, **options)

    monkeypatch.setattr(os, "replace", slow)
    save = asyncio.ensure_future(storage.save({"id": "a"}))
    assert await asyncio.to_thread(staged.wait, 20)
    opening = asyncio.ensure_future(FileStorage.open(tmp_path / "store"))
    await asyncio.wait([opening], timeout=0.2)
    go.set()
    assert await save == "a"
    async with await opening as other:
        assert set(await contents(other)) == {"a"}


# -- the end ----------------------------------------------------------------------------------------------------------


async def test_after_close_everything_is_refused(tmp_path: Path) -> None:
    storage = await FileStorage.open(tmp_path)
    await storage.close()
    await storage.close()
    with pytest.raises(StorageClosedError):
        await storage.commit([saving({"id": "a", "type": "note"})])


async def test_a_second_close_waits_for_the_end_of_a_first_that_was_cancelled(tmp_path: Path) -> None:
    storage = await FileStorage.open(tmp_path)
    await storage.save({"id": "a"})
    running = threads_of_the_store()
    with busy_writer(storage):
        first = asyncio.ensure_future(storage.close())
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.ensure_future(storage.close())
        await asyncio.wait([second], timeout=0.05)
        assert not second.done()
    async with asyncio.timeout(10):
        await second
        await storage.close()
    assert not any(thread.is_alive() for thread in running)
    assert list((tmp_path / ".fsstore/log").iterdir()) == []


async def test_commits_that_are_queued_when_a_store_is_closed_are_done(tmp_path: Path) -> None:
    storage = await FileStorage.open(tmp_path)
    with busy_writer(storage):
        saves = [asyncio.ensure_future(storage.save({"id": f"n{number}"})) for number in range(30)]
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(storage.close())
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        assert await asyncio.gather(*saves) == [f"n{number}" for number in range(30)]
        await closing
    async with await FileStorage.open(tmp_path) as storage:
        assert await storage.count() == 30


@pytest.mark.parametrize("ticks", range(0, 24, 2))
async def test_reads_that_are_under_way_when_a_store_is_closed_end(tmp_path: Path, ticks: int) -> None:
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        await storage.batch_save({"id": f"n{number}"} for number in range(20))
    storage = await FileStorage.open(tmp_path)
    reads = [asyncio.ensure_future(read()) for read in (storage.list, storage.refresh, storage.health_check)]
    for _ in range(ticks):
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await storage.close()
        results = await asyncio.gather(*reads, return_exceptions=True)
    assert {type(result) for result in results if isinstance(result, BaseException)} <= {StorageClosedError}


async def test_stores_that_come_and_go_leave_no_descriptor_and_no_thread(tmp_path: Path) -> None:
    async def visit() -> None:
        async with await FileStorage.open(tmp_path) as storage:
            await storage.save({"id": "a"})
            await storage.batch_save([{"id": "b"}, {"id": "c"}])
            await storage.list()
            await storage.refresh()

    await visit()
    before, running = descriptors(), threads_of_the_store()
    for _ in range(5):
        await visit()
    assert descriptors() <= before
    await until(lambda: len(threads_of_the_store()) <= len(running))


def test_a_loop_that_is_closed_while_its_commit_is_under_way_harms_nobody(tmp_path: Path) -> None:
    go = threading.Event()

    def rule(_current: JsonObject | None) -> JsonObject:
        go.wait(20)
        return {"id": "a", "type": "note", "data": 1}

    async def begin() -> FileStorage:
        storage = await FileStorage.open(tmp_path)
        assert storage._store.writer is not None
        storage._store.writer.commit([Mutation("a", rule)])
        return storage

    async def go_on(storage: FileStorage) -> None:
        async with asyncio.timeout(10):
            await storage.save({"id": "b"})
            assert set(await contents(storage)) == {"a", "b"}
            await storage.close()

    storage = asyncio.run(begin())
    go.set()
    asyncio.run(go_on(storage))


def test_loops_of_several_threads_may_share_a_store(tmp_path: Path) -> None:
    storage = asyncio.run(FileStorage.open(tmp_path, fsync=False))
    errors: list[BaseException] = []

    def rule(current: JsonObject | None) -> JsonObject:
        return {"id": "counter", "type": "note", "data": 1 if current is None else current["data"] + 1}

    async def work() -> None:
        for _ in range(20):
            await asyncio.gather(*(storage.commit([Mutation("counter", rule)]) for _ in range(3)))
            await storage.list()

    def run() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:  # noqa: BLE001 - told by the assert below
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []

    async def finish() -> int:
        record = await storage.load("counter")
        await storage.close()
        return 0 if record is None else int(record["data"])

    assert asyncio.run(finish()) == 180


# -- the log, in time -------------------------------------------------------------------------------------------------


async def test_an_idle_store_has_an_empty_log(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.save({"id": "a"})
        assert len(list((tmp_path / ".fsstore/log").iterdir())) == 1
        await until(lambda: not list((tmp_path / ".fsstore/log").iterdir()))
        assert (await storage.health_check())["status"] == "ok"


async def test_a_checkpoint_that_did_not_get_the_lock_is_made_up_for(tmp_path: Path, elsewhere: StoreLock) -> None:
    async with await FileStorage.open(tmp_path / "store", lock_timeout_seconds=0.05) as storage:
        writer = storage._store.writer
        assert writer is not None
        await storage.save({"id": "a"})
        elsewhere.acquire(20)
        await until(lambda: writer.checkpoints.error)
        elsewhere.close()
        await until(lambda: not list((tmp_path / "store/.fsstore/log").iterdir()))
        await until(lambda: not writer.checkpoints.error)


async def test_a_checkpoint_that_failed_is_told_until_one_has_succeeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(monkeypatch)
    async with await FileStorage.open(tmp_path) as storage:
        writer = storage._store.writer
        assert writer is not None
        await storage.save({"id": "a"})
        with faults.where(lambda name, _: name == "fsync"):
            await until(lambda: writer.checkpoints.error)
            assert (await storage.health_check())["status"] == "degraded"
            assert list((tmp_path / ".fsstore/log").iterdir())
        await until(lambda: not list((tmp_path / ".fsstore/log").iterdir()))
        await until(lambda: not writer.checkpoints.error)
        assert (await storage.health_check())["status"] == "ok"


# -- fork -------------------------------------------------------------------------------------------------------------

FORKING = """
import asyncio, os, sys
from fsstore import FileStorage

async def work(storage, who):
    for number in range(20):
        await storage.save({"id": f"{who}-{number}"})
        await storage.batch_save([{"id": f"{who}-{number}-x"}, {"id": f"{who}-{number}-y"}])
    await storage.close()

async def begin():
    storage = await FileStorage.open(sys.argv[1], fsync=False)
    await storage.save({"id": "before"})
    await storage.list()
    return storage

storage = asyncio.run(begin())
child = os.fork()
if child == 0:
    try:
        asyncio.run(work(storage, "child"))
        os._exit(0)
    finally:
        os._exit(1)
asyncio.run(work(storage, "parent"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
async def test_parent_and_child_of_a_fork_both_go_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKING, str(tmp_path)]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    wanted = {f"{who}-{number}{end}" for who in ("parent", "child") for number in range(20) for end in ("", "-x", "-y")}
    async with await FileStorage.open(tmp_path, reconcile="off") as storage:
        assert set(await contents(storage)) == wanted | {"before"}


async def test_edits_of_one_session_by_many_tasks_are_all_kept(storage: FileStorage) -> None:
    sessions = SessionService(storage)
    await sessions.save_session("s", {"count": 0})

    def count(data: JsonObject) -> None:
        data["count"] += 1

    edits = [asyncio.ensure_future(sessions.edit_session("s", count)) for _ in range(60)]
    for edit in edits[::3]:
        edit.cancel()
    kept = sum(not isinstance(result, BaseException) for result in await asyncio.gather(*edits, return_exceptions=True))
    session = await sessions.get_session("s")
    assert session is not None
    assert kept == 40 <= session["count"]
