"""After external edits: compare every document with the index, and read again what differs.

Comparing needs no lock: it looks at signatures. What differs is absorbed under the store lock, so that no older state
of a document ever replaces a newer one in the index. Invariants:
- A row is trusted when its signature is the file's and it is not racy: `trust` says when it is. The document of a racy
  row is compared by hash, once: then the row is recorded as of that time.
- A file that cannot be read as the document of its name becomes a problem, with the reason; it is never touched.
- What the system refuses to read, now and to this process, is none: nothing of that is recorded, and its row stays (see
  `unreadable`). In a shard that cannot be listed each document is read by its name.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from typing import NamedTuple, Protocol, TypeVar

from fsstore.errors import StorageCorruptedError, StorageError, StorageUnavailableError
from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.disk.system import NotAFileError
from fsstore.filesystem.documents.codec import digest
from fsstore.filesystem.documents.documents import Documents
from fsstore.filesystem.documents.layout import is_shard, leads_to, shard_of
from fsstore.filesystem.index.connection import IndexDamagedError
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.rows import Entry, Known, Problem, marked_as_read
from fsstore.filesystem.threads import submitted
from fsstore.interfaces import Progress
from fsstore.watching.changes import Absorbed

T = TypeVar("T")
_unreadable = logging.getLogger("fsstore.unreadable")
_UNKNOWN = Signature(0, 0, 0, 0)
_FEW_SHARDS, _AT_ONCE, _AHEAD = 16, 16, 2
_FOREIGN = "a row names a file that is none of a document"


class Steps:
    """Counts what a reconciliation has done: a shard compared, or some documents read, is a step."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._shards = self._read = 0

    def compared(self, done: int, shards: int) -> None:
        """Tell that so many of the shards have been compared."""
        self._shards = shards
        if self._progress is not None:
            self._progress(done, shards)

    def read(self, parts: int) -> None:
        """Tell that another of so many parts of what differs has been read."""
        self._read += 1
        if self._progress is not None:
            self._progress(self._shards + self._read, self._shards + parts)


class Compared(NamedTuple):
    """What a comparison found, by name, and when it began."""

    differing: list[str]
    """Documents to be read again."""
    confirmed: list[str]
    """Documents whose rows are racy, and which hold the bytes that were indexed."""
    since_ns: int


class Rows(Protocol):
    """What keeps an index: the file that all share, or the memory of one open store."""

    def use(self, work: Callable[[Index], T], *, writing: bool = False) -> T:
        """Let the index be asked, or changed."""

    def apply(self, entries: Iterable[Entry], removed: Iterable[str], problems: Iterable[Problem] = ()) -> None:
        """Change rows."""


