"""The checkpoint: brings what the log holds to its places on disk, so that the log can go.

The log's newest segment is sealed under the store lock; then, outside of it, the documents that sealed segments name
are synced, their directories too, and the segments are deleted, the oldest first. Invariants:
- One process at a time syncs documents and deletes segments: whoever holds the checkpoint lock.
- No segment goes unless every durable document in it was synced without an error. One that failed is noted in the
  counters (`unsynced`) before the checkpoint lock is released: whoever syncs the document again has success reported,
  whatever became of its bytes. Until recovery has written it anew, no checkpoint goes on, in no process. Whoever
  begins to sync says so before (`syncing`): if it is killed, the next one takes that for a failure.

A crash at any step leaves segments whose documents are the same or newer: they are replayed or deleted later.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial

from filelock import lock_descriptor, unlock_descriptor

from fsstore.errors import StorageTimeoutError
from fsstore.filesystem.disk.files import KEEP, Tree
from fsstore.filesystem.disk.signatures import identity_of
from fsstore.filesystem.documents.documents import Documents
from fsstore.filesystem.documents.layout import CHECKPOINT, directories_of
from fsstore.filesystem.log.counters import Counters
from fsstore.filesystem.log.log import Log, NotSyncedError
from fsstore.filesystem.threads import submitted
from fsstore.forking import tell_child

_logger = logging.getLogger("fsstore")
_SYNCING_THREADS = 16
_ALONE = 4
_POLL_SECONDS = 0.005


class CheckpointLock:
    """The lock of a store that makes one the only one who syncs its documents and deletes segments.

    Whoever has a sync fail must be able to say so before another one's sync of the same document succeeds.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._held: set[int] = set()
        tell_child(self)

    def in_child(self) -> None:
        """Close the descriptors, which are the parent's; what it has locked stays locked."""
        held, self._held = self._held, set()
        for descriptor in held:
            with suppress(OSError):
                os.close(descriptor)

    @contextmanager
    def taken(self, timeout_seconds: float, *, must: bool = False) -> Iterator[bool]:
        """Take the lock, waiting for it so long at most; gives whether it was taken.

        A crash releases it. Raises StorageTimeoutError if it `must` be taken and was not.
        """
        deadline = time.monotonic() + timeout_seconds
        while (descriptor := self._take()) is None:
            if time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
            elif must:
                raise StorageTimeoutError(
                    reason="the checkpoint of another process",
                    path=self._tree.path(CHECKPOINT),
                    timeout_seconds=timeout_seconds,
                )
            else:
                yield False
                return
        self._held.add(descriptor)
        try:
            yield True
        finally:
            self._held.discard(descriptor)
            # closing releases it too, but not what a child has inherited that was forked right now
            unlock_descriptor(descriptor)
            os.close(descriptor)

    def _take(self) -> int | None:
        # a descriptor of its own, since those of one process do not exclude each other by the same
        descriptor = self._tree.open(CHECKPOINT, KEEP)
        try:
            is_locked = lock_descriptor(descriptor, blocking=False)
            if is_locked and identity_of(os.fstat(descriptor)) == self._tree.identity(CHECKPOINT):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None


class BusyError(Exception):
    """Somebody has the store lock, and a checkpoint is not worth waiting for: the log holds nothing of one's own."""


class Checkpoint:
    """Empties the log of one store."""

    def __init__(self, documents: Documents, log: Log, counters: Counters) -> None:
        self._documents = documents
        self._log = log
        self._counters = counters
        self._lock = CheckpointLock(documents.tree)

    @property
    def is_needed(self) -> bool:
        """Whether the log holds anything, as far as a look without the lock can tell."""
        return not self._counters.read().log_is_empty

    def seal(self) -> bool:
        """Let the next commit begin a new segment, as the holder of the store lock; False when the log is empty."""
        state = self._counters.read()
        if state.log_is_empty:
            return False
        self._counters.write(sealed=state.newest)
        return True

    def run(self, *, timeout_seconds: float = 0.0) -> bool:
        """Sync what sealed segments hold and delete them; needs no store lock.

        False where another process is at it, and was not done in time. Raises NotSyncedError when a sync has failed,
        now or before: the segments stay, and recovery must write their documents anew; OSError when the disk refuses.
        """
        with self._lock.taken(timeout_seconds) as is_taken:
            if not is_taken:
                return False
            state = self._counters.read()
            if state.syncing > state.deleted:
                # whoever was at it was killed, and may have seen a sync fail
                self._counters.write(unsynced=max(state.syncing, state.unsynced), syncing=0)
                state = self._counters.read()
            if state.is_doubtful:
                raise NotSyncedError(OSError(errno.EIO, "a document could not be synced before"), is_noted=True)
            numbers = [number for number in self._log.numbers_left() if number <= state.sealed]
            # only which documents they name is asked
            segments = self._log.read(numbers, checked=False)
            if any(segment.damage for segment in segments):
                # which documents it speaks of is not known: recovery sets it aside
                raise NotSyncedError(
                    OSError(errno.EIO, "a segment is damaged"), is_noted=self._note_failure(state.sealed)
                )
            changes = [change for segment in segments for change in segment.changes]
            names = {self._documents.name(change.id) for change in changes if change.durable}
            self._counters.write(syncing=state.sealed)
            failed = sync_documents(self._documents, names)
            if failed:
                raise NotSyncedError(next(iter(failed.values())), is_noted=self._note_failure(state.sealed))
            self._counters.write(syncing=0)
            self._counters.keep_floor()
            for number in numbers:
                self._log.delete(number)
            if self._counters.read().deleted < state.sealed:
                self._counters.write(deleted=state.sealed)
            return True

    def _note_failure(self, sealed: int) -> bool:
        """Let every process know, before another one is let in, that a sync succeeding later proves nothing."""
        try:
            self._counters.write(unsynced=sealed, syncing=0)
        except OSError:
            return False
        return True


