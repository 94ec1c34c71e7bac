"""The redo log: what is committed and not yet synced in place.

Owns the segments: which is appended to, what is synced, when one goes. Knows nothing of JSON or of where documents lie.

A segment is a header and records (`records`); a record is one group of commits, which one `fdatasync` made true
together, so a torn group is one torn record.

Invariants:
- Only the holder of the store lock appends. A record is synced (`durable`) before anything of it is put in place.
- While the lock is free a segment ends with its last record. Its holder writes zeros ahead once it appends more than a
  few records: to sync what overwrites them takes no change of the file's size, which the journal of a file system would
  have to bring to the disk with all else that it holds (286 us against 120). `trim` takes the rest of them away.
- After a failed append nothing is ever written to that segment again; if it cannot be cut back to its last whole
  record, what became of the commit is unknown, and recovery decides. Should a power cut undo the cutting back, the size
  in the next segment's header still voids the record.
- A document is logged as a splice only where this process knows the segment to hold what it is about (`records`).
- Segments are deleted in the order of their numbers, each deletion synced before the next: a segment alone must never
  bring back what a later one has undone.

A crash in an append leaves a damaged record at the very end, maybe with zeros behind it: a commit that never happened.
Damage with whole records behind it is not the work of a crash, and is reported as such.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress

from fsstore.filesystem.disk.descriptors import sync_data, write_all, write_parts
from fsstore.filesystem.disk.files import CREATE, WRITE, Tree
from fsstore.filesystem.disk.system import AdvisedError
from fsstore.filesystem.documents.layout import LOG, QUARANTINE, segment_name, segment_number
from fsstore.filesystem.log.counters import Counters, State
from fsstore.filesystem.log.records import NO_LIMIT, LoggedChange, Segment, pack, pack_header, unpack

_MOST_AHEAD, _SEVERAL = 256 << 10, 4


class NotSyncedError(OSError):
    """The system could not sync what was written: it may be on disk or not, whatever a later sync says.

    Of documents, `is_noted` says whether the counters know it.
    """

    def __init__(self, cause: OSError, path: str | None = None, *, is_noted: bool = False) -> None:
        super().__init__(cause.errno, cause.strerror, path or cause.filename)
        self.is_noted = is_noted


class UnknownOutcomeError(OSError):
    """An append failed, and so did taking it back: recovery will find out what became of it."""


class Log:
    """The log of one open store; used by the holder of the store lock, except for reading and deleting."""

    def __init__(self, tree: Tree, counters: Counters) -> None:
        self._tree = tree
        self._counters = counters
        self._descriptor = -1
        self._number = -1
        self._named = False
        self._header_bytes = 0
        self._is_alone = False
        # where the last record ends, and the zeros behind it; not known while others may append
        self._end = self._ahead = -1
        # where it ended when it came to be known
        self._first = 0
        # hashes of documents, by id, as the records of this process have left them in the segment that is open
        self._held: dict[str, bytes] = {}
        # those of its last record are not among them yet
        self._appended: list[LoggedChange] = []

    def append(self, changes: list[LoggedChange], state: State, *, durable: bool) -> int:
        """Append one record, synced when `durable`, and return the size of its segment in bytes: the commit point.

        Raises OSError when nothing was appended, UnknownOutcomeError when that is not known.
        """
        self._use(state, durable=durable)
        start = self._end
        self._is_alone = start == self._header_bytes
        self.remember()
        record = pack(changes, durable=durable, held=self._held)
        end = start + sum(map(len, record))
        try:
            os.lseek(self._descriptor, start, os.SEEK_SET)
            write_parts(self._descriptor, record)
            if durable:
                self._write_ahead(start, end)
                self._sync()
        except OSError as error:
            self._take_back(start, error)
            raise
        self._end = end
        self._appended = changes
        return end

    def remember(self) -> None:
        """Keep in mind what the last record has left, for splices upon it: hashes, which nobody need wait for."""
        appended, self._appended = self._appended, []
        for change in appended:
            self._held[change.id] = change.after

    def _write_ahead(self, start: int, end: int) -> None:
        """Write zeros behind a record that goes beyond those that are there, if it is one of several small ones."""
        room = min(start - self._first, _MOST_AHEAD)
        if end <= self._ahead or room < _SEVERAL * (end - start):
            return
        # as many as there are bytes of this hold, so that a few records pay little for others that may never come
        with suppress(OSError):
            self._ahead = end + os.write(self._descriptor, bytes(room))

    def trim(self) -> None:
        """Let the segment end with its last record, so that others append behind it; before the lock is released.

        Raises OSError when it does not, and nothing can be appended until somebody has recovered.
        """
        if self._descriptor >= 0 and self._ahead > self._end >= 0:
            try:
                os.ftruncate(self._descriptor, self._end)
            except OSError as error:
                # the next record begins a new segment; zeros at the end of this one are no damage
                self._seal(error)
        self._end = self._ahead = -1

    def _sync(self) -> None:
        try:
            sync_data(self._descriptor)
        except OSError as error:
            raise NotSyncedError(error, self._tree.path(LOG)) from error

    def _use(self, state: State, *, durable: bool) -> None:
        """Have the segment open that takes records now."""
        if state.newest <= state.sealed:
            self._begin(state.newest + 1)
        elif state.newest != self._number:
            self.close()
            self._reopen(state.newest)
        if self._end < 0:
            self._first = self._end = self._ahead = os.lseek(self._descriptor, 0, os.SEEK_END)
        if durable and not self._named:
            try:
                self._tree.sync_directory(LOG)
            except OSError as error:
                # a second sync would prove nothing about this name: the next segment has one of its own
                self._seal(error)
                raise
            self._named = True

    def _reopen(self, number: int) -> None:
        try:
            self._descriptor = self._tree.open(segment_name(number), WRITE)
        except FileNotFoundError:
            # a power cut left counters that are older than the last checkpoint
            self._begin(number + 1)
        else:
            self._number, self._header_bytes = number, len(pack_header(0))

    def _begin(self, number: int) -> None:
        self.close()
        name, previous = segment_name(number), self._tree.signature(segment_name(number - 1))
        try:
            self._descriptor = self._tree.open(name, CREATE)
        except FileExistsError:
            # left by a beginning that failed and could not be taken back; the counters never knew of it
            self._tree.unlink(name)
            self._descriptor = self._tree.open(name, CREATE)
        header = pack_header(NO_LIMIT if previous is None else previous.size)
        self._number, self._header_bytes = number, len(header)
        try:
            write_all(self._descriptor, header)
            self._counters.write(newest=number)
        except OSError:
            self.close()
            self._give_up(number)
            raise

    def _give_up(self, number: int) -> None:
        """Take a segment away that could not be begun, or let the next checkpoint do it."""
        with suppress(OSError):
            try:
                self._tree.unlink(segment_name(number))
            except OSError:
                self._counters.write(newest=number, sealed=number)

    def _take_back(self, start: int, error: OSError) -> None:
        """Cut a failed record off, and never write to this segment again: a failed fsync is not repeated."""
        try:
            os.ftruncate(self._descriptor, start)
        except OSError as second:
            self.close()
            raise UnknownOutcomeError(error.errno, error.strerror, self._tree.path(LOG)) from second
        self._seal(error)

    def _seal(self, error: OSError) -> None:
        """Let the next record begin a new segment; if that cannot be said, only recovery can see to it."""
        try:
            self._counters.write(sealed=self._number)
        except OSError as second:
            raise UnknownOutcomeError(error.errno, error.strerror, self._tree.path(LOG)) from second
        finally:
            self.close()

    def is_named(self) -> bool:
        """Whether the segment that is appended to still has its name; one stat. True when none is open."""
        if self._descriptor < 0:
            return True
        named = self._tree.signature(segment_name(self._number))
        return named is not None and named.inode == os.fstat(self._descriptor).st_ino

    def withdraw(self) -> bool:
        """Delete the last record, which was not synced and is all in place, if its segment holds no other.

        Returns whether it was alone, and the log holds nothing that a checkpoint would be due for. The deletion is not
        synced either: a power cut may bring back a record that has promised nothing of it.
        """
        number = self._number
        # segments go in the order of their numbers
        if not self._is_alone or self._counters.read().deleted < number - 1:
            return False
        self._is_alone = False
        self.close()
        # where this fails, the next checkpoint does it
        with suppress(OSError):
            self._counters.write(sealed=number)
            if self._tree.unlink(segment_name(number)):
                self._counters.write(deleted=number)
        return True

    def numbers(self) -> list[int]:
        """Return the numbers of the segments that are there, the oldest first; for readers."""
        return _numbers_of(self._tree.entries(LOG))

    def numbers_left(self) -> list[int]:
        """Do the same for whoever empties the log, or believes that it is empty.

        Raises FileNotFoundError where the control directory is not there: that is no empty log.
        """
        return _numbers_of(self._tree.sure_entries(LOG))

    @property
    def position(self) -> tuple[int, int]:
        """Where the last record that was appended ends: its segment, and the position in that."""
        return self._number, self._end

    def sync(self, numbers: list[int]) -> None:
        """Bring segments to the disk whose writer may have died before it did. Raises OSError."""
        for number in numbers:
            with suppress(FileNotFoundError):
                self._tree.sync(segment_name(number))
        if numbers:
            self._tree.sync_directory(LOG)

    def read(self, numbers: list[int], *, checked: bool = True) -> list[Segment]:
        """Return what segments hold, in the order of their numbers; O(their size). Deleted ones are passed over.

        Raises FileNotFoundError where the control directory is not there any more: they may still be in it. See
        `records.unpack` for what is `checked`.
        """
        segments: list[Segment] = []
        for number in sorted(numbers, reverse=True):
            data = self._bytes_of(number)
            if data is None:
                continue
            is_followed = bool(segments) and segments[-1].number == number + 1
            whole = data[: segments[-1].previous_size] if is_followed else data
            segments.append(unpack(number, whole, checked=checked))
        return segments[::-1]

    def _bytes_of(self, number: int) -> bytes | None:
        """Return the bytes of a segment, None when it is deleted."""
        while True:
            try:
                return self._tree.read(segment_name(number), max_bytes=NO_LIMIT)[0]
            except FileNotFoundError:
                if number not in self.numbers_left():
                    return None
                # the store was away for a moment
            except OSError as error:
                if error.errno == errno.EIO:
                    raise _unreadable(error, self._tree.path(segment_name(number))) from error
                raise

    def delete(self, number: int) -> None:
        """Delete a segment for good. The caller deletes older ones first."""
        while not self._tree.unlink(segment_name(number)) and number in self.numbers_left():
            # the store was away for a moment
            pass
        self._tree.sync_directory(LOG)

    def close(self) -> None:
        """Close the descriptor."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
        self._number, self._named, self._held, self._appended = -1, False, {}, []
        self._end = self._ahead = -1


def _numbers_of(bases: Iterable[str]) -> list[int]:
    return sorted(number for number in map(segment_number, bases) if number is not None)


def _unreadable(error: OSError, path: str) -> AdvisedError:
    """Return the error of a segment that the medium does not give back.

    Nobody moves it away by himself: it may be read at the next try, and it may hold the only copy of a commit.
    """
    advised = AdvisedError(error.errno, error.strerror, path)
    advised.advice = (
        "try again, and check the medium; commits that were not in place yet are in this file alone. If it cannot be "
        f"saved, close every program that has the store open, move the file to {QUARANTINE}/, and run fsstore verify"
    )
    return advised
