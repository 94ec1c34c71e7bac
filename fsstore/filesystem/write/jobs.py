"""What the writer is to do, in the order of its coming: the queue between all callers and the one thread.

Invariants:
- Behind the last job, `Stop`, nothing of a caller is done. What gets there all the same, since it was being put there
  while the queue was stopped, is refused: by the writer at its end, or after that by whoever has put it there.
- The writer itself may put something behind the last job, which it does before it ends.
- Nobody waits here: else a signal handler might wait for another thread, and that for the caller that the handler has
  interrupted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeAlias

from fsstore.errors import StorageClosedError
from fsstore.filesystem.documents.sealed import Sealed
from fsstore.filesystem.threads import answer, next_in

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
        self.is_stopped = self._is_ended = False
        self._root = root
        self._queue: SimpleQueue[Job] = SimpleQueue()

    def put(self, job: Commit | Call | LookAfterLog) -> None:
        """Queue a job. Raises StorageClosedError behind the last one, or has the job's future raise it."""
        if self.is_stopped:
            raise StorageClosedError(path=self._root)
        self._queue.put(job)
        if self._is_ended:
            # the writer may have looked for the last time before this was there
            self._refuse_left()

    def put_own(self, job: Call | LookAfterLog) -> None:
        """Queue a job of the writer's own, also when it is about to stop."""
        self._queue.put(job)

    def stop(self, afterwards: Callable[[], None]) -> None:
        """Queue the last job."""
        self.is_stopped = True
        self._queue.put(Stop(afterwards))

    def end(self) -> None:
        """Refuse what has come behind the last job, and what still comes: nobody will do it."""
        self._is_ended = True
        self._refuse_left()

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

    def refuse(self, job: Job | None) -> None:
        """Answer whoever waits for a job that it came too late."""
        error = StorageClosedError(path=self._root)
        if isinstance(job, Commit):
            answer([(job.future, error)])
        elif isinstance(job, Call) and job.future.set_running_or_notify_cancel():
            job.future.set_exception(error)

    def _refuse_left(self) -> None:
        """Refuse what is in the queue, of which several threads may take now."""
        with suppress(Empty):
            while True:
                self.refuse(self._queue.get_nowait())
