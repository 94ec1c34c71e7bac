"""What filters and orders mean for one record: conditions, which hold or not, and places in a sequence. Pure.

`fsstore.query.filters` has the words that callers use for these. An index may answer a condition in its own way,
and must agree with `matches` here on every record.

- Types are JSON's: 1 equals 1.0 but never True, at any depth.
- At a path of `TIME_PATHS` instants are compared, whatever form they have in the record; what is no time there equals
  none and is neither before nor after any.
- At an array a path goes on into every object that the array holds, and a step of digits is also the place
  of an element. A scalar on the way means missing; within an array it means nothing at all.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Literal, TypeAlias

from fsstore.model.times import TIME_PATHS, instant_of
from fsstore.query.patterns import Pattern

Path: TypeAlias = tuple[str, ...]
Comparison: TypeAlias = Literal["$gt", "$gte", "$lt", "$lte"]

ABSENT: Any = object()
"""Stands for the value of a path that leads nowhere."""

_NO_TIME: Any = object()

COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
_KINDS = {
    NoneType: "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}
_RANKS = {"null": 0, "number": 1, "string": 2, "array": 3, "object": 3, "boolean": 4}
_CONTAINERS = 3
# after the digits with which a time begins
_AFTER_TIMES = "?"
_INDEX = re.compile(r"(?:0|[1-9][0-9]{0,17})\Z")


@dataclass(frozen=True, slots=True, weakref_slot=True)
class All:
    """Every part holds; with no parts, always."""

    parts: tuple[Condition, ...]

    def matches(self, record: Mapping[str, Any]) -> bool:
        """Whether the record is wanted."""
        for part in self.parts:  # noqa: SIM110 - a generator costs as much as the parts
            if not part.matches(record):
                return False
        return True


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Either:
    """At least one part holds; with no parts, never."""

    parts: tuple[Condition, ...]

    def matches(self, record: Mapping[str, Any]) -> bool:
        """Whether the record is wanted."""
        return any(part.matches(record) for part in self.parts)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Not:
    """The part does not hold."""

    part: Condition

    def matches(self, record: Mapping[str, Any]) -> bool:
        """Whether the record is wanted."""
        return not self.part.matches(record)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Present:
    """The path leads to a value, be it null."""

    path: Path

    def matches(self, record: Mapping[str, Any]) -> bool:
        """Whether the record is wanted."""
        return any(value is not ABSENT for value in reached(record, self.path))


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Field:
    """The path leads to a value that the test accepts, or to an array that holds one."""

    path: Path
    test: Test

    def matches(self, record: Mapping[str, Any]) -> bool:
        """Whether the record is wanted."""
        value: Any = record
        for step in self.path:
            if type(value) is not dict:
                break
            value = value.get(step)
        else:
            # most paths lead through objects to one value
            accepts = self.test.accepts
            return accepts(value) or (type(value) is list and any(map(accepts, value)))
        return any(self.test.accepts(value) for value in _candidates(record, self.path))


@dataclass(frozen=True, slots=True)
class TimeField(Field):
    """The path leads to a time, in any form, that the test accepts in the store's form; null and missing stay."""

    def matches(self, record: Mapping[str, Any]) -> bool:
        """Whether the record is wanted."""
        if len(self.path) == 1 and type(value := record.get(self.path[0])) is not list:
            return self.test.accepts(_instant(value))
        return any(self.test.accepts(_instant(value)) for value in _candidates(record, self.path))


def _instant(value: Any) -> Any:
    return value if value is None else (isinstance(value, str) and instant_of(value)) or _NO_TIME


Condition: TypeAlias = All | Either | Not | Present | Field

EVERYTHING = All(())


