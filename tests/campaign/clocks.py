"""A clock of files that counts coarsely, as that of most systems does, on whatever file system the campaign runs.

The one place where it is made. Python is asked for the times of files here, and gives the tick before them: the engine,
however it finds out how its clock counts, finds a coarse one. An environment variable carries the tick to all processes
of a test; each program of the campaign calls `obey` first.

SQLite and the C library see the true times. They decide nothing by them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import pytest

TICK = "FSSTORE_CAMPAIGN_TICK_NS"
JIFFY_NS, SECOND_NS = 10_000_000, 1_000_000_000
"""The ticks of kernels before Linux 6.13, and of ext2, ext4 with small inodes and HFS+."""
# a jiffy begins at no round number; a file system that keeps whole seconds cuts the rest off
_PHASE_NS = 1_234_567
_LOOKS, _MILLISECOND_NS = 100, 1_000_000
_FACTS = [name for name in dir(os.stat_result) if name.startswith("st_")]


def count_coarsely(monkeypatch: pytest.MonkeyPatch, tick_ns: int = JIFFY_NS) -> None:
    """Let this process, and those it starts, see times of files that move once a tick."""
    monkeypatch.setenv(TICK, str(tick_ns))
    for name, call in _coarse_calls(tick_ns):
        monkeypatch.setattr(os, name, call)


def obey() -> None:
    """Do the same where whoever started this process has asked for it."""
    tick_ns = int(os.environ.get(TICK, "0"))
    if tick_ns:
        for name, call in _coarse_calls(tick_ns):
            setattr(os, name, call)


def is_coarse(directory: Path) -> bool:
    """Whether no change of a file in a directory shows a time of less than a millisecond after the one before."""
    probe, times = directory / "probe", list[int]()
    with probe.open("wb", buffering=0) as file:
        for _ in range(_LOOKS):
            file.write(b".")
            times.append(os.stat(probe).st_ctime_ns)  # noqa: PTH116 - the call that is made coarse
    probe.unlink()
    return not any(0 < later - earlier < _MILLISECOND_NS for earlier, later in pairwise(times))


def _coarse_calls(tick_ns: int) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name in ("stat", "lstat", "fstat"):
        yield name, _coarse(getattr(os, name), tick_ns)
    scandir = os.scandir
    yield "scandir", lambda *arguments: _Scan(scandir(*arguments), tick_ns)


def _coarse(look: Callable[..., os.stat_result], tick_ns: int) -> Callable[..., os.stat_result]:
    phase_ns = _PHASE_NS if tick_ns < SECOND_NS else 0

    def at_tick(moment_ns: int) -> int:
        return (moment_ns - phase_ns) // tick_ns * tick_ns + phase_ns

    def looked(*arguments: Any, **options: Any) -> os.stat_result:
        found = look(*arguments, **options)
        times: dict[str, float] = {"st_mtime_ns": at_tick(found.st_mtime_ns), "st_ctime_ns": at_tick(found.st_ctime_ns)}
        times |= {name.removesuffix("_ns"): moment_ns / SECOND_NS for name, moment_ns in times.items()}
        return os.stat_result(tuple(found), {name: getattr(found, name) for name in _FACTS} | times)

    return looked


class _Entry:
    """An entry of a directory that tells coarse times; all else is the entry's own."""

    def __init__(self, entry: os.DirEntry[Any], tick_ns: int) -> None:
        self._entry = entry
        self.stat = _coarse(entry.stat, tick_ns)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._entry, name)

    def __fspath__(self) -> Any:
        return self._entry.path


class _Scan:
    """What `os.scandir` gives."""

    def __init__(self, entries: Any, tick_ns: int) -> None:
        self._entries = entries
        self._tick_ns = tick_ns

    def __iter__(self) -> Iterator[_Entry]:
        return (_Entry(entry, self._tick_ns) for entry in self._entries)

    def __next__(self) -> _Entry:
        return _Entry(next(self._entries), self._tick_ns)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._entries.close()
