"""Three versions of one document made one: the common ancestor, ours and theirs. Pure: no I/O.

What both sides have, or one side has changed, is taken. Objects are merged key by key. Elements of a list that have an
`id`, and scalars, are the same wherever they stand, if each list holds them once: their contents are merged first, then
their order (`ordering`). Other lists are aligned by what their elements hold. What both sides add in the same place
stands in the order of its times, ours first where there are none, and once if both add the same. Everything else that
both sides change is a conflict: it stands in the result in the smallest part that holds it, and names its path
(RFC 9535).

Invariants:
- A merge with an unchanged side gives the other side, and so does a merge of equals.
- Swapping the sides swaps the sides of the conflicts, and changes no path.
- An id, or a scalar, that each list holds at most once is in the result at most once, whichever sides are chosen; an
  element that nobody has deleted is there. A conflict of orders holds every element on both sides.
- What has no id and repeats is not kept more often than both sides have it without a conflict.
- The stamps of the store never conflict: the later time of the last update, the earlier one of the making, and a
  version after both.
- Documents of different ids are never mixed: they conflict as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from operator import itemgetter
from typing import Any

from fsstore.merging.align import (
    Lists,
    aligned,
    are_kept,
    crossing,
    identities,
    in_time_order,
    is_moved_in,
    moment_of,
    moved,
    occurrences,
    replaces,
)
from fsstore.merging.conflicts import Conflict, Merged, Part, path_of, solved, step_to
from fsstore.merging.items import merge_items
from fsstore.model.records import JsonObject

__all__ = ["Conflict", "Merged", "Part", "merge", "same"]


_LATER = (("updated_at",), ("data", "metadata", "updated_at"))
_EARLIER = (("created_at",), ("data", "metadata", "created_at"))
_LAST_VERSION = 2**63 - 1


def merge(base: JsonObject | None, ours: JsonObject, theirs: JsonObject) -> Merged:
    """Merge two versions of a record; `base` is None where both sides have made it.

    About O(size); a quarter of a second for 10 000 messages.
    """
    if same(ours, theirs) or same(base, theirs):
        return Merged(ours)
    if same(base, ours):
        return Merged(theirs)
    if not same(ours.get("id"), theirs.get("id")):
        return Merged(Conflict("$", () if base is None else (base,), (ours,), (theirs,)))
    # a base of another id is what git takes for the same document under an older name
    is_ancestor = base is not None and same(base.get("id"), ours.get("id"))
    merged = _merge_objects(base if base is not None and is_ancestor else {}, ours, theirs, ())
    versions = (ours.get("version"), theirs.get("version"))
    if type(versions[0]) is int and type(versions[1]) is int:
        merged["version"] = min(max(versions[0], versions[1]) + 1, _LAST_VERSION)
    return Merged(merged)


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same: unlike for Python, 1, 1.0 and true differ."""
    if type(one) is not type(other):
        return False
    if type(one) is dict:
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if type(one) in (list, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    # as text, since 0.0 equals -0.0
    return repr(one) == repr(other) if type(one) is float else bool(one == other)


# -- one place --------------------------------------------------------------------------------------------------------


def _merge_part(base: Part, ours: Part, theirs: Part, steps: tuple[Any, ...]) -> Part:
    if ours and theirs and steps in _LATER and (latest := _by_time(ours, theirs)):
        return latest[-1]
    if same(ours, theirs) or same(base, theirs):
        return ours
    if same(base, ours):
        return theirs
    return _merge_changed(base, ours, theirs, steps)


def _merge_changed(base: Part, ours: Part, theirs: Part, steps: tuple[Any, ...]) -> Part:
    if ours and theirs:
        if steps in _EARLIER and (earliest := _by_time(ours, theirs)):
            return earliest[0]
        kinds = {type(ours[0]), type(theirs[0])}
        if kinds == {dict}:
            return (_merge_objects(_inner(base, dict), ours[0], theirs[0], steps),)
        if kinds == {list}:
            return (_merge_lists(_inner(base, list), ours[0], theirs[0], steps),)
    return (Conflict(path_of(steps), base, ours, theirs),)


def _merge_objects(base: JsonObject, ours: JsonObject, theirs: JsonObject, steps: tuple[Any, ...]) -> JsonObject:
    merged = {}
    for key in {**base, **ours, **theirs}:
        for value in _merge_part(_at(base, key), _at(ours, key), _at(theirs, key), (*steps, key)):
            merged[key] = value
    return merged


def _at(value: JsonObject, key: str) -> Part:
    return (value[key],) if key in value else ()


def _inner(base: Part, kind: type) -> Any:
    return base[0] if base and type(base[0]) is kind else kind()


def _by_time(ours: Part, theirs: Part) -> list[Part] | None:
    """Return both, the earlier first; None unless both are times."""
    moments = [(moment_of(part[0]), str(part[0]), part) for part in (ours, theirs)]
    if any(moment is None for moment, *_ in moments):
        return None
    return [part for *_, part in sorted(moments, key=itemgetter(0, 1))]


# -- lists ------------------------------------------------------------------------------------------------------------


def _merge_lists(base: list[Any], ours: list[Any], theirs: list[Any], steps: tuple[Any, ...]) -> list[Any]:
    lists = (base, ours, theirs)
    tokens = identities(lists)
    if tokens is None or replaces(tokens):
        if (merged := _merge_aligned(lists, steps)) is not None:
            return merged
        tokens = occurrences(lists)
        if replaces(tokens):
            return _whole_conflict(lists, steps)
    return merge_items(lists, tokens, steps, _merge_part)


def _whole_conflict(lists: Lists, steps: tuple[Any, ...]) -> list[Any]:
    """Return what all three begin and end with, and between that a conflict of all the rest."""
    start = _common(lists)
    after = _common([values[start:][::-1] for values in lists])
    base, ours, theirs = (tuple(values[start : len(values) - after]) for values in lists)
    conflict = Conflict(path_of((*steps, slice(start, start + len(base)))), base, ours, theirs)
    return [*lists[1][:start], conflict, *lists[1][len(lists[1]) - after :]]


def _common(lists: Sequence[list[Any]]) -> int:
    """Return how many elements all lists begin with."""
    return sum(
        1 for _ in takewhile(lambda found: all(same(found[0], other) for other in found), zip(*lists, strict=False))
    )


def _merge_aligned(lists: Lists, steps: tuple[Any, ...]) -> list[Any] | None:
    """Merge what lies between the elements that all three have, and these one by one.

    Return None where that would keep an element twice or lose one, since a side has moved it.
    """
    base, ours, theirs = lists
    in_ours, in_theirs = aligned(base, ours), aligned(base, theirs)
    merged: list[Any] = []
    after = (0, 0, 0)
    for at in sorted(in_ours.keys() & in_theirs.keys()):
        here = (at, in_ours[at], in_theirs[at])
        merged += _merge_between(_between(lists, after, here), steps, after[0])
        merged += _merge_part((base[at],), (ours[here[1]],), (theirs[here[2]],), (*steps, step_to(base[at], at)))
        after = (here[0] + 1, here[1] + 1, here[2] + 1)
    end = (len(base), len(ours), len(theirs))
    merged += _merge_between(_between(lists, after, end), steps, after[0])
    moves = moved(lists, in_ours, in_theirs)
    if moves and not all(are_kept(moves, lists, solved(tuple(merged), side)) for side in ("ours", "theirs")):
        return None
    return merged


def _between(lists: Sequence[list[Any]], after: Sequence[int], before: Sequence[int]) -> list[list[Any]]:
    return [values[first:end] for values, first, end in zip(lists, after, before, strict=True)]


def _merge_between(parts: list[list[Any]], steps: tuple[Any, ...], start: int) -> list[Any]:
    base, ours, theirs = parts
    if same(ours, theirs) or same(base, theirs):
        return ours
    if same(base, ours):
        return theirs
    kept = len(base)
    if (
        len(ours) >= kept <= len(theirs)
        and all(map(_kindred, base, ours, theirs))
        and not is_moved_in(base, ours, theirs)
    ):
        merged: list[Any] = []
        for at, (old, one, other) in enumerate(zip(base, ours, theirs, strict=False), start):
            merged += _merge_part((old,), (one,), (other,), (*steps, step_to(old, at)))
        return merged + _merge_additions(ours[kept:], theirs[kept:], steps)
    end = start + kept
    place = start if kept == 1 else slice(start, end)
    return [Conflict(path_of((*steps, place)), tuple(base), tuple(ours), tuple(theirs))]


def _kindred(base: Any, ours: Any, theirs: Any) -> bool:
    """Whether elements in the same place may be three versions of one."""
    if not type(base) is type(ours) is type(theirs) is dict:
        return False
    return same(base.get("id"), ours.get("id")) and same(base.get("id"), theirs.get("id"))


def _merge_additions(ours: list[Any], theirs: list[Any], steps: tuple[Any, ...]) -> list[Any]:
    """Return what both sides add in one place: what both have once, the rest around it in time order."""
    anchors = aligned(ours, theirs)
    twins = anchors | crossing(ours, theirs, anchors)
    merged: list[Any] = []
    mine: list[Any] = []
    for at, value in enumerate(ours):
        twin = theirs[twins[at]] if at in twins else value
        mine += _merge_part((), (value,), (twin,), (*steps, step_to(value, at)))
    taken = set(twins.values())
    first, second = 0, 0
    for here, there in [*sorted(anchors.items()), (len(ours), len(theirs))]:
        rest = [theirs[at] for at in range(second, there) if at not in taken]
        merged += [*in_time_order(mine[first:here], rest), *mine[here : here + 1]]
        first, second = here + 1, there + 1
    return merged
