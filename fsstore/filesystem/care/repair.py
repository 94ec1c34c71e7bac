"""A store put in order: what cannot be read is set aside, and the index is made anew. Nothing is ever deleted.

Owns what is moved, and where to. A document in the wrong place goes to its right one if that is free; everything else
that cannot be read as the document of its name goes to quarantine, whole. What the system refuses to read, or what is
only too large for this store, stays: it may be whole. So does what git has left in conflict: both sides are in it.

Each thing is judged under the store lock right before it is moved, with an empty log, so that no commit is under way
and no replay will undo it. One that was changed a moment ago is left to whoever is writing it. A crash leaves each file
in its place or in quarantine, or, on the way to its right place, under both names; repairing again finishes it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from fsstore.errors import StorageUnavailableError
from fsstore.filesystem.care.report import Finding, Kind, Moved, RepairReport
from fsstore.filesystem.care.verify import Examiner, verify
from fsstore.filesystem.disk.system import NotAFileError
from fsstore.filesystem.documents.documents import directories_of
from fsstore.filesystem.documents.layout import LOG, QUARANTINE, shard_of
from fsstore.filesystem.documents.quarantine import Quarantine
from fsstore.filesystem.index.connection import IndexDamagedError, IndexUnavailableError
from fsstore.filesystem.open_store import OpenStore
from fsstore.filesystem.read.consistency import Reading
from fsstore.interfaces import Progress

_MOVED = (Kind.UNREADABLE, Kind.WRONG_PLACE)
_MOVED_AT_ONCE = 20
_STILL_NS = 1_000_000_000


async def repair(store: OpenStore, reading: Reading, *, progress: Progress | None) -> RepairReport:
    """Put everything in order; see `FileStorage.repair`."""
    mover = Mover(store)
    report = RepairReport(moved=await reading.under_lock(mover.finish_commits))
    found = await verify(store, reading, hashed=True, progress=progress)
    report.altered = [finding for finding in found.findings if finding.kind is Kind.ALTERED]
    names = [finding.file for finding in found.findings if finding.kind in _MOVED]
    await asyncio.sleep(await reading.in_thread(partial(mover.seconds_until_still, names)))
    for at in range(0, len(names), _MOVED_AT_ONCE):
        report.moved += await reading.under_lock(partial(mover.move, names[at : at + _MOVED_AT_ONCE]))
    await reading.under_lock(mover.renew_index)
    await reading.refresh()
    after = await verify(store, reading, hashed=False, progress=progress)
    report.left, report.indexed = after.damage, after.indexed
    return report


class Mover:
    """Moves what is not where it belongs; used by the holder of the store lock."""

    def __init__(self, store: OpenStore) -> None:
        self._store = store
        self._tree = store.tree
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
        self._store.index_file.try_file()
        try:
            self._store.index_file.renew(IndexDamagedError("a repair replaces it"))
        except IndexUnavailableError as error:
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
        for finding in self._examiner.judge(names):
            # somebody who writes slowly is not done yet
            if finding.kind in _MOVED and self._age_ns(finding.file) not in range(_STILL_NS):
                try:
                    moved.append(self._move(finding))
                except FileNotFoundError:
                    # taken away by hand at this moment
                    continue
        return moved

    def _move(self, finding: Finding) -> Moved:
        if finding.belongs_at and self._put_in_place(finding.file, finding.belongs_at):
            return Moved(finding.file, finding.belongs_at, finding.reason)
        return Moved(finding.file, self._quarantine.move(finding.file), finding.reason)

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
