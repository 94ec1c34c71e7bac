"""A connection to the index: how it is opened, how its tables are made, and what the errors of SQLite mean.

`schema` says which tables there are. A file that is damaged, or of another schema, is never repaired here:
IndexDamagedError asks for a new one.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import quote_from_bytes

from fsstore.filesystem.index.schema import CREATE, SCHEMA_NUMBER

# only programs of somebody else's keep it locked, and whoever waits for them may hold the store lock
_BUSY_TIMEOUT_SECONDS = 2.0
# each thread of an open store has a connection, and fills this; with four times as much nothing was faster, as the
# system keeps the pages too
_CACHE_KIB = 4 * 1024
# as long as the redo log: folding the log into the file costs two syncs, which shorter logs pay more often
_LOG_PAGES = 4 * 1024
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_COMPLAINTS = (
    "no such table",
    "no such column",
    "no such index",
    "malformed JSON",
    "Could not decode to UTF-8",
    # `judge` and the others meet JSON that is none
    "user-defined function raised exception",
)


class IndexDamagedError(Exception):
    """The file is damaged, or no index of this schema; it must be replaced. `generation` is for whoever does that."""

    generation: int = 0


class IndexUnavailableError(Exception):
    """The index cannot be used now: disk full, no permission, locked. It is not damaged."""


def connect(path: str | None) -> sqlite3.Connection:
    """Connect to a file, made when it is not there; None is a new index in memory. `prepare` is due next."""
    where = ":memory:" if path is None else f"{_uri(Path(path).absolute())}?mode=rwc"
    return sqlite3.connect(
        where,
        uri=path is not None,
        timeout=_BUSY_TIMEOUT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )


def _uri(path: Path) -> str:
    # as Path.as_uri, which imports urllib when it is first called: where that is at exit, Python 3.13 forgets that it
    # was interrupted
    where = path.as_posix()
    return f"file://{'' if where.startswith('/') else '/'}{quote_from_bytes(os.fsencode(where))}"


def prepare(connection: sqlite3.Connection) -> None:
    """Set a connection up, and make the tables if there are none."""
    begin_file(connection)
    _begin_log(connection)
    if _version(connection) == 0:
        _create(connection)
    verify(connection)


def begin_file(connection: sqlite3.Connection) -> None:
    """Set up what a file without tables has for good, and what is the connection's own."""
    # before the first page: pages that are free can then be given back, some at a time
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")
    # what is deleted is overwritten: metadata of a deleted session is nobody's any more
    connection.execute("PRAGMA secure_delete = ON")


def _begin_log(connection: sqlite3.Connection) -> None:
    try:
        # a system without shared memory keeps the journal it has, which is slower and as safe
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        # another connection is doing just that
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def verify(connection: sqlite3.Connection) -> None:
    """Raise IndexDamagedError if the tables are not those of this schema; O(1)."""
    if (version := _version(connection)) != SCHEMA_NUMBER:
        raise IndexDamagedError(f"it has schema {version}, not {SCHEMA_NUMBER}")
    # a trigger or a column of somebody else's would have a part in every save, and an index gone would in every list
    if _tables(connection) != _own_tables():
        raise IndexDamagedError("its tables are not those that were made")


def _tables(connection: sqlite3.Connection) -> frozenset[tuple[str, ...]]:
    return frozenset(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))


@cache
def _own_tables() -> frozenset[tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(CREATE)
        return _tables(connection)


def _create(connection: sqlite3.Connection) -> None:
    try:
        connection.executescript(f"BEGIN IMMEDIATE; {CREATE} PRAGMA user_version = {SCHEMA_NUMBER}; COMMIT")
    except sqlite3.OperationalError as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        # if another connection was faster, all is well; if not, the tables in the way are somebody else's
        if _version(connection) == 0:
            if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:
                raise IndexDamagedError(f"it holds something else: {error}") from error
            raise


@contextmanager
def quick_to_give_up(connection: sqlite3.Connection) -> Iterator[None]:
    """Wait for no other connection meanwhile."""
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout = {int(_BUSY_TIMEOUT_SECONDS * 1000)}")


@contextmanager
def translated() -> Iterator[None]:
    """Tell damage from unavailability. A closed connection stays a ProgrammingError."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _DAMAGE or str(error).startswith(_COMPLAINTS):
            raise IndexDamagedError(str(error)) from error
        raise IndexUnavailableError(str(error)) from error


@contextmanager
def understood() -> Iterator[None]:
    """Tell damage that SQLite does not see: a value of another type, JSON that is none."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise IndexDamagedError(f"a row cannot be read: {error}") from error
