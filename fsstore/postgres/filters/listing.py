"""Reads of many records: rows that PostgreSQL finds, judged by their records where it cannot tell.

Invariants:
- A list is of one moment: it is one statement, or several in one transaction that sees one state.
- What comes over the wire is what is asked for, as long as a statement is exact; else rows are read in order until
  there are enough, by a cursor.
- What cannot be read is left out, and its id is put into `unreadable`. It never makes a list shorter than asked. What
  stands there is read, also where its columns would do, until it can be.
- A connection is idle and in autocommit when it is given, and so it is left.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from heapq import nsmallest
from typing import Any

from psycopg import sql

from fsstore.errors import StorageCorruptedError
from fsstore.model.records import JsonObject, Records
from fsstore.postgres.connections.connection import Connection
from fsstore.postgres.filters.statements import ABILITIES, Selection, Statement, counting, following, selecting
from fsstore.postgres.schema.rows import part_of, record_in
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
    unreadable: set[str],
) -> Records | None:
    """Return the matching records in order; None where the order is known by the records alone.

    With `parts` each is what `known_part` says of it, and no record is read of which the columns tell as much.
    """
    known = plan(condition, ABILITIES)
    most = None if limit is None else limit + offset
    unread = sorted(unreadable)
    selection = selecting(table.as_string(connection), known, order, most=most, parts=parts, unread=unread)
    if selection is None:
        return None
    if most is None or selection.is_exact:
        found: Records = []
        rows = await _fetched(connection, selection.joined)
        left_out = [row for row in rows if not _take(found, row, condition, unreadable) and row[2] not in unread]
        if most is None or not left_out:
            return _in_order(found, order, offset, most)
        # others stand behind those that cannot be read
        selection = selecting(table.as_string(connection), known, order, parts=parts, unread=unread) or selection
    async with _one_state(connection):
        found = await _until_enough(connection, selection, condition, most, unreadable)
    return _in_order(found, order, offset, most)


async def counted(connection: Connection, table: sql.Identifier, condition: Condition, *, unreadable: set[str]) -> int:
    """Return how many records match; the records are read of those alone that PostgreSQL cannot judge."""
    selection = counting(table.as_string(connection), plan(condition, ABILITIES), sorted(unreadable))
    if selection.is_exact:
        return sum([_count(row, condition, unreadable) for row in await _fetched(connection, selection.joined)])
    total = 0
    async with _one_state(connection), aclosing(_streamed(connection, selection.joined)) as rows:
        async for row in rows:
            total += _count(row, condition, unreadable)
    return total


async def batch(
    connection: Connection, table: sql.Identifier, condition: Condition, after: str, size: int, *, unreadable: set[str]
) -> tuple[str | None, Records]:
    """Return the records that match up to the id that is returned too; None is the end."""
    known = plan(condition, ABILITIES)
    rows = await _fetched(connection, following(table.as_string(connection), known, after, size))
    found: Records = []
    for row in rows:
        _take(found, row, condition, unreadable)
    return rows[-1][2] if len(rows) == size else None, found


async def _until_enough(
    connection: Connection, selection: Selection, condition: Condition, most: int, unreadable: set[str]
) -> Records:
    found: Records = []
    async with aclosing(_streamed(connection, selection.ordered)) as rows:
        async for row in rows:
            if len(found) == most:
                break
            _take(found, row, condition, unreadable)
    if selection.others is not None:
        async with aclosing(_streamed(connection, selection.others)) as rows:
            async for row in rows:
                _take(found, row, condition, unreadable)
    return found


def _take(found: Records, row: tuple[Any, ...], condition: Condition, unreadable: set[str]) -> bool:
    """Add the record of a row if it matches; return whether it could be read."""
    text, is_sure, *values = row
    record: JsonObject | None = part_of(values) if text is None else _read(text, values[0], unreadable)
    if record is not None and (is_sure or condition.matches(record)):
        found.append(record)
    return record is not None


def _count(row: tuple[Any, ...], condition: Condition, unreadable: set[str]) -> int:
    text, number, record_id = row
    if text is None:
        return int(number)
    record = _read(text, record_id, unreadable)
    return int(record is not None and condition.matches(record))


def _read(text: str, record_id: str, unreadable: set[str]) -> JsonObject | None:
    try:
        record = record_in(text.encode(), record_id)
    except StorageCorruptedError:
        unreadable.add(record_id)
        return None
    unreadable.discard(record_id)
    return record


def _in_order(found: Records, order: Order, offset: int, most: int | None) -> Records:
    if most is not None and len(found) > 2 * most:
        return nsmallest(most, found, key=order.key)[offset:]
    return sorted(found, key=order.key)[offset:most]


async def _fetched(connection: Connection, statement: Statement) -> list[tuple[Any, ...]]:
    # not prepared: how many rows match, and so which index is read, depends on the values
    cursor = await connection.execute(statement.text.encode(), statement.values, prepare=False)
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
