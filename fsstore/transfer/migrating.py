"""A whole store into another one, of whichever kind: every record, with its version and its times.

Invariants:
- The source is read and nothing else. Memory is bounded by a batch.
- Records go over in the order of their ids, one commit a batch. Whatever stops that, the same call goes on where it
  was: what has arrived is compared with the source, and not written again.
- Nothing takes the place of what did not come from the source: a target with records of its own is refused before
  anything is written. A record is the source's own if it was made at the same time, and its version is not higher.
- At the end both stores are read and compared, record by record. What was changed in the source meanwhile is found
  then, and is an error.
- Versions do not come twice: last of all the target's floor, above which new records begin, is raised to that of the
  source.

What a store has set aside, and what it cannot read, do not go over.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias

from fsstore.errors import StorageConflictError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.mutations import Restore, may_become, raising_floor
from fsstore.model.records import Filters, JsonObject
from fsstore.model.times import format_time
from fsstore.model.values import write_json

Steps: TypeAlias = Callable[[int], None]
"""Called with how many records were passed so far: each of the source twice, once to copy it and once to compare it."""

_BATCH_RECORDS, _BATCH_BYTES = 50, 4 * 1024 * 1024
_NAMED = 5

Pair: TypeAlias = tuple[JsonObject | None, JsonObject | None]


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What was moved, and what was found when both stores were compared."""

    records: int
    """How many there are in either store."""
    copied: int
    """How many of them were written now; the others were there already."""
    bytes: int
    """How long they are, as JSON lines."""
    digest: str
    """The SHA-256 of these lines in the order of the ids, in hex: the same of both stores."""
    unreadable: tuple[str, ...] = ()
    """The files of the source that cannot be read, and were left out."""


async def migrate_store(
    source: IUnifiedStorage, target: IUnifiedStorage, *, progress: Steps | None = None
) -> MigrationReport:
    """Copy all records of one store to another, and compare the two; reads both once, the source twice.

    Where it was stopped before, it goes on. Raises StorageConflictError, before anything is written, where the target
    has a record that did not come from the source, and at the end where the source has changed meanwhile; and what
    either store raises.
    """
    work = _Migration(source, target, progress or (lambda _: None))
    await work.resume()
    await work.copy()
    report = await work.compare()
    await work.raise_floor()
    return report


class _Migration:
    """One migration under way."""

    def __init__(self, source: IUnifiedStorage, target: IUnifiedStorage, progress: Steps) -> None:
        self._source = source
        self._target = target
        self._progress = progress
        # up to this id all is there that the source has
        self._after = ""
        self._passed = self._copied = 0

    async def resume(self) -> None:
        """Find how far an earlier call has come."""
        is_complete = True
        async with aclosing(_pairs(self._source, self._target, until_target_ends=True)) as pairs:
            async for ours, theirs in pairs:
                is_there = ours is not None and theirs is not None and _line(ours) == _line(theirs)
                if theirs is not None and not is_there and (ours is None or not may_become(theirs, ours)):
                    raise _foreign(theirs, ours)
                is_complete = is_complete and is_there
                if is_complete and ours is not None:
                    self._after = ours["id"]
                    self._passed += 1
                    self._progress(self._passed)

    async def copy(self) -> None:
        """Write what is not there yet, batch by batch."""
        changes: list[Restore] = []
        size = 0
        async with aclosing(_records(self._source, {"id": {"$gt": self._after}} if self._after else None)) as records:
            async for record in records:
                changes.append(Restore(record["id"], record))
                size += len(_line(record))
                if len(changes) == _BATCH_RECORDS or size >= _BATCH_BYTES:
                    await self._commit(changes)
                    changes, size = [], 0
        await self._commit(changes)

    async def _commit(self, changes: list[Restore]) -> None:
        outcomes = await self._target.commit(changes)
        self._copied += sum(outcome.before != outcome.after for outcome in outcomes)
        self._passed += len(changes)
        self._progress(self._passed)

    async def compare(self) -> MigrationReport:
        """Read both stores and return the report. Raises StorageConflictError where they are not the same."""
        digest, records, size = hashlib.sha256(), 0, 0
        different: list[str] = []
        async with aclosing(_pairs(self._source, self._target)) as pairs:
            async for ours, theirs in pairs:
                line = _line(ours)
                if line != _line(theirs):
                    different.append(str((ours or theirs or {})["id"]))
                digest.update(line)
                records, size = records + 1, size + len(line)
                self._progress(self._passed + records)
        if different:
            raise _changed(different)
        unreadable = tuple(str(problem["file"]) for problem in await self._source.unreadable())
        return MigrationReport(records, self._copied, size, digest.hexdigest(), unreadable)

    async def raise_floor(self) -> None:
        """Let what is made in the target begin above what was deleted in the source."""
        floor = await self._source.floor()
        if floor > await self._target.floor():
            await self._target.commit(raising_floor(floor, format_time(self._target.clock())))


async def _records(storage: IUnifiedStorage, filters: Filters | None = None) -> AsyncGenerator[JsonObject]:
    async with aclosing(storage.stream_list(filters, _BATCH_RECORDS)) as batches:
        async for batch in batches:
            for record in batch:
                yield record


async def _pairs(
    source: IUnifiedStorage, target: IUnifiedStorage, *, until_target_ends: bool = False
) -> AsyncGenerator[Pair]:
    """Give the records of both stores in the order of their ids, those of one id together."""
    async with aclosing(_records(source)) as ours, aclosing(_records(target)) as theirs:
        left, right = await anext(ours, None), await anext(theirs, None)
        while right is not None or (left is not None and not until_target_ends):
            takes_left = left is not None and (right is None or left["id"] <= right["id"])
            takes_right = right is not None and (left is None or right["id"] <= left["id"])
            yield left if takes_left else None, right if takes_right else None
            left = await anext(ours, None) if takes_left else left
            right = await anext(theirs, None) if takes_right else right


def _line(record: JsonObject | None) -> bytes:
    return b"" if record is None else write_json(record)


def _foreign(there: JsonObject, ours: JsonObject | None) -> StorageConflictError:
    return StorageConflictError(
        id=there["id"],
        expected=0 if ours is None else ours["version"],
        actual=there["version"],
        reason="the target has a document of that id, and the source has none"
        if ours is None
        else "the target has another document of that id, or a newer version of it",
        advice="migrate into a store that is empty, or was begun from this source",
    )


def _changed(different: list[str]) -> StorageConflictError:
    more = f" and {len(different) - _NAMED} more" if len(different) > _NAMED else ""
    return StorageConflictError(
        id=different[0],
        reason=f"the source was changed meanwhile: {', '.join(different[:_NAMED])}{more} differ",
        advice="stop what writes there, and migrate again: only what differs is copied",
    )
