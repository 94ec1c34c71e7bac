"""The redo log: what is committed and not yet synced in place.

Owns the form of segments and records. Knows nothing of JSON or of where documents lie.

A segment is `header, record, record, …`. A record is one group of commits, which one `fdatasync` made true together, so
a torn group is one torn record:

    header   magic, the size of the segment before it when this one began, the boot id of the system, CRC-32 of these
    record   magic, flags, length of the body, the time it was made, CRC-32 of these and the body
    body     changes: kind, id, hash of the document before (zeros: none), the new bytes

Invariants:
- Only the holder of the store lock appends. A record is synced (`durable`) before anything of it is put in place.
- While the lock is free a segment ends with its last record. Its holder writes zeros ahead once it appends more than a
  few records: to sync what overwrites them takes no change of the file's size, which the journal of a file system would
  have to bring to the disk with all else that it holds (286 us against 120). `trim` takes the rest of them away.
- After a failed append nothing is ever written to that segment again; if it can not be cut back to its last whole
  record, what became of the commit is unknown, and recovery decides. Should a power cut undo the cutting back, the size
  that the next segment's header tells still voids the record.
- Segments are deleted in the order of their numbers, each deletion synced before the next: a segment alone must never
  bring back what a later one has undone.

A crash in an append leaves a damaged record at the very end, maybe with zeros behind it: a commit that never happened.
Damage with whole records behind it is not the work of a crash, and is reported as such.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from fsstore.filesystem.disk.files import CREATE, READ, WRITE, Tree, sync_data, write_all, write_parts
from fsstore.filesystem.disk.system import boot_id
from fsstore.filesystem.documents.layout import LOG, segment_name, segment_number
from fsstore.filesystem.log.counters import Counters, State

NO_DOCUMENT = bytes(16)
_HEADER_MAGIC, _RECORD_MAGIC = b"fsstore-log-1\n", b"\xf5LR\n"
_HEADER = struct.Struct("<14sQH")
_HEAD, _RECORD = struct.Struct("<4sIQQ"), struct.Struct("<4sIQQI")
_CHECKSUM = struct.Struct("<I")
_CHANGE = struct.Struct("<BH16sQ")
_SAVED, _DELETED = 1, 2
_DURABLE = 1
_NO_LIMIT = 1 << 62
_MOST_AHEAD, _SEVERAL = 256 << 10, 4


class LoggedChange(NamedTuple):
    """One document's change: `data` is what it holds afterwards, None when it is gone; `time_ns` counts from 1970."""

    id: str
    before: bytes
    data: bytes | None
    durable: bool
    time_ns: int = 0


@dataclass(frozen=True, slots=True)
class Segment:
    """What a segment holds, in the order of its writing. `damage` tells of damage that no crash explains."""

    number: int
    boot: str
    previous_size: int
    changes: list[LoggedChange]
    damage: str = ""


