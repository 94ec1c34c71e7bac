"""The SELECTs over the table of documents: what is wanted, and in which order.

Invariants:
- Ordinary rows are judged by the terms of `terms`. Where these cannot tell, and where a part of the condition is left
  to the records, a statement is not exact: each row then says whether it is sure to match.
- Odd rows are given whatever else is asked, all but those that their columns rule out, and are judged by their records.
  So are those that could not be read when they were met (`unread`): by their columns they would still be there.
- Which index is read is PostgreSQL's affair: no statement needs more than one order of one of them.
- ABILITIES says what can be asked here: `fsstore.query.plan` takes a condition apart by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fsstore.model.times import TIME_KEYS
from fsstore.postgres.filters.places import has_other_places, is_placed, places
from fsstore.postgres.filters.terms import Terms
from fsstore.postgres.schema.rows import INDEXED_CHARACTERS, ODD, OTHER_TIMES, PART_COLUMNS, key_of, time_text
from fsstore.query.columns import ENVELOPE, METADATA, STATUS, TOP_METADATA, USER_ID
from fsstore.query.conditions import Compares, OneOf, Order
from fsstore.query.plan import STARTS, Abilities, Plan

ABILITIES = Abilities(
    parts=frozenset({*ENVELOPE, METADATA, TOP_METADATA}),
    starts=frozenset(STARTS),
    in_order=frozenset({USER_ID, STATUS}),
    # what is beyond is judged by the records; the protocol takes 65 535 values
    max_nesting=8,
    max_parts=400,
    max_values=5_000,
    # its regular expressions are another dialect
    tests=frozenset({OneOf, Compares}),
)

_ORDINARY, _ODD = f"d.marks < {ODD}", f"d.marks >= {ODD}"
"""The latter as the partial index says it."""
_PLACED, _UNPLACED = f"d.marks & {ODD | OTHER_TIMES} = 0", f"d.marks & {ODD | OTHER_TIMES} <> 0"


@dataclass(frozen=True, slots=True)
class Statement:
    """One SELECT, and the values that it refers to by name."""

    text: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Selection:
    """What gives the rows that may match.

    A row is the record, NULL where the parts say as much, whether it is sure to match, and its id, or the parts where
    these are asked for, of which the id is the first.
    """

    ordered: Statement
    """The rows that have a place, in order."""
    others: Statement | None
    """The rows that only the record tells about; None where there are none."""
    is_exact: bool
    """Whether all that `ordered` gives match, so that its limit holds."""

    @property
    def joined(self) -> Statement:
        """Both in one, the order not kept."""
        if self.others is None:
            return self.ordered
        return Statement(f"({self.ordered.text}) UNION ALL ({self.others.text})", self.ordered.values)


def listed(columns: Sequence[str]) -> str:
    """Return columns as statements give them: times and documents as text."""
    return ", ".join(map(_listed, columns))


def _listed(column: str) -> str:
    if column in TIME_KEYS:
        return f"{time_text(f'd.{column}')} AS {column}"
    return f"d.{column}::text" if column in (METADATA, TOP_METADATA) else f"d.{column}"


BIGINT, TEXT = "bigint", "text"
_MOST_ROWS = 2**63 - 1
"""What PostgreSQL holds as a number of rows; a caller may say more."""
PART = listed(PART_COLUMNS)
_NO_PART = ", ".join(["d.id", *["NULL"] * (len(PART_COLUMNS) - 1)])


def selecting(
    table: str,
    plan: Plan,
    order: Order,
    *,
    most: int | None = None,
    parts: bool = False,
    unread: Sequence[str] = (),
) -> Selection | None:
    """Select the records that may match, in order, at most so many where that is exact; None for an unknown order.

    With `parts` PART_COLUMNS stand for the record where they tell it.
    """
    terms = Terms()
    known = terms.all_of(plan.known)
    is_sure = terms.is_sure
    sorted_by = places(terms, order)
    if sorted_by is None:
        return None
    has_place, others = _apart(unread, terms, *_halves(plan, order))
    is_exact = is_sure and plan.residue is None
    sure = "TRUE" if is_exact else "FALSE" if plan.residue is not None else f"({known}) IS TRUE"
    sort = ", ".join([*(f"{part}{' DESC' if order.descending else ''}" for part in sorted_by), "d.id"])
    wanted = known if is_sure else f"({known}) IS NOT FALSE"
    ordered = (
        f"SELECT {_shown(sure, parts=parts)} FROM {table} AS d WHERE {has_place} AND {wanted} ORDER BY {sort}"
        f"{f' LIMIT {terms.bind(min(most, _MOST_ROWS), BIGINT)}' if most is not None and is_exact else ''}"
    )
    return Selection(Statement(ordered, terms.values), _others(table, plan, others, terms, parts=parts), is_exact)


def counting(table: str, plan: Plan, unread: Sequence[str] = ()) -> Selection:
    """Count the rows that are sure to match, as the only row, or give all those that may where that is not exact."""
    terms = Terms()
    known = terms.all_of(plan.known)
    is_exact = plan.residue is None and terms.is_sure
    halves = (_ORDINARY, _ODD) if plan.known or not is_exact else ("TRUE", None)
    ordinary, odd = _apart(unread, terms, *halves)
    others = _others(table, plan, odd, terms, number="0")
    if is_exact:
        text = f"SELECT NULL AS record, count(*), NULL AS id FROM {table} AS d WHERE {ordinary} AND {known}"
        return Selection(Statement(text, terms.values), others, is_exact=True)
    sure = "FALSE" if plan.residue is not None else f"({known}) IS TRUE"
    record = f"CASE WHEN NOT ({sure}) THEN d.record END"
    text = f"SELECT {record}, 1, d.id FROM {table} AS d WHERE {ordinary} AND ({known}) IS NOT FALSE"
    return Selection(Statement(text, terms.values), others, is_exact=False)


def following(table: str, plan: Plan, after: str, size: int) -> Statement:
    """Select at most `size` records that may match, by id, after that one; whether each is sure to, and its id."""
    terms = Terms()
    known = terms.all_of(plan.known)
    sure = "TRUE" if not plan.known else f"({_ORDINARY} AND ({known}) IS TRUE)"
    if plan.residue is not None:
        sure = "FALSE"
    wanted = f"({_ODD} OR ({known}) IS NOT FALSE)" if not terms.is_sure else f"({_ODD} OR {known})"
    beginning = f"left(d.id, {INDEXED_CHARACTERS})"
    text = (
        f"SELECT d.record, {sure} AS is_sure, d.id FROM {table} AS d"
        f" WHERE {wanted if plan.known else 'TRUE'}"
        f" AND {beginning} >= {terms.bind(after[:INDEXED_CHARACTERS], TEXT)} AND d.id > {terms.bind(after, TEXT)}"
        f" ORDER BY {beginning}, d.id LIMIT {terms.bind(size, BIGINT)}"
    )
    return Statement(text, terms.values)


# -- the halves -------------------------------------------------------------------------------------------------------


def _halves(plan: Plan, order: Order) -> tuple[str, str | None]:
    """Return what the rows have in common whose place is known, and the others; None where all have one."""
    if has_other_places(order):
        return _PLACED, _UNPLACED
    if is_placed(order) and not plan.known:
        return "TRUE", None
    return _ORDINARY, _ODD


def _apart(unread: Sequence[str], terms: Terms, known: str, others: str | None) -> tuple[str, str | None]:
    """Return both halves, with the rows that could not be read in the second one."""
    if not unread:
        return known, others
    keys = terms.bind([key_of(each) for each in unread], "bytea[]")
    among = f"d.key = ANY({keys})"
    return f"{known} AND d.key <> ALL({keys})", among if others is None else f"({others} OR {among})"


def _others(
    table: str, plan: Plan, which: str | None, terms: Terms, *, parts: bool = False, number: str = "FALSE"
) -> Statement | None:
    if which is None:
        return None
    shown = f"d.record, {number}, {_NO_PART if parts else 'd.id'}"
    return Statement(f"SELECT {shown} FROM {table} AS d WHERE {which} AND {terms.narrowed(plan.known)}", terms.values)


def _shown(sure: str, *, parts: bool) -> str:
    if not parts:
        return f"d.record, {sure} AS is_sure, d.id"
    return f"CASE WHEN {_ODD} OR NOT ({sure}) THEN d.record END AS record, {sure} AS is_sure, {PART}"
