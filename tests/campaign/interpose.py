"""The Python side of `interpose.c`: builds the library, steers it in a process that has it loaded, reads its record.

A process has it loaded when it was started with `environment(library)`; a child of its fork has it too. What cannot be
had on a machine is said by `why_not`, for tests to skip with.
"""

from __future__ import annotations

import ctypes
import enum
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("interpose.c")
_LENGTH = struct.Struct("<I")
_NUMBERS = struct.Struct("<qq")


class Action(enum.IntEnum):
    """What happens at the chosen call."""

    nothing = 0
    kill_before = 1
    kill_after = 2
    fail = 3
    short = 4
    """A write of half of the bytes."""
    fail_then_kill = 5
    """The chosen call fails, and the process is killed at the next one."""


class Call(NamedTuple):
    """A recorded call.

    `name` is one of create, open, truncate, write, resize, sync, syncfs, rename, exchange, link, unlink, mkdir, rmdir;
    mark (`path` is the word of the caller); failed, killed (`other` is the C function, for `failed` the offset is the
    error). Paths are absolute; data calls carry the inode, since a file that is open may have another name by now.
    """

    name: str
    path: str
    other: str
    inode: int
    offset: int
    data: bytes


def why_not() -> str:
    """Say what this machine lacks; empty when nothing."""
    if not sys.platform.startswith("linux"):
        return "LD_PRELOAD and /proc/self/fd are Linux's"
    return "" if _compiler() else "there is no C compiler"


def build(directory: Path) -> Path:
    """Compile the library and return its path."""
    library = directory / "interpose.so"
    command = [_compiler(), "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-o", str(library), str(SOURCE)]
    subprocess.run([*command, "-ldl", "-lpthread"], check=True)
    return library


def environment(library: Path) -> dict[str, str]:
    """Return the environment of a process that shall have it loaded."""
    return {**os.environ, "LD_PRELOAD": str(library)}


def _compiler() -> str:
    return shutil.which("gcc") or shutil.which("cc") or ""


class Interposer:
    """Steers the library in this process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.interpose_called.restype = ctypes.c_char_p
        self._library.interpose_calls.restype = self._library.interpose_fired.restype = ctypes.c_long
        self._trace = -1

    def watch(self, directory: Path, *, reads: bool = False) -> None:
        """Count the calls that change something below a directory, from now on; `reads` counts all opening too."""
        self._library.interpose_watch(os.fsencode(directory), int(reads))

    def at(self, number: int, action: Action, *, error: int = 0, times: int = 1) -> None:
        """Act at the call of that number, counted from 1, and at the next ones, as many times as that in all."""
        self._library.interpose_at(ctypes.c_long(number), int(action), error, ctypes.c_long(times))

    def slow(self, seconds: float) -> None:
        """Let a failing call take that long, so that other threads go on meanwhile; to be set after `watch`."""
        self._library.interpose_slow(ctypes.c_long(int(seconds * 1e6)))

    def only(self, functions: Iterable[str]) -> None:
        """Count, and act at, calls of these functions alone, by the names that `called` gives; to be set after `watch`.

        A call that is not counted is still recorded.
        """
        self._library.interpose_only("".join(f" {name} " for name in functions).encode())

    def record(self, path: Path) -> None:
        """Write down every call, in the order of their happening, in a file that is not below the directory."""
        self._trace = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._library.interpose_record(self._trace)

    def mark(self, word: str) -> None:
        """Put a word of one's own into the record."""
        self._library.interpose_mark(word.encode())

    def stop(self) -> None:
        """Let calls pass again, uncounted."""
        self._library.interpose_stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let calls pass for a while, uncounted."""
        was_active = self._library.interpose_stop()
        try:
            yield
        finally:
            self._library.interpose_resume(was_active)

    @property
    def calls(self) -> int:
        """How many calls were counted."""
        return int(self._library.interpose_calls())

    def called(self) -> list[str]:
        """Return the C functions of the calls that were counted, in their order, failed ones included."""
        return [self._library.interpose_called(ctypes.c_long(at)).decode() for at in range(1, self.calls + 1)]

    @property
    def fired(self) -> int:
        """How many calls were acted upon."""
        return int(self._library.interpose_fired())


def recorded(path: Path) -> Iterator[Call]:
    """Give the calls of a record; one that a kill has cut off at the end is left out."""
    data = path.read_bytes()
    position = 0

    def field() -> bytes:
        nonlocal position
        (size,) = _LENGTH.unpack_from(data, position)
        position += _LENGTH.size + size
        if position > len(data):
            raise EOFError
        return data[position - size : position]

    while position < len(data):
        try:
            name, path_of, other = (os.fsdecode(field()) for _ in range(3))
            inode, offset = _NUMBERS.unpack_from(data, position)
            position += _NUMBERS.size
            yield Call(name, path_of, other, inode, offset, field())
        except (EOFError, struct.error):
            return
