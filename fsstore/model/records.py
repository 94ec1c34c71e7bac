"""The words of the store: records, mutations, guarantees and pages. Pure.

A record is a plain `dict` (its stored shape is documented by `Record`). A `Mutation` is one id and one pure function
from the record that is there to the record that shall be there; saving, patching and deleting are three such functions.
`successor` applies a mutation, for every backend alike, and keeps the rules:

- `version` counts from 1 and grows by one with every change of that document; the caller's value is ignored;
- `created_at` is given for a new record, or else is the time of the change, and survives; `updated_at` is the time of
  the change, but never before what it was, nor before `created_at`, whatever the clock says; what is given for it is
  checked, and counts only where the mutation keeps the times it was given;
- times are kept as instants, in the one form that `fsstore.model.times` has for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, NotRequired, Required, TypeAlias, TypedDict

from fsstore.errors import StorageConflictError, StorageNotFoundError, StorageValidationError
from fsstore.model.patch import RECORD_TOPS, merge_patch, misread_keys, refuse_misread
from fsstore.model.times import canonical_time, with_canonical_times
from fsstore.model.values import copy_value, write_json

JsonObject: TypeAlias = dict[str, Any]
Records: TypeAlias = list[JsonObject]
Ids: TypeAlias = list[str]
Filters: TypeAlias = Mapping[str, Any]
Clock: TypeAlias = Callable[[], datetime]

MAX_ID_CHARACTERS = 1024


class Record(TypedDict, total=False):
    """One stored document. Keys beyond these are kept as they are.

    In what is saved the times may also be datetimes, or other ISO 8601 text; naive ones are local time.
    """

    id: Required[str]
    type: Required[str]
    data: Required[Any]
    version: Required[int]
    created_at: Required[str]
    updated_at: Required[str]
    session_id: NotRequired[str | None]
    thread_id: NotRequired[str | None]
    metadata: NotRequired[Any]


@dataclass(frozen=True, slots=True)
class Guarantees:
    """What a backend promises, as data: callers and tests read this and never ask for a class."""

    durable: bool
    """An acknowledged write survives a power cut."""
    cross_process: bool
    """Several processes may open the same store at once."""
    isolated_batches: bool
    """No reader of the interface sees half of a batch."""
    external_edits: bool
    """Documents may be changed by other programs while the store is open."""
    watching: bool = False
    """`watch` tells what changes."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a longer list. `cursor` fetches the next one; None on the last."""

    items: list[JsonObject]
    cursor: str | None


Rule: TypeAlias = Callable[[JsonObject | None], JsonObject | None]


class Save(NamedTuple):
    """What a save makes, for a backend that writes it down at once and so need not copy what the caller gave.

    `record` is made where nothing is there, and shares its parts with what the caller gave. `expect(current)` raises
    what refuses the save. `over(current, made)` is the record that takes the place of another one: of the `data` of
    either it looks at nothing but the `metadata`, and what else `made` has in it stays as it is.
    """

    record: JsonObject
    expect: Callable[[JsonObject | None], None]
    over: Callable[[JsonObject, JsonObject], JsonObject]


class Mutation(NamedTuple):
    """One change of one document: `rule` maps what is there (None: nothing) to what shall be there (None: nothing).

    The rule runs while the store is locked, so it must be quick, pure, and must not change its argument. Returning its
    argument itself leaves the document as it is. Raising a StorageError refuses the whole commit.
    `keep_times` stores the rule's own `created_at` and `updated_at` (an import), where it gives them. `is_exact` says
    that what the rule returns is made of what is there and of copies that `fsstore.model.values` made, and that nobody
    keeps these to change them. `is_of_part` says that it looks at nothing of the record's `data` but its `metadata`,
    and leaves the rest as it is. A save also tells itself as `save`: what its caller gave is taken as it is when
    `commit` is called, before that waits for anything.
    """

    id: str
    rule: Rule
    keep_times: bool = False
    is_exact: bool = False
    is_of_part: bool = False
    save: Save | None = None


