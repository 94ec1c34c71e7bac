"""Reads of many documents: rows from the index, contents from the files, judged by what the files hold.

Runs in reader threads. Invariants:
- No returned record contradicts its document: each is read, and judged by the filter itself; a document that is not
  what its row says is left to the reconciler.
- A list never mixes the two sides of a batch: if a batch was put in place meanwhile, the list is made again.
- One unreadable document never breaks a list: it is left out with a warning, and counted by `health_check`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from fsstore.conditions import Condition, Order
from fsstore.errors import StorageCorruptedError
from fsstore.filesystem.documents import Documents
from fsstore.filesystem.index import Index, Row
from fsstore.models import JsonObject, Records

_logger = logging.getLogger("fsstore")


class Listing:
    """Lists the documents of one store."""

    def __init__(self, documents: Documents, outdated: Callable[[list[str]], None]) -> None:
        self._documents = documents
        self._outdated = outdated

    def records(self, index: Index, condition: Condition, order: Order, *, limit: int | None, offset: int) -> Records:
        """Return the matching records in order; O(rows looked at), and one read for each document returned."""
        selection = index.select(condition, order)
        matching = self._matching(selection.rows, condition)
        if not selection.ordered:
            matching = iter(sorted(matching, key=order.key))
        for _ in range(offset):
            next(matching, None)
        if limit is None:
            return list(matching)
        return [record for _, record in zip(range(limit), matching, strict=False)]

    def batch(self, rows: Iterable[Row], condition: Condition) -> Records:
        """Return the records of rows, in their order, that match."""
        return list(self._matching(rows, condition))

    def _matching(self, rows: Iterable[Row], condition: Condition) -> Iterator[JsonObject]:
        outdated: list[str] = []
        try:
            for row in rows:
                record = self._read(row, outdated)
                if record is not None and condition.matches(record):
                    yield record
        finally:
            if outdated:
                self._outdated(outdated)

    def _read(self, row: Row, outdated: list[str]) -> JsonObject | None:
        try:
            document = self._documents.read(row.id)
        except StorageCorruptedError as error:
            _logger.warning("%s is left out of a list: %s", row.name, error.reason)
            document = None
        if document is None or document.signature != row.signature:
            outdated.append(row.name)
        return None if document is None else document.record
