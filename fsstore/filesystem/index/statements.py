"""The SELECTs of the index: what is wanted, in which order, and what only the documents can tell.

Invariants:
- A statement has two halves: ordinary rows, judged by the terms of `terms`, and odd ones, judged by Python on the part
  of the record that the index knows. Each half reads an index of its own in order, and SQLite merges them, so that a
  list reads no more rows than it gives.
- Which index is read is decided by the caller, who can count, and not by SQLite, which knows nothing of how the values
  are spread. A list starts from one part of its condition, and sorts, or it walks through all rows in order.
- Paths that the index does not know, and conditions too large for one statement, are left over as the residue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fsstore.filesystem.index.terms import Terms, locate, tags_asked
from fsstore.query.conditions import All, Compares, Condition, Either, Field, Not, OneOf, Order, Path

_STARTS = ("id", "session_id", "thread_id", "user_id", "tag", "status", "type", "updated_at")
"""What a list may start from, the most selective first."""
_SURE = frozenset({"id", "session_id", "thread_id", "updated_at"})
"""Starting from these costs little whatever the store holds: they leave few rows, or are the default order itself."""
_IN_ORDER = frozenset({"user_id", "status"})
"""Starting from one value of these gives the rows in the default order."""

_WALKS: Mapping[Path, str] = {("updated_at",): "entry_recent", ("id",): "entry_id"}
"""The indexes that give all rows in an order."""

# SQLite's parser and its expressions have bounds of their own; these keep well below them
_MAX_NESTING = 8
_MAX_PARTS = 400
_MAX_VALUES = 5_000
_MOST_SELECTIONS = 16
_MOST_ROWS = 2**63 - 1
"""What SQLite holds as an integer; a caller may say more."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One SELECT. The conditions in `asked` must be kept while it runs."""

    text: str
    values: Mapping[str, object]
    asked: Sequence[Condition]


class Start(NamedTuple):
    """A part of a condition, and the index by which the rows that fulfil it are found."""

    name: str
    part: Condition
    is_several: bool = False

    @property
    def is_sure(self) -> bool:
        """Whether it is a good start of a list in the default order, whatever the store holds."""
        return self.name in _SURE or (self.name in _IN_ORDER and not self.is_several)


@dataclass(frozen=True, slots=True)
class Plan:
    """A condition taken apart: what the index knows, what it does not, and what a list may start from, best first."""

    known: tuple[Condition, ...]
    residue: Condition | None
    starts: tuple[Start, ...]
    selections: dict[tuple[object, ...], tuple[Statement, bool]] = field(default_factory=dict, compare=False)
    """What `selecting` has made of it."""


def plan(condition: Condition) -> Plan:
    """Take a condition apart; O(its size)."""
    known: list[Condition] = []
    residue: list[Condition] = []
    parts = values = 0
    for part in _conjuncts(condition):
        nodes = list(_nodes(part, 0))
        more, more_values = len(nodes), sum(_values(node) for node, _ in nodes)
        fits = parts + more <= _MAX_PARTS and values + more_values <= _MAX_VALUES
        if fits and all(_is_known(node, depth) for node, depth in nodes):
            known.append(part)
            parts, values = parts + more, values + more_values
        else:
            residue.append(part)
    starts = sorted((start for part in known if (start := _start(part))), key=lambda start: _STARTS.index(start.name))
    left = None if not residue else residue[0] if len(residue) == 1 else All(tuple(residue))
    return Plan(tuple(known), left, tuple(starts))


def selecting(
    columns: Sequence[str], plan: Plan, start: Start | None, order: Order, *, limit: int | None = None, offset: int = 0
) -> tuple[Statement, bool]:
    """Select columns of the rows that match; also tell whether they come in order, and limit and offset hold."""
    key = tuple(columns), None if start is None else id(start.part), order, limit, offset
    if key not in plan.selections:
        if len(plan.selections) >= _MOST_SELECTIONS:
            plan.selections.clear()
        plan.selections[key] = _selecting(columns, plan, start, order, limit=limit, offset=offset)
    return plan.selections[key]


