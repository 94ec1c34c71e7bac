"""Records a piece of work, cuts the power at each of its calls, and opens the store in each state that this may leave.

Run as a program of its own with `interpose.c` loaded, so that it has one thread and may fork:
`python -m tests.campaign.exploring SCENARIO DIR`. Writes a line of JSON: how many states, and what was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from random import Random
from typing import Any

from fsstore.filesystem.documents.layout import BATCHES, CONTROL, COUNTERS, INDEX, LOCK, STAGING
from tests.campaign import clocks
from tests.campaign.cut_states import CutState, cut_states
from tests.campaign.failing import FAILING
from tests.campaign.interpose import Interposer, recorded
from tests.campaign.looking import age, beginning, look
from tests.campaign.power import Disk, materialise
from tests.campaign.promises import History
from tests.campaign.recorded import SCENARIOS, Recorded, Shop
from tests.filesystem.crashing import check, in_child

STORE = "store"
_DEADLINE_SECONDS = 30
_MINOR = tuple(f"{STORE}/{name}" for name in (INDEX, LOCK, COUNTERS, BATCHES, f"{STAGING}/", f"{CONTROL}/.gitignore"))
_FIRST_NUMBER, _WORK_NUMBER, _NUMBERS_A_LIFE = 0, 1000, 500
WORKS = {**SCENARIOS, **FAILING}
Life = Callable[[Shop], Coroutine[Any, Any, None]]


def promises_nothing(path: str) -> bool:
    """Whether a file is one that may be lost, or hold anything, after a power cut."""
    return path.startswith(_MINOR)


class Exploration:
    """One piece of work, and the states that a power cut in it may leave."""

    def __init__(self, directory: Path, *, states: int, seed: int, same_boot: bool) -> None:
        """With `same_boot` whoever looks at a state does not believe that the system was started anew."""
        self._directory = directory
        self._begin = beginning(same_boot=same_boot)
        self._limit = states
        self._draws = Random(seed)
        self.violations: list[str] = []
        self.states = 0

    def run(self, scenario: Recorded) -> None:
        """Cut the power during the work."""
        for state in self._sample(self._of_work(scenario), self._limit):
            self._look(state, "cut", durable=scenario.durable)

    def run_twice(self, scenario: Recorded, cuts: int) -> None:
        """Cut the power during the work, and again while the store recovers from that."""
        first = self._sample(self._of_work(scenario), cuts)
        for at, state in enumerate(first):
            for again in self._sample(self._of_recovery(state, at), self._limit // len(first)):
                self._look(again, "second cut", durable=scenario.durable)

    def _of_work(self, scenario: Recorded) -> list[CutState]:
        room = self._directory / "work"
        room.mkdir()
        prepared = self._record(room, "prepared", [scenario.prepare], _FIRST_NUMBER)
        marks = [call.path for call in recorded(prepared) if call.name == "mark"]
        disk = Disk(room)
        lives = [scenario.run] if scenario.then is None else [scenario.run, scenario.then]
        trace = self._record(room, "done", lives, _WORK_NUMBER)
        return list(cut_states(disk, recorded(trace), self._draws, is_minor=promises_nothing, marks=marks))

    def _of_recovery(self, state: CutState, number: int) -> list[CutState]:
        room = self._directory / f"recovering-{number}"
        materialise(state.tree, room)
        disk = Disk(room)

        async def recover(shop: Shop) -> None:
            self._begin("second")
            age(room / STORE, History.read(state.marks))
            await (await shop.open()).close()

        trace = self._record(room, f"recovered-{number}", [recover], 0)
        found = cut_states(disk, recorded(trace), self._draws, is_minor=promises_nothing, marks=state.marks)
        return [CutState(each.tree, each.marks, f"{state.made}, then {each.made}") for each in found]

    def _record(self, room: Path, name: str, lives: Sequence[Life], first: int) -> Path:
        """Let processes live one after the other, and record all that they do."""
        trace = self._directory / name

        def live_recorded() -> None:
            interposer = Interposer()
            interposer.watch(room)
            interposer.record(trace)
            for at, life in enumerate(lives):
                shop = Shop(room / STORE, interposer.mark, first=first + at * _NUMBERS_A_LIFE, interposer=interposer)
                ended = in_child(lambda shop=shop, life=life: asyncio.run(life(shop)))  # type: ignore[misc]
                # only one that others come after may be killed
                check(ended == 0 or (ended == -signal.SIGKILL and life is not lives[-1]), f"a life ended with {ended}")

        check(in_child(live_recorded) == 0, f"the work fails by itself: {name}")
        return trace

    def _sample(self, states: Sequence[CutState], limit: int) -> list[CutState]:
        """Draw so many states, from all moments of a cut alike."""
        moments: dict[str, list[CutState]] = {}
        for state in self._draws.sample(states, len(states)):
            moments.setdefault(state.made, []).append(state)
        rounds = itertools.zip_longest(*moments.values())
        return [state for drawn in rounds for state in drawn if state is not None][:limit]

    def _look(self, state: CutState, boot_name: str, *, durable: bool) -> None:
        self.states += 1
        room = self._directory / "cut"
        materialise(state.tree, room)
        history = History.read(state.marks)
        told = self._directory / "told"

        def look_at_it() -> None:
            signal.alarm(_DEADLINE_SECONDS)
            self._begin(boot_name)
            age(room / STORE, history)
            _, wrong = asyncio.run(look(room / STORE, history, durable=durable))
            told.write_text(json.dumps(wrong))

        ended = in_child(look_at_it)
        wrong = json.loads(told.read_text()) if ended == 0 else [f"the store cannot be used: {ended}"]
        if wrong:
            self.violations.append(f"{state.made}: {'; '.join(wrong)}")
            self._keep(state)
        shutil.rmtree(room)

    def _keep(self, state: CutState) -> None:
        kept = os.environ.get("FSSTORE_KEPT_STATES")
        if kept:
            materialise(state.tree, Path(kept) / f"{len(self.violations):03d}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", choices=WORKS)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--states", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cuts", type=int, default=0, help="so many states of a first cut, each cut in its recovery")
    parser.add_argument("--same-boot", action="store_true", help="the medium goes, the host stays")
    arguments = parser.parse_args()
    clocks.obey()
    logging.disable()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        options = {"states": arguments.states, "seed": arguments.seed, "same_boot": arguments.same_boot}
        exploration = Exploration(Path(directory).resolve(), **options)
        if arguments.cuts:
            exploration.run_twice(WORKS[arguments.scenario], arguments.cuts)
        else:
            exploration.run(WORKS[arguments.scenario])
    sys.stdout.write(json.dumps({"states": exploration.states, "violations": exploration.violations}) + "\n")


if __name__ == "__main__":
    main()
