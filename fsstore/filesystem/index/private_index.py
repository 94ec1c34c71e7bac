"""An index in memory that one open store has for itself: for answers while the store lock cannot be had.

Whoever holds the lock may be stopped, or be busy for long. The index file belongs to it meanwhile, and may lack what is
committed, or have been edited by hand since; nobody else may write there. So what the file holds is copied, and the
copy is made to agree with the documents. Invariants:
- Before each answer every document is compared with the copy, unless the counters tell that no commit has been since.
- It is used by one thread at a time, and given up once the index file answers again.

O(documents) memory. Nothing is on disk, so a crash leaves nothing behind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from fsstore.filesystem.documents.documents import Documents
from fsstore.filesystem.index.connection import IndexDamagedError
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.index_file import IndexFile
from fsstore.filesystem.index.reconcile import Reconciler, Steps
from fsstore.filesystem.index.rows import Entry, Problem
from fsstore.forking import using_sqlite
from fsstore.watching.changes import Absorbed

T = TypeVar("T")

_ABSORBED_AT_ONCE = 200


class PrivateIndex:
    """The index of one open store that nobody else sees."""

    def __init__(self, documents: Documents, index_file: IndexFile) -> None:
        self._index_file = index_file
        self._reconciler = Reconciler(documents, self)
        self._turn = threading.RLock()
        self._index: Index | None = None
        # the moment that `catch_up` was last given
        self._moment: object = None
        self.begun = 0
        """How many comparisons have begun so far."""
        # which of them was the last to come to its end; 0 for none
        self._done = 0

    @property
    def is_kept(self) -> bool:
        """Whether there is one, so that memory can be given up."""
        return self._index is not None

    def catch_up(self, moment: object, steps: Steps | None = None, *, asked: int | None = None) -> Absorbed:
        """Make it agree with the documents; one stat a document, and one read for each that differs.

        Nothing is done where it was done for the same `moment`, which is another one after each commit; for None, which
        is like no other, it is always done, unless one that has begun since is done by now: `asked` is what `begun` was
        then. So all who wait share one comparison. Raises StorageUnavailableError.
        """
        with self._turn:
            if moment is not None and moment == self._moment:
                return Absorbed()
            if moment is None and asked is not None and self._done > asked:
                return Absorbed()
            self._moment = None
            self.begun += 1
            try:
                absorbed = self._agree(steps)
            except IndexDamagedError:
                # it was copied with whatever is wrong with it
                self._begin(Index.open(None))
                absorbed = self._agree(steps)
            self._moment, self._done = moment, self.begun
            return absorbed

    def _agree(self, steps: Steps | None) -> Absorbed:
        if self._index is None:
            self._begin(self._index_file.copied())
        compare = self._reconciler.compare
        differing, confirmed, since_ns = self.use(lambda index: compare(index, steps.compared if steps else None))
        self._reconciler.confirm(confirmed, since_ns)
        absorbed = Absorbed()
        for at in range(0, len(differing), _ABSORBED_AT_ONCE):
            absorbed.add(self._reconciler.absorb(differing[at : at + _ABSORBED_AT_ONCE]))
            if steps is not None:
                steps.read(-(-len(differing) // _ABSORBED_AT_ONCE))
        return absorbed

    def _begin(self, index: Index) -> None:
        self.forget()
        self._index = index

    def use(self, work: Callable[[Index], T], *, writing: bool = False) -> T:  # noqa: ARG002 - as of an index file
        """Let it be asked, or changed. Raises IndexDamagedError, also where there is none."""
        with self._turn, using_sqlite():
            if self._index is None:
                raise IndexDamagedError("it was given up")
            return work(self._index)

    def apply(self, entries: Iterable[Entry], removed: Iterable[str], problems: Iterable[Problem] = ()) -> None:
        """Change rows."""
        self.use(lambda index: index.apply(entries, removed, problems))

    def forget(self) -> None:
        """Give it up; waits for whoever is asking it."""
        with self._turn, using_sqlite():
            index, self._index, self._moment, self._done = self._index, None, None, 0
            if index is not None:
                index.close()
