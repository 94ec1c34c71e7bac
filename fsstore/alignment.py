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
from datetime import UTC, datetime
from typing import Any

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
    counts = (Counter(map(name_of, values)) for values in (one, other))
    unusable = {"", *(name for counted in counts for name, times in counted.items() if times > 1)}

    def known(value: Any) -> str:
        name = name_of(value)
        return json.dumps(value, sort_keys=True) if name in unusable else name

    return list(map(known, one)), list(map(known, other))


def name_of(value: Any) -> str:
    """Return the `id` of an element as text; empty where it has none."""
    name = value.get("id") if type(value) is dict else None
    return f"id {name!r}" if type(name) in (str, int) else ""


def in_time_order(ours: list[Any], theirs: list[Any]) -> list[Any]:
    """Return both, each in its own order; ours first where the times are equal or one side has none.

    What carries no time stays with what is before it.
    """
    if all(_time_of(value) is None for value in ours) or all(_time_of(value) is None for value in theirs):
        return ours + theirs
    return list(heapq.merge(ours, theirs, key=lambda value: _time_of(value) or _LONG_AGO))


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
