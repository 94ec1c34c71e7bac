"""The store's writer lock: kept descriptors, locked through filelock, and how long one process may hold it.

Owns: who may write. Invariants:
- A holder is never robbed: the lock ends with its release or with its process, by the system's hand.
- Whoever acquires checks that the file locked is still the one the path names; the file itself is never deleted by us.
- If somebody else deletes it, or all of the control directory, its holder still excludes whoever makes it anew: the
  store's directory is locked with it. Where the system cannot lock a directory (`is_of_directory` is then False), the
  counters are, and a lock whose both files are deleted guards nothing.
- A child of fork opens its own descriptors: shared ones would share the lock, and outlive its owner.
- A hold goes on while work comes: 20 ms where another process has requested the lock, and a second at most. After its
  release, if it was requested, the thread waits until another process has had it.

A crash leaves nothing behind: the system lets go of the lock of a dead process.
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec

from filelock import lock_descriptor, unlock_descriptor

from fsstore.errors import StorageTimeoutError
from fsstore.filesystem.disk.files import KEEP, WRITE, Tree
from fsstore.filesystem.disk.signatures import identity_of
from fsstore.filesystem.documents.layout import COUNTERS, LOCK
from fsstore.filesystem.log.counters import Counters, State
from fsstore.forking import tell_child

_LOCKS_ARE_ADVISORY = find_spec("fcntl") is not None
# what says that a file system cannot lock a directory, or that this user cannot open it
_NO_DIRECTORY_LOCK = {getattr(errno, name) for name in ("EBADF", "ENOLCK", "ENOTSUP", "EOPNOTSUPP", "EINVAL", "EACCES")}
_FIRST_POLL_SECONDS, _LONGEST_POLL_SECONDS, _SHORTEST_POLL_SECONDS = 0.0002, 0.001, 0.0001
# who has waited for a few turns polls the more often the longer it waits, by the cube, so that the oldest comes first
# while turns are short; from 0.17 s on all poll alike
_PATIENT_SECONDS = 0.08
# shorter than a long hold: a holder pauses only for what was requested in its time
_REQUEST_SECONDS = 0.005
_COURTESY_SECONDS, _COURTESIES = 0.001, 20
_REQUESTED_SECONDS, _LONGEST_SECONDS = 0.02, 1.0
_LINGER_SECONDS, _SHORT_LINGER_SECONDS = 0.001, 0.0003


class StoreLock:
    """The lock of one open store; used by its writer thread alone."""

    def __init__(self, tree: Tree, counters: Counters) -> None:
        self._tree = tree
        self._counters = counters
        self._descriptors: tuple[int, ...] = ()
        self.is_of_directory = _LOCKS_ARE_ADVISORY and hasattr(os, "O_DIRECTORY")
        """Whether the store's directory is locked too, as far as is known by now."""
        self.root: tuple[int, int] | None = None
        """Device and inode of the directory that is locked; None where none is."""
        self._since = 0.0
        # the counters when the hold began; None while there is none
        self._first: State | None = None
        tell_child(self)

    def acquire(self, timeout_seconds: float, is_pointless: Callable[[], bool] | None = None) -> None:
        """Take the lock, polling from 0.2 ms on; while somebody else has it, it is requested every 5 ms.

        `is_pointless` ends the wait before its time. Raises StorageTimeoutError, and OSError when the file cannot be
        opened.
        """
        if self._take():
            return
        self._request()
        start = requested = time.monotonic()
        pause = _FIRST_POLL_SECONDS
        while True:
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - keeps pollers from marching in step
            if self._take():
                return
            now = time.monotonic()
            if now - start >= timeout_seconds or (is_pointless is not None and is_pointless()):
                raise StorageTimeoutError(
                    reason="the writer lock", path=self._tree.path(LOCK), timeout_seconds=timeout_seconds
                )
            if now - requested >= _REQUEST_SECONDS:
                self._request()
                requested = now
            if now - start < _PATIENT_SECONDS:
                pause = min(pause * 1.2, _LONGEST_POLL_SECONDS)
            else:
                pause = max(_LONGEST_POLL_SECONDS * (_PATIENT_SECONDS / (now - start)) ** 3, _SHORTEST_POLL_SECONDS)

    def _request(self) -> None:
        with suppress(OSError):
            # best effort; without it the wait is only longer. Of those that were removed the holder takes no notice
            self._counters.open()
            self._counters.increase("lock_requests")

    def begin(self, state: State) -> None:
        """Begin the hold, once the counters are in order. Raises OSError when it cannot be counted."""
        self._counters.write(lock_acquisitions=state.lock_acquisitions + 1)
        self._first, self._since = state, time.monotonic()

    @property
    def is_held(self) -> bool:
        """Whether this process has begun a hold that has not ended."""
        return self._first is not None

    def is_due(self, state: State) -> bool:
        """Whether the lock must be released now, by the counters as they are."""
        longest = _REQUESTED_SECONDS if self._is_requested(state) else _LONGEST_SECONDS
        return time.monotonic() - self._since >= longest

    def linger_seconds(self, state: State) -> float:
        """Return how long to wait for more work before the lock is released."""
        return _SHORT_LINGER_SECONDS if self._is_requested(state) else _LINGER_SECONDS

    def _is_requested(self, state: State) -> bool:
        return self._first is not None and state.lock_requests != self._first.lock_requests

    def release(self) -> None:
        """Let the next one write; if the lock was requested during the hold, wait until another has had it."""
        state: State | None = None
        try:
            with suppress(OSError):
                state = self._counters.read()
        finally:
            _unlock_all(self._descriptors)
            first, self._first = self._first, None
        if first is not None and state is not None and state.lock_requests != first.lock_requests:
            self._give_way(state.lock_acquisitions)

    def _give_way(self, acquisitions: int) -> None:
        """Wait until somebody else has had the lock; not long, since whoever requested it may have given up."""
        for _ in range(_COURTESIES):
            time.sleep(_COURTESY_SECONDS)
            with suppress(OSError):
                if self._counters.read().lock_acquisitions != acquisitions:
                    return

    def is_held_by_somebody(self) -> bool:
        """Whether a process, this one included, holds the lock now."""
        descriptors = self._open()
        try:
            taken = _lock_all(descriptors)
            if taken:
                # closing them lets go too, but not of what a child has inherited that was forked right now
                _unlock_all(descriptors)
            return not taken
        except OSError as error:
            if self._falls_back(error):
                return self.is_held_by_somebody()
            raise
        finally:
            _close_all(descriptors)

    def close(self) -> None:
        """Close the descriptors, and with them let go of the lock."""
        descriptors, self._descriptors = self._descriptors, ()
        _close_all(descriptors)

    def in_child(self) -> None:
        """Close the descriptors, which are the parent's; what it has locked stays locked."""
        self.close()

    def _open(self) -> tuple[int, ...]:
        """Open what is locked, the file first."""
        descriptor = self._tree.open(LOCK, KEEP)
        if not _LOCKS_ARE_ADVISORY:
            # there an open file cannot be removed, and a locked one not be read
            return (descriptor,)
        if self.is_of_directory:
            try:
                return descriptor, self._tree.open_root()
            except OSError as error:
                if not self._falls_back(error):
                    os.close(descriptor)
                    raise
        try:
            return descriptor, self._tree.open(COUNTERS, WRITE)
        except OSError:
            # that it is missing, or something else, is for `counters` to judge
            return (descriptor,)

    def _take(self) -> bool:
        if not self._descriptors:
            self._descriptors = self._open()
            self.root = _directory_of(self._descriptors) if self.is_of_directory else None
        try:
            if not _lock_all(self._descriptors):
                return False
        except OSError as error:
            self.close()
            if self._falls_back(error):
                return self._take()
            raise
        # somebody may have removed the file, or the whole control directory: then this lock guards nothing
        try:
            named = self._tree.identity(LOCK)
            is_root = not self.is_of_directory or self._tree.is_root(self._descriptors[1])
        except OSError:
            # the error reports that the lock is not held
            self.close()
            raise
        if is_root and named == identity_of(os.fstat(self._descriptors[0])):
            return True
        self.close()
        return False

    def _falls_back(self, error: OSError) -> bool:
        """Whether an error means that the directory cannot be locked here: then other files are opened."""
        if not self.is_of_directory or error.errno not in _NO_DIRECTORY_LOCK:
            return False
        self.is_of_directory = False
        return True


def _directory_of(descriptors: Sequence[int]) -> tuple[int, int]:
    there = os.fstat(descriptors[1])
    return there.st_dev, there.st_ino


def _lock_all(descriptors: Sequence[int]) -> bool:
    """Lock all or none."""
    locked = 0
    try:
        while locked < len(descriptors) and lock_descriptor(descriptors[locked], blocking=False):
            locked += 1
        return locked == len(descriptors)
    finally:
        if locked < len(descriptors):
            _unlock_all(descriptors[:locked])


def _unlock_all(descriptors: Sequence[int]) -> None:
    # the first one last: who gets it while another is still locked has polled for nothing
    for descriptor in reversed(descriptors):
        unlock_descriptor(descriptor)


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)
