"""What a message costs that is appended to a history: `python -m tests.benchmarks.appending --help`.

One table: for each way of appending, and each length of the history, milliseconds for a message of 2 KB, median and
spread, next to what others do in the same rounds: a row of SQLite, a session of openai-agents where that is installed,
a file of the same size that is written and renamed, and a sync alone. A stall is the longest time for which a task that
wakes up each 0.2 ms did not. Bytes logged are those of one append.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console
from rich.table import Table

import fsstore
from fsstore import SessionService
from tests.benchmarks.rounds import Spread

Figures: TypeAlias = dict[str, list[float]]
Timed: TypeAlias = Callable[[], Awaitable[float]]

_TASKS, _PROCESSES, _ALTERNATIONS, _WORKER_APPENDS = 64, 4, 4, 8
_TICK_SECONDS = 0.0002
_MS = 1000


def message(number: int) -> dict[str, Any]:
    """Return a message of 2 KB."""
    return {"role": "user", "uuid": f"m-{number}", "content": f"{number} " + "x" * 1900}


def history(length: int) -> dict[str, Any]:
    """Return a session with so many messages."""
    return {"messages": [message(number) for number in range(length)], "metadata": {"status": "active"}, "state": {}}


class Round:
    """What is measured once of histories of one length."""

    def __init__(self, directory: Path, length: int, figures: Figures, *, durable: bool) -> None:
        self._store = directory / "store"
        self._peers = directory / "peers"
        self._peers.mkdir()
        self._length = length
        self._figures = figures
        self._durable = durable
        self._next = length

    async def run(self) -> None:
        """Measure everything, each thing next to the others."""
        async with fsstore.open_sessions(self._store, fsync=self._durable) as sessions:
            await sessions.save_session("a", history(self._length))
        await self._ours()
        await self._shared()
        self._note("write and rename", self._write())
        self._note("sync alone", self._sync())
        for name, synchronous in (("SQLite row, NORMAL", "NORMAL"), ("SQLite row, FULL", "FULL")):
            self._note(name, self._sqlite(synchronous))
        await self._agents()

    def _note(self, name: str, value: float) -> None:
        self._figures.setdefault(name, []).append(value)

    def _message(self) -> dict[str, Any]:
        self._next += 1
        return message(self._next)

    async def _append(self, sessions: SessionService, session_id: str = "a", **options: Any) -> float:
        item, started = self._message(), time.perf_counter()
        await sessions.append_session(session_id, [item], **options)
        return _MS * (time.perf_counter() - started)

    async def _edit(self, sessions: SessionService) -> float:
        item, started = self._message(), time.perf_counter()
        await sessions.edit_session("a", lambda session: session["messages"].append(item))
        return _MS * (time.perf_counter() - started)

    async def _ours(self) -> None:
        async with fsstore.open_sessions(self._store, fsync=self._durable) as sessions:
            self._note("append, first after opening", await self._append(sessions))
            self._note("append, second in a row", await self._append(sessions))
            before = await self._log_bytes(sessions)
            self._note("append", await self._append(sessions))
            self._note("append, bytes logged", await self._log_bytes(sessions) - before)
            self._note("append, longest stall", await stall(lambda: self._append(sessions)))
            self._note("append with unique_by", await self._append(sessions, unique_by="uuid"))
            self._note("edit", await self._edit(sessions))
            self._note("edit, longest stall", await stall(lambda: self._edit(sessions)))
            self._note("get, longest stall", await stall(lambda: _timed(sessions.get_session("a"))))

    async def _log_bytes(self, sessions: SessionService) -> float:
        writer: Any = vars(sessions.storage)["_store"].writer
        while writer.is_holding:  # noqa: ASYNC110 - it sends no event
            # until then zeros stand behind the last record
            await asyncio.sleep(_TICK_SECONDS)
        segments = (self._store / ".fsstore/log").glob("*.log")
        return float(sum(segment.stat().st_size for segment in segments))

    async def _shared(self) -> None:
        """Let two open stores alternate, then many tasks and several processes append to sessions of their own."""
        names = [f"own-{number}" for number in range(max(_TASKS, _PROCESSES))]
        # as many messages in all as the one session has, so that the disk holds it
        each = history(max(self._length // _TASKS, 1))
        async with fsstore.open_sessions(self._store, fsync=self._durable) as one:
            async with fsstore.open_sessions(self._store, fsync=self._durable) as other:
                times = [await self._append((one, other)[turn % 2]) for turn in range(_ALTERNATIONS)]
                self._note("append, two writers alternating", sum(times) / len(times))
            await one.batch_save_sessions(dict.fromkeys(names, each))
            started = time.perf_counter()
            await asyncio.gather(*(self._append(one, name) for name in names[:_TASKS]))
            self._note(f"{_TASKS} tasks, a {_TASKS}th of it each", _MS * (time.perf_counter() - started) / _TASKS)
        command = [sys.executable, "-m", "tests.benchmarks.appending", "--worker", str(self._store)]
        durable = "durable" if self._durable else ""
        processes = [
            await asyncio.create_subprocess_exec(*command, name, durable, stdout=subprocess.PIPE)
            for name in names[:_PROCESSES]
        ]
        answers = await asyncio.gather(*(process.communicate() for process in processes))
        per_append = [json.loads(answer) for answer, _ in answers]
        self._note(f"{_PROCESSES} processes, a {_TASKS}th of it each", sum(per_append) / len(per_append))

    # -- what others do -----------------------------------------------------------------------------------------------

    def _write(self) -> float:
        """Write a file of the size of the session, and give it its name."""
        (path,) = self._store.glob("??/a.json")
        data = path.read_bytes()
        started = time.perf_counter()
        with (self._peers / "draft").open("wb") as file:
            file.write(data)
            if self._durable:
                file.flush()
                os.fsync(file.fileno())
        (self._peers / "draft").replace(self._peers / "plain.json")
        return _MS * (time.perf_counter() - started)

    def _sync(self) -> float:
        """Bring a message to the disk, and nothing else."""
        with (self._peers / "synced").open("ab") as file:
            file.write(json.dumps(message(0)).encode())
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            return _MS * (time.perf_counter() - started)

    def _sqlite(self, synchronous: str) -> float:
        """Insert one row into a table that has the whole history."""
        with sqlite3.connect(self._peers / f"{synchronous}.sqlite3") as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute(f"PRAGMA synchronous={synchronous}")
            database.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, session TEXT, data TEXT)")
            database.execute("CREATE INDEX by_session ON message (session, id)")
            insert = "INSERT INTO message (session, data) VALUES ('a', ?)"
            rows = [(json.dumps(message(number)),) for number in range(self._length)]
            database.executemany(insert, rows)
            database.commit()
            started = time.perf_counter()
            database.execute(insert, (json.dumps(self._message()),))
            database.commit()
            elapsed = time.perf_counter() - started
        database.close()
        return _MS * elapsed

    async def _agents(self) -> None:
        """Let a session of openai-agents do it, where that is installed."""
        with suppress(ImportError):
            session = importlib.import_module("agents").SQLiteSession("a", self._peers / "agents.sqlite3")
            await session.add_items([message(number) for number in range(self._length)])
            self._note("openai-agents add_items", await _timed(session.add_items([self._message()])))


async def _timed(call: Awaitable[object]) -> float:
    started = time.perf_counter()
    await call
    return _MS * (time.perf_counter() - started)


async def stall(run: Timed) -> float:
    """Return for how long, in milliseconds, a task beside something else could not go on."""
    gaps = [0.0]

    async def tick() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    ticking = asyncio.ensure_future(tick())
    await asyncio.sleep(10 * _TICK_SECONDS)
    gaps.clear()
    await run()
    await asyncio.sleep(10 * _TICK_SECONDS)
    ticking.cancel()
    return _MS * max(gaps)


async def worker(store: str, session_id: str, durable: str) -> float:
    """Append some messages, and return how many milliseconds one took."""
    async with fsstore.open_sessions(store, fsync=bool(durable)) as sessions:
        await sessions.append_session(session_id, [message(0)])
        started = time.perf_counter()
        for number in range(_WORKER_APPENDS):
            await sessions.append_session(session_id, [message(number)])
        return _MS * (time.perf_counter() - started) / _WORKER_APPENDS


async def measure(directory: Path, lengths: list[int], rounds: int) -> dict[tuple[bool, int], Figures]:
    """Return the figures of each length, durable and not; what is compared has its turns one after the other."""
    measured: dict[tuple[bool, int], Figures] = {}
    for _ in range(rounds):
        for length in lengths:
            for durable in (False, True):
                figures = measured.setdefault((durable, length), {})
                with tempfile.TemporaryDirectory(dir=directory) as room:
                    await Round(Path(room), length, figures, durable=durable).run()
    return measured


def table(measured: dict[tuple[bool, int], Figures]) -> Table:
    """Return the figures of all lengths in one table: the median, and least and most of all rounds."""
    lengths = sorted({length for _, length in measured})
    shown = Table(title="milliseconds for a message of 2 KB; median (least to most)")
    shown.add_column("way")
    for length in lengths:
        shown.add_column(f"{length} messages", justify="right")
    for durable in (False, True):
        shown.add_section()
        names = {name: None for (is_so, _), figures in measured.items() if is_so is durable for name in figures}
        for name in names:
            cells = [_cell(measured[durable, length].get(name, [])) for length in lengths]
            shown.add_row(f"{name}{', durable' if durable else ''}", *cells)
    return shown


def _cell(values: list[float]) -> str:
    if not values:
        return "-"
    spread = Spread.of(values)
    return f"{spread.median:.3g} ({spread.least:.3g} to {spread.most:.3g})"


def main() -> None:
    """Measure, or be one of the processes that append."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", default="10,100,1000,5000,10000", help="of the histories, in messages")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--directory", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to be measured"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures of appends that are not synced")
    parser.add_argument("--worker", nargs=3, metavar=("STORE", "ID", "DURABLE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        sys.stdout.write(json.dumps(asyncio.run(worker(*arguments.worker))))
        return
    lengths = [int(length) for length in arguments.lengths.split(",")]
    measured = asyncio.run(measure(arguments.directory, lengths, arguments.rounds))
    Console(width=200).print(table(measured))
    if arguments.json is not None:
        told = {length: figures for (durable, length), figures in measured.items() if not durable}
        arguments.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