class NotSyncedError(OSError):
    """The system could not sync what was written: it may be on disk or not, whatever a later sync says.

    Of a record, which was cut off again, `ids` is empty; of documents it names them.
    """

    def __init__(self, cause: OSError, path: str | None = None, *, ids: set[str] | None = None) -> None:
        super().__init__(cause.errno, cause.strerror, path or cause.filename)
        self.ids = ids or set()


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

    def append(self, changes: list[LoggedChange], state: State, *, durable: bool) -> int:
        """Append one record, synced when `durable`, and return the size of its segment in bytes: the commit point.

        Raises OSError when nothing was appended, UnknownOutcomeError when that is not known.
        """
        self._use(state, durable=durable)
        start = self._end
        self._is_alone = start == self._header_bytes
        record = pack(changes, durable=durable, time_ns=time.time_ns())
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
        return end

    def _write_ahead(self, start: int, end: int) -> None:
        """Write zeros behind a record that goes beyond those that are there, if it is one of several small ones."""
        room = min(start - self._first, _MOST_AHEAD)
        if end <= self._ahead or room < _SEVERAL * (end - start):
            return
        # as many as there are bytes of this turn, so that a few records pay little for others that may never come
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
            self._number, self._header_bytes = number, len(_pack_header(0))

    def _begin(self, number: int) -> None:
        self.close()
        name, previous = segment_name(number), self._tree.signature(segment_name(number - 1))
        try:
            self._descriptor = self._tree.open(name, CREATE)
        except FileExistsError:
            # left by a beginning that failed and could not be taken back; the counters never told of it
            self._tree.unlink(name)
            self._descriptor = self._tree.open(name, CREATE)
        header = _pack_header(_NO_LIMIT if previous is None else previous.size)
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
        """Let the next record begin a new segment; if that can not be said, only recovery can see to it."""
        try:
            self._counters.write(sealed=self._number)
        except OSError as second:
            raise UnknownOutcomeError(error.errno, error.strerror, self._tree.path(LOG)) from second
        finally:
            self.close()

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
            self._tree.unlink(segment_name(number))
            self._counters.write(deleted=number)
        return True

    def numbers(self) -> list[int]:
        """Return the numbers of the segments that are there, the oldest first."""
        found = (segment_number(base) for base in self._tree.entries(LOG))
        return sorted(number for number in found if number is not None)

    def boot_of(self, number: int) -> str:
        """Return the boot id in a segment's header; empty when it has none. One small read."""
        descriptor = self._tree.open(segment_name(number), READ)
        try:
            return _boot(os.read(descriptor, 256))
        finally:
            os.close(descriptor)

    def read(self, numbers: list[int]) -> list[Segment]:
        """Return what segments hold, in the order of their numbers; O(their size). Deleted ones are passed over."""
        segments: list[Segment] = []
        for number in sorted(numbers, reverse=True):
            try:
                data, _ = self._tree.read(segment_name(number), max_bytes=_NO_LIMIT)
            except FileNotFoundError:
                continue
            is_followed = bool(segments) and segments[-1].number == number + 1
            segments.append(unpack(number, data[: segments[-1].previous_size] if is_followed else data))
        return segments[::-1]

    def delete(self, number: int) -> None:
        """Delete a segment for good. The caller deletes older ones first."""
        self._tree.unlink(segment_name(number))
        self._tree.sync_directory(LOG)

    def close(self) -> None:
        """Close the descriptor."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
        self._number, self._named = -1, False
        self._end = self._ahead = -1


def pack(changes: list[LoggedChange], *, durable: bool, time_ns: int = 0) -> list[bytes]:
    """Return the record of a group of changes, made at that time, in parts: a batch is long."""
    parts: list[bytes] = []
    for change in changes:
        key = change.id.encode()
        kind, data = (_DELETED, b"") if change.data is None else (_SAVED, change.data)
        parts += (_CHANGE.pack(kind, len(key), change.before, len(data)), key, data)
    head = _RECORD_MAGIC, _DURABLE if durable else 0, sum(map(len, parts)), time_ns
    return [_RECORD.pack(*head, _checksum(head, *parts)), *parts]


def unpack(number: int, data: bytes) -> Segment:
    """Return what the bytes of a segment hold."""
    boot = _boot(data)
    position = _HEADER.size + len(boot) + _CHECKSUM.size if boot else 0
    previous_size = _HEADER.unpack_from(data)[1] if boot else _NO_LIMIT
    changes: list[LoggedChange] = []
    damage, malformed = "" if boot or not data else "the header is damaged", ""
    while position < len(data):
        end = _record_end(data, position)
        if end is None:
            following = _next_record(data, position + 1)
            if following is None:
                break
            damage = f"the record at byte {position} is damaged and has whole ones behind it"
            position = following
            continue
        _, flags, _, time_ns, _ = _RECORD.unpack_from(data, position)
        try:
            changes += _changes(data[position + _RECORD.size : end], time_ns, durable=bool(flags & _DURABLE))
        except (ValueError, struct.error) as error:
            # its checksum is right, so no crash has done this
            malformed = f"the record at byte {position} holds what no commit is: {error}"
        position = end
    return Segment(number, boot, previous_size, changes, malformed or (damage if changes else ""))


def _pack_header(previous_size: int) -> bytes:
    boot = boot_id().encode()
    header = _HEADER.pack(_HEADER_MAGIC, previous_size, len(boot)) + boot
    return header + _CHECKSUM.pack(zlib.crc32(header))


def _boot(data: bytes) -> str:
    if len(data) < _HEADER.size:
        return ""
    magic, _, size = _HEADER.unpack_from(data)
    end = _HEADER.size + size
    is_whole = magic == _HEADER_MAGIC and data[end : end + _CHECKSUM.size] == _CHECKSUM.pack(zlib.crc32(data[:end]))
    return data[_HEADER.size : end].decode("ascii", "replace") if is_whole else ""


def _record_end(data: bytes, position: int) -> int | None:
    """Return where a whole record ends that begins here; None when there is none."""
    if position + _RECORD.size > len(data):
        return None
    *head, checksum = _RECORD.unpack_from(data, position)
    begin = position + _RECORD.size
    end = begin + head[2]
    if head[0] != _RECORD_MAGIC or end > len(data):
        return None
    return end if _checksum(head, memoryview(data)[begin:end]) == checksum else None


def _checksum(head: Iterable[Any], *body: bytes | memoryview) -> int:
    checksum = zlib.crc32(_HEAD.pack(*head))
    for part in body:
        checksum = zlib.crc32(part, checksum)
    return checksum


def _next_record(data: bytes, position: int) -> int | None:
    while (position := data.find(_RECORD_MAGIC, position)) >= 0:
        if _record_end(data, position) is not None:
            return position
        position += 1
    return None


def _changes(body: bytes, time_ns: int, *, durable: bool) -> list[LoggedChange]:
    """Return the changes of a record, all or none: raises ValueError or struct.error where it is malformed."""
    changes: list[LoggedChange] = []
    position = 0
    while position < len(body):
        kind, key_size, before, size = _CHANGE.unpack_from(body, position)
        key_at = position + _CHANGE.size
        data_at = key_at + key_size
        position = data_at + size
        # what is not understood must never be taken for a deletion
        if kind not in (_SAVED, _DELETED) or position > len(body):
            raise ValueError(f"a change of kind {kind} and {size} bytes")
        record_id = body[key_at:data_at].decode()
        changed = body[data_at:position] if kind == _SAVED else None
        changes.append(LoggedChange(record_id, before, changed, durable, time_ns))
    return changes
