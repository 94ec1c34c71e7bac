"""The thread that keeps a ledger true while a store is open: own commits, events, looks; everything in one order.

Owns the ledger's content. What comes in waits in one queue: notes of the writer thread about own commits, hints of the
system, names that somebody suspects. Notes are published as they come; everything else is only a reason to look, and
`classifier` decides. The thread ends, and so do those of its source of hints, before the store is closed.

At the beginning the ledger holds what the index says; then everything is compared once, after which it is ready. While
the store is not there (unmounted, moved away), nothing is looked at and nothing published; when it is back, or another
is in its place, everything is compared again.

Nothing is on disk here: after a crash, whoever watches next begins anew.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TypeAlias

from fsstore.errors import StorageClosedError, StorageError, StorageUnavailableError
from fsstore.filesystem.disk.system import NETWORK, SHARED_WITH_HOST, filesystem_type
from fsstore.filesystem.disk.trust import is_sure
from fsstore.filesystem.documents.layout import leads_to
from fsstore.filesystem.index.rows import Known
from fsstore.filesystem.open_store import OpenStore
from fsstore.filesystem.threads import next_in
from fsstore.filesystem.watch.classifier import ChangeClassifier
from fsstore.filesystem.watch.events import EventBatch, Events, Hint, HintSource, MakeHintSource
from fsstore.filesystem.watch.known_files import KnownFiles, mark_of
from fsstore.filesystem.watch.scanner import BESIDE_EVENTS, WITHOUT_EVENTS, Scanner
from fsstore.filesystem.write.commit import Note
from fsstore.watching.ledger import KnownState, Ledger

_logger = logging.getLogger("fsstore")

Message: TypeAlias = list[Note] | EventBatch | set[str] | None
"""What the thread receives; None is to end."""

Rows: TypeAlias = Iterable[tuple[str, str, int, Known]]

_LONGEST_SECONDS = 1.0
_GONE_PAUSE_SECONDS = 0.2
_FOLLOW_PAUSE_SECONDS, _FOLLOW_PAUSE_EACH_SECONDS = 0.1, 0.001
_RETRY_SECONDS = 30.0
_DISTRUST_SECONDS = 600.0
_NOT_YET_NS = 1 << 63


class Watcher:
    """One store being watched."""

    def __init__(
        self,
        store: OpenStore,
        *,
        reread: Callable[[list[str]], None],
        polling: bool = False,
        source: MakeHintSource | None = None,
    ) -> None:
        """Begin to note own commits; the thread is started by `begin`."""
        self.ledger = Ledger(str(store.tree.root))
        self.ready: Future[None] = Future()
        self._store = store
        self._polling = polling
        self._queue: SimpleQueue[Message] = SimpleQueue()
        self._source: HintSource = (source or Events)(self._queue.put)
        self._known = KnownFiles(self.ledger)
        self._scanner = Scanner(store.documents, self._known)
        self._classifier = ChangeClassifier(store, self._known, receive_commits=self._receive_commits, reread=reread)
        self._suspects = self._classifier.suspects
        self._committed: set[str] = set()
        self._prefix = store.tree.path("")
        self._is_stopping = False
        # of the directory that was there at the last look, None when none was
        self._identity: tuple[int, int] | None = (0, 0)
        self._has_begun = polling
        self._followed: frozenset[tuple[str, int]] = frozenset()
        self._followed_before: frozenset[tuple[str, int]] = frozenset()
        self._next_follow = 0.0
        # when the events about all these directories began: what was changed later, one of them should report
        self._events_since_ns = _NOT_YET_NS
        self._distrust_until = 0.0
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._rows: Rows = ()

    def begin(self, rows: Rows) -> None:
        """Start the thread, unless that was done; the ledger begins with these rows of the index.

        Raises StorageUnavailableError when the system gives no thread.
        """
        with self._starting:
            if self._thread is not None or self._is_stopping:
                return
            thread = threading.Thread(target=self._run, name="fsstore-watch", daemon=True)
            self._rows = rows
            try:
                thread.start()
            except RuntimeError as error:
                raise StorageUnavailableError(reason=str(error), path=str(self._store.tree.root)) from error
            self._thread = thread

    def suspect(self, names: set[str]) -> None:
        """Have documents looked at, if anybody watches."""
        if self._thread is not None:
            self._queue.put(names)

    def stop(self) -> None:
        """End the thread; waits for it."""
        with self._starting:
            self._is_stopping = True
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join()
        closed = StorageClosedError(path=str(self._store.tree.root))
        if not self.ready.done():
            self.ready.set_exception(closed)
        self.ledger.end(closed)

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        writer = self._store.writer
        try:
            rows, self._rows = self._rows, ()
            now = time.monotonic()
            for name, record_id, version, row in rows:
                self._known.adopt(name, KnownState(record_id, version, row.digest), mark_of(row.signature))
                if row.is_racy:
                    self._known.doubt(name, now)
            del rows
            if writer is not None:
                writer.report_to(self._queue.put)
                # the group that is under way is not noted: it is found by looking, before anything is published
                self._receive_commits()
            # a mount where no event comes from the other side is only looked at
            self._polling |= filesystem_type(self._store.tree.root) in NETWORK | SHARED_WITH_HOST
            self._has_begun |= self._polling
            self._scanner.suspect_all()
            while not self._is_stopping:
                self._step()
        except Exception as error:
            _logger.exception("the store %s cannot be watched any more", self._store.tree.root)
            reason = f"it cannot be watched any more: {error}"
            failure = StorageUnavailableError(
                reason=reason, path=str(self._store.tree.root), advice="close it and open it again"
            )
            self.ledger.end(failure)
            if not self.ready.done():
                self.ready.set_exception(failure)
        finally:
            if writer is not None:
                writer.report_to(None)
            self._source.close()

    def _step(self) -> None:
        now = time.monotonic()
        follow = self._next_follow or now + _LONGEST_SECONDS
        due = min(self._suspects.due(), self._scanner.due(), self._known.due(), follow)
        self._receive(_GONE_PAUSE_SECONDS if not self._is_there else max(0.0, min(due - now, _LONGEST_SECONDS)))
        now = time.monotonic()
        try:
            if not self._is_stopping and self._look_for_store():
                self._follow(now)
                self._set_pace(now)
                self._suspects.add(self._scanner.step(now))
                self._suspects.add(self._known.take_due(now), is_written=True)
                if self._suspects.due() <= now:
                    self._classifier.classify_some()
        except (StorageError, OSError) as error:
            # descriptors used up, say: tried again, and reported by the next list
            _logger.debug("looking at %s failed: %s", self._store.tree.root, error)
            self._receive(_GONE_PAUSE_SECONDS)
        if self._has_begun and not self.ready.done() and self._scanner.is_done(now) and self._suspects.is_idle:
            self.ready.set_result(None)

    @property
    def _is_there(self) -> bool:
        return self._identity is not None

    def _look_for_store(self) -> bool:
        identity: tuple[int, int] | None = None
        with suppress(StorageUnavailableError):
            identity = self._store.documents.root.check()
        if identity is not None and identity != self._identity:
            self._scanner.suspect_all()
        self._identity = identity
        return self._is_there

    # -- what comes in ------------------------------------------------------------------------------------------------

    def _receive(self, timeout_seconds: float) -> None:
        """Handle everything that is waiting; wait for it if nothing is."""
        try:
            message = next_in(self._queue, timeout_seconds) if timeout_seconds else self._queue.get_nowait()
            while True:
                self._handle(message)
                message = self._queue.get_nowait()
        except Empty:
            return

    def _handle(self, message: Message) -> None:
        if message is None:
            self._is_stopping = True
        elif isinstance(message, EventBatch):
            self._handle_events(message)
        elif isinstance(message, set):
            self._suspects.add(message)
        else:
            for note in message:
                self._publish(note)

    def _publish(self, note: Note) -> None:
        self._committed.add(note.name)
        if note.part is None:
            self._known.publish_deletion(note.name, "own")
        else:
            state = KnownState(note.id, note.part["version"], note.digest, "own")
            self._known.publish(note.name, state, mark_of(note.signature), "own", note.part, whole=note.whole)
            signature = note.signature
            if signature is not None and is_sure(signature, self._store.documents.trust.seen_ns(signature)):
                self._known.is_sure(note.name)
            else:
                self._known.doubt(note.name, time.monotonic())

    def _receive_commits(self) -> set[str]:
        """Publish what own commits have done that were begun by now, and return the names."""
        self._committed.clear()
        writer = self._store.writer
        begun = 0 if writer is None else writer.begun
        while writer is not None and writer.reported < begun and not self._is_stopping:
            self._receive(0.001)
        self._receive(0.0)
        return set(self._committed)

    def _handle_events(self, events: EventBatch) -> None:
        if events.error:
            self._followed = frozenset()
            self._has_begun = True
            self._next_follow = time.monotonic() + _RETRY_SECONDS
        if events.begun:
            # what happened there before the first event could come
            for name, _ in self._followed - self._followed_before:
                self._scanner.suspect(name) if name else self._scanner.look_soon()
            self._has_begun = True
            self._events_since_ns = time.time_ns()
        for hint in events.hints:
            self._handle_hint(hint)

    def _handle_hint(self, hint: Hint) -> None:
        below = hint.path[len(self._prefix) :] if hint.path.startswith(self._prefix) else ""
        place = leads_to(below.replace(os.sep, "/"), self._store.documents.layout.shard_depth)
        if place is None:
            return
        name, is_document = place
        if is_document:
            self._suspects.add([name], is_written=hint.is_written, is_hinted=True)
            return
        self._scanner.look_soon()
        if name.count("/") == self._store.documents.layout.shard_depth - 1 and name:
            self._scanner.suspect(name)

    # -- the source of hints ------------------------------------------------------------------------------------------

    def _follow(self, now: float) -> None:
        """Have the directories followed that there are."""
        wanted = self._scanner.directories
        # by identity, since to compare tens of thousands in every step would take more than all looks together
        if self._polling or not wanted or wanted is self._followed:
            self._next_follow = 0.0
            return
        if now < self._next_follow:
            return
        self._followed_before, self._followed = self._followed, wanted
        self._events_since_ns = _NOT_YET_NS
        # each time all of them are followed anew
        self._next_follow = now + _FOLLOW_PAUSE_SECONDS + len(wanted) * _FOLLOW_PAUSE_EACH_SECONDS
        tree = self._store.tree
        self._source.follow([tree.path(name) if name else str(tree.root) for name, _ in sorted(wanted)])

    def _set_pace(self, now: float) -> None:
        unreported_ns, self._classifier.unreported_ns = self._classifier.unreported_ns, 0
        if unreported_ns > self._events_since_ns and self._followed is self._scanner.directories:
            self._distrust_until = now + _DISTRUST_SECONDS
        has_events = self._followed and now >= self._distrust_until
        self._scanner.set_pace(BESIDE_EVENTS if has_events else WITHOUT_EVENTS)
