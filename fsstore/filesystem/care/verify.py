"""What lies on disk, held against what should be there: documents, their places, the index, the log.

Only reads: the index is looked at as it is, and not reconciled first. Goes directory by directory in a reader thread,
with the names of one in memory. Invariants:
- What looks wrong is judged once more under the store lock before it is reported, so that a commit under way is never
  taken for damage.
- An edit by hand that no refresh has seen yet is a note, never damage.
- Directories of both levels are looked through, whatever the shard depth: a document on the wrong level is found.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from fsstore.errors import (
    StorageCorruptedError,
    StorageTooLargeError,
    StorageUnavailableError,
    StorageValidationError,
)
from fsstore.filesystem.care.report import Finding, Kind, VerifyReport
from fsstore.filesystem.disk.system import NotAFileError
from fsstore.filesystem.documents.codec import InConflictError
from fsstore.filesystem.documents.documents import Document
from fsstore.filesystem.documents.layout import (
    INDEX,
    QUARANTINE,
    SHARD_DEPTHS,
    STAGING,
    is_document,
    is_shard,
    segment_name,
)
from fsstore.filesystem.index.connection import IndexDamagedError, IndexUnavailableError
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.reconcile import differs
from fsstore.filesystem.index.rows import Known
from fsstore.filesystem.open_store import OpenStore
from fsstore.filesystem.read.consistency import Reading
from fsstore.interfaces import Progress

T = TypeVar("T")

_JUDGED_AT_ONCE = 20


async def verify(store: OpenStore, reading: Reading, *, hashed: bool, progress: Progress | None) -> VerifyReport:
    """Look at everything; see `FileStorage.verify`."""
    examiner = Examiner(store, hashed=hashed)
    store.documents.root.check()
    report = VerifyReport(hashed=hashed, findings=await reading.executor.in_thread(examiner.index_findings))
    directories = await reading.executor.in_thread(examiner.directories)
    for done, directory in enumerate(directories, 1):
        examined = await reading.executor.in_thread(partial(examiner.examine, directory))
        report.documents += examined.documents
        report.document_bytes += examined.document_bytes
        report.indexed += examined.indexed
        for at in range(0, len(examined.suspects), _JUDGED_AT_ONCE):
            names = examined.suspects[at : at + _JUDGED_AT_ONCE]
            report.findings += await reading.executor.under_lock(partial(examiner.judge, names))
        if progress is not None:
            progress(done, len(directories))
    # of a directory that went meanwhile nothing is true that was found
    store.documents.root.check()
    report.findings += await reading.executor.under_lock(examiner.left_by_commits)
    report.quarantined = await reading.executor.in_thread(lambda: len(store.tree.entries(QUARANTINE)))
    report.findings.sort(key=lambda finding: not finding.is_damage)
    return report


@dataclass(slots=True)
class Examined:
    """What was found in one directory; `suspects` are names to be judged under the lock."""

    documents: int = 0
    document_bytes: int = 0
    indexed: int = 0
    suspects: list[str] = field(default_factory=list)


class Examiner:
    """Looks at one store. Its methods block, and each is called by one thread at a time."""

    def __init__(self, store: OpenStore, *, hashed: bool, uses_index: bool = True) -> None:
        self._store = store
        self._documents = store.documents
        self._hashed = hashed
        self._is_index_usable = uses_index

    def directories(self) -> list[str]:
        """Return the names of all directories that hold documents, should hold some, or do so by the index."""
        known = self._with_index(lambda index: index.inventory.shards() if index is not None else [])
        return sorted({*self._directories("", 1), *known})

    def _directories(self, above: str, depth: int) -> Iterator[str]:
        try:
            bases = filter(is_shard, self._documents.tree.entries(above))
        except OSError:
            if not above:
                raise
            # given by name already, and judged like that
            return
        for base in bases:
            name = f"{above}/{base}" if above else base
            is_directory = self._is_directory(name)
            # what stands in the place of a shard keeps documents from being saved; deeper down it harms nobody
            if is_directory or depth <= self._documents.layout.shard_depth:
                yield name
            if is_directory and depth < max(SHARD_DEPTHS):
                yield from self._directories(name, depth + 1)

    def _is_directory(self, name: str) -> bool:
        try:
            return self._documents.tree.is_directory(name)
        except OSError:
            # in a directory that cannot be entered, which is judged itself
            return False

    # -- a directory of documents -------------------------------------------------------------------------------------

    def examine(self, directory: str) -> Examined:
        """Look at everything in a directory, without the lock."""
        if self._judge_directory(directory):
            return Examined(suspects=[directory])
        return self._with_index(partial(self._examine, directory))

    def _examine(self, directory: str, index: Index | None) -> Examined:
        examined = Examined()
        is_shard_itself = directory.count("/") + 1 == self._documents.layout.shard_depth
        known = index.inventory.signatures(f"{directory}/") if index is not None and is_shard_itself else {}
        for name in sorted({*self._documents.scan.signatures(directory), *known}):
            document, findings = self._judge_document(name, known.get(name), index)
            if document is not None:
                examined.documents += 1
                examined.document_bytes += len(document.data)
                examined.indexed += name in known
            if findings:
                examined.suspects.append(name)
        return examined

    def judge(self, names: Sequence[str]) -> list[Finding]:
        """Return what is wrong with documents and shards, as the holder of the store lock."""
        return self._with_index(partial(self._judge, names))

    def _judge(self, names: Sequence[str], index: Index | None) -> list[Finding]:
        findings: list[Finding] = []
        for name in names:
            if is_document(name):
                known = index.inventory.signatures(name).get(name) if index is not None else None
                findings += self._judge_document(name, known, index)[1]
            else:
                findings += self._judge_directory(name)
        return findings

    def _judge_directory(self, name: str) -> list[Finding]:
        try:
            self._documents.tree.entries(name)
        except (NotAFileError, NotADirectoryError):
            return [Finding(Kind.UNREADABLE, name, "it stands where a directory of documents belongs")]
        except OSError as error:
            return [Finding(Kind.REFUSED, name, error.strerror or str(error))]
        return []

    def _judge_document(
        self, name: str, known: Known | None, index: Index | None
    ) -> tuple[Document | None, list[Finding]]:
        try:
            document = self._documents.read_named(name)
        except StorageCorruptedError as error:
            return None, [self._corrupted(name, error)]
        except StorageTooLargeError as error:
            return None, [Finding(Kind.TOO_LARGE, name, error.reason or error.message)]
        except StorageUnavailableError as error:
            self._documents.check_its_own(error)
            return None, [Finding(Kind.REFUSED, name, error.reason or error.message)]
        if document is None:
            left_over = [Finding(Kind.LEFT_OVER, name, "it is gone")] if known is not None else []
            return None, left_over
        return document, [*self._form(name, document), *self._row(name, document, known, index)]

    def _corrupted(self, name: str, error: StorageCorruptedError) -> Finding:
        reason = error.reason or error.message
        if error.id is not None:
            return Finding(Kind.WRONG_PLACE, name, reason, self._documents.name(error.id))
        if isinstance(error.__cause__, InConflictError):
            return Finding(Kind.IN_CONFLICT, name, reason)
        return Finding(Kind.UNREADABLE, name, reason)

    def _form(self, name: str, document: Document) -> Iterator[Finding]:
        try:
            # the store's own form holds every key once, and most documents have it
            if self._documents.encode(document.record) == document.data:
                return
        except StorageValidationError as error:
            yield Finding(Kind.NOT_SAVABLE, name, f"{error.path}: {error.reason}")
        if (key := _duplicate_key(document.data)) is not None:
            yield Finding(Kind.DUPLICATE_KEY, name, f"the key {key!r} stands twice in one object; the last one counts")

    def _row(self, name: str, document: Document, known: Known | None, index: Index | None) -> Iterator[Finding]:
        if index is None:
            return
        if known is None:
            if index.get_meta("complete"):
                yield Finding(Kind.NOT_INDEXED, name, "the index has not seen it yet")
        elif known.signature != document.signature:
            yield Finding(Kind.OUTDATED, name, "it was changed since it was indexed")
        elif differs(document.signature, known):
            # the row is racy: an edit within the clock's tick is no surprise, and the next refresh sees it
            if self._hashed and known.digest != document.digest:
                yield Finding(Kind.OUTDATED, name, "it was changed as it was indexed")
        elif not known.digest:
            yield Finding(Kind.INDEX_WRONG, name, "the index holds it to be unreadable")
        elif self._hashed and known.digest != document.digest:
            yield Finding(Kind.ALTERED, name, "other bytes than were indexed, under the same size and times")
        elif self._hashed and not index.inventory.agrees(name, document.record):
            yield Finding(Kind.INDEX_WRONG, name, "the index says something else than the document")

    # -- the index and the log ----------------------------------------------------------------------------------------

    def index_findings(self) -> list[Finding]:
        """Return what is wrong with the index itself; one that is damaged or not there is not compared with."""
        if self._store.index_file.in_memory:
            return [Finding(Kind.NO_INDEX, INDEX, "its file cannot be used here, and what is in memory may be old")]
        try:
            return self._store.index_file.use(self._index_findings)
        except IndexUnavailableError as error:
            finding = Finding(Kind.NO_INDEX, INDEX, f"it cannot be used now: {error}")
        except IndexDamagedError as error:
            # what is not there is not damaged
            is_there = INDEX.rpartition("/")[2] in self._store.tree.entries(INDEX.rpartition("/")[0])
            finding = Finding(Kind.INDEX_DAMAGED if is_there else Kind.NO_INDEX, INDEX, str(error))
        self._is_index_usable = False
        return [finding]

    def _index_findings(self, index: Index) -> list[Finding]:
        complaint = index.check(thorough=self._hashed)
        if complaint:
            raise IndexDamagedError(complaint)
        if not index.get_meta("complete"):
            return [Finding(Kind.NO_INDEX, INDEX, "it has not seen every document yet")]
        return []

    def _with_index(self, work: Callable[[Index | None], T]) -> T:
        if not self._is_index_usable or self._store.index_file.in_memory:
            return work(None)
        try:
            return self._store.index_file.use(work)
        except (IndexDamagedError, IndexUnavailableError) as error:
            raise StorageUnavailableError(
                reason=f"the index was lost in the middle of it: {error}",
                path=self._store.tree.path(INDEX),
                advice="do it again",
            ) from error

    def left_by_commits(self) -> list[Finding]:
        """Return what is wrong with the log and the temp files, as the holder of the store lock."""
        findings: list[Finding] = []
        for number in self._store.log.numbers():
            findings += self._judge_segment(number)
        # where nothing can be locked they may be somebody's
        staged = self._store.tree.entries(STAGING) if self._store.writer is not None else []
        reason = "left by a commit that never happened"
        return findings + [Finding(Kind.TEMPORARY, f"{STAGING}/{base}", reason) for base in sorted(staged)]

    def _judge_segment(self, number: int) -> list[Finding]:
        name = segment_name(number)
        try:
            segments = self._store.log.read([number])
        except OSError as error:
            return [Finding(Kind.REFUSED, name, error.strerror or str(error))]
        return [Finding(Kind.LOG_DAMAGED, name, segment.damage) for segment in segments if segment.damage]


def _duplicate_key(data: bytes) -> str | None:
    """Return a key that an object of the JSON text has twice."""
    found: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        keys: set[str] = set()
        for key, _ in pairs:
            if key in keys:
                found.append(key)
            keys.add(key)

    try:
        json.loads(data, object_pairs_hook=look, parse_int=str)
    except (ValueError, RecursionError):
        # this reader has limits that the store's has not
        return None
    return found[0] if found else None
