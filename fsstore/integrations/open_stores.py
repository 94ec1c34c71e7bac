"""The open stores of a process: one for each path, shared by everyone who keeps sessions there.

A framework builds its session objects one by one, in plain functions, and uses them from several event loops. Owns how
often a store is held, when it is closed, and what all classes for frameworks have in common (`Holder`). Invariants:
- There is one open store for each path, whatever the number of holders; a store in memory belongs to one holder.
- It is closed when its last holder lets go of it: by `close`, or when the holder is dropped. Then a thread closes it
  where Python drops objects in the middle of anything (its collector, a call of a store); else it is closed at once, so
  that a directory can be removed after it.
- A program that ends closes nothing: the store itself leaves everything committed.
- A child of fork goes on with the stores of its parent, which open themselves again there.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
import weakref
from collections.abc import Awaitable, Mapping
from types import FrameType
from typing import Any, Self, TypeVar, Unpack

import fsstore.sync
from fsstore.errors import StorageClosedError, StorageError, StorageValidationError
from fsstore.interfaces import IUnifiedStorage
from fsstore.opening import open_storage
from fsstore.options import FileOptions
from fsstore.paths import absolute, path_of, split_url
from fsstore.sync.calls import Calls

T = TypeVar("T")

_logger = logging.getLogger("fsstore")


class _Shared:
    """An open store, and how many hold it."""

    def __init__(self, name: str | None, url: str | os.PathLike[str], options: FileOptions) -> None:
        self.name = name
        self.options = dict(options)
        calls = Calls()
        self.storage: IUnifiedStorage = calls.run(lambda: open_storage(url, **options))
        self.plain = fsstore.sync.Storage(self.storage, calls)
        self.holders = 0


class _Registry:
    """The shared stores of this process by their paths."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shared: dict[str, _Shared] = {}
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        # a thread that is not here any more may have held it
        self._lock = threading.Lock()

    def acquire(self, url: str | os.PathLike[str], options: FileOptions) -> _Shared:
        name = _name_of(url)
        with self._lock:
            shared = None if name is None else self._shared.get(name)
            if shared is None:
                shared = _Shared(name, url, options)
                if name is not None:
                    self._shared[name] = shared
            elif shared.options != options:
                raise _other_options(name, shared.options)
            shared.holders += 1
            return shared

    def release(self, shared: _Shared) -> bool:
        """Count one holder less; whether that was the last, who then closes the store."""
        with self._lock:
            shared.holders -= 1
            if shared.holders:
                return False
            if shared.name is not None:
                del self._shared[shared.name]
            return True


_registry = _Registry()


class OpenStore:
    """One holder's share in the open store of a path or URL.

    Opening waits for the disk, a few milliseconds, also in a running event loop. The options are those of
    `fsstore.open_storage`. Raises what that raises, and StorageValidationError where the process has the store open
    with other options.
    """

    def __init__(self, url: str | os.PathLike[str], **options: Unpack[FileOptions]) -> None:
        self.url = url
        self._shared = _registry.acquire(url, options)
        self._end = weakref.finalize(self, _drop, self._shared)
        self._end.atexit = False

    @property
    def storage(self) -> IUnifiedStorage:
        """The store, for coroutines of any loop. Raises StorageClosedError after `close`."""
        return self._held().storage

    @property
    def plain(self) -> fsstore.sync.Storage:
        """The same store for plain calls. Raises StorageClosedError after `close`."""
        return self._held().plain

    def close(self) -> None:
        """Release the store; the last holder closes it, and waits for that. Closing twice is allowed."""
        if self._end.detach() is not None and _registry.release(self._shared):
            self._shared.plain.close()

    def _held(self) -> _Shared:
        if not self._end.alive:
            raise StorageClosedError(path=os.fspath(self.url))
        return self._shared


class Holder:
    """What a framework knows as its session or store, and holds an open store until it is closed.

    A class has it before the framework's own base, and sets `_store` when it is built. `with` and `async with` close.
    """

    _store: OpenStore

    def close(self) -> None:
        """Release the store, which is closed with its last holder. Closing twice is allowed."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


async def settled(change: Awaitable[T]) -> T:
    """Wait for a change even where the caller is cancelled, so that what became of it is known when this returns."""
    task = asyncio.ensure_future(change)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = cancelled or error
    if cancelled is not None:
        # retrieved, so that no error is reported that nobody could have handled
        task.cancelled() or task.exception()
        raise cancelled
    return task.result()


def _name_of(url: str | os.PathLike[str]) -> str | None:
    """Return what two holders of one store have in common; None for what cannot be shared."""
    found = split_url(url) if isinstance(url, str) else None
    if found is None:
        return absolute(path_of(url, name="url"))
    return None if found[0] == "memory" else str(url)


class _Collector:
    """Whether Python's collector of unreachable objects is at work, in whichever thread."""

    def __init__(self) -> None:
        self.is_at_work = False
        gc.callbacks.append(self._follow)

    def _follow(self, phase: str, _info: Mapping[str, int]) -> None:
        self.is_at_work = phase == "start"


_collector = _Collector()


def _drop(shared: _Shared) -> None:
    if _collector.is_at_work or _is_in_a_call():
        # whoever is interrupted here may hold what closing has to wait for
        threading.Thread(target=_end, args=(shared,), name="fsstore-close").start()
    else:
        _end(shared)


def _is_in_a_call() -> bool:
    """Whether this thread is in the middle of a call of fsstore."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - there is no other way to look at the calls of a thread
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith("fsstore."):
            return True
        frame = frame.f_back
    return False


def _end(shared: _Shared) -> None:
    try:
        if _registry.release(shared):
            shared.plain.close()
    except StorageError as error:
        # nobody is there who could be told, and what was acknowledged is committed
        _logger.warning("a store that was dropped could not be closed: %s", error)


def _other_options(name: str | None, options: Mapping[str, Any]) -> StorageValidationError:
    given = ", ".join(f"{key}={value!r}" for key, value in options.items()) or "none"
    return StorageValidationError(
        reason=f"this process has the store {name} open with other options ({given})",
        path="options",
        advice="give the same options, or close the other one first",
    )
