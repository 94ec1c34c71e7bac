"""What a change of a list makes of a document's bytes, without parsing, copying or encoding what is there.

Only of bytes that were written here, and of lists directly below the data; else the record is parsed. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fsstore.filesystem.documents.lists import (
    ListText,
    count_items,
    find_list,
    has_item,
    key_of,
    with_items,
    without_last,
)
from fsstore.filesystem.documents.sealed import part_of
from fsstore.filesystem.documents.splice import spliced
from fsstore.model.lists import mark_of, unknown
from fsstore.model.mutations import Append, Pop
from fsstore.model.records import JsonObject


class Made(NamedTuple):
    """What a mutation makes of a document: the `part_of` its record, its bytes, and how long lists of its data are."""

    part: JsonObject | None
    data: bytes | None
    lengths: Mapping[str, int] = {}


def resized(change: Append | Pop, there: Made, now: str, *, max_bytes: int) -> Made | None:
    """Return what becomes of a document that is there, `there` itself when nothing does; O(its bytes), copied twice.

    None where it must be parsed, which also tells what is wrong. Raises what is not as expected.
    """
    key, part, data = key_of(change.steps), there.part, there.data
    found = None if key is None or data is None else find_list(data, key)
    if key is None or part is None or found is None or change.expected.seen is not ...:
        return None
    change.expected.check(change.id, part)
    before = there.lengths[key] if key in there.lengths else count_items(found)
    changed, after = _popped(change, found, before) if isinstance(change, Pop) else _appended(change, found, before)
    if changed is data and not (isinstance(change, Append) and change.patch):
        return there
    stamped = part_of(change.stamped(part, part, now))
    made = None if changed is None else spliced(changed, part, stamped)
    return None if made is None or len(made) > max_bytes else Made(stamped, made, {**there.lengths, key: after})


def _popped(change: Pop, found: ListText, length: int) -> tuple[bytes | None, int]:
    return without_last(found, change.item), length - 1


def _appended(change: Append, found: ListText, length: int) -> tuple[bytes | None, int]:
    items = _unknown(change, found)
    return (None, length) if items is None else (with_items(found, items), length + len(items))


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
