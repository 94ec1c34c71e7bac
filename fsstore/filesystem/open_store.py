"""A store as one process has it open: its parts put together, started, and shut.

Owns which part knows which other. Opening is O(1): the skeleton is made or recognised, the counters are opened, the
writer thread is started. Everything here blocks, so it runs in a thread of its own, but for `end_later`.

A store that is not closed ends with its last owner, or with the program. So its threads, and what they run, hold no
reference to an owner.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

from fsstore.errors import StorageError, StorageUnavailableError, StorageValidationError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.disk.system import NotAFileError, refuse_file, unavailable
from fsstore.filesystem.documents.documents import Documents
from fsstore.filesystem.documents.marker import largest_document
from fsstore.filesystem.documents.skeleton import open_skeleton, prepare_control
from fsstore.filesystem.index.index_file import IndexFile
from fsstore.filesystem.index.private_index import PrivateIndex
from fsstore.filesystem.index.reconcile import Reconciler
from fsstore.filesystem.log.batches import Batches
from fsstore.filesystem.log.checkpoint import Checkpoint
from fsstore.filesystem.log.counters import Counters
from fsstore.filesystem.log.lock import StoreLock
from fsstore.filesystem.log.log import Log
from fsstore.filesystem.log.overlay import OverlaidTree, Overlay
from fsstore.filesystem.log.presence import Presence
from fsstore.filesystem.log.recovery import Recovery
from fsstore.filesystem.threads import Readers
from fsstore.filesystem.write.commit import Committer
from fsstore.filesystem.write.critical_section import CriticalSection
from fsstore.filesystem.write.failures import Failures
from fsstore.filesystem.write.index_updates import IndexUpdates
from fsstore.filesystem.write.writer import Writer
from fsstore.forking import check_sqlite, tell_child
from fsstore.model.records import Clock
from fsstore.options import check_switch

_READERS = 4
_TRIES = 10
_KEPT_DIRECTORIES = 64
_EXIT_SECONDS = 30.0
"""How long a program that ends waits for a store that was not closed; what was acknowledged is safe without."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a store is opened; `FileStorage.open` documents each. Raises StorageValidationError for one out of range."""

    create: bool
    fsync: bool
    max_bytes: int | None
    lock_timeout_seconds: float
    reconcile: Literal["first-use", "off"]
    shard_depth: int
    allow_network: bool
    live: bool = False
    polling: bool = False
    read_only: bool = False

    def __post_init__(self) -> None:
        for name in ("create", "fsync", "allow_network", "live", "polling", "read_only"):
            check_switch(name, getattr(self, name))
        if type(self.shard_depth) is not int:
            # the marker would say it as it is, and would be taken for damaged from then on
            raise StorageValidationError(reason=f"must be 1 or 2, not {self.shard_depth!r}", path="shard_depth")
        seconds = self.lock_timeout_seconds
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not seconds >= 0:
            raise StorageValidationError(
                reason=f"must be a number of seconds, not {seconds!r}", path="lock_timeout_seconds"
            )
        if self.reconcile not in ("first-use", "off"):
            raise StorageValidationError(
                reason=f"must be 'first-use' or 'off', not {self.reconcile!r}", path="reconcile"
            )
        if self.max_bytes is not None and (type(self.max_bytes) is not int or self.max_bytes < 1):
            raise StorageValidationError(
                reason=f"must be a positive number of bytes, not {self.max_bytes!r}", path="max_bytes"
            )


