"""SQLite as its experts use it: one connection, one JSON column with indexes on it.

`Aiosqlite` is in autocommit: a write is one statement, one transaction, and one hop to the thread of the connection.
`AiosqliteShared` lets tasks commit each other's writes, which is faster with many in flight, since most of their
commits find nothing left to do; one that is rolled back takes others with it that were reported as done.
`Sqlite3` is the module of the standard library, called directly.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import orjson

from tests.benchmarks.documents import Session
from tests.benchmarks.peers.store import BlockingStore, Store

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY,
    document TEXT NOT NULL,
    status TEXT GENERATED ALWAYS AS (json_extract(document, '$.metadata.status')) VIRTUAL,
    user_id TEXT GENERATED ALWAYS AS (json_extract(document, '$.metadata.user_id')) VIRTUAL,
    updated_at TEXT GENERATED ALWAYS AS (json_extract(document, '$.metadata.updated_at')) VIRTUAL
);
CREATE INDEX IF NOT EXISTS recent ON sessions (status, user_id, updated_at DESC);
"""
_SAVE = "INSERT INTO sessions (id, document) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET document = excluded.document"
_LIST = "FROM sessions WHERE status = ? AND user_id = ? ORDER BY updated_at DESC LIMIT ?"


class Aiosqlite(Store):
    name = "aiosqlite"
    timed = (
        "autocommit, WAL, synchronous NORMAL (durable: FULL); orjson to and from a JSON column; a hop for each write"
    )
    modules = ("aiosqlite",)
    durabilities = (False, True)
    indexed = True
    autocommits = True

    async def open(self) -> None:
        import aiosqlite  # noqa: PLC0415 - a peer is optional

        # autocommit of the module `sqlite3` before Python 3.12; "" begins a transaction before each write
        level = None if self.autocommits else ""
        self._connection = await aiosqlite.connect(
            self.directory / "sessions.sqlite3", timeout=30, isolation_level=level
        )
        await self._connection.execute("PRAGMA journal_mode=WAL")
        await self._connection.execute(f"PRAGMA synchronous={'FULL' if self.durable else 'NORMAL'}")
        await self._connection.executescript(_SCHEMA)

    async def close(self) -> None:
        await self._connection.close()

    async def save(self, name: str, session: Session) -> None:
        await self._write(_SAVE, (name, orjson.dumps(session).decode()))

    async def save_many(self, sessions: Mapping[str, Session]) -> None:
        rows = [(name, orjson.dumps(session).decode()) for name, session in sessions.items()]
        if self.autocommits:
            await self._connection.execute("BEGIN IMMEDIATE")
        await self._connection.executemany(_SAVE, rows)
        await self._connection.commit()

    async def get(self, name: str) -> Any:
        rows = await self._fetch("SELECT document FROM sessions WHERE id = ?", (name,))
        return orjson.loads(rows[0][0]) if rows else None

    async def exists(self, name: str) -> bool:
        return bool(await self._fetch("SELECT 1 FROM sessions WHERE id = ?", (name,)))

    async def delete(self, name: str) -> None:
        await self._write("DELETE FROM sessions WHERE id = ?", (name,))

    async def update(self, name: str, changed: Session) -> None:
        await self._write(*_update(name, changed))

    async def list_sessions(self, status: str, user: str, limit: int) -> list[Session]:
        rows = await self._fetch(f"SELECT document {_LIST}", (status, user, limit))
        return [orjson.loads(row[0]) for row in rows]

    async def list_metadata(self, status: str, user: str, limit: int) -> list[Session]:
        rows = await self._fetch(f"SELECT json_extract(document, '$.metadata') {_LIST}", (status, user, limit))
        return [orjson.loads(row[0]) for row in rows]

    async def count(self, status: str) -> int:
        rows = await self._fetch("SELECT count(*) FROM sessions WHERE status = ?", (status,))
        return int(rows[0][0])

    async def stream(self) -> AsyncIterator[Session]:
        async with self._connection.execute("SELECT document FROM sessions ORDER BY id") as cursor:
            async for row in cursor:
                yield orjson.loads(row[0])

    async def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        await self._connection.execute(statement, values)
        if not self.autocommits:
            await self._connection.commit()

    async def _fetch(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        # one hop to its thread instead of three
        return list(await self._connection.execute_fetchall(statement, values))


class AiosqliteShared(Aiosqlite):
    name = "aiosqlite shared"
    timed = "the same without autocommit: the commit of one task is that of the others too, and so is its failure"
    autocommits = False


class Sqlite3(BlockingStore):
    name = "sqlite3"
    timed = "the module of the standard library, called directly: no thread, no hop; else as aiosqlite"
    durabilities = (False, True)
    indexed = True

    async def open(self) -> None:
        self._connection = sqlite3.connect(self.directory / "sessions.sqlite3", timeout=30, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute(f"PRAGMA synchronous={'FULL' if self.durable else 'NORMAL'}")
        self._connection.executescript(_SCHEMA)

    async def close(self) -> None:
        self._connection.close()

    async def save(self, name: str, session: Session) -> None:
        self._connection.execute(_SAVE, (name, orjson.dumps(session).decode()))

    async def save_many(self, sessions: Mapping[str, Session]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(_SAVE, ((name, orjson.dumps(each).decode()) for name, each in sessions.items()))
        self._connection.execute("COMMIT")

    async def get(self, name: str) -> Any:
        row = self._connection.execute("SELECT document FROM sessions WHERE id = ?", (name,)).fetchone()
        return None if row is None else orjson.loads(row[0])

    async def exists(self, name: str) -> bool:
        return self._connection.execute("SELECT 1 FROM sessions WHERE id = ?", (name,)).fetchone() is not None

    async def delete(self, name: str) -> None:
        self._connection.execute("DELETE FROM sessions WHERE id = ?", (name,))

    async def update(self, name: str, changed: Session) -> None:
        self._connection.execute(*_update(name, changed))

    async def list_sessions(self, status: str, user: str, limit: int) -> list[Session]:
        return _parsed(self._connection.execute(f"SELECT document {_LIST}", (status, user, limit)))

    async def list_metadata(self, status: str, user: str, limit: int) -> list[Session]:
        return _parsed(
            self._connection.execute(f"SELECT json_extract(document, '$.metadata') {_LIST}", (status, user, limit))
        )

    async def count(self, status: str) -> int:
        row = self._connection.execute("SELECT count(*) FROM sessions WHERE status = ?", (status,)).fetchone()
        return int(row[0])

    async def stream(self) -> AsyncIterator[Session]:
        for row in self._connection.execute("SELECT document FROM sessions ORDER BY id"):
            yield orjson.loads(row[0])


def _update(name: str, changed: Session) -> tuple[str, tuple[Any, ...]]:
    """Return the statement that changes fields of a session's metadata, and its values."""
    places = ", ".join("?, ?" for _ in changed)
    values = [value for key, field in changed.items() for value in (f"$.metadata.{key}", field)]
    return f"UPDATE sessions SET document = json_set(document, {places}) WHERE id = ?", (*values, name)  # noqa: S608 - places


def _parsed(rows: Iterable[tuple[str]]) -> list[Session]:
    return [orjson.loads(row[0]) for row in rows]
