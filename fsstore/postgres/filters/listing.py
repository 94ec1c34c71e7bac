"""Reads of many records: rows that PostgreSQL finds, judged by their records where it cannot tell.

Invariants:
- A list is of one moment: it is one statement, or several in one transaction that sees one state.
- What comes over the wire is what is asked for, as long as a statement is exact; else rows are read in order until
  there are enough, by a cursor.
- A connection is idle and in autocommit when it is given, and so it is left.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from heapq import nsmallest
from typing import Any

from psycopg import sql
from pydantic_core import from_json

from fsstore.model.records import JsonObject, Records
from fsstore.postgres.connections.connection import Connection
from fsstore.postgres.filters.statements import ABILITIES, Selection, Statement, counting, following, selecting
from fsstore.postgres.schema.rows import part_of
from fsstore.query.conditions import Condition, Order
from fsstore.query.plan import plan

_ROWS_AT_ONCE = 200


async def listed(
    connection: Connection,
    table: sql.Identifier,
    condition: Condition,
    order: Order,
    *,
    limit: int | None = None,
    offset: int = 0,
    parts: bool = False,
) -> Records | None:
    """Return the matching records in order; None where the order is known by the records alone.

    With `parts` each is what `known_part` says of it, and no record is read of which the columns tell as much.
    """
    known = plan(condition, ABILITIES)
    most = None if limit is None else limit + offset
    selection = selecting(table.as_string(connection), known, order, most=most, parts=parts)
    if selection is None:
        return None
    found: Records = []
    if most is None or selection.is_exact:
        for row in await _fetched(connection, selection.joined):
            _take(found, row, condition)
    else:
        async with _one_state(connection):
            found = await _until_enough(connection, selection, condition, most)
    return _in_order(found, order, offset, most)


async def counted(connection: Connection, table: sql.Identifier, condition: Condition) -> int:
    """Return how many records match; the records are read of those alone that PostgreSQL cannot judge."""
    selection = counting(table.as_string(connection), plan(condition, ABILITIES))
    if selection.is_exact:
        return sum(_count(row, condition) for row in await _fetched(connection, selection.joined))
    total = 0
    async with _one_state(connection), aclosing(_streamed(connection, selection.joined)) as rows:
        async for row in rows:
            total += _count(row, condition)
    return total


async def batch(
    connection: Connection, table: sql.Identifier, condition: Condition, after: str, size: int
) -> tuple[str | None, Records]:
    """Return the records that match up to the id that is returned too; None is the end."""
    known = plan(condition, ABILITIES)
    rows = await _fetched(connection, following(table.as_string(connection), known, after, size))
    found: Records = []
    for record, is_sure, _ in rows:
        _take(found, (record, is_sure), condition)
    return rows[-1][2] if len(rows) == size else None, found


async def _until_enough(connection: Connection, selection: Selection, condition: Condition, most: int) -> Records:
    found: Records = []
    async with aclosing(_streamed(connection, selection.ordered)) as rows:
        async for row in rows:
            if len(found) == most:
                break
            _take(found, row, condition)
    if selection.others is not None:
        async with aclosing(_streamed(connection, selection.others)) as rows:
            async for row in rows:
                _take(found, row, condition)
    return found


def _take(found: Records, row: tuple[Any, ...], condition: Condition) -> None:
    text, is_sure, *values = row
    record: JsonObject = part_of(values) if text is None else from_json(text)
    if is_sure or condition.matches(record):
        found.append(record)


def _count(row: tuple[Any, ...], condition: Condition) -> int:
    text, number = row
    return int(number) if text is None else int(condition.matches(from_json(text)))


def _in_order(found: Records, order: Order, offset: int, most: int | None) -> Records:
    if most is not None and len(found) > 2 * most:
        return nsmallest(most, found, key=order.key)[offset:]
    return sorted(found, key=order.key)[offset:most]


async def _fetched(connection: Connection, statement: Statement) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(statement.text.encode(), statement.values)
    return await cursor.fetchall()


async def _streamed(connection: Connection, statement: Statement) -> AsyncGenerator[tuple[Any, ...]]:
    """Give rows by a cursor of the server's, within a transaction."""
    async with connection.cursor("fsstore_rows") as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        await cursor.execute(statement.text.encode(), statement.values)
        async for row in cursor:
            yield row


@asynccontextmanager
async def _one_state(connection: Connection) -> AsyncGenerator[None]:
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield
