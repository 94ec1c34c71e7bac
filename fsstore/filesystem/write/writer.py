"""The writer: one thread per open store, which takes jobs from its queue and does each under the store lock.

Owns when things are written. A commit is a message to this thread: cancelling whoever waits for it neither stops it nor
releases the lock early. Invariants:
- Everything under the lock happens in one call of one plain function, `_hold` or `_tidying`, in this thread.
- Commits that queue up while a group is written make up the next group, in the order of their coming, and share its
  sync. The groups that follow each other soon share the lock, and the update of the index.
- What the lock guards, and what is done when it is taken and released, is in `critical_section`.

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
from typing import Any, TypeVar

from fsstore.errors import StorageError, StorageTimeoutError, StorageUnavailableError
from fsstore.filesystem.disk.system import unavailable
from fsstore.filesystem.documents.sealed import Sealed
from fsstore.filesystem.log.checkpoint import BusyError, Checkpoint, Checkpoints
from fsstore.filesystem.log.counters import Counters
from fsstore.filesystem.log.log import NotSyncedError
from fsstore.filesystem.log.recovery import Recovery
from fsstore.filesystem.threads import answer
from fsstore.filesystem.write.commit import Committer, Note, UnfinishedError
from fsstore.filesystem.write.critical_section import CriticalSection
from fsstore.filesystem.write.failures import Failures
from fsstore.filesystem.write.jobs import Call, Commit, Job, Jobs, LookAfterLog, Stop

_logger = logging.getLogger("fsstore")
T = TypeVar("T")

_IDLE_SECONDS = 1.0
_SEGMENT_BYTES = 16 << 20
_WORK = (Commit, Call)
_MANY, _PAUSE_SECONDS = 64, 0.0002


class Writer:
    """The writer thread of one open store."""

    def __init__(
        self,
        section: CriticalSection,
        committer: Committer,
        recovery: Recovery,
        failures: Failures,
        checkpoint: Checkpoint,
        *,
        counters: Counters,
        root: str,
        lock_timeout_seconds: float,
    ) -> None:
        self.section = section
        self._committer = committer
        self._recovery = recovery
        self._failures = failures
        self._counters = counters
        self._root = root
        # whether this open store has put anything into the log that no checkpoint has begun with
        self._has_logged = False
        self.checkpoints = Checkpoints(
            checkpoint,
            self._tidying,
            self._recover_documents,
            wake=self._wake,
            root=self._root,
            timeout_seconds=lock_timeout_seconds,
        )
        self._timeout_seconds = lock_timeout_seconds
        # since when no job has got the lock; None while it is not waited for
        self._waiting_since: float | None = None
        self._jobs = Jobs(root)
        self._thread = threading.Thread(target=self._run, name="fsstore-writer", daemon=True)
        # for those who watch: how many groups were begun, and of how many it was reported what they did
        self.begun = self.reported = 0
        self._report: Callable[[list[Note]], None] | None = None

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
        self._jobs.put(Commit(changes, future, time.monotonic()))
        return future

    def call(self, run: Callable[[], T]) -> Future[T]:
        """Queue a function that runs under the store lock, between commits."""
        future: Future[T] = Future()
        self._jobs.put(Call(run, future, time.monotonic()))
        return future

    def tidy(self, run: Callable[[], T]) -> Future[T]:
        """Do the same for what nobody waits for: `stop` does not let it wait for the lock."""
        future: Future[T] = Future()
        self._jobs.put(Call(run, future, time.monotonic(), is_tidying=True))
        return future

    def look_after_log(self) -> None:
        """Have a log that somebody has left checkpointed; where the lock is taken, that is theirs to do."""
        self._jobs.put(LookAfterLog())

    def report_to(self, report: Callable[[list[Note]], None] | None) -> None:
        """Have a function called, in the writer thread, with what each later group of commits has done; None ends it.

        After a document was read when `begun` was n, every own write that may show in it is reported once `reported`
        is n.
        """
        self._report = report

    def stop(self) -> None:
        """Do what is queued, checkpoint, and end; waits for the thread. Later jobs raise StorageClosedError."""
        self.stop_later(lambda: None)
        self._thread.join()

    def stop_later(self, afterwards: Callable[[], None]) -> None:
        """Do the same without waiting; the thread runs a function at its very end."""
        self._jobs.stop(afterwards)

    @property
    def is_holding(self) -> bool:
        """See `CriticalSection.is_held`."""
        return self.section.is_held

    def lock_is_held(self) -> bool:
        """See `CriticalSection.is_held_by_somebody`."""
        return self.section.is_held_by_somebody()

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        job: Job | None = None
        while not isinstance(job, Stop):
            if job is None:
                job = self._jobs.next(_IDLE_SECONDS if self.checkpoints.is_due else None)
            self.checkpoints.is_due |= job is not None
            is_idle = job is None
            if isinstance(job, _WORK):
                job = self._hold(job)
            elif isinstance(job, LookAfterLog):
                job = None
            if is_idle or self._committer.segment_bytes >= _SEGMENT_BYTES:
                self._begin_checkpoint(idle=is_idle)
        try:
            self._finish()
        finally:
            self._jobs.end()
            job.afterwards()

    def _hold(self, first: Commit | Call) -> Job | None:
        """Do a job, and what follows it soon, under the store lock: the critical section, whole.

        Returns the job that comes after, if one was taken from the queue.
        """
        job: Job | None = first
        try:
            self.section.acquire(self._left_seconds(first.since), partial(self._is_pointless, first))
            self._waiting_since = None
        except Exception as error:  # noqa: BLE001 - it must reach those who wait, and the thread lives on
            return self._refuse(first, error)
        try:
            while isinstance(job, _WORK):
                job = self._do(job)
                is_full = self._committer.segment_bytes >= _SEGMENT_BYTES
                if is_full or self.section.is_over():
                    break
                job = job or self._jobs.next(self.section.linger_seconds())
            return job
        finally:
            self.section.release()

    def _is_pointless(self, job: Commit | Call) -> bool:
        """Whether nobody waits for a job any more. A commit counts, whoever has cancelled the wait for it."""
        return isinstance(job, Call) and (job.future.cancelled() or (job.is_tidying and self._jobs.is_stopped))

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
            self.section.acquire(self._timeout_seconds if self._has_logged else 0)
        except StorageTimeoutError as error:
            if self._has_logged:
                raise
            raise BusyError from error
        try:
            result = run()
            self._has_logged = False
            return result
        finally:
            self.section.release()

    def _do(self, job: Commit | Call) -> Job | None:
        """Do a job; returns the next one if it was taken from the queue."""
        if isinstance(job, Call):
            self._do_call(job)
            return None
        following = self._do_group(job)
        if len(job.changes) > _MANY:
            # else whoever was answered would wait for the interpreter until all of it is tidied up
            time.sleep(_PAUSE_SECONDS)
        self._committer.pass_on()
        return following

    def _refuse(self, job: Commit | Call, error: Exception) -> Job | None:
        if isinstance(job, Call):
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(error)
            return None
        group, following = self._jobs.group(job)
        answer((commit.future, error) for commit in group)
        return following

    def _do_group(self, first: Commit) -> Job | None:
        group, following = self._jobs.group(first)
        self.begun += 1
        report, self._committer.notes = self._report, None if self._report is None else []
        try:
            commits = [commit.changes for commit in group]
            self.section.check_root()
            try:
                results: Sequence[Any] = self._committer.run(commits)
            except (UnfinishedError, OSError) as error:
                results = self._failures.results(commits, error)
        except Exception as error:  # noqa: BLE001 - it must reach those who wait, and the thread lives on
            self._committer.abandon()
            results = [error] * len(group)
        self._has_logged |= self._committer.segment_bytes > 0
        if report is not None and self._committer.notes:
            self._report_notes(report, self._committer.notes)
        self.reported = self.begun
        answer(zip((commit.future for commit in group), results, strict=True))
        return following

    def _report_notes(self, report: Callable[[list[Note]], None], notes: list[Note]) -> None:
        try:
            report(notes)
        except Exception:
            # who watches finds it by looking; who waits for the commit must be answered
            _logger.exception("a commit could not be reported to those who watch %s", self._root)

    def _do_call(self, job: Call) -> None:
        if not job.future.set_running_or_notify_cancel():
            # whoever asked has gone, and a cancelled future takes no answer
            return
        try:
            self.section.check_root()
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

    def _wake(self) -> None:
        # also when the writer is about to stop, which takes no notice of it
        self._jobs.put_own(LookAfterLog())

    def _recover_documents(self, error: NotSyncedError) -> None:
        """Have documents that a checkpoint could not sync written anew from the log."""
        self._recovery.distrusts_syncs |= not error.is_noted
        # whoever takes the lock does it first, unless another process was faster; put there also when the writer is
        # about to stop: it does what is queued before it ends
        self._jobs.put_own(Call(lambda: None, Future(), time.monotonic()))

    def _finish(self) -> None:
        self.checkpoints.finish()
        for job in self._jobs.left():
            left: Job | None = job
            while isinstance(left, Call):
                left = self._hold(left)
            self._jobs.refuse(left)
        self._committer.rest()
        if self.begun:
            # without a log no checkpoint has kept it
            with suppress(OSError):
                self._counters.keep_floor()
        self.section.close()
