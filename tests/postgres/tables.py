"""Records put into the tables of a store by the rules of rows alone, and an open connection to them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

import orjson
import psycopg
from psycopg import sql

from fsstore.model.records import JsonObject
from fsstore.postgres.connections.connection import Connection
from fsstore.postgres.schema.reader import make_reader
from fsstore.postgres.schema.rows import FOUND_COLUMNS, key_of, row_of
from fsstore.postgres.schema.tables import Names, creating


@asynccontextmanager
async def tables(url: str, names: Names, *, role: str | None = None) -> AsyncGenerator[Connection]:
    """Make the tables of a store, as another role if one is named, and give a connection."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        if role is not None:
            await connection.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(sql.Identifier(role)))
        for statement in creating(names):
            await connection.execute(statement)
        await make_reader(connection, names)
        yield connection


async def fill(connection: Connection, names: Names, records: Iterable[JsonObject]) -> None:
    """Put records into the table, in place of what is there."""
    columns = ("key", *FOUND_COLUMNS, "record")
    insert = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        names.documents,
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
    )
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.execute(sql.SQL("TRUNCATE {}").format(names.documents))
        await cursor.executemany(insert, [(key_of(record["id"]), *row_of(record), _text(record)) for record in records])
    await connection.execute(sql.SQL("ANALYZE {}").format(names.documents))


def _text(record: JsonObject) -> str:
    return orjson.dumps(record).decode()
