"""An index made from nothing, in a temp file of its own: all rows first, then what finds them.

To put rows into an index in use changes random pages of each of its b-trees over and over: for 100 000 documents
2.9 GB were written for 90 MB. Here rows are appended, and each b-tree is made once, in order. Owns the temp file until
`IndexFile.install` gives it the index's name. Invariants:
- Nobody else opens the file, so it has no journal, and is synced once, before it is installed. A crash leaves it in
  the staging directory; whoever makes the index next, or recovers, removes it.
- Documents are read without the store lock, so a row may be older than its document. The index is not complete until
  it has been compared with the documents once more.
- Rows that commits have put into the index in use meanwhile are taken over: they tell who has made them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress

from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents.text import digest_of
from fsstore.filesystem.index.connection import IndexUnavailableError, begin_file, connect, translated
from fsstore.filesystem.index.rows import Entry
from fsstore.filesystem.index.schema import ENTRY_COLUMNS, FINDING, SCHEMA_NUMBER, TABLES
from fsstore.filesystem.index.upserts import Described, described, insert_rows
from fsstore.forking import using_sqlite

_COLUMNS = ", ".join(ENTRY_COLUMNS)
_TAGS = "INSERT INTO tag SELECT DISTINCT value, entry FROM entry CROSS JOIN json_each(tags) ORDER BY 1, 2"
_TAKE_OVER = f"""
DELETE FROM entry WHERE name IN (SELECT name FROM used.entry);
INSERT INTO entry ({_COLUMNS}) SELECT {_COLUMNS} FROM used.entry;
REPLACE INTO problem SELECT * FROM used.problem;
"""  # noqa: S608 - constants


class IndexBuild:
    """A temp file that becomes the index; used by one thread at a time."""

    def __init__(self, tree: Tree, name: str) -> None:
        """Begin, in an empty file of that name. Raises IndexUnavailableError."""
        self.name = name
        self._tree = tree
        self._guard = threading.Lock()
        self._is_closed = False
        with using_sqlite(), translated():
            self._connection = connect(tree.path(name))
        try:
            with using_sqlite(), translated():
                begin_file(self._connection)
                self._connection.execute("PRAGMA journal_mode = OFF")
                self._connection.execute("PRAGMA synchronous = OFF")
                self._connection.executescript(TABLES)
        except BaseException:
            # a full disk, say, which would be kept full
            self.drop()
            raise

    def add(self, entries: Iterable[Entry]) -> None:
        """Put rows of documents that are not in it yet. What is nested too deep to be indexed is left out."""
        rows = [(*each.values, digest_of(each.data)) for each in map(described, entries) if isinstance(each, Described)]
        with self._guard, using_sqlite(), translated():
            if not self._is_closed:
                self._connection.execute("BEGIN")
                insert_rows(self._connection, rows)
                self._connection.execute("COMMIT")

    def finish(self) -> None:
        """Make what finds the rows, and bring the file to the disk."""
        with self._guard, using_sqlite(), translated():
            if not self._is_closed:
                self._connection.executescript(
                    f"BEGIN; {_TAGS}; {FINDING} PRAGMA user_version = {SCHEMA_NUMBER}; COMMIT"
                )
        self._sync()

    def take_over(self, path: str) -> None:
        """Take over the rows of the index in use, as the holder of the store lock; then the file is whole."""
        with self._guard, using_sqlite(), translated():
            if not self._is_closed:
                self._connection.execute("ATTACH ? AS used", (path,))
                self._connection.executescript(f"BEGIN; {_TAKE_OVER} COMMIT")
                self._connection.execute("DETACH used")
                self._connection.close()
                self._is_closed = True
        self._sync()

    def _sync(self) -> None:
        try:
            self._tree.sync(self.name)
        except OSError as error:
            raise IndexUnavailableError(str(error)) from error

    def drop(self) -> None:
        """Give up what was not installed."""
        with self._guard, using_sqlite():
            if not self._is_closed:
                self._connection.close()
                self._is_closed = True
        # what cannot be removed now is removed by whoever makes an index next
        with suppress(OSError):
            self._tree.unlink(self.name)
