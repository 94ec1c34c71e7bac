"""The tables of the index, and how a record becomes a row of them. Pure.

Invariants:
- A row holds what `ENVELOPE` names, the metadata of the record and of its data as JSON, `user_id` and `status` as
  columns when they are strings or numbers, and the file's signature.
- `flags` tells what these do not: NESTED, that an array of the metadata holds more than strings, booleans, null and
  64-bit integers; NULL_SESSION and NULL_THREAD, that the key is there and is null; OTHER_TIMES, that `created_at` or
  `updated_at` of the data's metadata is something else than a time in the store's form, as another program writes it.
  The columns of these names are always in that form.
- `odd` is NULL in an ordinary row. Otherwise SQLite would see something else than Python does (text with NUL,
  numbers beyond 64 bits, data that is an array, ...), and `odd` is the JSON of all that the index knows of the record.
- Triggers keep `tag` in step with `entry`: each string that `data.metadata.tags` of an ordinary row is or holds.
- Nothing is kept here that the documents do not tell.

Every index that a save touches costs it a page or two. So only three are in the default order: that of all rows, and
those of a user and of a status, which most lists ask for. They hold what else most lists ask, so that rows which are
not wanted are passed over without being read. `entry_file` holds what a comparison with the files looks at. The other
indexes hold what seldom changes, and `upserts` leaves them alone. They name `odd`, always NULL there, so that a count
need not read the rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, NamedTuple

import orjson
from pydantic_core import from_json

from fsstore.interfaces import summary
from fsstore.model.records import JsonObject
from fsstore.model.times import instant_of
from fsstore.model.values import MAX_DEPTH
from fsstore.query.columns import ENVELOPE, known_part, tags_of
from fsstore.query.conditions import ABSENT
from fsstore.query.relation import RELATION

SCHEMA_NUMBER = 3
NESTED, NULL_SESSION, NULL_THREAD, OTHER_TIMES = 1, 2, 4, 8

SIGNATURE_COLUMNS = ("inode", "size", "mtime_ns", "ctime_ns")
FILE_COLUMNS = (*SIGNATURE_COLUMNS, "digest", "recorded_ns")
SETTLED_COLUMNS = ("type", "session_id", "thread_id", "user_id", "status", "tags", "odd")
"""What seldom changes."""
MOVING_COLUMNS = ("version", "created_at", "updated_at", "flags", *FILE_COLUMNS, "metadata", "top_metadata")
"""What every save changes; the long ones come last, so that the others are found on a row's first page."""

SUMMARY_COLUMNS = (*ENVELOPE, "flags", "metadata", "top_metadata", "odd")
_SUMMARY_VALUES = len(SUMMARY_COLUMNS)

_PLAIN, _NESTED, _ODD = range(3)
_COLUMN_TYPES = frozenset({str, int, float, NoneType})
_ELEMENT_TYPES = frozenset({str, bool, int, NoneType})

BEHIND_RELATION = frozenset({*ENVELOPE, "metadata", "top_metadata"})

_RELATION = f"""SELECT {", ".join(ENVELOPE)},
    nullif(coalesce(nullif(metadata, 'null'), top_metadata), 'null') AS metadata FROM entry"""  # noqa: S608 - constants

