"""How documents get into the tables: new rows, rows in which only what a save moves has changed, and all others.

Invariants:
- Called within a transaction of `index`, which is whole or not at all.
- What is put replaces whatever has its name or its id. To put it once more changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

from fsstore.filesystem.documents.text import Text, digest_of
from fsstore.filesystem.index.rows import Entry, Problem, signature_values
from fsstore.filesystem.index.schema import (
    ENTRY_COLUMNS,
    FILE_COLUMNS,
    MOVING_COLUMNS,
    SETTLED_COLUMNS,
    TooDeepError,
    record_row,
)

Values: TypeAlias = tuple[Any, ...]

# few sizes, since each is a statement that SQLite keeps; 10 240 values of the 32 766 that it takes (sqlite.org/limits)
_ROWS_AT_ONCE = (512, 64, 8, 1)

_MOVED = ", ".join(f"{name} = excluded.{name}" for name in MOVING_COLUMNS)
_SETTLED = ", ".join(SETTLED_COLUMNS)
_AS_SETTLED = ", ".join(f"excluded.{name}" for name in SETTLED_COLUMNS)

_PLACES = ", ".join("?" * len(ENTRY_COLUMNS))
_CHANGED = ", ".join(f"{name} = ?" for name in ENTRY_COLUMNS[2:])

_INSERT = f"INSERT INTO entry ({', '.join(ENTRY_COLUMNS)}) VALUES ({_PLACES})"  # noqa: S608 - constants
_CHANGE = f"UPDATE entry SET {_CHANGED} WHERE name = ? AND id = ?"  # noqa: S608 - constants
"""Changes a row, unless its id is another."""
_REPLACE_PROBLEM = f"REPLACE INTO problem VALUES (?, ?{', ?' * len(FILE_COLUMNS)})"  # noqa: S608 - constants


class Described(NamedTuple):
    """A document as the values of its row, but for the hash of its bytes."""

    values: Values
    data: bytes | Text


def described(entry: Entry) -> Described | Problem:
    """Return an entry as it is put into the index; O(its metadata)."""
    name, record, signature, data, recorded_ns = entry
    try:
        row = record_row(record)
    except TooDeepError as error:
        return Problem(name, str(error), signature, digest_of(data), recorded_ns)
    return Described((name, record["id"], *row.settled, *row.moving, *signature_values(signature), recorded_ns), data)


def remove(cursor: sqlite3.Cursor, names: Sequence[str]) -> None:
    """Remove the rows and problems of these names."""
    if names:
        gone = [(name,) for name in names]
        cursor.executemany("DELETE FROM entry WHERE name = ?", gone)
        cursor.executemany("DELETE FROM problem WHERE name = ?", gone)


def put_problems(cursor: sqlite3.Cursor, problems: Iterable[Problem]) -> None:
    """Put problems where no entries of their names are."""
    for name, reason, signature, data_digest, recorded_ns in problems:
        cursor.execute(_REPLACE_PROBLEM, (name, reason, *signature_values(signature), data_digest, recorded_ns))


def insert_rows(connection: sqlite3.Connection, rows: list[Values]) -> None:
    """Put rows whose names and ids are not there into a table that nothing finds rows in yet."""
    connection.executemany(_INSERT, rows)


def put_rows(cursor: sqlite3.Cursor, rows: list[Values], sizes: Sequence[int] = _ROWS_AT_ONCE) -> None:
    """Put rows into `entry`, as values of ENTRY_COLUMNS; a name or an id that is there elsewhere gives way.

    Many rows go into one statement: the interpreter lock is let go for each, and to have it back may take longer
    than what was done without it.
    """
    at = 0
    for order, size in enumerate(sizes):
        while len(rows) - at >= size:
            _put_some(cursor, rows[at : at + size], sizes[order + 1 :])
            at += size


def _put_some(cursor: sqlite3.Cursor, rows: list[Values], sizes: Sequence[int]) -> None:
    with suppress(sqlite3.IntegrityError):
        if cursor.execute(_upsert(len(rows)), list(chain.from_iterable(rows))).rowcount == len(rows):
            return
    # in some more has changed than what moves; to put the others once more changes nothing
    if sizes:
        put_rows(cursor, rows, sizes)
    else:
        _put(cursor, rows[0][:2], rows[0][2:])


def _put(cursor: sqlite3.Cursor, key: Values, values: Values) -> None:
    with suppress(sqlite3.IntegrityError):
        if cursor.execute(_CHANGE, (*values, *key)).rowcount:
            return
    # the id is there under another name, or the name with another id: the rows in the way must go first
    cursor.execute("DELETE FROM entry WHERE name = ? OR id = ?", key)
    cursor.execute(_INSERT, (*key, *values))


@cache
def _upsert(rows: int) -> str:
    """Return the statement that makes rows, or changes what moves in them.

    It leaves a row alone of which more is different.
    """
    return (
        f"{_INSERT}{f', ({_PLACES})' * (rows - 1)} ON CONFLICT (name) DO UPDATE SET {_MOVED}"
        f" WHERE entry.id = excluded.id AND ({_SETTLED}) IS ({_AS_SETTLED})"
    )
