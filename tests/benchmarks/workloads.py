"""What is measured: the same work done by fsstore and by plain `open`, `write`, `os.replace`.

Each round has directories of its own, and nothing is deleted before its end: files that were just deleted slow the file
system down for whoever comes next.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import orjson

import fsstore

Figures: TypeAlias = dict[str, tuple[float, float]]
"""Operations a second of fsstore and of the raw file system, by workload."""

IN_FLIGHT = 64
PAGE = 50


def session(number: int) -> dict[str, Any]:
    """Return a session of 8 KB, shaped like an agent's."""
    messages = [
        {"id": f"m-{at}", "role": ("user", "assistant")[at % 2], "content": f"turn {at} " + "lorem ipsum " * 30}
        for at in range(18)
    ]
    metadata = {"user_id": f"user-{number % 20}", "status": ("active", "failed")[number % 2], "tags": ["bench"]}
    return {"metadata": metadata, "messages": messages, "state": {"step": number}}


class Raw:
    """The limit: one file a session, written aside and renamed, by one thread."""

    def __init__(self, root: Path, *, fsync: bool) -> None:
        self._root = root
        self._fsync = fsync
        root.mkdir(parents=True)

    def save(self, name: str, data: dict[str, Any]) -> None:
        """Write a session."""
        target, draft = f"{self._root}/{name}.json", f"{self._root}/.{name}.tmp"
        with open(draft, "wb") as file:  # noqa: PTH123 - the plainest way is what it stands for
            file.write(orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
            file.flush()
            if self._fsync:
                os.fsync(file.fileno())
        os.replace(draft, target)  # noqa: PTH105 - the same
        if self._fsync:
            self._sync_directory()

    def _sync_directory(self) -> None:
        descriptor = os.open(self._root, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    def get(self, name: str) -> Any:
        """Read a session."""
        with open(f"{self._root}/{name}.json", "rb") as file:  # noqa: PTH123 - the same
            return orjson.loads(file.read())

    def list(self, status: str, limit: int) -> list[Any]:
        """Read all sessions and keep some: what a folder without an index has to do."""
        sessions = [self.get(path.stem) for path in self._root.glob("[!.]*.json")]
        wanted = [found for found in sessions if found["metadata"]["status"] == status]
        return wanted[:limit]


async def measure(directory: Path, *, documents: int) -> Figures:
    """Run each workload once on both sides."""
    return {
        **await _writes(directory, documents, fsync=False),
        **await _writes(directory, documents, fsync=True),
        **await _reads(directory, documents),
    }


async def _writes(directory: Path, documents: int, *, fsync: bool) -> Figures:
    label = "durable" if fsync else "no fsync"
    sessions = {f"s-{number}": session(number) for number in range(documents)}
    raw = Raw(directory / f"raw-{label}", fsync=fsync)
    raw_new = _rate(documents, lambda: _each(sessions, raw.save))
    raw_again = _rate(documents, lambda: _each(sessions, raw.save))
    async with fsstore.open_sessions(directory / f"fsstore-{label}", fsync=fsync) as store:
        new = await _async_rate(documents, lambda: _one_by_one(store, sessions))
        again = await _async_rate(documents, lambda: _one_by_one(store, sessions))
        in_flight = await _async_rate(documents, lambda: _in_flight(store, sessions, "f"))
        batch = await _async_rate(
            documents, lambda: store.batch_save_sessions({f"b-{key}": value for key, value in sessions.items()})
        )
    return {
        f"save, {label}": (new, raw_new),
        f"save again, {label}": (again, raw_again),
        f"save, {IN_FLIGHT} in flight, {label}": (in_flight, raw_new),
        f"batch of {documents}, {label}": (batch, raw_new),
    }


async def _reads(directory: Path, documents: int) -> Figures:
    sessions = {f"s-{number}": session(number) for number in range(documents)}
    raw = Raw(directory / "raw-reads", fsync=False)
    _each(sessions, raw.save)
    async with fsstore.open_sessions(directory / "fsstore-reads", fsync=False) as store:
        await store.batch_save_sessions(sessions)
        await store.count_sessions()
        raw_get = _rate(documents, lambda: [raw.get(name) for name in sessions])
        get = await _async_rate(documents, lambda: _gets(store, sessions))
        raw_list = _rate(3, lambda: [raw.list("failed", PAGE) for _ in range(3)])
        listed = await _async_rate(20, lambda: _lists(store, 20))
        metadata = await _async_rate(20, lambda: _metadata_lists(store, 20))
    return {
        "get": (get, raw_get),
        f"list, {PAGE} of {documents}": (listed, raw_list),
        f"list metadata, {PAGE} of {documents}": (metadata, raw_list),
    }


def _each(sessions: dict[str, Any], save: Callable[[str, Any], None]) -> None:
    for name, data in sessions.items():
        save(name, data)


async def _one_by_one(store: fsstore.SessionService, sessions: dict[str, Any]) -> None:
    for name, data in sessions.items():
        await store.save_session(name, data)


async def _in_flight(store: fsstore.SessionService, sessions: dict[str, Any], prefix: str) -> None:
    todo = iter(sessions.items())

    async def worker() -> None:
        for name, data in todo:
            await store.save_session(f"{prefix}-{name}", data)

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


async def _gets(store: fsstore.SessionService, sessions: dict[str, Any]) -> None:
    for name in sessions:
        await store.get_session(name)


async def _lists(store: fsstore.SessionService, times: int) -> None:
    for _ in range(times):
        await store.list_sessions({"status": "failed"}, PAGE)


async def _metadata_lists(store: fsstore.SessionService, times: int) -> None:
    for _ in range(times):
        await store.list_metadata({"status": "failed"}, PAGE)


def _rate(operations: int, work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return operations / (time.perf_counter() - started)


async def _async_rate(operations: int, work: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await work()
    return operations / (time.perf_counter() - started)