class Checkpoints:
    """Runs the checkpoints of one open store, one at a time, each in a thread beside the writer; used by the writer."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        locked: Callable[[Callable[[], bool]], bool],
        recover: Callable[[NotSyncedError], None],
        *,
        wake: Callable[[], None],
        root: str,
        timeout_seconds: float,
    ) -> None:
        """`locked` runs a function under the store lock; `recover` has documents written anew that were not synced.

        `wake` has the writer, which may wait for jobs without end, find out that one is due. `timeout_seconds` bounds
        the wait for another process's checkpoint in the last one.
        """
        self._checkpoint = checkpoint
        self._locked = locked
        self._recover = recover
        self._wake = wake
        self._root = root
        self._timeout_seconds = timeout_seconds
        self._syncing: threading.Thread | None = None
        # whether the log may hold something
        self.is_due = False
        self.error = ""

    @property
    def is_running(self) -> bool:
        """Whether one has begun that has not ended."""
        return self._syncing is not None and self._syncing.is_alive()

    def begin(self, *, idle: bool) -> None:
        """Begin one, unless the log is empty; where nothing else is to be done (`idle`), none is due until then."""
        self.is_due = not idle
        if not self._seal():
            return
        syncing = threading.Thread(target=self._sync, name="fsstore-checkpoint", daemon=True)
        try:
            syncing.start()
        except RuntimeError as error:
            # no more threads: the log stays until the next checkpoint
            self.error, self.is_due = str(error), True
        else:
            self._syncing = syncing

    def finish(self) -> None:
        """Wait for the one that runs, and do a last one in this thread if that is due."""
        if self._syncing is not None:
            self._syncing.join()
        if self.is_due and self._seal():
            self._sync(self._timeout_seconds)

    def _seal(self) -> bool:
        try:
            if not self._checkpoint.is_needed:
                # whatever stood in the way is gone; and the lock, which somebody may keep for long, is not waited for
                self.error = ""
                return False
            sealed = self._locked(self._checkpoint.seal)
        except BusyError:
            # the log may be left to whoever has the lock: tried again after the next second
            self.is_due = True
            return False
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread must live on
            # the log stays: tried again after the next second, and on close
            self.error, self.is_due = str(error), True
            return False
        if not sealed:
            # the log is empty: whatever stood in the way is gone
            self.error = ""
        return sealed

    def _sync(self, timeout_seconds: float = 0.0) -> None:
        try:
            if not self._checkpoint.run(timeout_seconds=timeout_seconds):
                # what another process's checkpoint leaves is due after the next second
                self._put_off()
            self.error = ""
        except OSError as error:
            # it is tried again every second, and the same error is no news
            level = logging.DEBUG if str(error) == self.error else logging.WARNING
            self.error = str(error)
            self._put_off()
            _logger.log(level, "the log of %s stays, since its documents could not be synced: %s", self._root, error)
            if isinstance(error, NotSyncedError):
                self._recover(error)

    def _put_off(self) -> None:
        # in this order, since the writer may have looked at it a moment ago
        self.is_due = True
        self._wake()


def sync_documents(documents: Documents, names: Collection[str]) -> dict[str, OSError]:
    """Bring documents, and the directories that name them, to the disk; many at a time, so that they share the wait.

    Returns those of which that failed, with the error: each is tried, and so is each directory.
    """
    if not names:
        return {}
    directories = {directory for name in names for directory in directories_of(name)}
    sync = partial(_sync, documents, documents.tree.sync)
    sync_directory = partial(_sync, documents, documents.tree.sync_directory)
    if len(names) <= _ALONE:
        failed = _failed(zip(names, map(sync, names), strict=True))
        failed_directories = _failed(zip(directories, map(sync_directory, directories), strict=True))
    else:
        with ThreadPoolExecutor(_SYNCING_THREADS, thread_name_prefix="fsstore-sync") as threads:
            synced = [submitted(threads, sync, name) for name in names]
            failed = _failed((name, each.result()) for name, each in zip(names, synced, strict=True))
            synced = [submitted(threads, sync_directory, directory) for directory in directories]
            failed_directories = _failed((name, each.result()) for name, each in zip(directories, synced, strict=True))
    failed_directories |= _failed([("", sync_directory(""))])
    for directory, error in failed_directories.items():
        failed |= {name: error for name in names if not directory or directory in directories_of(name)}
    return failed


def _failed(results: Iterable[tuple[str, OSError | None]]) -> dict[str, OSError]:
    return {name: error for name, error in results if error is not None}


def _sync(documents: Documents, sync: Callable[[str], None], name: str) -> OSError | None:
    """Sync a document or a directory; return the error where that has failed."""
    try:
        while True:
            try:
                sync(name)
            except FileNotFoundError:
                if not documents.is_absent(name):
                    # the store was away for a moment
                    continue
                # deleted since, or removed by git, as it was empty; the directory above is synced, and that counts
            return None
    except OSError as error:
        return error
