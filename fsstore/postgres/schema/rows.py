"""How a record becomes a row of the table `documents`, and what a row tells of its record. Pure.

Invariants:
- A row holds the envelope as columns, the metadata of the record's data and the record's own as `jsonb`, and of the
  former the user, the status and the tags as columns where they are text.
- `marks` tells what these do not. NULL_SESSION and NULL_THREAD: the key is there and is null. OTHER_TIMES: `created_at`
  or `updated_at` of the data's metadata is something else than a time in the store's form. ODD: PostgreSQL would see
  something else than Python does, or could not hold it at all (text with NUL, or too long for an index, a number that
  is not exact as `numeric`, data that is an array, ...). Such a row is found by its id and its times, and is judged by
  its record.
- Nothing is kept here that the record does not tell.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, NamedTuple

import orjson

from fsstore.errors import StorageCorruptedError
from fsstore.filesystem.documents.codec import NotARecordError, decode
from fsstore.model.records import JsonObject
from fsstore.model.times import instant_of
from fsstore.query.columns import ENVELOPE, tags_of
from fsstore.query.conditions import ABSENT

OTHER_TIMES, NULL_SESSION, NULL_THREAD, ODD = 1, 2, 4, 8
"""The marks; ODD is the highest, so that PostgreSQL knows how many rows are odd by what it knows of the column."""

FOUND_COLUMNS = (*ENVELOPE, "user_id", "status", "tags", "marks", "metadata", "top_metadata")
"""The columns by which rows are found, in the order of `Row`."""

PART_COLUMNS = (*ENVELOPE, "marks", "metadata", "top_metadata")
"""The columns that tell what is known of a record without reading it; times and documents as text."""

INDEXED_CHARACTERS = 256
"""How long a text in an index is at most: an entry of a B-tree holds 2,704 bytes. Of ids it has the beginnings."""

KEY_BYTES = 16

_EXACT = 2**53
_COLUMN_TYPES = frozenset({str, int, float, bool, NoneType})


def key_of(record_id: str) -> bytes:
    """Return the key under which a record lies: the beginning of the SHA-256 of its id."""
    return hashlib.sha256(record_id.encode()).digest()[:KEY_BYTES]


class Row(NamedTuple):
    """The values of FOUND_COLUMNS; the two documents are JSON text, the times text in the store's form."""

    id: str
    type: str | None
    version: int
    created_at: str
    updated_at: str
    session_id: str | None
    thread_id: str | None
    user_id: str | None
    status: str | None
    tags: list[str] | None
    marks: int
    metadata: str | None
    top_metadata: str | None


def row_of(record: Mapping[str, Any]) -> Row:
    """Return a record, whose envelope has been checked, as a row; O(its metadata)."""
    data, own = record["data"], record.get("metadata", ABSENT)
    metadata = data.get("metadata", ABSENT) if type(data) is dict else ABSENT
    session_id, thread_id = record.get("session_id", ABSENT), record.get("thread_id", ABSENT)
    user_id = status = tags = None
    marks = _null_marks(session_id, thread_id)
    if type(metadata) is dict:
        user_id, status, tags = metadata.get("user_id"), metadata.get("status"), tags_of(metadata.get("tags"))
        marks |= 0 if _has_stored_times(metadata) else OTHER_TIMES
    is_odd = (
        list in (type(data), type(metadata), type(own))
        or type(user_id) not in _COLUMN_TYPES
        or type(status) not in _COLUMN_TYPES
        or any(map(_is_long, (record["type"], session_id, thread_id, user_id, status, *(tags or ()))))
        or not all(map(_is_exact, (metadata, own, record["type"], session_id, thread_id)))
    )
    if is_odd:
        user_id = status = tags = None
        metadata = own = ABSENT
        marks |= ODD
    return Row(
        id=record["id"],
        type=_text(record["type"]),
        version=record["version"],
        created_at=record["created_at"],
        updated_at=record["updated_at"],
        session_id=_text(session_id),
        thread_id=_text(thread_id),
        user_id=_text(user_id),
        status=_text(status),
        tags=tags or None,
        marks=marks,
        metadata=_json(metadata),
        top_metadata=_json(own),
    )


def part_of(values: Sequence[Any]) -> JsonObject:
    """Return what an ordinary row tells of its record, in the record's own shape, from the values of PART_COLUMNS."""
    *envelope, marks, metadata, own = values
    part = dict(zip(ENVELOPE, envelope, strict=True))
    for key, mark in (("session_id", NULL_SESSION), ("thread_id", NULL_THREAD)):
        if part[key] is None and not marks & mark:
            del part[key]
    if metadata is not None:
        part["data"] = {"metadata": orjson.loads(metadata)}
    if own is not None:
        part["metadata"] = orjson.loads(own)
    return part


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


def check_row(key: bytes, row_id: str, asked: Mapping[bytes, str]) -> None:
    """Raise StorageCorruptedError where a row lies under the key of another id than its own: two cannot lie there."""
    if row_id != asked[key]:
        raise StorageCorruptedError(
            id=asked[key],
            path="PostgreSQL",
            reason=f"its row says the id {row_id!r}",
            advice="somebody has changed the table: give the row its id again, or delete it there",
        )


def time_text(column: str) -> str:
    """Return what writes a time in the store's form."""
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')"""


def _null_marks(session_id: Any, thread_id: Any) -> int:
    return (NULL_SESSION if session_id is None else 0) | (NULL_THREAD if thread_id is None else 0)


def _has_stored_times(metadata: Mapping[str, Any]) -> bool:
    times = metadata.get("created_at"), metadata.get("updated_at")
    return all(time is None or (type(time) is str and instant_of(time) == time) for time in times)


def _is_exact(value: Any) -> bool:
    """Whether PostgreSQL sees a JSON value as Python does; goes down level by level."""
    level = [value]
    while level:
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is str:
                if "\0" in item:
                    return False
            elif kind is list:
                below += item
            elif kind is dict:
                below += item.keys()
                below += item.values()
            elif kind is int:
                if not -(2**63) <= item < 2**63:
                    return False
            elif kind is float and not _is_exact_float(item):
                return False
        level = below
    return True


def _is_exact_float(number: float) -> bool:
    # the shortest digits of a larger one may be those of another integer; and numeric has no negative zero
    return -_EXACT < number < _EXACT and (number != 0 or str(number) == "0.0")


def _is_long(value: Any) -> bool:
    return type(value) is str and len(value) > INDEXED_CHARACTERS


def _text(value: Any) -> str | None:
    return value if type(value) is str and "\0" not in value and not _is_long(value) else None


def _json(value: Any) -> str | None:
    return None if value is ABSENT else orjson.dumps(value).decode()
