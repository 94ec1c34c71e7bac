"""Which index file is in use: opens it for each thread, notices a new generation, and replaces a damaged one.

Owns the life of `index.sqlite3`; what is in it belongs to `index`. Invariants:
- The index never decides what exists, so nothing here fails a committed write: trouble makes the index `stale`, and
  whoever uses it next reconciles it with the documents.
- A damaged index is replaced by a new file, under the store lock; processes that still have the old one open notice by
  its inode. So is one whose write-ahead log or shared memory has become another file: connections that do not share
  these do not see each other's rows.
- While the file cannot be used (disk full, no permission), and for good on a medium that cannot be written, the index
  of this process lives in memory: O(documents) memory, and since no other process writes it, one stat for each document
  in the first list after any commit. The file is tried again by the next reconciliation.
- Connections to the file are closed at a fork, and opened again by whoever needs one: see `forking`.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import reduce
from typing import NamedTuple, TypeVar

from fsstore.filesystem.disk.files import CREATE, Tree
from fsstore.filesystem.disk.system import NotAFileError
from fsstore.filesystem.documents.layout import INDEX, INDEX_FILES, STAGING
from fsstore.filesystem.index.building import IndexBuild
from fsstore.filesystem.index.connection import IndexDamagedError, IndexUnavailableError
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.rows import Entry, Problem
from fsstore.filesystem.index.upserts import Described
from fsstore.filesystem.log.counters import Counters
from fsstore.forking import disconnect_at_fork, using_sqlite
from fsstore.model.successor import floor_above

T = TypeVar("T")
_logger = logging.getLogger("fsstore")
_LOG, _SHARED_MEMORY, *_ = INDEX_FILES
_BUILDS = f"{STAGING}/index-"
_REPLACED = "its write-ahead log has been replaced"


class _Held(NamedTuple):
    """A thread's connection, and the files it was opened to."""

    inode: int
    company: tuple[int, int]
    connection: Index


