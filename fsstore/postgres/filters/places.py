"""Orders as SQL expressions over one ordinary row `d` of the table, exactly as `Order.place` says it."""

from __future__ import annotations

from fsstore.model.times import TIME_KEYS, TIME_PATHS
from fsstore.postgres.filters.terms import Terms
from fsstore.postgres.schema.rows import INDEXED_CHARACTERS
from fsstore.query.columns import locate
from fsstore.query.conditions import Order

_RANKS = "WHEN 'null' THEN 0 WHEN 'number' THEN 1 WHEN 'string' THEN 2 WHEN 'boolean' THEN 4 ELSE 3"


def places(terms: Terms, order: Order) -> list[str] | None:
    """Return what rows are ordered by, one after the other; None when only the records tell."""
    location = locate(order.path)
    if location is None:
        return None
    if location.document is None:
        return _places_of_column(str(location.column))
    if any("\0" in step for step in location.steps):
        # nothing that an ordinary row can hold stands there
        return []
    value = terms.value(location)
    kind = f"jsonb_typeof({value})"
    rank = f"CASE coalesce({kind}, 'null') {_RANKS} END"
    number = f"CASE {kind} WHEN 'number' THEN ({value})::numeric WHEN 'boolean' THEN ({value})::boolean::int END"
    text = f"CASE {kind} WHEN 'string' THEN {value} #>> '{{}}' END"
    # the path of an order steps through objects only
    rank, number, text = (
        terms.unless_through_array(location, part, otherwise)
        for part, otherwise in ((rank, "0"), (number, "NULL"), (text, "NULL"))
    )
    return [rank, number, f'({text}) COLLATE "C"']


def is_placed(order: Order) -> bool:
    """Whether a row, be it odd, has its place by its columns alone."""
    return len(order.path) == 1 and order.path[0] in ("id", "version", *TIME_KEYS)


def has_other_places(order: Order) -> bool:
    """Whether the places of rows that are marked OTHER_TIMES are known by their records alone."""
    return len(order.path) > 1 and order.path in TIME_PATHS


def _places_of_column(column: str) -> list[str]:
    if column == "id":
        return [f"left(d.id, {INDEXED_CHARACTERS})", "d.id"]
    if column in ("version", *TIME_KEYS):
        return [f"d.{column}"]
    return [f"d.{column} IS NOT NULL", f"d.{column}"]
