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
from contextlib import closing

from fsstore.errors import StorageCorruptedError, StorageUnavailableError
from fsstore.filesystem.documents.documents import Document, Documents
from fsstore.filesystem.index.connection import IndexDamagedError
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.rows import Row
from fsstore.model.records import JsonObject, Records
from fsstore.query.conditions import Condition, Order

_logger = logging.getLogger("fsstore")


class Listing:
    """Lists the documents of one store."""

    def __init__(self, documents: Documents, outdated: Callable[[list[str]], None]) -> None:
        self._documents = documents
        self._outdated = outdated

    def records(self, index: Index, condition: Condition, order: Order, *, limit: int | None, offset: int) -> Records:
        """Return the matching records in order; O(rows looked at), and one read for each document returned."""
        selection = index.select(condition, order)
        # closed at the end, whatever ends it: open rows keep what they are read from as it was
        with closing(selection.rows) as rows:
            matching = self._matching(rows, condition, is_judged=selection.residue is None, keeping=limit is not None)
            if not selection.ordered:
                matching = iter(sorted(matching, key=order.key))
            for _ in zip(range(offset), matching, strict=False):
                pass  # an offset may be larger than any number of documents
            if limit is None:
                return list(matching)
            return [record for _, record in zip(range(limit), matching, strict=False)]

    def batch(self, rows: Iterable[Row], condition: Condition) -> Records:
        """Return the records of rows, in their order, that match."""
        return list(self._matching(rows, condition, keeping=False))

    def _matching(
        self, rows: Iterable[Row], condition: Condition, *, is_judged: bool = False, keeping: bool = True
    ) -> Iterator[JsonObject]:
        """Give the records of rows that match; of rows that the index has judged, the others are outdated."""
        outdated: list[str] = []
        try:
            for row in rows:
                document = self._read(row, keeping=keeping)
                matches = document is not None and condition.matches(document.record)
                if document is None or document.signature != row.signature or (is_judged and not matches):
                    outdated.append(row.name)
                if document is not None and matches:
                    yield document.record
        finally:
            if outdated:
                self._outdated(outdated)

    def _read(self, row: Row, *, keeping: bool) -> Document | None:
        if self._documents.name(row.id) != row.name:
            raise IndexDamagedError(f"{row.name} is not the file of {row.id!r}")
        try:
            return self._documents.read(row.id, keeping=keeping)
        except (StorageCorruptedError, StorageUnavailableError) as error:
            if isinstance(error, StorageUnavailableError) and row.name not in self._documents.waiting:
                raise
            _logger.warning("%s is left out of a list: %s", row.name, error.reason)
            return None