class IndexFile:
    """The index of one open store, as its writer thread and its reader threads use it."""

    def __init__(self, tree: Tree, counters: Counters, *, in_memory: bool) -> None:
        self._tree = tree
        self._counters = counters
        self._own = threading.local()
        self._opened: list[Index] = []
        self._guard = threading.Lock()
        self._companies: dict[int, tuple[int, int]] = {}
        self.in_memory = False
        self.fallbacks = 0
        """How often one in memory has taken the file's place, which the file may have again by now."""
        self._has_no_file = in_memory
        self._memory: Index | None = None
        self._memories = 0
        # one connection, whose threads take turns
        self._turn = threading.RLock()
        if in_memory:
            self.fall_back()
        disconnect_at_fork(self)

    # -- the writer's side --------------------------------------------------------------------------------------------

    def record(self, documents: Iterable[Described | Problem], removed: Iterable[str]) -> None:
        """Bring the index up to date with commits, as the holder of the store lock, or let it be stale."""
        if not self.in_memory:
            try:
                # in the file also where a reader has just gone over to memory: others know only of the file
                self._use_file(lambda index: index.put(documents, removed), writing=True)
                return
            except IndexDamagedError as error:
                with suppress(IndexDamagedError, IndexUnavailableError):
                    self.renew(error)
            except IndexUnavailableError as error:
                with suppress(IndexDamagedError, IndexUnavailableError):
                    self.fall_back(error)
        self._counters.increase("stale")

    def apply(self, entries: Iterable[Entry], removed: Iterable[str], problems: Iterable[Problem] = ()) -> None:
        """Change rows, as the holder of the store lock. Raises IndexDamagedError, IndexUnavailableError.

        What is damaged may tell no version any more, and its row goes: the floor is raised to what that knows.
        """
        problems = list(problems)
        floor = self.version_of([problem.name for problem in problems])
        if floor and not self._has_no_file:
            # where the disk refuses, the counters know it
            with suppress(OSError):
                self._counters.keep_floor(floor)
        self.use(lambda index: index.apply(entries, removed, problems), writing=True)

    def version_of(self, names: Sequence[str]) -> int:
        """Return the highest version that rows of these names know, 0 where there are none, or they cannot be read."""
        if not names:
            return 0
        try:
            versions = self.use(lambda index: index.inventory.versions(names))
        except (IndexDamagedError, IndexUnavailableError):
            return 0
        return reduce(floor_above, versions, 0)

    def mark_complete(self, generation: int, stale: int) -> None:
        """Note in the index that it has seen every document, as the holder of the store lock.

        `stale` is what that counter was before the documents were compared: while it stays, the index has all that was
        committed. Nothing is done where another one is in use by now than that `generation`: it has seen nothing yet.
        """
        if self.generation() == generation:
            self.use(lambda index: index.set_meta("complete", str(stale)), writing=True)

    def begin_build(self) -> IndexBuild:
        """Begin to make an index aside, which `install` puts in place. Raises IndexUnavailableError."""
        name = f"{_BUILDS}{secrets.token_hex(8)}"
        with _unavailable():
            os.close(self._tree.open(name, CREATE))
        return IndexBuild(self._tree, name)

    def install(self, build: IndexBuild, generation: int) -> None:
        """Let an index that was made aside be the index, as the holder of the store lock.

        Nothing is done where another one is in use by now than that `generation`: somebody was faster. Raises
        IndexDamagedError, IndexUnavailableError; then there may be no index.
        """
        if self.in_memory or self.generation() != generation:
            return
        with _unavailable():
            build.take_over(self._tree.path(INDEX))
            held = self._held()
            if held is not None:
                with using_sqlite():
                    self._forget(held)
            self._remove()
            self._tree.replace(build.name, INDEX)
            self._counters.increase("stale")
            # of those who were killed, or are too late
            for base in self._tree.entries(STAGING):
                if f"{STAGING}/{base}".startswith(_BUILDS):
                    self._tree.unlink(f"{STAGING}/{base}")
        self.use(lambda index: None, writing=True)  # noqa: ARG005 - that it can be used is all

    def truncate_log(self) -> None:
        """Have the write-ahead log hold nothing of what was changed and deleted, if that can be done now.

        Only in a thread that has the index open, since it has then been changed.
        """
        if not self.in_memory and self._held() is not None:
            # there is nothing to be done about it: whoever uses the index next finds what is wrong with it
            with suppress(IndexDamagedError, IndexUnavailableError):
                self.use(Index.truncate_log)

    def renew(self, error: IndexDamagedError) -> None:
        """Begin a new generation, as the holder of the store lock, unless somebody has already done so.

        Raises IndexUnavailableError.
        """
        held = self._held()
        generation = error.generation or (held.inode if held is not None else 0)
        if held is not None:
            with using_sqlite():
                self._forget(held)
        if not self.in_memory and self._is_current(generation):
            # that there is none yet is nothing to warn of
            _logger.log(logging.WARNING if generation else logging.INFO, "the index is rebuilt: %s", error)
            self._remove()
        self.use(lambda index: None, writing=True)  # noqa: ARG005 - that it can be used is all

    def _remove(self) -> None:
        with self._guard:
            self._companies.clear()
        # the file itself first: without its write-ahead log it would be a whole index of an earlier time
        for name in reversed(INDEX_FILES):
            with _unavailable():
                self._tree.unlink(name)

    # -- everybody's side ---------------------------------------------------------------------------------------------

    def use(self, work: Callable[[Index], T], *, writing: bool = False) -> T:
        """Let the index be asked; only the holder of the store lock may change it or make the file (`writing`).

        Raises IndexUnavailableError, and IndexDamagedError, which tells as `generation` which file was at fault.
        """
        with using_sqlite():
            if self.in_memory:
                with self._turn:
                    if self._memory is not None:
                        return work(self._memory)
            return self._use_file(work, writing=writing)

    def _use_file(self, work: Callable[[Index], T], *, writing: bool) -> T:
        with using_sqlite():
            try:
                return work(self._index(writing=writing))
            except IndexDamagedError as error:
                held = self._held()
                error.generation = held.inode if held is not None else error.generation
                raise

    def fall_back(self, error: IndexUnavailableError | IndexDamagedError | None = None) -> None:
        """Keep the index in memory until `try_file`. Raises IndexUnavailableError where there is no memory for it."""
        with using_sqlite(), self._guard:
            if self._memory is None:
                if error is not None:
                    # once, and not again after each attempt
                    _logger.warning("the index of %s cannot be used, one in memory is: %s", self._tree.root, error)
                self._memory = Index.open(None)
                self._memories += 1
            self.fallbacks += not self.in_memory
            self.in_memory = True

    def try_file(self) -> None:
        """Let the file be used again; whoever finds that it still cannot be falls back."""
        self.in_memory = self._has_no_file

    @property
    def has_idle_memory(self) -> bool:
        """Whether an index is kept in memory while the file is in use."""
        return self._memory is not None and not self.in_memory

    def forget_memory(self) -> None:
        """Give up what is kept in memory; waits for whoever is asking it."""
        with using_sqlite(), self._turn, self._guard:
            if self._memory is not None and not self.in_memory:
                self._memory.close()
                self._memory = None

    def copied(self) -> Index:
        """Return an index in memory that holds what this one does, or nothing if it cannot be read; O(its bytes).

        The caller closes it.
        """
        with using_sqlite():
            copy = Index.open(None)
            try:
                self.use(copy.copy)
            except (IndexDamagedError, IndexUnavailableError):
                copy.close()
                return Index.open(None)
            return copy

    def generation(self) -> int:
        """Return what tells one index from the next: negative for one in memory, 0 when there is no file."""
        if self.in_memory:
            return -self._memories
        try:
            return self._inode(make=False)
        except (IndexDamagedError, IndexUnavailableError):
            return 0

    # -- the file -----------------------------------------------------------------------------------------------------

    def _index(self, *, writing: bool) -> Index:
        """Return this thread's connection, opened anew when the file is not the one it was."""
        inode = self._inode(make=writing)
        held = self._held()
        if held is not None and held.inode == inode:
            if held.company != self._company():
                raise IndexDamagedError(_REPLACED)
            return held.connection
        if held is not None:
            self._forget(held)
        try:
            opened = self._connection()
        except IndexDamagedError as error:
            error.generation = inode
            raise
        with self._guard:
            self._opened.append(opened)
            # SQLite has one shared memory for all connections of a process: that of the first, whatever lies there now
            company = self._companies.setdefault(inode, self._company())
        self._own.held = held = _Held(inode, company, opened)
        if company != self._company():
            raise IndexDamagedError(_REPLACED)
        return held.connection

    def _held(self) -> _Held | None:
        held: _Held | None = getattr(self._own, "held", None)
        return held

    def _inode(self, *, make: bool) -> int:
        inode = self._inode_of(INDEX)
        if not inode and make:
            # made here, so that it gets the mode of the store's files and never follows a link
            with _unavailable():
                os.close(self._tree.open(INDEX, CREATE))
                self._counters.increase("stale")
            inode = self._inode_of(INDEX)
        if not inode:
            raise IndexDamagedError("there is no index file")
        return inode

    def _company(self) -> tuple[int, int]:
        return self._inode_of(_LOG), self._inode_of(_SHARED_MEMORY)

    def _connection(self) -> Index:
        # looked at first, since SQLite is not to meet a link or a pipe
        for name in INDEX_FILES:
            self._inode_of(name)
        return Index.open(self._tree.path(INDEX))

    def _inode_of(self, name: str) -> int:
        try:
            return self._tree.identity(name)
        except NotAFileError as error:
            raise IndexDamagedError(str(error)) from error
        except OSError as error:
            raise IndexUnavailableError(str(error)) from error

    def _is_current(self, generation: int) -> bool:
        try:
            inode = self._inode_of(INDEX)
        except IndexDamagedError:
            return True
        return not inode or generation in (0, inode)

    def _forget(self, held: _Held) -> None:
        self._own.held = None
        with self._guard, suppress(ValueError):
            self._opened.remove(held.connection)
        held.connection.close()

    def disconnect(self) -> None:
        """Close the connections of all threads to the file, soon to be opened again; while nobody uses them."""
        for index in self._taken():
            index.leave()

    def close(self) -> None:
        """Close everything, while nobody uses it."""
        with using_sqlite():
            for index in self._taken():
                index.close()
            if self._memory is not None:
                self._memory.close()

    def _taken(self) -> list[Index]:
        """Return the connections of all threads, each of which opens another one when it needs it."""
        with self._guard:
            opened, self._opened = self._opened, []
            self._own = threading.local()
            self._companies.clear()
        return opened


@contextmanager
def _unavailable() -> Iterator[None]:
    """Say an error of the system in the words of the index."""
    try:
        yield
    except NotAFileError:
        raise
    except OSError as error:
        raise IndexUnavailableError(str(error)) from error
