"""Lets a piece of work meet a fault at each call of the system, in turn, and tells what became of the store.

Run as a program of its own, with the library of `interpose` loaded; it has one thread, and forks a child for each run:
`python -m tests.campaign.calls WORK FAMILY DIRECTORY [--no-fsync]`. For each fault that has landed a line of JSON says
what it was and what was found wrong. What must be true after it:

- Each operation is told by its documents to be as it was answered: done, not applied (the old ones), or unknown, which
  is either, but whole. One that a kill has interrupted is either too. All other documents are what they were.
- The handle that has met an error answers as the files are or raises a StorageError, as long as the fault lasts; then
  it answers and saves, and closes with nothing left behind and nothing left open.
- Two fresh processes, one after the other, find the same, and each view of the store says what its files say.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fsstore.filesystem.index import reconcile
from fsstore.filesystem.write import commit
from tests.campaign import clocks
from tests.campaign.interpose import recorded
from tests.campaign.lives import AFTER, DURING, IDS, Diary, Life
from tests.campaign.modes import FAMILIES, NOTHING, Mode
from tests.campaign.works import WORKS, Operation, Work, opened
from tests.filesystem.crashing import check, in_child
from tests.filesystem.views import VIEWS, Documents, left_behind, quarantined, rescan

_RUN_SECONDS = 30
_ACTED = ("failed", "killed")
_HOUR_NS = 3600 * 10**9


class Trial:
    """One piece of work, under the faults of one family."""

    def __init__(self, work: Work, directory: Path, *, fsync: bool) -> None:
        self._work = work
        self.directory = directory
        self._fsync = fsync
        self._base = directory / "base"
        self.trace = directory / "trace"
        self.diary = Diary(directory / "diary")
        self._old: Documents = {}
        self._new: Documents = {}
        self._aside: set[bytes] = set()

    def run(self, modes: list[Mode], *, every: int = 1) -> Iterator[dict[str, Any]]:
        """Let each fault fall at each step, or at each so many, until the work is done before its turn comes."""
        self.learn()
        for mode in modes:
            for step in itertools.count(1, every):
                result = self._step(mode, step)
                if result is None:
                    break
                yield result

    def learn(self) -> None:
        """Make the store, and see what it is without the work, and with it, when nothing goes wrong."""
        self._work.prepare(self._base, self._fsync)
        before = self.copy("before")
        # here too, so that what is made at first use is made before the forks: it halves the time of a run
        asyncio.run(self._open_once(self.copy("warm")))
        gc.collect()
        gc.freeze()
        check(in_child(lambda: asyncio.run(self._warm(before))) == 0, "what comes before the work fails")
        wrong, self._old = self._reopen(before)
        check(not wrong, f"the store is wrong to begin with: {wrong}")
        self._aside = quarantined(before)
        done = self.copy("done")
        check(self._live(done, NOTHING, 0) == 0, "the work fails by itself")
        check(not self.diary.read("wrong"), f"the work is wrong by itself: {self.diary.read('wrong')}")
        wrong, self._new = self._reopen(done)
        wrong += self._judge(self._new)
        check(not wrong, f"the work leaves a wrong store by itself: {wrong}")

    async def _open_once(self, store: Path) -> None:
        async with await opened(store, fsync=self._fsync) as storage:
            await storage.list()

    async def _warm(self, store: Path) -> None:
        async with await opened(store, fsync=self._fsync) as storage:
            if self._work.warm is not None:
                await self._work.warm(storage)

    def _step(self, mode: Mode, step: int) -> dict[str, Any] | None:
        store = self.copy("store")
        ended = self._live(store, mode, step)
        fired = self.diary.read("fired")
        if fired == [0]:
            check(ended == 0, f"the work fails by itself: {ended}")
            return None
        wrong = self.diary.read("wrong")
        if ended != (-signal.SIGKILL if mode.kills else 0):
            wrong.append("it hung" if ended == -signal.SIGALRM else f"the process ended with {ended}")
        for found in self.diary.read("found"):
            wrong += [f"afterwards: {complaint}" for complaint in self._judge(found, unasked=[AFTER])]
        for loaded in self.diary.read("loaded"):
            # half a batch is never served, whatever lies in the files
            wrong += [f"loaded: {complaint}" for complaint in self._judge(loaded, unasked=[DURING, AFTER])]
        wrong += self.examine(store)
        call = next((f"{call.other} {call.path}" for call in recorded(self.trace) if call.name in _ACTED), "")
        return {"mode": mode.name, "step": step, "call": call.replace(f"{store}/", ""), "wrong": wrong}

    def examine(self, store: Path) -> list[str]:
        """Return what two fresh processes find wrong in a store."""
        (wrong_first, first), (wrong_second, second) = self._reopen(store), self._reopen(store)
        wrong = [f"opened again: {complaint}" for complaint in wrong_first + self._judge(first)]
        wrong += [f"opened a second time: {complaint}" for complaint in wrong_second]
        if first != second:
            wrong.append("the second opening finds something else than the first")
        return wrong + self._judge_quarantine(store)

    def _live(self, store: Path, mode: Mode, step: int) -> int:
        self.diary.clear()
        life = Life(self._work, mode, store, self.diary, fsync=self._fsync)
        return _in_time(lambda: asyncio.run(life.live(step, self.trace)))

    def copy(self, name: str) -> Path:
        """Return a copy of the store, to be worked on."""
        target = self.directory / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self._base, target)
        return target

    # -- what is found ------------------------------------------------------------------------------------------------

    def _reopen(self, store: Path) -> tuple[list[str], Documents]:
        """Return what is wrong in the eyes of a fresh process, and the documents."""
        diary = Diary(self.directory / "reopened")

        async def look() -> None:
            async with await opened(store, fsync=self._fsync) as storage:
                for view in VIEWS:
                    answer, expected = await view.ask(storage, IDS), view.answer(rescan(store))
                    if answer != expected:
                        diary.note(wrong=f"{view.name} says {answer}, the files {expected}")
                health = await storage.health_check()
            documents = rescan(store)
            if health["status"] != "ok" and None not in documents.values():
                diary.note(wrong=f"its health is {health}")
            diary.note(found=documents)

        ended = _in_time(lambda: asyncio.run(look()))
        wrong = diary.read("wrong") + [f"{name} is left behind" for name in left_behind(store)]
        if ended != 0:
            wrong.append("it cannot be opened" if ended > 0 else f"opening it ended with {ended}")
        return wrong, next(iter(diary.read("found")), {})

    def _judge(self, found: Documents, *, unasked: Sequence[Operation] = ()) -> list[str]:
        """Compare the documents with what the operations were answered."""
        wrong, left = [], dict(found)
        fates = {tuple(key) if isinstance(key, list) else key: fate for key, fate in self.diary.read("fate")}
        begun = self.diary.read("begun")
        for number, operations in enumerate(self._work.rounds):
            for at, operation in enumerate(operations):
                fate = fates.get((number, at), "unknown" if number in begun else "not applied")
                wrong += self._judge_one(operation, fate, left)
        for operation in (DURING, AFTER):
            fate, is_there = fates.get(operation.ids[0], "not applied"), left.pop(operation.ids[0], None) is not None
            if operation in unasked:
                continue
            if fate != "unknown" and is_there != (fate == "applied"):
                wrong.append(
                    f"the save of {operation.ids[0]!r} was {fate}, and it is {'' if is_there else 'not '}there"
                )
        touched = {name for operations in self._work.rounds for operation in operations for name in operation.ids}
        for name in {*left, *self._old} - touched:
            if left.get(name) != self._old.get(name) or (name in left) != (name in self._old):
                wrong.append(f"{name} was not touched, and is {left.get(name)}")
        return wrong

    def _judge_one(self, operation: Operation, fate: str, left: Documents) -> list[str]:
        if operation.is_refused:
            return [] if fate != "applied" else ["what the rules refuse was done"]
        states = [{name: some[name] for name in operation.ids if name in some} for some in (left, self._old, self._new)]
        for name in operation.ids:
            left.pop(name, None)
        found, old, new = states
        allowed = {"applied": [new], "not applied": [old]}.get(fate, [old, new])
        return [] if not self._new or found in allowed else [f"what was {fate} is {found}"]

    def _judge_quarantine(self, store: Path) -> list[str]:
        found = quarantined(store)
        # a copy that was interrupted may be there torn, and whole besides
        odd = [data for data in found if not any(whole.startswith(data) for whole in self._aside)]
        return [f"{data!r} is not in quarantine" for data in self._aside - found] + [
            f"quarantine has {d!r}" for d in odd
        ]


def _in_time(work: Any) -> int:
    def timed() -> None:
        signal.alarm(_RUN_SECONDS)
        work()

    return in_child(timed)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--no-fsync", action="store_true")
    parser.add_argument("--every", type=int, default=1, help="try only one step of so many")
    arguments = parser.parse_args()
    clocks.obey()
    now = time.time_ns
    # as if every document had been indexed long after its last change: a row is then trusted, and an index that is
    # wrong shows
    later = SimpleNamespace(time_ns=lambda: now() + _HOUR_NS)
    for module in (commit, reconcile):
        vars(module)["time"] = later
    trial = Trial(WORKS[arguments.work], arguments.directory, fsync=not arguments.no_fsync)
    for result in trial.run(FAMILIES[arguments.family], every=arguments.every):
        sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
