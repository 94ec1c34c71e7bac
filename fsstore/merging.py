"""Three versions of one document made one: the common ancestor, ours and theirs. Pure: no I/O.

What both sides have, or one side has changed, is taken. Objects are merged key by key. Lists are aligned by the `id` of
their elements, or by what these hold; what both sides add in the same place stands in the order of its times, ours
first where there are none, and once if both add the same. Everything else that both sides change is a conflict: it
stands in the result in the smallest part that holds it, and names its path (RFC 9535).

Invariants:
- A merge with an unchanged side gives the other side, and so does a merge of equals.
- Swapping the sides swaps the sides of the conflicts, and changes no path.
- The stamps of the store never conflict: the later time of the last update, the earlier one of the making, and a
  version after both.
- Documents of different ids are never mixed: they conflict as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal, TypeAlias

from fsstore.alignment import aligned, crossing, in_time_order, moment_of, name_of
from fsstore.models import JsonObject
from fsstore.values import format_path

Part: TypeAlias = tuple[Any, ...]
"""What a version has in one place: a value or nothing; in a list any number of elements."""

_LATER = (("updated_at",), ("data", "metadata", "updated_at"))
_EARLIER = (("created_at",), ("data", "metadata", "created_at"))
_LAST_VERSION = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Conflict:
    """What both sides have changed in different ways; stands in the merged value where they would."""

    path: str
    base: Part
    ours: Part
    theirs: Part


@dataclass(frozen=True, slots=True)
class Merged:
    """A merged document: a JSON value in which conflicts may stand."""

    value: Any

    @property
    def conflicts(self) -> list[Conflict]:
        """The conflicts, in the order of the document; O(its size)."""
        return list(_conflicts(self.value))

    def taking(self, side: Literal["ours", "theirs"]) -> Any:
        """Return the value with every conflict solved for one side; O(its size)."""
        return _solved((self.value,), side)[0]


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
    return (Conflict(_path(steps), base, ours, theirs),)


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
    """Merge what lies between the elements that all three have, and these one by one."""
    in_ours, in_theirs = aligned(base, ours), aligned(base, theirs)
    merged: list[Any] = []
    after = (0, 0, 0)
    for at in sorted(in_ours.keys() & in_theirs.keys()):
        here = (at, in_ours[at], in_theirs[at])
        merged += _merge_between(_between((base, ours, theirs), after, here), steps, after[0])
        merged += _merge_part((base[at],), (ours[here[1]],), (theirs[here[2]],), (*steps, _step(base[at], at)))
        after = (here[0] + 1, here[1] + 1, here[2] + 1)
    end = (len(base), len(ours), len(theirs))
    return merged + _merge_between(_between((base, ours, theirs), after, end), steps, after[0])


def _between(lists: Sequence[list[Any]], after: Sequence[int], before: Sequence[int]) -> list[list[Any]]:
    return [values[first:end] for values, first, end in zip(lists, after, before, strict=True)]


def _merge_between(parts: list[list[Any]], steps: tuple[Any, ...], start: int) -> list[Any]:
    base, ours, theirs = parts
    if same(ours, theirs) or same(base, theirs):
        return ours
    if same(base, ours):
        return theirs
    kept = len(base)
    if len(ours) >= kept <= len(theirs) and all(map(_kindred, base, ours, theirs)):
        merged: list[Any] = []
        for at, (old, one, other) in enumerate(zip(base, ours, theirs, strict=False), start):
            merged += _merge_part((old,), (one,), (other,), (*steps, _step(old, at)))
        return merged + _merge_additions(ours[kept:], theirs[kept:], steps)
    end = start + kept
    place = start if kept == 1 else slice(start, end)
    return [Conflict(_path((*steps, place)), tuple(base), tuple(ours), tuple(theirs))]


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
        mine += _merge_part((), (value,), (twin,), (*steps, _step(value, at)))
    taken = set(twins.values())
    first, second = 0, 0
    for here, there in [*sorted(anchors.items()), (len(ours), len(theirs))]:
        rest = [theirs[at] for at in range(second, there) if at not in taken]
        merged += [*in_time_order(mine[first:here], rest), *mine[here : here + 1]]
        first, second = here + 1, there + 1
    return merged


# -- paths ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Named:
    """A step to the element of a list that has that id."""

    id: Any


def _step(value: Any, at: int) -> Any:
    return _Named(value["id"]) if name_of(value) else at


def _path(steps: tuple[Any, ...]) -> str:
    return "$" + "".join(map(_format_step, steps))


def _format_step(step: Any) -> str:
    if isinstance(step, _Named):
        return f"[?@.id=={step.id!r}]"
    if isinstance(step, slice):
        return f"[{step.start}:{step.stop}]"
    return format_path((step,))[1:]


# -- conflicts in a value ---------------------------------------------------------------------------------------------


def _conflicts(value: Any) -> Iterator[Conflict]:
    if isinstance(value, Conflict):
        yield value
    elif type(value) in (dict, list):
        for item in value.values() if type(value) is dict else value:
            yield from _conflicts(item)


def _solved(part: Part, side: Literal["ours", "theirs"]) -> Part:
    solved: list[Any] = []
    for value in part:
        if isinstance(value, Conflict):
            solved += value.ours if side == "ours" else value.theirs
        elif type(value) is dict:
            solved.append({key: inner[0] for key, item in value.items() if (inner := _solved((item,), side))})
        else:
            solved.append(list(_solved(tuple(value), side)) if type(value) is list else value)
    return tuple(solved)
