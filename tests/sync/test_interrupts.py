"""Ctrl-C in the middle of reads and writes, of the synchronous face and of programs that asyncio runs.

Each program is interrupted at forty different moments, goes on each time, and is then ended by one more.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fsstore import sync
from fsstore.sync.calls import Calls

SECONDS = 120.0

BEGINNING = """
import asyncio, json, os, signal, sys, threading, time
import fsstore, fsstore.sync

# whoever began the tests may have had it ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
path, work, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
written, acknowledged, interrupts = 0, [], 0
LARGE, SMALL = {"messages": [], "text": "x" * size}, {"state": {"n": 1}}

def interrupt_in(seconds):
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
    return time.monotonic() + 60
"""

BLOCKING = """
def write():
    global written
    written += 1
    sessions.append_session("a", [written])
    acknowledged.append(written)

def read():
    assert len(sessions.get_session("a")["text"]) == size
    assert len(sessions.list_sessions({"state.n": 1})) == 1
    assert sessions.count_sessions() == 2

def work_on(seconds):
    end = interrupt_in(seconds)
    while time.monotonic() < end:
        {"write": write, "read": read}[work]()
    raise SystemExit("the interrupt did not come")

with fsstore.sync.open_sessions(path) as sessions:
    sessions.save_session("a", LARGE)
    sessions.save_session("b", SMALL)
    for turn in range(40):
        try:
            work_on(0.002 + turn * 0.0007)
        except KeyboardInterrupt:
            interrupts += 1
    print(json.dumps([interrupts, acknowledged]), flush=True)
    work_on(0.01)
"""

ASYNCIO = """
async def opened():
    sessions = await fsstore.open_sessions(path)
    await sessions.save_session("a", LARGE)
    await sessions.save_session("b", SMALL)
    return sessions

async def write():
    global written
    written += 1
    number = written
    await sessions.append_session("a", [number])
    acknowledged.append(number)

async def read():
    assert len((await sessions.get_session("a"))["text"]) == size
    assert len(await sessions.list_sessions({"state.n": 1})) == 1
    assert await sessions.count_sessions() == 2

async def work_on(seconds):
    end = interrupt_in(seconds)
    while time.monotonic() < end:
        await asyncio.gather(*({"write": write, "read": read}[work]() for _ in range(3)))
    raise SystemExit("the interrupt did not come")

# one store in many loops, and nobody closes it
sessions = asyncio.run(opened())
for turn in range(40):
    try:
        asyncio.run(work_on(0.002 + turn * 0.0007))
    except KeyboardInterrupt:
        interrupts += 1
print(json.dumps([interrupts, acknowledged]), flush=True)
asyncio.run(work_on(0.01))
"""


@pytest.mark.parametrize("face", [BLOCKING, ASYNCIO], ids=["blocking", "asyncio"])
@pytest.mark.parametrize("work", ["write", "read"])
@pytest.mark.parametrize("size", [500, 500_000])
@pytest.mark.skipif(os.name == "nt", reason="signals are another matter there")
def test_a_program_goes_on_after_ctrl_c_and_ends_by_it_with_what_was_acknowledged(
    face: str, work: str, size: int, tmp_path: Path
) -> None:
    program = [sys.executable, "-W", "error", "-c", BEGINNING + face, str(tmp_path), work, str(size)]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=SECONDS, check=False)

    assert (ended.returncode, ended.stderr.splitlines()[-1:]) == (-signal.SIGINT, ["KeyboardInterrupt"]), ended.stderr
    complaints = ("fsstore.errors", "Exception ignored", "never retrieved", "was destroyed", "Error:")
    assert not any(each in ended.stderr for each in complaints), ended.stderr
    interrupts, acknowledged = json.loads(ended.stdout)
    assert interrupts == 40
    with sync.open_sessions(tmp_path) as sessions:
        items = sessions.read_tail("a", 1_000_000).items
        assert set(acknowledged) <= set(items)
        assert len(items) == len(set(items))
        assert sessions.count_sessions() == 2
        assert sessions.health_check()["status"] == "ok"


# -- what Ctrl-C may meet ---------------------------------------------------------------------------------------------

LEFT_LOCKED = """
import os, signal, sys, threading
import fsstore.sync

