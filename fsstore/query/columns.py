"""Which parts of a record an index keeps, and which of them are columns of their own. Pure; shared by all indexes.

- The parts of the ENVELOPE are columns. `session_id` and `thread_id` may be missing, or null.
- The metadata of the record's data, and the record's own, are documents: JSON, in which a path goes on.
- Of the metadata of the data `user_id` and `status` are columns, too, and the strings among the tags have a table.
- Whatever else a record holds is known from its document alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fsstore.query.conditions import Condition, Field, OneOf, Path

ENVELOPE = ("id", "type", "version", "created_at", "updated_at", "session_id", "thread_id")
METADATA, TOP_METADATA = "metadata", "top_metadata"
"""The documents: the metadata of a record's data, and the record's own."""
USER_ID, STATUS, TAGS = "user_id", "status", "tags"
"""What is singled out of the metadata of the data."""

_TAGS_PATH = ("data", "metadata", TAGS)
_SINGLED_OUT: Mapping[Path, str] = {(USER_ID,): USER_ID, (STATUS,): STATUS}


class Location(NamedTuple):
    """Where an index keeps the value of a path: as a column, within a document, or both."""

    column: str | None
    document: str | None
    steps: Path


def locate(path: Path) -> Location | None:
    """Return where an index keeps a path; None for what only the record's document holds."""
    if len(path) == 1 and path[0] in ENVELOPE:
        return Location(path[0], None, ())
    if path[:2] == ("data", "metadata"):
        return Location(_SINGLED_OUT.get(path[2:]), METADATA, path[2:])
    if path[0] == "metadata":
        return Location(None, TOP_METADATA, path[1:])
    return None


def tags_asked(condition: Condition) -> list[str]:
    """Return the strings one of which the tags must hold, when that is all the condition says."""
    if isinstance(condition, Field) and condition.path == _TAGS_PATH and isinstance(condition.test, OneOf):
        strings = [value for kind, value in condition.test.scalars if kind == "string"]
        if len(strings) == len(condition.test.scalars) and not condition.test.containers:
            return strings
    return []


def tags_of(value: Any) -> list[str]:
    """Return the strings that equality finds in what stands under `tags`."""
    return [item for item in (value if type(value) is list else (value,)) if type(item) is str]


def metadata_of(record: Mapping[str, Any]) -> Any:
    """Return the metadata of a record's data where there is one, else the record's own, else None."""
    data = record.get("data")
    inner = data.get("metadata") if isinstance(data, dict) else None
    return record.get("metadata") if inner is None else inner


def known_part(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an index knows of a record, in the record's own shape."""
    part = {key: record[key] for key in (*ENVELOPE, "metadata") if key in record}
    data = record["data"]
    if type(data) is list:
        # a path goes on into the objects of an array, and into nothing else of it
        part["data"] = [_metadata_alone(item) for item in data if type(item) is dict]
    elif type(data) is dict:
        part["data"] = _metadata_alone(data)
    return part


def _metadata_alone(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"metadata": data["metadata"]} if "metadata" in data else {}
