"""SQLite, as an asynchronous program uses it: aiosqlite, one connection, one JSON column with indexes on it.

A connection has one transaction at a time. Tasks that share it take turns, or a write that is rolled back would take
others with it that were told to be done. `AiosqliteShared` is for who accepts that: its tasks commit each other's
writes, which is faster, since most of their commits find nothing left to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import orjson

from tests.benchmarks.documents import Session
from tests.benchmarks.peers.store import Store

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
    timed = "WAL, synchronous NORMAL (durable: FULL); orjson to and from a JSON column; a transaction for each write"
    modules = ("aiosqlite",)
    durabilities = (False, True)
    indexed = True

    @property
    def _turn(self) -> AbstractAsyncContextManager[object]:
        return self._lock

    async def open(self) -> None:
        import aiosqlite  # noqa: PLC0415 - a peer is optional

        self._lock = asyncio.Lock()
        self._connection = await aiosqlite.connect(self.directory / "sessions.sqlite3", timeout=30)
        await self._connection.execute("PRAGMA journal_mode=WAL")
        await self._connection.execute(f"PRAGMA synchronous={'FULL' if self.durable else 'NORMAL'}")
        await self._connection.executescript(_SCHEMA)

    async def close(self) -> None:
        await self._connection.close()

    async def save(self, name: str, session: Session) -> None:
        await self._write(_SAVE, (name, orjson.dumps(session).decode()))

    async def save_many(self, sessions: Mapping[str, Session]) -> None:
        rows = [(name, orjson.dumps(session).decode()) for name, session in sessions.items()]
        async with self._turn:
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
        places = ", ".join("?, ?" for _ in changed)
        values = [value for key, field in changed.items() for value in (f"$.metadata.{key}", field)]
        statement = f"UPDATE sessions SET document = json_set(document, {places}) WHERE id = ?"  # noqa: S608 - places
        await self._write(statement, (*values, name))

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
        async with self._turn:
            await self._connection.execute(statement, values)
            await self._connection.commit()

    async def _fetch(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        # one hop to its thread instead of three
        return list(await self._connection.execute_fetchall(statement, values))


class AiosqliteShared(Aiosqlite):
    name = "aiosqlite shared"
    timed = "the same, but tasks do not take turns: the commit of one is that of the others too, and so is its failure"

    @property
    def _turn(self) -> AbstractAsyncContextManager[object]:
        return nullcontext()
