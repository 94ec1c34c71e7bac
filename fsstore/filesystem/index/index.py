"""The sidecar index: one SQLite file that answers filters, orders and counts without opening documents.

Owns the rows; `schema` says what they hold, `upserts` how they get there, `statements` what is asked of them,
`inventory` what they say of the files.
Invariants:
- The index decides nothing. A row is a hint at what its document holds, and the file may be thrown away at any time.
- What changed together is applied in one transaction. A crash leaves the state before or after it; a power cut may take
  the last ones back (write-ahead log, `synchronous=NORMAL`), which reconciling makes up for.
- An `Index` is one connection and serves one thread at a time. Threads and processes with one each read while another
  writes.
- A file that is damaged, or of another schema, is never repaired here: IndexDamagedError asks for a new one.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakValueDictionary

from fsstore.filesystem.documents.text import digest_of
from fsstore.filesystem.index.connection import connect, prepare, quick_to_give_up, translated, understood, verify
from fsstore.filesystem.index.inventory import Inventory
from fsstore.filesystem.index.rows import Entry, Known, Problem, Row, Selection, signature_of
from fsstore.filesystem.index.schema import (
    BEHIND_RELATION,
    FILE_COLUMNS,
    SHOWING,
    SIGNATURE_COLUMNS,
    SUMMARY_COLUMNS,
    hiding,
    json_array,
    part,
    row_summary,
)
from fsstore.filesystem.index.statements import Prepared, Statement, counting, following, probing
from fsstore.filesystem.index.terms import functions
from fsstore.filesystem.index.upserts import Described, described, put_problems, put_rows, remove
from fsstore.model.records import JsonObject
from fsstore.query.conditions import Condition, Order
from fsstore.query.orders import RECENT_FIRST
from fsstore.query.plan import Plan, Start
from fsstore.query.relation import TEMPORARY_IN_FILES, guarded_select

_FEW = 1_000
_LISTS_BELIEVED, _MOST_PREPARED = 100, 256
# pages of 4 KB; others who write wait for as many as are given back at once
_MANY_FREE, _FREE_SHARE, _GIVEN_BACK_AT_ONCE = 500, 8, 500
_PAGES = ("freelist", "page")

_ROW_COLUMNS = ("name", "id", *SIGNATURE_COLUMNS, "digest")
_PART = f"SELECT {', '.join((*FILE_COLUMNS, *SUMMARY_COLUMNS))} FROM entry WHERE id = ?"  # noqa: S608 - constants
_CONFIRM = (
    "UPDATE entry SET recorded_ns = (:since & ~1) | (recorded_ns & 1)"
    " WHERE recorded_ns < :since AND name IN (SELECT value FROM json_each(:names))"
)


class Index:
    """One connection to the index."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.inventory = Inventory(connection)
        self._asked: WeakValueDictionary[int, Condition] = WeakValueDictionary()
        # by identity, since 1 and True are equal to Python; filters that come again are the same condition
        self._prepared: dict[int, Prepared] = {}
        self._many: dict[int, int] = {}
        for name, (arguments, function) in functions(self._asked).items():
            connection.create_function(name, arguments, function, deterministic=True)

    @classmethod
    def open(cls, path: str | None) -> Index:
        """Open the index in a file, made when it is not there; None is a new one in memory. The caller closes it.

        Raises IndexDamagedError, IndexUnavailableError.
        """
        with translated():
            connection = connect(path)
            try:
                prepare(connection)
                return cls(connection)
            except BaseException:
                connection.close()
                raise

    def close(self) -> None:
        """Close the connection; the last one to a file also folds its write-ahead log into it."""
        self._connection.close()

    def leave(self) -> None:
        """Close the connection without folding the log into the file, which costs syncs, where Python (3.12) can."""
        configure = getattr(self._connection, "setconfig", None)
        if configure is not None:
            configure(getattr(sqlite3, "SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE"), True)  # noqa: B009 - unknown to 3.11
        self._connection.close()

    def copy(self, other: Index) -> None:
        """Hold what another index holds, in place of what is here; O(its bytes)."""
        with translated():
            other._connection.backup(self._connection)

    def truncate_log(self) -> None:
        """Fold the write-ahead log into the file and empty it, if nobody else is reading; two syncs.

        Many free pages are given back to the disk before. O(free pages), 50 us each at most.
        Until then the log holds earlier states of what was changed and deleted.
        """
        with translated(), quick_to_give_up(self._connection):
            self._give_back()
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _give_back(self) -> None:
        """Let the file be as small as its rows, where many pages are free: after many deletions they stay so."""
        free, pages = (int(self._connection.execute(f"PRAGMA {what}_count").fetchone()[0]) for what in _PAGES)
        if free >= _MANY_FREE and free * _FREE_SHARE >= pages:
            for _ in range(0, free, _GIVEN_BACK_AT_ONCE):
                # as a script: each page is a step of it, and a statement that gives no columns is stepped once
                self._connection.executescript(f"PRAGMA incremental_vacuum({_GIVEN_BACK_AT_ONCE})")

    # -- writing ------------------------------------------------------------------------------------------------------

    def apply(self, entries: Iterable[Entry], removed: Iterable[str] = (), problems: Iterable[Problem] = ()) -> None:
        """Bring rows up to date in one transaction; `removed` are names.

        An entry replaces the problem of its name, a problem the entry. What is nested too deep to be indexed becomes a
        problem.
        """
        self.put([*map(described, entries), *problems], removed)

    def put(self, documents: Iterable[Described | Problem], removed: Iterable[str] = ()) -> None:
        """Do the same with what `described` gave."""
        rows, problems = [], []
        for each in documents:
            if isinstance(each, Problem):
                problems.append(each)
            else:
                rows.append((*each.values, digest_of(each.data)))
        with translated(), self._transaction() as cursor:
            remove(cursor, [*removed, *(problem.name for problem in problems)])
            put_rows(cursor, rows)
            put_problems(cursor, problems)

    def confirm(self, names: Sequence[str], since_ns: int) -> None:
        """Have rows, unless they were recorded later than that, recorded at that time; who made them stays known."""
        with translated():
            self._connection.execute(_CONFIRM, {"names": json_array(names), "since": since_ns})

    def set_meta(self, key: str, value: str) -> None:
        """Note something about the index itself."""
        with translated():
            self._connection.execute("REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        cursor = self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield cursor
            cursor.execute("COMMIT")
        except BaseException:
            # SQLite ends a transaction by itself when the disk is full
            if self._connection.in_transaction:
                cursor.execute("ROLLBACK")
            raise

    # -- asking -------------------------------------------------------------------------------------------------------

    def select(self, condition: Condition, order: Order, *, limit: int | None = None, offset: int = 0) -> Selection:
        """Find the rows that match. Limit and offset are the caller's where there is a residue, or no order."""
        prepared = self._prepare(condition)
        residue = prepared.plan.residue
        if residue is not None:
            limit, offset = None, 0
        with translated():
            start = self._start(prepared.plan, order)
        statement, ordered = prepared.selecting(_ROW_COLUMNS, start, order, limit=limit, offset=offset)
        return Selection(self._rows(statement), residue, ordered)

    def following(self, condition: Condition, after: str, size: int) -> list[Row]:
        """Return at most `size` rows that match, residue aside, in the order of their ids, after that id.

        Fewer rows than `size` are the last. O(rows up to the last one), or O(rows that match) where these are few.
        """
        known = self._prepare(condition).plan
        with translated():
            start = next((start for start in known.starts if self._is_few(start)), None)
        return list(self._rows(following(_ROW_COLUMNS, known, start, after, size)))

    def summaries(
        self,
        condition: Condition,
        order: Order,
        *,
        limit: int | None = None,
        offset: int = 0,
        without: Sequence[str] = (),
    ) -> list[JsonObject] | None:
        """Return what `interfaces.summary` gives of the matching records; None when only the documents can tell.

        `without` names documents that are passed over.
        """
        return self._views(row_summary, condition, order, limit=limit, offset=offset, without=without)

    def parts(
        self,
        condition: Condition,
        order: Order,
        *,
        limit: int | None = None,
        offset: int = 0,
        without: Sequence[str] = (),
    ) -> list[JsonObject] | None:
        """Do the same, and return all that the rows tell of the records: see `schema.part`."""
        return self._views(part, condition, order, limit=limit, offset=offset, without=without)

    def _views(
        self,
        view_of: Callable[[Sequence[Any]], JsonObject],
        condition: Condition,
        order: Order,
        *,
        limit: int | None,
        offset: int = 0,
        without: Sequence[str] = (),
    ) -> list[JsonObject] | None:
        prepared = self._prepare(condition)
        if prepared.plan.residue is not None:
            return None
        if without and (hidden := set(self.inventory.ids(without))):
            end = None if limit is None else offset + limit
            found = self._views(view_of, condition, order, limit=None if end is None else end + len(hidden))
            return None if found is None else [view for view in found if view["id"] not in hidden][offset:end]
        with translated(), understood():
            start = self._start(prepared.plan, order)
            statement, ordered = prepared.selecting(SUMMARY_COLUMNS, start, order, limit=limit, offset=offset)
            # the last value is the place in the order
            return list(map(view_of, self._execute(statement))) if ordered else None

    def part_of(self, record_id: str) -> tuple[Known, JsonObject] | None:
        """Return what the index knows of a record, and of the file that it has it from; None where it has no row."""
        with translated(), understood():
            row = self._connection.execute(_PART, (record_id,)).fetchone()
            files = len(FILE_COLUMNS)
            return None if row is None else (Known(signature_of(*row[:4]), *row[4:files]), part(row[files:]))

    def count(self, condition: Condition, *, without: Sequence[str] = ()) -> int | None:
        """Return how many rows match, but for the documents `without`; None when only the documents can tell."""
        prepared = self._prepare(condition)
        if prepared.plan.residue is not None:
            return None
        with translated():
            return self._number(counting(prepared.plan, without=json_array(without)) if without else prepared.counting)

    def _prepare(self, condition: Condition) -> Prepared:
        found = self._prepared.get(id(condition))
        if found is None:
            if len(self._prepared) >= _MOST_PREPARED:
                self._prepared.clear()
                self._many.clear()
            found = self._prepared[id(condition)] = Prepared(condition)
        return found

    def _start(self, known: Plan, order: Order) -> Start | None:
        """Choose what a list starts from; None is to walk through all rows in order.

        In the default order a walk ends as soon as the caller has enough; any other order must be sorted anyway.
        """
        if order != RECENT_FIRST:
            return next(iter(known.starts), None)
        return next((start for start in known.starts if start.is_sure or self._is_few(start)), None)

    def _is_few(self, start: Start) -> bool:
        """Whether so few rows fulfil a start that sorting them costs less than a walk is likely to.

        That they are many is believed for the next hundred lists: to count a thousand costs as much as a walk does.
        """
        key = id(start.part)
        if self._many.get(key, 0) > 0:
            self._many[key] -= 1
            return False
        rows = self._connection.execute("SELECT max(entry) FROM entry").fetchone()[0] or 0
        most = max(_FEW, math.isqrt(10 * rows))
        is_few = self._number(probing(start, most + 1)) <= most
        if not is_few:
            self._many[key] = _LISTS_BELIEVED
        return is_few

    def query(
        self,
        query: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        without: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> list[JsonObject]:
        """Run one SELECT over the relation `documents`, as `relation.guarded_select` does, but for some documents."""
        with translated(), self._relation_without(without):
            return guarded_select(self._connection, query, params, behind=BEHIND_RELATION, clock=clock)

    @contextmanager
    def _relation_without(self, names: Sequence[str]) -> Iterator[None]:
        """Let this connection see the relation without some documents."""
        if not names:
            yield
            return
        ids = json_array(self.inventory.ids(names)).replace("'", "''")
        # as a query sets it: a change of it would take the view away
        self._connection.execute(TEMPORARY_IN_FILES)
        self._connection.execute(hiding(ids))
        try:
            yield
        finally:
            self._connection.execute(SHOWING)

    def _rows(self, statement: Statement) -> Generator[Row]:
        with translated(), understood():
            for row in self._execute(statement):
                if type(row[0]) is not str or type(row[1]) is not str:
                    raise TypeError(f"{row[:2]!r} is no name and no id")
                yield Row(row[0], row[1], signature_of(*row[2:6]), row[6])

    def _number(self, statement: Statement) -> int:
        return int(next(self._execute(statement))[0])

    def _execute(self, statement: Statement) -> Iterator[tuple[Any, ...]]:
        # a generator, which keeps the statement, and so the conditions it asks about, for as long as it runs
        for condition in statement.asked:
            self._asked[id(condition)] = condition
        # no `yield from`, which closes the cursor when the generator is dropped, maybe after the connection
        for values in self._connection.execute(statement.text, statement.values):  # noqa: UP028
            yield values

    def verify(self) -> None:
        """Raise IndexDamagedError if somebody has altered the tables; O(1)."""
        with translated():
            verify(self._connection)

    def check(self, *, thorough: bool) -> str:
        """Return what SQLite finds wrong with the file, nothing for a whole one; O(its size).

        `thorough` also holds the indexes of its tables against their rows.
        """
        pragma = "integrity_check" if thorough else "quick_check"
        with translated():
            found = [str(row[0]) for row in self._connection.execute(f"PRAGMA {pragma}(3)")]
        return "" if found == ["ok"] else "; ".join(found)

    def total_bytes(self) -> int:
        """Return how many bytes all documents have together; O(documents)."""
        with translated():
            return int(self._connection.execute("SELECT total(size) FROM entry").fetchone()[0])

    def get_meta(self, key: str) -> str | None:
        """Return what was noted about the index itself."""
        with translated():
            row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])
