"""A living store is copied and the copy opened, all within one boot: the counters and the log say what they said.

A snapshot shows one moment, and must hold all that was acknowledged, batches whole. A copy that is made file by file
shows many moments: of each document it holds what was there at one of them, and no older value comes back.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from fsstore import FileStorage
from tests.campaign.conftest import Report
from tests.campaign.processes import Worker, working
from tests.campaign.streams import TASKS, Contents, states
from tests.filesystem.faults import contents

ROUNDS, ACKNOWLEDGED = 8, 30
LIVES = ("x", "y")
MODES = pytest.mark.parametrize("fsync", [False, True], ids=["quick", "durable"])
Turns = dict[tuple[str, int], int]
"""The last acknowledged turn of each task of each life."""

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="the system cannot stop a process")


@MODES
async def test_a_snapshot_of_a_living_store_holds_all_that_was_acknowledged(
    tmp_path: Path, report: Report, *, fsync: bool
) -> None:
    chance, found = random.Random(13), list[str]()
    for turn in range(ROUNDS):
        store, copy = tmp_path / f"store-{turn}", tmp_path / f"copy-{turn}"
        with working(store, *(("acknowledge", life) for life in LIVES), fsync=fsync) as workers:
            said = [await asyncio.to_thread(_some, worker, chance) for worker in workers]
            for worker in workers:
                worker.process.send_signal(signal.SIGSTOP)
                await asyncio.to_thread(worker.wait_until_stopped)
            shutil.copytree(store, copy)
            # what they have said by now was said before the snapshot
            said = [[*before, *worker.kill()] for before, worker in zip(said, workers, strict=True)]
        there, last = await _values(copy, fsync=fsync), _last(said)
        for (life, task), acknowledged in last.items():
            own = {key: value for key, value in there.items() if key.startswith(f"{life}-{task}-")}
            if own not in states(life, task, acknowledged):
                found.append(f"round {turn}: after turn {acknowledged} task {task} of {life} left {own}")
    report(f"snapshots of a living store, {_mode(fsync=fsync)}", ROUNDS, found)


@pytest.mark.skipif(shutil.which("cp") is None, reason="there is no cp")
@MODES
async def test_a_copy_made_while_a_store_is_written_to_holds_nothing_older_than_its_beginning(
    tmp_path: Path, report: Report, *, fsync: bool
) -> None:
    chance, found = random.Random(14), list[str]()
    for turn in range(ROUNDS):
        store, copy = tmp_path / f"store-{turn}", tmp_path / f"copy-{turn}"
        with working(store, *(("acknowledge", life) for life in LIVES), fsync=fsync) as workers:
            before = [await asyncio.to_thread(_some, worker, chance) for worker in workers]
            # a temp file may go before it is copied, which it says, and goes on
            await asyncio.to_thread(_copy, store, copy)
            after = [[*said, *worker.kill()] for said, worker in zip(before, workers, strict=True)]
        there = await _values(copy, fsync=fsync)
        found += [f"round {turn}: {line}" for line in _too_old(there, _last(before), _last(after))]
    report(f"copies of a store that is written to, {_mode(fsync=fsync)}", ROUNDS, found)


def _some(worker: Worker, chance: random.Random) -> list[list[int]]:
    return [worker.said() for _ in range(ACKNOWLEDGED + chance.randrange(ACKNOWLEDGED))]


def _last(said: Sequence[list[list[int]]]) -> Turns:
    return {
        (life, task): max((turn for number, turn in turns if number == task), default=0)
        for life, turns in zip(LIVES, said, strict=True)
        for task in range(TASKS)
    }


def _copy(store: Path, copy: Path) -> None:
    subprocess.run(["cp", "-a", store, copy], check=False, capture_output=True)  # noqa: S607 - the user's own


async def _values(store: Path, *, fsync: bool) -> Contents:
    async with await FileStorage.open(store, fsync=fsync) as storage:
        return {key: record["data"]["metadata"]["status"] for key, record in (await contents(storage)).items()}


def _too_old(there: Contents, first: Turns, last: Turns) -> list[str]:
    """Say which documents are what they were at no moment of the copy."""
    wrong = []
    for (life, task), begin in first.items():
        moments = [states(life, task, turn)[0] for turn in range(begin, last[life, task] + 2)]
        names = {name for moment in moments for name in moment}
        names |= {name for name in there if name.startswith(f"{life}-{task}-")}
        for name in sorted(names):
            possible = [moment.get(name) for moment in moments]
            if there.get(name) not in possible:
                wrong.append(f"{name} is {there.get(name)}, and was {possible}")
    return wrong


def _mode(*, fsync: bool) -> str:
    return "durable" if fsync else "not synced"
