"""A store as one process has it open: its parts put together, started, and shut.

Owns which part knows which other. Opening is O(1): the skeleton is made or recognised, the counters are opened, the
writer thread is started. Everything here blocks, so it runs in a thread of its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from fsstore.errors import StorageError, StorageUnavailableError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.disk.system import NotAFileError, unavailable
from fsstore.filesystem.documents.documents import Documents
from fsstore.filesystem.documents.skeleton import open_skeleton
from fsstore.filesystem.index.index_file import IndexFile
from fsstore.filesystem.index.reconcile import Reconciler
from fsstore.filesystem.log.checkpoint import Checkpoint
from fsstore.filesystem.log.counters import Counters
from fsstore.filesystem.log.lock import StoreLock
from fsstore.filesystem.log.log import Log
from fsstore.filesystem.log.presence import Presence
from fsstore.filesystem.log.recovery import Recovery
from fsstore.filesystem.threads import Readers
from fsstore.filesystem.write.commit import Committer
from fsstore.filesystem.write.index_updates import IndexUpdates
from fsstore.filesystem.write.writer import Writer
from fsstore.model.records import Clock

_READERS = 4
_KEPT_DIRECTORIES = 64


@dataclass(frozen=True, slots=True)
class Options:
    """How a store is opened; `FileStorage.open` documents each."""

    create: bool
    fsync: bool
    max_bytes: int
    lock_timeout_seconds: float
    reconcile: Literal["first-use", "off"]
    shard_depth: int
    allow_network: bool
    live: bool = False
    polling: bool = False


class OpenStore:
    """An open store; `writer` is None where the medium cannot be written."""

    def __init__(self, tree: Tree, options: Options, clock: Clock) -> None:
        """Open the store. Raises StorageUnavailableError, StorageCorruptedError."""
        self.tree = tree
        self.options = options
        self.process = os.getpid()
        try:
            layout, self.writable = open_skeleton(
                tree, create=options.create, shard_depth=options.shard_depth, allow_network=options.allow_network
            )
            self.counters = Counters(tree, read_only=not self.writable)
            self.counters.open()
            self.documents = Documents(tree, layout, max_bytes=options.max_bytes)
            self.log = Log(tree, self.counters)
            self.recovery = Recovery(
                self.documents, self.log, self.counters, timeout_seconds=options.lock_timeout_seconds
            )
            self.presence = Presence(tree)
            if self.writable:
                self._come_in()
        except NotAFileError as error:
            raise StorageUnavailableError(
                reason="something that is no regular file or directory stands in the way",
                path=str(error.filename or tree.root),
                errno=error.errno,
                advice="move it away",
            ) from error
        except StorageError:
            # one of them is an OSError, too
            raise
        except OSError as error:
            raise unavailable(error, str(tree.root)) from error
        self.index_file = IndexFile(tree, self.counters, in_memory=not self.writable)
        self.reconciler = Reconciler(self.documents, self.index_file)
        # a store without a writer reconciles in its one reader thread
        self.readers = Readers(_READERS if self.writable else 1, root=str(tree.root))
        self.writer = self._start_writer(clock) if self.writable else None

    def _come_in(self) -> None:
        """Be present, and have what was left replayed where it is not sure that the medium kept what was placed."""
        is_known = self.presence.enter(self.recovery.distrust, timeout_seconds=self.options.lock_timeout_seconds)
        if (self.counters.were_made or not is_known) and self.recovery.is_left():
            self.recovery.distrust_all()

    def _start_writer(self, clock: Clock) -> Writer:
        committer = Committer(
            self.documents.for_one_thread(keeps=_KEPT_DIRECTORIES),
            self.log,
            self.counters,
            IndexUpdates(self.index_file),
            self.recovery,
            durable=self.options.fsync,
            clock=clock,
        )
        writer = Writer(
            committer,
            self.recovery,
            # a log of its own, since it reads and deletes in another thread than the one that appends
            Checkpoint(self.documents, Log(self.tree, self.counters), self.counters),
            StoreLock(self.tree, self.counters),
            counters=self.counters,
            presence=self.presence,
            documents=self.documents,
            lock_timeout_seconds=self.options.lock_timeout_seconds,
        )
        writer.start()
        return writer

    def close(self) -> None:
        """Finish what is queued, checkpoint, and release everything."""
        self.readers.shutdown()
        if self.writer is not None:
            self.writer.stop()
        self.log.close()
        self.index_file.close()
        self.counters.close()
        # last: while anybody is present, nobody else takes the log for one that was left behind
        self.presence.leave()