class Outcome(NamedTuple):
    """What a commit did to one document: its version before and after; 0 means that there is no document."""

    id: str
    before: int
    after: int


Outcomes: TypeAlias = list[Outcome]


def saving(record: Mapping[str, Any], *, expected_version: int | None = None, keep_times: bool = False) -> Mutation:
    """Insert or replace a record."""
    record_id = record["id"]

    def expect(current: JsonObject | None) -> None:
        expect_version(record_id, current, expected_version)

    return replacing(record_id, Save(dict(record), expect, lambda _, made: made), keep_times=keep_times)


def replacing(record_id: str, save: Save, *, keep_times: bool) -> Mutation:
    """Return a save as a mutation."""

    def rule(current: JsonObject | None) -> JsonObject:
        save.expect(current)
        return save.record if current is None else save.over(current, save.record)

    return Mutation(record_id, rule, keep_times=keep_times, save=save)


def patching(record_id: str, updates: Mapping[str, Any], *, expected_version: int | None = None) -> Mutation:
    """Apply an RFC 7396 merge patch, as it is now, to a record that must be there.

    Its rule raises StorageValidationError for what was meant as an operator or a path: see `fsstore.model.patch`.
    """
    # checked, not only copied: a patch is followed down before what it makes is encoded
    patch: JsonObject = copy_value(with_canonical_times(updates, "$", record_id), record_id=record_id)
    misread = misread_keys(patch, RECORD_TOPS)

    def rule(current: JsonObject | None) -> JsonObject:
        expect_version(record_id, current, expected_version)
        if current is None:
            raise StorageNotFoundError(id=record_id)
        refuse_misread(current, patch, misread, RECORD_TOPS, record_id=record_id)
        patched: JsonObject = merge_patch(current, patch)
        return patched

    # the refusal of a path looks at what stands on its way
    is_path = any(len(steps) == 1 and steps[0].startswith("data.") for steps in misread)
    is_of_metadata = "data" not in patch or (type(patch["data"]) is dict and patch["data"].keys() <= {"metadata"})
    is_of_part = is_of_metadata and not is_path
    return Mutation(record_id, rule, is_exact=True, is_of_part=is_of_part)


def deleting(record_id: str, *, expected_version: int | None = None) -> Mutation:
    """Remove a record; nothing happens when it is not there and no version is expected."""

    def rule(current: JsonObject | None) -> None:
        expect_version(record_id, current, expected_version)

    return Mutation(record_id, rule, is_exact=True)


def unchanged(record_id: str, seen: JsonObject | None) -> Mutation:
    """Change nothing, and refuse the commit unless the record is still exactly what was seen."""

    def rule(current: JsonObject | None) -> JsonObject | None:
        expect_seen(record_id, current, seen)
        return current

    return Mutation(record_id, rule, is_exact=True)


def expect_version(record_id: str, current: JsonObject | None, expected: int | None) -> None:
    """Raise StorageConflictError unless the record has that version; 0 means absent, None accepts any."""
    if expected is None:
        return
    if type(expected) is not int or expected < 0:
        raise StorageValidationError(
            reason=f"must be a version, or 0 for none, not {expected!r}",
            path="expected_version",
            id=record_id,
            advice="pass get_record(...)['version']",
        )
    actual = version_of(current)
    if actual != expected:
        raise StorageConflictError(id=record_id, expected=expected, actual=actual)


def expect_seen(record_id: str, current: JsonObject | None, seen: JsonObject | None) -> None:
    """Raise StorageConflictError unless the record is, value by value, what the caller has seen.

    A version alone does not tell a document from one that was deleted and made again, or edited by hand.
    """
    # as text, since to Python 1 equals True and 1.0, and a hand edit from one to the other is one
    if write_json(current) != write_json(seen):
        raise StorageConflictError(
            id=record_id,
            expected=version_of(seen),
            actual=version_of(current),
            reason="its content is not what was read",
        )


