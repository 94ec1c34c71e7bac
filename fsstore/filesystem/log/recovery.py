"""After a crash: finish what the log says, sync it, and empty the log.

Runs under the store lock; idempotent, so that a crash in it only means that it runs again. What the counters call
`placed` was in its place: as long as anybody has had the store open since (`presence`), what differs there is an edit
of somebody's, and stays; the log's value goes to quarantine, and a document that was deleted stays deleted. Of all
else, and of the whole log for whoever opens the store alone, the last record of each document decides, by what lies on
disk:

- that value: nothing to do;
- nothing, bytes that are no document, or an older value that the log knows: the value is written again;
- a whole document that the log does not know, put there after its last record: somebody edited it by hand. It stays;
  the log's value goes to quarantine;
- one that was there before that record (by its ctime, which nobody can set): a power cut has undone the edit that the
  last commit was made on, and the commit with it. The value is written again.

Nothing is destroyed: bytes that give way to the log's value, and damaged segments, are set aside in quarantine first.
Each document is settled by itself: one that cannot be put in place, or not be synced there, waits in a file of its own
(`waiting`), and holds up neither the log nor anybody else. What cannot be staged, or not be kept waiting, fails the
recovery as a whole: whoever is next tries again. Temp files that will not go stay, with a warning.

The order: the log is synced; documents are written, synced and named; then the counters are even, and the log is left
to the next checkpoint, which syncs what was found equal. Where a sync has failed before, by `unsynced` in the counters,
recovery does not leave it to others: it writes what was found equal anew, syncs it all as the only one who syncs
(`checkpoint`), and deletes the segments, the oldest first. It empties the log as well where anything was set aside, so
that it is not set aside twice, and where a power cut has undone the deletion of a segment.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from fsstore.filesystem.disk.files import TooLargeError
from fsstore.filesystem.disk.system import NotAFileError
from fsstore.filesystem.documents.codec import digest, is_whole
from fsstore.filesystem.documents.documents import Documents, Waits
from fsstore.filesystem.documents.layout import STAGING, WAITING, segment_name, waiting_name
from fsstore.filesystem.documents.quarantine import Quarantine
from fsstore.filesystem.log.checkpoint import CheckpointLock, sync_documents
from fsstore.filesystem.log.counters import Counters, State, even
from fsstore.filesystem.log.log import Log
from fsstore.filesystem.log.records import NO_DOCUMENT, NO_LIMIT, LoggedChange, Segment
from fsstore.filesystem.log.waiting import WaitingDocuments

_logger = logging.getLogger("fsstore")
_READABLE_BYTES = 1 << 30
_NOWHERE = (0, 0)


@dataclass(slots=True)
class _History:
    """What the log knows of one document: hashes of the values it had, and the last change."""

    last: LoggedChange
    known: set[bytes] = field(default_factory=set)
    durable: bool = False
    is_placed: bool = False
    """Whether its last change was put in place."""
    is_written: bool = False
    """Whether it was written anew, so that nobody has ever seen a sync of it fail."""
    waits: str = ""
    """The name of its file among those that wait, if it is there."""


class _NotSettledError(Exception):
    """A document could not be put in its place; the cause is an OSError."""


class Recovery:
    """Finishes what a dead writer began; used by the holder of the store lock."""

    def __init__(self, documents: Documents, log: Log, counters: Counters, *, timeout_seconds: float = 10.0) -> None:
        """`timeout_seconds` bounds the wait for another process's checkpoint."""
        self._documents = documents
        self._log = log
        self._counters = counters
        self._timeout_seconds = timeout_seconds
        self._quarantine = Quarantine(documents.tree)
        self._lock = CheckpointLock(documents.tree)
        self.waiting = WaitingDocuments(documents, counters)
        # what must be done at the next occasion, and the counters do not say
        self._distrusts_places = False
        self.distrusts_syncs = False
        # by name, what the last recovery has let wait
        self.waits: dict[str, Waits] = {}
        self._mends = self._has_to_empty = False
        # the highest version that was deleted, as the log tells it
        self._floor = 0

    # -- whether it is due ---------------------------------------------------------------------------------------------

    def is_due(self, state: State) -> bool:
        """Whether whoever holds the store lock must recover first, though no commit is unfinished."""
        return self._distrusts_places or self.distrusts_syncs or state.is_doubtful

    def distrust(self) -> None:
        """Have all of the log replayed, by whoever takes the store lock next, and readers wait for it.

        For whoever opens the store alone, and lets nobody else in meanwhile. A few small reads where nothing was left.
        """
        if self.is_left():
            self._counters.write_placed(*_NOWHERE)
            if self._counters.were_made:
                self._counters.write(unsynced=max(self._log.numbers_left(), default=0))
            self._counters.write(applying=self._counters.read().applying | 1)

    def is_left(self) -> bool:
        """Whether anything was left: records, documents that wait, or temp files, which a power cut brings back."""
        is_staging = bool(self._documents.tree.sure_entries(STAGING)) or self._documents.is_changing()
        return bool(self._log.numbers_left()) or is_staging or not self.waiting.is_empty()

    def distrust_all(self) -> None:
        """Have all of the log replayed by this open store: the counters are new, or nobody knows who is alone."""
        self._distrusts_places = self.distrusts_syncs = True

    # -- the recovery --------------------------------------------------------------------------------------------------

    def run(self, *, mends: bool = False, lost: Sequence[LoggedChange] = ()) -> int:
        """Recover, and return how many documents were written again. Raises OSError when the disk refuses.

        With `mends`, what is damaged gives way to the log's value also where that was in its place already. `lost` are
        the last changes, which the log may not hold, as somebody removes it: they are on disk afterwards.
        """
        # odd until it is done: if it fails, whoever next takes the lock must do it again
        state = self._counters.read()
        self._counters.write(indexing=state.indexing | 1)
        self._log.close()
        numbers = self._log.numbers_left()
        newest = max([*numbers, state.newest])
        # counters that do not know of the log say nothing of it
        is_new = newest > state.newest
        self.distrusts_syncs |= state.is_doubtful
        self._sync_log(numbers)
        placed = _NOWHERE if self._distrusts_places or is_new else state.placed
        self.waits, self._mends, self._has_to_empty = {}, mends, False
        # the log may hold a batch of which nothing is in place: nobody may see a part of it until all of it is
        self._counters.write(applying=state.applying | 1)
        histories = self._histories(numbers, placed, lost)
        restored = [each for each in histories if self._settle_or_keep(each)]
        is_news = self.waiting.publish(self.waits)
        # all is in place that can be, and can be read whatever the disk says to a sync
        self._counters.write(applying=even(state.applying | 1))
        # what tells it in the log may go now
        self._counters.keep_floor(self._floor)
        # a checkpoint looks for no segment that the counters call deleted
        self._has_to_empty |= any(number <= state.deleted for number in numbers)
        is_emptied = self._is_emptied(numbers, histories, newest, must=bool(lost) or mends or self.distrusts_syncs)
        if not is_emptied:
            self._end_waiting(histories, newest)
        is_news |= self.waiting.publish(self.waits)
        self._documents.clear_staging()
        self._counters.write(newest=newest, sealed=newest)
        self._counters.write_placed(newest + 1, 0)
        if is_emptied or not numbers:
            self._counters.write(deleted=newest)
        if restored or is_news or state.indexing & 1:
            self._counters.increase("stale")
        self._distrusts_places = self.distrusts_syncs = False
        self._counters.write(indexing=even(state.indexing | 1))
        if restored:
            _logger.warning("recovered %d documents after a crash in %s", len(restored), self._documents.tree.root)
        return len(restored)

    def _sync_log(self, numbers: list[int]) -> None:
        """Bring the log to the disk before anything of it is done; if that fails, it is not left for a checkpoint."""
        try:
            self._log.sync(numbers)
        except OSError as error:
            _logger.warning("the log of %s could not be synced: %s", self._documents.tree.root, error)
            self.distrusts_syncs = True

    def _histories(self, numbers: list[int], placed: tuple[int, int], lost: Sequence[LoggedChange]) -> list[_History]:
        """Return what the log, what waits, and who has lost it, knows of each document. Sets aside what is damaged."""
        histories: dict[str, _History] = {}
        for found in self.waiting.read():
            if found.segment.damage or not found.segment.changes:
                self._quarantine.move(f"{WAITING}/{found.base}")
                continue
            for change in found.segment.changes:
                _add(histories, change, is_placed=False)
            histories[found.segment.changes[-1].id].waits = found.base
        for segment in self._log.read(numbers):
            if segment.damage:
                self._set_segment_aside(segment)
            for change, end in zip(segment.changes, segment.ends, strict=True):
                self._floor = max(self._floor, change.floor)
                _add(histories, change, is_placed=(segment.number, end) <= placed)
        for change in lost:
            _add(histories, change, is_placed=False)
        return list(histories.values())

    # -- one document --------------------------------------------------------------------------------------------------

    def _settle_or_keep(self, history: _History, *, anew: bool = False) -> bool:
        """Make a document what the log says, or let it wait; True when it is another one now."""
        try:
            return self._settle(history, anew=anew)
        except _NotSettledError as error:
            cause = error.__cause__
            if not isinstance(cause, OSError):
                raise
            self._keep(history, Waits(cause, is_in_place=False))
            return False

    def _keep(self, history: _History, waits: Waits) -> None:
        name = self._documents.name(history.last.id)
        if not history.waits:
            _logger.warning("%s waits for its place in %s: %s", name, waiting_name(name), waits.cause)
            self.waiting.keep(self._documents.stage_name(), history.last, history.known)
            history.waits = waiting_name(name).rpartition("/")[2]
        self.waits[name] = waits

    def _settle(self, history: _History, *, anew: bool) -> bool:
        """Make a document what the log says, unless somebody edited it; `anew` even if it is that already."""
        change = history.last
        name = self._documents.name(change.id)
        there, since_ns = self._bytes(name, moves=not history.is_placed)
        found = NO_DOCUMENT if there is None else digest(there)
        if found == change.after:
            if anew:
                # a name that goes is as doubtful as one that comes, and only a change that is made anew can be synced
                self._write(name, change.data or b"")
                if change.data is None:
                    self._write(name, None)
            return False
        is_damaged = there is not None and found not in history.known and not is_whole(there, change.id)
        if history.is_placed and not (is_damaged and self._mends):
            if there is not None:
                self._set_aside(name, change.data, "was edited by hand; what the log held")
            return False
        if there is not None and found not in history.known:
            if is_damaged:
                self._set_aside(name, there, "was torn; what lay there")
            elif change.is_after(there, since_ns):
                self._set_aside(name, there, "came back from before its last commit; what lay there")
            else:
                self._set_aside(name, change.data, "was edited by hand; what the log held")
                return False
        self._write(name, change.data)
        history.is_written = True
        return True

    def _bytes(self, name: str, *, moves: bool) -> tuple[bytes | None, int]:
        """Return what lies under a name, and since when; what is no document's file moves aside if it may."""
        tree = self._documents.tree
        try:
            data, signature = tree.read(name, max_bytes=max(_READABLE_BYTES, self._documents.max_bytes))
        except FileNotFoundError:
            if self._documents.is_absent(name):
                return None, 0
            # the store was away for a moment
            return self._bytes(name, moves=moves)
        except (NotAFileError, TooLargeError):
            # a directory, a link, or what no memory holds is in its place: not ours to remove
            if moves:
                try:
                    self._quarantine.move(name)
                except OSError as error:
                    raise _NotSettledError from error
            return None, 0
        except OSError as error:
            raise _NotSettledError from error
        return data, signature.ctime_ns

    def _write(self, name: str, data: bytes | None) -> None:
        staged = ""
        if data is not None:
            staged = self._documents.stage_name()
            self._documents.tree.write_new(staged, data)
            self._documents.tree.sync(staged)
        try:
            if data is None:
                self._documents.remove(name)
            else:
                self._documents.place(staged, name)
        except FileNotFoundError:
            # not the document is at fault: somebody has removed the control directory, or the store is away
            raise
        except OSError as error:
            raise _NotSettledError from error

    # -- the end -------------------------------------------------------------------------------------------------------

    def _is_emptied(self, numbers: list[int], histories: list[_History], newest: int, *, must: bool) -> bool:
        """Sync all that was settled, written anew if it is in doubt, and delete the log; False if that can wait.

        It cannot if it `must` be done: then StorageTimeoutError is raised where another process's checkpoint takes too
        long.
        """
        if not must and not self._has_to_empty:
            return False
        with self._lock.taken(self._timeout_seconds if must else 0.0, must=must) as is_taken:
            if not is_taken:
                return False
            if self.distrusts_syncs:
                for history in histories:
                    if not history.is_written and not self._waits(history):
                        self._settle_or_keep(history, anew=True)
                self._documents.change_above(self._documents.name(history.last.id) for history in histories)
            self._sync([history for history in histories if history.durable or history.waits], newest)
            for number in numbers:
                self._log.delete(number)
        return True

    def _end_waiting(self, histories: list[_History], newest: int) -> None:
        """Sync what has waited and is in its place now; where a checkpoint is under way, it waits for that."""
        came = [history for history in histories if history.waits and not self._waits(history)]
        if not came:
            return
        with self._lock.taken(0.0) as is_taken:
            if is_taken:
                self._sync(came, newest)
                return
        cause = OSError(errno.EBUSY, "a checkpoint is under way")
        self.waits |= {self._documents.name(each.last.id): Waits(cause, is_in_place=True) for each in came}

    def _waits(self, history: _History) -> bool:
        return self._documents.name(history.last.id) in self.waits

    def _sync(self, histories: list[_History], newest: int) -> None:
        """Bring what was settled to the disk; what cannot be synced, though it was written anew, waits."""
        of_name = {self._documents.name(each.last.id): each for each in histories}
        # whoever finds it so knows that this one was killed
        self._counters.write(syncing=newest)
        # what waits is on disk already, whatever lies in its place
        failed = sync_documents(self._documents, of_name.keys() - self.waits.keys())
        if failed:
            # a crash from here on must not let the next one believe what lies there
            self._counters.write(unsynced=newest)
            for name in failed:
                self._settle_or_keep(of_name[name], anew=True)
            self._documents.change_above(failed)
            failed = sync_documents(self._documents, failed.keys() - self.waits.keys())
        for name, error in failed.items():
            self._keep(of_name[name], Waits(error, is_in_place=True))
        self._counters.write(syncing=0)
        for name, history in of_name.items():
            if history.waits and name not in self.waits:
                self.waiting.remove(history.waits)

    def _set_aside(self, name: str, data: bytes | None, what: str) -> None:
        # not to be found, and set aside, once more
        self._has_to_empty = True
        if not data:
            return
        _logger.warning("%s %s is in %s", name, what, self._quarantine.keep(name, data))

    def _set_segment_aside(self, segment: Segment) -> None:
        name = segment_name(segment.number)
        data, _ = self._documents.tree.read(name, max_bytes=NO_LIMIT)
        self._set_aside(name, data, f"is damaged ({segment.damage}); a copy of it")


def _add(histories: dict[str, _History], change: LoggedChange, *, is_placed: bool) -> None:
    history = histories.setdefault(change.id, _History(change))
    history.known.add(change.before)
    if history.last.value is not None:
        history.known.add(history.last.after)
    history.last = change
    history.durable |= change.durable
    # what waits is not in its place, whatever came behind it in the log
    history.is_placed = is_placed and not history.waits
