"""Gets and looks by id, and what gets do to the rest of a program."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

from tests.benchmarks.caches import drop_caches
from tests.benchmarks.documents import session_name
from tests.benchmarks.trial import Trial, Way

_BEAT_SECONDS = 0.0005


async def get(trial: Trial) -> float:
    return await _gets(trial, trial.singly)


async def get_in_flight(trial: Trial) -> float:
    return await _gets(trial, trial.in_flight)


async def _gets(trial: Trial, way: Way) -> float:
    found: dict[str, Any] = {}

    async def get_one(name: str) -> None:
        found[name] = await trial.store.get(name)

    names = _shuffled(trial)
    rate = await way(get_one, [(name,) for name in names])
    _check_found(trial, names, [found[name] for name in names])
    return rate


async def exists(trial: Trial) -> float:
    there = 0

    async def look(name: str) -> None:
        nonlocal there
        there += await trial.store.exists(name)

    names = _shuffled(trial)
    rate = await trial.singly(look, [(name,) for name in names])
    trial.check(there == len(names), f"only {there} of {len(names)} seem to exist")
    trial.check(not await trial.store.exists("s-none"), "what is absent seems to exist")
    return rate


async def stall(trial: Trial) -> float:
    """Return for how many ms another task of the program had to wait, at most, while sessions were got."""
    waits: list[float] = []

    async def beat() -> None:
        while True:
            planned = time.perf_counter() + _BEAT_SECONDS
            await asyncio.sleep(_BEAT_SECONDS)
            waits.append(time.perf_counter() - planned)

    names = _shuffled(trial)
    found = []
    heart = asyncio.create_task(beat())
    await asyncio.sleep(0)
    for name in names:
        found.append(await trial.store.get(name))
        # what is answered at once leaves no turn to others; so each wait is for one get
        await asyncio.sleep(0)
    await asyncio.sleep(2 * _BEAT_SECONDS)
    heart.cancel()
    _check_found(trial, names, found)
    return 1000 * max(waits)


async def stall_cold(trial: Trial) -> float:
    drop_caches(allowed=trial.amounts.drop_caches)
    return await stall(trial)


def _shuffled(trial: Trial) -> list[str]:
    numbers = list(range(trial.documents))
    random.Random(len(numbers)).shuffle(numbers)
    return [session_name(number) for number in numbers[: trial.calls]]


def _check_found(trial: Trial, names: list[str], found: list[Any]) -> None:
    right = [
        session is not None and session_name(session["state"]["step"]) == name
        for name, session in zip(names, found, strict=True)
    ]
    trial.check(all(right), f"got {sum(right)} of {len(names)} sessions")
