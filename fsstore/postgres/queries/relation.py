"""The relation `documents` on PostgreSQL: how a query is run, and with which rights.

Invariants:
- A query runs as a role that may read that view and nothing else, in a transaction that writes nothing. Where there is
  no such role, or the store's own may not take it, queries are refused: never is one run with other rights.
- The server ends a statement after MAX_QUERY_SECONDS, and rows are fetched by a cursor until they take MAX_QUERY_BYTES.
- Nothing is found by a bare name but what PostgreSQL itself has, and strings are read as `guard` reads them.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import AsyncServerCursor, sql
from psycopg.types.string import TextLoader

from fsstore.errors import StorageTimeoutError, StorageUnavailableError
from fsstore.model.records import Records
from fsstore.model.times import format_time
from fsstore.postgres.connections.connection import Connection
from fsstore.postgres.queries.guard import Guarded, guarded
from fsstore.postgres.schema.reader import reader_of
from fsstore.postgres.schema.tables import Names
from fsstore.query.limits import MAX_QUERY_BYTES, MAX_QUERY_SECONDS
from fsstore.query.relation import RELATION, bound, check_query, refused, row_bytes, too_much

_ROWS_AT_ONCE = 500
_SYSTEM_CODES = ("08", "25P03", "25P04", "40", "53", "57", "58", "XX")
"""How codes begin that do not tell of the query; two are of limits which the role has, or the database."""
_NO_ROLE = frozenset({"22023", "42501"})


async def queried(
    connection: Connection, names: Names, query: str, params: Any = None, *, timeout_seconds: float = MAX_QUERY_SECONDS
) -> Records:
    """Run one SELECT over the relation and return its rows, each as a dict by column name.

    Raises StorageValidationError for anything but such a SELECT, and where it asks for too much, StorageTimeoutError
    for one that takes too long, and StorageUnavailableError where the role is not there that may run it. Other errors
    of the server stay as psycopg's.
    """
    check_query(query)
    asked = guarded(query, bound(params), {"json_extract": names.json_extract.as_string(connection)})
    text = _over_the_relation(asked, names.relation.as_string(connection))
    try:
        async with asyncio.timeout(timeout_seconds), connection.transaction(force_rollback=True):
            await _restrict(connection, names, timeout_seconds)
            return await _rows(connection, text, asked.params)
    except (TimeoutError, psycopg.errors.QueryCanceled) as error:
        raise StorageTimeoutError(
            reason="the end of the query", path=RELATION, timeout_seconds=timeout_seconds, advice="ask for less"
        ) from error
    except (psycopg.Error, ValueError) as error:
        code = getattr(error, "sqlstate", None)
        if isinstance(error, psycopg.Error) and (code or "08").startswith(_SYSTEM_CODES) and not _is_of_values(error):
            raise
        raise refused(" ".join(str(error).partition("\n")[0].split())) from error


def _is_of_values(error: psycopg.Error) -> bool:
    """Whether psycopg itself has refused the values, or what they are for."""
    return error.sqlstate is None and isinstance(error, psycopg.DataError | psycopg.ProgrammingError)


def _over_the_relation(asked: Guarded, view: str) -> str:
    relation = f"{RELATION} AS NOT MATERIALIZED (SELECT * FROM {view})"
    return f"WITH {'RECURSIVE ' * asked.is_recursive}{relation}{',' * asked.is_with} {asked.text}"


async def _restrict(connection: Connection, names: Names, timeout_seconds: float) -> None:
    """Leave the rest of a transaction no more rights and no more time than a query has."""
    settings = {
        "transaction_read_only": "on",
        "statement_timeout": str(int(timeout_seconds * 1000)),
        "search_path": "pg_catalog, pg_temp",
        "standard_conforming_strings": "on",
        # as psycopg reads times and spans of time, whatever the role has
        "datestyle": "ISO",
        "intervalstyle": "postgres",
        "role": reader_of(names, connection.info.dbname),
    }
    # one statement; the role comes last, and may not be taken back by a query, which cannot call set_config
    calls = sql.SQL(", ").join([sql.SQL("set_config(%s, %s, true)")] * len(settings))
    try:
        await connection.execute(
            sql.SQL("SELECT {}").format(calls), [part for pair in settings.items() for part in pair]
        )
    except psycopg.Error as error:
        if error.sqlstate not in _NO_ROLE:
            raise
        raise StorageUnavailableError(
            reason="there is no role that may run queries, or this one may not take it",
            path=RELATION,
            advice="have a role with CREATEROLE run what `fsstore init URL --grants ROLE` shows; lists need none of it",
        ) from error


async def _rows(connection: Connection, text: str, params: list[Any] | dict[str, Any]) -> Records:
    found: Records = []
    size = 0
    async with AsyncServerCursor(connection, "fsstore_query") as cursor:
        for kind in ("json", "jsonb"):
            cursor.adapters.register_loader(kind, TextLoader)
        await cursor.execute(text.encode(), params)
        names = [column.name for column in cursor.description or ()]
        while rows := await cursor.fetchmany(_ROWS_AT_ONCE):
            for row in rows:
                size += row_bytes(row)
                if size > MAX_QUERY_BYTES:
                    raise too_much(f"its rows take more than {MAX_QUERY_BYTES} bytes of memory")
                found.append(dict(zip(names, map(_plain, row), strict=True)))
    return found


def _plain(value: Any) -> Any:
    """Return a value of PostgreSQL's as JSON has it."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and value.as_tuple().exponent == 0 else float(value)
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bytes | None) else str(value)
