"""Who has a turn when: rounds of trials, in which every store does the same thing right after the others."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self, TypeAlias

from tests.benchmarks.peers import missing
from tests.benchmarks.peers.ours import Fsstore
from tests.benchmarks.peers.store import Store, UnsupportedError
from tests.benchmarks.trial import Amounts, Setting, Trial, Workload

Stores: TypeAlias = Sequence[type[Store]]

_MOST_KB = 1 << 20


@dataclass(frozen=True)
class Row:
    """One line of the comparison: a workload in one size, and with so many documents."""

    workload: Workload
    size_kb: int
    documents: int
    durable: bool | None
    """None where it makes no difference: nothing is written."""

    @property
    def title(self) -> str:
        """What people call it."""
        of = "" if self.workload.setting.fresh else f", of {self.documents}"
        return f"{self.workload.name}{of}{', durable' if self.durable else ''}"


@dataclass(frozen=True)
class Spread:
    """What several rounds gave."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return median, least and most of some values."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass
class Results:
    """What was measured: a figure for each row, store and round; and what was not, and why."""

    figures: dict[Row, dict[str, list[float]]] = field(default_factory=dict)
    refused: dict[Row, dict[str, str]] = field(default_factory=dict)
    tails: dict[Row, dict[str, list[float]]] = field(default_factory=dict)
    """Of workloads of single calls: the time in µs that 99 of 100 calls do not exceed, of each round."""
    absent: dict[str, str] = field(default_factory=dict)
    """Peers that could not run at all, by name."""

    def ratio(self, row: Row, peer: str) -> Spread | None:
        """Return fsstore's figure divided by a peer's, of each round; None where one of them has none."""
        figures = self.figures.get(row, {})
        ours, theirs = figures.get(Fsstore.name), figures.get(peer)
        if not ours or not theirs:
            return None
        return Spread.of([mine / other for mine, other in zip(ours, theirs, strict=True)])


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be measured."""

    stores: Stores
    workloads: Sequence[Workload]
    sizes_kb: Sequence[int]
    scales: Sequence[int]
    amounts: Amounts

    def rows(self) -> Iterator[Row]:
        """Give every line of the comparison."""
        for size_kb, workload in itertools.product(self.sizes_kb, self.workloads):
            durabilities = (False, True) if workload.setting.fresh else (None,)
            for documents, durable in itertools.product(self._documents(workload.setting, size_kb), durabilities):
                yield Row(workload, size_kb, documents, durable)

    def _documents(self, setting: Setting, size_kb: int) -> Sequence[int]:
        match setting:
            case Setting.SCALED:
                found = self.scales
            case Setting.LARGEST:
                found = (max(self.scales),)
            case _:
                found = (self.amounts.documents,)
        # of large documents a disk holds fewer
        return tuple(dict.fromkeys(min(documents, max(20, _MOST_KB // size_kb)) for documents in found))


class Run:
    """Rounds in a directory; stores that are only read are filled once and kept open. Use it with `async with`."""

    def __init__(self, plan: Plan, directory: Path, tell: Callable[[str], None]) -> None:
        self._plan = plan
        self._directory = directory
        self._tell = tell
        self._numbers = itertools.count()
        self._filled: dict[tuple[str, int, int], Store] = {}
        self._to_close = AsyncExitStack()
        self.results = Results()
        for kind in plan.stores:
            reason = missing(kind)
            if reason is not None:
                self.results.absent[kind.name] = reason
        self._stores = [kind for kind in plan.stores if kind.name not in self.results.absent]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._to_close.aclose()

    async def rounds(self, many: int) -> None:
        """Do so many rounds of what finds stores in use, and then as many of what leaves caches empty."""
        for cooling in (False, True):
            for number in range(many):
                await self._round(number, [row for row in self._plan.rows() if row.workload.cools == cooling])

    async def _round(self, number: int, rows: Iterable[Row]) -> None:
        """Let every store do everything once; each round begins with another of them."""
        for row in rows:
            self._tell(f"round {number + 1}: {row.size_kb} KB, {row.title}")
            turns = [kind for kind in self._stores if _takes_part(kind, row)]
            first = number % len(turns) if turns else 0
            for kind in [*turns[first:], *turns[:first]]:
                await self._turn(kind, row)

    async def for_seconds(self, seconds: float) -> None:
        """Do one workload after another, round and round, until the time is over."""
        end = time.perf_counter() + seconds
        for number in itertools.count():
            await self._round(number, self._plan.rows())
            if time.perf_counter() >= end:
                return

    async def _turn(self, kind: type[Store], row: Row) -> None:
        if kind.name in self.results.refused.get(row, {}):
            return
        try:
            figure, times = await self._figure(kind, row)
        except UnsupportedError as error:
            self.results.refused.setdefault(row, {})[kind.name] = str(error)
            return
        self.results.figures.setdefault(row, {}).setdefault(kind.name, []).append(figure)
        if times:
            tail = 1e6 * sorted(times)[math.ceil(0.99 * len(times)) - 1]
            self.results.tails.setdefault(row, {}).setdefault(kind.name, []).append(tail)

    async def _figure(self, kind: type[Store], row: Row) -> tuple[float, list[float]]:
        """Return the figure, and the times of its single calls in seconds, if it is made of these."""
        if row.workload.in_flight and kind.blocking:
            raise UnsupportedError("its calls block the event loop: nothing is ever in flight")
        if row.workload.processes and not kind.processes:
            raise UnsupportedError("it is for one process only")
        if not row.workload.setting.fresh:
            trial = self._trial(await self._shared(kind, row), row)
            return await row.workload.run(trial), trial.times
        store = await self._opened(kind, durable=bool(row.durable))
        try:
            trial = self._trial(store, row)
            if row.workload.setting is Setting.HOLDING:
                await replace(trial, documents=trial.calls).fill()
            return await row.workload.run(trial), trial.times
        finally:
            await store.close()

    async def _shared(self, kind: type[Store], row: Row) -> Store:
        key = (kind.name, row.size_kb, row.documents)
        if key not in self._filled:
            if kind.most_documents is not None and kind.most_documents < row.documents:
                raise UnsupportedError(f"filling it with more than {kind.most_documents} documents takes too long")
            store = await self._opened(kind, durable=kind.durabilities[0])
            self._to_close.push_async_callback(store.close)
            await self._trial(store, row).fill()
            self._filled[key] = store
        return self._filled[key]

    async def _opened(self, kind: type[Store], *, durable: bool) -> Store:
        directory = self._directory / f"{next(self._numbers):05}-{kind.name.replace(' ', '-')}"
        directory.mkdir()
        store = kind(directory, durable=durable)
        await store.open()
        return store

    def _trial(self, store: Store, row: Row) -> Trial:
        return Trial(store=store, size_kb=row.size_kb, documents=row.documents, amounts=self._plan.amounts)


def _takes_part(kind: type[Store], row: Row) -> bool:
    return row.durable is None or row.durable in kind.durabilities
