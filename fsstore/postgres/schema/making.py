"""The tables of a store as they are in a database: whether they are there, made, of which format, and upgraded.

Everything here is one transaction, under a lock: of two programs that make the same store one waits, and finds it made.
It is one for all stores of a database, since a schema and the rights on it belong to several. Nothing but `upgrade`
changes tables that are there.
"""

from __future__ import annotations

from typing import NoReturn

import psycopg
from psycopg import sql

from fsstore.errors import StorageUnavailableError
from fsstore.postgres.connections.connection import Connection
from fsstore.postgres.connections.failures import is_absent
from fsstore.postgres.connections.pool import Pool
from fsstore.postgres.schema.reader import make_reader, reader_rights
from fsstore.postgres.schema.tables import FORMAT, UPGRADES, Names, creating, grants, upgrading

_LOCK = "SELECT pg_advisory_xact_lock(hashtext('fsstore'))"


WITHOUT_ROW = -1
"""What stands for the format of a store whose row somebody has deleted."""


def check_format(number: int, place: str) -> None:
    """Raise StorageUnavailableError unless a store has the format of this version of fsstore."""
    if number > FORMAT:
        raise StorageUnavailableError(
            reason=f"the store has format {number}, and this version of fsstore knows {FORMAT}",
            path=place,
            advice="install a newer version of fsstore",
        )
    if number == WITHOUT_ROW:
        _refuse_without_row(place)
    if number < FORMAT:
        raise StorageUnavailableError(
            reason=f"the store has format {number}, which was before {FORMAT}",
            path=place,
            advice="upgrade it with `fsstore init URL`, once no program of an older version uses it",
        )


async def prepare(pool: Pool, names: Names, *, create: bool) -> None:
    """See that there is a store of this format; make it if that is wanted. Raises StorageUnavailableError."""
    number = await pool.run(lambda connection: _format(connection, names))
    if number is None:
        if not create:
            _refuse_absent(pool.server.place, names)
        number = await pool.run(lambda connection: _make(connection, names))
    check_format(number, pool.server.place)


async def upgrade(pool: Pool, names: Names) -> None:
    """Make of a store of an older format one of this one; nothing where there is none.

    Raises StorageUnavailableError for a format from which there is no way.
    """
    number = await pool.run(lambda connection: _format(connection, names))
    if number is None:
        return
    if any(each not in UPGRADES for each in range(number, FORMAT)):
        check_format(number, pool.server.place)
    if number < FORMAT:
        await pool.run(lambda connection: _upgrade(connection, names))


async def rights(connection: Connection, names: Names, role: str) -> list[sql.Composed]:
    """Return what gives a role that did not make the tables the rights that a store needs, those for queries, too."""
    return [*grants(names, role), *await reader_rights(connection, names, role)]


def _refuse_without_row(place: str) -> NoReturn:
    raise StorageUnavailableError(
        reason="the table `store` has lost its only row: the format, and the highest version ever deleted",
        path=place,
        advice="restore that table from a backup of the database",
    )


def _refuse_absent(place: str, names: Names) -> NoReturn:
    raise StorageUnavailableError(
        reason=f"there is no store in the schema {names.schema!r} with the prefix {names.prefix!r}",
        path=place,
        advice="make it with `fsstore init URL`, or open it with create=True",
    )


async def _format(connection: Connection, names: Names) -> int | None:
    """Return the format of the store that is there, None where there is none."""
    try:
        cursor = await connection.execute(sql.SQL("SELECT format FROM {}").format(names.store))
        row = await cursor.fetchone()
    except psycopg.Error as error:
        if is_absent(error):
            return None
        raise
    return WITHOUT_ROW if row is None else int(row[0])


async def _make(connection: Connection, names: Names) -> int:
    async with connection.transaction():
        await connection.execute(_LOCK)
        found = await connection.execute("SELECT to_regclass(%s)", [names.store.as_string(None)])
        if (await found.fetchone() or [None])[0] is None:
            # who may not make schemas may still make tables in one
            known = await connection.execute(
                "SELECT to_regnamespace(%s)", [sql.Identifier(names.schema).as_string(None)]
            )
            if (await known.fetchone() or [None])[0] is None:
                await connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(names.schema)))
            for statement in creating(names):
                await connection.execute(statement)
            await make_reader(connection, names)
    return await _format(connection, names) or FORMAT


async def _upgrade(connection: Connection, names: Names) -> None:
    async with connection.transaction():
        await connection.execute(_LOCK)
        number = await _format(connection, names)
        for statement in upgrading(names, FORMAT if number is None else number):
            await connection.execute(statement)
