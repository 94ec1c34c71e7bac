"""Bytes under keys, as Strands keeps snapshots: `FsstoreStorage`.

    ~blob/KEY       bytes under a key, each of whose segments is a part of the id, percent-encoded

No part begins with a tilde, so that no session has such an id. Text is kept as text, and all else as base64.
"""

from __future__ import annotations

import base64
import builtins
import copy
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Self, TypeVar, Unpack

from strands.storage.search.keyword import KeywordSearchStrategy
from strands.storage.storage import _NAMESPACED, StorageSearchResult, _normalize_key, _normalize_prefix
from strands.types.exceptions import StorageError as StrandsStorageError

from fsstore.errors import StorageCorruptedError, StorageError
from fsstore.integrations.open_stores import Holder, OpenStore
from fsstore.integrations.parts import part
from fsstore.integrations.plain import plain
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.mutations import deleting, saving
from fsstore.model.records import Filters, JsonObject
from fsstore.options import FileOptions

BLOB = "strands.blob"

T = TypeVar("T")

_BLOBS = "~blob/"
_AFTER_SLASH = "0"
"""The character after the slash: where the range of what is below a prefix ends."""
_AT_ONCE = 500


class FsstoreStorage(Holder):
    """Bytes under keys, for `SnapshotSessionManager(storage=...)` and what else takes a `Storage` of Strands.

    `url` and the options are those of `FsstoreRepository`. Keys are normalized as Strands does it. Text is kept as
    text, other bytes as base64. Errors of the store are raised as Strands' own StorageError.
    """

    def __init__(
        self,
        url: str | os.PathLike[str] = "memory:",
        *,
        search_strategy: Any = None,
        **options: Unpack[FileOptions],
    ) -> None:
        self._store = OpenStore(url, **options)
        self._search_strategy = search_strategy
        self._prefix = ""

    async def write(self, key: str, data: bytes) -> None:
        """Store bytes under a key, over what is there; one commit."""
        normalized = _normalize_key(key)
        name = f"{self._prefix}{normalized}"
        record = {"id": _blob(name), "type": BLOB, "data": {"metadata": {"key": plain(name)}, **_as_json(bytes(data))}}
        await self._do(lambda storage: storage.commit([saving(record)]), f"Failed to write '{key}'")
        if self._search_strategy is not None:
            try:
                await self._search_strategy.index(self, normalized, data)
            except Exception as error:
                raise StrandsStorageError(f"Wrote '{key}' but indexing failed") from error

    async def read(self, key: str) -> bytes | None:
        """Return what is stored under a key, None when nothing is."""
        name = f"{self._prefix}{_normalize_key(key)}"
        return await self._do(lambda storage: _loaded(storage, _blob(name)), f"Failed to read '{key}'")

    async def delete(self, key: str) -> None:
        """Remove what is stored under a key, if anything is."""
        name = f"{self._prefix}{_normalize_key(key)}"
        await self._do(lambda storage: storage.commit([deleting(_blob(name))]), f"Failed to delete '{key}'")

    async def list(self, query: str = "") -> list[str]:
        """Return the keys that begin with a text, sorted; the index is asked for what is below its last slash."""
        prefix = f"{self._prefix}{_normalize_prefix(query)}"
        below = _below(prefix)
        found = await self._do(
            lambda storage: storage.list_metadata(below), f"Failed to list keys with prefix '{query}'"
        )
        # one that was changed by hand breaks no list
        told = (summary["metadata"] for summary in found if type(summary["metadata"]) is dict)
        names = (str(metadata["key"]) for metadata in told if "key" in metadata)
        return sorted(name[len(self._prefix) :] for name in names if name.startswith(prefix))

    async def search(self, query: str) -> builtins.list[StorageSearchResult]:
        """Return what the search strategy finds; without one, what has words of the query, which reads everything."""
        strategy = self._search_strategy or KeywordSearchStrategy()
        found: builtins.list[StorageSearchResult] = await strategy.search(self, query)
        return found

    def namespace(self, prefix: str) -> Self:
        """Return the same store as it is seen below a prefix; the two are closed together."""
        normalized = _normalize_prefix(prefix).rstrip("/")
        scoped = copy.copy(self)
        own = f"{self._prefix}{normalized}/" if normalized else self._prefix
        vars(scoped).update(_prefix=own, _namespaced=_NAMESPACED)
        return scoped

    def clear(self) -> None:
        """Remove everything below the prefix of this object."""
        below = _below(self._prefix)
        try:
            names = [summary["id"] for summary in self._store.plain.list_metadata(below)]
            for at in range(0, len(names), _AT_ONCE):
                self._store.plain.run(partial(_delete, names[at : at + _AT_ONCE]))
        except StorageError as error:
            raise StrandsStorageError(f"Failed to clear '{self._prefix}': {error}") from error

    async def _do(self, work: Callable[[IUnifiedStorage], Awaitable[T]], failed: str) -> T:
        try:
            return await work(self._store.storage)
        except StorageError as error:
            raise StrandsStorageError(f"{failed}: {error}") from error


async def _delete(names: Sequence[str], storage: IUnifiedStorage) -> None:
    await storage.commit([deleting(name) for name in names])


async def _loaded(storage: IUnifiedStorage, name: str) -> bytes | None:
    record = await storage.load(name)
    return None if record is None else _as_bytes(record)


def _blob(key: str) -> str:
    return _BLOBS + "/".join(map(part, key.split("/")))


def _below(prefix: str) -> Filters:
    """Match what is below the last slash of a prefix: a range of ids."""
    directory = _BLOBS + "".join(f"{part(segment)}/" for segment in prefix.split("/")[:-1])
    return {"type": BLOB, "id": {"$gt": directory, "$lt": directory[:-1] + _AFTER_SLASH}}


def _as_json(data: bytes) -> JsonObject:
    try:
        return {"text": data.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def _as_bytes(record: JsonObject) -> bytes:
    """Return what a record stands for. Raises StorageCorruptedError where somebody else has changed it."""
    data = record["data"] if type(record["data"]) is dict else {}
    try:
        if type(data.get("text")) is str:
            return str(data["text"]).encode("utf-8")
        return base64.b64decode(data["base64"], validate=True)
    except (KeyError, TypeError, ValueError) as error:
        raise StorageCorruptedError(id=record["id"], reason="it is neither text nor base64") from error
