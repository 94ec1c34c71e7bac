"""Many kills and many cancellations, at moments left to chance."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageClosedError
from fsstore.model.mutations import Mutation
from fsstore.model.records import JsonObject
from tests.campaign.conftest import Ground, Report
from tests.campaign.processes import Worker, working
from tests.campaign.streams import TASKS, Contents, states
from tests.filesystem.faults import contents, control, descriptors, threads_of_the_store, until

ROUNDS, ACKNOWLEDGED = 13, 140
# both modes together: 52 kills, and 5 000 acknowledged writes or more
LEAST = 2500
CANCELS = 2000


# -- SIGKILL ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fsync", [False, True], ids=["quick", "durable"])
async def test_every_acknowledged_write_survives_a_storm_of_kills(
    ground: Ground, report: Report, *, fsync: bool
) -> None:
    """Two processes write; one is killed, the other has to go on; then it is killed too, and the store opened."""
    chance = random.Random(5)
    known: Contents = {}
    acknowledged, found = 0, []
    for turn in range(ROUNDS):
        lives = [f"{turn}x", f"{turn}y"]
        with working(ground.store, *(("acknowledge", life) for life in lives), fsync=fsync) as started:
            said = await asyncio.to_thread(_killed, started, chance)
        async with await FileStorage.open(ground.store, fsync=fsync) as storage:
            there = {key: record["data"]["metadata"]["status"] for key, record in (await contents(storage)).items()}
        acknowledged += sum(map(len, said))
        found += [
            f"round {turn}: {line}" for line in _contradictions(known, dict(zip(lives, said, strict=True)), there)
        ]
        known = there
    leftovers = [*control(ground.store, "log"), *control(ground.store, "staging"), *control(ground.store, "quarantine")]
    found += [f"left behind: {name}" for name in leftovers]
    assert acknowledged >= LEAST
    report(
        "kills, and acknowledged writes, " + ("durable" if fsync else "not synced") + f", {ground.name}",
        acknowledged,
        found,
    )


def _killed(started: list[Worker], chance: random.Random) -> list[list[list[int]]]:
    """Kill the first, wait until the second has gone on without it, kill that one too; return what each had said."""
    first, second = started if chance.random() < 0.5 else started[::-1]
    said = {id(first): [first.said() for _ in range(ACKNOWLEDGED // 2 + chance.randrange(ACKNOWLEDGED // 2))]}
    said[id(first)] += first.kill()
    said[id(second)] = [second.said() for _ in range(ACKNOWLEDGED // 2 + chance.randrange(ACKNOWLEDGED // 2))]
    said[id(second)] += second.kill()
    return [said[id(worker)] for worker in started]


def _contradictions(known: Contents, said: dict[str, list[list[int]]], there: Contents) -> list[str]:
    """Compare what is there with what must be: all that was there before, and of each task one of two states."""
    found = [f"{key} was {value} and is {there.get(key)}" for key, value in known.items() if there.get(key) != value]
    for life, turns in said.items():
        for task in range(TASKS):
            last = max((turn for number, turn in turns if number == task), default=0)
            own = {key: value for key, value in there.items() if key.startswith(f"{life}-{task}-")}
            if own not in states(life, task, last):
                found.append(
                    f"after turn {last} task {task} of {life} left {own}, not one of {states(life, task, last)}"
                )
    return found


# -- cancellation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_storm_of_cancels_leaks_nothing_and_lets_nobody_in_twice(
    ground: Ground, report: Report, seed: int
) -> None:
    before = descriptors()
    async with await FileStorage.open(ground.store, fsync=False) as storage:
        storm = Storm(storage, ground.store, random.Random(seed))
        async with asyncio.timeout(100):
            await storm.rage()
        async with asyncio.timeout(20):
            # whoever comes after the storm finds the lock free
            async with await FileStorage.open(ground.store, lock_timeout_seconds=5) as other:
                await other.save({"id": "after"})
            there = await contents(storage)
    found = storm.found
    if (leaked := descriptors() - before) > 0:
        found.append(f"{leaked} descriptors leaked")
    counter = there["counter"]
    if counter["data"] != counter["version"]:
        found.append(f"the counter is {counter['data']} in version {counter['version']}")
    await until(lambda: not threads_of_the_store())
    report(f"cancels at random moments, {ground.name}", storm.cancels, [f"seed {seed}: {line}" for line in found])


class Storm:
    """Tasks of all kinds on one store, cancelled at random moments."""

    def __init__(self, storage: FileStorage, path: Path, chance: random.Random) -> None:
        self._storage = storage
        self._path = path
        self._chance = chance
        self._inside = 0
        self.cancels = 0
        self.found: list[str] = []

    async def rage(self) -> None:
        waiting: list[asyncio.Task[Any]] = []
        while self.cancels < CANCELS:
            work = self._chance.choices(
                (self._count, self._batch, self._list, self._load, self._refresh, self._visit), (24, 12, 8, 12, 3, 1)
            )[0]
            waiting.append(asyncio.ensure_future(work()))
            # a moment: some steps of the loop, or of the writer thread
            for _ in range(self._chance.randrange(5)):
                await asyncio.sleep(self._chance.choice((0, 0, 0.0005)))
            if len(waiting) > 8:
                task = waiting.pop(self._chance.randrange(8))
                self.cancels += task.cancel()
                waiting = [task for task in waiting if not task.done()] + [task]
        for result in await asyncio.gather(*waiting, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                self.found.append(f"a task ended with {result!r}")

    def _count(self) -> Coroutine[Any, Any, Any]:
        return self._storage.commit([Mutation("counter", self._counted)])

    def _counted(self, current: JsonObject | None) -> JsonObject:
        self._enter()
        self._inside -= 1
        return {"id": "counter", "type": "note", "data": 1 if current is None else current["data"] + 1}

    def _enter(self) -> None:
        self._inside += 1
        if self._inside > 1:
            self.found.append("two are in the critical section")

    def _batch(self) -> Coroutine[Any, Any, Any]:
        return self._storage.batch_save({"id": f"m{number}"} for number in range(3))

    def _list(self) -> Coroutine[Any, Any, Any]:
        return self._storage.list(limit=5)

    def _load(self) -> Coroutine[Any, Any, Any]:
        return self._storage.load("counter")

    def _refresh(self) -> Coroutine[Any, Any, Any]:
        return self._storage.refresh()

    async def _visit(self) -> None:
        """Open the store a second time, and use and close it: the two exclude each other."""
        async with await FileStorage.open(self._path, fsync=False) as other:
            await other.commit([Mutation("counter", self._counted)])


async def test_a_store_that_is_closed_amid_a_storm_answers_everybody(tmp_path: Path, report: Report) -> None:
    chance, runs = random.Random(11), 60
    found: list[str] = []
    before = descriptors()
    for run in range(runs):
        storage = await FileStorage.open(tmp_path, fsync=False)
        tasks = [asyncio.ensure_future(work(storage)) for work in chance.choices(_WORKS, k=12)]
        for _ in range(chance.randrange(30)):
            await asyncio.sleep(0)
        for task in chance.sample(tasks, 4):
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(20):
                await storage.close()
                results = await asyncio.gather(*tasks, return_exceptions=True)
            allowed = (asyncio.CancelledError, StorageClosedError)
            wrong = [
                result for result in results if isinstance(result, BaseException) and not isinstance(result, allowed)
            ]
            found += [f"run {run}: a task ended with {result!r}" for result in wrong]
        found += [f"run {run}: {task} was never answered" for task in tasks if not task.done()]
    await until(lambda: descriptors() <= before)
    report("stores closed amid a storm", runs, found)


_WORKS: tuple[Callable[[FileStorage], Coroutine[Any, Any, Any]], ...] = (
    lambda storage: storage.save({"id": "a"}),
    lambda storage: storage.batch_save([{"id": "a"}, {"id": "b"}]),
    lambda storage: storage.list(),
    lambda storage: storage.load("a"),
    lambda storage: storage.refresh(),
)
