"""One read of many documents on one side of each batch, while batches go on.

Used in a reader thread, which it may keep waiting. A read looks here from time to time, reads again what batches have
touched meanwhile, and is done when nothing is left. Invariants:
- A document that a batch has touched after the beginning is read again when all of that batch is in place.
- Documents are read without the store lock. Only where batches come faster than they can be read again the writers are
  asked to pause, for as long as it takes to read what the latest of them have touched.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from fsstore.errors import StorageTimeoutError
from fsstore.filesystem.log.counters import UNNAMED
from fsstore.filesystem.open_store import OpenStore

_POLL_SECONDS = 0.0005
_POLLS_A_LOOK = 20
_ROUNDS_BEFORE_PAUSE, _MOST_ROUNDS = 8, 100
_FEW = 100


class OutdatedError(Exception):
    """What has been read cannot be brought up to date: the read must begin anew."""


class Isolation:
    """What one read knows of the batches since its beginning."""

    def __init__(self, store: OpenStore, before: int, *, begun: Callable[[], bool] = lambda: True) -> None:
        """`before` is the counter `applying`, even, at the beginning; `begun` whether the index is the one awaited."""
        self._store = store
        self._number = before
        self._begun = begun
        self._touched: set[str] = set()
        self._rounds = 0
        self._left: int | None = None
        # never read where they were found first: another version of them counts
        self.read_again: set[str] = set()

    def begin(self) -> None:
        """Note that the state of the index that is read has been fixed. Raises OutdatedError if it is another's."""
        if not self._begun():
            raise OutdatedError

    def look(self) -> None:
        """Learn what batches have touched since the last look; waits for nothing. Raises OutdatedError."""
        last = self._store.counters.applying()
        if not last & 1:
            self._learn(last)

    def _learn(self, last: int) -> None:
        """Learn what batches have touched up to the even number `last`."""
        if last == self._number:
            return
        touched = self._store.batches.since(self._number, last)
        if touched is None:
            raise OutdatedError
        self._number = last
        self._touched |= touched
        self.read_again |= touched

    def touched(self) -> set[str]:
        """Return the names of what must be read again, once no batch is being put in place; none: the read is done.

        Raises OutdatedError, StorageTimeoutError.
        """
        # the number that was awaited, since the next batch may have begun by now
        self._learn(self._await_applied())
        touched, self._touched = self._touched, set()
        self._rounds += bool(touched)
        if self._rounds > _MOST_ROUNDS:
            raise self._timeout("a moment without batches")
        return touched

    def is_outrun(self, left: int) -> bool:
        """Whether the writers must pause; `left` documents are to be read now."""
        before, self._left = self._left, left
        is_growing = before is not None and left > max(before, _FEW)
        return self._store.writer is not None and (is_growing or self._rounds >= _ROUNDS_BEFORE_PAUSE)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Have the writers wait, no longer than a writer may wait for the lock. Raises StorageTimeoutError."""
        writer = self._store.writer
        if writer is None:
            raise self._timeout("a moment without batches")
        has_answer, done = threading.Event(), threading.Event()

        def pause() -> None:
            has_answer.set()
            done.wait(self._store.options.lock_timeout_seconds)

        pausing: Future[None] = writer.call(pause)
        pausing.add_done_callback(lambda _: has_answer.set())
        try:
            has_answer.wait()
            if pausing.done():
                # the lock was not to be had
                pausing.result()
            yield
        finally:
            done.set()

    def _await_applied(self) -> int:
        """Wait until no batch is being put in place, and return the counter as it was then."""
        writer = self._store.writer
        deadline, looks = time.monotonic() + self._store.options.lock_timeout_seconds, 0
        while (applying := self._store.counters.applying()) & 1:
            if applying == UNNAMED:
                # somebody has removed them, and whoever begins anew has them made again
                raise OutdatedError
            looks += 1
            if looks % _POLLS_A_LOOK == 0 and writer is not None and not writer.lock_is_held():
                # its writer has died, and whoever begins anew recovers first
                raise OutdatedError
            if time.monotonic() >= deadline:
                raise self._timeout("the end of a commit")
            time.sleep(_POLL_SECONDS)
        return applying

    def _timeout(self, what: str) -> StorageTimeoutError:
        return StorageTimeoutError(
            reason=what,
            path=str(self._store.tree.root),
            timeout_seconds=self._store.options.lock_timeout_seconds,
        )


class Undisturbed(Isolation):
    """Of a read by who may not write: it is made again as a whole if anything was put in place meanwhile."""

    def look(self) -> None:
        """Learn nothing."""

    def touched(self) -> set[str]:
        """Return nothing: the read is done."""
        return set()
