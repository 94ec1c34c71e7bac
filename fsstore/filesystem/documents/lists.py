"""Lists in the bytes of a document: made longer, made shorter, counted and read from their end, without the rest.

Owns what the bytes of a list directly below the data look like, as `codec` writes them: its member begins a line with
four blanks, each item one with six, and what lies deeper has more. No string of JSON holds a raw line end, so what
begins a line with so many blanks is what it looks like.

Invariant: what comes of it is byte for byte what `codec.encode` gives, or nothing; then the document must be parsed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fsstore.filesystem.documents.codec import in_form, text_of, value_of
from fsstore.filesystem.documents.splice import data_in
from fsstore.filesystem.documents.text import Edit, Piece, Text, moved
from fsstore.model.lists import Tail
from fsstore.model.patch import Steps
from fsstore.model.values import write_json

_ITEM, _DEEPER, _END = b"\n      ", b"\n        ", b"\n    ]"
_CLOSING = (b"\n      }", b"\n      ]")
# how much of a list is looked at first for its last items
_LAST_BYTES = 16 << 10


class ListText(NamedTuple):
    """Where a list stands in the bytes of a document: from behind its bracket to before the line of the other one."""

    text: Text
    begin: int
    end: int

    @property
    def is_empty(self) -> bool:
        """Whether it has no items."""
        return self.begin == self.end


class Listed(NamedTuple):
    """The same of a text that is known, and how many items it has."""

    begin: int
    end: int
    length: int


class Places(NamedTuple):
    """Where parts of a text stand that need not be searched for again."""

    metadata_at: int = -1
    """Where the line before the metadata of the data ends; -1 where that is not known."""
    lists: Mapping[str, Listed] = {}
    """Lists of the data, by key."""

    def after(self, edits: Sequence[Edit]) -> Places:
        """Return where they stand after edits of other parts."""
        lists = {
            key: Listed(moved(at, edits), moved(end, edits), length) for key, (at, end, length) in self.lists.items()
        }
        return Places(moved(self.metadata_at, edits) if self.metadata_at >= 0 else -1, lists)

    def knowing(self, key: str, listed: Listed) -> Places:
        """Return the same, and where one list stands."""
        return Places(self.metadata_at, {**self.lists, key: listed})


NO_PLACES = Places()
"""Of a text of which nothing is known yet."""


def key_of(steps: Steps) -> str | None:
    """Return the key in the data under which a list stands that can be seen in bytes; None for another place."""
    above, key = steps[:-1], steps[-1]
    return key if above == ("data",) and key != "metadata" else None


def find_list(text: Text, key: str) -> ListText | None:
    """Return where the list under a key of the data stands; None where there is none, or it cannot be seen."""
    data = bytes(text)
    begin, end = data_in(data)
    member = b"\n    " + text_of(key) + b": ["
    # a line end goes before the first member, too
    at = data.find(member, begin, end) if begin >= 0 else -1
    if at < 0:
        return None
    start = at + len(member)
    if data[start : start + 1] == b"]":
        return ListText(text, start, start)
    close = data.find(_END, start, end)
    return None if close < 0 else ListText(text, start, close)


def located(text: Text, key: str, places: Places) -> Listed | None:
    """Return where a list stands and how long it is, searched for and counted only where that is not known."""
    if key in places.lists:
        return places.lists[key]
    found = find_list(text, key)
    return None if found is None else Listed(found.begin, found.end, count_items(found))


def with_items(found: ListText, items: Sequence[Any]) -> list[Edit]:
    """Return what puts items more at the end of the list. Raises TypeError for what is no JSON."""
    if not items:
        return []
    text = in_form({"data": {"items": items}})
    added = text[text.index(b"[") + 1 : text.rindex(_END)]
    return [Edit(found.end, 0, added + b"\n    " if found.is_empty else b"," + added)]


def without_last(found: ListText, item: Any) -> list[Edit] | None:
    """Return what takes the last item of the list away; None where it is another one."""
    last, text = next(_last(found, 1), (-1, b""))
    if last < 0 or write_json(value_of(text)) != write_json(item):
        return None
    if last == found.begin:
        # the list closes on the line on which it opens
        return [Edit(found.begin, found.end + len(_END) - 1 - found.begin, b"")]
    # with the comma behind the item before
    return [Edit(last - 1, found.end - last + 1, b"")]


def count_items(found: ListText) -> int:
    """Return how many items the list has; four looks through its bytes."""
    data, begin, end = bytes(found.text), found.begin, found.end
    lines = data.count(_ITEM, begin, end) - data.count(_DEEPER, begin, end)
    return lines - sum(data.count(closing, begin, end) for closing in _CLOSING)


def has_item(found: ListText, key: str, value: Any) -> bool:
    """Whether an item of the list is an object with that value, no object or array, under a key."""
    line = _DEEPER + text_of(key) + b": " + text_of(value)
    # a list is edited between its items, so no item is in two pieces
    return any(_has_line(piece, line) for piece in found.text.between(found.begin, found.end))


def _has_line(piece: Piece, line: bytes) -> bool:
    data, at, end = piece
    while (at := data.find(line, at, end)) >= 0:
        if data[at + len(line) : at + len(line) + 1] in (b",", b"\n"):
            return True
        at += 1
    return False


def items_between(found: ListText, length: int, start: int, end: int) -> list[Any]:
    """Return the items of a list of that length from one position up to another; O(bytes from there to its end)."""
    wanted = [value_of(text) for position, (_, text) in _numbered(found, length, start) if position < end]
    return wanted[::-1]


def tail_in(found: ListText, length: int, count: int, before: int | None) -> Tail:
    """Return what `tail_of` gives for a list of that length; O(bytes from there to the list's end)."""
    end = length if before is None else min(before, length)
    start = max(end - count, 0)
    return Tail(items_between(found, length, start, end) if start < end else [], start, length)


def _numbered(found: ListText, length: int, start: int) -> Iterator[tuple[int, tuple[int, bytes]]]:
    return zip(range(length - 1, start - 1, -1), _last(found, length - start), strict=False)


def _last(found: ListText, count: int) -> Iterator[tuple[int, bytes]]:
    """Give the last items, so many if there are, the last one first: where each begins, and its bytes."""
    size = _LAST_BYTES
    while True:
        begin = max(found.begin, found.end - size)
        data = found.text.part(begin, found.end)
        starts = [at for at, _ in zip(_starts(data), range(count), strict=False)]
        if len(starts) == count or begin == found.begin:
            break
        size *= 4
    place = len(data)
    for at in starts:
        yield begin + at, data[at:place].removesuffix(b",")
        place = at


def _starts(data: bytes) -> Iterator[int]:
    """Give where each item begins, the last one first."""
    end = len(data)
    while (at := data.rfind(_ITEM, 0, end)) >= 0:
        if data[at + len(_ITEM)] not in b" }]":
            yield at
        end = at