def version_of(record: Mapping[str, Any] | None) -> int:
    """Return the version of a record; 0 when there is none."""
    return 0 if record is None else int(record["version"])


def successor(mutation: Mutation, current: JsonObject | None, now: str) -> JsonObject | None:
    """Apply a mutation and return the record that shall be stored; `current` itself when nothing shall change.

    Raises what the rule raises, and StorageValidationError when the result is not a record.
    """
    result = mutation.rule(current)
    return result if result is None or result is current else stamped(mutation, result, current, now)


def stamped(mutation: Mutation, result: JsonObject, current: JsonObject | None, now: str) -> JsonObject:
    """Return what a mutation has made of a record as the next version of it."""
    record = dict(result)
    if record.setdefault("id", mutation.id) != mutation.id:
        raise StorageValidationError(reason="the id of a document can not be changed", path="$.id", id=mutation.id)
    record["version"] = version_of(current) + 1
    _stamp(record, mutation, current, now)
    check_envelope(record)
    return record


def _stamp(record: JsonObject, mutation: Mutation, current: JsonObject | None, now: str) -> None:
    # also what does not count is checked: whether a save is refused does not hang on what is there
    created, updated = _given(record, "created_at", mutation.id), _given(record, "updated_at", mutation.id)
    if mutation.keep_times:
        record["updated_at"] = updated or max(now, created or now)
        record["created_at"] = created or record["updated_at"]
        return
    if current is None:
        record["created_at"] = created or now
        record["updated_at"] = max(now, record["created_at"])
    else:
        record["created_at"] = current["created_at"]
        record["updated_at"] = max(now, current["updated_at"], current["created_at"])


def _given(record: JsonObject, key: str, record_id: str) -> str | None:
    given = record.get(key)
    return None if given is None else canonical_time(given, f"$.{key}", record_id)


def check_envelope(record: Mapping[str, Any]) -> None:
    """Raise StorageValidationError unless the keys that the store itself reads are well formed; O(1)."""
    record_id = check_id(record.get("id"))
    if type(record.get("type")) is not str:
        raise StorageValidationError(reason="must be a string", path="$.type", id=record_id)
    if "data" not in record:
        raise StorageValidationError(reason="is missing", path="$.data", id=record_id)
    version = record.get("version")
    if type(version) is not int or not 1 <= version < 2**63:
        raise StorageValidationError(reason="must be a positive integer", path="$.version", id=record_id)
    for key in ("session_id", "thread_id"):
        if not isinstance(record.get(key), str | None):
            raise StorageValidationError(reason="must be a string or null", path=f"$.{key}", id=record_id)


def check_ids(ids: Any, name: str = "ids") -> list[Any]:
    """Return several ids as a list; refuse one text, whose characters would be taken for ids, and what is no list."""
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        kind = f"{ids!r} is one id, not several" if isinstance(ids, str) else f"must be ids, not {type(ids).__name__}"
        raise StorageValidationError(reason=kind, path=name, advice="put it into a list")
    return list(ids)


def check_id(record_id: Any) -> str:
    """Return the id; raise StorageValidationError unless it is 1 to 1024 characters of text without controls."""
    if type(record_id) is not str:
        raise StorageValidationError(reason=f"an id must be a string, not {type(record_id).__name__}", path="$.id")
    if not 1 <= len(record_id) <= MAX_ID_CHARACTERS:
        shown = record_id[:40]
        raise StorageValidationError(
            reason=f"an id must have 1 to {MAX_ID_CHARACTERS} characters, this has {len(record_id)}",
            path="$.id",
            id=shown,
        )
    if not (record_id.isascii() and record_id.isprintable()):
        _check_characters(record_id)
    return record_id


def _check_characters(record_id: str) -> None:
    for at, character in enumerate(record_id):
        if character < " " or character == "\x7f" or "\ud800" <= character <= "\udfff":
            raise StorageValidationError(
                reason=f"an id must not hold the character U+{ord(character):04X}, as at offset {at}",
                path="$.id",
                id=record_id,
            )
