"""Batches that can be told apart, and a reader that notices when it sees half of one.

A batch sets every document to the next number, and makes or removes one more document: it is there after every second
batch. What is promised, and looked for:

- one answer never mixes the sides of a batch: all numbers in it are the same, and the one more document fits them;
- a reader that has seen a number, in whatever way, never sees an older one in a later call.

Loads that are under way at the same time may see both sides, since a batch may come true between them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from fsstore import FileStorage
from fsstore.model.mutations import AnyMutation, Mutation, deleting, saving
from fsstore.model.records import JsonObject

DOCUMENTS = 10
_LOADS = 100
_NAMES = [f"member-{number}" for number in range(DOCUMENTS)]
_EXTRA = "odd-one-out"
_NUMBERS = "SELECT id, json_extract(metadata, '$.number') AS number FROM documents"


def _record(name: str, number: int) -> JsonObject:
    return {"id": name, "type": "note", "data": {"text": "x" * 500, "metadata": {"number": number, "is_member": True}}}


def first_batch() -> list[AnyMutation]:
    return [*(saving(_record(name, 0)) for name in _NAMES), deleting(_EXTRA)]


def batch() -> list[Mutation]:
    """Return the next batch, whatever the number now is."""
    return [Mutation(name, _counted) for name in _NAMES] + [Mutation(_EXTRA, _toggled)]


def _counted(current: JsonObject | None) -> JsonObject:
    assert current is not None
    return _record(current["id"], current["data"]["metadata"]["number"] + 1)


def _toggled(current: JsonObject | None) -> JsonObject | None:
    return {"id": _EXTRA, "type": "note", "data": {}} if current is None else None


class Watcher:
    """Reads in all ways that the API has, and takes down what should not have been seen."""

    def __init__(self, storage: FileStorage, chance: random.Random) -> None:
        self._storage = storage
        self._chance = chance
        self.newest = 0
        self.looks = 0
        self.violations: list[str] = []

    async def look(self) -> None:
        """Read once, in a way left to chance."""
        ways = (self._load, self._load, self._list, self._metadata, self._query, self._count, self._stream)
        self.looks += 1
        await self._chance.choice(ways)()

    async def _load(self) -> None:
        # many, since one costs so little: a batch is being put in place for a moment only
        for name in self._chance.choices(_NAMES, k=_LOADS):
            record = await self._storage.load(name)
            self._see("load", [] if record is None else [record["data"]["metadata"]["number"]])

    async def _list(self) -> None:
        records = await self._storage.list()
        self._whole("list", {record["id"]: record["data"].get("metadata") for record in records})

    async def _metadata(self) -> None:
        rows = await self._storage.list_metadata()
        self._whole("list_metadata", {row["id"]: row["metadata"] for row in rows})

    async def _query(self) -> None:
        rows = await self._storage.query(_NUMBERS)
        self._whole("query", {row["id"]: {"number": row["number"]} for row in rows})

    async def _count(self) -> None:
        # whichever number it is now, all or none have it
        for number in (self.newest, self.newest + 1):
            found = await self._storage.count({"data.metadata.number": number})
            if found not in (0, DOCUMENTS):
                self.violations.append(f"count: {found} documents have the number {number}")
            if found:
                self._see("count", [number])

    async def _stream(self) -> None:
        async for records in self._storage.stream_list({"data.metadata.is_member": True}, batch_size=4):
            self._see("stream_list", [record["data"]["metadata"]["number"] for record in records])

    def _whole(self, way: str, found: dict[str, JsonObject | None]) -> None:
        has_extra = _EXTRA in found
        found.pop(_EXTRA, None)
        if sorted(found) != sorted(_NAMES):
            self.violations.append(f"{way}: there are {sorted(found)}")
            return
        numbers = [metadata["number"] for metadata in found.values() if metadata is not None]
        if has_extra != bool(numbers[0] & 1):
            self.violations.append(f"{way}: at {numbers[0]} the odd one out is {'there' if has_extra else 'missing'}")
        self._see(way, numbers)

    def _see(self, way: str, numbers: Iterable[int]) -> None:
        seen = set(numbers)
        if len(seen) != 1:
            self.violations.append(f"{way}: the numbers {sorted(seen)} are not one")
        if seen and min(seen) < self.newest:
            self.violations.append(f"{way}: back from {self.newest} to {min(seen)}")
        self.newest = max(seen | {self.newest})
