"""Looking for changes that no event has reported: which directory, which file is different from what is known.

Three ways, by what they cost:
- a *look* compares the signature of each directory, which shows names that came and went; the directories that differ
  are compared file by file;
- a *sweep* goes through all files, a few milliseconds at a time, since an edit in place changes no directory;
- a directory that somebody has a reason to suspect is compared at once (`suspect`).

Invariants: looks and sweeps together take a bounded share of one core (`Pace`). What differs is only named here, and
classified elsewhere. A directory's signature is taken before its files are compared, and believed only when it is sure
(`trust`): within a tick of the clock the directory may change again and have the same one. Marks of files that are not
sure are the business of `known_files`.

With `look_seconds` L, `sweep_seconds` S, a share s, and a time c for comparing all documents, what no event reports is
found after L + c/s (names) and S + c/s (contents) at most.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from fsstore.errors import StorageUnavailableError
from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.disk.trust import is_sure
from fsstore.filesystem.documents.documents import Documents
from fsstore.filesystem.watch.known_files import KnownFiles, mark_of

_SLICE_SECONDS = 0.005


class Pace(NamedTuple):
    """How often at most, and which share of the time."""

    look_seconds: float
    sweep_seconds: float
    share: float


BESIDE_EVENTS = Pace(look_seconds=0.5, sweep_seconds=5.0, share=0.02)
WITHOUT_EVENTS = Pace(look_seconds=0.25, sweep_seconds=0.5, share=0.1)


class Scanner:
    """Looks at the documents of one store, in the thread of `watcher`."""

    def __init__(self, documents: Documents, known: KnownFiles) -> None:
        self._documents = documents
        self._known = known
        # None for one that is to be compared again
        self._moments: dict[str, Signature | None] = {}
        self.directories: frozenset[tuple[str, int]] = frozenset()
        """The directories there were at the last look, each with its inode: what is to be followed.

        The same set as long as these are the same: there may be 65 000, and every step asks.
        """
        self._suspected: dict[str, None] = {}
        self._sweep: Iterator[str] = iter(())
        self._sweep_began = 0.0
        self._look_cost = self._looked = 0.0
        self._next_look = self._next_sweep = 0.0
        # whether a look has succeeded since everything was suspect
        self._has_looked = False
        self._pace = BESIDE_EVENTS

    def set_pace(self, pace: Pace) -> None:
        """Go faster or slower from now on."""
        if pace != self._pace:
            self._pace = pace
            self._next_look = self._next_sweep = 0.0

    def look_soon(self) -> None:
        """Compare the directories soon; not at once where that has just taken long."""
        self._next_look = min(self._next_look, self._looked + 2 * self._look_cost)

    def suspect(self, shard: str) -> None:
        """Compare the files of a directory at the next step."""
        self._suspected[shard] = None

    def suspect_all(self) -> None:
        """Compare everything at the next steps."""
        # the next look finds that every directory differs, and those that are gone
        self._moments.clear()
        self.directories = frozenset()
        self._next_look = 0.0
        self._has_looked = False

    def is_done(self, now: float) -> bool:
        """Whether nothing is left of what there was to look at, sweeps aside."""
        return self._has_looked and not self._suspected and now < self._next_look

    def due(self) -> float:
        """Return when the next step is due."""
        return 0.0 if self._suspected else min(self._next_look, self._next_sweep)

    def step(self, now: float) -> list[str]:
        """Do what is due, for some milliseconds, and return the names that differ.

        Raises StorageUnavailableError.
        """
        begun = time.perf_counter()
        if not self._suspected and now < self._next_look:
            return self._sweep_some(now) if now >= self._next_sweep else []
        try:
            if now >= self._next_look:
                self._look_cost, self._looked = 0.0, now
                self._next_look = now + self._pace.look_seconds
                self._look()
            return self._compare_suspected(begun)
        finally:
            self._look_cost += time.perf_counter() - begun
            # the share is kept over a look and all that it has led to
            self._next_look = max(self._next_look, now + self._look_cost / self._pace.share)

    def _look(self) -> None:
        tree, seen_ns = self._documents.tree, time.time_ns()
        found: dict[str, Signature | None] = {"": tree.moment()}
        for shard in self._documents.scan.shards():
            above = shard.rpartition("/")[0]
            if above not in found:
                # where there are two levels, the upper one has no documents, and news of the lower one
                found[above] = self._moment(above)
            found[shard] = self._moment(shard)
        for shard in {*found, *self._moments, *self._known.directories()} - {""}:
            moment = found.get(shard)
            if moment is None or moment != self._moments.get(shard):
                self._suspected[shard] = None
        directories = frozenset((shard, moment.inode) for shard, moment in found.items() if moment is not None)
        if directories != self.directories:
            self.directories = directories
        self._moments = {
            shard: moment if moment is not None and is_sure(moment, seen_ns) else None
            for shard, moment in found.items()
        }
        self._has_looked = True

    def _moment(self, directory: str) -> Signature | None:
        try:
            return self._documents.tree.moment(directory)
        except OSError:
            # one that cannot be looked at must not keep the others waiting
            return None

    def _compare_suspected(self, begun: float) -> list[str]:
        names: list[str] = []
        while self._suspected:
            shard = next(iter(self._suspected))
            del self._suspected[shard]
            names += self._differing(shard)
            if time.perf_counter() - begun > _SLICE_SECONDS:
                break
        return names

    def _sweep_some(self, now: float) -> list[str]:
        begun, names = time.perf_counter(), list[str]()
        for shard in self._sweep:
            names += self._differing(shard)
            if time.perf_counter() - begun > _SLICE_SECONDS:
                break
        else:
            # the next one begins when its time has come
            self._next_sweep = max(now, self._sweep_began + self._pace.sweep_seconds)
            self._sweep_began = self._next_sweep
            self._sweep = iter(sorted({*self._moments, *self._known.directories()} - {""}))
        self._next_sweep = max(self._next_sweep, now + (time.perf_counter() - begun) / self._pace.share)
        return names

    def _differing(self, shard: str) -> list[str]:
        try:
            there, marks = self._documents.scan.signatures(shard), self._known.within(shard)
        except StorageUnavailableError:
            # one that cannot be entered must not keep the others waiting; compared again at the next look
            self._moments[shard] = None
            return []
        names = [name for name, found in there.items() if marks.get(name) != mark_of(found)]
        if len(there) - len(names) < len(marks):
            names += [name for name in marks if name not in there]
        return names
