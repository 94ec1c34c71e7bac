"""One turn of one store at one workload, and what workloads are made of."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, TypeAlias

from tests.benchmarks.documents import STATUSES, Session, session_name, sessions
from tests.benchmarks.peers.store import Store

Call: TypeAlias = Callable[..., Awaitable[Any]]

# of large documents fewer calls show as much
_MOST_KB, _FEWEST_CALLS = 64 << 10, 20


class NotDoneError(AssertionError):
    """A store did not do what it was timed at."""


class Setting(Enum):
    """What a workload finds."""

    EMPTY = "a fresh directory"
    HOLDING = "a fresh directory with the documents it will change"
    FILLED = "a store that is filled once, and only read"
    SCALED = "the same, at each scale"
    LARGEST = "the same, at the largest scale"

    @property
    def fresh(self) -> bool:
        """Whether it is made anew for each trial, both durable and not."""
        return self in (Setting.EMPTY, Setting.HOLDING)


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """How much of everything."""

    documents: int = 300
    batch: int = 1000
    in_flight: int = 64
    page: int = 50
    lists: int = 40
    processes: int = 4
    seconds: float = 1.0
    """How long processes write."""
    drop_caches: bool = True
    """Whether to empty the caches of the system where a workload wants them cold, and the system lets us."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A store, opened in the setting of its workload."""

    store: Store
    size_kb: int
    documents: int
    """How many documents are in it, or are to be written to it."""
    amounts: Amounts
    times: list[float] = field(default_factory=list)
    """Of single calls, in seconds."""

    @property
    def calls(self) -> int:
        """How many calls of a kind to make, so many as `documents` where they are not too large, or it too slow."""
        fitting = max(_FEWEST_CALLS, _MOST_KB // self.size_kb)
        return min(self.amounts.documents, self.documents, fitting, self.store.most_calls or self.documents)

    @cached_property
    def sessions(self) -> dict[str, Session]:
        """What is, or is to be, in the store; made before the clock starts."""
        return dict(sessions(range(self.calls), self.size_kb))

    async def rate(self, operations: int, work: Callable[[], Awaitable[object]]) -> float:
        """Return how many operations a second the work amounts to."""
        return operations / await self.seconds(work)

    async def singly(self, call: Call, arguments: Iterable[tuple[Any, ...]]) -> float:
        """Await one call after another; return how many a second the median of their times amounts to."""
        gc.collect()
        for each in arguments:
            started = time.perf_counter()
            await call(*each)
            self.times.append(time.perf_counter() - started)
        return 1 / statistics.median(self.times)

    async def in_flight(self, call: Call, arguments: Iterable[tuple[Any, ...]]) -> float:
        """Await calls from several tasks, each of which takes the next when it is done with one; return the rate."""
        waiting, done = iter(arguments), 0

        async def work() -> None:
            nonlocal done
            for each in waiting:
                await call(*each)
                done += 1

        seconds = await self.seconds(lambda: asyncio.gather(*(work() for _ in range(self.amounts.in_flight))))
        return done / seconds

    async def seconds(self, work: Callable[[], Awaitable[object]]) -> float:
        """Return how long the work takes."""
        gc.collect()
        started = time.perf_counter()
        await work()
        return time.perf_counter() - started

    async def check_stored(self, expected: Mapping[str, Session]) -> None:
        """Raise NotDoneError unless the store has these sessions; about twenty are compared, the last among them."""
        names = list(expected)
        for name in [*names[:: len(names) // 20 + 1], names[-1]]:
            found = await self.store.get(name)
            self.check(found is not None, f"{name} is not there")
            same = all(found[key] == expected[name][key] for key in ("messages", "state"))
            self.check(same, f"{name} is not what was saved")

    def check(self, condition: object, problem: str) -> None:
        """Raise NotDoneError unless something is so."""
        if not condition:
            raise NotDoneError(f"{self.store.name}: {problem}")

    async def fill(self) -> None:
        """Put the documents into the store, not timed, and tell it their names."""
        many = 1000
        for first in range(0, self.documents, many):
            numbers = range(first, min(first + many, self.documents))
            await self.store.save_many(dict(sessions(numbers, self.size_kb)))
        self.store.names = [session_name(number) for number in range(self.documents)]
        if self.store.indexed:
            # its first use is a workload of its own
            await self.store.count(STATUSES[0])


Run: TypeAlias = Callable[[Trial], Awaitable[float]]
Way: TypeAlias = Callable[[Call, Iterable[tuple[Any, ...]]], Awaitable[float]]
"""`Trial.singly` or `Trial.in_flight`."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Something that is done with each store; `run` returns one figure, in `unit`, after checking that it was done."""

    name: str
    group: str
    run: Run
    setting: Setting
    unit: str = "ops/s"
    in_flight: bool = False
    """Whether it makes no sense where calls block the event loop."""
    processes: bool = False
    """Whether several processes write."""
    cools: bool = False
    """Whether it leaves caches empty, of the system or of the store: then it comes after all rounds of the others."""

    @property
    def more_is_better(self) -> bool:
        """Whether a large figure is a good one."""
        return self.unit in ("ops/s", "of the mean")
