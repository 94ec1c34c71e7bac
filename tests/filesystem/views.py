"""What a store says of its documents by each way of asking, and what an independent reader finds in its files."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fsstore.errors import StorageCorruptedError
from fsstore.interfaces import IUnifiedStorage

Documents = dict[str, Any]
"""Records by id; None for what is there and cannot be read, by the name of its file without the suffix."""

STATUSES = ("old", "new", "logged", "edited", "after")
_KNOWN = re.compile(
    r"fsstore\.json|[0-9a-f]{2}(/[^/]+\.json)?"
    r"|\.fsstore(/(\.gitignore|floor|lock|open|seq|batches|checkpoint|log|txn|staging|waiting|index\.sqlite3(-wal|-shm)?))?"
    r"|\.fsstore/quarantine(/.*)?"
)


class View(NamedTuple):
    """A way of asking, and what it must answer when the documents are these."""

    name: str
    ask: Callable[[IUnifiedStorage, Iterable[str]], Awaitable[Any]]
    answer: Callable[[Documents], Any]


def rescan(store: Path) -> Documents:
    """Read every file of a store, with nothing of ours."""
    found: Documents = {}
    for file in sorted(store.glob("[0-9a-f][0-9a-f]/*.json")):
        try:
            record = json.loads(file.read_bytes())
            found[record["id"]] = record
        except ValueError:
            found[file.stem] = None
    return found


def left_behind(store: Path) -> list[str]:
    """Return what a closed store must not hold: temp files, segments of the log, names nobody knows."""
    names = (path.relative_to(store).as_posix() for path in store.rglob("*"))
    return sorted(name for name in names if not _KNOWN.fullmatch(name))


def quarantined(store: Path) -> set[bytes]:
    """Return the contents of what is in quarantine."""
    return {path.read_bytes() for path in (store / ".fsstore/quarantine").glob("*")}


def whole(documents: Mapping[str, Any]) -> Documents:
    """Leave out what cannot be read."""
    return {key: record for key, record in documents.items() if record is not None}


async def _load(storage: IUnifiedStorage, ids: Iterable[str]) -> Documents:
    found: Documents = {}
    for record_id in ids:
        try:
            record = await storage.load(record_id)
        except StorageCorruptedError:
            found[record_id] = None
        else:
            if record is not None:
                found[record_id] = record
    return found


async def _list(storage: IUnifiedStorage, _: Iterable[str]) -> Documents:
    return {record["id"]: record for record in await storage.list()}


async def _by_status(storage: IUnifiedStorage, _: Iterable[str]) -> dict[str, set[str]]:
    return {
        status: {row["id"] for row in await storage.list_metadata({"data.metadata.status": status})}
        for status in STATUSES
    }


async def _query(storage: IUnifiedStorage, _: Iterable[str]) -> dict[str, int]:
    return {row["id"]: row["version"] for row in await storage.query("SELECT id, version FROM documents")}


def _statuses(documents: Documents) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {status: set() for status in STATUSES}
    for key, record in whole(documents).items():
        found[record["data"]["metadata"]["status"]].add(key)
    return found


VIEWS = (
    View("load", _load, lambda documents: documents),
    View("list", _list, whole),
    View("count", lambda storage, _: storage.count(), lambda documents: len(whole(documents))),
    View("list_metadata", _by_status, _statuses),
    View("query", _query, lambda documents: {key: record["version"] for key, record in whole(documents).items()}),
)
