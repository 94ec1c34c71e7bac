"""The SELECTs of the index: what is wanted, and in which order.

Invariants:
- A statement has two halves: ordinary rows, judged by the terms of `terms`, and odd ones, judged by Python on the part
  of the record that the index knows. Each half reads an index of its own in order, and SQLite merges them, so that a
  list reads no more rows than it gives.
- Which index is read is decided by the caller, who can count, and not by SQLite, which knows nothing of how the values
  are spread. A list starts from one part of its condition, and sorts, or it walks through all rows in order.
- ABILITIES says what can be asked here: `fsstore.query.plan` takes a condition apart by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from fsstore.filesystem.index.terms import Terms
from fsstore.query.columns import ENVELOPE, METADATA, TAGS, TOP_METADATA, tags_asked
from fsstore.query.conditions import All, Condition, Order, Path
from fsstore.query.plan import STARTS, Abilities, Plan, Start, plan

ABILITIES = Abilities(
    parts=frozenset({*ENVELOPE, METADATA, TOP_METADATA}),
    starts=frozenset(STARTS),
    in_order=frozenset({"user_id", "status"}),
    # SQLite's parser and its expressions have bounds of their own; these keep well below them
    max_nesting=8,
    max_parts=400,
    max_values=5_000,
)

_WALKS: Mapping[Path, str] = {("updated_at",): "entry_recent", ("id",): "entry_id"}
"""The indexes that give all rows in an order."""
_MOST_KEPT = 16
_MOST_ROWS = 2**63 - 1
"""What SQLite holds as an integer; a caller may say more."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One SELECT. The conditions in `asked` must be kept while it runs."""

    text: str
    values: Mapping[str, object]
    asked: Sequence[Condition]


class Prepared:
    """A condition as it is asked: its plan, and the lists that were made of it, since the same ones come again."""

    def __init__(self, condition: Condition) -> None:
        # kept, since it is found again by its identity
        self.condition = condition
        self.plan = plan(condition, ABILITIES)
        self._kept: dict[tuple[object, ...], tuple[Statement, bool]] = {}

    def selecting(
        self, columns: tuple[str, ...], start: Start | None, order: Order, *, limit: int | None = None, offset: int = 0
    ) -> tuple[Statement, bool]:
        """Do what the function `selecting` does, once."""
        key = columns, None if start is None else id(start.part), order, limit, offset
        if key not in self._kept:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[key] = selecting(columns, self.plan, start, order, limit=limit, offset=offset)
        return self._kept[key]

    @cached_property
    def counting(self) -> Statement:
        """What the function `counting` makes of it, where no row is left out."""
        return counting(self.plan)


def selecting(
    columns: Sequence[str], plan: Plan, start: Start | None, order: Order, *, limit: int | None = None, offset: int = 0
) -> tuple[Statement, bool]:
    """Select columns of the rows that match; also tell whether they come in order, and limit and offset hold."""
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


def counting(plan: Plan, *, without: str = "[]") -> Statement:
    """Count the rows that match, but not those whose names are `without`, a JSON array."""
    if not plan.known and without == "[]":
        return Statement("SELECT count(*) FROM entry", {}, ())
    terms = Terms()
    ordinary = _ordinary(plan, terms, plan.starts[0] if plan.starts else None, None)
    odd = _odd(plan, terms, "entry_odd")
    if without != "[]":
        beside = f" AND entry.name NOT IN (SELECT value FROM json_each({terms.bind(without)}))"  # noqa: S608 - bound
        ordinary, odd = ordinary + beside, odd + beside
    text = f"SELECT (SELECT count(*) {ordinary}) + (SELECT count(*) {odd})"
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
    if start.column == TAGS:
        (tag,) = tags_asked(start.part)
        found = f"FROM tag WHERE tag = {terms.bind(tag)}"
    else:
        found = _ordinary(Plan((start.part,), None), terms, start, None)
    text = f"SELECT count(*) FROM (SELECT 1 {found} LIMIT {terms.bind(most)})"  # noqa: S608 - values are bound
    return Statement(text, terms.values, terms.asked)


# -- the halves -------------------------------------------------------------------------------------------------------


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(f"entry.{column} AS {column}" for column in columns)


def _ordinary(plan: Plan, terms: Terms, start: Start | None, walk: str | None) -> str:
    ordinary = f"entry.odd IS NULL{terms.all_of(plan.known)}"
    if start is None:
        return f"FROM entry {f'INDEXED BY {walk}' if walk else 'NOT INDEXED'} WHERE {ordinary}"
    if start.column != TAGS:
        index = "recent" if start.column == "updated_at" else start.column
        return f"FROM entry INDEXED BY entry_{index} WHERE {ordinary}"
    (tag,) = tags_asked(start.part)
    rest = terms.all_of(part for part in plan.known if part is not start.part)
    # CROSS JOIN keeps the order of the two: the tags first
    return f"FROM tag CROSS JOIN entry ON entry.entry = tag.entry WHERE tag.tag = {terms.bind(tag)}{rest}"


def _odd(plan: Plan, terms: Terms, index: str) -> str:
    judged = f" AND {terms.judged(All(plan.known), 'entry.odd')}" if plan.known else ""
    return f"FROM entry INDEXED BY {index} WHERE entry.odd IS NOT NULL{judged}"
