"""The writer: one thread per open store, its queue, and the store lock around each group of commits.

Owns when things are written. A commit is a message to this thread: cancelling whoever waits for it neither stops it nor
releases the lock early. Invariants:
- Everything under the lock happens in one call of one plain function, `_hold` or `_locked`, in this thread.
- Commits that queue up while a group is written make up the next group, in the order of their coming, and share its
  sync. The groups that follow each other soon share the lock, and the update of the index.
- Whoever gets the lock and finds that the one before it died in mid-commit recovers first. The lock is released when
  the index has everything, or is known not to.

A crash of the process is a crash of this thread: see `commit` for what each step leaves behind.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeAlias, TypeVar

from fsstore.errors import StorageClosedError, StorageError, StorageTimeoutError, StorageUnavailableError
from fsstore.filesystem.disk.system import unavailable
from fsstore.filesystem.documents.documents import Documents
from fsstore.filesystem.documents.sealed import Sealed
from fsstore.filesystem.documents.skeleton import check_control, prepare_control
from fsstore.filesystem.log.checkpoint import BusyError, Checkpoint, Checkpoints
from fsstore.filesystem.log.counters import Counters
from fsstore.filesystem.log.lock import StoreLock
from fsstore.filesystem.log.log import NotSyncedError
from fsstore.filesystem.log.presence import Presence
from fsstore.filesystem.log.recovery import Recovery
from fsstore.filesystem.threads import answer
from fsstore.filesystem.write.commit import Committer, Note, UnfinishedError
from fsstore.filesystem.write.failures import Failures

_logger = logging.getLogger("fsstore")
T = TypeVar("T")

_GROUP_CHANGES = 64
_IDLE_SECONDS = 1.0
_SEGMENT_BYTES = 16 << 20
_TRIES = 10


class _Commit(NamedTuple):
    changes: Sequence[Sealed]
    future: asyncio.Future[Any]
    since: float


class _Call(NamedTuple):
    run: Callable[[], Any]
    future: Future[Any]
    since: float
    is_tidying: bool = False


class _LookAfterLog:
    """Somebody has left a log: a checkpoint is due, as after a commit."""


class _Stop(NamedTuple):
    afterwards: Callable[[], None]


_Job: TypeAlias = _Commit | _Call | _LookAfterLog | _Stop
_WORK = (_Commit, _Call)


class Writer:
    """The writer thread of one open store."""

    def __init__(
        self,
        committer: Committer,
        recovery: Recovery,
        checkpoint: Checkpoint,
        lock: StoreLock,
        *,
        counters: Counters,
        presence: Presence,
        documents: Documents,
        lock_timeout_seconds: float,
    ) -> None:
        tree = documents.tree
        self._committer = committer
        self._recovery = recovery
        self._failures = Failures(committer, recovery, counters, documents)
        self._root = str(tree.root)
        # whether this open store has put anything into the log that no checkpoint has begun with
        self._has_logged = False
        self.checkpoints = Checkpoints(
            checkpoint,
            self._tidying,
            self._recover_documents,
            root=self._root,
            timeout_seconds=lock_timeout_seconds,
        )
        self._lock = lock
        self._counters = counters
        self._presence = presence
        self._tree = tree
        self._store_root = documents.root
        # of the directory that the lock was taken in; None once that is not there any more
        self._identity: tuple[int, int] | None = None
        self._timeout_seconds = lock_timeout_seconds
        # since when no job has got the lock; None while it is not waited for
        self._waiting_since: float | None = None
        self._queue: SimpleQueue[_Job] = SimpleQueue()
        self._stopped = False
        # of a thread, not of a call: a collector of garbage may come in between
        self._stopping = threading.RLock()
        self._thread = threading.Thread(target=self._run, name="fsstore-writer", daemon=True)
        # for those who watch: how many groups were begun, and of how many it was told what they did
        self.begun = self.told = 0
        self._tell: Callable[[list[Note]], None] | None = None

    def start(self) -> None:
        """Begin to work. Raises StorageUnavailableError when the system has no thread to give."""
        try:
            self._thread.start()
        except RuntimeError as error:
            raise StorageUnavailableError(
                reason=f"no thread could be started: {error}", path=self._root, advice="try again with fewer threads"
            ) from error

    def commit(self, changes: Sequence[Sealed]) -> asyncio.Future[Any]:
        """Queue a commit; the future, of the running loop, gets its outcomes."""
        future = asyncio.get_running_loop().create_future()
        self._put(_Commit(changes, future, time.monotonic()))
        return future

    def call(self, run: Callable[[], T]) -> Future[T]:
        """Queue a function that runs under the store lock, between commits."""
        future: Future[T] = Future()
        self._put(_Call(run, future, time.monotonic()))
        return future

    def tidy(self, run: Callable[[], T]) -> Future[T]:
        """Do the same for what nobody waits for: `stop` does not let it wait for the lock."""
        future: Future[T] = Future()
        self._put(_Call(run, future, time.monotonic(), is_tidying=True))
        return future

    def look_after_log(self) -> None:
        """Have a log that somebody has left checkpointed; where the lock is taken, that is theirs to do."""
        self._put(_LookAfterLog())

    def tell(self, tell: Callable[[list[Note]], None] | None) -> None:
        """Have a function called, in the writer thread, with what each later group of commits has done; None ends it.

        Whoever has read a document when `begun` was n knows every own write that may show in it once `told` is n.
        """
        self._tell = tell

    def stop(self) -> None:
        """Do what is queued, checkpoint, and end; waits for the thread. Later jobs raise StorageClosedError."""
        self.stop_later(lambda: None)
        self._thread.join()

    def stop_later(self, afterwards: Callable[[], None]) -> None:
        """Do the same without waiting; the thread runs a function at its very end."""
        with self._stopping:
            self._stopped = True
            self._queue.put(_Stop(afterwards))

    def _put(self, job: _Commit | _Call | _LookAfterLog) -> None:
        # behind the last job nobody would answer
        with self._stopping:
            if self._stopped:
                raise StorageClosedError(path=self._root)
            self._queue.put(job)

    @property
    def is_holding(self) -> bool:
        """Whether this process holds the lock now, the part included in which the index is brought up to date."""
        return self._lock.is_held

    def lock_is_held(self) -> bool:
        """Whether any process is in a critical section now; if not, an unfinished commit has lost its writer.

        Raises StorageUnavailableError.
        """
        try:
            return self._again_where_removed(self._lock.is_held_by_somebody)
        except OSError as error:
            self._store_root.check()
            raise unavailable(error, self._root) from error

    def _again_where_removed(self, run: Callable[[], T]) -> T:
        """Run what finds the control directory gone once that is made again; it may go at any moment."""
        for _ in range(_TRIES):
            with suppress(FileNotFoundError):
                return run()
            prepare_control(self._tree)
        return run()

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        job: _Job | None = None
        while not isinstance(job, _Stop):
            if job is None:
                job = self._next(_IDLE_SECONDS if self.checkpoints.is_due else None)
            self.checkpoints.is_due |= job is not None
            is_idle = job is None
            if isinstance(job, _WORK):
                job = self._hold(job)
            elif isinstance(job, _LookAfterLog):
                job = None
            if is_idle or self._committer.segment_bytes >= _SEGMENT_BYTES:
                self._begin_checkpoint(idle=is_idle)
        try:
            self._finish()
        finally:
            job.afterwards()

    def _next(self, timeout_seconds: float | None) -> _Job | None:
        try:
            return self._queue.get(timeout=timeout_seconds)
        except Empty:
            return None

    def _hold(self, first: _Commit | _Call) -> _Job | None:
        """Do a job, and what follows it soon, under the store lock: the critical section, whole.

        Returns the job that comes after, if one was taken from the queue.
        """
        job: _Job | None = first
        try:
            self._acquire(self._left_seconds(first.since), partial(self._is_pointless, first))
            self._waiting_since = None
        except Exception as error:  # noqa: BLE001 - it must reach those who wait, and the thread lives on
            return self._refuse(first, error)
        try:
            while isinstance(job, _WORK):
                job = self._do(job)
                is_full = self._committer.segment_bytes >= _SEGMENT_BYTES
                if is_full or self._identity is None or self._lock.is_due(self._committer.state):
                    break
                job = job or self._next(self._lock.linger_seconds(self._committer.state))
            return job
        finally:
            self._release()

    def _is_pointless(self, job: _Commit | _Call) -> bool:
        """Whether nobody waits for a job any more. A commit counts, whoever has cancelled the wait for it."""
        return isinstance(job, _Call) and (job.future.cancelled() or (job.is_tidying and self._stopped))

    def _left_seconds(self, since: float) -> float:
        """Return how long a job that was queued then may still wait for the lock: it has waited while others did."""
        now = time.monotonic()
        if self._waiting_since is None:
            self._waiting_since = now
        return max(self._timeout_seconds - (now - max(since, self._waiting_since)), 0.0)

    def _tidying(self, run: Callable[[], T]) -> T:
        """Run the beginning of a checkpoint under the lock, which is waited for only if own commits are in the log.

        Raises BusyError where it is not waited for.
        """
        try:
            self._acquire(self._timeout_seconds if self._has_logged else 0)
        except StorageTimeoutError as error:
            if self._has_logged:
                raise
            raise BusyError from error
        try:
            result = run()
            self._has_logged = False
            return result
        finally:
            self._release()

    def _acquire(self, timeout_seconds: float, is_pointless: Callable[[], bool] | None = None) -> None:
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

    def _check_root(self) -> None:
        """Raise StorageUnavailableError if the store has gone since the lock was taken, or is another one now."""
        taken_in, self._identity = self._identity, None
        if self._store_root.check() != taken_in:
            raise StorageUnavailableError(
                reason="another directory was put in the place of the store",
                path=self._root,
                advice="try again; what is in the directory now is used then",
            )
        self._identity = taken_in

    def _take(self, timeout_seconds: float, is_pointless: Callable[[], bool] | None) -> None:
        self._lock.acquire(timeout_seconds, is_pointless)
        try:
            self._identity = self._store_root.check()
            self._counters.open()
            self._presence.renew(timeout_seconds=self._timeout_seconds)
            self._committer.settle(renewed=self._counters.mend())
            self._lock.begin(self._committer.state)
        except BaseException:
            self._lock.release()
            raise

    def locks_directory(self) -> bool:
        """Whether the lock guards against whoever removes the control directory."""
        # since it may not have been tried yet; health is reported also when it is bad
        with suppress(StorageUnavailableError):
            self.lock_is_held()
        return self._lock.is_of_directory

    def _release(self) -> None:
        try:
            self._check_root()
            self._committer.end()
        except StorageUnavailableError:
            # the index that is there now, if any, is not the one that lacks these rows
            self._committer.abandon()
        finally:
            self._lock.release()

    def _do(self, job: _Commit | _Call) -> _Job | None:
        """Do a job; returns the next one if it was taken from the queue."""
        if isinstance(job, _Call):
            self._do_call(job)
            return None
        following = self._do_group(job)
        self._committer.pass_on()
        return following

    def _refuse(self, job: _Commit | _Call, error: Exception) -> _Job | None:
        if isinstance(job, _Call):
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(error)
            return None
        group, following = self._group(job)
        self._answer(group, [error] * len(group))
        return following

    def _group(self, first: _Commit) -> tuple[list[_Commit], _Job | None]:
        """Return the commits that are waiting, and the first job that is none of them."""
        group, changes = [first], len(first.changes)
        # nobody else takes from it
        while changes < _GROUP_CHANGES and not self._queue.empty():
            job = self._queue.get_nowait()
            if not isinstance(job, _Commit):
                return group, job
            group.append(job)
            changes += len(job.changes)
        return group, None

    def _do_group(self, first: _Commit) -> _Job | None:
        group, following = self._group(first)
        self.begun += 1
        tell, self._committer.notes = self._tell, None if self._tell is None else []
        try:
            commits = [commit.changes for commit in group]
            self._check_root()
            try:
                results: Sequence[Any] = self._committer.run(commits)
            except (UnfinishedError, OSError) as error:
                results = self._failures.results(commits, error)
        except Exception as error:  # noqa: BLE001 - it must reach those who wait, and the thread lives on
            self._committer.abandon()
            results = [error] * len(group)
        self._has_logged |= self._committer.segment_bytes > 0
        if tell is not None and self._committer.notes:
            self._tell_notes(tell, self._committer.notes)
        self.told = self.begun
        self._answer(group, results)
        return following

    def _tell_notes(self, tell: Callable[[list[Note]], None], notes: list[Note]) -> None:
        try:
            tell(notes)
        except Exception:
            # who watches finds it by looking; who waits for the commit must be answered
            _logger.exception("a commit could not be reported to those who watch %s", self._root)

    def _answer(self, group: list[_Commit], results: Sequence[Any]) -> None:
        answer(zip((commit.future for commit in group), results, strict=True))

    def _do_call(self, job: _Call) -> None:
        if not job.future.set_running_or_notify_cancel():
            # whoever asked has gone, and a cancelled future takes no answer
            return
        try:
            self._check_root()
            self._committer.finish()
            self._committer.settle()
            job.future.set_result(job.run())
        except StorageError as error:
            # one of them is an OSError, too
            job.future.set_exception(error)
        except OSError as error:
            job.future.set_exception(unavailable(error, self._root))
        except Exception as error:  # noqa: BLE001 - the same
            job.future.set_exception(error)

    def _begin_checkpoint(self, *, idle: bool) -> None:
        if not self.checkpoints.is_running:
            self._committer.segment_bytes = 0
            self.checkpoints.begin(idle=idle)
        if idle:
            self._committer.rest()

    def _recover_documents(self, error: NotSyncedError) -> None:
        """Have documents that a checkpoint could not sync written anew from the log."""
        self._recovery.distrusts_syncs |= not error.is_noted
        # whoever takes the lock does it first, unless another process was faster; put there also when the writer is
        # about to stop: it does what is queued before it ends
        self._queue.put(_Call(lambda: None, Future(), time.monotonic()))

    def _finish(self) -> None:
        self.checkpoints.finish()
        while not self._queue.empty():
            job = self._queue.get_nowait()
            if isinstance(job, _Call):
                self._hold(job)
        self._committer.rest()
        if self.begun:
            # without a log no checkpoint has kept it
            with suppress(OSError):
                self._counters.keep_floor()
        self._lock.close()
