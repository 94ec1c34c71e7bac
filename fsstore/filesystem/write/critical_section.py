"""The critical section of the writer: the store lock, and what holds while this process has it.

Owns when the lock is taken and released. Invariants:
- Whoever takes it finds out that the store is still there, makes the control directory again if somebody has removed
  it, and recovers if the last writer died in mid-commit: only then is it held.
- What it was taken for is the directory that was there then. When another one is in its place, the commits are refused,
  and the index that is there now gets no rows.
- It is released when the index has everything, or is known not to.

A crash releases the lock, and leaves what the step under way leaves: see `commit`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from fsstore.errors import StorageError, StorageUnavailableError
from fsstore.filesystem.disk.system import unavailable
from fsstore.filesystem.documents.documents import Documents
from fsstore.filesystem.documents.skeleton import check_control, prepare_control
from fsstore.filesystem.log.counters import Counters
from fsstore.filesystem.log.lock import StoreLock
from fsstore.filesystem.log.presence import Presence
from fsstore.filesystem.write.commit import Committer

T = TypeVar("T")

_TRIES = 10


class CriticalSection:
    """The store lock of one open store; entered and left by the writer thread alone."""

    def __init__(
        self,
        lock: StoreLock,
        committer: Committer,
        documents: Documents,
        counters: Counters,
        presence: Presence,
        *,
        timeout_seconds: float,
    ) -> None:
        self._lock = lock
        self._committer = committer
        self._counters = counters
        self._presence = presence
        self._tree = documents.tree
        self._root = str(documents.tree.root)
        self._store_root = documents.root
        self._timeout_seconds = timeout_seconds
        # of the directory that the lock was taken in; None once that is not there any more
        self._identity: tuple[int, int] | None = None

    # -- for any thread -----------------------------------------------------------------------------------------------

    @property
    def is_held(self) -> bool:
        """Whether this process holds the lock now, the part included in which the index is brought up to date."""
        return self._lock.is_held

    def is_held_by_somebody(self) -> bool:
        """Whether any process is in a critical section now; if not, an unfinished commit has lost its writer.

        Raises StorageUnavailableError.
        """
        try:
            return self._again_where_removed(self._lock.is_held_by_somebody)
        except OSError as error:
            self._store_root.check()
            raise unavailable(error, self._root) from error

    def locks_directory(self) -> bool:
        """Whether the lock holds although somebody removes the control directory."""
        # since it may not have been tried yet; health is reported also when it is bad
        with suppress(StorageUnavailableError):
            self.is_held_by_somebody()
        return self._lock.is_of_directory

    # -- for the writer thread ----------------------------------------------------------------------------------------

    def acquire(self, timeout_seconds: float, is_pointless: Callable[[], bool] | None = None) -> None:
        """Take the lock, and recover if the last writer died.

        Raises StorageTimeoutError, StorageUnavailableError; then the lock is not held.
        """
        try:
            self._store_root.check()
            check_control(self._tree)
            self._again_where_removed(partial(self._take, timeout_seconds, is_pointless))
        except StorageError:
            # one of them is an OSError, too
            raise
        except OSError as error:
            raise unavailable(error, self._root) from error

    def _again_where_removed(self, run: Callable[[], T]) -> T:
        """Run what finds the control directory gone once that is made again; it may go at any moment."""
        for _ in range(_TRIES):
            with suppress(FileNotFoundError):
                return run()
            prepare_control(self._tree)
        return run()

    def _take(self, timeout_seconds: float, is_pointless: Callable[[], bool] | None) -> None:
        self._lock.acquire(timeout_seconds, is_pointless)
        try:
            # of the directory that the lock guards, which may be another one than is there by now
            self._identity = self._lock.root or self._store_root.check()
            self.check_root()
            self._counters.open()
            self._presence.renew(timeout_seconds=self._timeout_seconds)
            self._committer.settle(renewed=self._counters.mend())
            self._lock.begin(self._committer.state)
        except BaseException:
            self._lock.release()
            raise

    def check_root(self) -> None:
        """Raise StorageUnavailableError if the store has gone since the lock was taken, or is another one now."""
        taken_in, self._identity = self._identity, None
        if self._store_root.check() != taken_in:
            raise StorageUnavailableError(
                reason="another directory was put in the place of the store",
                path=self._root,
                advice="try again; what is in the directory now is used then",
            )
        self._identity = taken_in

    def is_over(self) -> bool:
        """Whether it must be left before the next job: the store has gone, or it is the turn of another process."""
        return self._identity is None or self._lock.is_due(self._committer.state)

    def linger_seconds(self) -> float:
        """Return how long it is worth waiting for the next job before it is left."""
        return self._lock.linger_seconds(self._committer.state)

    def release(self) -> None:
        """Finish what was committed, or leave it to recovery, and release the lock."""
        try:
            self.check_root()
            self._committer.end()
        except StorageUnavailableError:
            # the index that is there now, if any, is not the one that lacks these rows
            self._committer.abandon()
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close the files that are locked; the lock must not be held."""
        self._lock.close()