class Reconciler:
    """Brings the index of one store in agreement with its documents."""

    def __init__(self, documents: Documents, index_file: Rows) -> None:
        self._documents = documents
        self._index_file = index_file
        # for those who watch, None when nobody does: what was indexed, and gone when it was read again by somebody who
        # held the lock, so no commit has taken it
        self.missing: set[str] | None = None

    def compare(self, index: Index, progress: Progress | None = None) -> Compared:
        """Compare all files with their rows; one stat a document, and one read where the row is racy."""
        index.verify()
        compared = Compared([], [], time.time_ns())
        shards = sorted({*self._documents.scan.outer_shards(), *_checked(index.inventory.outer_shards())})
        # of which the text that is compared says nothing: one may be gone
        with_problems = {problem.name.partition("/")[0] for problem in index.inventory.problems()}
        with closing(self._inventories(shards)) as inventories:
            for done, (shard, found) in enumerate(zip(shards, inventories, strict=True), 1):
                # most documents are as they were, and need not be looked at one by one
                if shard in with_problems or found is None:
                    self._compare_names(index, shard, compared)
                elif (text := index.inventory.text(shard)) != found:
                    self._compare_lines(index, text, found, compared)
                if progress is not None:
                    progress(done, len(shards))
        # what lies in their places is older than what was committed, and may be what the rows know
        compared.differing.extend(self._documents.outdated() - set(compared.differing))
        # a row that agrees with its file does not say that the file can be read here
        too_large = index.inventory.larger_than(self._documents.read_bytes)
        again = [*self._documents.unreadable.documents(), *too_large]
        return compared._replace(differing=list(dict.fromkeys([*compared.differing, *again])))

    def look_again(self, index: Index) -> list[str]:
        """Return the documents to be read again: what could not be read, and can be now."""
        unreadable, compared = self._documents.unreadable, Compared([], [], 0)
        for refusal in unreadable.all():
            if self._can_be_read(refusal.name):
                if refusal.name.endswith("/"):
                    self._compare_names(index, refusal.name.removesuffix("/"), compared)
                else:
                    compared.differing.append(refusal.name)
        unreadable.looked()
        return compared.differing

    def _can_be_read(self, name: str) -> bool:
        try:
            if name.endswith("/"):
                self._documents.scan.signatures(name.removesuffix("/"))
            else:
                self._documents.read_named(name)
        except StorageUnavailableError:
            return False
        except StorageCorruptedError:
            pass
        return True

    def _inventories(self, shards: list[str]) -> Generator[str | None]:
        """Give the inventory of each outer shard; of many in a thread that looks ahead while the index is asked."""
        if len(shards) < _FEW_SHARDS:
            yield from map(self._documents.scan.inventory, shards)
            return
        # the one that is looked at stays open for the shards in it
        documents = self._documents.for_one_thread(keeps=1)

        def some(first: int) -> list[str | None]:
            return list(map(documents.scan.inventory, shards[first : first + _AT_ONCE]))

        try:
            with ThreadPoolExecutor(1, thread_name_prefix="fsstore-compare") as looking:
                ahead: deque[Future[list[str | None]]] = deque()
                for first in range(0, len(shards), _AT_ONCE):
                    # a hand-over costs more than a small shard
                    ahead.append(submitted(looking, some, first))
                    if len(ahead) > _AHEAD:
                        yield from ahead.popleft().result()
                for future in ahead:
                    yield from future.result()
        finally:
            documents.tree.forget_parents()

    def _compare_lines(self, index: Index, text: str, found: str, compared: Compared) -> None:
        """Compare the documents of an outer shard whose lines are different, or mark a row as racy."""
        rows, files = set(text.split("\n")), set(found.split("\n"))
        there: dict[str, Signature | None] = {}
        for line in files - rows:
            name, *values = line.rsplit("/", 5)[:5]
            there[name] = Signature._make(map(int, values))
        names = sorted({*there, *(line.rsplit("/", 5)[0] for line in rows - files)})
        depth = self._documents.layout.shard_depth
        if not all(leads_to(name, depth) == (name, True) for name in names):
            raise IndexDamagedError(_FOREIGN)
        self._compare_some(index.inventory.known(names), there, compared)

    def _compare_names(self, index: Index, within: str, compared: Compared) -> None:
        """Compare all documents of a shard, or of the shards in a directory."""
        known = index.inventory.signatures(f"{within}/")
        there: dict[str, Signature | None] = {}
        for shard in sorted({*self._documents.scan.shards(within), *_checked(list(map(shard_of, known)))}):
            try:
                there.update(self._documents.scan.signatures(shard))
            except StorageUnavailableError as error:
                # each is read, if it can be: that they cannot be listed does not say that any of them is gone
                self._documents.check_its_own(error)
        self._compare_some(known, there, compared)

    def _compare_some(self, known: dict[str, Known], there: Mapping[str, Signature | None], compared: Compared) -> None:
        for name, signature in there.items():
            row = known.pop(name, None)
            if row is None or (differs(signature, row) and not self._is_confirmed(name, signature, row)):
                compared.differing.append(name)
            elif row.is_racy:
                compared.confirmed.append(name)
        compared.differing.extend(known)

    def _is_confirmed(self, name: str, signature: Signature | None, row: Known) -> bool:
        """Whether a file whose row is racy holds what was indexed."""
        if signature != row.signature or not row.digest:
            return False
        try:
            data, there = self._documents.tree.read(name, max_bytes=self._documents.read_bytes)
        except OSError:
            return False
        return there == signature and digest(data) == row.digest

    def confirm(self, names: Sequence[str], since_ns: int) -> None:
        """Have rows that were compared by hash trusted from now on, as the holder of the store lock.

        Raises IndexDamagedError, IndexUnavailableError.
        """
        self._index_file.use(lambda index: index.confirm(names, since_ns), writing=True)

    def absorb(self, names: Iterable[str]) -> Absorbed:
        """Read documents and bring their rows up to date, as the holder of the store lock.

        Raises IndexDamagedError, IndexUnavailableError.
        """
        absorbed = Absorbed()
        entries: list[Entry] = []
        problems: list[Problem] = []
        for name in names:
            seen_ns = time.time_ns()
            try:
                entry = self._entry(name)
            except (StorageCorruptedError, StorageUnavailableError) as error:
                # one that waits for its place does so for everybody; what the system refuses it refuses this user
                if isinstance(error, StorageUnavailableError) and name not in self._documents.waiting:
                    self._documents.check_its_own(error)
                else:
                    problems.append(self._problem(name, error, seen_ns))
                absorbed.corrupt.append(name)
                continue
            if entry is None:
                absorbed.removed.append(name)
            else:
                entries.append(entry)
                absorbed.changed.append(entry.record["id"])
        asked = [*absorbed.removed, *(entry.name for entry in entries)]
        before = self._index_file.use(lambda index: index.inventory.known(asked), writing=True)
        if self.missing is not None:
            self.missing |= before.keys() & absorbed.removed
        # which files a commit has placed is kept in mind when they are only looked at once more
        marked = [marked_as_read(entry, before.get(entry.name)) for entry in entries]
        self._index_file.apply(marked, absorbed.removed, problems)
        return absorbed

    def read(self, names: Iterable[str]) -> list[Entry]:
        """Return rows of documents for an index that has none of them; without the lock, so others may be there by now.

        Those that cannot be read are left out: a later comparison finds them.
        """
        entries: list[Entry] = []
        for name in names:
            with suppress(StorageCorruptedError, StorageUnavailableError):
                entry = self._entry(name)
                if entry is not None:
                    entries.append(marked_as_read(entry, None))
        return entries

    def _entry(self, name: str) -> Entry | None:
        document = self._documents.read_named(name)
        if document is None:
            return None
        return Entry(name, document.record, document.signature, document.data, document.seen_ns)

    def _problem(self, name: str, error: StorageError, seen_ns: int) -> Problem:
        reason = error.reason or error.message
        _unreadable.warning("%s is left out of lists: %s", name, reason)
        try:
            signature = self._documents.tree.signature(name)
        except (NotAFileError, OSError):
            signature = None
        return Problem(name, reason, signature or _UNKNOWN, recorded_ns=seen_ns)


def _checked(shards: list[str]) -> list[str]:
    # nothing outside of the store is read, whatever a row says
    if not all(is_shard(part) for shard in shards for part in shard.split("/")):
        raise IndexDamagedError(_FOREIGN)
    return shards


def differs(signature: Signature | None, known: Known | None) -> bool:
    """Whether a file is not, or may not be, what the index knows of it."""
    return known is None or (signature or _UNKNOWN) != known.signature or known.is_racy
