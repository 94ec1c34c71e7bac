"""The checkpoint: brings what the log holds to its places on disk, so that the log can go.

The log's newest segment is sealed under the store lock; then, outside of it, the documents that sealed segments name
are synced, their directories too, and the segments are deleted, the oldest first. A crash at any step leaves segments
whose documents are the same or newer: they are replayed or deleted later. A document that cannot be synced keeps its
segment alive, and is written anew from it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from fsstore.filesystem.documents.documents import Documents, directories_of
from fsstore.filesystem.log.counters import Counters
from fsstore.filesystem.log.log import Log, NotSyncedError
from fsstore.filesystem.threads import submitted

_logger = logging.getLogger("fsstore")
_SYNCING_THREADS = 16
_ALONE = 4


class BusyError(Exception):
    """Somebody has the store lock, and a checkpoint is not worth waiting for: the log holds nothing of one's own."""


class Checkpoint:
    """Empties the log of one store."""

    def __init__(self, documents: Documents, log: Log, counters: Counters) -> None:
        self._documents = documents
        self._log = log
        self._counters = counters

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

    def run(self) -> None:
        """Sync what sealed segments hold and delete them; needs no lock.

        Raises OSError when the disk refuses, and the segments stay. After NotSyncedError recovery must write those
        documents anew.
        """
        sealed = self._counters.read().sealed
        numbers = [number for number in self._log.numbers() if number <= sealed]
        changes = [change for segment in self._log.read(numbers) for change in segment.changes]
        durable = {change.id for change in changes if change.durable}
        try:
            sync_documents(self._documents, durable)
        except OSError as error:
            raise NotSyncedError(error, ids=durable) from error
        self._counters.keep_floor()
        for number in numbers:
            self._log.delete(number)
        if self._counters.read().deleted < sealed:
            self._counters.write(deleted=sealed)


class Checkpoints:
    """Runs the checkpoints of one open store, one at a time, each in a thread beside the writer; used by the writer."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        locked: Callable[[Callable[[], bool]], bool],
        recover: Callable[[set[str]], None],
        *,
        root: str,
    ) -> None:
        """`locked` runs a function under the store lock; `recover` has documents written anew that were not synced."""
        self._checkpoint = checkpoint
        self._locked = locked
        self._recover = recover
        self._root = root
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
            self._sync()

    def _seal(self) -> bool:
        if not self._checkpoint.is_needed:
            # whatever stood in the way is gone; and the lock, which somebody may keep for long, is not waited for
            self.error = ""
            return False
        try:
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

    def _sync(self) -> None:
        try:
            self._checkpoint.run()
            self.error = ""
        except OSError as error:
            self.error = str(error)
            self.is_due = True
            _logger.warning("the log of %s stays, since its documents could not be synced: %s", self._root, error)
            if isinstance(error, NotSyncedError):
                self._recover(error.ids)


def sync_documents(documents: Documents, record_ids: Iterable[str]) -> None:
    """Bring documents, and the directories that name them, to the disk; many at a time, so that they share the wait."""
    names = [documents.name(record_id) for record_id in record_ids]
    if not names:
        return
    directories = {directory for name in names for directory in directories_of(name)}
    if len(names) <= _ALONE:
        _sync_all(documents, names, directories)
        return
    with ThreadPoolExecutor(_SYNCING_THREADS, thread_name_prefix="fsstore-sync") as threads:
        # the results are fetched, since a failure must be raised
        for synced in [submitted(threads, _sync, documents, name) for name in names]:
            synced.result()
        there = list(filter(documents.tree.is_directory, directories))
        for synced in [submitted(threads, documents.tree.sync_directory, name) for name in there]:
            synced.result()
    documents.tree.sync_directory()


def _sync_all(documents: Documents, names: list[str], directories: set[str]) -> None:
    for name in names:
        _sync(documents, name)
    for directory in filter(documents.tree.is_directory, directories):
        documents.tree.sync_directory(directory)
    documents.tree.sync_directory()


def _sync(documents: Documents, name: str) -> None:
    try:
        documents.tree.sync(name)
    except FileNotFoundError:
        # deleted since; its directory is synced, and that is what counts
        return