def _selecting(
    columns: Sequence[str], plan: Plan, start: Start | None, order: Order, *, limit: int | None, offset: int
) -> tuple[Statement, bool]:
    terms = Terms()
    place, odd_place = terms.place(order), terms.odd_place(order)
    walk = _WALKS.get(order.path)
    text = (
        f"SELECT {_listed(columns)}, {place or 'NULL'} AS place {_ordinary(plan, terms, start, walk)}"
        f" UNION ALL SELECT {_listed(columns)}, {odd_place if place else 'NULL'} {_odd(plan, terms, 'entry_odd')}"
    )
    if place is not None:
        text += f" ORDER BY place {'DESC' if order.descending else 'ASC'}, id"
        if limit is not None or offset:
            text += f" LIMIT {terms.bind(-1 if limit is None else min(limit, _MOST_ROWS))}"
            text += f" OFFSET {terms.bind(min(offset, _MOST_ROWS))}"
    return Statement(text, terms.values, terms.asked), place is not None


def counting(plan: Plan) -> Statement:
    """Count the rows that match."""
    if not plan.known:
        return Statement("SELECT count(*) FROM entry", {}, ())
    terms = Terms()
    ordinary = _ordinary(plan, terms, plan.starts[0] if plan.starts else None, None)
    text = f"SELECT (SELECT count(*) {ordinary}) + (SELECT count(*) {_odd(plan, terms, 'entry_odd')})"
    return Statement(text, terms.values, terms.asked)


def following(columns: Sequence[str], plan: Plan, start: Start | None, after: str, size: int) -> Statement:
    """Select columns of at most `size` rows that match, in the order of their ids, after that id."""
    terms = Terms()
    beyond, bound = f"AND entry.id > {terms.bind(after)}", terms.bind(min(size, _MOST_ROWS))
    text = (
        f"SELECT {_listed(columns)} {_ordinary(plan, terms, start, 'entry_id')} {beyond}"
        f" UNION ALL SELECT {_listed(columns)} {_odd(plan, terms, 'entry_odd_id')} {beyond}"
        f" ORDER BY id LIMIT {bound}"
    )
    return Statement(text, terms.values, terms.asked)


def probing(start: Start, most: int) -> Statement:
    """Count the ordinary rows that a list would start from, but no further than `most`."""
    terms = Terms()
    if start.name == "tag":
        (tag,) = tags_asked(start.part)
        found = f"FROM tag WHERE tag = {terms.bind(tag)}"
    else:
        found = _ordinary(Plan((start.part,), None, ()), terms, start, None)
    text = f"SELECT count(*) FROM (SELECT 1 {found} LIMIT {terms.bind(most)})"  # noqa: S608 - values are bound
    return Statement(text, terms.values, terms.asked)


# -- the halves -------------------------------------------------------------------------------------------------------


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(f"entry.{column} AS {column}" for column in columns)


def _ordinary(plan: Plan, terms: Terms, start: Start | None, walk: str | None) -> str:
    ordinary = f"entry.odd IS NULL{terms.all_of(plan.known)}"
    if start is None:
        return f"FROM entry {f'INDEXED BY {walk}' if walk else 'NOT INDEXED'} WHERE {ordinary}"
    if start.name != "tag":
        index = "recent" if start.name == "updated_at" else start.name
        return f"FROM entry INDEXED BY entry_{index} WHERE {ordinary}"
    (tag,) = tags_asked(start.part)
    rest = terms.all_of(part for part in plan.known if part is not start.part)
    # CROSS JOIN keeps the order of the two: the tags first
    return f"FROM tag CROSS JOIN entry ON entry.entry = tag.entry WHERE tag.tag = {terms.bind(tag)}{rest}"


def _odd(plan: Plan, terms: Terms, index: str) -> str:
    judged = f" AND {terms.judged(All(plan.known), 'entry.odd')}" if plan.known else ""
    return f"FROM entry INDEXED BY {index} WHERE entry.odd IS NOT NULL{judged}"


# -- taking apart -----------------------------------------------------------------------------------------------------


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


def _is_known(node: Condition, depth: int) -> bool:
    if isinstance(node, All | Either | Not):
        return depth < _MAX_NESTING
    return locate(node.path) is not None


def _start(part: Condition) -> Start | None:
    """Return the start that a part makes possible when it must hold."""
    if not isinstance(part, Field):
        return None
    if isinstance(part.test, Compares) and part.path == ("updated_at",):
        return Start("updated_at", part)
    if not isinstance(part.test, OneOf) or part.test.containers:
        return None
    kinds, several = {kind for kind, _ in part.test.scalars}, len(part.test.scalars) > 1
    if kinds not in ({"string"}, {"number"}):
        return None
    location = locate(part.path)
    name = "tag" if tags_asked(part) else location.column if location else None
    if name not in _STARTS or (several and name == "tag"):
        return None
    return Start(name, part, several)
