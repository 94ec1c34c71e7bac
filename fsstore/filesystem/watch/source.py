"""What a watch requests of a directory of documents: that the ledger is filled, and which documents match now."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, closing

from fsstore.errors import StorageCorruptedError, StorageUnavailableError
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.open_store import OpenStore
from fsstore.filesystem.read.consistency import Reading
from fsstore.filesystem.read.isolation import Isolation, OutdatedError
from fsstore.filesystem.watch.watcher import Watcher
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.records import Filters, JsonObject
from fsstore.query.filters import parse
from fsstore.query.orders import parse_order
from fsstore.watching.ledger import Ledger


class FileChangeSource:
    """A store as its watches see it."""

    def __init__(self, storage: IUnifiedStorage, store: OpenStore, reading: Reading, *, polling: bool) -> None:
        self._storage = storage
        self._documents = store.documents
        self._reading = reading
        self._watcher = Watcher(store, reread=reading.commits.reread, polling=polling)
        store.at_end.append(self._watcher.stop)

    @property
    def ledger(self) -> Ledger:
        """Where changes are published."""
        return self._watcher.ledger

    def suspect(self, names: set[str]) -> None:
        """Have documents looked at that may have changed."""
        self._watcher.suspect(names)

    async def ready(self) -> None:
        """Wait until the ledger knows every document: the index is reconciled and read, and compared with the files.

        Raises StorageUnavailableError, also where the store has gone since: nobody should begin to wait for a change.
        """
        self._documents.root.check()
        if not self._watcher.ready.done():
            self._watcher.begin(await self._reading.ask(lambda index: list(index.inventory.entries())))
        ready = asyncio.wrap_future(self._watcher.ready)
        # seen here, since whoever waits may have been cancelled
        ready.add_done_callback(_see)
        # shielded, since others wait for the same
        await asyncio.shield(ready)

    async def inside(self, filters: Filters) -> dict[str, str]:
        """Return the ids of the documents that match, by name; they are read only where the index cannot answer."""
        condition = parse(filters)

        def select(index: Index, isolation: Isolation) -> dict[str, str] | None:
            selection = index.select(condition, parse_order(None))
            with closing(selection.rows) as rows:
                found = {row.name: row.id for row in rows} if selection.residue is None else None
            if isolation.touched():
                raise OutdatedError
            return found

        found = await self._reading.ask_whole(select)
        if found is None:
            async with aclosing(self._storage.stream_list(filters)) as batches:
                ids = [record["id"] async for batch in batches for record in batch]
            found = {self._documents.name(record_id): record_id for record_id in ids}
        return found

    async def updated(self, filters: Filters) -> list[str]:
        """Return the names of the documents that match, the one that was updated longest ago first."""
        found = await self._storage.list_metadata(filters, order_by="updated_at")
        return [self._documents.name(summary["id"]) for summary in found]

    async def read(self, names: list[str]) -> dict[str, tuple[JsonObject, object]]:
        """Return record and digest of those documents that can be read."""
        return await self._reading.executor.in_thread(lambda: self._read(names))

    def _read(self, names: list[str]) -> dict[str, tuple[JsonObject, object]]:
        found: dict[str, tuple[JsonObject, object]] = {}
        for name in names:
            try:
                document = self._documents.read_named(name)
            except StorageCorruptedError:
                # it is reported once it can be read again
                continue
            except StorageUnavailableError as error:
                self._documents.check_its_own(error)
                continue
            if document is not None:
                found[name] = document.record, document.digest
        return found


def _see(ready: asyncio.Future[None]) -> None:
    if not ready.cancelled():
        ready.exception()
