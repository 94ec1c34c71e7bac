"""What a watch asks of a store in PostgreSQL: that the ledger is up to date, and which records match now."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

from fsstore.errors import StorageCorruptedError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.records import Filters, JsonObject
from fsstore.postgres.connections.pool import Pool
from fsstore.postgres.schema.rows import key_of, record_in
from fsstore.postgres.watch.following import Following
from fsstore.postgres.watch.watcher import Watcher
from fsstore.watching.ledger import Ledger


class PostgresChangeSource:
    """A store as its watches see it: a record's name is its id, and its version says whether it is another."""

    def __init__(self, storage: IUnifiedStorage, pool: Pool, following: Following, watcher: Watcher) -> None:
        self._storage = storage
        self._pool = pool
        self._following = following
        self._watcher = watcher

    @property
    def ledger(self) -> Ledger:
        """Where changes are published."""
        return self._watcher.ledger

    async def ready(self) -> None:
        """Wait until all that was committed before is published. Raises StorageUnavailableError."""
        await asyncio.wrap_future(self._watcher.request())

    async def inside(self, filters: Filters) -> dict[str, str]:
        """Return the ids of the records that match."""
        async with aclosing(self._storage.stream_list(filters)) as batches:
            return {record["id"]: record["id"] async for batch in batches for record in batch}

    async def updated(self, filters: Filters) -> list[str]:
        """Return the ids of the records that match, the one that was updated longest ago first."""
        return [found["id"] for found in await self._storage.list_metadata(filters, order_by="updated_at")]

    async def read(self, names: list[str]) -> dict[str, tuple[JsonObject, object]]:
        """Return record and version of those that are there and can be read."""
        keys = [key_of(name) for name in names]
        rows = await self._pool.run(
            lambda connection: connection.execute(self._following.records, [keys]),
        )
        found: dict[str, tuple[JsonObject, object]] = {}
        for record_id, version, text in await rows.fetchall():
            with suppress(StorageCorruptedError):
                found[record_id] = record_in(text.encode(), record_id), version
        return found
