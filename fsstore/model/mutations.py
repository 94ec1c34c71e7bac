"""Mutations: what a commit does to its records, one by one, and what it expects to find. Pure.

Most of them are data, so that a backend may turn one into one statement, or into bytes: `Save`, `Patch`, `Append`,
`Pop`, `Delete`, `Check` and `Restore`, each with what is `Expected`; the first four have a `Stamp` that says where the
times come from. What only a function can express is a `Mutation`: one id, and a rule from the record that is there to
the one that takes its place.
`apply` means the same for every backend, and keeps the rules of `successor`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar
from uuid import uuid4

from fsstore.errors import StorageConflictError, StorageNotFoundError, StorageValidationError
from fsstore.model.expected import Expected
from fsstore.model.lists import extended, list_at, shortened, unknown
from fsstore.model.patch import RECORD_TOPS, TOP, Steps, merge_patch, misread_keys, refuse_misread
from fsstore.model.records import JsonObject, Outcome, Outcomes, check_envelope, version_of
from fsstore.model.successor import Stamp, stamped
from fsstore.model.times import TIME_KEYS, canonical_time, with_canonical_times
from fsstore.model.values import copy_value, write_json

C = TypeVar("C")
Rule: TypeAlias = Callable[[JsonObject | None], JsonObject | None]


class Save(NamedTuple):
    """Insert or replace a record, which shares its parts with what the caller gave.

    What the caller gave is taken as it is when `commit` is called, before that waits for anything.
    """

    id: str
    record: JsonObject
    expected: Expected = Expected()
    stamp: Stamp = Stamp()

    def apply(self, current: JsonObject | None, now: str, floor: int = 0) -> JsonObject:
        """Return the record that takes the place of what is there; see `stamped` for what it raises."""
        self.expected.check(self.id, current)
        made = {**current, **self.record} if current is not None and self.stamp.is_mirrored else self.record
        return stamped(self.id, made, current, self.stamp, now, floor=floor)


class Patch(NamedTuple):
    """Apply an RFC 7396 merge patch, of JSON values that nobody else holds, to a record that must be there."""

    id: str
    patch: JsonObject
    expected: Expected = Expected()
    stamp: Stamp = Stamp()
    misread: Sequence[Steps] = ()
    """Where keys stand that are refused unless the record has them, mostly none: see `fsstore.model.patch`."""
    within: Steps = ()
    """Where the caller's own patch begins in this one, and what it patches in the record; `misread` starts there."""

    def apply(self, current: JsonObject | None, now: str, floor: int = 0) -> JsonObject:
        """Return the patched record.

        Raises StorageNotFoundError, and StorageValidationError for what was meant as an operator or a path.
        """
        self.expected.check(self.id, current)
        if current is None:
            raise StorageNotFoundError(id=self.id)
        return stamped(self.id, self.patched(current), current, self.stamp, now, floor=floor)

    def patched(self, current: JsonObject) -> JsonObject:
        """Return what the patch makes of a record, not stamped yet."""
        if self.misread:
            self._refuse_misread(current)
        merged: JsonObject = merge_patch(current, self.patch)
        return merged

    def _refuse_misread(self, current: Any) -> None:
        patch: Any = self.patch
        for step in self.within:
            current, patch = current[step], patch[step]
        tops = TOP if self.within else RECORD_TOPS
        refuse_misread(current, patch, self.misread, tops, record_id=self.id, within=self.within)


