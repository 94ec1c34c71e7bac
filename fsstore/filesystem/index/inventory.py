"""What the index knows of the files: names, signatures and digests, to be held against what is there.

Owns these questions, and nothing of filters: `index` answers those. Used through the connection of one `Index`, by one
thread at a time. Raises IndexDamagedError for rows that cannot be read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from fsstore.filesystem.disk.trust import RACY_NS
from fsstore.filesystem.index.connection import translated, understood
from fsstore.filesystem.index.rows import Known, Problem, signature_of
from fsstore.filesystem.index.schema import (
    FILE_COLUMNS,
    SUMMARY_COLUMNS,
    TooDeepError,
    json_array,
    part,
    record_row,
)
from fsstore.interfaces import summary
from fsstore.model.records import JsonObject

_LAST_CHARACTER = "\U0010ffff"
_FILE = ", ".join(FILE_COLUMNS)
_KNOWN = " UNION ALL ".join(
    f"SELECT name, {_FILE} FROM {table} WHERE name >= :low AND name < :high"  # noqa: S608 - constants
    for table in ("entry", "problem")
)
# the rule of `trust` in SQL: what exceeds its integers is text, which becomes the largest of them, and is never sure
_INVENTORY = """
SELECT coalesce(group_concat(line, ''), '') FROM (
    SELECT name || '/' || inode || '/' || size || '/' || mtime_ns || '/' || ctime_ns || '/' || iif(
        recorded_ns - max(CAST(mtime_ns AS INTEGER), CAST(ctime_ns AS INTEGER)) < :racy, '?', '') || char(10) AS line
    FROM entry INDEXED BY entry_file WHERE name >= :low AND name < :high ORDER BY name
)
"""
_KNOWN_OF = f"SELECT name, {_FILE} FROM entry WHERE name IN (SELECT value FROM json_each(?))"  # noqa: S608 - constants
_LARGER = "SELECT name FROM entry INDEXED BY entry_file WHERE CAST(size AS INTEGER) > ?"
_IDS_OF = "SELECT id FROM entry WHERE name IN (SELECT value FROM json_each(?))"
_VERSIONS_OF = "SELECT version FROM entry WHERE name IN (SELECT value FROM json_each(?))"
_ENTRIES = f"SELECT name, id, version, {_FILE} FROM entry"  # noqa: S608 - constants
_SAYS = f"SELECT user_id, status, tags, {', '.join(SUMMARY_COLUMNS)} FROM entry WHERE name = ?"  # noqa: S608 - constants
_PROBLEMS = f"SELECT name, reason, {_FILE} FROM problem ORDER BY name"  # noqa: S608 - constants


class Inventory:
    """The files of one index."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def shards(self) -> list[str]:
        """Return the directories that rows and problems lie in; O(directories)."""
        with translated(), understood():
            found = {shard for table in ("entry", "problem") for shard in self._shards(table)}
        return sorted(found)

    def _shards(self, table: str, *, outer: bool = False) -> Iterator[str]:
        first = f"SELECT min(name) FROM {table} WHERE name >= ?"  # noqa: S608 - a constant
        bound = ""
        while (name := self._connection.execute(first, (bound,)).fetchone()[0]) is not None:
            shard = name.partition("/")[0] if outer else name.rpartition("/")[0]
            yield shard
            # "0" comes right after "/", so this is before every name that lies elsewhere
            bound = f"{shard}0"

    def outer_shards(self) -> list[str]:
        """Return the outermost directories that rows and problems lie in; O(directories)."""
        with translated(), understood():
            found = {outer for table in ("entry", "problem") for outer in self._shards(table, outer=True)}
        return sorted(found)

    def text(self, outer: str) -> str:
        """Return names and signatures of all rows of an outer shard, a line each; that of a racy row has a mark.

        Made by SQLite, without the interpreter lock. What is not as it should be makes the text another one.
        """
        with translated(), understood():
            bounds = {"low": f"{outer}/", "high": f"{outer}0", "racy": RACY_NS}
            return str(self._connection.execute(_INVENTORY, bounds).fetchone()[0])

    def signatures(self, prefix: str = "") -> dict[str, Known]:
        """Return what is known of the files whose names begin so, problems included."""
        with translated(), understood():
            found = self._connection.execute(_KNOWN, {"low": prefix, "high": prefix + _LAST_CHARACTER})
            return {str(row[0]): Known(signature_of(*row[1:5]), row[5], int(row[6])) for row in found}

    def known(self, names: Sequence[str]) -> dict[str, Known]:
        """Return what is known of those documents that are indexed; O(names)."""
        with translated(), understood():
            found = self._connection.execute(_KNOWN_OF, (json_array(names),))
            return {str(row[0]): Known(signature_of(*row[1:5]), row[5], int(row[6])) for row in found}

    def larger_than(self, size: int) -> list[str]:
        """Return the names of the documents that have more bytes; O(documents), 5 ms for 100 000."""
        with translated(), understood():
            return [str(row[0]) for row in self._connection.execute(_LARGER, (size,))]

    def ids(self, names: Sequence[str]) -> list[str]:
        """Return the ids of those documents that are indexed; O(names)."""
        with translated(), understood():
            return [str(row[0]) for row in self._connection.execute(_IDS_OF, (json_array(names),))]

    def versions(self, names: Sequence[str]) -> list[int]:
        """Return the versions of those documents that are indexed; O(names)."""
        with translated(), understood():
            return [int(row[0]) for row in self._connection.execute(_VERSIONS_OF, (json_array(names),))]

    def entries(self) -> Iterator[tuple[str, str, int, Known]]:
        """Give name, id, version and what else is known of every document; O(documents)."""
        with translated(), understood():
            for row in self._connection.execute(_ENTRIES):
                yield str(row[0]), str(row[1]), int(row[2]), Known(signature_of(*row[3:7]), row[7], int(row[8]))

    def problems(self) -> list[Problem]:
        """Return the files that cannot be read as documents, by name."""
        with translated(), understood():
            found = self._connection.execute(_PROBLEMS)
            return [Problem(row[0], row[1], signature_of(*row[2:6]), row[6], row[7]) for row in found]

    def agrees(self, name: str, record: JsonObject) -> bool:
        """Whether the row of a file says what its record says; of one that is nested too deep there is no row."""
        with translated():
            found = self._connection.execute(_SAYS, (name,)).fetchone()
        try:
            settled = record_row(record).settled
        except TooDeepError:
            return found is None
        return found is not None and found[:3] == settled[3:6] and summary(part(found[3:])) == summary(record)
