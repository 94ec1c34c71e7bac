"""Reads of many documents: rows from the index, contents from the files, judged by what the files hold.

Runs in reader threads. Invariants:
- No returned record contradicts its document: each is read, and judged by the filter itself; a document that is not
  what its row says is left to the reconciler.
- A list never mixes the two sides of a batch: what a batch has touched meanwhile is read and judged again, whether the
  index knows of it or not, and nothing else is (`isolation`).
- One document that is damaged, or that the system refuses to read, never breaks a list: it is left out with a warning,
  and named by `health_check`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from itertools import count, islice
from typing import Any, NamedTuple, TypeAlias

from fsstore.errors import StorageCorruptedError, StorageUnavailableError
from fsstore.filesystem.documents.documents import Document, Documents
from fsstore.filesystem.index.connection import IndexDamagedError
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.rows import Row
from fsstore.filesystem.read.isolation import Isolation
from fsstore.model.records import JsonObject, Records
from fsstore.query.conditions import Condition, Order

_unreadable = logging.getLogger("fsstore.unreadable")
_LEFT_OUT = "%s is left out of a list: %s"

_Matches: TypeAlias = Callable[[JsonObject], bool]

_ROWS_A_LOOK = 100
_BY_ID = Order(("id",), descending=False)


class _Skipped(NamedTuple):
    """Stands for a record that matches and will not be returned: the key of its place."""

    key: Any


class _Hits:
    """What a list has found so far, by the names of the files."""

    def __init__(self, order: Order, *, is_ordered: bool, limit: int | None, offset: int) -> None:
        """`is_ordered` tells that what is added comes in order."""
        self._order = order
        self._is_ordered = self._is_in_order = is_ordered
        self._offset = offset
        self._end = None if limit is None else min(offset + limit, sys.maxsize)
        self._hits: dict[str, JsonObject | _Skipped] = {}
        self._late: set[str] = set()

    def __len__(self) -> int:
        return len(self._hits)

    def add(self, name: str, record: JsonObject, *, in_order: bool) -> None:
        """Take in a record whose place is behind all others, or was when it was indexed."""
        self._is_in_order &= in_order
        is_skipped = self._is_in_order and len(self._hits) < self._offset
        self._hits[name] = _Skipped(self._order.key(record)) if is_skipped else record

    def replace(self, name: str, record: JsonObject | None) -> None:
        """Take in what a document has become, whatever place it has; None is one that does not match any more."""
        self._hits.pop(name, None)
        self._late.discard(name)
        if record is not None:
            self._is_in_order = False
            self._hits[name] = record
            self._late.add(name)

    @property
    def is_full(self) -> bool:
        """Whether nothing that is still to be added can be wanted."""
        return self._is_ordered and self._end is not None and len(self._hits) - len(self._late) >= self._end

    def lacking(self) -> set[str]:
        """Return the names of those that are wanted after all."""
        return {name for name, hit in self._wanted() if isinstance(hit, _Skipped)}

    def records(self) -> Records:
        """Return those that are wanted, in order."""
        return [hit for _, hit in self._wanted() if not isinstance(hit, _Skipped)]

    def _wanted(self) -> Iterator[tuple[str, JsonObject | _Skipped]]:
        if not self._is_in_order:
            self._hits = dict(sorted(self._hits.items(), key=self._key))
            self._is_in_order = True
        return islice(self._hits.items(), min(self._offset, len(self._hits)), self._end)

    def _key(self, item: tuple[str, JsonObject | _Skipped]) -> Any:
        hit = item[1]
        return hit.key if isinstance(hit, _Skipped) else self._order.key(hit)


class Listing:
    """Lists the documents of one store."""

    def __init__(self, documents: Documents, outdated: Callable[[list[str]], None]) -> None:
        self._documents = documents
        self._outdated = outdated

    def records(
        self, index: Index, isolation: Isolation, condition: Condition, order: Order, *, limit: int | None, offset: int
    ) -> Records:
        """Return the matching records in order; O(rows looked at), and one read for each document returned."""
        selection = index.select(condition, order)
        hits = _Hits(order, is_ordered=selection.ordered, limit=limit, offset=offset)
        is_judged, keeping = selection.residue is None, limit is not None
        with closing(selection.rows) as rows:
            self._fill(hits, rows, isolation, condition.matches, is_judged=is_judged, keeping=keeping)
        return hits.records()

    def count(self, index: Index, isolation: Isolation, condition: Condition) -> int:
        """Return how many records match; one read for each row that may."""
        selection = index.select(condition, _BY_ID)
        hits = _Hits(_BY_ID, is_ordered=True, limit=None, offset=sys.maxsize)
        with closing(selection.rows) as rows:
            self._fill(hits, rows, isolation, condition.matches, keeping=False)
        return len(hits)

    def batch(
        self, index: Index, isolation: Isolation, condition: Condition, after: str, size: int
    ) -> tuple[str | None, Records]:
        """Return the records that match up to the id that is returned too; None is the end."""
        rows = index.following(condition, after, size)
        last = rows[-1].id if len(rows) == size else None
        hits = _Hits(_BY_ID, is_ordered=True, limit=None, offset=0)

        def matches(record: JsonObject) -> bool:
            # what a commit has touched may lie anywhere
            return after < record["id"] and (last is None or record["id"] <= last) and condition.matches(record)

        self._fill(hits, iter(rows), isolation, matches, keeping=False)
        return last, hits.records()

    def known_part(self, index: Index, record_id: str) -> JsonObject | None:
        """Return what the index tells of a record; None where its row may not be that of what lies there."""
        name = self._documents.name(record_id)
        found = index.part_of(record_id)
        if found is None or name in self._documents.waiting:
            return None
        known, part = found
        is_it = not known.is_racy and self._documents.tree.is_same(name, known.signature)
        return part if is_it else None

    def _fill(
        self,
        hits: _Hits,
        rows: Iterator[Row],
        isolation: Isolation,
        matches: _Matches,
        *,
        is_judged: bool = False,
        keeping: bool,
    ) -> None:
        """Read documents until there are enough hits, and those again that batches touch meanwhile."""
        walk = self._walk(rows, isolation, matches, is_judged=is_judged, keeping=keeping)
        with closing(walk), ExitStack() as pause:
            is_paused = False
            while True:
                while not hits.is_full and (found := next(walk, None)) is not None:
                    name, record, is_as_indexed = found
                    hits.add(name, record, in_order=is_as_indexed)
                touched = isolation.touched()
                if touched and not is_paused and isolation.is_outrun(len(touched)):
                    is_paused = True
                    pause.enter_context(isolation.paused())
                    touched |= isolation.touched()
                if not touched and not (touched := hits.lacking()):
                    return
                for name in touched:
                    hits.replace(name, self._read_again(name, matches))

    def _pass_over(self, name: str, error: StorageUnavailableError) -> None:
        """Leave one out that cannot be read now. Raises the error where others cannot be read either."""
        self._documents.check_its_own(error)
        if name in self._documents.waiting:
            _unreadable.warning(_LEFT_OUT, name, error.reason)

    def _read_again(self, name: str, matches: _Matches) -> JsonObject | None:
        """Return what a document has become; None where it does not match any more, or cannot be read."""
        try:
            document = self._documents.read_named(name)
        except StorageUnavailableError as error:
            self._pass_over(name, error)
            return None
        except StorageCorruptedError as error:
            _unreadable.warning(_LEFT_OUT, name, error.reason)
            return None
        return document.record if document is not None and matches(document.record) else None

    def _walk(
        self, rows: Iterator[Row], isolation: Isolation, matches: _Matches, *, is_judged: bool, keeping: bool
    ) -> Generator[tuple[str, JsonObject, bool]]:
        """Give the records of rows that match, and whether each is what its row says; the others are outdated.

        With `is_judged` the index has found that all of them match.
        """
        outdated: list[str] = []
        row = next(rows, None)
        isolation.begin()
        try:
            for at in count():
                if row is None:
                    return
                if at % _ROWS_A_LOOK == 0:
                    isolation.look()
                if row.name not in isolation.read_again:
                    try:
                        document = self._read_row(row, keeping=keeping)
                    except StorageUnavailableError as error:
                        # its row stays as it is: others may be able to read it
                        self._pass_over(row.name, error)
                    else:
                        is_wanted = document is not None and matches(document.record)
                        is_as_indexed = document is not None and document.signature == row.signature
                        if not is_as_indexed or (is_judged and not is_wanted):
                            outdated.append(row.name)
                        if document is not None and is_wanted:
                            yield row.name, document.record, is_as_indexed
                row = next(rows, None)
        finally:
            if outdated:
                self._outdated(outdated)

    def _read_row(self, row: Row, *, keeping: bool) -> Document | None:
        if self._documents.name(row.id) != row.name:
            raise IndexDamagedError(f"{row.name} is not the file of {row.id!r}")
        try:
            return self._documents.read(row.id, keeping=keeping)
        except StorageCorruptedError as error:
            _unreadable.warning(_LEFT_OUT, row.name, error.reason)
            return None
