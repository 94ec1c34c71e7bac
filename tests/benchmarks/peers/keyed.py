"""Asynchronous stores of values by key, a file each: litestar's FileStore, py-key-value's FileTreeStore."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from tests.benchmarks.documents import Session
from tests.benchmarks.peers.store import Store


class Litestar(Store):
    name = "litestar"
    timed = "FileStore; orjson to and from its bytes; it cannot list, so the caller knows all keys"
    modules = ("litestar",)

    async def open(self) -> None:
        from litestar.stores.file import FileStore  # noqa: PLC0415 - a peer is optional

        self._store = FileStore(self.directory)

    async def save(self, name: str, session: Session) -> None:
        await self._store.set(name, orjson.dumps(session))

    async def get(self, name: str) -> Any:
        found = await self._store.get(name)
        return None if found is None else orjson.loads(found)

    async def exists(self, name: str) -> bool:
        return bool(await self._store.exists(name))

    async def delete(self, name: str) -> None:
        await self._store.delete(name)


class KeyValue(Store):
    name = "py-key-value"
    timed = "FileTreeStore; json; syncs each file, not its directory; it cannot list, so the caller knows all keys"
    modules = ("key_value.aio", "aiofile")
    durabilities = (True,)
    most_calls = 200
    most_documents = 1000

    async def open(self) -> None:
        from key_value.aio.stores.filetree import FileTreeStore  # noqa: PLC0415 - a peer is optional

        self._store = FileTreeStore(data_directory=self.directory, default_collection="sessions")

    async def save(self, name: str, session: Session) -> None:
        await self._store.put(name, session)

    async def save_many(self, sessions: Mapping[str, Session]) -> None:
        await self._store.put_many(list(sessions), list(sessions.values()))

    async def get(self, name: str) -> Any:
        return await self._store.get(name)

    async def delete(self, name: str) -> None:
        await self._store.delete(name)
