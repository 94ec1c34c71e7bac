"""A store put in order: what cannot be read is set aside, and the index is made anew. Nothing is ever deleted.

Owns what is moved, and where to. A document in the wrong place goes to its right one if that is free; of several copies
of one document the newest does, by version, `updated_at` and the file's time, and the report says why. A whole document
that is in its place stays there, since it is what was served: copies of it are set aside, newer ones too. Everything
else that cannot be read as the document of its name goes to quarantine, whole. What the system refuses to read, or what
is only too large for this store, stays: it may be whole. So does what git has left in conflict: both sides are in it.

Each thing is judged under the store lock right before it is moved, with an empty log, so that no commit is under way
and no replay will undo it. One that was changed a moment ago is left to whoever is writing it, and so are other copies
of it. A crash leaves each file in its place or in quarantine, or, on the way to its right place, under both names;
repairing again finishes it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from fsstore.errors import StorageError, StorageUnavailableError
from fsstore.filesystem.care.report import Finding, Kind, Moved, RepairReport
from fsstore.filesystem.care.verify import Examiner, verify
from fsstore.filesystem.disk.system import NotAFileError
from fsstore.filesystem.documents.codec import version_told
from fsstore.filesystem.documents.documents import Document
from fsstore.filesystem.documents.layout import LOG, QUARANTINE, directories_of, shard_of
from fsstore.filesystem.documents.quarantine import Quarantine
from fsstore.filesystem.index.connection import IndexDamagedError, IndexUnavailableError
from fsstore.filesystem.open_store import OpenStore
from fsstore.filesystem.read.consistency import Reading
from fsstore.interfaces import Progress
from fsstore.model.successor import floor_above

_logger = logging.getLogger("fsstore")
_MOVED = (Kind.UNREADABLE, Kind.WRONG_PLACE)
_MOVED_AT_ONCE = 20
_STILL_NS = 1_000_000_000


async def repair(store: OpenStore, reading: Reading, *, progress: Progress | None) -> RepairReport:
    """Put everything in order; see `FileStorage.repair`."""
    mover = Mover(store)
    report = RepairReport(moved=await reading.executor.under_lock(mover.finish_commits))
    found = await verify(store, reading, hashed=True, progress=progress)
    report.altered = [finding for finding in found.findings if finding.kind is Kind.ALTERED]
    groups = _groups([finding for finding in found.findings if finding.kind in _MOVED])
    names = [name for group in groups for name in group]
    await asyncio.sleep(await reading.executor.in_thread(partial(mover.seconds_until_still, names)))
    for group in groups:
        report.moved += await reading.executor.under_lock(partial(mover.move, group))
    await reading.executor.under_lock(mover.renew_index)
    await reading.fresh_index.refresh()
    after = await verify(store, reading, hashed=False, progress=progress)
    report.left, report.indexed = after.damage, after.indexed
    return report


def _groups(findings: Sequence[Finding]) -> list[list[str]]:
    """Return what is moved at once: first what is in the way, then all copies of a document together."""
    in_the_way = [finding.file for finding in findings if not finding.belongs_at]
    copies: dict[str, list[str]] = {}
    for finding in findings:
        if finding.belongs_at:
            copies.setdefault(finding.belongs_at, []).append(finding.file)
    groups = [in_the_way[at : at + _MOVED_AT_ONCE] for at in range(0, len(in_the_way), _MOVED_AT_ONCE)]
    for names in copies.values():
        if not groups or len(groups[-1]) + len(names) > _MOVED_AT_ONCE:
            groups.append([])
        groups[-1] += names
    return groups


class _Copy(NamedTuple):
    """A whole document in the wrong place."""

    finding: Finding
    document: Document

    @property
    def age(self) -> tuple[int, str, int]:
        """What tells which of two copies is newer."""
        record = self.document.record
        return record["version"], record["updated_at"], self.document.signature.mtime_ns


class Mover:
    """Moves what is not where it belongs; used by the holder of the store lock."""

    def __init__(self, store: OpenStore) -> None:
        self._store = store
        self._tree = store.tree
        self._documents = store.documents
        # the index may be what is damaged, and has no say in what is a document
        self._examiner = Examiner(store, hashed=False, uses_index=False)
        self._quarantine = Quarantine(store.tree)

    def finish_commits(self) -> list[Moved]:
        """Put in place what the log holds, which may be what is missing, and empty it; a damaged one is set aside."""
        before = set(self._tree.entries(QUARANTINE))
        self._store.recovery.run(mends=True)
        aside = sorted(set(self._tree.entries(QUARANTINE)) - before)
        return [Moved(LOG, f"{QUARANTINE}/{base}", "recovery set it aside") for base in aside]

    def renew_index(self) -> None:
        """Throw the index away; whoever uses it next makes it anew."""
        # what stays, though it cannot be read, may tell no version, and its row goes
        self._raise_floor(self._store.index_file.version_of(self._documents.unreadable.documents()))
        self._store.index_file.try_file()
        try:
            self._store.index_file.renew(IndexDamagedError("a repair replaces it"))
        except (IndexDamagedError, IndexUnavailableError) as error:
            reason = f"the index cannot be replaced: {error}"
            raise StorageUnavailableError(reason=reason, path=str(self._tree.root)) from error

    def seconds_until_still(self, names: Sequence[str]) -> float:
        """Return how long it takes until none of them was changed a moment ago, if nobody goes on changing them."""
        left_ns = max((_STILL_NS - age for age in map(self._age_ns, names) if age in range(_STILL_NS)), default=0)
        return left_ns / 1e9

    def _age_ns(self, name: str) -> int:
        try:
            signature = self._tree.signature(name)
        except NotAFileError:
            signature = None
        return _STILL_NS if signature is None else time.time_ns() - signature.mtime_ns

    def move(self, names: Sequence[str]) -> list[Moved]:
        """Move those that cannot be read as the documents of their names now."""
        moved = [] if self._store.counters.read().log_is_empty else self.finish_commits()
        findings = [finding for finding in self._examiner.judge(names) if finding.kind in _MOVED]
        for finding in findings:
            # somebody who writes slowly is not done yet
            if not finding.belongs_at and self._is_still(finding.file):
                moved += self._set_aside(finding, finding.reason)
        for place in sorted({finding.belongs_at for finding in findings if finding.belongs_at}):
            copies = [finding for finding in findings if finding.belongs_at == place]
            # the one that is being written may be the newest
            if all(self._is_still(finding.file) for finding in copies):
                moved += self._move_copies(place, copies)
        return moved

    def _is_still(self, name: str) -> bool:
        return self._age_ns(name) not in range(_STILL_NS)

    def _set_aside(self, finding: Finding, reason: str) -> list[Moved]:
        try:
            self._keep_floor(finding.file)
            return [Moved(finding.file, self._quarantine.move(finding.file), reason)]
        except FileNotFoundError:
            # taken away by hand at this moment
            return []
        except OSError as error:
            # it is left, and this is reported, and it keeps no other one from being moved
            _logger.warning("%s could not be set aside: %s", finding.file, error.strerror or error)
            return []

    def _move_copies(self, place: str, findings: list[Finding]) -> list[Moved]:
        """Put the newest copy of a document in its place, if that is free, and set the others aside."""
        moved: list[Moved] = []
        try:
            kept, file = self._documents.read_named(place), place
            others = sorted(self._copies(findings), key=lambda copy: copy.age, reverse=True)
            if kept is None:
                newest, *others = others
                (finding, kept), file = newest, newest.finding.file
                if not self._put_in_place(file, place):
                    return []
                why = f"; of {len(others) + 1} copies it is the newest ({_dated(kept)})" if others else ""
                moved.append(Moved(file, place, finding.reason + why))
        except (StorageError, FileNotFoundError):
            # changed or taken away by hand at this moment, or the system refuses to read it: nothing is known then
            return moved
        for copy in others:
            moved += self._set_aside(copy.finding, f"{copy.finding.reason}, {_beside(copy, kept, file)}")
        return moved

    def _copies(self, findings: list[Finding]) -> Iterator[_Copy]:
        for finding in findings:
            document = self._documents.read_misplaced(finding.file)
            if document is None:
                raise FileNotFoundError(finding.file)
            yield _Copy(finding, document)

    def _keep_floor(self, name: str) -> None:
        """Let a document that is made in the place of a damaged one begin above the version that one had."""
        floor = self._store.index_file.version_of([name])
        with suppress(OSError):
            # what is no file tells no version
            data, _ = self._tree.read(name, max_bytes=self._store.documents.max_bytes)
            floor = floor_above(floor, version_told(data))
        self._raise_floor(floor)

    def _raise_floor(self, floor: int) -> None:
        with suppress(OSError):
            self._store.counters.keep_floor(floor)

    def _put_in_place(self, name: str, place: str) -> bool:
        """Give a document its right name; False when that is taken. Never replaces what somebody else puts there."""
        document = self._tree.signature(name)
        if document is None or not self._is_free(place):
            return False
        self._tree.sync(name)
        self._tree.name_once(name, place)
        placed = self._tree.signature(place)
        if placed is None or placed.inode != document.inode:
            return False
        for directory in ("", *directories_of(place)):
            self._tree.sync_directory(directory)
        self._tree.unlink(name)
        self._tree.sync_directory(shard_of(name))
        return True

    def _is_free(self, place: str) -> bool:
        try:
            for directory in directories_of(place):
                self._tree.make_directory(directory)
            return self._tree.signature(place) is None
        except (NotAFileError, FileExistsError):
            return False


def _beside(copy: _Copy, chosen: Document, file: str) -> str:
    """Say what a copy is to the document that is, or was put, in its place."""
    if copy.document.record == chosen.record:
        return f"and {file} holds the same"
    kept, own = _Copy(copy.finding, chosen).age, copy.age
    how = "is older than" if own < kept else "is newer than" if own > kept else "is as new as"
    return f"and {how} {file}: {_dated(copy.document)}, against {_dated(chosen)}"


def _dated(document: Document) -> str:
    return f"version {document.record['version']}, updated {document.record['updated_at']}"
