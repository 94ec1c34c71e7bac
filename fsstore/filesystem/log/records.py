"""The bytes of the redo log: what a segment and its records look like, and what can be read of them after a crash.

A segment is `header, record, record, …`:

    header   magic, the size of the segment before it when this one began, the boot id of the system (for people who
             look into it: nothing believes it), CRC-32 of these
    record   magic, flags, length of the body, the time of its changes, CRC-32 of these and the body
    body     changes: kind, id, hash of the document before (zeros: none), the new bytes; of a deletion the floor

Opens no file. A damaged record at the very end, maybe with zeros behind it, is what a crash in an append leaves: a
commit that never happened. Damage with whole records behind it is not the work of a crash, and is reported as such.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fsstore.filesystem.disk.system import boot_id
from fsstore.filesystem.documents.codec import version_told

NO_DOCUMENT = bytes(16)
_HEADER_MAGIC, _RECORD_MAGIC = b"fsstore-log-1\n", b"\xf5LR\n"
_HEADER = struct.Struct("<14sQH")
_HEAD, _RECORD = struct.Struct("<4sIQQ"), struct.Struct("<4sIQQI")
_CHECKSUM = struct.Struct("<I")
_CHANGE = struct.Struct("<BH16sQ")
_FLOOR = struct.Struct("<Q")
_SAVED, _DELETED = 1, 2
_DURABLE = 1
NO_LIMIT = 1 << 62


class LoggedChange(NamedTuple):
    """One document's change: `data` is what it holds afterwards, None when it is gone.

    `time_ns` is when the change was made, by the clock of files, in nanoseconds since 1970: a file that changes later
    shows no earlier time, and in the same tick the same.

    `floor` is kept of a deletion: the highest version that was deleted by then, above which new documents begin.
    """

    id: str
    before: bytes
    data: bytes | None
    durable: bool
    time_ns: int = 0
    floor: int = 0

    def is_after(self, data: bytes, changed_ns: int) -> bool:
        """Whether bytes of that document, which the log does not know, are from before this change.

        The time at which a file last changed tells it, and the version: a clock that was set back may show an earlier
        time of a later commit, but that has a version above. An equal one is no proof: a document that was deleted by
        hand and made again begins with the version that the deletion, if it is undone, brings back. What is of the same
        tick is held to be later: within it an edit by hand and a crash are likelier than an edit, a commit and a power
        cut.
        """
        version = self.floor if self.data is None else version_told(self.data)
        return changed_ns < self.time_ns and version_told(data) <= version


@dataclass(frozen=True, slots=True)
class Segment:
    """What a segment holds, in the order of its writing. `damage` describes what no crash explains."""

    number: int
    previous_size: int
    changes: list[LoggedChange]
    damage: str = ""
    ends: list[int] = field(default_factory=list, compare=False)
    """Of each change where its record ends."""


def pack(changes: list[LoggedChange], *, durable: bool) -> list[bytes]:
    """Return the record of a group of changes, whose time is that of the last, in parts: a batch is long."""
    parts: list[bytes] = []
    for change in changes:
        key = change.id.encode()
        kind, data = (_DELETED, _FLOOR.pack(change.floor)) if change.data is None else (_SAVED, change.data)
        parts += (_CHANGE.pack(kind, len(key), change.before, len(data)), key, data)
    time_ns = max((change.time_ns for change in changes), default=0)
    head = _RECORD_MAGIC, _DURABLE if durable else 0, sum(map(len, parts)), time_ns
    return [_RECORD.pack(*head, _checksum(head, *parts)), *parts]


def unpack(number: int, data: bytes) -> Segment:
    """Return what the bytes of a segment hold."""
    position = _header_end(data)
    previous_size = _HEADER.unpack_from(data)[1] if position else NO_LIMIT
    changes: list[LoggedChange] = []
    ends: list[int] = []
    damage, malformed = "" if position or not data else "the header is damaged", ""
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
        ends += [end] * (len(changes) - len(ends))
        position = end
    return Segment(number, previous_size, changes, malformed or (damage if changes else ""), ends)


def pack_header(previous_size: int) -> bytes:
    """Return the header of a segment that begins behind one of that size."""
    boot = boot_id().encode()
    header = _HEADER.pack(_HEADER_MAGIC, previous_size, len(boot)) + boot
    return header + _CHECKSUM.pack(zlib.crc32(header))


def _header_end(data: bytes) -> int:
    """Return where the header ends that bytes begin with; 0 when there is none that is whole."""
    if len(data) < _HEADER.size:
        return 0
    magic, _, size = _HEADER.unpack_from(data)
    end = _HEADER.size + size
    is_whole = magic == _HEADER_MAGIC and data[end : end + _CHECKSUM.size] == _CHECKSUM.pack(zlib.crc32(data[:end]))
    return end + _CHECKSUM.size if is_whole else 0


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
        told = body[data_at:position]
        if kind == _SAVED:
            changes.append(LoggedChange(record_id, before, told, durable, time_ns))
        else:
            # format 1 of the control directory told no floor
            floor = _FLOOR.unpack(told)[0] if told else 0
            changes.append(LoggedChange(record_id, before, None, durable, time_ns, floor))
    return changes
