"""What a statement answers of a condition, and what is left to the records."""

from __future__ import annotations

from typing import Any, NamedTuple

from psycopg import sql

from fsstore.query.conditions import Condition


class Selection(NamedTuple):
    """A term over one row `d` of `documents`, with its values by name, and what the records must say besides."""

    term: sql.Composable
    values: dict[str, Any]
    residue: Condition | None


def selection(condition: Condition) -> Selection:
    """Take a condition apart; what is known and the residue together are the condition."""
    return Selection(sql.SQL("TRUE"), {}, condition)
