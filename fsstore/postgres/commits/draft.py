"""What a commit makes of the records that it has found and locked. Pure: no statement, no connection.

Invariants:
- A record is drafted by the rules that hold for every backend (`apply`, `SealedSave.over`), and written down by the one
  codec; nothing of it is SQL's to decide.
- What several mutations of one commit make of a record is written once, as it is after the last of them.
- Over a text that is no record only a mutation goes that would do the same over anything (`overrides`), as on files.
  The text is set aside first, unless it is to be deleted for good, and what takes its place begins above the version
  of its row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from fsstore.errors import StorageCorruptedError
from fsstore.filesystem.documents.codec import encode
from fsstore.filesystem.documents.sealed import Sealed, SealedSave
from fsstore.model.mutations import Delete, apply_each, outcome_of, overrides
from fsstore.model.records import JsonObject, Outcome, Outcomes, version_of
from fsstore.model.successor import floor_above
from fsstore.postgres.schema.rows import key_of, record_in


class Stored:
    """A record as it stands, or is to stand, in the database."""

    def __init__(self, record_id: str, data: bytes, part: JsonObject | None = None, *, row_version: int = 0) -> None:
        """`row_version` is what its row says, which counts where the text is no record."""
        self.id = record_id
        self.data = data
        self._part = part
        self._row_version = row_version

    @cached_property
    def record(self) -> JsonObject:
        """The record. Raises StorageCorruptedError where the text is none, as after a change by hand."""
        return record_in(self.data, self.id)

    @property
    def part(self) -> JsonObject:
        """The record, or the `part_of` it."""
        return self.record if self._part is None else self._part

    @property
    def version(self) -> int:
        """The version, by the row where the text does not tell it."""
        try:
            return version_of(self.part)
        except StorageCorruptedError:
            # there it is, whatever somebody has made of its row
            return max(self._row_version, 1)

    def seen(self, change: Sealed) -> JsonObject | None:
        """Return the record as a mutation sees it, None where it may take the place of what cannot be read."""
        try:
            return self.record
        except StorageCorruptedError:
            if not overrides(change.change if isinstance(change, SealedSave) else change):
                raise
            return None


class Written(NamedTuple):
    """What a commit does to one record."""

    id: str
    key: bytes
    before: int
    """The version that it found; 0 where there was no record."""
    found: bool
    """Whether there is a row of it."""
    made: Stored | None
    """What takes its place; None where it goes."""
    sets_aside: bool = False
    """Whether what it found cannot be read, and is to be kept."""

    @property
    def after(self) -> int:
        """The version that there is then; 0 where the record is gone."""
        return 0 if self.made is None else self.made.version


@dataclass(slots=True)
class Draft:
    """What a commit would do to what it has found."""

    outcomes: Outcomes
    floor: int
    """The highest version that was ever deleted, when the commit has ended."""
    found: Mapping[str, Stored]
    made: dict[str, Stored | None]
    set_aside: set[str]
    """The ids of what cannot be read, and is to be kept."""

    def written(self) -> list[Written]:
        """Return what is done to each record, in the order in which every commit takes its locks."""
        return sorted(self._written(), key=lambda each: each.key)

    def _written(self) -> Iterator[Written]:
        for record_id, made in self.made.items():
            before = self.found.get(record_id)
            # also of what is made and deleted: by it the floor rises
            if made is not before or before is None:
                version = 0 if before is None else before.version
                sets_aside = record_id in self.set_aside
                yield Written(record_id, key_of(record_id), version, before is not None, made, sets_aside)

    def absent(self) -> list[str]:
        """Return the ids of which nothing was found, and nothing is made.

        Where a commit says more than that, it must hold until the commit has ended.
        """
        ids = dict.fromkeys(outcome.id for outcome in self.outcomes)
        return [each for each in ids if each not in self.found and self.made.get(each) is None]


def _give_way(draft: Draft, change: Sealed, current: Stored) -> None:
    """Let a change take the place of what cannot be read."""
    draft.floor = floor_above(draft.floor, current.version)
    if not isinstance(change, Delete) or change.keep_damaged:
        draft.set_aside.add(change.id)


def drafted(changes: Sequence[Sealed], found: Mapping[str, Stored], now: str, floor: int, *, max_bytes: int) -> Draft:
    """Apply the mutations of a commit to what was found. Raises what refuses it, with the index of the mutation."""
    draft = Draft([], floor, found, {}, set())

    def apply(change: Sealed) -> Outcome:
        current = draft.made.get(change.id, found.get(change.id))
        before = None if current is None else current.seen(change)
        gives_way = current is not None and before is None
        if current is not None and gives_way:
            _give_way(draft, change, current)
        if isinstance(change, SealedSave):
            part, text = change.over(before, draft.floor, max_bytes=max_bytes)
            made = draft.made[change.id] = Stored(change.id, bytes(text), part)
            return Outcome(change.id, 0 if current is None else current.version, made.version, None)
        result = None if gives_way else change.apply(before, now, draft.floor)
        if result is None and current is not None:
            draft.floor = floor_above(draft.floor, current.version)
            draft.made[change.id] = None
        elif result is not None and result is not before:
            draft.made[change.id] = Stored(change.id, encode(result, max_bytes=max_bytes), result)
        outcome = outcome_of(change, before, result)
        return outcome if current is None else outcome._replace(before=current.version)

    draft.outcomes = apply_each(changes, apply)
    return draft
