"""Where the functions of a read run: in a reader thread, or in the writer thread, under the store lock.

Joins the event loop and the threads of one open store; knows nothing of what runs there. Invariants:
- Nothing blocks the event loop. What the system refuses leaves as a StorageUnavailableError.
- A function that may do without the store lock waits for it a moment at most, however long anybody may wait for it.
  A holder that was waited for in vain is not waited for again.
- What has begun under the lock comes to its end; what is cancelled before leaves nothing in the writer's queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from fsstore.errors import StorageError, StorageTimeoutError
from fsstore.filesystem.disk.system import unavailable
from fsstore.filesystem.documents.layout import LOCK
from fsstore.filesystem.open_store import OpenStore

T = TypeVar("T")

_MOMENT_SECONDS = 1.0
"""As long as a holder keeps the lock that is at work."""


@contextmanager
def typed_errors(root: str) -> Iterator[None]:
    """Raise StorageUnavailableError for what the system refuses, such as to read the counters."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise unavailable(error, root) from error


class LockBusyError(Exception):
    """The store lock was not to be had in a moment; nothing was done."""


class Executor:
    """Runs functions in the threads of one open store."""

    def __init__(self, store: OpenStore) -> None:
        self._store = store
        self._root = str(store.tree.root)
        # of the lock's holder that was waited for in vain: how often the lock was taken then
        self._busy = -1

    async def in_thread(self, run: Callable[[], T]) -> T:
        """Run a function in a reader thread. Raises StorageUnavailableError for what the system refuses."""
        with typed_errors(self._root):
            return await self._store.readers.submit(run)

    async def under_lock(self, run: Callable[[], T]) -> T:
        """Run a function in the writer thread, under the store lock.

        A store that cannot be written has no writer: there its one reader thread does it, and keeps writers out as far
        as that can be done. Raises StorageTimeoutError.
        """
        writer, overlay = self._store.writer, self._store.overlay
        if writer is not None:
            return await asyncio.wrap_future(writer.call(run))
        if overlay is not None:
            timeout_seconds = self._store.options.lock_timeout_seconds
            run = partial(overlay.while_nobody_writes, run, timeout_seconds=timeout_seconds)
        return await self.in_thread(run)

    async def changing_index(self, run: Callable[[], T]) -> T:
        """Do the same for what changes the index alone: one in memory is nobody else's, and needs no lock.

        Raises LockBusyError.
        """
        if self._store.writer is None:
            return await self.in_thread(run)
        return await self.soon_under_lock(run)

    async def soon_under_lock(self, run: Callable[[], T]) -> T:
        """Run a function under the store lock if that can be had in a moment. Raises LockBusyError."""
        writer = self._store.writer
        if writer is None:
            return await self.under_lock(run)
        self.check_holder()
        queued = writer.call(run)
        done = asyncio.wrap_future(queued)
        try:
            await asyncio.wait([done], timeout=self.moment_seconds)
        except asyncio.CancelledError:
            done.cancel()
            raise
        # one that has begun has the lock, and comes to its end
        if not done.done() and queued.cancel():
            raise self.busy_holder()
        try:
            return await done
        except StorageTimeoutError as error:
            if error.path != self._store.tree.path(LOCK):
                raise
            raise self.busy_holder() from error

    @property
    def moment_seconds(self) -> float:
        """How long whoever can do without the holder of the lock waits for it."""
        return min(_MOMENT_SECONDS, self._store.options.lock_timeout_seconds / 2)

    def busy_holder(self) -> LockBusyError:
        """Note that the holder of the lock was waited for in vain, and return the error that says so."""
        self._busy = self._store.counters.read().lock_acquisitions
        return LockBusyError()

    def check_holder(self) -> None:
        """Raise LockBusyError if the lock is held by the very one that was waited for in vain."""
        writer = self._store.writer
        if self._busy < 0 or writer is None:
            return
        if self._store.counters.read().lock_acquisitions == self._busy and writer.lock_is_held():
            raise LockBusyError
        self._busy = -1
