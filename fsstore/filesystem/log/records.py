"""The bytes of the redo log: what a segment and its records look like, and what can be read of them after a crash.

A segment is `header, record, record, …`:

    header   magic, the size of the segment before it when this one began, the boot id of the system (for people who
             look into it: nothing believes it), CRC-32 of these
    record   magic, flags, length of the body, the time of its changes, CRC-32 of these and the body
    body     changes: kind, id, hash of the document before (zeros: none), the new bytes; of a deletion the floor; of a
             splice the hash of the document after it, and edits: position, how many bytes go there, which come

A splice stands for the new bytes where the same segment holds the document as it was before: whole, or as a splice
itself. So a segment never needs another one to be read. `unpack` holds each splice against the change before it, and
the bytes that come of the last one of a document against their hash; what does not fit is damage.

Opens no file. A damaged record at the very end, maybe with zeros behind it, is what a crash in an append leaves: a
commit that never happened. Damage with whole records behind it is not the work of a crash, and is reported as such.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fsstore.filesystem.disk.system import boot_id
from fsstore.filesystem.documents.codec import DIGEST_BYTES, digest, version_told
from fsstore.filesystem.documents.text import Edit, Text

NO_DOCUMENT = bytes(16)
_HEADER_MAGIC, _RECORD_MAGIC = b"fsstore-log-1\n", b"\xf5LR\n"
_HEADER = struct.Struct("<14sQH")
_HEAD, _RECORD = struct.Struct("<4sIQQ"), struct.Struct("<4sIQQI")
_CHECKSUM = struct.Struct("<I")
_CHANGE = struct.Struct("<BH16sQ")
_FLOOR, _EDIT = struct.Struct("<Q"), struct.Struct("<QQQ")
_SAVED, _DELETED, _SPLICED = 1, 2, 3
_DURABLE = 1
NO_LIMIT = 1 << 62


class Spliced:
    """A document as a splice in the log has left it; its bytes are made when they are asked for, and kept then."""

    __slots__ = ("_data", "base", "digest", "edits")

    def __init__(self, base: bytes | Spliced, edits: list[Edit], digest: bytes) -> None:
        self.base, self.edits, self.digest = base, edits, digest
        self._data: bytes | None = None

    def __bytes__(self) -> bytes:
        if self._data is None:
            chain, base = list[Spliced](), self.base
            while type(base) is Spliced:
                chain.append(base)
                base = base.base
            made = bytearray(bytes(base))
            for spliced in (*reversed(chain), self):
                for edit in reversed(spliced.edits):
                    made[edit.at : edit.at + edit.removed] = edit.data
            self._data = bytes(made)
        return self._data

    def is_right(self) -> bool:
        """Whether the bytes have the hash that the splice says."""
        return digest(bytes(self)) == self.digest


class LoggedChange(NamedTuple):
    """One document's change: `value` is what it holds afterwards, None when it is gone.

    `time_ns` is when the change was made, by the clock of files, in nanoseconds since 1970: a file that changes later
    shows no earlier time, and in the same tick the same.

    `floor` is kept of a deletion: the highest version that was deleted by then, above which new documents begin.
    """

    id: str
    before: bytes
    value: bytes | Text | Spliced | None
    durable: bool
    time_ns: int = 0
    floor: int = 0
    edits: Sequence[Edit] | None = None
    """What makes a text of the document before, if that is known: may be logged in its place."""

    @property
    def data(self) -> bytes | None:
        """The bytes of the document afterwards, whole, None when it is gone."""
        return None if self.value is None else bytes(self.value)

    @property
    def after(self) -> bytes:
        """The hash of the document afterwards, NO_DOCUMENT when it is gone."""
        value = self.value
        if value is None:
            return NO_DOCUMENT
        return digest(value) if isinstance(value, bytes) else value.digest

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


def pack(changes: list[LoggedChange], *, durable: bool, held: Mapping[str, bytes] = {}) -> list[bytes | memoryview]:
    """Return the record of a group of changes, whose time is that of the last, in parts: a batch is long.

    `held` are hashes of documents, by id, as the segment holds them: of these a splice will do.
    """
    parts: list[bytes | memoryview] = []
    for change in changes:
        key = change.id.encode()
        kind, data = _body_of(change, is_held=held.get(change.id) == change.before)
        parts += (_CHANGE.pack(kind, len(key), change.before, sum(map(len, data))), key, *data)
    time_ns = max((change.time_ns for change in changes), default=0)
    head = _RECORD_MAGIC, _DURABLE if durable else 0, sum(map(len, parts)), time_ns
    return [_RECORD.pack(*head, _checksum(head, *parts)), *parts]


def _body_of(change: LoggedChange, *, is_held: bool) -> tuple[int, list[bytes | memoryview]]:
    """Return the kind of a change, and the bytes that describe it."""
    value, edits = change.value, change.edits
    if value is None:
        return _DELETED, [_FLOOR.pack(change.floor)]
    if not isinstance(value, Text):
        return _SAVED, [bytes(value)]
    # whole if it is hardly longer: whoever reads it has less to do then
    if edits is None or not is_held or 2 * sum(_EDIT.size + len(edit.data) for edit in edits) > value.size:
        return _SAVED, [*value.views()]
    told: list[bytes | memoryview] = [value.digest]
    for edit in edits:
        told += (_EDIT.pack(edit.at, edit.removed, len(edit.data)), edit.data)
    return _SPLICED, told


def unpack(number: int, data: bytes, *, checked: bool = True) -> Segment:
    """Return what the bytes of a segment hold; unless that is `checked`, splices are not held against their hashes."""
    position = _header_end(data)
    previous_size = _HEADER.unpack_from(data)[1] if position else NO_LIMIT
    changes: list[LoggedChange] = []
    ends: list[int] = []
    held = _Held()
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
            body = data[position + _RECORD.size : end]
            changes += held.folded(_changes(body, time_ns, durable=bool(flags & _DURABLE)))
        except (ValueError, struct.error) as error:
            # its checksum is right, so no crash has done this
            malformed = f"the record at byte {position} holds what no commit is: {error}"
        ends += [end] * (len(changes) - len(ends))
        position = end
    segment = Segment(number, previous_size, changes, malformed or (damage if changes else ""), ends)
    return _checked(segment) if checked else segment


class _Held:
    """The documents of a segment as its records have left them, from one to the next."""

    def __init__(self) -> None:
        # by id, newest last
        self._values: dict[str, list[LoggedChange]] = {}

    def folded(self, changes: list[LoggedChange]) -> list[LoggedChange]:
        """Return the changes of a record, its splices put upon what they are about.

        Raises ValueError, and has taken nothing in, where one is about something that the segment does not hold.
        """
        folded = [change._replace(value=self._value_of(change)) for change in changes]
        for change in folded:
            self._values.setdefault(change.id, []).append(change)
        return folded

    def _value_of(self, change: LoggedChange) -> bytes | Text | Spliced | None:
        spliced = change.value
        if type(spliced) is not Spliced:
            return spliced
        for there in reversed(self._values.get(change.id, ())):
            if there.after == change.before and isinstance(there.value, bytes | Spliced):
                return Spliced(there.value, spliced.edits, spliced.digest)
        raise ValueError(f"a splice of {change.id!r} without what it is about")


def _checked(segment: Segment) -> Segment:
    """Return a segment without the splices of which something else comes than they say; then it is damaged."""
    changes, ends = segment.changes, segment.ends
    last = {change.id: change.value for change in changes}
    wrong = {record_id for record_id, value in last.items() if type(value) is Spliced and not value.is_right()}
    if not wrong:
        return segment
    right: list[tuple[LoggedChange, int]] = []
    gone: set[str] = set()
    for change, end in zip(changes, ends, strict=True):
        value = change.value
        if change.id in wrong and type(value) is Spliced:
            # what comes behind the first wrong one was put upon it
            gone |= set() if value.is_right() else {change.id}
        else:
            gone.discard(change.id)
        if change.id not in gone:
            right.append((change, end))
    return Segment(
        segment.number,
        segment.previous_size,
        [change for change, _ in right],
        f"of splices of {min(wrong)!r} comes something else than they say",
        [end for _, end in right],
    )


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
        if kind not in (_SAVED, _DELETED, _SPLICED) or position > len(body):
            raise ValueError(f"a change of kind {kind} and {size} bytes")
        record_id = body[key_at:data_at].decode()
        told = body[data_at:position]
        if kind == _SAVED:
            changes.append(LoggedChange(record_id, before, told, durable, time_ns))
        elif kind == _SPLICED:
            changes.append(LoggedChange(record_id, before, _spliced(told), durable, time_ns))
        else:
            # format 1 of the control directory wrote no floor
            floor = _FLOOR.unpack(told)[0] if told else 0
            changes.append(LoggedChange(record_id, before, None, durable, time_ns, floor))
    return changes


def _spliced(told: bytes) -> Spliced:
    """Return a splice, of what is not known yet. Raises ValueError or struct.error where it is malformed."""
    edits: list[Edit] = []
    position = DIGEST_BYTES
    while position < len(told):
        at, removed, size = _EDIT.unpack_from(told, position)
        begin = position + _EDIT.size
        position = begin + size
        edits.append(Edit(at, removed, told[begin:position]))
    if position != len(told):
        raise ValueError("a splice that is cut off")
    return Spliced(b"", edits, told[:DIGEST_BYTES])
