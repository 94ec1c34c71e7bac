"""What a commit makes of the records that it has found and locked. Pure: no statement, no connection.

Invariants:
- A record is drafted by the rules that hold for every backend (`apply`, `SealedSave.over`), and written down by the one
  codec; nothing of it is SQL's to decide.
- What several mutations of one commit make of a record is written once, as it is after the last of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from fsstore.errors import StorageCorruptedError
from fsstore.filesystem.documents.codec import NotARecordError, decode, encode
from fsstore.filesystem.documents.sealed import Sealed, SealedSave
from fsstore.model.mutations import apply_each, outcome_of
from fsstore.model.records import JsonObject, Outcome, Outcomes, version_of
from fsstore.model.successor import floor_above
from fsstore.postgres.schema.rows import key_of


class Stored:
    """A record as it stands, or is to stand, in the database."""

    def __init__(self, record_id: str, data: bytes, part: JsonObject | None = None) -> None:
        self.id = record_id
        self.data = data
        self._part = part

    @cached_property
    def record(self) -> JsonObject:
        """The record. Raises StorageCorruptedError where the text is none, as after a change by hand."""
        return record_in(self.data, self.id)

    @property
    def part(self) -> JsonObject:
        """The record, or the `part_of` it."""
        return self.record if self._part is None else self._part


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

    @property
    def after(self) -> int:
        """The version that there is then; 0 where the record is gone."""
        return 0 if self.made is None else version_of(self.made.part)


@dataclass(slots=True)
class Draft:
    """What a commit would do to what it has found."""

    outcomes: Outcomes
    floor: int
    """The highest version that was ever deleted, when the commit has ended."""
    found: Mapping[str, Stored]
    made: dict[str, Stored | None]

    def written(self) -> list[Written]:
        """Return what is done to each record, in the order in which every commit takes its locks."""
        return sorted(self._written(), key=lambda each: each.key)

    def _written(self) -> Iterator[Written]:
        for record_id, made in self.made.items():
            before = self.found.get(record_id)
            if made is not before:
                version = 0 if before is None else version_of(before.part)
                yield Written(record_id, key_of(record_id), version, before is not None, made)

    def absent(self) -> list[str]:
        """Return the ids of which nothing was found, and nothing is made.

        Where a commit says more than that, it must hold until the commit has ended.
        """
        ids = dict.fromkeys(outcome.id for outcome in self.outcomes)
        return [each for each in ids if each not in self.found and self.made.get(each) is None]


def drafted(changes: Sequence[Sealed], found: Mapping[str, Stored], now: str, floor: int, *, max_bytes: int) -> Draft:
    """Apply the mutations of a commit to what was found. Raises what refuses it, with the index of the mutation."""
    draft = Draft([], floor, found, {})

    def apply(change: Sealed) -> Outcome:
        current = draft.made.get(change.id, found.get(change.id))
        if isinstance(change, SealedSave):
            part, text = change.over(None if current is None else current.record, draft.floor, max_bytes=max_bytes)
            draft.made[change.id] = Stored(change.id, bytes(text), part)
            return outcome_of(change.change, None if current is None else current.part, part)
        before = None if current is None else current.record
        result = change.apply(before, now, draft.floor)
        if result is None:
            draft.floor = floor_above(draft.floor, version_of(before))
            draft.made[change.id] = None
        elif result is not before:
            draft.made[change.id] = Stored(change.id, encode(result, max_bytes=max_bytes), result)
        return outcome_of(change, before, result)

    draft.outcomes = apply_each(changes, apply)
    return draft


def record_in(data: bytes, record_id: str | None = None) -> JsonObject:
    """Return the record of a text from the database. Raises StorageCorruptedError where it is none."""
    try:
        return decode(data, record_id)
    except NotARecordError as error:
        raise StorageCorruptedError(
            id=record_id,
            path="PostgreSQL",
            reason=str(error),
            advice="somebody has changed the table: restore the row from a backup, or delete the document",
        ) from error
