"""What the tests of this folder share: a source of changes without files, and a subscriber that only collects."""

from __future__ import annotations

import asyncio
from typing import Any

from fsstore import Change, Gap, Watch
from fsstore.model.records import Filters, JsonObject
from fsstore.query.filters import parse
from fsstore.watching.changes import Origin
from fsstore.watching.ledger import KnownState, Ledger
from fsstore.watching.watch import MAX_QUEUED

SECONDS = 20.0


class Collecting:
    """A subscriber that keeps what it receives."""

    def __init__(self, *, asks_documents: bool = False) -> None:
        self.asks_documents = asks_documents
        self.received: list[tuple[int, str, KnownState, Origin, JsonObject | None]] = []
        self.reasons: list[BaseException] = []

    def receive(self, serial: int, name: str, state: KnownState, origin: Origin, record: JsonObject | None) -> None:
        self.received.append((serial, name, state, origin, record))

    def end(self, reason: BaseException) -> None:
        self.reasons.append(reason)


class FakeSource:
    """A store in a dict, whose commits are published when the test wants it, under names that are any text at all."""

    def __init__(self, *record_ids: str) -> None:
        self.ledger = Ledger("fake:")
        self.records: dict[str, JsonObject] = {}
        self.reads: list[list[str]] = []
        self.unreadable: set[str] = set()
        # what a read waits for
        self.may_read = asyncio.Event()
        self.may_read.set()
        for record_id in record_ids:
            self.put(record_id)
            self.ledger.adopt(name_of(record_id), self.state(record_id))

    def watch(self, filters: Filters | None = None, since: Any = None, *, max_queued: int = MAX_QUEUED) -> Watch:
        return Watch(self, parse(filters), filters or {}, since, max_queued=max_queued)

    def put(self, record_id: str, **metadata: Any) -> None:
        """Change a record, and publish nothing yet."""
        version = self.records.get(name_of(record_id), {"version": 0})["version"] + 1
        self.records[name_of(record_id)] = {"id": record_id, "version": version, "data": {"metadata": metadata}}

    def publish(self, record_id: str) -> None:
        """Publish what a record is now."""
        name = name_of(record_id)
        record = self.records.get(name)
        self.ledger.publish(name, None if record is None else self.state(record_id), "own", record)

    def save(self, record_id: str, **metadata: Any) -> None:
        """Change a record and publish it."""
        self.put(record_id, **metadata)
        self.publish(record_id)

    def delete(self, record_id: str) -> None:
        """Remove a record and publish that."""
        del self.records[name_of(record_id)]
        self.publish(record_id)

    def state(self, record_id: str) -> KnownState:
        """Return what is to be published of a record."""
        record = self.records[name_of(record_id)]
        return KnownState(record_id, record["version"], record["version"], "own")

    # -- what a watch requests ----------------------------------------------------------------------------------------

    async def ready(self) -> None:
        """Return at once: the ledger has everything."""

    async def inside(self, filters: Filters) -> dict[str, str]:
        """Return the ids of the records that match, by name."""
        return {name: record["id"] for name, record in self.records.items() if parse(filters).matches(record)}

    async def updated(self, filters: Filters) -> list[str]:
        """Return the names of the records that match."""
        return [name for name, record in self.records.items() if parse(filters).matches(record)]

    async def read(self, names: list[str]) -> dict[str, tuple[JsonObject, object]]:
        """Return the records that can be read, once they may be."""
        self.reads.append(names)
        await self.may_read.wait()
        there = [name for name in names if name in self.records and name not in self.unreadable]
        return {name: (self.records[name], self.records[name]["version"]) for name in there}


def name_of(record_id: str) -> str:
    """Return the name under which the source publishes a record: one that looks like a path and is none."""
    return f"/{record_id}//"


async def next_of(watch: Watch) -> Change | Gap:
    """Return what comes next; it must not take for ever."""
    return await asyncio.wait_for(anext(watch), SECONDS)
