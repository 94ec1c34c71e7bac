"""The words of the store: records, guarantees, outcomes and pages, and what an id and an envelope are. Pure.

A record is a plain `dict` (its stored shape is documented by `Record`). `mutations` says how one becomes the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, NotRequired, Required, TypeAlias, TypedDict

from fsstore.errors import StorageValidationError

JsonObject: TypeAlias = dict[str, Any]
Records: TypeAlias = list[JsonObject]
Ids: TypeAlias = list[str]
Filters: TypeAlias = Mapping[str, Any]
Clock: TypeAlias = Callable[[], datetime]

MAX_ID_CHARACTERS = 1024


class FileMode(int):
    """The permissions of a file, which are shown in octal, as people write them."""

    def __repr__(self) -> str:
        return f"0o{self:o}"


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
    """`watch` reports what changes."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a longer list. `cursor` fetches the next one; None on the last."""

    items: list[JsonObject]
    cursor: str | None


class Outcome(NamedTuple):
    """What a commit did to one document: its version before and after; 0 means that there is no document."""

    id: str
    before: int
    after: int
    length: int | None = None
    """How many items the list has then to which some were appended."""


Outcomes: TypeAlias = list[Outcome]


def version_of(record: Mapping[str, Any] | None) -> int:
    """Return the version of a record; 0 when there is none."""
    return 0 if record is None else int(record["version"])


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
