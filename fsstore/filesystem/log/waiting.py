"""What waits for its place: documents that recovery could not put in place, or not sync there, each in a file.

Owns the directory `waiting/`. A file in it is a segment of one record: what the document is to become, and the hashes
of what it was while the log knew it. It stands for the document's records in the log, which need not stay for its sake.
Invariants:
- A file is whole and on disk before the segment goes that it stands for; it goes when its document is in place, on
  disk, and that is on disk before anything else is committed to the document. So no record in the log is newer.
- Whoever changes what is there lets the counter `waiting` grow, before `applying` is even again.
- What a look has found counts only while the counter is the one that it began with: another thread may know better.

A crash leaves the file beside a document that is in place already: it is found equal, synced, and the file goes.
"""

from __future__ import annotations

import errno
import threading
from contextlib import suppress
from typing import NamedTuple

from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents.codec import digest
from fsstore.filesystem.documents.documents import Documents, Waits
from fsstore.filesystem.documents.layout import CONTROL, WAITING, waiting_name
from fsstore.filesystem.log.counters import Counters, State, odd
from fsstore.filesystem.log.records import NO_DOCUMENT, NO_LIMIT, LoggedChange, Segment, pack, pack_header, unpack


class Waiting(NamedTuple):
    """A file in the directory: its name there, and what it holds."""

    base: str
    segment: Segment


class WaitingDocuments:
    """The documents of one open store that wait."""

    def __init__(self, documents: Documents, counters: Counters) -> None:
        self._documents = documents
        self._tree: Tree = documents.tree
        self._counters = counters
        # the counter for which `documents.waiting` is right
        self._seen = -1
        # of the threads that change both; a signal handler may come in between
        self._guard = threading.RLock()

    def read(self) -> list[Waiting]:
        """Return all that is there; O(its bytes). Raises FileNotFoundError where the control directory is not."""
        left = self._tree.sure_entries(WAITING)
        found: dict[str, Waiting] = {}
        while missing := [base for base in left if base not in found]:
            for base in missing:
                with suppress(FileNotFoundError):
                    data, _ = self._tree.read(f"{WAITING}/{base}", max_bytes=NO_LIMIT)
                    found[base] = Waiting(base, unpack(0, data))
            # what was not found is gone, unless the store was away for a moment
            left = self._tree.sure_entries(WAITING) if len(found) < len(left) else []
        return [found[base] for base in sorted(found)]

    def is_empty(self) -> bool:
        """Whether nothing waits; raises as `read` does."""
        return not self._tree.sure_entries(WAITING)

    def keep(self, staged: str, last: LoggedChange, known: set[bytes]) -> None:
        """Keep what a document is to become; it is on disk then. Raises OSError when the disk refuses."""
        # read from the beginning, each says what was there before it; only the last says what comes
        olds = [LoggedChange(last.id, before, None, last.durable) for before in sorted(known - {last.before})]
        record = pack([*olds, last], durable=last.durable)
        if self._tree.make_directory(WAITING):
            self._tree.sync_directory(CONTROL)
        name = self._documents.name(last.id)
        self._tree.write_new(staged, pack_header(NO_LIMIT) + b"".join(record))
        self._tree.sync(staged)
        self._tree.replace(staged, waiting_name(name))
        self._tree.sync_directory(WAITING)

    def remove(self, base: str) -> None:
        """Let a document wait no more: it is in its place, on disk."""
        while not self._tree.unlink(f"{WAITING}/{base}") and base in self._tree.sure_entries(WAITING):
            # the store was away for a moment
            pass
        self._tree.sync_directory(WAITING)

    def publish(self, waiting: dict[str, Waits]) -> bool:
        """Let everybody know what waits now, as the holder of the store lock, before `applying` is even.

        Returns whether that is news.
        """
        with self._guard:
            counter = self._counters.read().waiting
            is_news = waiting.keys() != self._documents.waiting.keys() or counter & 1 != bool(waiting)
            self._replace(waiting)
            if is_news:
                # `look` reads it all again: a thread that was at it meanwhile may have missed some
                self._counters.write(waiting=odd(counter) if waiting else (counter | 1) + 1)
        return is_news

    @property
    def is_known(self) -> bool:
        """Whether nothing has changed since the last look; about a microsecond."""
        return self.is_known_by(self._counters.read())

    def is_known_by(self, state: State) -> bool:
        """Whether nothing had changed since the last look when the counters were read."""
        return state.waiting == self._seen

    def look(self) -> None:
        """Find out what waits, if that has changed since the last look. Raises OSError."""
        while (counter := self._counters.read().waiting) != self._seen:
            waiting = {name: waits for found in self._left(counter) for name, waits in self._judged(found.segment)}
            with self._guard:
                if self._counters.read().waiting != counter:
                    # another document has begun to wait meanwhile, and another thread may have said so
                    continue
                known = self._documents.waiting
                # whoever has tried to put it in place knows best why that failed
                self._replace({name: known.get(name, waits) for name, waits in waiting.items()})
                self._seen = counter

    def _left(self, counter: int) -> list[Waiting]:
        try:
            return self.read()
        except FileNotFoundError:
            if counter:
                raise
            # without a control directory nothing has ever waited
            return []

    def _replace(self, waiting: dict[str, Waits]) -> None:
        # never empty in between, as another thread may look at this moment
        self._documents.waiting.update(waiting)
        for name in self._documents.waiting.keys() - waiting.keys():
            self._documents.waiting.pop(name, None)

    def _judged(self, segment: Segment) -> list[tuple[str, Waits]]:
        """Return the document that a file is about, with its name, if it holds one."""
        if not segment.changes:
            return []
        last = segment.changes[-1]
        name = self._documents.name(last.id)
        wanted = last.after
        try:
            data, _ = self._tree.read(name, max_bytes=NO_LIMIT)
            found = digest(data)
        except FileNotFoundError:
            found = NO_DOCUMENT
        except OSError as error:
            return [(name, Waits(error, is_in_place=False))]
        if found == wanted:
            return [(name, Waits(OSError(errno.EIO, "it could not be synced"), is_in_place=True))]
        try:
            self._tree.refuse_placing(name, is_there=found != NO_DOCUMENT)
        except OSError as error:
            return [(name, Waits(error, is_in_place=False))]
        return [(name, Waits(OSError(errno.EBUSY, "another process could not do it"), is_in_place=False))]
