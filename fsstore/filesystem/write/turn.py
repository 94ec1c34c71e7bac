"""A turn at writing: the store lock taken, what a dead writer left behind recovered, and the lock given to who waits.

Owns what comes before and after the work under the lock, and how long one process may go on. Used by the writer thread
alone. Invariants:
- Whoever gets the lock and finds that the one before it died in mid-commit recovers first.
- The lock is released when the index has heard of everything, or is known not to have.
- A turn goes on while work comes: 20 ms where another process wished for the lock, and a second at most. After its
  release, if it was wished for, the thread waits until another has had a turn.

A crash in a turn leaves odd counters, by which the next one knows of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress

from fsstore.errors import StorageError
from fsstore.filesystem.disk.system import unavailable
from fsstore.filesystem.log.counters import Counters, State
from fsstore.filesystem.log.lock import StoreLock
from fsstore.filesystem.log.recovery import Recovery
from fsstore.filesystem.write.commit import Committer

_logger = logging.getLogger("fsstore")

_COURTESY_SECONDS, _COURTESIES = 0.001, 20
_WISHED_SECONDS, _LONGEST_SECONDS = 0.02, 1.0
_LINGER_SECONDS, _SHORT_LINGER_SECONDS = 0.001, 0.0003


class Turn:
    """The turns of one open store."""

    def __init__(
        self,
        committer: Committer,
        recovery: Recovery,
        lock: StoreLock,
        counters: Counters,
        *,
        root: str,
        prepare: Callable[[], object],
        check: Callable[[], object],
        lock_timeout_seconds: float,
    ) -> None:
        self._committer = committer
        self._recovery = recovery
        self._lock = lock
        self._counters = counters
        self._root = root
        self._prepare = prepare
        self._check = check
        self._timeout_seconds = lock_timeout_seconds
        self._state = self._first = State()
        self._begun = 0.0
        self.is_held = False

    def take(self) -> None:
        """Take the lock, and recover if the last writer died.

        Raises StorageTimeoutError, StorageUnavailableError; then the lock is not held.
        """
        self._acquire()
        try:
            state = self.settled(renewed=self._counters.open() or self._counters.mend())
            self._counters.write(lock_acquisitions=state.lock_acquisitions + 1)
        except BaseException as error:
            self._lock.release()
            if isinstance(error, OSError):
                raise unavailable(error, self._root) from error
            raise
        self._first, self._begun, self.is_held = state, time.monotonic(), True

    def give_back(self) -> None:
        """Let the index know of what was done, release the lock, and wait if another process wished for it."""
        turns = -1
        try:
            self._committer.finish()
            state = self._counters.read()
            turns = state.lock_acquisitions if state.lock_requests != self._first.lock_requests else -1
        except Exception as error:  # noqa: BLE001 - whatever it is, the lock is released and the thread lives on
            self._leave(error)
        finally:
            self._lock.release()
            self.is_held = False
        if turns >= 0:
            self._give_way(turns)

    def settled(self, *, renewed: bool = False) -> State:
        """Return the counters, after recovering if the last writer died, or the counters themselves are gone."""
        state = self._counters.read()
        is_left = state.unfinished and not self._committer.is_under_way
        if renewed or is_left or self._recovery.suspects or not self._committer.is_clean:
            self._committer.abandon()
            self._recovery.run()
            state = self._counters.read()
        self._state = state
        return state

    def tell_index(self) -> None:
        """Let the index know of what was done: all if another process asked it since, else where it is much."""
        try:
            if self._state.index_requests != self._first.index_requests:
                self._first = self._first._replace(index_requests=self._state.index_requests)
                self._committer.finish()
            else:
                self._committer.proceed()
        except Exception as error:  # noqa: BLE001 - whatever it is, the commits are answered and the thread lives on
            self._leave(error)

    def _leave(self, error: Exception) -> None:
        """Leave what the index was to be told to recovery: the counters stay odd, and whoever is next sees it."""
        _logger.warning("the index of %s could not be told what was committed: %s", self._root, error)
        self._committer.abandon()

    def is_over(self) -> bool:
        """Whether it is somebody else's turn, or time to see to other things."""
        return time.monotonic() - self._begun >= (_WISHED_SECONDS if self._is_wished else _LONGEST_SECONDS)

    @property
    def linger_seconds(self) -> float:
        """How long to wait for more work before the lock is given back."""
        return _SHORT_LINGER_SECONDS if self._is_wished else _LINGER_SECONDS

    @property
    def _is_wished(self) -> bool:
        return self._state.lock_requests != self._first.lock_requests

    def prepare(self) -> None:
        """Make the directories anew that somebody removed; the lock is held all the same."""
        self._prepare()
        self._counters.open()

    def lock_is_held(self) -> bool:
        """Whether any process has a turn now; if not, an unfinished commit has lost its writer.

        Raises StorageUnavailableError.
        """
        try:
            return self._lock.is_held_by_somebody()
        except OSError as error:
            raise unavailable(error, self._root) from error

    def close(self) -> None:
        """Let go of the lock for good."""
        self._lock.close()

    def _give_way(self, turns: int) -> None:
        """Wait until somebody else has had the lock; not long, since whoever wished for it may have given up."""
        for _ in range(_COURTESIES):
            time.sleep(_COURTESY_SECONDS)
            with suppress(OSError):
                if self._counters.read().lock_acquisitions != turns:
                    return

    def _acquire(self) -> None:
        try:
            self._check()
            try:
                self._lock.acquire(self._timeout_seconds, waiting=self._wish)
            except FileNotFoundError:
                # the control directory was deleted while the store was open
                self._prepare()
                self._lock.acquire(self._timeout_seconds, waiting=self._wish)
        except StorageError:
            raise
        except OSError as error:
            raise unavailable(error, self._root) from error

    def _wish(self) -> None:
        with suppress(OSError):
            # unheard it takes longer, and no more
            self._counters.increase("lock_requests")
