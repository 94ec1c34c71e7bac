from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import fsstore
from fsstore import Change, StorageClosedError, StorageConflictError, StorageTimeoutError, StorageValidationError, sync
from tests.filesystem.faults import descriptors, threads_of_the_store

SECONDS = 180.0


def run(script: str, store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program that must come to its end."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(store), *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def in_threads(*works: Callable[[], Any]) -> list[Any]:
    """Run functions at the same time, and return what they return; raises what one of them raises."""
    results: list[Any] = [None] * len(works)

    def work(at: int, function: Callable[[], Any]) -> None:
        try:
            results[at] = function()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            results[at] = error

    threads = [threading.Thread(target=work, args=(at, function)) for at, function in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def test_a_program_without_a_loop_saves_finds_edits_and_closes(tmp_path: Path) -> None:
    before = descriptors()
    with sync.open_sessions(tmp_path / "store", fsync=False) as sessions:
        sessions.save_session("a", {"metadata": {"status": "open"}, "messages": []})
        assert sessions.append_session("a", [1, 2]) == 2
        sessions.edit_session("a", lambda session: session["messages"].append(3))
        with sessions.transaction() as transaction:
            seen = transaction.get_session("a")
            assert seen is not None
            transaction.save_session("b", {"messages": seen["messages"]})
        assert [batch[0]["messages"] for batch in sessions.stream_sessions(batch_size=1)] == [[1, 2, 3]] * 2
        assert sessions.list_page({"status": "open"}).items == [sessions.get_session("a")]
        assert sessions.storage.query("SELECT count(*) AS n FROM documents") == [{"n": 2}]
        assert sessions.storage.run(lambda storage: storage.verify()).is_clean
    with pytest.raises(StorageClosedError):
        sessions.get_session("a")
    del sessions
    for thread in threads_of_the_store():
        # the one that has closed the store is about to end
        thread.join(SECONDS)
    assert threads_of_the_store() == []
    assert descriptors() <= before + 3


def test_errors_and_options_are_those_of_the_other_face(tmp_path: Path) -> None:
    with pytest.raises(StorageValidationError, match="fsync"):
        sync.open_sessions(tmp_path, fsnyc=True)
    with sync.open_sessions("memory:") as sessions:
        sessions.save_session("a", {}, expected_version=0)
        with pytest.raises(StorageConflictError):
            sessions.save_session("a", {}, expected_version=0)

        def overtaken() -> None:
            with sessions.transaction() as transaction:
                transaction.update_session("a", {"n": 1})
                sessions.update_session("a", {"n": 2})

        def given_up() -> None:
            with sessions.transaction() as transaction:
                transaction.update_session("a", {"n": 3})
                raise LookupError

        with pytest.raises(StorageConflictError):
            overtaken()
        with pytest.raises(LookupError):
            given_up()
        assert sessions.get_session("a") == {"n": 2, "metadata": (sessions.get_session("a") or {})["metadata"]}


def test_four_threads_append_and_edit_and_all_of_it_is_there(tmp_path: Path) -> None:
    with sync.open_sessions(tmp_path, fsync=False) as sessions:
        sessions.save_session("a", {"messages": [], "counts": {}})

        def work(own: int) -> None:
            for turn in range(15):
                sessions.append_session("a", [[own, turn]])
                sessions.edit_session("a", lambda s: s["counts"].update({str(own): s["counts"].get(str(own), 0) + 1}))

        in_threads(*(partial(work, own) for own in range(4)))
        session = sessions.get_session("a")
        assert session is not None
        assert session["counts"] == {str(own): 15 for own in range(4)}
        for own in range(4):
            assert [turn for of, turn in session["messages"] if of == own] == list(range(15))


def test_a_call_in_the_function_of_an_edit_works_but_for_its_own_session() -> None:
    with sync.open_sessions("memory:") as sessions:
        sessions.save_session("a", {})
        sessions.save_session("b", {"n": 5})
        sessions.edit_session("a", lambda session: session.update(b=(sessions.get_session("b") or {})["n"]))
        assert (sessions.get_session("a") or {})["b"] == 5
        with pytest.raises(StorageValidationError, match="inside the fn"):
            sessions.edit_session("a", lambda _: sessions.save_session("a", {}))


async def test_inside_an_event_loop_a_call_waits_without_a_deadlock(tmp_path: Path) -> None:
    with sync.open_sessions(tmp_path, fsync=False) as sessions:
        sessions.save_session("a", {"n": 1})
        assert (sessions.get_session("a") or {})["n"] == 1
        assert sessions.count_sessions() == 1


def test_changes_come_one_by_one_and_end_with_the_store(tmp_path: Path) -> None:
    with sync.open_sessions(tmp_path, fsync=False, live=True) as sessions:
        with sessions.watch({"status": "open"}) as changes:
            with pytest.raises(StorageTimeoutError):
                changes.next(timeout_seconds=0.01)
            sessions.save_session("a", {"metadata": {"status": "open"}})
            change = changes.next(timeout_seconds=SECONDS)
            assert isinstance(change, Change)
            assert (change.kind, change.id, change.origin) == ("created", "a", "own")
        with pytest.raises(StopIteration):
            changes.next(timeout_seconds=SECONDS)
        following = sessions.watch()
        begun = threading.Event()

        def follow() -> list[str]:
            with following:
                begun.set()
                return [change.id for change in following if isinstance(change, Change)]

        def write_and_close() -> None:
            assert begun.wait(SECONDS)
            sessions.save_session("b", {})
            sessions.close()

        assert in_threads(follow, write_and_close)[0] == ["b"]


def test_changes_that_nobody_asked_for_yet_end_with_the_store(tmp_path: Path) -> None:
    for url in ("memory:", tmp_path):
        with sync.open_sessions(url) as sessions:
            following, closed = sessions.watch(), sessions.watch()
            closed.close()
            assert list(closed) == []
        assert list(following) == []
        with pytest.raises(StopIteration):
            following.next(timeout_seconds=SECONDS)


FORGETS = """
import sys, fsstore.sync
sessions = fsstore.sync.open_sessions(sys.argv[1])
for turn in range(5):
    sessions.append_session("a", [turn])
{end}
"""


@pytest.mark.parametrize("end", ["", "raise LookupError", "sys.exit(3)", "raise KeyboardInterrupt"])
def test_a_program_that_forgets_to_close_ends_with_everything_committed(tmp_path: Path, end: str) -> None:
    done = run(FORGETS.format(end=end), tmp_path)
    assert done.returncode == {"": 0, "raise LookupError": 1, "sys.exit(3)": 3}.get(end, done.returncode)
    with sync.open_sessions(tmp_path) as sessions:
        assert sessions.read_tail("a", 9).items == list(range(5))


FORKS = """
import json, os, sys, fsstore.sync
sessions = fsstore.sync.open_sessions(sys.argv[1], fsync=False)
sessions.append_session("a", ["parent"])
child = os.fork()
if not child:
    try:
        sessions.append_session("a", ["child"])
        os._exit(0 if sessions.count_sessions() == 1 else 1)
    except fsstore.StorageClosedError:
        os._exit(7)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sessions.append_session("a", ["parent"])
print(json.dumps([code, sessions.read_tail("a", 9).items]))
sessions.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_of_fork_works_or_is_told_and_its_parent_goes_on(tmp_path: Path) -> None:
    done = run(FORKS, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    code, items = json.loads(done.stdout)
    assert (code, items) in [(0, ["parent", "child", "parent"]), (7, ["parent", "parent"])]


PROCESS = """
import sys, threading, fsstore.sync
own = sys.argv[2]
failed = []
with fsstore.sync.open_sessions(sys.argv[1], fsync=False) as sessions:
    def count(session):
        counts = session.setdefault("counts", {})
        counts[own] = counts.get(own, 0) + 1
    def work(thread):
        try:
            for turn in range(6):
                sessions.append_session("a", [f"{own}-{thread}-{turn}"])
                sessions.edit_session("a", count, timeout_seconds=120)
        except BaseException as error:
            failed.append(error)
            raise
    threads = [threading.Thread(target=work, args=(at,)) for at in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
sys.exit(bool(failed))
"""


def test_four_processes_of_four_threads_append_and_edit_and_all_of_it_is_there(tmp_path: Path) -> None:
    ended = in_threads(*(partial(run, PROCESS, tmp_path, str(own)) for own in range(4)))
    assert [(done.returncode, done.stderr) for done in ended] == [(0, "")] * 4
    with sync.open_sessions(tmp_path) as sessions:
        session = sessions.get_session("a") or {}
    assert session["counts"] == {str(own): 24 for own in range(4)}
    of_thread: dict[str, list[str]] = {}
    for item in session["messages"]:
        of_thread.setdefault(item.rpartition("-")[0], []).append(item)
    # of each thread all, and in its order
    assert of_thread == {
        f"{own}-{at}": [f"{own}-{at}-{turn}" for turn in range(6)] for own in range(4) for at in range(4)
    }


async def test_a_storage_that_is_open_already_can_be_wrapped() -> None:
    async with fsstore.MemoryStorage() as storage:
        sessions = sync.SessionService(sync.Storage(storage))
        await asyncio.to_thread(sessions.save_session, "a", {"n": 1})
        assert await fsstore.SessionService(storage).count_sessions() == 1
