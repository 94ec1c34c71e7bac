"""After a crash: finish what the log says, sync it, and empty the log.

Runs under the store lock; idempotent, so that a crash in it only means that it runs again. For each document the last
record decides, by what lies on disk:

- that value: nothing to do;
- nothing, bytes that are no document, or an older value that the log knows: the value is written again;
- a whole document that the log does not know, put there after its last record: somebody edited it by hand. It stays;
  the log's value goes to quarantine;
- one that was there before that record (by its ctime, which nobody can set): a power cut has undone the edit that the
  last commit was made on, and the commit with it. The value is written again.

Nothing is destroyed: bytes that give way to the log's value, and damaged segments, are set aside in quarantine first.
The order: documents are written, synced and named; then segments go, the oldest first; then the counters are even.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from fsstore.filesystem.disk.files import TooLargeError
from fsstore.filesystem.disk.system import NotAFileError, same_boot
from fsstore.filesystem.documents.codec import NotARecordError, decode, digest
from fsstore.filesystem.documents.documents import Documents
from fsstore.filesystem.documents.layout import STAGING, segment_name
from fsstore.filesystem.documents.quarantine import Quarantine
from fsstore.filesystem.log.checkpoint import sync_documents
from fsstore.filesystem.log.counters import Counters, even
from fsstore.filesystem.log.log import Log
from fsstore.filesystem.log.records import NO_DOCUMENT, NO_LIMIT, LoggedChange, Segment

_logger = logging.getLogger("fsstore")
_READABLE_BYTES = 1 << 30


@dataclass(slots=True)
class _History:
    """What the log knows of one document: hashes of the values it had, and the last change."""

    last: LoggedChange
    known: set[bytes] = field(default_factory=set)
    durable: bool = False


class Recovery:
    """Finishes what a dead writer began; used by the holder of the store lock."""

    def __init__(self, documents: Documents, log: Log, counters: Counters) -> None:
        self._documents = documents
        self._log = log
        self._counters = counters
        self._quarantine = Quarantine(documents.tree)
        # documents whose sync has failed: the system may think them clean while the disk never got them
        self.suspects: set[str] = set()

    def run(self) -> int:
        """Recover, and return how many documents were written again. Raises OSError when the disk refuses."""
        # odd until it is done: if it fails, whoever next takes the lock must do it again, before a checkpoint forgets
        # which documents could not be synced
        state = self._counters.read()
        self._counters.write(indexing=state.indexing | 1)
        self._log.close()
        numbers = self._log.numbers()
        segments = self._log.read(numbers)
        for segment in segments:
            if segment.damage:
                self._set_segment_aside(segment)
        histories = _histories(segments)
        # the log may hold a batch of which nothing is in place: nobody may see a part of it until all of it is
        self._counters.write(applying=state.applying | 1)
        restored = [record_id for record_id, history in histories.items() if self._settle(history)]
        # all is in place, and can be read whatever the disk says to a sync
        self._counters.write(applying=even(state.applying | 1))
        durable = {record_id for record_id, history in histories.items() if history.durable}
        try:
            sync_documents(self._documents, durable)
        except OSError:
            self.suspects |= durable
            raise
        self.suspects.clear()
        self._documents.clear_staging()
        self._counters.keep_floor(max((change.floor for segment in segments for change in segment.changes), default=0))
        for number in numbers:
            self._log.delete(number)
        self._settle_counters(max(numbers, default=0))
        if restored:
            _logger.warning("recovered %d documents after a crash in %s", len(restored), self._documents.tree.root)
        return len(restored)

    def is_due_after_power_cut(self) -> bool:
        """Whether the system was restarted since the log was written, or the counters do not know of the log.

        Two small reads; without a log, one. Raises OSError.
        """
        try:
            numbers = self._log.numbers()
            if not numbers:
                # a power cut may bring temp files back whose documents are safe; asked again under the lock, where
                # nobody is staging
                return bool(self._documents.tree.entries(STAGING))
            # counters made anew would let the next segment come before those that are there
            return numbers[-1] > self._counters.read().newest or not same_boot(self._log.boot_of(numbers[0]))
        except FileNotFoundError:
            # somebody's checkpoint has just deleted it
            return False

    def run_after_power_cut(self) -> None:
        """Recover, unless another process was faster."""
        if self.is_due_after_power_cut():
            self.run()

    def _settle_counters(self, newest: int) -> None:
        state = self._counters.read()
        newest = max(newest, state.newest)
        self._counters.write(stale=state.stale + 1, newest=newest, sealed=newest, deleted=newest)
        self._counters.write(indexing=even(state.indexing))

    def _settle(self, history: _History) -> bool:
        """Make a document what the log says, unless somebody edited it; True when it was written."""
        change = history.last
        name = self._documents.name(change.id)
        there, since_ns = self._bytes(name)
        found = NO_DOCUMENT if there is None else digest(there)
        if found == (NO_DOCUMENT if change.data is None else digest(change.data)):
            if change.id in self.suspects:
                # a name that goes is as doubtful as one that comes, and only a change that is made anew can be synced
                self._write(name, change.data or b"")
                if change.data is None:
                    self._write(name, None)
            return False
        if there is not None and found not in history.known:
            if not _is_document(there, change.id):
                self._set_aside(name, there, "was torn; what lay there")
            elif since_ns < change.time_ns:
                self._set_aside(name, there, "came back from before its last commit; what lay there")
            else:
                self._set_aside(name, change.data, "was edited by hand; what the log held")
                return False
        self._write(name, change.data)
        return True

    def _bytes(self, name: str) -> tuple[bytes | None, int]:
        """Return what lies under a name, and since when."""
        try:
            data, signature = self._documents.tree.read(name, max_bytes=max(_READABLE_BYTES, self._documents.max_bytes))
        except FileNotFoundError:
            return None, 0
        except (NotAFileError, TooLargeError):
            # a directory, a link, or what no memory holds is in its place: not ours to remove, so it moves aside
            self._quarantine.move(name)
            return None, 0
        return data, signature.ctime_ns

    def _write(self, name: str, data: bytes | None) -> None:
        if data is None:
            self._documents.tree.unlink(name)
            return
        staged = self._documents.stage_name()
        self._documents.tree.write_new(staged, data)
        self._documents.tree.sync(staged)
        self._documents.place(staged, name)

    def _set_aside(self, name: str, data: bytes | None, what: str) -> None:
        if not data:
            return
        _logger.warning("%s %s is in %s", name, what, self._quarantine.keep(name, data))

    def _set_segment_aside(self, segment: Segment) -> None:
        name = segment_name(segment.number)
        data, _ = self._documents.tree.read(name, max_bytes=NO_LIMIT)
        self._set_aside(name, data, f"is damaged ({segment.damage}); a copy of it")


def _histories(segments: list[Segment]) -> dict[str, _History]:
    histories: dict[str, _History] = {}
    for change in (change for segment in segments for change in segment.changes):
        history = histories.setdefault(change.id, _History(change))
        history.known.add(change.before)
        if history.last.data is not None:
            history.known.add(digest(history.last.data))
        history.last = change
        history.durable |= change.durable
    return histories


def _is_document(data: bytes, record_id: str) -> bool:
    try:
        decode(data, record_id)
    except NotARecordError:
        return False
    return True
