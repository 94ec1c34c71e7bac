"""The checkpoint: brings what the log holds to its places on disk, so that the log can go.

The log's newest segment is sealed under the store lock; then, outside of it, the documents that sealed segments name
are synced, their directories too, and the segments are deleted, the oldest first. A crash at any step leaves segments
whose documents are the same or newer: they are replayed or deleted later. A document that can not be synced keeps its
segment alive, and is written anew from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from fsstore.filesystem.documents import Documents, directories_of
from fsstore.filesystem.log import Log
from fsstore.filesystem.readers import submitted
from fsstore.filesystem.sequence import Sequence

_SYNCING_THREADS = 16
_ALONE = 4


class NotSyncedError(OSError):
    """Documents could not be synced; `ids` may be on disk or not, whatever a later sync says."""

    def __init__(self, cause: OSError, ids: set[str]) -> None:
        super().__init__(cause.errno, cause.strerror, cause.filename)
        self.ids = ids


class Checkpoint:
    """Empties the log of one store."""

    def __init__(self, documents: Documents, log: Log, sequence: Sequence) -> None:
        self._documents = documents
        self._log = log
        self._sequence = sequence

    def seal(self) -> bool:
        """Let the next commit begin a new segment, as the holder of the store lock; False when the log is empty."""
        state = self._sequence.read()
        if state.log_is_empty:
            return False
        self._sequence.write(sealed=state.newest)
        return True

    def run(self) -> None:
        """Sync what sealed segments hold and delete them; needs no lock.

        Raises OSError when the disk refuses, and the segments stay. After NotSyncedError recovery must write those
        documents anew.
        """
        sealed = self._sequence.read().sealed
        numbers = [number for number in self._log.numbers() if number <= sealed]
        changes = [change for segment in self._log.read(numbers) for change in segment.changes]
        durable = {change.id for change in changes if change.durable}
        try:
            sync_documents(self._documents, durable)
        except OSError as error:
            raise NotSyncedError(error, durable) from error
        for number in numbers:
            self._log.delete(number)
        if self._sequence.read().deleted < sealed:
            self._sequence.write(deleted=sealed)


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
        # the results are fetched, since a failure must be heard
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
