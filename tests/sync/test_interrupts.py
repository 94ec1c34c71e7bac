"""Ctrl-C in the middle of reads and writes, of the synchronous face and of programs that asyncio runs.

Each program is interrupted at forty different moments, goes on each time, and is then ended by one more.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fsstore import sync

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
