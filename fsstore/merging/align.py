"""Which elements of two lists are the same, and in which order stand those that only one of them has. Pure: no I/O.

Invariants:
- An element is known by its `id` where that stands once in each list, else by what it holds.
- A list keeps its own order, whatever the times of its elements say.
"""

from __future__ import annotations

import heapq
import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

_TIME_KEYS = ("created_at", "timestamp", "time", "at", "started_at", "ts", "date")
_LARGEST_SECONDS = 1e11
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def aligned(one: list[Any], other: list[Any]) -> dict[int, int]:
    """Return which elements of two lists are the same, as positions that rise together; O(n log n).

    What stands once in each list is matched first, then what is the same beside it.
    """
    keys, others = _keys(one, other)
    found: dict[int, int] = {}
    first, second = 0, 0
    for end, other_end in [*_rising(_unique(keys, others)), (len(keys), len(others))]:
        at, there = end, other_end
        while first < at and second < there and keys[first] == others[second]:
            found[first] = second
            first, second = first + 1, second + 1
        while first < at and second < there and keys[at - 1] == others[there - 1]:
            at, there = at - 1, there - 1
            found[at] = there
        if end < len(keys):
            found[end] = other_end
        first, second = end + 1, other_end + 1
    return found


def _unique(keys: list[str], others: list[str]) -> list[tuple[int, int]]:
    """Return the positions of what stands once in each list."""
    times, other_times = Counter(keys), Counter(others)
    there = {key: at for at, key in enumerate(others) if other_times[key] == 1}
    return [(at, there[key]) for at, key in enumerate(keys) if times[key] == 1 and key in there]


