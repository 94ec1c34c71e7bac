"""How a merged document with conflicts looks in a file: the store's own form, with git's markers in it. Pure: no I/O.

    {
      "data": {
    <<<<<<< ours $.data.status
        "status": "done",
    =======
        "status": "failed",
    >>>>>>> theirs $.data.status
        "tags": []

Invariants:
- Markers stand at the beginning of a line, and name the path. A conflict with a removal has an empty side; a conflict
  of orders has the same elements on both sides.
- Keeping one side of each conflict, whichever, and removing the markers leaves JSON: where the last part of
  an object or a list may be gone, the comma stands before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from fsstore.merging.merge import Conflict, Merged, Part

_FORM = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
_STEP = "  "
MARKER_SIZE = 7

Lines: TypeAlias = list[str]


def mark(merged: Merged, *, marker_size: int = MARKER_SIZE) -> bytes:
    """Return the document as text, with a marker of that many characters around each side of each conflict."""
    lines = _join([_entry("", merged.value, "", marker_size)], marker_size)
    return "".join(f"{line}\n" for line in lines).encode()


@dataclass(frozen=True, slots=True)
class _Entry:
    """A part of an object or a list: both sides, each with any number of parts, are the same but in a conflict."""

    ours: list[Lines]
    theirs: list[Lines]
    label: str = ""


def _entry(name: str, value: Any, indent: str, marker_size: int) -> _Entry:
    if isinstance(value, Conflict):
        ours, theirs = (_sides(name, part, indent) for part in (value.ours, value.theirs))
        return _Entry(ours, theirs, value.label)
    lines = [_lines(name, value, indent, marker_size)]
    return _Entry(lines, lines)


def _sides(name: str, part: Part, indent: str) -> list[Lines]:
    return [_plain(name, value, indent) for value in part]


def _plain(name: str, value: Any, indent: str) -> Lines:
    # a string holds no raw line end, so each line of the text is one of its structure
    text = orjson.dumps(value, option=_FORM).decode()
    return [f"{indent}{line}" for line in f"{name}{text}".split("\n")]


def _lines(name: str, value: Any, indent: str, marker_size: int) -> Lines:
    if not _holds_conflict(value):
        return _plain(name, value, indent)
    inner = indent + _STEP
    if type(value) is dict:
        opening, closing = "{", "}"
        entries = [_entry(f"{orjson.dumps(key).decode()}: ", value[key], inner, marker_size) for key in sorted(value)]
    else:
        opening, closing = "[", "]"
        entries = [_entry("", item, inner, marker_size) for item in value]
    return [f"{indent}{name}{opening}", *_join(entries, marker_size), f"{indent}{closing}"]


def _holds_conflict(value: Any) -> bool:
    if type(value) is dict:
        return any(map(_holds_conflict, value.values()))
    return any(map(_holds_conflict, value)) if type(value) is list else isinstance(value, Conflict)


def _join(entries: Sequence[_Entry], marker_size: int) -> Lines:
    """Put commas between the entries: after those before the last one that is there in any case, else before them."""
    certain = [at for at, entry in enumerate(entries) if entry.ours and entry.theirs]
    if not certain and len(entries) > 1:
        # commas cannot be right for every choice, so there is one choice for all
        entries = [_all_of(entries)]
    last = certain[-1] if certain else 0
    lines: Lines = []
    for at, entry in enumerate(entries):
        ours, theirs = (list(_with_commas(side, at - last)) for side in (entry.ours, entry.theirs))
        if not entry.label:
            lines += ours
        else:
            lines += [f"{'<' * marker_size} ours {entry.label}", *ours, "=" * marker_size, *theirs]
            lines.append(f"{'>' * marker_size} theirs {entry.label}")
    return lines


def _all_of(entries: Sequence[_Entry]) -> _Entry:
    ours = [lines for entry in entries for lines in entry.ours]
    theirs = [lines for entry in entries for lines in entry.theirs]
    return _Entry(ours, theirs, ", ".join(entry.label for entry in entries))


def _with_commas(side: Sequence[Lines], place: int) -> Iterator[str]:
    """Give the lines of a side that stands before (-), at (0) or after (+) the last entry that is always there."""
    for at, (first, *rest) in enumerate(side):
        *inner, end = [_with_comma_before(first) if place > 0 else first, *rest]
        has_comma_after = place < 0 or (place == 0 and at < len(side) - 1)
        yield from (*inner, f"{end}," if has_comma_after else end)


def _with_comma_before(line: str) -> str:
    text = line.lstrip(" ")
    return f"{line[: len(line) - len(text)]}, {text}"
