"""Lists inside a record: found by their path, made longer, looked at from their end. Pure.

Nothing that is given is changed: a longer list is a new one, in a record that shares everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from fsstore.errors import StorageValidationError
from fsstore.model.patch import Steps
from fsstore.model.records import JsonObject
from fsstore.model.values import format_path, write_json


class Tail(NamedTuple):
    """The end of a list, or a part before it."""

    items: list[Any]
    start: int
    """The position of the first of the items: what `before` takes for those that come before them."""
    length: int
    """How many items the whole list has."""


def list_at(record: JsonObject, steps: Steps) -> list[Any] | None:
    """Return the list at a path of a record, None when there is nothing.

    Raises StorageValidationError where something else stands there, or on the way.
    """
    value: Any = record
    for at, step in enumerate(steps):
        if type(value) is not dict:
            raise _no_place(record, steps[:at], value, "an object")
        if step not in value:
            return None
        value = value[step]
    if type(value) is not list:
        raise _no_place(record, steps, value, "a list")
    return value


def extended(record: JsonObject, steps: Steps, items: Sequence[Any]) -> JsonObject:
    """Return a record whose list at a path has items more at its end; made, with the way to it, if it is not there."""
    there = list_at(record, steps)
    return _replaced(record, steps, [*(there or ()), *items])


def shortened(record: JsonObject, steps: Steps) -> JsonObject:
    """Return a record whose list at a path, which has items, has lost the last one."""
    return _replaced(record, steps, (list_at(record, steps) or [])[:-1])


def unknown(items: Sequence[Any], there: Sequence[Any], key: str) -> list[Any]:
    """Return the items whose value under a key no other item has, of those that are there and of the earlier ones.

    Items without the key are all unknown. O(both lists).
    """
    known = {mark for item in there if (mark := mark_of(item, key)) is not None}
    found: list[Any] = []
    for item in items:
        mark = mark_of(item, key)
        if mark is None or mark not in known:
            found.append(item)
        if mark is not None:
            known.add(mark)
    return found


def mark_of(item: Any, key: str) -> bytes | None:
    """Return what an item is known by, None when it does not have the key; 1 and true are two marks."""
    return write_json(item[key]) if type(item) is dict and key in item else None


def tail_of(items: Sequence[Any], count: int, before: int | None = None) -> Tail:
    """Return the last items of a list, or those just before a position."""
    end = len(items) if before is None else min(before, len(items))
    start = max(end - count, 0)
    return Tail(list(items[start:end]), start, len(items))


def _replaced(value: JsonObject, steps: Steps, made: list[Any]) -> JsonObject:
    first, *rest = steps
    return {**value, first: _replaced(value.get(first, {}), tuple(rest), made) if rest else made}


def _no_place(record: JsonObject, steps: Steps, value: Any, wanted: str) -> StorageValidationError:
    kind = "null" if value is None else type(value).__name__
    return StorageValidationError(
        reason=f"must be {wanted} for items to be put there, not {kind}",
        path=format_path(steps),
        id=record.get("id"),
        advice="name another path, or change that value with edit_session first",
    )
