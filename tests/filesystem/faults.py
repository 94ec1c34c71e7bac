"""Faults of the operating system, on order, and what the fault tests look at afterwards."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage
from fsstore.filesystem.disk import files
from fsstore.filesystem.documents.layout import Layout
from fsstore.model.records import JsonObject
from tests.filesystem.crashing import CHANGING

DEADLINE_SECONDS = 20.0


class Faults:
    """Stands between Python and the system, and lets calls that change something fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fired: list[str] = []
        self._chooses: Callable[[str, tuple[Any, ...]], bool] = lambda _name, _arguments: False
        self._error = errno.EIO
        for name in CHANGING:
            if hasattr(os, name):
                monkeypatch.setattr(os, name, self._between(name, getattr(os, name)))
        # the other way to put a file in place of one
        monkeypatch.setattr(files, "exchange", self._between("replace", vars(files)["exchange"]))

    def _between(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def tried(*arguments: Any, **options: Any) -> Any:
            changes = name != "open" or arguments[1] & os.O_CREAT
            if changes and self._chooses(name, arguments):
                self.fired.append(name)
                raise OSError(self._error, os.strerror(self._error), None)
            return call(*arguments, **options)

        return tried

    @contextmanager
    def at_step(self, step: int, error: int) -> Iterator[None]:
        """Let the call of that number fail, once, counting from 1."""
        left = step

        def chooses(_name: str, _arguments: tuple[Any, ...]) -> bool:
            nonlocal left
            left -= 1
            return left == 0

        with self.where(chooses, error):
            yield

    @contextmanager
    def where(self, chooses: Callable[[str, tuple[Any, ...]], bool], error: int = errno.EIO) -> Iterator[None]:
        """Let the calls fail that a function of name and arguments chooses."""
        self._chooses, self._error = chooses, error
        self.fired.clear()
        try:
            yield
        finally:
            self._chooses = lambda _name, _arguments: False


def first(name: str) -> Callable[[str, tuple[Any, ...]], bool]:
    """Choose the first call of that name."""
    return nth(name, 1)


def nth(name: str, turn: int) -> Callable[[str, tuple[Any, ...]], bool]:
    """Choose one call of that name, counted from 1."""
    left = turn

    def chooses(called: str, _arguments: tuple[Any, ...]) -> bool:
        nonlocal left
        left -= called == name
        return called == name and left == 0

    return chooses


@contextmanager
def busy_writer(storage: FileStorage) -> Iterator[None]:
    """Keep the writer thread from working, so that commits queue up and become one group."""
    writer = storage._store.writer
    assert writer is not None
    begun, go = threading.Event(), threading.Event()

    def keep() -> None:
        begun.set()
        go.wait(DEADLINE_SECONDS)

    writer.call(keep)
    assert begun.wait(DEADLINE_SECONDS)
    try:
        yield
    finally:
        go.set()


def cut_off(storage: FileStorage, store: Path, copy: Path) -> Path:
    """Copy an open store as it is at this moment, which is what a process that dies now leaves behind."""
    with busy_writer(storage):
        return Path(shutil.copytree(store, copy))


async def until(condition: Callable[[], object]) -> None:
    """Wait for an event that only polling can see."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.001)


def place(store: Path, record_id: str) -> Path:
    """Return where a document lies."""
    return store / Layout(1).name(record_id)


def control(store: Path, name: str) -> list[str]:
    """Return what lies in one directory of `.fsstore`; nothing when it is not there."""
    directory = store / ".fsstore" / name
    return sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []


def descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def contents(storage: FileStorage) -> dict[str, JsonObject]:
    """Return all documents, after checking that what lists, counts and finds them says the same."""
    listed = {record["id"]: record for record in await storage.list()}
    assert await storage.count() == len(listed)
    assert {row["id"] for row in await storage.query("SELECT id FROM documents")} == set(listed)
    for record_id, record in listed.items():
        assert await storage.load(record_id) == record
    return listed


def threads_of_the_store() -> list[threading.Thread]:
    """Return the threads that stores of this process have running."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("fsstore")]


def below(directory: Path) -> list[Path]:
    """Return all that lies in a directory and its directories, in order; what goes away meanwhile is passed over."""
    return sorted(Path(root, name) for root, *kinds in os.walk(directory) for names in kinds for name in names)
