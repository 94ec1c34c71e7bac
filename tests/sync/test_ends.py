"""The synchronous face where programs end, are interrupted, or forget their stores."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fsstore import sync
from tests.filesystem.faults import descriptors, threads_of_the_store

SECONDS = 120.0


def run(script: str, store: Path, *arguments: str, warnings: str = "error") -> subprocess.CompletedProcess[str]:
    """Run a program that must come to its end."""
    return subprocess.run(
        [sys.executable, "-W", warnings, "-c", script, str(store), *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def items_in(store: Path) -> list[object]:
    with sync.open_sessions(store) as sessions:
        return sessions.read_tail("a", 10_000).items


AT_EXIT = """
import atexit, sys, fsstore, fsstore.sync

def leave():
    try:
        sessions.append_session("a", [{name!r}])
        assert sessions.get_session("a")["messages"][-1] == {name!r}
        assert sessions.count_sessions() == 1
        print("worked")
    except fsstore.StorageClosedError as error:
        print("closed")

def leave_again():
    with fsstore.sync.open_sessions(sys.argv[1]) as again:
        again.append_session("a", ["again"])
    print("opened again")

if {before}: atexit.register(leave)
sessions = fsstore.sync.open_sessions(sys.argv[1])
sessions.append_session("a", ["first"])
if not {before}: atexit.register(leave)
if {again}: atexit.register(leave_again)
"""


@pytest.mark.parametrize(("before", "says"), [(True, "closed"), (False, "worked")])
def test_what_is_registered_to_run_at_exit_works_until_the_store_was_ended(
    before: bool,  # noqa: FBT001 - a parameter of the test
    says: str,
    tmp_path: Path,
) -> None:
    done = run(AT_EXIT.format(name="last", before=before, again=False), tmp_path)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [says], "")
    assert items_in(tmp_path) == ["first"] + ["last"] * (says == "worked")


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="from then on no thread can be started at exit")
def test_a_store_that_is_opened_at_exit_works(tmp_path: Path) -> None:
    done = run(AT_EXIT.format(name="last", before=False, again=True), tmp_path)
    assert (done.returncode, done.stdout.split("\n")[:2], done.stderr) == (0, ["opened again", "worked"], "")
    assert items_in(tmp_path) == ["first", "again", "last"]


INTERRUPTED = """
import signal, sys, fsstore, fsstore.sync

appended, is_over = {"main": 0, "handler": 0}, False

def handle(*_):
    assert sessions.get_session("b") is not None
    sessions.append_session("a", ["handler"])
    appended["handler"] += 1
    sessions.edit_session("b", lambda session: session.update(n=session["n"] + 1))
    assert sessions.count_sessions() == 3
    if not is_over and appended["handler"] < 1000:
        # once more, a moment later each time, so that all places are met; not for ever, where a handler takes longer
        signal.setitimer(signal.ITIMER_REAL, 0.001 + appended["handler"] % 50 * 0.0001)

with fsstore.sync.open_sessions(sys.argv[1], fsync=False) as sessions:
    sessions.save_session("b", {"n": 0})
    sessions.save_session("c", {})
    sessions.append_session("a", [])
    sessions.count_sessions()
    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    for turn in range(150):
        sessions.append_session("a", ["main"])
        appended["main"] += 1
        assert len(sessions.get_session("a")["messages"]) >= appended["main"]
        if turn % 10 == 0:
            assert len(sessions.list_sessions()) == 3
            sessions.edit_session("c", lambda session: session.update(m=1))
    is_over = True
    signal.setitimer(signal.ITIMER_REAL, 0)
    items = sessions.read_tail("a", 100_000).items
    assert {name: items.count(name) for name in appended} == appended, appended
    assert appended["handler"] > 10
    assert sessions.get_session("b")["n"] == appended["handler"]
    print("ended")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no timer that interrupts")
def test_a_signal_handler_that_interrupts_calls_may_call(tmp_path: Path) -> None:
    done = run(INTERRUPTED, tmp_path)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "ended", "")


def drop(stores: list[sync.SessionService]) -> None:
    """Let go of stores; a thread that has just answered may be the last who has one."""
    stores.clear()
    gc.collect()
    for thread in threads_of_the_store():
        thread.join(SECONDS)


def test_a_store_that_is_dropped_warns_and_lets_go_of_everything(tmp_path: Path) -> None:
    before = descriptors()
    sessions = sync.open_sessions(tmp_path)
    for turn in range(5):
        sessions.append_session("a", [turn])
    assert sessions.count_sessions() == 1
    dropped = [sessions]
    del sessions
    with pytest.warns(ResourceWarning, match="was not closed"):
        drop(dropped)
    assert threads_of_the_store() == []
    # the loop of this thread stays: a selector and a pair of sockets
    assert descriptors() <= before + 3
    assert items_in(tmp_path) == list(range(5))


DROPPED = """
import sys, fsstore.sync
sessions = fsstore.sync.open_sessions(sys.argv[1])
sessions.append_session("a", [1])
{end}
print("left")
"""


@pytest.mark.parametrize("end", ["del sessions", "sessions = None", "sessions.itself = sessions; del sessions"])
def test_a_program_that_drops_a_store_ends_with_everything_committed(tmp_path: Path, end: str) -> None:
    done = run(DROPPED.format(end=end), tmp_path, warnings="ignore")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "left", "")
    assert items_in(tmp_path) == [1]


FORKING_IN_A_CALL = """
import os, signal, sys, time
import fsstore.sync

sessions = fsstore.sync.open_sessions(sys.argv[1])
sessions.save_session("s", {"metadata": {}})
parent, children = os.getpid(), []


def fork(*_):
    if child := os.fork():
        children.append(child)
        signal.setitimer(signal.ITIMER_REAL, 0.03)
    else:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)


signal.signal(signal.SIGALRM, fork)
signal.setitimer(signal.ITIMER_REAL, 0.03)
end = time.monotonic() + 1.5
while time.monotonic() < end and os.getpid() == parent:
    try:
        sessions.append_session("s", [1])
    except fsstore.StorageClosedError:
        assert os.getpid() != parent
if os.getpid() != parent:
    try:
        assert sessions.get_session("s") is not None
    except fsstore.StorageClosedError as error:
        # a fork waits for whoever uses SQLite, but not for a slow disk
        assert "using SQLite" in str(error)
    os._exit(0)
signal.signal(signal.SIGALRM, signal.SIG_IGN)
print({os.waitpid(child, 0)[1] for child in children})
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_is_forked_within_a_call_is_told_and_its_parent_goes_on(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FORKING_IN_A_CALL, tmp_path / "store"],
        capture_output=True,
        text=True,
        timeout=40,
        check=True,
    )
    assert ended.stdout == "{0}\n"