def _rising(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the most of the pairs, in order, whose second positions rise too."""
    # of all runs of a length, the one that ends lowest: its last pair, and for each pair the one before it
    lowest: list[int] = []
    ends: list[tuple[int, int]] = []
    before: dict[tuple[int, int], tuple[int, int] | None] = {}
    for pair in pairs:
        length = bisect_left(lowest, pair[1])
        before[pair] = ends[length - 1] if length else None
        lowest[length : length + 1] = [pair[1]]
        ends[length : length + 1] = [pair]
    run: list[tuple[int, int]] = []
    last = ends[-1] if ends else None
    while last is not None:
        run.append(last)
        last = before[last]
    return run[::-1]


def crossing(ours: list[Any], theirs: list[Any], anchors: dict[int, int]) -> dict[int, int]:
    """Return which other elements both lists have, in another order."""
    there: dict[str, list[int]] = {}
    taken = set(anchors.values())
    keys, others = _keys(ours, theirs)
    for at, key in enumerate(others):
        if at not in taken:
            there.setdefault(key, []).append(at)
    left = [(at, key) for at, key in enumerate(keys) if at not in anchors]
    return {at: there[key].pop(0) for at, key in left if there.get(key)}


def _keys(one: list[Any], other: list[Any]) -> tuple[list[str], list[str]]:
    """Return by what each element of two lists is known."""
    known = _known_in((one, other))
    return list(map(known, one)), list(map(known, other))


def name_of(value: Any) -> str:
    """Return the `id` of an element as text; empty where it has none."""
    name = value.get("id") if type(value) is dict else None
    return f"id {name!r}" if type(name) in (str, int) else ""


# -- three lists ------------------------------------------------------------------------------------------------------

Lists: TypeAlias = tuple[list[Any], list[Any], list[Any]]
"""Three versions of a list: base, ours and theirs."""

Tokens: TypeAlias = tuple[list[str], list[str], list[str]]
"""By what each of their elements is known."""

_LASTING = ("id ", "str ")


def identities(lists: Lists) -> Tokens | None:
    """Return by what each element is known wherever it stands; None unless every one is, and stands once in its list.

    An element with an id is known by that, a scalar is the same as one that equals it.
    """
    base, ours, theirs = (list(map(_identity, values)) for values in lists)
    tokens = (base, ours, theirs)
    is_known = all("" not in (found := set(values)) and len(found) == len(values) for values in tokens)
    return tokens if is_known else None


def _identity(value: Any) -> str:
    if type(value) is dict:
        return name_of(value)
    return "" if type(value) is list else f"{type(value).__name__} {value!r}"


def occurrences(lists: Lists) -> Tokens:
    """Return for each element a token that its list holds once: its id, or what it holds and which of those it is."""
    known = _known_in(lists)

    def counted(values: list[Any]) -> Iterator[str]:
        times: Counter[str] = Counter()
        for key in map(known, values):
            times[key] += 1
            yield key if key.startswith(_LASTING) else f"{times[key]} {key}"

    base, ours, theirs = (list(counted(values)) for values in lists)
    return base, ours, theirs


def replaces(tokens: Tokens) -> bool:
    """Whether both sides have put something else in the place of what they took out.

    An id and a text are themselves wherever they stand; a number, or an object without an id, may be a new version of
    the one that is gone.
    """
    old, one, other = ({token for token in each if not token.startswith(_LASTING)} for each in tokens)
    return all((old - one, old - other, one - old - other, other - old - one))


def moved(lists: Lists, in_ours: dict[int, int], in_theirs: dict[int, int]) -> set[str]:
    """Return what a side has in another place than the base, or both sides have added under one id: by its key."""
    base, ours, theirs = lists
    gone = {at for at in range(len(base)) if at not in in_ours or at not in in_theirs}
    added = [_others(ours, in_ours.values()), _others(theirs, in_theirs.values())]
    if not gone and not all(added):
        return set()
    known = _known_in(lists)
    one, other = ({known(value) for value in values} for values in added)
    return ({known(base[at]) for at in gone} & (one | other)) | {key for key in one & other if key.startswith("id ")}


def is_moved_in(base: list[Any], *sides: list[Any]) -> bool:
    """Whether a side has an element of the base in another place than there: it is no new version of what was there."""
    old = [json.dumps(value, sort_keys=True) for value in base]
    there = set(old)
    for side in sides:
        for at, value in enumerate(side[: len(base)]):
            key = json.dumps(value, sort_keys=True)
            if key in there and key != old[at]:
                return True
    return False


def _others(values: list[Any], taken: Iterable[int]) -> list[Any]:
    known = set(taken)
    return [value for at, value in enumerate(values) if at not in known]


def are_kept(keys: set[str], lists: Lists, merged: Sequence[Any]) -> bool:
    """Whether a merged list has elements of those keys as often as it may; O(its size)."""
    known = _known_in(lists)
    base, ours, theirs, found = (Counter(map(known, values)) for values in (*lists, merged))
    for key in keys:
        old, one, other = base[key], ours[key], theirs[key]
        most = 1 if key.startswith("id ") else max(one, other, one + other - old)
        # of several that are alike, each side may have edited another
        least = min(old, one + other - old)
        is_deleted = old == 1 and one + other == 1
        if not least <= found[key] <= most or (is_deleted and found[key]):
            return False
    return True


def _known_in(lists: Sequence[list[Any]]) -> Callable[[Any], str]:
    """Return what distinguishes the elements of some lists: the id where none holds it twice, else what they hold."""
    counts = [Counter(map(name_of, values)) for values in lists]
    unusable = {"", *(name for counted in counts for name, times in counted.items() if times > 1)}

    def known(value: Any) -> str:
        name = name_of(value)
        return json.dumps(value, sort_keys=True) if name in unusable else name

    return known


# -- times ------------------------------------------------------------------------------------------------------------


def in_time_order(ours: list[T], theirs: list[T], value_of: Callable[[T], Any] = lambda item: item) -> list[T]:
    """Return both, each in its own order; ours first where the times are equal or one side has none.

    What carries no time stays with what is before it. `value_of` gives the element that an item stands for.
    """

    def time_of(item: T) -> datetime | None:
        return _time_of(value_of(item))

    if all(time_of(item) is None for item in ours) or all(time_of(item) is None for item in theirs):
        return ours + theirs
    return list(heapq.merge(ours, theirs, key=lambda item: time_of(item) or _LONG_AGO))


def _time_of(value: Any) -> datetime | None:
    if type(value) is not dict:
        return None
    return next((moment for key in _TIME_KEYS if (moment := moment_of(value.get(key)))), None)


def moment_of(value: Any) -> datetime | None:
    """Return an ISO 8601 time, or a Unix time in seconds or a fraction of them; None for anything else."""
    try:
        if type(value) is str:
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        if type(value) in (int, float):
            # milli, micro, nano
            scale = sum(value >= _LARGEST_SECONDS * 1000**step for step in range(3))
            return datetime.fromtimestamp(value / 1000**scale, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None