signal.signal(signal.SIGINT, signal.default_int_handler)
# as of the standard library: it comes when a lock has just been taken
code = '''
def entering(condition):
    result = enter(condition)
    if threading.get_ident() == main and not sent:
        sent.append(os.kill(os.getpid(), signal.SIGINT))
    return result
'''
within = {"enter": threading.Condition.__enter__, "sent": [None], "main": threading.get_ident(), **globals()}
within["__name__"] = "threading"
exec(code, within)
threading.Condition.__enter__ = within["entering"]
with fsstore.sync.open_sessions(sys.argv[1]) as sessions:
    sessions.save_session("a", {"n": 0})
    within["sent"].clear()
    try:
        sessions.refresh()
    except KeyboardInterrupt:
        print("interrupted")
    for n in range(1, 4):
        sessions.save_session("a", {"n": n})
    print(sessions.get_session("a")["n"], signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are another matter there")
def test_ctrl_c_leaves_no_lock_taken_that_the_writer_needs(tmp_path: Path) -> None:
    program = [sys.executable, "-W", "error", "-c", LEFT_LOCKED, str(tmp_path)]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (ended.stdout.split(), ended.stderr) == (["interrupted", "3", "True"], "")


@pytest.fixture
def interrupt() -> Iterator[Callable[[], None]]:
    """Give what raises SIGINT in this thread, whose handler is the system's own."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupt")
def test_ctrl_c_cancels_what_a_call_waits_for_and_is_raised_at_its_end() -> None:
    ended: list[str] = []

    async def waiting() -> None:
        try:
            asyncio.get_running_loop().call_later(0.01, partial(signal.raise_signal, signal.SIGINT))
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    calls = Calls()
    for run in (calls.run, calls.read):
        with pytest.raises(KeyboardInterrupt):
            run(waiting)
    assert ended == ["cancelled"] * 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("interrupt")
def test_ctrl_c_at_the_end_of_a_call_whose_work_is_done_is_not_lost() -> None:
    done: list[int] = []

    async def stubborn() -> None:
        asyncio.get_running_loop().call_soon(partial(signal.raise_signal, signal.SIGINT))
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            done.append(1)

    with pytest.raises(KeyboardInterrupt):
        Calls().run(stubborn)
    assert done == [1]


def test_ctrl_c_is_raised_at_once_in_a_function_of_the_caller_and_when_it_comes_again(
    interrupt: Callable[[], None],
) -> None:
    passed: list[int] = []

    async def own() -> None:
        interrupt()
        passed.append(1)

    async def deaf() -> None:
        loop = asyncio.get_running_loop()
        while True:
            loop.call_soon(partial(signal.raise_signal, signal.SIGINT))
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                passed.append(2)

    calls = Calls()
    for call in (own, deaf):
        with pytest.raises(KeyboardInterrupt):
            calls.run(call)
    assert 1 not in passed
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_program_keeps_its_own_handler_of_ctrl_c() -> None:
    came: list[int] = []

    async def waiting() -> int:
        asyncio.get_running_loop().call_soon(partial(signal.raise_signal, signal.SIGINT))
        await asyncio.sleep(0.01)
        return 5

    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        assert Calls().run(waiting) == 5
    finally:
        signal.signal(signal.SIGINT, before)
    assert came == [signal.SIGINT]


@pytest.mark.usefixtures("interrupt")
def test_what_an_interrupt_has_kept_from_going_on_is_not_waited_for_for_ever() -> None:
    """As where a signal handler of the program raises in the middle of what the event loop itself does."""
    calls, ended = Calls(), list[str]()

    async def lost() -> None:
        loop: Any = asyncio.get_running_loop()

        def lose() -> None:
            # the step of the task is what is ready next
            loop._ready.clear()
            raise KeyboardInterrupt

        try:
            loop.call_soon(lose)
            await asyncio.sleep(0)
        finally:
            ended.append("closed")

    with pytest.raises(KeyboardInterrupt):
        calls.run(lost)
    assert ended == ["closed"]
    assert calls.run(partial(asyncio.sleep, 0, 5)) == 5
