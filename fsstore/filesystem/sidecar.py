"""Which index file is in use: opens it for each thread, notices a new generation, and replaces a damaged one.

Owns the life of `index.sqlite3`; what is in it belongs to `index`. Invariants:
- The index never decides what exists, so nothing here fails a committed write: trouble makes the index `stale`, and
  whoever uses it next reconciles it with the documents.
- A damaged index is replaced by a new file, under the store lock; processes that still have the old one open notice by
  its inode. On a medium that can not be written the index lives in memory.
- A child of fork begins a new generation: SQLite takes its parent's locks on an open file for its own.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

from fsstore.filesystem.files import CREATE, NotAFileError, Tree
from fsstore.filesystem.index import Entry, Index, IndexDamagedError, IndexUnavailableError, Problem
from fsstore.filesystem.layout import INDEX, INDEX_FILES
from fsstore.filesystem.sequence import Sequence

T = TypeVar("T")
_logger = logging.getLogger("fsstore")


class Sidecar:
    """The index of one open store, as its writer thread and its reader threads use it."""

    def __init__(self, tree: Tree, sequence: Sequence, *, in_memory: bool) -> None:
        self._tree = tree
        self._sequence = sequence
        self.in_memory = in_memory
        self._own = threading.local()
        self._opened: list[Index] = []
        self._guard = threading.Lock()
        self.generations: set[int] = set()
        _SIDECARS.add(self)

    def record(self, entries: Iterable[Entry], removed: Iterable[str], problems: Iterable[Problem] = ()) -> bool:
        """Bring the index up to date, as the holder of the store lock; False when it is now stale instead."""
        try:
            return self._apply(entries, removed, problems)
        except (IndexDamagedError, IndexUnavailableError, OSError) as error:
            _logger.warning("the index could not be written and will be reconciled: %s", error)
        self._sequence.increase("stale")
        return False

    def _apply(self, entries: Iterable[Entry], removed: Iterable[str], problems: Iterable[Problem]) -> bool:
        try:
            self.index(writing=True).apply(entries, removed, problems)
        except IndexDamagedError as error:
            self.renew(error)
            return False
        return True

    def index(self, *, writing: bool = False) -> Index:
        """Return this thread's index, opened anew when the file is not the one it was.

        Only the holder of the store lock may make the file (`writing`). Raises IndexUnavailableError,
        IndexDamagedError.
        """
        inode = self._inode(make=writing)
        held: tuple[int, Index] | None = getattr(self._own, "held", None)
        if held is not None and held[0] == inode:
            return held[1]
        if held is not None:
            self._forget(held[1])
        try:
            opened = Index.open(None if self.in_memory else self._tree.path(INDEX))
        except IndexDamagedError as error:
            error.generation = inode
            raise
        with self._guard:
            self._opened.append(opened)
            self.generations.add(inode)
        self._own.held = (inode, opened)
        return opened

    def _inode(self, *, make: bool) -> int:
        if self.in_memory:
            return 0
        try:
            signature = self._tree.signature(INDEX)
            if signature is None and make:
                # made here, so that it gets the mode of the store's files and never follows a link
                os.close(self._tree.open(INDEX, CREATE))
                self._sequence.increase("stale")
                signature = self._tree.signature(INDEX)
        except NotAFileError as error:
            raise IndexDamagedError(str(error)) from error
        if signature is None:
            raise IndexDamagedError("there is no index file")
        if signature.inode in _INHERITED:
            inherited = IndexDamagedError("the process that this one was forked from has it open")
            inherited.generation = signature.inode
            raise inherited
        return signature.inode

    def generation(self) -> int:
        """Return what tells one index file from the next; 0 when there is none."""
        try:
            return self._inode(make=False)
        except (IndexDamagedError, OSError):
            return 0

    def use(self, work: Callable[[Index], T]) -> T:
        """Let this thread's index be asked. IndexDamagedError tells, as `generation`, which file was at fault."""
        try:
            return work(self.index())
        except IndexDamagedError as error:
            held: tuple[int, Index] | None = getattr(self._own, "held", None)
            error.generation = held[0] if held is not None else error.generation
            raise

    def renew(self, error: IndexDamagedError) -> None:
        """Begin a new generation, as the holder of the store lock, unless somebody has already done so."""
        held: tuple[int, Index] | None = getattr(self._own, "held", None)
        generation = error.generation or (held[0] if held is not None else 0)
        if held is not None:
            self._forget(held[1])
        if not self.in_memory and self._is_current(generation):
            _logger.warning("the index is made anew: %s", error)
            for name in INDEX_FILES:
                with suppress(FileNotFoundError):
                    self._tree.unlink(name)
        self.index(writing=True)

    def _is_current(self, generation: int) -> bool:
        try:
            signature = self._tree.signature(INDEX)
        except NotAFileError:
            return True
        return signature is not None and generation in (0, signature.inode)

    def mark_complete(self) -> None:
        """Note in the index that it has seen every document, as the holder of the store lock."""
        try:
            self.index(writing=True).set_meta("complete", "1")
        except (IndexDamagedError, IndexUnavailableError) as error:
            _logger.warning("the index could not be marked complete: %s", error)

    def _forget(self, index: Index) -> None:
        self._own.held = None
        with self._guard, suppress(ValueError):
            self._opened.remove(index)
        index.close()

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._guard:
            opened, self._opened = self._opened, []
        for index in opened:
            index.close()


_SIDECARS: weakref.WeakSet[Sidecar] = weakref.WeakSet()
_INHERITED: set[int] = set()


def _note_inherited() -> None:
    for sidecar in _SIDECARS:
        # they stay open in the child, so no other file can get these numbers
        _INHERITED.update(sidecar.generations)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_inherited)
