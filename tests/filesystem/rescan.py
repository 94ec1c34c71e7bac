"""What the documents themselves say: every answer of a store, found by reading each of them with `json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsstore import FileStorage
from fsstore.interfaces import summary
from fsstore.model.records import JsonObject
from fsstore.query.filters import matches
from fsstore.query.orders import parse_order

FILTERS: tuple[JsonObject, ...] = (
    {},
    {"data.metadata.status": "open"},
    {"data.metadata.tags": "red"},
    {"data.metadata.rank": {"$gte": 3}},
    {"session_id": "s1"},
    {"data.text": {"$regex": "1"}},
    {"$or": [{"type": "session"}, {"data.metadata.note.deep": None}]},
)
ORDERS = (None, "id", "-data.metadata.rank", "data.text")
_COLUMNS = ("id", "version", "session_id", "updated_at")


def documents(store: Path) -> dict[str, bytes]:
    """Return the bytes of every document, by its path below the root."""
    return {str(path.relative_to(store)): path.read_bytes() for path in sorted(store.glob("[0-9a-f][0-9a-f]/*.json"))}


def records(store: Path) -> list[JsonObject]:
    """Return every document as a record."""
    return [json.loads(data) for data in documents(store).values()]


def found(there: list[JsonObject], filters: Mapping[str, Any], order_by: str | None = None) -> list[JsonObject]:
    """Return the records that match, in order."""
    return sorted((record for record in there if matches(filters, record)), key=parse_order(order_by).key)


async def contradictions(storage: FileStorage, store: Path) -> list[str]:
    """Return which answers are not those of the documents, a line each."""
    there, wrong = records(store), []

    def compare(question: str, answer: Any, truth: Any) -> None:
        if answer != truth:
            wrong.append(f"{question}: {_short(answer)} instead of {_short(truth)}")

    for filters in FILTERS:
        truth = found(there, filters)
        compare(f"list {filters}", await storage.list(filters), truth)
        compare(f"list {filters} 2 from 1", await storage.list(filters, 2, offset=1), truth[1:3])
        compare(f"count {filters}", await storage.count(filters), len(truth))
        compare(f"list_metadata {filters}", await storage.list_metadata(filters), [summary(record) for record in truth])
        streamed = [record async for batch in storage.stream_list(filters, 3) for record in batch]
        compare(f"stream_list {filters}", streamed, found(there, filters, "id"))
    for order_by in ORDERS:
        compare(f"list by {order_by}", await storage.list(order_by=order_by), found(there, {}, order_by))
    rows = await storage.query(f"SELECT {', '.join(_COLUMNS)} FROM documents ORDER BY id")  # noqa: S608 - constants
    compare("query", rows, [{key: record.get(key) for key in _COLUMNS} for record in found(there, {}, "id")])
    compare("get_by_session", await storage.get_by_session("s1"), found(there, {"session_id": "s1"}))
    return wrong


def _short(answer: Any) -> str:
    if isinstance(answer, list):
        return str([(record.get("id"), record.get("version")) for record in answer])
    return repr(answer)
