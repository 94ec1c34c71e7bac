"""How soon an edit is told, and what refreshing costs: `python -m tests.benchmarks.watching --help`.

Latency is measured from before another process saves a file (it says when, by the clock that both share) to when the
`Change` is there, next to raw `watchfiles` on files of the same store in the same run. Refreshing, watching for the
first time and the memory of a watch are told for a store of so many documents, as a ratio to scandir and stat of the
same tree.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from watchfiles import awatch

from fsstore import Change, FileStorage
from fsstore.filesystem.documents.layout import Layout
from tests.benchmarks.documents import session

_PAUSE_SECONDS = 0.05
_WARM = 5
_EDITOR = """
import os, sys, time
for number, path in enumerate(sys.argv[2:]):
    sys.stdin.readline()
    with open(path, "rb") as file:
        data = file.read()
    draft = path + "~"
    print(time.monotonic_ns(), flush=True)
    if sys.argv[1] == "in place":
        with open(path, "wb") as file:
            file.write(data.replace(b'"status": "', b'"status": "x', 1))
    else:
        with open(draft, "wb") as file:
            file.write(data.replace(b'"status": "', b'"status": "x', 1))
        os.replace(draft, path)
"""
Times = list[float]


class Editor:
    """Another process that saves one file after the other, each at a word."""

    def __init__(self, way: str, paths: Sequence[Path]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _EDITOR, way, *map(str, paths)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def save(self) -> int:
        """Have the next file saved; returns when that began."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


async def latencies(way: str, paths: Sequence[Path], heard: Callable[[], Awaitable[object]]) -> Times:
    """Return how many milliseconds each save took to be told."""
    editor, times = Editor(way, paths), []
    for _ in paths:
        hearing = asyncio.ensure_future(heard())
        await asyncio.sleep(_PAUSE_SECONDS)
        begun = await asyncio.to_thread(editor.save)
        await hearing
        times.append((time.monotonic_ns() - begun) / 1e6)
    editor.close()
    return times[_WARM:]


async def by_fsstore(storage: FileStorage, way: str, paths: Sequence[Path]) -> Times:
    """Measure the `Change`s of an open store."""
    async with storage.watch() as changes:

        async def heard() -> object:
            change = await anext(changes)
            if not isinstance(change, Change) or change.origin != "external":
                raise RuntimeError(f"told {change}")
            return change

        return await latencies(way, paths, heard)


async def by_watchfiles(root: Path, way: str, paths: Sequence[Path]) -> Times:
    """Measure raw watchfiles, with the waiting times that fsstore gives it."""
    stop = asyncio.Event()
    events = awatch(root, step=10, debounce=50, stop_event=stop, rust_timeout=100, yield_on_timeout=True)
    while await anext(events):
        pass

    async def heard() -> object:
        found: set[str] = set()
        # a file that is replaced has a draft first
        while not any(path.endswith(".json") for path in found):
            found = {path for _, path in await anext(events)}
        return found

    try:
        return await latencies(way, paths, heard)
    finally:
        stop.set()
        await events.aclose()


def told(times: Times) -> tuple[str, str]:
    """Return median and 99th percentile."""
    return f"{statistics.median(times):.1f}", f"{statistics.quantiles(times, n=100)[98]:.1f}"


async def fill(directory: Path, documents: int) -> list[Path]:
    """Make a store, and return where its documents lie."""
    names = [f"s-{number:07}" for number in range(documents)]
    async with await FileStorage.open(directory, fsync=False) as storage:
        for at in range(0, documents, 500):
            batch = [{"id": name, "type": "session", "data": session(at, 1)} for name in names[at : at + 500]]
            await storage.batch_save(batch)
        await storage.refresh()
    return [directory / Layout(1).name(name) for name in names]


async def measure_latency(directory: Path, saves: int, console: Console) -> None:
    """Print how soon saves are told."""
    paths = await fill(directory, 2000)
    table = Table("save", "told by", "median ms", "p99 ms", title=f"{saves} saves in a store of 2 000 documents")
    for at, way in enumerate(("in place", "replaced")):
        some = paths[at * 2 * (saves + _WARM) :]
        async with await FileStorage.open(directory, fsync=False) as storage:
            table.add_row(way, "fsstore", *told(await by_fsstore(storage, way, some[: saves + _WARM])))
        # while it is closed nothing else happens there
        raw = await by_watchfiles(directory, way, some[saves + _WARM : 2 * (saves + _WARM)])
        table.add_row(way, "watchfiles", *told(raw))
    console.print(table)


def survey(directory: Path) -> float:
    """Return how many seconds scandir and stat of all documents take."""
    begun = time.perf_counter()
    for shard in os.scandir(directory):
        if len(shard.name) == 2:
            for entry in os.scandir(shard.path):
                entry.stat(follow_symlinks=False)
    return time.perf_counter() - begun


async def measure_refresh(directory: Path, documents: int, idle_seconds: float, console: Console) -> None:
    """Print what it costs to see that nothing, and that one in a hundred, has changed."""
    paths = await fill(directory, documents)
    table = Table("what", "seconds", "x scandir + stat", title=f"{documents} documents")
    # rows that were recorded a moment ago are read once more
    await asyncio.sleep(2.5)
    async with await FileStorage.open(directory, fsync=False) as storage:
        await storage.refresh()
        stat = min(survey(directory) for _ in range(3))
        table.add_row("scandir + stat", f"{stat:.2f}", "1.0")

        async def timed(what: str, work: Callable[[], Awaitable[object]], *, times: int = 1) -> None:
            seconds = float("inf")
            for _ in range(times):
                begun = time.perf_counter()
                await work()
                seconds = min(seconds, time.perf_counter() - begun)
            table.add_row(what, f"{seconds:.2f}", f"{seconds / stat:.1f}")

        await timed("refresh, nothing changed", storage.refresh, times=3)
        await timed("refresh, with progress", lambda: storage.refresh(lambda _done, _total: None), times=3)
        for path in paths[::100]:
            path.write_bytes(path.read_bytes().replace(b'"status": "', b'"status": "y', 1))
        await timed("refresh, 1 % changed", storage.refresh)
        changes = storage.watch()
        await timed("watch, the first one", changes.started)
        another = storage.watch()
        await timed("watch, another one", another.started)
        await another.aclose()
        begun = time.process_time()
        await asyncio.sleep(idle_seconds)
        table.add_row("  share of a core when idle", f"{(time.process_time() - begun) / idle_seconds:.1%}", "")
        await changes.aclose()
    async with await FileStorage.open(directory, fsync=False) as storage:
        await storage.list(limit=1)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        async with storage.watch():
            kept = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        table.add_row("  bytes a document", f"{kept / documents:.0f}", "")
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.watching", description=__doc__)
    parser.add_argument("--saves", type=int, default=200)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--idle-seconds", type=float, default=10.0)
    parser.add_argument("--directory", type=Path, help="where to work; it decides which disk is measured")
    options = parser.parse_args(arguments)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="fsstore-bench-", dir=options.directory) as directory:
        asyncio.run(measure_latency(Path(directory) / "latency", options.saves, console))
        asyncio.run(measure_refresh(Path(directory) / "refresh", options.documents, options.idle_seconds, console))


if __name__ == "__main__":
    main()