class Append(NamedTuple):
    """Put items, JSON values that nobody else holds, at the end of a list of a record."""

    id: str
    items: Sequence[Any]
    steps: Steps
    """Where the list stands in the record; it is made if it is not there."""
    patch: Patch | None = None
    """What is patched in the same change; its own expectations and stamp do not count."""
    make: JsonObject | None = None
    """The record that there is then where there is none; None where there must be one."""
    unique_by: str | None = None
    """The key by whose value an item is known: one that is known already is left out."""
    expected: Expected = Expected()
    stamp: Stamp = Stamp()

    def apply(self, current: JsonObject | None, now: str, floor: int = 0) -> JsonObject:
        """Return the longer record, `current` itself when nothing is to be added.

        Raises StorageNotFoundError, and StorageValidationError where the list would stand in something else's place.
        """
        base = self.begin(current)
        there = list_at(base, self.steps)
        items = self.items if self.unique_by is None else unknown(self.items, there or (), self.unique_by)
        if base is current and not items and self.patch is None and there is not None:
            return current
        return self.stamped(extended(base, self.steps, items), current, now, floor=floor)

    def begin(self, current: JsonObject | None) -> JsonObject:
        """Return the record to which items are added. Raises what is not as expected."""
        self.expected.check(self.id, current)
        base = self.make if current is None else current
        if base is None:
            raise StorageNotFoundError(id=self.id)
        return base

    def stamped(self, longer: JsonObject, current: JsonObject | None, now: str, *, floor: int = 0) -> JsonObject:
        """Return the patched next version; of `longer` and `current` a part may do that has what the patch touches."""
        made = longer if self.patch is None else self.patch.patched(longer)
        return stamped(self.id, made, current, self.stamp, now, floor=floor)

    def length(self, record: JsonObject) -> int:
        """Return how many items the list of a record has."""
        return len(list_at(record, self.steps) or ())


class Pop(NamedTuple):
    """Take the last item of a list away, if it is still that one."""

    id: str
    item: Any
    steps: Steps
    expected: Expected = Expected(exists=True)
    stamp: Stamp = Stamp()

    def apply(self, current: JsonObject | None, now: str, floor: int = 0) -> JsonObject:  # noqa: ARG002 - as the others have it
        """Return the shorter record. Raises StorageNotFoundError, StorageConflictError where the end is another."""
        self.expected.check(self.id, current)
        if current is None:
            raise StorageNotFoundError(id=self.id)
        there = list_at(current, self.steps)
        if not there or write_json(there[-1]) != write_json(self.item):
            raise StorageConflictError(
                id=self.id,
                expected=current["version"],
                actual=current["version"],
                reason="its list does not end with what was read",
            )
        return self.stamped(shortened(current, self.steps), current, now)

    def stamped(self, shorter: JsonObject, current: JsonObject, now: str) -> JsonObject:
        """Return the next version; of `shorter` and `current` a part will do."""
        return stamped(self.id, shorter, current, self.stamp, now)


class Delete(NamedTuple):
    """Remove a record; where none is expected, none need be there."""

    id: str
    expected: Expected = Expected()
    keep_damaged: bool = False
    """What cannot be read as a record is set aside before it goes, where the backend can."""

    def apply(self, current: JsonObject | None, now: str, floor: int = 0) -> None:  # noqa: ARG002 - as the others have it
        """Return None: nothing takes the place of what is there."""
        self.expected.check(self.id, current, advice="check the id; there is nothing to remove")


class Check(NamedTuple):
    """Change nothing, and refuse the commit unless the record is as expected."""

    id: str
    expected: Expected

    def apply(self, current: JsonObject | None, now: str, floor: int = 0) -> JsonObject | None:  # noqa: ARG002 - as the others have it
        """Return what is there."""
        self.expected.check(self.id, current)
        return current


class Restore(NamedTuple):
    """Put a whole record where it was in another store: its version and its times stay as they are."""

    id: str
    record: JsonObject
    expected: Expected = Expected()

    def apply(self, current: JsonObject | None, now: str, floor: int = 0) -> JsonObject:  # noqa: ARG002 - as the others have it
        """Return the record, `current` itself where that is the same.

        Raises StorageConflictError where what is there was never this record (`may_become`), and
        StorageValidationError for what no store holds.
        """
        self.expected.check(self.id, current)
        record = self.record
        check_envelope(record)
        for key in TIME_KEYS:
            if record.get(key) != canonical_time(record.get(key), f"$.{key}", self.id):
                raise StorageValidationError(reason="is not in the form of a store", path=f"$.{key}", id=self.id)
        if current is None:
            return record
        if write_json(current) == write_json(record):
            return current
        if not may_become(current, record):
            raise StorageConflictError(
                id=self.id,
                expected=record["version"] - 1,
                actual=current["version"],
                reason=f"another record is there, of version {current['version']}",
                advice="restore into a store that has no records of its own",
            )
        return record


