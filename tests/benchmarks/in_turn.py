"""Several stores measured in one run, call by call in turn, so that what else the machine does meets all of them."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

Call: TypeAlias = Callable[[], Awaitable[Any]]
Figures: TypeAlias = dict[str, dict[str, list[float]]]
"""Milliseconds, by what was measured and by store."""

CALLS = 5


def message(number: int) -> dict[str, str]:
    """Return a message of a size as they have."""
    return {"role": "user" if number % 2 == 0 else "assistant", "content": f"message {number} " + "words " * 40}


async def milliseconds(call: Call) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    await call()
    return 1000 * (time.perf_counter() - started)


async def in_turn(figures: Figures, what: str, calls: Mapping[str, Call]) -> None:
    """Measure the calls of several stores, one after the other and over again: what else happens meets all of them."""
    for _ in range(CALLS):
        for name, call in calls.items():
            note(figures, what, name, await milliseconds(call))


def bytes_in(path: Path) -> int:
    """Return how much is on disk below a path."""
    files = [path] if path.is_file() else [found for found in path.rglob("*") if found.is_file()]
    return sum(found.stat().st_size for found in files)


def documents_in(store: Path) -> float:
    """Return the KB of the documents of a store."""
    return sum(bytes_in(file) for file in store.glob("??/*.json")) / 1000


async def rewrite(file: Path) -> None:
    """Write the bytes of a file again beside it, sync them and rename it: what any store of whole files must do."""
    data = file.read_bytes()
    beside = file.with_suffix(".new")
    with beside.open("wb") as written:
        written.write(data)
        written.flush()
        os.fsync(written.fileno())
    beside.replace(file)


def note(figures: Figures, what: str, store: str, value: float) -> None:
    """Add a figure."""
    figures.setdefault(what, {}).setdefault(store, []).append(value)
