"""Synchronous stores of Python objects: diskcache, cachelib, tinydb."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from tests.benchmarks.documents import Session
from tests.benchmarks.peers.store import BlockingStore, newest

T = TypeVar("T")


class Diskcache(BlockingStore):
    name = "diskcache"
    timed = (
        "Cache without eviction, through the default executor as its tutorial says for asyncio; pickle; SQLite NORMAL"
    )
    modules = ("diskcache",)
    blocking = False

    async def open(self) -> None:
        import diskcache  # noqa: PLC0415 - a peer is optional

        self._cache = await self._call(lambda: diskcache.Cache(str(self.directory), eviction_policy="none"))

    async def close(self) -> None:
        await self._call(self._cache.close)

    async def save(self, name: str, session: Session) -> None:
        await self._call(self._cache.set, name, session)

    async def save_many(self, sessions: Mapping[str, Session]) -> None:
        def save_all() -> None:
            with self._cache.transact():
                for name, session in sessions.items():
                    self._cache.set(name, session)

        await self._call(save_all)

    async def get(self, name: str) -> Any:
        return await self._call(self._cache.get, name)

    async def exists(self, name: str) -> bool:
        return await self._call(self._cache.__contains__, name)

    async def delete(self, name: str) -> None:
        await self._call(self._cache.delete, name)

    async def all_names(self) -> Iterable[str]:
        return await self._call(lambda: list(self._cache.iterkeys()))

    async def _call(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)


class Cachelib(BlockingStore):
    name = "cachelib"
    timed = "FileSystemCache without threshold and timeout, called directly; pickle"
    modules = ("cachelib",)

    async def open(self) -> None:
        from cachelib import FileSystemCache  # noqa: PLC0415 - a peer is optional

        self._cache = FileSystemCache(str(self.directory), threshold=0, default_timeout=0)

    async def save(self, name: str, session: Session) -> None:
        self._cache.set(name, session)

    async def save_many(self, sessions: Mapping[str, Session]) -> None:
        self._cache.set_many(dict(sessions))

    async def get(self, name: str) -> Any:
        return self._cache.get(name)

    async def exists(self, name: str) -> bool:
        return bool(self._cache.has(name))

    async def delete(self, name: str) -> None:
        self._cache.delete(name)


class Tinydb(BlockingStore):
    name = "tinydb"
    timed = "upsert by query into one JSON file, called directly; json; each write rewrites and syncs the file"
    modules = ("tinydb",)
    durabilities = (True,)
    processes = False
    most_calls = 20
    most_documents = 1000

    async def open(self) -> None:
        from tinydb import Query, TinyDB  # noqa: PLC0415 - a peer is optional

        self._database = TinyDB(self.directory / "sessions.json")
        self._field = Query()

    async def close(self) -> None:
        self._database.close()

    async def save(self, name: str, session: Session) -> None:
        self._database.upsert({"name": name, "session": session}, self._field.name == name)

    async def save_many(self, sessions: Mapping[str, Session]) -> None:
        self._database.insert_multiple({"name": name, "session": session} for name, session in sessions.items())

    async def get(self, name: str) -> Any:
        found = self._database.get(self._field.name == name)
        return None if found is None else found["session"]

    async def exists(self, name: str) -> bool:
        return bool(self._database.contains(self._field.name == name))

    async def delete(self, name: str) -> None:
        self._database.remove(self._field.name == name)

    async def update(self, name: str, changed: Session) -> None:
        def change(row: Session) -> None:
            row["session"]["metadata"].update(changed)

        self._database.update(change, self._field.name == name)

    async def list_sessions(self, status: str, user: str, limit: int) -> list[Session]:
        metadata = self._field.session.metadata
        found = self._database.search((metadata.status == status) & (metadata.user_id == user))
        # what it found last it would give again without looking
        self._database.clear_cache()
        return newest([row["session"] for row in found], limit, lambda session: session["metadata"])

    async def count(self, status: str) -> int:
        return int(self._database.count(self._field.session.metadata.status == status))
