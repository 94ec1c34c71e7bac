"""Lists in the bytes of a document: made longer, made shorter, counted and read from their end, without the rest.

Owns what the bytes of a list directly below the data look like, as `codec` writes them: its member begins a line with
four blanks, each item one with six, and what lies deeper has more. No string of JSON holds a raw line end, so what
begins a line with so many blanks is what it looks like.

Invariant: what comes of it is byte for byte what `codec.encode` gives, or nothing; then the document must be parsed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from fsstore.filesystem.documents.codec import in_form, text_of, value_of
from fsstore.filesystem.documents.splice import data_in
from fsstore.model.lists import Tail
from fsstore.model.patch import Steps
from fsstore.model.values import write_json

_ITEM, _DEEPER, _END = b"\n      ", b"\n        ", b"\n    ]"
_CLOSING = (b"\n      }", b"\n      ]")


class ListText(NamedTuple):
    """Where a list stands in the bytes of a document: from behind its bracket to before the line of the other one."""

    data: bytes
    begin: int
    end: int

    @property
    def is_empty(self) -> bool:
        """Whether it has no items."""
        return self.begin == self.end


def key_of(steps: Steps) -> str | None:
    """Return the key in the data under which a list stands that can be seen in bytes; None for another place."""
    above, key = steps[:-1], steps[-1]
    return key if above == ("data",) and key != "metadata" else None


def find_list(data: bytes, key: str) -> ListText | None:
    """Return where the list under a key of the data stands; None where there is none, or it cannot be seen."""
    begin, end = data_in(data)
    member = b"\n    " + text_of(key) + b": ["
    # a line end goes before the first member, too
    at = data.find(member, begin, end) if begin >= 0 else -1
    if at < 0:
        return None
    start = at + len(member)
    if data[start : start + 1] == b"]":
        return ListText(data, start, start)
    close = data.find(_END, start, end)
    return None if close < 0 else ListText(data, start, close)


def with_items(found: ListText, items: Sequence[Any]) -> bytes:
    """Return the document with items more at the end of the list. Raises TypeError for what is no JSON."""
    if not items:
        return found.data
    text = in_form({"data": {"items": items}})
    added = text[text.index(b"[") + 1 : text.rindex(_END)]
    data, begin, end = found
    if found.is_empty:
        return b"".join((data[:begin], added, b"\n    ", data[end:]))
    return b"".join((data[:end], b",", added, data[end:]))


def without_last(found: ListText, item: Any) -> bytes | None:
    """Return the document without the last item of the list; None where it is another one."""
    last = next(_starts(found), None)
    if last is None or write_json(value_of(found.data[last : found.end])) != write_json(item):
        return None
    data, begin, end = found
    if last == begin:
        # the list closes on the line on which it opens
        return data[:begin] + data[end + len(_END) - 1 :]
    # with the comma behind the item before
    return data[: last - 1] + data[end:]


def count_items(found: ListText) -> int:
    """Return how many items the list has; four looks through its bytes."""
    data, begin, end = found
    lines = data.count(_ITEM, begin, end) - data.count(_DEEPER, begin, end)
    return lines - sum(data.count(closing, begin, end) for closing in _CLOSING)


def has_item(found: ListText, key: str, value: Any) -> bool:
    """Whether an item of the list is an object with that value, no object or array, under a key."""
    line = _DEEPER + text_of(key) + b": " + text_of(value)
    at = found.data.find(line, found.begin, found.end)
    while at >= 0:
        if found.data[at + len(line) : at + len(line) + 1] in (b",", b"\n"):
            return True
        at = found.data.find(line, at + 1, found.end)
    return False


def items_between(found: ListText, length: int, start: int, end: int) -> list[Any]:
    """Return the items of a list of that length from one position up to another; O(bytes from there to its end)."""
    wanted, place = [], found.end
    position = length
    for at in _starts(found):
        position -= 1
        if position < start:
            break
        if position < end:
            text = found.data[at:place]
            wanted.append(value_of(text.removesuffix(b",")))
        place = at
    return wanted[::-1]


def tail_in(found: ListText, length: int, count: int, before: int | None) -> Tail:
    """Return what `tail_of` gives for a list of that length; O(bytes from there to its end)."""
    end = length if before is None else min(before, length)
    start = max(end - count, 0)
    return Tail(items_between(found, length, start, end) if start < end else [], start, length)


def _starts(found: ListText) -> Iterator[int]:
    """Give where each item begins, the last one first."""
    data, begin, end = found
    while (at := data.rfind(_ITEM, begin, end)) >= 0:
        if data[at + len(_ITEM)] not in b" }]":
            yield at
        end = at