TABLES = f"""
CREATE TABLE entry (
    entry INTEGER PRIMARY KEY, name NOT NULL, id NOT NULL, {", ".join((*SETTLED_COLUMNS, *MOVING_COLUMNS))}
);
CREATE TABLE tag (tag, entry INTEGER, PRIMARY KEY (tag, entry)) WITHOUT ROWID;
CREATE TABLE problem (name PRIMARY KEY, reason, {", ".join(FILE_COLUMNS)}) WITHOUT ROWID;
CREATE TABLE meta (key PRIMARY KEY, value) WITHOUT ROWID;
CREATE VIEW {RELATION} AS {_RELATION};
"""
"""What holds rows."""
FINDING = """
CREATE UNIQUE INDEX entry_name ON entry (name);
CREATE UNIQUE INDEX entry_id ON entry (id);
CREATE INDEX entry_file ON entry (name, inode, size, mtime_ns, ctime_ns, recorded_ns);
CREATE INDEX entry_recent ON entry (updated_at DESC, id, type, status, user_id, odd) WHERE odd IS NULL;
CREATE INDEX entry_session_id ON entry (session_id, odd) WHERE session_id IS NOT NULL AND odd IS NULL;
CREATE INDEX entry_thread_id ON entry (thread_id, odd) WHERE thread_id IS NOT NULL AND odd IS NULL;
CREATE INDEX entry_user_id ON entry (user_id, updated_at DESC, id, type, status, odd)
    WHERE user_id IS NOT NULL AND odd IS NULL;
CREATE INDEX entry_status ON entry (status, updated_at DESC, id, type, user_id, odd)
    WHERE status IS NOT NULL AND odd IS NULL;
CREATE INDEX entry_type ON entry (type, odd) WHERE odd IS NULL;
CREATE INDEX entry_odd ON entry (updated_at DESC, id) WHERE odd IS NOT NULL;
CREATE INDEX entry_odd_id ON entry (id) WHERE odd IS NOT NULL;

CREATE TRIGGER entry_solves_problem AFTER INSERT ON entry BEGIN
    DELETE FROM problem WHERE name = new.name;
END;
CREATE TRIGGER tags_of_new AFTER INSERT ON entry WHEN new.tags IS NOT NULL BEGIN
    INSERT INTO tag SELECT DISTINCT value, new.entry FROM json_each(new.tags);
END;
CREATE TRIGGER tags_of_old AFTER DELETE ON entry WHEN old.tags IS NOT NULL BEGIN
    DELETE FROM tag WHERE entry = old.entry AND tag IN (SELECT value FROM json_each(old.tags));
END;
CREATE TRIGGER tags_of_changed AFTER UPDATE OF tags ON entry WHEN old.tags IS NOT new.tags BEGIN
    DELETE FROM tag WHERE entry = old.entry AND tag IN (SELECT value FROM json_each(old.tags));
    INSERT INTO tag SELECT DISTINCT value, new.entry FROM json_each(new.tags);
END;
"""
"""What finds them, and keeps them in step."""
CREATE = TABLES + FINDING
SHOWING = f"DROP VIEW temp.{RELATION}"
"""Ends what `hiding` does."""

ENTRY_COLUMNS = (
    *("name", "id", *SETTLED_COLUMNS, "version", "created_at", "updated_at", "flags", "metadata", "top_metadata"),
    *(*SIGNATURE_COLUMNS, "recorded_ns", "digest"),
)
"""The columns of a row in the order in which its values are given: what takes longest to make comes last."""


def hiding(ids: str) -> str:
    """Return the statement that lets one connection see the relation without some documents: a JSON array, quoted."""
    beside = f"WHERE id NOT IN (SELECT value FROM json_each('{ids}'))"  # noqa: S608 - a view takes no parameters
    return f"CREATE TEMP VIEW {RELATION} AS {_RELATION.replace('FROM entry', 'FROM main.entry')} {beside}"


class TooDeepError(ValueError):
    """The metadata is nested deeper than a document of this store can be."""


class RecordRow(NamedTuple):
    """A record as the values of SETTLED_COLUMNS, and of those of ENTRY_COLUMNS that follow up to the file's."""

    settled: tuple[Any, ...]
    moving: tuple[Any, ...]


