"""What a change of a list makes of a document's bytes, without parsing, copying or encoding what is there.

Only of bytes that were written here, and of lists directly below the data; else the record is parsed. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from fsstore.filesystem.documents.lists import (
    NO_PLACES,
    Listed,
    ListText,
    Places,
    has_item,
    key_of,
    located,
    with_items,
    without_last,
)
from fsstore.filesystem.documents.sealed import part_of
from fsstore.filesystem.documents.splice import spliced
from fsstore.filesystem.documents.text import Edit, Text, moved
from fsstore.model.lists import mark_of, unknown
from fsstore.model.mutations import Append, Pop
from fsstore.model.records import JsonObject

_AT = attrgetter("at")


class Made(NamedTuple):
    """What a mutation makes of a document: the `part_of` its record, its bytes, and where parts of these stand."""

    part: JsonObject | None
    text: Text | None
    places: Places = NO_PLACES


def resized(change: Append | Pop, there: Made, now: str, *, max_bytes: int) -> Made | None:
    """Return what becomes of a document that is there: its very part when nothing does, and where the list was found.

    O(what is new), once it is known where the list stands; with `unique_by` the list is searched. None where it must be
    parsed, which also tells what is wrong. Raises what is not as expected.
    """
    key, part, text = key_of(change.steps), there.part, there.text
    listed = None if key is None or text is None else located(text, key, there.places)
    if key is None or part is None or text is None or listed is None or change.expected.seen is not ...:
        return None
    change.expected.check(change.id, part)
    found = ListText(text, listed.begin, listed.end)
    edits, by = _popped(change, found) if isinstance(change, Pop) else _appended(change, found)
    if edits == [] and isinstance(change, Append) and not change.patch:
        return there if key in there.places.lists else there._replace(places=there.places.knowing(key, listed))
    stamped = part_of(change.stamped(part, part, now))
    around = None if edits is None else spliced(text, part, stamped, metadata_at=there.places.metadata_at)
    if edits is None or around is None:
        return None
    every = sorted([*around, *edits], key=_AT)
    listed = _listed_after(listed, edits, around, by)
    made = text.edited(every, stays_to=listed.end)
    # of the edits around the list the last but one is that of the metadata
    places = Places(around[-2].at, there.places.lists).after(every).knowing(key, listed)
    return None if len(made) > max_bytes else Made(stamped, made, places)


def _listed_after(listed: Listed, edits: list[Edit], around: list[Edit], by: int) -> Listed:
    """Return where a list stands after an edit of it, if any, and edits around it."""
    begin, end = moved(listed.begin, around), moved(listed.end, around)
    for edit in edits:
        # of an empty one the line of the other bracket comes with the items
        grown = edit.data.rindex(b"\n") if listed.begin == listed.end else len(edit.data)
        end = max(end + grown - edit.removed, begin)
    return Listed(begin, end, listed.length + by)


def _popped(change: Pop, found: ListText) -> tuple[list[Edit] | None, int]:
    return without_last(found, change.item), -1


def _appended(change: Append, found: ListText) -> tuple[list[Edit] | None, int]:
    items = _unknown(change, found)
    return (None, 0) if items is None else (with_items(found, items), len(items))


def _unknown(change: Append, found: ListText) -> Sequence[Any] | None:
    """Return the items that the list does not have yet; None where only its values tell."""
    key = change.unique_by
    if key is None:
        return change.items
    items = unknown(change.items, (), key)
    marked = [item for item in items if mark_of(item, key) is not None]
    if any(isinstance(item[key], dict | list) for item in marked):
        return None
    return [item for item in items if mark_of(item, key) is None or not has_item(found, key, item[key])]
