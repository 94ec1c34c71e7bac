"""The role by which queries run: its name, what makes it, and the one view that it may read.

Whoever has no CREATEROLE makes a store without it, and such a store refuses queries (`queries.relation`).
"""

from __future__ import annotations

import hashlib
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from fsstore.postgres.connections.connection import Connection
from fsstore.postgres.schema.tables import Names

_READER = """
GRANT USAGE ON SCHEMA {schema} TO {reader};
GRANT SELECT ON {relation} TO {reader};
GRANT {reader} TO {role};
"""


def reader_of(names: Names, database: str) -> str:
    """Return the name of the role by which queries run; roles are known to a whole server, so it tells the store."""
    store = f"{database}\0{names.schema}\0{names.prefix}"
    return f"fsstore_reader_{hashlib.sha256(store.encode()).hexdigest()[:16]}"


def making_reader(names: Names, database: str, role: str) -> list[sql.Composed]:
    """Return what makes the role by which queries run, and lets `role` take it; only a role with CREATEROLE may."""
    reader = sql.Identifier(reader_of(names, database))
    made = sql.SQL("CREATE ROLE {} NOLOGIN").format(reader)
    return [made, *granting_reader(names, database, role)]


def granting_reader(names: Names, database: str, role: str) -> list[sql.Composed]:
    """Return what gives the role by which queries run its rights, and lets `role` take it."""
    places = {
        "schema": sql.Identifier(names.schema),
        "relation": names.relation,
        "reader": sql.Identifier(reader_of(names, database)),
        "role": sql.Identifier(role),
    }
    return [sql.SQL(part).format(**places) for part in _READER.split(";\n") if part.strip()]


async def reader_rights(connection: Connection, names: Names, role: str) -> list[sql.Composed]:
    """Return what lets `role` take the role by which queries run; where that is not there, it is made first."""
    database = connection.info.dbname
    if await _value(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", reader_of(names, database)):
        return granting_reader(names, database, role)
    return making_reader(names, database, role)


async def make_reader(connection: Connection, names: Names) -> bool:
    """Make the role by which queries run, in the transaction that makes the tables; return whether it may be made.

    Without it a store does all else.
    """
    role = await _value(connection, "SELECT current_user")
    try:
        async with connection.transaction():
            for statement in await reader_rights(connection, names, str(role)):
                await connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


async def _value(connection: Connection, query: LiteralString, *params: Any) -> Any:
    row = await (await connection.execute(query, params)).fetchone()
    return row[0] if row else None
