"""What commits have placed and the index does not know yet: the rows that wait for it.

One transaction for many commits costs far less than one for each. Knows nothing of files or the lock; used by
the writer thread alone. Invariants:
- Of each document the last word counts, and what is written comes in the order of its placing.
- After `write` the index knows everything, or is known not to: the store lock is not released before.

A crash leaves what was not written yet; the counters are odd then, and whoever is next makes the index stale.
"""

from __future__ import annotations

from fsstore.filesystem.disk.signatures import UNTOLD
from fsstore.filesystem.disk.trust import Trust
from fsstore.filesystem.index.index_file import IndexFile
from fsstore.filesystem.index.rows import NOT_OURS, Entry, Problem, recorded_by_commit
from fsstore.filesystem.index.upserts import Described, described
from fsstore.filesystem.write.draft import Draft

_MANY = 512


class IndexUpdates:
    """The rows that wait for the index of one open store."""

    def __init__(self, index_file: IndexFile) -> None:
        self._index_file = index_file
        self._placed: dict[str, Described | Problem | None] = {}

    def place(self, name: str, document: Described | Problem | None) -> None:
        """Note what became of a document's file; None means that it went."""
        self._placed[name] = document

    def write_many(self) -> None:
        """Write what waits if that is much, so that whoever ends the hold has little left to wait for."""
        if len(self._placed) >= _MANY:
            self.write()

    def write(self) -> None:
        """Bring the index up to date, or let it be stale. Raises OSError when not even that can be noted."""
        placed, self._placed = self._placed, {}
        if placed:
            self._index_file.record(
                [document for document in placed.values() if document is not None],
                [name for name, document in placed.items() if document is None],
            )

    def version_of(self, name: str) -> int:
        """Return the version that the index knows of a document, or is about to, 0 where it knows none.

        Raises OSError as `write` does.
        """
        self.write()
        return self._index_file.version_of([name])

    def rest(self) -> None:
        """Leave no trace of what was deleted in the files of the index, when nothing else is to be done."""
        self._index_file.truncate_log()

    def drop(self) -> None:
        """Forget what was not written yet; recovery makes the index stale."""
        self._placed = {}


def row_of(draft: Draft, trust: Trust) -> Described | Problem | None:
    """Return what the index is to know of what was placed."""
    if draft.part is None or draft.text is None:
        return None
    if draft.placed is not None and draft.is_ours:
        recorded_ns = recorded_by_commit(trust.seen_ns(draft.placed))
        entry = Entry(draft.name, draft.part, draft.placed, draft.text, recorded_ns)
    else:
        # somebody was faster: a row recorded at the beginning of time is compared by content next time
        entry = Entry(draft.name, draft.part, draft.placed or draft.written or UNTOLD, draft.text, NOT_OURS)
    return described(entry)