class OpenStore:
    """An open store; `writer` is None where the medium cannot be written, or must not be."""

    def __init__(self, tree: Tree, options: Options, clock: Clock) -> None:
        """Open the store. Raises StorageUnavailableError, StorageCorruptedError, and what `check_sqlite` raises."""
        check_sqlite(str(tree.root))
        self.tree = tree
        self.options = options
        self.process = os.getpid()
        self.at_end: list[Callable[[], None]] = []
        """What is called before everything ends, to stop watching."""
        self._ended = threading.Event()
        with _public_errors(str(tree.root)):
            refuse_file(tree.root)
            layout, self.writable = open_skeleton(
                tree,
                create=options.create,
                shard_depth=options.shard_depth,
                allow_network=options.allow_network,
                read_only=options.read_only,
            )
            max_bytes = options.max_bytes or largest_document(tree)
            self.counters = Counters(tree, read_only=not self.writable)
            with suppress(FileNotFoundError):
                # where the control directory was removed since, whoever takes the lock opens them
                self.counters.open()
            shown = tree if self.writable else OverlaidTree(tree)
            self.documents = Documents(shown, layout, max_bytes=max_bytes)
            self.log = Log(tree, self.counters)
            self.recovery = Recovery(
                self.documents, self.log, self.counters, timeout_seconds=options.lock_timeout_seconds
            )
            self.presence = Presence(tree)
            if self.writable:
                self._come_in()
        self._own_documents = self.documents.for_one_thread(keeps=_KEPT_DIRECTORIES)
        self.index_file = IndexFile(tree, self.counters, in_memory=not self.writable)
        self.reconciler = Reconciler(self.documents, self.index_file)
        self.private_index = PrivateIndex(self.documents, self.index_file)
        self.batches = Batches(tree)
        # who may not write can only read what waits in the log
        self.overlay = Overlay(shown, layout, self.log, self.counters) if isinstance(shown, OverlaidTree) else None
        # a store without a writer reconciles in its one reader thread
        self.readers = Readers(_READERS if self.writable else 1, root=str(tree.root))
        self.writer = None
        try:
            self.writer = self._start_writer(clock) if self.writable else None
        except BaseException:
            self._let_go()
            raise
        tell_child(self)
        atexit.register(self._end_at_exit)

    def _come_in(self) -> None:
        """Be present, and have what was left replayed where it is not sure that the medium kept what was placed."""
        try:
            is_known = self._be_present()
            if (self.counters.were_made or not is_known) and self.recovery.is_left():
                self.recovery.distrust_all()
        except BaseException:
            self.presence.leave()
            self.counters.close()
            raise

    def _be_present(self) -> bool:
        for left in reversed(range(_TRIES)):
            try:
                self.counters.open()
                return self.presence.enter(self.recovery.distrust, timeout_seconds=self.options.lock_timeout_seconds)
            except FileNotFoundError:
                # somebody removes the control directory at this moment
                if not left:
                    raise
                prepare_control(self.tree)
        return False

    def _start_writer(self, clock: Clock) -> Writer:
        committer = Committer(
            self._own_documents,
            self.log,
            self.counters,
            IndexUpdates(self.index_file),
            self.recovery,
            batches=self.batches,
            durable=self.options.fsync,
            clock=clock,
        )
        section = CriticalSection(
            StoreLock(self.tree, self.counters),
            committer,
            self.documents,
            self.counters,
            self.presence,
            timeout_seconds=self.options.lock_timeout_seconds,
        )
        writer = Writer(
            section,
            committer,
            self.recovery,
            Failures(committer, self.recovery, self.counters, self.documents),
            # a log of its own, since it reads and deletes in another thread than the one that appends
            Checkpoint(self.documents, Log(self.tree, self.counters), self.counters),
            counters=self.counters,
            root=str(self.tree.root),
            lock_timeout_seconds=self.options.lock_timeout_seconds,
        )
        writer.start()
        return writer

    def in_child(self) -> None:
        """Let go of the descriptors: the store stays the parent's, and the child opens one of its own."""
        self.log.close()
        self.counters.close()
        self._own_documents.tree.forget_parents()
        self.presence.leave()

    def moment(self) -> object | None:
        """Return what changes when a batch is put in place; None while one is. Raises OSError."""
        if self.overlay is not None:
            return self.overlay.look()
        applying = self.counters.applying()
        return None if applying & 1 else applying

    def close(self) -> None:
        """Finish what is queued, checkpoint, and release everything."""
        self._stop_reading()
        if self.writer is not None:
            self.writer.stop()
        self._let_go()

    def end_later(self) -> None:
        """Do the same without waiting, in a thread that is there: a collector of garbage may come this way.

        In a child of fork it does nothing: there the store is the parent's.
        """
        if self.process == os.getpid():
            (self.readers.shutdown_later if self.writer is None else self.writer.stop_later)(self._let_go)

    def _end_at_exit(self) -> None:
        if self.process == os.getpid():
            self.end_later()
            self._ended.wait(_EXIT_SECONDS)

    def _stop_reading(self) -> None:
        for stop in self.at_end:
            stop()
        self.readers.shutdown()

    def _let_go(self) -> None:
        self._stop_reading()
        self.log.close()
        self.private_index.forget()
        self.index_file.close()
        self.counters.close()
        self._own_documents.tree.forget_parents()
        # last: while anybody is present, nobody else takes the log for one that was left behind
        self.presence.leave()
        atexit.unregister(self._end_at_exit)
        self._ended.set()


@contextmanager
def _public_errors(root: str) -> Iterator[None]:
    """Raise what the system refuses as StorageUnavailableError."""
    try:
        yield
    except NotAFileError as error:
        raise StorageUnavailableError(
            reason="something that is no regular file or directory stands in the way",
            path=str(error.filename or root),
            errno=error.errno,
            advice="move it away",
        ) from error
    except StorageError:
        # one of them is an OSError, too
        raise
    except OSError as error:
        raise unavailable(error, root) from error
