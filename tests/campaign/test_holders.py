"""What becomes of the others when whoever has the lock stops, is robbed, or is forked; and of all without threads."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fsstore import FileStorage, StorageTimeoutError
from tests.campaign.batches import batch, first_batch
from tests.campaign.conftest import Report
from tests.campaign.processes import ROOT, Worker, working
from tests.filesystem.faults import contents

TIMEOUT_SECONDS = 0.3
Call = Callable[[FileStorage], Awaitable[object]]

READS: dict[str, Call] = {
    "load": lambda storage: storage.load("member-9"),
    "exists": lambda storage: storage.exists("member-9"),
    "list": lambda storage: storage.list(),
    "get_by_session": lambda storage: storage.get_by_session("s"),
}
WRITES: dict[str, Call] = {
    "save": lambda storage: storage.save({"id": "other"}),
    "update": lambda storage: storage.update("member-9", {"data": 1}),
    "delete": lambda storage: storage.delete("member-9"),
    "transaction": lambda storage: storage.transaction([{"type": "delete", "id": "member-9"}]),
    "batch_save": lambda storage: storage.batch_save([{"id": "x"}, {"id": "y"}]),
}


# -- SIGSTOP ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="the system cannot stop a process")
@pytest.mark.parametrize("fsync", [False, True], ids=["quick", "durable"])
async def test_a_writer_that_is_stopped_in_mid_batch_is_waited_for_and_never_robbed(
    tmp_path: Path, report: Report, *, fsync: bool
) -> None:
    runs, found = 0, []
    for placed in (0, 1, 5, 9):
        store = tmp_path / str(placed)
        async with await FileStorage.open(store, lock_timeout_seconds=TIMEOUT_SECONDS) as storage:
            await storage.commit(first_batch())
            before = await contents(storage)
            with working(store, ("stop_in_batch", placed), fsync=fsync) as (worker,):
                await asyncio.to_thread(worker.wait_until_stopped)
                # opening asks nothing of the batch: it need not wait
                await _visit(storage)
                calls = {**READS, **WRITES}
                found += [f"after {placed}: {line}" for line in await _all_time_out(storage, calls)]
                worker.process.send_signal(signal.SIGCONT)
                assert await asyncio.to_thread(worker.finished) == ["done"]
            after = await contents(storage)
            if {record["version"] for record in after.values() if record["id"] in before} != {2}:
                found.append(f"after {placed}: the batch is not whole, or something else was applied")
            found += [f"after {placed}: {key} was applied" for key in after.keys() & {"other", "x", "y"}]
            runs += len(calls)
    report("calls beside a stopped writer, " + ("durable" if fsync else "not synced"), runs, found)


async def _visit(storage: FileStorage) -> None:
    again = await FileStorage.open(storage._tree.root, lock_timeout_seconds=TIMEOUT_SECONDS)
    await again.close()


async def _all_time_out(storage: FileStorage, calls: dict[str, Call]) -> list[str]:
    """Make all calls at once: each must tell, in its time, that nothing was applied."""
    start = time.monotonic()
    results = await asyncio.gather(*(call(storage) for call in calls.values()), return_exceptions=True)
    found = [
        f"{name} gave {result!r}"
        for name, result in zip(calls, results, strict=True)
        if not isinstance(result, StorageTimeoutError) or result.outcome != "not applied"
    ]
    if (waited := time.monotonic() - start) > 3 * TIMEOUT_SECONDS + 1:
        found.append(f"the answers took {waited:.1f} s with a timeout of {TIMEOUT_SECONDS} s")
    return found


# -- the lock file ----------------------------------------------------------------------------------------------------


async def test_a_lock_file_removed_under_its_holder_lets_nobody_else_in(tmp_path: Path, report: Report) -> None:
    """One looks at a document, the lock file goes, another one counts: no count may be lost."""
    runs = 8
    found: list[str] = []
    async with await FileStorage.open(tmp_path) as storage:
        with (
            working(tmp_path, *([("hold", "counter")] * runs), fsync=True) as workers,
            ThreadPoolExecutor(runs) as threads,
        ):
            # all are listened to at once, since nobody knows who is next
            for done in [threads.submit(_remove_and_go_on, worker, tmp_path) for worker in workers]:
                await asyncio.wrap_future(done)
        record = await storage.load("counter")
        assert record is not None
        if record["data"] != runs or record["version"] != runs:
            found.append(f"of {runs} counts {record['data']} are left, in version {record['version']}")
        await contents(storage)
    report("lock files removed under a holder", runs, found)


def _remove_and_go_on(worker: Worker, store: Path) -> None:
    assert worker.said() == "looked"
    (store / ".fsstore/lock").unlink(missing_ok=True)
    worker.tell("go on")
    assert worker.finished() == ["done"]


# -- fork -------------------------------------------------------------------------------------------------------------

FORKING = """
import asyncio, os, sys
from fsstore import FileStorage, StorageClosedError
from fsstore.model.mutations import Mutation

