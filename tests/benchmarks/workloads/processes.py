"""What is measured in processes of their own: memory, and several of them writing."""

from __future__ import annotations

import asyncio
import math
import statistics
from contextlib import AsyncExitStack

from tests.benchmarks.child import Child, Task
from tests.benchmarks.peers.store import UnsupportedError
from tests.benchmarks.trial import Trial


async def listing(trial: Trial) -> float:
    return await _memory(trial, "list")


async def streaming(trial: Trial) -> float:
    return await _memory(trial, "stream")


async def alone(trial: Trial) -> float:
    return sum(await _saved(trial, 1)) / trial.amounts.seconds


async def together(trial: Trial) -> float:
    return sum(await _saved(trial, trial.amounts.processes)) / trial.amounts.seconds


async def smallest_share(trial: Trial) -> float:
    saved = await _saved(trial, trial.amounts.processes)
    return min(saved) / statistics.mean(saved)


def child(trial: Trial, do: str, number: int = 0) -> Child:
    """Return a process that will do something with the trial's store."""
    task = Task(
        do=do,
        store=trial.store.name,
        directory=str(trial.store.directory),
        durable=trial.store.durable,
        documents=trial.documents,
        size_kb=trial.size_kb,
        page=trial.amounts.page,
        seconds=trial.amounts.seconds,
        number=number,
    )
    return Child(task)


async def _memory(trial: Trial, do: str) -> float:
    async with child(trial, do) as process:
        used = float(await process.result())
    if math.isnan(used):
        raise UnsupportedError("this system does not tell the memory of a process")
    return used


async def _saved(trial: Trial, processes: int) -> list[int]:
    async with AsyncExitStack() as stack:
        children = [await stack.enter_async_context(child(trial, "save", number)) for number in range(processes)]
        saved = [int(many) for many in await asyncio.gather(*(process.result() for process in children))]
    for number, many in enumerate(saved):
        name = f"p{number}-{many - 1}"
        trial.check(many and await trial.store.exists(name), f"{name} is not there")
    return saved
