"""Documents and shards that the system refuses to read: by a permission, or by an error of the disk."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import pickle
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

ANOTHER_USER = 65534
_OVERRIDES_PERMISSIONS, _SEARCHES_ALL = 1, 2
_CAPABILITIES_3 = 0x20080522


def as_bound_by_permissions(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run something as a user whom permissions bind, and return its answer.

    Where this is root, in a child of fork that gives up root's way around permissions (capabilities(7)): it stays the
    owner of its files, so that it finds its modules.
    """
    if os.geteuid() != 0:
        return asyncio.run(work())
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _answer(work, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pickle.loads(pipe.read())  # noqa: S301 - our own child's
    os.waitpid(child, 0)
    if isinstance(answer, _Failure):
        pytest.fail(answer.text)
    return answer


def _give_up_overriding() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    for effective_or_permitted in (0, 1):
        sets[effective_or_permitted] &= ~(1 << _OVERRIDES_PERMISSIONS | 1 << _SEARCHES_ALL)
    assert libc.capset(header, sets) == 0, os.strerror(ctypes.get_errno())


class _Failure:
    def __init__(self, text: str) -> None:
        self.text = text


def _answer(work: Callable[[], Coroutine[Any, Any, Any]], writer: int) -> None:
    """Do the work of the child, and end it."""
    code = 1
    try:
        _give_up_overriding()
        answer = asyncio.run(work())
        code = 0
    except BaseException:  # noqa: BLE001 - the parent fails with it
        answer = _Failure(traceback.format_exc())
    try:
        os.write(writer, pickle.dumps(answer))
    finally:
        os._exit(code)


class Bad:
    """Names that the disk cannot read: every call that opens, lists or looks at one of them gets EIO."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bases: set[str] = set()
        self.looks_too = False
        for name in ("open", "stat", "lstat"):
            monkeypatch.setattr(os, name, self._between(name, getattr(os, name)))

    def _between(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def tried(path: Any, *arguments: Any, **options: Any) -> Any:
            is_way = name == "open" and arguments[0] & getattr(os, "O_PATH", 0)
            is_bad = isinstance(path, str) and Path(path).name in self.bases
            if is_bad and not is_way and (name == "open" or self.looks_too):
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)
            return call(path, *arguments, **options)

        return tried
