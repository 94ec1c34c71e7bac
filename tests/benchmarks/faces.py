"""The two faces of fsstore next to what they stand on: plain files and sqlite3, each called directly, in one run.

    python -m tests.benchmarks.faces                    five rounds of 300 sessions of 8 KB
    python -m tests.benchmarks.faces --rounds 9 --documents 1000 --directory /dev/shm

It prints the median time of a call, and the median of the ratios to plain files within a round: 0.5 is half as fast.
Nothing is synced. Every peer has its turn in every round, each round begins with another one, and after each workload
it is checked that the work was done. Plain files have no index: their list looks at the time of each file.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import orjson
from rich.console import Console

import fsstore
import fsstore.sync
from tests.benchmarks.documents import Session, sessions

_LISTED = 50
_REST_SECONDS = 0.2
"""Between two workloads: what a store does after its last call, such as to update its index, is no part of the next."""
_READABLE = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS


class Peer(Protocol):
    """One way to keep sessions; each method does many calls, one after the other, and returns what the last one gives.

    Nothing else is kept: to make room for all sessions takes longer than to read them.
    """

    name: str

    def save(self, documents: dict[str, Session]) -> None: ...
    def get(self, names: Sequence[str]) -> Any: ...
    def append(self, names: Sequence[str], item: Any) -> None: ...
    def list_newest(self, times: int) -> list[Any]: ...
    def close(self) -> None: ...


class SyncFace:
    """`fsstore.sync`."""

    name = "fsstore.sync"

    def __init__(self, directory: Path) -> None:
        self._sessions = fsstore.sync.open_sessions(directory, fsync=False)

    def save(self, documents: dict[str, Session]) -> None:
        for name, document in documents.items():
            self._sessions.save_session(name, document)

    def get(self, names: Sequence[str]) -> Any:
        found = None
        for name in names:
            found = self._sessions.get_session(name)
        return found

    def append(self, names: Sequence[str], item: Any) -> None:
        for name in names:
            self._sessions.append_session(name, [item])

    def list_newest(self, times: int) -> list[Any]:
        return [self._sessions.list_sessions(limit=_LISTED) for _ in range(times)][-1]

    def close(self) -> None:
        self._sessions.close()


class AsyncFace:
    """`fsstore`, in one event loop."""

    name = "fsstore"

    def __init__(self, directory: Path) -> None:
        self._runner = asyncio.Runner()
        self._sessions = self._runner.run(self._opened(directory))

    async def _opened(self, directory: Path) -> fsstore.SessionService:
        return await fsstore.open_sessions(directory, fsync=False)

    def save(self, documents: dict[str, Session]) -> None:
        async def work() -> None:
            for name, document in documents.items():
                await self._sessions.save_session(name, document)

        self._runner.run(work())

    def get(self, names: Sequence[str]) -> Any:
        async def work() -> Any:
            found = None
            for name in names:
                found = await self._sessions.get_session(name)
            return found

        return self._runner.run(work())

    def append(self, names: Sequence[str], item: Any) -> None:
        async def work() -> None:
            for name in names:
                await self._sessions.append_session(name, [item])

        self._runner.run(work())

    def list_newest(self, times: int) -> list[Any]:
        async def work() -> list[Any]:
            return [await self._sessions.list_sessions(limit=_LISTED) for _ in range(times)][-1]

        return self._runner.run(work())

    def close(self) -> None:
        self._runner.run(self._sessions.close())
        self._runner.close()


class PlainFiles:
    """One readable JSON file a session, written aside and renamed."""

    name = "plain files"

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory)

    def _write(self, name: str, document: Session) -> None:
        draft = f"{self._directory}/.{name}.tmp"
        with open(draft, "wb") as file:  # noqa: PTH123 - the plainest way is what it stands for
            file.write(orjson.dumps(document, option=_READABLE))
        os.replace(draft, f"{self._directory}/{name}.json")  # noqa: PTH105 - the same

    def _read(self, path: str) -> Any:
        with open(path, "rb") as file:  # noqa: PTH123 - the same
            return orjson.loads(file.read())

    def save(self, documents: dict[str, Session]) -> None:
        for name, document in documents.items():
            self._write(name, document)

    def get(self, names: Sequence[str]) -> Any:
        found = None
        for name in names:
            found = self._read(f"{self._directory}/{name}.json")
        return found

    def append(self, names: Sequence[str], item: Any) -> None:
        for name in names:
            document = self._read(f"{self._directory}/{name}.json")
            document["messages"].append(item)
            self._write(name, document)

    def list_newest(self, times: int) -> list[Any]:
        found: list[Any] = []
        for _ in range(times):
            with os.scandir(self._directory) as entries:
                newest = sorted(((entry.stat().st_mtime_ns, entry.path) for entry in entries), reverse=True)
            found = [self._read(path) for _, path in newest[:_LISTED]]
        return found

    def close(self) -> None:
        """Nothing is open."""


class Sqlite:
    """sqlite3: a row a session, its JSON as text, a commit for each write."""

    name = "sqlite3"

    def __init__(self, directory: Path) -> None:
        self._connection = sqlite3.connect(directory / "sessions.sqlite3", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=OFF")
        self._connection.execute("CREATE TABLE session (id TEXT PRIMARY KEY, document TEXT, updated_at REAL)")
        self._connection.execute("CREATE INDEX recent ON session (updated_at DESC)")

    def _write(self, name: str, document: Session) -> None:
        text = orjson.dumps(document).decode()
        self._connection.execute("REPLACE INTO session VALUES (?, ?, ?)", (name, text, time.time()))

    def _read(self, name: str) -> Any:
        row = self._connection.execute("SELECT document FROM session WHERE id = ?", (name,)).fetchone()
        return orjson.loads(row[0])

    def save(self, documents: dict[str, Session]) -> None:
        for name, document in documents.items():
            self._write(name, document)

    def get(self, names: Sequence[str]) -> Any:
        found = None
        for name in names:
            found = self._read(name)
        return found

    def append(self, names: Sequence[str], item: Any) -> None:
        for name in names:
            document = self._read(name)
            document["messages"].append(item)
            self._write(name, document)

    def list_newest(self, times: int) -> list[Any]:
        found: list[Any] = []
        for _ in range(times):
            rows = self._connection.execute(
                "SELECT document FROM session ORDER BY updated_at DESC LIMIT ?", (_LISTED,)
            ).fetchall()
            found = [orjson.loads(row[0]) for row in rows]
        return found

    def close(self) -> None:
        self._connection.close()


PEERS: tuple[Callable[[Path], Peer], ...] = (SyncFace, AsyncFace, PlainFiles, Sqlite)
BASE = PlainFiles.name


def measure(peer: Peer, documents: dict[str, Session], lists: int) -> dict[str, float]:
    """Return the seconds that a call of each kind takes; checks that the work was done."""
    names, item = list(documents), {"role": "user", "content": "one more"}
    figures = {}

    def timed(workload: str, calls: int, work: Callable[[], Any]) -> Any:
        gc.collect()
        time.sleep(_REST_SECONDS)
        started = time.perf_counter()
        result = work()
        figures[workload] = (time.perf_counter() - started) / calls
        return result

    timed("save new", len(names), lambda: peer.save(documents))
    timed("save over", len(names), lambda: peer.save(documents))
    found = timed("get", len(names), lambda: peer.get(names))
    timed("append", len(names), lambda: peer.append(names, item))
    listed = timed("list of 50", lists, lambda: peer.list_newest(lists))
    if found["messages"] != documents[names[-1]]["messages"]:
        raise AssertionError(f"{peer.name}: what was saved is not what was read")
    if len(listed) != min(_LISTED, len(names)) or any(each["messages"][-1] != item for each in listed):
        raise AssertionError(f"{peer.name}: what was appended is not in the list")
    return figures


def rounds(many: int, documents: int, size_kb: int, directory: Path | None = None) -> dict[str, list[dict[str, float]]]:
    """Return the figures of each peer, round by round."""
    figures: dict[str, list[dict[str, float]]] = {}
    made = dict(sessions(range(documents), size_kb))
    with tempfile.TemporaryDirectory(prefix="fsstore-bench-", dir=directory) as room:
        for turn in range(many):
            first = turn % len(PEERS)
            for at, kind in enumerate([*PEERS[first:], *PEERS[:first]]):
                place = Path(room) / f"{turn}-{at}"
                place.mkdir()
                peer = kind(place)
                try:
                    figures.setdefault(peer.name, []).append(measure(peer, made, lists=20))
                finally:
                    peer.close()
    return figures


def main(arguments: list[str] | None = None) -> None:
    """Run the rounds, and print the table."""
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.faces", description=about)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--size", type=int, default=8, help="size of a session in KB")
    parser.add_argument("--directory", type=Path, help="where to work; it decides which disk is measured")
    options = parser.parse_args(arguments)
    figures = rounds(options.rounds, options.documents, options.size, options.directory)
    workloads = list(figures[BASE][0])
    console = Console(width=130)
    console.print(f"{'microseconds a call':20}" + "".join(f"{workload:>18}" for workload in workloads))
    for name, found in figures.items():
        cells = []
        for workload in workloads:
            median = statistics.median(each[workload] for each in found) * 1e6
            ratio = statistics.median(
                base[workload] / each[workload] for base, each in zip(figures[BASE], found, strict=True)
            )
            cells.append(f"{median:>10.0f} ({ratio:4.2f})")
        console.print(f"{name:20}" + "".join(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    main()
