"""Three versions of a list whose elements are known wherever they stand: contents are merged first, then the order.

Each element has a token, which its list holds once (`alignment`). Pure: no I/O.

Invariants:
- Each element is in the result once, whichever sides of the conflicts are chosen, or not at all: if a side has deleted
  it and the other has not changed it, or where that is a conflict and its deletion is chosen.
- A conflict of orders holds the same elements on both sides, each with the contents of its side, and no other conflict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from fsstore.merging.align import Lists, Tokens, in_time_order
from fsstore.merging.conflicts import Conflict, Part, Side, path_of, solved, step_to
from fsstore.merging.ordering import Additions, Order, merged_order, placed

MergePart: TypeAlias = Callable[[Part, Part, Part, tuple[Any, ...]], Part]
"""Merges the versions of what is in one place: base, ours, theirs, and the steps to it."""


def merge_items(lists: Lists, tokens: Tokens, steps: tuple[Any, ...], merge_part: MergePart) -> list[Any]:
    """Merge base, ours and theirs; about O(n) but for what both sides have moved."""
    items = _items(lists, tokens, steps, merge_part)
    order, mine, yours = _orders(tokens, items)
    merged: list[Any] = []
    for at, group in enumerate([*order.groups, []]):
        for token in _in_time_order(items, mine.before.get(at, []), yours.before.get(at, [])):
            merged += items[token].part
        if len(group) == 1:
            merged += items[group[0]].part
        elif group:
            sides = (
                _one_side("ours", group, items, mine, yours),
                _one_side("theirs", order.as_theirs(group), items, yours, mine),
            )
            merged.append(_order_conflict([items[token] for token in group], sides, lists[0], steps))
    return merged


@dataclass(frozen=True, slots=True)
class _Item:
    """An element: what it has become, the version that gives its time, and its place in the base, if it is there."""

    part: Part
    seen: Any
    at: int | None


def _items(lists: Lists, tokens: Tokens, steps: tuple[Any, ...], merge_part: MergePart) -> dict[str, _Item]:
    places: list[dict[str, int]] = [{token: at for at, token in enumerate(each)} for each in tokens]
    items: dict[str, _Item] = {}
    for token in {**places[0], **places[1], **places[2]}:
        found = [found.get(token) for found in places]
        versions: list[Part] = [() if at is None else (values[at],) for values, at in zip(lists, found, strict=True)]
        base, ours, theirs = versions
        where = next(at for at in found if at is not None)
        known, seen = (base or ours or theirs)[0], (ours or theirs or base)[0]
        items[token] = _Item(merge_part(base, ours, theirs, (*steps, step_to(known, where))), seen, found[0])
    return items


def _orders(tokens: Tokens, items: dict[str, _Item]) -> tuple[Order, Additions, Additions]:
    """Return the order of what both sides have, and where what only one of them has belongs."""
    base, ours, theirs = tokens
    shared = set(ours) & set(theirs)
    order = merged_order(*([token for token in each if token in shared] for each in tokens))
    # an element that is in conflict itself would not be one choice inside of another
    contested = {token for token in base if items[token].part and isinstance(items[token].part[0], Conflict)}
    mine, yours = (
        placed(order, [token for token in side if items[token].part], outside=contested) for side in (ours, theirs)
    )
    return order, mine, yours


def _in_time_order(items: dict[str, _Item], ours: list[str], theirs: list[str]) -> list[str]:
    return in_time_order(ours, theirs, lambda token: items[token].seen) if ours and theirs else ours + theirs


def _one_side(side: Side, group: list[str], items: dict[str, _Item], own: Additions, other: Additions) -> Part:
    """Return what a side has in the place of a group: its order and its contents, and what belongs in between."""
    found: list[Any] = []
    for token in group:
        # its own first, so that swapping the sides swaps the sides of the conflict
        behind = _in_time_order(items, own.behind.get(token, []), other.behind.get(token, []))
        for shown in (token, *behind):
            found += solved(items[shown].part, side)
    return tuple(found)


def _order_conflict(group: list[_Item], sides: tuple[Part, Part], base: list[Any], steps: tuple[Any, ...]) -> Conflict:
    # at least one is from the base: what both sides have added has no order that either could have changed
    places = sorted(item.at for item in group if item.at is not None)
    path = path_of((*steps, slice(places[0], places[-1] + 1)))
    return Conflict(path, tuple(base[at] for at in places), *sides, is_order=True)
