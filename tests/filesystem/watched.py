"""What the tests of watching share: a watched store, edits by hand, and sources of hints that report nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fsstore import Change, FileStorage, Gap, Watch
from fsstore.filesystem.documents.codec import encode
from fsstore.filesystem.watch.events import EventBatch, Report
from fsstore.model.records import JsonObject
from tests.filesystem.faults import place

SECONDS = 30.0
TIME = "2026-01-31T09:15:00.000000+00:00"


def document(record_id: str, status: str = "new", **beside: Any) -> JsonObject:
    """Return a record as it lies on disk."""
    data = {"metadata": {"status": status}}
    envelope = {"id": record_id, "type": "note", "version": 1, "created_at": TIME, "updated_at": TIME}
    return {**envelope, "data": data, **beside}


def name_of(record_id: str) -> str:
    """Return the name of a document's file in a store of one level."""
    return str(place(Path(), record_id))


def put(store: Path, record_id: str, status: str = "new", **beside: Any) -> Path:
    """Write a document in place, as a simple editor does."""
    path = place(store, record_id)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(encode(document(record_id, status, **beside), max_bytes=1 << 20))
    return path


def replace(store: Path, record_id: str, status: str) -> None:
    """Put another file into a document's place, as a careful editor does."""
    draft = store / "draft"
    draft.write_bytes(encode(document(record_id, status), max_bytes=1 << 20))
    place(store, record_id).parent.mkdir(exist_ok=True)
    draft.replace(place(store, record_id))


async def next_of(watch: Watch) -> Change | Gap:
    """Return what comes next; it must not take for ever."""
    return await asyncio.wait_for(anext(watch), SECONDS)


async def told(watch: Watch, number: int) -> list[tuple[str, str, str]]:
    """Return kind, id and origin of the next changes."""
    found: list[tuple[str, str, str]] = []
    while len(found) < number:
        change = await next_of(watch)
        assert isinstance(change, Change)
        found.append((change.kind, change.id, change.origin))
    return found


async def all_told(storage: FileStorage, watch: Watch) -> list[Change]:
    """Return every change until now: a document that is saved last is told last."""
    await storage.save({"id": "zz-end"})
    found: list[Change] = []
    while True:
        change = await next_of(watch)
        assert isinstance(change, Change)
        if change.id == "zz-end":
            return found
        found.append(change)


class Silent:
    """A source that begins, and then loses every event."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.followed: list[list[str]] = []
        self.is_closed = False

    def follow(self, paths: Sequence[str]) -> None:
        self.followed.append(list(paths))
        self._report(EventBatch([], begun=True))

    def close(self) -> None:
        self.is_closed = True


class Refused(Silent):
    """A source that gets no watches from the system."""

    def follow(self, paths: Sequence[str]) -> None:
        self.followed.append(list(paths))
        self._report(EventBatch([], error="No space left on device (os error 28)"))