def counted(current):
    return {"id": "counter", "type": "note", "data": 1 if current is None else current["data"] + 1}

async def count(storage, times):
    await asyncio.gather(*(storage.commit([Mutation("counter", counted)]) for _ in range(times)))
    assert (await storage.load("counter"))["version"] >= times
    assert await storage.count() == len(await storage.list()) == 1

def forked(storage):
    code = 1
    try:
        asyncio.run(count(storage, 20))
        asyncio.run(storage.close())
        code = 0
    except StorageClosedError as error:
        # SQLite was at work for too long, and is said to be
        code = 7 if "forked" in str(error) else 1
    finally:
        os._exit(code)

loop = asyncio.new_event_loop()
storage = loop.run_until_complete(FileStorage.open(sys.argv[1], fsync=False, lock_timeout_seconds=30))
# commits are under way, and reads, while the process is forked again and again
busy = [loop.create_task(count(storage, 20)) for _ in range(4)]
children = []
for _ in range(int(sys.argv[2])):
    loop.run_until_complete(asyncio.sleep(0))
    child = os.fork()
    if child == 0:
        forked(storage)
    children.append(child)
loop.run_until_complete(asyncio.gather(*busy))
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
assert set(codes) <= {0, 7}, codes
loop.run_until_complete(storage.close())
print(codes.count(0))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_store_that_is_forked_while_it_works_loses_nothing(tmp_path: Path, report: Report) -> None:
    runs, children, found = 3, 6, []
    for run in range(runs):
        store = tmp_path / str(run)
        command = [sys.executable, "-W", "ignore", "-c", FORKING, str(store), str(children)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            found.append(f"run {run}: {done.stderr[-2000:]}")
            continue
        wanted = 80 + 20 * int(done.stdout)
        if (counted := asyncio.run(_counter(store))) != (wanted, wanted):
            found.append(f"run {run}: counter and version are {counted}, not {wanted}")
    report("forks of a store at work", runs * children, found)


async def _counter(store: Path) -> tuple[int, int]:
    async with await FileStorage.open(store) as storage:
        (record,) = (await contents(storage)).values()
        return record["data"], record["version"]


# -- the default executor ---------------------------------------------------------------------------------------------

EVERYTHING: dict[str, Call] = {
    **READS,
    "save": WRITES["save"],
    "commit": lambda storage: storage.commit(batch()),
    "batch_save": WRITES["batch_save"],
    "delete": lambda storage: storage.delete("x"),
    "batch_delete": lambda storage: storage.batch_delete(["x", "y"]),
    "update": lambda storage: storage.update("other", {"data": {"more": 1}}),
    "list_metadata": lambda storage: storage.list_metadata({"data.metadata.number": 1}),
    "query": lambda storage: storage.query("SELECT count(*) FROM documents"),
    "count": lambda storage: storage.count({"data.text": "x"}),
    "refresh": lambda storage: storage.refresh(),
    "health_check": lambda storage: storage.health_check(),
    "cleanup_old_data": lambda storage: storage.cleanup_old_data(1),
    "get_by_thread": lambda storage: storage.get_by_thread("t"),
}


async def test_everything_goes_on_while_the_default_executor_is_saturated(tmp_path: Path, report: Report) -> None:
    go, found = threading.Event(), []
    # more than the executor has threads: what is queued there does not come to run
    busy = [asyncio.ensure_future(asyncio.to_thread(go.wait, 60)) for _ in range(100)]
    try:
        async with asyncio.timeout(30), await FileStorage.open(tmp_path) as storage:
            await storage.commit(first_batch())
            for name, call in EVERYTHING.items():
                try:
                    async with asyncio.timeout(5):
                        await call(storage)
                except TimeoutError:
                    found.append(f"{name} did not come to its end")
    finally:
        go.set()
        await asyncio.gather(*busy)
    report("calls beside a saturated executor", len(EVERYTHING), found)
