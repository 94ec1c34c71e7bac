"""How cost grows with the number of documents: one store, filled further and further, and asked the same at each size.

    python -m tests.benchmarks.growth --scale 1000,10000,100000,1000000 --json growth.json

What is measured of a size is measured several times, but for what takes long by itself (`ONCE`); a look at all files
stands next to scandir and stat of the same files in the same round. The store is not synced, and its documents have
8 KB: a million of them take 9 GB of the disk.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console
from rich.table import Table

import fsstore
from tests.benchmarks.documents import belongs_to, session, session_name, sessions
from tests.benchmarks.rounds import Spread

Figures: TypeAlias = dict[str, list[float]]

_SETTLE_SECONDS, _IDLE_SECONDS = 3.0, 10.0
_BATCH, _CALLS, _LISTS, _PAGE, _SIZE_KB = 1000, 300, 30, 50, 8
ROWS = {
    "open": "ms",
    "first list after opening": "x scandir and stat",
    "get": "us",
    "exists": "us",
    "save over another": "us",
    "save new": "us",
    "list metadata": "us",
    "list sessions": "us",
    "count": "us",
    "refresh after 1 % changed": "x without",
    "idle live store": "% of a core",
    "first list of a clone": "x scandir and stat",
    "written for it": "x its index",
}
"""What is measured, and in which unit."""
ONCE = frozenset({"idle live store", "first list of a clone", "written for it"})
"""What is measured once for each size, and not in every round."""


async def grow(directory: Path, scales: list[int], rounds: int, tell: Callable[[str], None]) -> dict[int, Figures]:
    """Return the figures of each size."""
    told: dict[int, Figures] = {}
    filled = 0
    for documents in sorted(scales):
        tell(f"filling up to {documents}")
        async with fsstore.open_sessions(directory, fsync=False) as store:
            for first in range(filled, documents, _BATCH):
                await store.batch_save_sessions(dict(sessions(range(first, min(first + _BATCH, documents)), _SIZE_KB)))
            await store.count_sessions()
        filled = documents
        figures: Figures = {row: [] for row in ROWS}
        for number in range(rounds):
            tell(f"{documents} documents, round {number + 1}")
            await _round(directory, documents, figures, number)
        tell(f"{documents} documents, idle, and as a clone")
        figures["idle live store"].append(await _idle(directory))
        await _clone(directory, figures)
        told[documents] = figures
    return told


async def _round(directory: Path, documents: int, figures: Figures, number: int) -> None:
    names = [session_name(random.randrange(documents)) for _ in range(_CALLS)]
    contents = [session(random.randrange(documents), _SIZE_KB) for _ in names]
    scan = await _seconds(lambda: asyncio.to_thread(_scan, directory))
    started = time.perf_counter()
    store = await fsstore.open_sessions(directory, fsync=False)
    figures["open"].append(1000 * (time.perf_counter() - started))
    async with store:
        first = await _seconds(lambda: store.list_metadata({"status": "active"}, _PAGE))
        figures["first list after opening"].append(first / scan)
        kinds = [dict(zip(("status", "user_id"), belongs_to(at), strict=True)) for at in range(_LISTS)]
        asked: dict[str, list[tuple[Any, ...]]] = {
            "get": [(store.get_session, name) for name in names],
            "exists": [(store.session_exists, name) for name in names],
            "list metadata": [(store.list_metadata, kind, _PAGE) for kind in kinds],
            "list sessions": [(store.list_sessions, kind, _PAGE) for kind in kinds],
            "count": [(store.count_sessions, {"status": kind["status"]}) for kind in kinds],
            "save over another": [(store.save_session, *each) for each in zip(names, contents, strict=True)],
            "save new": [(store.save_session, f"n-{number}-{at}", each) for at, each in enumerate(contents)],
        }
        for row, calls in asked.items():
            figures[row].append(1e6 * await _seconds(partial(_all, calls)) / len(calls))
        await store.batch_delete_sessions(f"n-{number}-{at}" for at in range(len(contents)))
        figures["refresh after 1 % changed"].append(await _changed(store, directory, documents))


async def _changed(store: fsstore.SessionService, directory: Path, documents: int) -> float:
    """Return what a refresh costs after one document in a hundred was touched, as a multiple of one without changes."""
    await store.refresh()
    without = await _seconds(store.refresh)
    for path in random.sample(list(directory.glob("[0-9a-f][0-9a-f]/*.json")), documents // 100):
        os.utime(path, ns=(random.randrange(10**18),) * 2)
    return await _seconds(store.refresh) / without


async def _idle(directory: Path) -> float:
    """Return which share of a core a live store takes when nothing happens, in percent."""
    async with fsstore.open_sessions(directory, fsync=False, live=True) as store, store.watch():
        await asyncio.sleep(_SETTLE_SECONDS)
        started, cpu = time.perf_counter(), time.process_time()
        await asyncio.sleep(_IDLE_SECONDS)
        return 100 * (time.process_time() - cpu) / (time.perf_counter() - started)


async def _clone(directory: Path, figures: Figures) -> None:
    """Measure the first list of a store that has its documents and nothing else, and what is written for it."""
    shutil.rmtree(directory / ".fsstore")
    scan = await _seconds(lambda: asyncio.to_thread(_scan, directory))
    async with fsstore.open_sessions(directory, fsync=False) as store:
        written = _written()
        first = await _seconds(lambda: store.list_metadata({"status": "active"}, _PAGE))
        figures["first list of a clone"].append(first / scan)
        index = sum(path.stat().st_size for path in (directory / ".fsstore").glob("index.sqlite3*"))
        figures["written for it"].append((_written() - written) / index)


def _written() -> int:
    """Return how many bytes this process has written, to whichever file; 0 where the system does not count them."""
    counts = Path("/proc/self/io")
    found = dict(line.split(": ") for line in counts.read_text().splitlines()) if counts.exists() else {}
    return int(found.get("wchar", 0))


async def _all(calls: list[tuple[Any, ...]]) -> None:
    for call, *arguments in calls:
        await call(*arguments)


async def _seconds(work: Callable[[], Awaitable[object]]) -> float:
    gc.collect()
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


def _scan(directory: Path) -> int:
    """Look at every document, as plainly as can be; returns how many there are."""
    found = 0
    for shard in os.scandir(directory):
        if shard.is_dir() and not shard.name.startswith("."):
            with os.scandir(shard.path) as entries:
                found += sum(entry.stat(follow_symlinks=False).st_size > 0 for entry in entries)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a table, and write what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.growth", description=__doc__)
    parser.add_argument("--scale", default="1000,10000", help="numbers of documents")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, help="where to work; it decides which disk is measured")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    scales = [int(number) for number in options.scale.split(",")]
    progress = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="fsstore-growth-", dir=options.directory) as directory:
        told = asyncio.run(
            grow(Path(directory), scales, options.rounds, lambda text: progress.print(text, style="dim"))
        )
        table = Table(title=f"documents of {_SIZE_KB} KB; median (least to most) of {options.rounds} rounds")
        for column in ("", "unit", *map(str, told)):
            table.add_column(column, justify="left" if column in ("", "unit") else "right")
        for row, unit in ROWS.items():
            table.add_row(row, unit, *(_cell(Spread.of(figures[row])) for figures in told.values()))
        Console(width=max(Console().width, 130)).print(table)
        if options.json is not None:
            options.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def _cell(spread: Spread) -> str:
    return f"{spread.median:.3g} ({spread.least:.3g} to {spread.most:.3g})"


if __name__ == "__main__":
    main()
