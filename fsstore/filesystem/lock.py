"""The store's writer lock: one kept descriptor, locked through filelock.

Owns: who may write. Invariants:
- A holder is never robbed: the lock ends with its release or with its process, by the system's hand.
- Whoever acquires checks that the file locked is still the one the path names; the file itself is never deleted by us.
- A child of fork opens its own descriptor: a shared one would share the lock, and outlive its owner.

A crash leaves nothing behind: the system lets go of the lock of a dead process.
"""

from __future__ import annotations

import os
import random
import time
import weakref
from collections.abc import Callable
from contextlib import suppress

from filelock import lock_descriptor, unlock_descriptor

from fsstore.errors import StorageTimeoutError
from fsstore.filesystem.files import KEEP, Tree
from fsstore.filesystem.layout import LOCK

_FIRST_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.0002, 0.002


class StoreLock:
    """The lock of one open store; used by its writer thread alone."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._descriptor = -1
        _LOCKS.add(self)

    def acquire(self, timeout_seconds: float, *, waiting: Callable[[], None] = lambda: None) -> bool:
        """Take the lock, polling from 0.2 ms on; True when it could not be had at once.

        Calls `waiting` once when somebody else has it. Raises StorageTimeoutError, and OSError when the file can not be
        opened.
        """
        if self._take():
            return False
        waiting()
        deadline = time.monotonic() + timeout_seconds
        pause = _FIRST_POLL_SECONDS
        while True:
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - keeps pollers from marching in step
            if self._take():
                return True
            if time.monotonic() >= deadline:
                raise StorageTimeoutError(
                    "the writer lock", path=self._tree.path(LOCK), timeout_seconds=timeout_seconds
                )
            pause = min(pause * 1.2, _LONGEST_POLL_SECONDS)

    def release(self) -> None:
        """Let the next one write."""
        unlock_descriptor(self._descriptor)

    def is_held_by_somebody(self) -> bool:
        """Whether a process, this one included, holds the lock now."""
        descriptor = self._tree.open(LOCK, KEEP)
        try:
            # closing the descriptor lets go of what was taken
            return not lock_descriptor(descriptor, blocking=False)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close the descriptor, and with it let go of the lock."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with suppress(OSError):
                os.close(descriptor)

    def _take(self) -> bool:
        if self._descriptor < 0:
            self._descriptor = self._tree.open(LOCK, KEEP)
        if not lock_descriptor(self._descriptor, blocking=False):
            return False
        # somebody may have removed the file, or the whole control directory: then this lock guards nothing
        try:
            named = self._tree.signature(LOCK)
        except OSError:
            # whoever asked was told that the lock is not theirs
            self.close()
            raise
        if named is not None and named.inode == os.fstat(self._descriptor).st_ino:
            return True
        self.close()
        return False


_LOCKS: weakref.WeakSet[StoreLock] = weakref.WeakSet()


def _close_inherited() -> None:
    for lock in _LOCKS:
        lock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)
