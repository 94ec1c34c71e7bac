"""A condition taken apart for an index: what it answers, what is left to the documents, where a list may start. Pure.

Invariants:
- What is known and the residue together are the condition: a record is wanted if both hold.
- A part that must hold is known as a whole or not at all. It is left over where one of its paths is not kept, or one of
  its tests cannot be done, and where one statement would become too large with it.
- What a backend has is data (`Abilities`); how it says a known part in its own language is its own affair.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from fsstore.query.columns import TAGS, locate, tags_asked
from fsstore.query.conditions import All, Compares, Condition, Either, Field, Matches, Not, OneOf, Present

TESTS: frozenset[type] = frozenset({OneOf, Compares, Matches})

STARTS = ("id", "session_id", "thread_id", "user_id", TAGS, "status", "type", "updated_at")
"""The columns that a list may start from, the most selective first."""
_SURE = frozenset({"id", "session_id", "thread_id", "updated_at"})
"""Starting from these costs little whatever the store holds: they leave few rows, or are the default order itself."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the index of a backend has, and how much goes into one of its statements."""

    parts: frozenset[str]
    """The columns of the envelope, and the documents, that it keeps."""
    starts: frozenset[str]
    """Those of STARTS by which it finds rows without looking at all."""
    in_order: frozenset[str]
    """Those of them that give the rows of one value in the default order."""
    max_nesting: int
    max_parts: int
    max_values: int
    tests: frozenset[type] = TESTS
    """The tests that it does exactly as Python does."""


class Start(NamedTuple):
    """A part of a condition, and the column by which the rows that fulfil it are found."""

    column: str
    part: Condition
    is_sure: bool
    """Whether it is a good start of a list in the default order, whatever the store holds."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A condition taken apart: what the index knows, what it does not, and what a list may start from, best first."""

    known: tuple[Condition, ...]
    residue: Condition | None
    starts: tuple[Start, ...] = ()


def plan(condition: Condition, abilities: Abilities) -> Plan:
    """Take a condition apart; O(its size)."""
    known: list[Condition] = []
    residue: list[Condition] = []
    parts = values = 0
    for part in _conjuncts(condition):
        nodes = list(_nodes(part, 0))
        more, more_values = len(nodes), sum(_values(node) for node, _ in nodes)
        fits = parts + more <= abilities.max_parts and values + more_values <= abilities.max_values
        if fits and all(_is_known(node, depth, abilities) for node, depth in nodes):
            known.append(part)
            parts, values = parts + more, values + more_values
        else:
            residue.append(part)
    starts = sorted(
        (start for part in known if (start := _start(part, abilities))), key=lambda start: STARTS.index(start.column)
    )
    left = None if not residue else residue[0] if len(residue) == 1 else All(tuple(residue))
    return Plan(tuple(known), left, tuple(starts))


def asks_documents(condition: Condition) -> bool:
    """Whether a condition asks for more of records than any index keeps: see `columns`."""
    return any(isinstance(node, Field | Present) and locate(node.path) is None for node, _ in _nodes(condition, 0))


def _conjuncts(condition: Condition) -> Iterator[Condition]:
    if isinstance(condition, All):
        for part in condition.parts:
            yield from _conjuncts(part)
    else:
        yield condition


def _nodes(condition: Condition, depth: int) -> Iterator[tuple[Condition, int]]:
    yield condition, depth
    if isinstance(condition, All | Either):
        for part in condition.parts:
            yield from _nodes(part, depth + 1)
    elif isinstance(condition, Not):
        yield from _nodes(condition.part, depth + 1)


def _values(node: Condition) -> int:
    return len(node.test.scalars) if isinstance(node, Field) and isinstance(node.test, OneOf) else 1


def _is_known(node: Condition, depth: int, abilities: Abilities) -> bool:
    if isinstance(node, All | Either | Not):
        return depth < abilities.max_nesting
    location = locate(node.path)
    if location is None or (location.document or location.column) not in abilities.parts:
        return False
    return isinstance(node, Present) or type(node.test) in abilities.tests


def _start(part: Condition, abilities: Abilities) -> Start | None:
    """Return the start that a part makes possible when it must hold."""
    column, is_several = _column(part), _values(part) > 1
    # a record with several of the tags would be found several times
    if column is None or column not in abilities.starts or (is_several and column == TAGS):
        return None
    return Start(column, part, column in _SURE or (column in abilities.in_order and not is_several))


def _column(part: Condition) -> str | None:
    """Return the column in which the rows that fulfil a part are found together."""
    if not isinstance(part, Field):
        return None
    if isinstance(part.test, Compares) and part.path == ("updated_at",):
        return "updated_at"
    if not isinstance(part.test, OneOf) or part.test.containers:
        return None
    if {kind for kind, _ in part.test.scalars} not in ({"string"}, {"number"}):
        return None
    location = locate(part.path)
    return TAGS if tags_asked(part) else location.column if location else None
