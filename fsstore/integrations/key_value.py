"""Entries of py-key-value in a store: `FsstoreKeyValueStore`, for FastMCP and whatever else speaks that interface.

    ~kv/COLLECTION/KEY      an entry; both parts are percent-encoded, and none of others begins with a tilde

Owns the records. The entries of a collection are a range of ids. Invariants:
- What is put at once, or deleted at once, is one commit.
- An entry whose time is over is removed when somebody reads it, by `cull`, and from time to time by a put; only if it
  is still over then, whoever puts it anew meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Unpack

from fsstore.errors import StorageCorruptedError, StorageValidationError
from fsstore.integrations import missing
from fsstore.integrations.open_stores import OpenStore
from fsstore.integrations.parts import part
from fsstore.integrations.plain import plain
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.mutations import Mutation, deleting, saving
from fsstore.model.records import Filters, JsonObject
from fsstore.model.times import format_time, instant_of
from fsstore.options import FileOptions
from fsstore.query.columns import metadata_of

try:
    from key_value.aio.errors import SerializationError
    from key_value.aio.stores.base import (
        SEED_DATA_TYPE,
        BaseContextManagerStore,
        BaseCullStore,
        BaseDestroyCollectionStore,
        BaseDestroyStore,
        BaseEnumerateCollectionsStore,
        BaseEnumerateKeysStore,
        ManagedEntry,
    )
except ModuleNotFoundError as error:
    raise missing(error, "py-key-value-aio>=0.5.0") from error

ENTRY = "key_value.entry"

_ROOT = "~kv/"
_AFTER_SLASH = "0"
"""The character after the slash: where the range of what is below a collection ends."""
_EXPIRES = "data.metadata.expires_at"
_MOST_AT_ONCE = 500


class FsstoreKeyValueStore(
    BaseContextManagerStore,
    BaseCullStore,
    BaseEnumerateKeysStore,
    BaseEnumerateCollectionsStore,
    BaseDestroyCollectionStore,
    BaseDestroyStore,
):
    """Entries by collection and key, each a document that people can read.

    `url` is a path or URL, as `fsstore.open_storage` takes it, with the same options; without it the entries are in
    memory, and gone with the object. All stores of a process share one open store for each path. Objects may be used
    from several event loops and threads. Keys and collections may be any text. A put removes what has expired if nobody
    has for `cull_interval_seconds`; with None only reads and `cull` do. Close it, or use it with `async with`.
    """

    def __init__(
        self,
        url: str | os.PathLike[str] = "memory:",
        *,
        default_collection: str | None = None,
        seed: SEED_DATA_TYPE | None = None,
        cull_interval_seconds: float | None = 300.0,
        **options: Unpack[FileOptions],
    ) -> None:
        self._store = OpenStore(url, **options)
        self._cull_interval_seconds = cull_interval_seconds
        self._culled_at = time.monotonic()
        super().__init__(default_collection=default_collection, seed=seed, stable_api=True)

    async def close(self) -> None:
        """Release the store, which is closed with its last holder. Closing twice is allowed."""
        await super().close()
        await asyncio.to_thread(self._store.close)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, traceback)
        await self.close()

    # -- entries ------------------------------------------------------------------------------------------------------

    async def _get_managed_entry(self, *, collection: str, key: str) -> ManagedEntry | None:
        record = await self._storage.load(_id_of(collection, key))
        if record is None:
            return None
        entry = _entry_of(record)
        if entry.is_expired:
            await self._remove_expired([record["id"]])
            return None
        return entry

    async def _put_managed_entry(self, *, collection: str, key: str, managed_entry: ManagedEntry) -> None:
        await self._put(collection, {key: managed_entry})

    async def _put_managed_entries(
        self, *, collection: str, keys: Sequence[str], managed_entries: Sequence[ManagedEntry], **_: Any
    ) -> None:
        await self._put(collection, dict(zip(keys, managed_entries, strict=True)))

    async def _put(self, collection: str, entries: Mapping[str, ManagedEntry]) -> None:
        try:
            records = [_record_of(collection, key, entry) for key, entry in entries.items()]
            await self._storage.commit([saving(record) for record in records])
        except StorageValidationError as error:
            raise SerializationError(str(error)) from error
        if self._cull_interval_seconds is not None:
            now = time.monotonic()
            if now - self._culled_at >= self._cull_interval_seconds:
                self._culled_at = now
                await self._cull()

    async def _delete_managed_entry(self, *, key: str, collection: str) -> bool:
        return await self._delete([_id_of(collection, key)]) > 0

    async def _delete_managed_entries(self, *, keys: Sequence[str], collection: str) -> int:
        return await self._delete([_id_of(collection, key) for key in dict.fromkeys(keys)])

    async def _delete(self, names: Sequence[str]) -> int:
        removed = 0
        for at in range(0, len(names), _MOST_AT_ONCE):
            outcomes = await self._storage.commit([deleting(name) for name in names[at : at + _MOST_AT_ONCE]])
            removed += sum(outcome.before > 0 for outcome in outcomes)
        return removed

    # -- what has expired ---------------------------------------------------------------------------------------------

    async def _cull(self) -> None:
        self._culled_at = time.monotonic()
        found = await self._storage.list_metadata({"type": ENTRY, _EXPIRES: {"$lte": self._now()}})
        for at in range(0, len(found), _MOST_AT_ONCE):
            await self._remove_expired([summary["id"] for summary in found[at : at + _MOST_AT_ONCE]])

    async def _remove_expired(self, names: Sequence[str]) -> None:
        now = self._now()

        def rule(current: JsonObject | None) -> JsonObject | None:
            return None if current is None or _is_over(metadata_of(current), now) else current

        await self._storage.commit([Mutation(name, rule) for name in names])

    def _now(self) -> str:
        return format_time(self._storage.clock())

    # -- lists --------------------------------------------------------------------------------------------------------

    async def _get_collection_keys(self, *, collection: str, limit: int | None = None) -> list[str]:
        return [str(metadata["key"]) for metadata in await self._found(_below(collection))][:limit]

    async def _get_collection_names(self, *, limit: int | None = None) -> list[str]:
        return sorted({str(metadata["collection"]) for metadata in await self._found(_ROOT)})[:limit]

    async def _delete_collection(self, *, collection: str) -> bool:
        return await self._delete(await self._names(_below(collection))) > 0

    async def _delete_store(self) -> bool:
        await self._delete(await self._names(_ROOT))
        return True

    async def _found(self, below: str) -> list[JsonObject]:
        """Return the metadata of the entries whose time is not over, as the index has it, in the order of their ids."""
        summaries = await self._storage.list_metadata(_within(below), order_by="id")
        now = self._now()
        found = (summary["metadata"] for summary in summaries)
        return [metadata for metadata in found if _is_named(metadata) and not _is_over(metadata, now)]

    async def _names(self, below: str) -> list[str]:
        return [summary["id"] for summary in await self._storage.list_metadata(_within(below), order_by="id")]

    @property
    def _storage(self) -> IUnifiedStorage:
        return self._store.storage


def _below(collection: str) -> str:
    return f"{_ROOT}{part(collection)}/"


def _id_of(collection: str, key: str) -> str:
    return f"{_below(collection)}{part(key)}"


def _within(below: str) -> Filters:
    return {"type": ENTRY, "id": {"$gte": below, "$lt": below[:-1] + _AFTER_SLASH}}


def _is_named(metadata: Any) -> bool:
    """Whether an entry says where it belongs; one that was changed by hand may not, and breaks no list."""
    return type(metadata) is dict and type(metadata.get("key")) is type(metadata.get("collection")) is str


def _is_over(metadata: Any, now: str) -> bool:
    end = metadata.get("expires_at") if type(metadata) is dict else None
    return type(end) is str and end <= now


def _record_of(collection: str, key: str, entry: ManagedEntry) -> JsonObject:
    metadata: JsonObject = {"collection": plain(collection), "key": plain(key)}
    if entry.expires_at is not None:
        metadata["expires_at"] = format_time(entry.expires_at)
    return {"id": _id_of(collection, key), "type": ENTRY, "data": {"metadata": metadata, "value": plain(entry.value)}}


def _entry_of(record: JsonObject) -> ManagedEntry:
    """Return the entry that a record stands for. Raises StorageCorruptedError where somebody else has changed it."""
    data = record["data"] if type(record["data"]) is dict else {}
    metadata, value = data.get("metadata"), data.get("value")
    end = metadata.get("expires_at") if type(metadata) is dict else 0
    if type(value) is not dict or not (end is None or (type(end) is str and instant_of(end))):
        raise StorageCorruptedError(id=record["id"], reason="it is not an entry of py-key-value")
    return ManagedEntry(
        value=value,
        created_at=datetime.fromisoformat(record["updated_at"]),
        expires_at=None if end is None else datetime.fromisoformat(str(instant_of(end))),
    )
