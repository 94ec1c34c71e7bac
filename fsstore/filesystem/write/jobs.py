"""What the writer is to do, in the order of its coming: the queue between all callers and the one thread.

Invariants: behind the last job, `Stop`, nothing of a caller is queued, since nobody would answer it; only the writer
itself may put something there, which it does before it ends.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeAlias

from fsstore.errors import StorageClosedError
from fsstore.filesystem.documents.sealed import Sealed
from fsstore.filesystem.threads import next_in

_GROUP_CHANGES = 64


class Commit(NamedTuple):
    """Changes that are made as one; the future gets their outcomes."""

    changes: Sequence[Sealed]
    future: asyncio.Future[Any]
    since: float


class Call(NamedTuple):
    """A function that runs under the store lock."""

    run: Callable[[], Any]
    future: Future[Any]
    since: float
    is_tidying: bool = False


class LookAfterLog:
    """Somebody has left a log: a checkpoint is due, as after a commit."""


class Stop(NamedTuple):
    """The last job; the function is called at the very end of the thread."""

    afterwards: Callable[[], None]


Job: TypeAlias = Commit | Call | LookAfterLog | Stop


class Jobs:
    """The queue of one writer."""

    def __init__(self, root: str) -> None:
        self.is_stopped = False
        self._root = root
        self._queue: SimpleQueue[Job] = SimpleQueue()
        # of a thread, not of a call: a collector of garbage may come in between
        self._stopping = threading.RLock()

    def put(self, job: Commit | Call | LookAfterLog) -> None:
        """Queue a job. Raises StorageClosedError behind the last one."""
        with self._stopping:
            if self.is_stopped:
                raise StorageClosedError(path=self._root)
            self._queue.put(job)

    def put_own(self, job: Call | LookAfterLog) -> None:
        """Queue a job of the writer's own, also when it is about to stop."""
        self._queue.put(job)

    def stop(self, afterwards: Callable[[], None]) -> None:
        """Queue the last job."""
        with self._stopping:
            self.is_stopped = True
            self._queue.put(Stop(afterwards))

    def next(self, timeout_seconds: float | None) -> Job | None:
        """Return the next job; None when none has come in that time."""
        try:
            return self._queue.get() if timeout_seconds is None else next_in(self._queue, timeout_seconds)
        except Empty:
            return None

    def group(self, first: Commit) -> tuple[list[Commit], Job | None]:
        """Return the commits that are waiting, and the first job that is none of them."""
        group, changes = [first], len(first.changes)
        # nobody else takes from it
        while changes < _GROUP_CHANGES and not self._queue.empty():
            job = self._queue.get_nowait()
            if not isinstance(job, Commit):
                return group, job
            group.append(job)
            changes += len(job.changes)
        return group, None

    def left(self) -> Iterator[Job]:
        """Give what is in the queue, without waiting."""
        while not self._queue.empty():
            yield self._queue.get_nowait()