def record_row(record: Mapping[str, Any]) -> RecordRow:
    """Return a record, whose envelope has been checked, as a row; O(its metadata). Raises TooDeepError."""
    data, own = record["data"], record.get("metadata", ABSENT)
    metadata = data.get("metadata", ABSENT) if type(data) is dict else ABSENT
    shape = _shape(data, 1) if type(data) is list else _shape(metadata, 2)
    if own is not ABSENT:
        shape = max(shape, _shape(own, 1))
    user_id = status = tags = odd = None
    if type(metadata) is dict:
        user_id, status = metadata.get("user_id"), metadata.get("status")
        tags = _json(found) if (found := tags_of(metadata.get("tags"))) else None
    if (
        shape == _ODD
        or type(user_id) not in _COLUMN_TYPES
        or type(status) not in _COLUMN_TYPES
        or list in (type(data), type(metadata), type(own))
    ):
        user_id = status = tags = None
        odd = _json(known_part(record))
    session_id, thread_id = record.get("session_id", ABSENT), record.get("thread_id", ABSENT)
    flags = NESTED if shape == _NESTED else 0
    if session_id is None:
        flags |= NULL_SESSION
    if thread_id is None:
        flags |= NULL_THREAD
    if type(metadata) is dict:
        created_at, updated_at = metadata.get("created_at"), metadata.get("updated_at")
        if not (_is_as_stored(created_at) and _is_as_stored(updated_at)):
            flags |= OTHER_TIMES
    return RecordRow(
        (record["type"], _present(session_id), _present(thread_id), user_id, status, tags, odd),
        (record["version"], record["created_at"], record["updated_at"], flags, _json(metadata), _json(own)),
    )


def _is_as_stored(time: Any) -> bool:
    return time is None or (type(time) is str and instant_of(time) == time)


def _present(value: Any) -> Any:
    return None if value is ABSENT else value


def part(values: Sequence[Any]) -> JsonObject:
    """Return what a row tells of its record, in the record's own shape, from the values of SUMMARY_COLUMNS.

    That is what `known_part` gives, but that data without metadata is not distinguished from data that is no object.
    What comes behind these values is passed over.
    """
    *_, metadata, own, odd = values = values[:_SUMMARY_VALUES]
    if odd is not None:
        return _known(odd)
    view = _envelope(values)
    if metadata is not None:
        view["data"] = {"metadata": orjson.loads(metadata)}
    if own is not None:
        view["metadata"] = orjson.loads(own)
    return view


def row_summary(values: Sequence[Any]) -> JsonObject:
    """Return what `interfaces.summary` gives of the record that a row tells of, from the same values."""
    *_, metadata, own, odd = values = values[:_SUMMARY_VALUES]
    if odd is not None:
        return summary(_known(odd))
    view = _envelope(values)
    found = None if metadata is None else orjson.loads(metadata)
    if found is None and own is not None:
        found = orjson.loads(own)
    view["metadata"] = found
    return view


def _envelope(values: Sequence[Any]) -> JsonObject:
    record_id, kind, version, created_at, updated_at, session_id, thread_id, flags, *_ = values
    view = {"id": record_id, "type": kind, "version": version, "created_at": created_at, "updated_at": updated_at}
    if session_id is not None or flags & NULL_SESSION:
        view["session_id"] = session_id
    if thread_id is not None or flags & NULL_THREAD:
        view["thread_id"] = thread_id
    return view


def _known(odd: str) -> JsonObject:
    known: JsonObject = from_json(odd)
    return known


def json_array(texts: Sequence[str]) -> str:
    """Return texts as one value, for a statement that asks about all of them."""
    return orjson.dumps(texts).decode()


def _shape(value: Any, depth: int) -> int:
    """How much of a JSON value, at that depth of its record, SQLite sees as Python does; goes down level by level."""
    shape, level = _PLAIN, [value]
    while level:
        if depth > MAX_DEPTH:
            raise TooDeepError(f"its metadata is nested deeper than {MAX_DEPTH}")
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is str:
                if "\0" in item:
                    shape = _ODD
            elif kind is list:
                below += item
                if not _ELEMENT_TYPES.issuperset(map(type, item)):
                    shape = max(shape, _NESTED)
            elif kind is dict:
                below += item.values()
            elif (kind is int or kind is float) and not -(2**63) <= item < 2**63:
                shape = _ODD
        level, depth = below, depth + 1
    return shape


def _json(value: Any) -> str | None:
    if value is ABSENT:
        return None
    try:
        # as in the document, whoever has written it
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:
        # a document from elsewhere may hold integers beyond 64 bits, which orjson does not write
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