class Mutation(NamedTuple):
    """One change of one document: `rule` maps what is there (None: nothing) to what takes its place (None: nothing).

    The rule runs while the store is locked, so it must be quick, pure, and must not change its argument. Returning its
    argument itself leaves the document as it is. Raising a StorageError refuses the whole commit.
    `keep_times` stores the rule's own `created_at` and `updated_at` (an import), where it gives them.
    """

    id: str
    rule: Rule
    keep_times: bool = False

    def apply(self, current: JsonObject | None, now: str, floor: int = 0) -> JsonObject | None:
        """Return what takes the place of what is there, `current` itself when nothing changes.

        Raises what the rule raises, and StorageValidationError when it makes no record.
        """
        made = self.rule(current)
        if made is None or made is current:
            return made
        return stamped(self.id, made, current, Stamp(self.keep_times), now, floor=floor)


AnyMutation: TypeAlias = Save | Patch | Append | Pop | Delete | Check | Restore | Mutation
"""What a commit is made of. All of them have an `id`, and `apply(current, now, floor=floor)`."""


# -- making them ------------------------------------------------------------------------------------------------------


def saving(record: Mapping[str, Any], *, expected_version: int | None = None, keep_times: bool = False) -> Save:
    """Insert or replace a record."""
    return Save(record["id"], dict(record), Expected(expected_version), Stamp(keep_times))


def patching(record_id: str, updates: Mapping[str, Any], *, expected_version: int | None = None) -> Patch:
    """Apply an RFC 7396 merge patch, as it is now, to a record that must be there."""
    # checked, not only copied: a patch is followed down before what it makes is encoded
    patch: JsonObject = copy_value(with_canonical_times(updates, "$", record_id), record_id=record_id)
    return Patch(record_id, patch, Expected(expected_version), misread=misread_keys(patch, RECORD_TOPS))


def deleting(record_id: str, *, expected_version: int | None = None, keep_damaged: bool = False) -> Delete:
    """Remove a record; nothing happens when it is not there and no version is expected."""
    return Delete(record_id, Expected(expected_version), keep_damaged)


def unchanged(record_id: str, seen: JsonObject | None) -> Check:
    """Change nothing, and refuse the commit unless the record is still exactly what was seen."""
    return Check(record_id, Expected(seen=seen))


def may_become(there: JsonObject, record: JsonObject) -> bool:
    """Whether one record may have been another one before: made at the same time, and of a lower version."""
    return bool(there["created_at"] == record["created_at"] and there["version"] < record["version"])


def raising_floor(floor: int, now: str) -> list[Restore | Delete]:
    """Change no record, and have new ones begin above that version: as if one that had it were deleted."""
    record_id = f"floor-{uuid4()}"
    times = dict.fromkeys(TIME_KEYS, now)
    record = {"id": record_id, "type": "floor", "data": {}, "version": floor, **times}
    return [Restore(record_id, record), Delete(record_id)]


def overrides(change: AnyMutation) -> bool:
    """Whether a mutation means the same whatever is there, so that it does so over what cannot be read, too."""
    return isinstance(change, Save | Delete) and change.expected.is_any


# -- applying them ----------------------------------------------------------------------------------------------------


def outcome_of(change: AnyMutation, current: JsonObject | None, result: JsonObject | None) -> Outcome:
    """Return what a mutation did to a record, of which the whole is given."""
    length = change.length(result) if isinstance(change, Append) and result is not None else None
    return Outcome(change.id, version_of(current), version_of(result), length)


def apply_each(changes: Iterable[C], apply: Callable[[C], Outcome]) -> Outcomes:
    """Apply the mutations of one commit in order; the error that refuses one has its position as `index`."""
    outcomes: Outcomes = []
    try:
        for change in changes:
            outcomes.append(apply(change))
    except (StorageNotFoundError, StorageConflictError) as error:
        error.index = len(outcomes)
        raise
    return outcomes
