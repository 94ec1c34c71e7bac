"""The relation `documents`, which callers may question with SQL, and the guard that allows nothing else.

`documents(id, type, version, created_at, updated_at, session_id, thread_id, metadata)` has one row a record;
`metadata` is JSON text: the metadata of the record's data where there is one, else its own, else NULL. A
backend with an index has it as a view, any other builds it in memory.
"""

from __future__ import annotations

import math
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from datetime import date
from typing import Any

import orjson

from fsstore.errors import StorageTimeoutError, StorageUnavailableError, StorageValidationError
from fsstore.model.records import JsonObject
from fsstore.model.times import canonical_time
from fsstore.query.columns import ENVELOPE, metadata_of
from fsstore.query.limits import (
    MAX_QUERY_ARGUMENTS,
    MAX_QUERY_BYTES,
    MAX_QUERY_CHARACTERS,
    MAX_QUERY_COSTLY_BYTES,
    MAX_QUERY_PATTERN_BYTES,
    MAX_QUERY_SECONDS,
    MAX_QUERY_VALUE_BYTES,
)

RELATION = "documents"
COLUMNS = (*ENVELOPE, "metadata")

_ADVICE = f"write one SELECT over {RELATION}({', '.join(COLUMNS)}); values go into its parameters"
# one step of them that nothing interrupts takes time by the product of the lengths of its values, or memory by all; a
# name cannot be written in another way, and more than is meant may be found
_COSTLY = re.compile(r"instr|replace|trim|\bconcat|json_(?:array\b|object|insert|set|patch)", re.IGNORECASE)
# one step of these takes seconds over the longest value
_SLOW = re.compile(r"like|glob", re.IGNORECASE)
_SELECT = re.compile(r"(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*(?:SELECT|WITH)\b", re.IGNORECASE | re.DOTALL)
_JSON_TABLES = frozenset({"json_each", "json_tree"})
# printf, json_pretty and unhex are not among them: what they fill up, indent or leave out, to the lengths that they are
# given, may take minutes, or gigabytes, in one step
_FUNCTIONS = frozenset(
    """
    abs avg char coalesce concat concat_ws count glob group_concat hex ifnull iif instr length like
    likelihood likely lower ltrim max median min nullif octet_length quote random replace round rtrim
    sign soundex string_agg substr substring sum total trim typeof unicode unlikely upper
    cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number
    current_date current_time current_timestamp date datetime julianday strftime time timediff unixepoch
    -> ->> json json_array json_array_length json_extract json_insert
    json_object json_patch json_quote json_remove json_replace json_set json_type json_valid
    acos asin atan atan2 ceil ceiling cos degrees exp floor ln log log10 log2 mod pi pow power radians sin
    sqrt tan trunc
    """.split()  # noqa: SIM905 - as a list of strings nobody could read it
)
TEMPORARY_IN_FILES = "PRAGMA temp_store = FILE"
"""Lets SQLite keep what a query needs for a while in temp files; a change takes temp tables and views away."""

_STEPS_BETWEEN_LOOKS = 1_000
_LOOK_SECONDS = 0.1
_LIMITS = {
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: MAX_QUERY_ARGUMENTS,
    # one step that nothing interrupts takes time by the product of the lengths of text and pattern
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: MAX_QUERY_PATTERN_BYTES,
}
_ROW_BYTES, _VALUE_BYTES = 300, 60
_SYSTEM_ERRORS = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
    }
)