@dataclass(frozen=True, slots=True)
class OneOf:
    """Equal to one of these. A scalar is kept with its kind, so that True is not found as 1."""

    scalars: frozenset[tuple[str, Any]]
    containers: tuple[Any, ...]
    _sizes: frozenset[tuple[type, int]] = field(init=False, repr=False, compare=False)
    _forms: frozenset[Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_sizes", frozenset((type(value), len(value)) for value in self.containers))
        several = self.containers if len(self.containers) > 1 else ()
        object.__setattr__(self, "_forms", frozenset(map(_hashable, several)))

    def accepts(self, value: Any) -> bool:
        """Whether the value is one of them; O(its size), however many they are."""
        if isinstance(value, dict | list):
            if (type(value), len(value)) not in self._sizes:
                return False
            # one alone is compared up to the first difference
            return _hashable(value) in self._forms if self._forms else _same(value, self.containers[0])
        return (kind_of(value), value) in self.scalars


@dataclass(frozen=True, slots=True)
class Compares:
    """Greater or smaller than a number, string or boolean, within that type."""

    comparison: Comparison
    operand: Any

    def accepts(self, value: Any) -> bool:
        """Whether the value is of the operand's kind and compares so."""
        return kind_of(value) == kind_of(self.operand) and COMPARISONS[self.comparison](value, self.operand)


@dataclass(frozen=True, slots=True)
class Matches:
    """A string in which the pattern is found."""

    pattern: Pattern

    def accepts(self, value: Any) -> bool:
        """Whether the value is such a string."""
        return isinstance(value, str) and self.pattern.is_in(value)


Test: TypeAlias = OneOf | Compares | Matches


def kind_of(value: Any) -> str:
    """Return the JSON type of a value: null, boolean, number, string, array or object."""
    return _KINDS.get(type(value), "other")


def reached(value: Any, path: Path) -> Iterator[Any]:
    """Give all values a path leads to; ABSENT where an object lacks a key of it or a scalar is on the way."""
    for at, step in enumerate(path):
        if isinstance(value, list):
            yield from _reached_through(value, path[at:])
            return
        if not isinstance(value, dict) or step not in value:
            yield ABSENT
            return
        value = value[step]
    yield value


def _reached_through(items: list[Any], path: Path) -> Iterator[Any]:
    for item in items:
        if isinstance(item, dict):
            yield from reached(item, path)
    step, rest = path[0], path[1:]
    if _INDEX.match(step) and int(step) < len(items):
        item = items[int(step)]
        if not rest or isinstance(item, dict | list):
            yield from reached(item, rest)


def _candidates(record: Mapping[str, Any], path: Path) -> Iterator[Any]:
    for value in reached(record, path):
        yield None if value is ABSENT else value
        if isinstance(value, list):
            yield from value


def _same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal, types included: Python itself holds 1 and True for equal."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(item, right[key]) for key, item in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return kind_of(left) == kind_of(right) and bool(left == right)


def _hashable(value: Any) -> Any:
    """Return a form of a JSON value that is equal to another's where the two values are the same."""
    if isinstance(value, dict):
        return "object", frozenset((key, _hashable(item)) for key, item in value.items())
    if isinstance(value, list):
        return "array", tuple(map(_hashable, value))
    return kind_of(value), value


@dataclass(frozen=True, slots=True)
class Order:
    """A total order of records by one path; ties go by id, ascending in either direction.

    Missing and null come first, then numbers, strings, objects and arrays (all equal), false, true; `descending` turns
    that round. The path steps through objects only: where it meets an array, the value counts as missing. Integers
    beyond 64 bits, signed, count as their nearest float. Times come as instants, and before all text that is no time.
    """

    path: Path
    descending: bool

    def key(self, record: Mapping[str, Any]) -> Any:
        """Return what to compare records by, for `sorted` and `heapq`."""
        place, record_id = self.place(record), record["id"]
        return _Reversed(place, record_id) if self.descending else (place, record_id)

    def place(self, record: Mapping[str, Any]) -> tuple[int, Any]:
        """Return the rank of the value's type, and the value where its type has an order."""
        value: Any = record
        for step in self.path:
            if not isinstance(value, dict):
                return _RANKS["null"], None
            value = value.get(step)
        if type(value) is int and not -(2**63) <= value < 2**63:
            value = _nearest_float(value)
        elif type(value) is str and self.path in TIME_PATHS:
            value = instant_of(value) or f"{_AFTER_TIMES}{value}"
        rank = _RANKS.get(kind_of(value), _CONTAINERS)
        return rank, None if rank == _CONTAINERS else value


def _nearest_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


class _Reversed:
    """Compares the other way round by place, and the usual way by id."""

    __slots__ = ("id", "place")

    def __init__(self, place: tuple[int, Any], record_id: str) -> None:
        self.place = place
        self.id = record_id

    def __lt__(self, other: _Reversed) -> bool:
        return other.place < self.place or (other.place == self.place and self.id < other.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reversed) and (self.place, self.id) == (other.place, other.id)

    def __hash__(self) -> int:
        return hash((self.place, self.id))