def relation_row(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return a record as a row of the relation."""
    metadata = metadata_of(record)
    text = None if metadata is None else orjson.dumps(metadata).decode()
    return (*(_plain(record.get(key)) for key in ENVELOPE), text)


def _plain(value: Any) -> Any:
    return value if type(value) in (str, int) else None


def relation_over(records: Iterable[JsonObject]) -> sqlite3.Connection:
    """Build the relation in memory, for a backend without an index; O(records). The caller closes it."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute(f"CREATE TABLE {RELATION} ({', '.join(COLUMNS)})")
    places = ", ".join("?" * len(COLUMNS))
    connection.executemany(f"INSERT INTO {RELATION} VALUES ({places})", map(relation_row, records))  # noqa: S608 - constants
    return connection


@contextmanager
def clock_while_wanted() -> Iterator[Callable[[], float]]:
    """Give a clock for a query in another thread, which it ends once nobody waits for its answer any more."""
    is_over = False
    try:
        yield lambda: math.inf if is_over else time.monotonic()
    finally:
        is_over = True


def check_query(query: Any) -> None:
    """Raise StorageValidationError unless it is text of a bearable length that begins as a SELECT does."""
    if not isinstance(query, str) or not _SELECT.match(query):
        raise StorageValidationError(reason="only a SELECT can be asked", path="query", advice=_ADVICE)
    if len(query) > MAX_QUERY_CHARACTERS:
        raise too_much(f"it has {len(query)} characters, more than {MAX_QUERY_CHARACTERS}")


def refused(reason: str) -> StorageValidationError:
    """Return the error for a query that asks for what it may not, or is none."""
    return StorageValidationError(reason=f"the query is refused: {reason}", path="query", advice=_ADVICE)


def guarded_select(
    connection: sqlite3.Connection,
    query: str,
    params: Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    behind: frozenset[str] = frozenset(),
    timeout_seconds: float = MAX_QUERY_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> list[JsonObject]:
    """Run one SELECT over the relation and return its rows, each as a dict by column name.

    `behind` names the columns that the relation, where it is a view, reads in its turn. While the query runs, the
    connection must not be used otherwise. What the query may cost is set by `limits`; its end is looked for between
    steps, and while one lasts where steps can be long. Raises StorageValidationError for anything but such a SELECT,
    and where it asks for too much, and StorageTimeoutError for one that takes too long, by no more than a step; errors
    of the database itself stay as SQLite's.
    """
    check_query(query)
    deadline = clock() + timeout_seconds
    # what is sorted and compared goes to temp files, not to memory
    connection.execute(TEMPORARY_IN_FILES)
    # SQLite sets these two up at their first use, with steps that the guard must refuse
    connection.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')")
    connection.set_authorizer(_Guard(behind))
    is_costly = _COSTLY.search(query) is not None
    has_long_steps = is_costly or _SLOW.search(query) is not None
    timed = _interrupted(connection, lambda: clock() >= deadline, also_within_steps=has_long_steps)
    value_bytes = MAX_QUERY_COSTLY_BYTES if is_costly else MAX_QUERY_VALUE_BYTES
    limits = {**_LIMITS, sqlite3.SQLITE_LIMIT_LENGTH: value_bytes}
    before = {limit: connection.setlimit(limit, most) for limit, most in limits.items()}
    try:
        with timed, closing(connection.execute(query, () if params is None else bound(params))) as cursor:
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in _bounded(cursor)]
    except StorageValidationError:
        raise
    except MemoryError as error:
        raise too_much("it takes more memory than there is") from error
    except (sqlite3.Error, sqlite3.Warning, OverflowError, ValueError) as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _SYSTEM_ERRORS:
            raise
        if code == sqlite3.SQLITE_INTERRUPT:
            raise StorageTimeoutError(
                reason="the end of the query", path=RELATION, timeout_seconds=timeout_seconds, advice="ask for less"
            ) from error
        if code == sqlite3.SQLITE_TOOBIG:
            raise too_much(f"one of its values is longer than {value_bytes} bytes") from error
        raise refused(str(error)) from error
    finally:
        connection.set_authorizer(None)
        for limit, most in before.items():
            connection.setlimit(limit, most)


@contextmanager
def _interrupted(
    connection: sqlite3.Connection, is_over: Callable[[], bool], *, also_within_steps: bool
) -> Iterator[None]:
    """Have what a connection does in the block interrupted, once it is over."""
    connection.set_progress_handler(is_over, _STEPS_BETWEEN_LOOKS)
    try:
        with _interrupted_by_a_thread(connection, is_over) if also_within_steps else nullcontext():
            yield
    finally:
        connection.set_progress_handler(None, 0)


@contextmanager
def _interrupted_by_a_thread(connection: sqlite3.Connection, is_over: Callable[[], bool]) -> Iterator[None]:
    """Do it after the step that is under way. Starting the thread takes as long as a small query.

    Raises StorageUnavailableError where none can be started.
    """
    has_ended = threading.Event()

    def watch() -> None:
        while not has_ended.wait(_LOOK_SECONDS):
            if is_over():
                # not once: SQLite forgets an interrupt that comes before its statement has begun
                connection.interrupt()

    watching = threading.Thread(target=watch, name="fsstore-query", daemon=True)
    try:
        watching.start()
    except RuntimeError as error:
        raise StorageUnavailableError(
            reason=f"no thread could be started: {error}", path="thread", advice="try again with fewer threads"
        ) from error
    try:
        yield
    finally:
        has_ended.set()
        # an interrupt that came later would end another statement
        watching.join()


def _bounded(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    size = 0
    for row in rows:
        size += row_bytes(row)
        if size > MAX_QUERY_BYTES:
            raise too_much(f"its rows take more than {MAX_QUERY_BYTES} bytes of memory")
        yield row


def row_bytes(row: Iterable[Any]) -> int:
    """Return how much memory a row of an answer takes, about."""
    return _ROW_BYTES + sum(_VALUE_BYTES + (len(value) if isinstance(value, str | bytes) else 0) for value in row)


def too_much(reason: str) -> StorageValidationError:
    """Return the error for a query that is beyond a limit."""
    return StorageValidationError(reason=f"the query asks for too much: {reason}", path="query", advice="ask for less")


def bound(params: Any) -> Any:
    """Return the parameters with times in the form in which the relation has them: their text is compared.

    Without this, `sqlite3` would write a datetime in a form of its own, which sorts before every time of that day.
    """
    if isinstance(params, Mapping):
        return {name: _operand(value, name) for name, value in params.items()}
    if isinstance(params, list | tuple):
        return [_operand(value, at) for at, value in enumerate(params)]
    return params


def _operand(value: Any, name: Any) -> Any:
    return canonical_time(value, f"params[{name!r}]", None) if isinstance(value, date) else value


class _Guard:
    """Tells SQLite what one statement may do: read the relation, and call functions without effects."""

    def __init__(self, behind: frozenset[str]) -> None:
        self._behind = behind
        self._is_about_relation = False

    def __call__(
        self, action: int, first: str | None, second: str | None, _database: str | None, view: str | None
    ) -> int:
        if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE):
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ and self._may_read(str(first), str(second), view):
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_FUNCTION and str(second).lower() in _FUNCTIONS:
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    def _may_read(self, table: str, column: str, view: str | None) -> bool:
        if table == RELATION or (view == RELATION and column in self._behind):
            self._is_about_relation = True
            return True
        if table in _JSON_TABLES:
            return True
        # no column: only how many rows there are, which SQLite asks of the table behind the view
        return not column and self._is_about_relation and not table.startswith("sqlite_")
