"""What a record must hold to be read as what its type says. Pure.

People edit files, and what is JSON need not be a checkpoint. A record is checked once, where it is loaded, so that
whoever reads it finds what was written there, or raises StorageCorruptedError that names what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from fsstore.errors import StorageCorruptedError
from fsstore.integrations.langgraph.naming import BLOB, CHECKPOINT, ITEM, WRITES, Place
from fsstore.model.records import JsonObject

_Test: TypeAlias = Callable[[Any], bool]

ADVICE = "correct the file by hand, or restore it from a backup"


def checked(record: JsonObject) -> JsonObject:
    """Return a record that has what its type wants. Raises StorageCorruptedError."""
    for path, is_right in _SHAPES.get(record["type"], {}).items():
        if not is_right(_at(record, path)):
            raise StorageCorruptedError(
                id=record["id"], reason=f"$.{path} is not what {record['type']} has there", advice=ADVICE
            )
    return record


def is_item(summary: JsonObject) -> bool:
    """Whether the summary of a record is that of an item, as far as it says."""
    wanted = _SHAPES[ITEM].items()
    return all(
        is_right(_at(summary, path.removeprefix("data."))) for path, is_right in wanted if path.startswith(_METADATA)
    )


def _at(record: JsonObject, path: str) -> Any:
    found: Any = record
    for step in path.split("."):
        if type(found) is not dict or step not in found:
            return _Absent
        found = found[step]
    return found


class _Absent:
    """Nothing is there; no value of JSON is of this kind."""


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_object(value: Any) -> bool:
    return type(value) is dict


def _is_there(value: Any) -> bool:
    return value is not _Absent


def _is_write(value: Any) -> bool:
    return (
        type(value) is dict
        and type(value.get("idx")) is int
        and _is_text(value.get("channel"))
        and _is_text(value.get("task_path"))
        and "value" in value
    )


def _is_value(value: Any) -> bool:
    """Whether a value can stand in a checkpoint: what refers to blobs names them."""
    if type(value) is not dict:
        return True
    if "$chunks" in value:
        return _are_texts(value["$chunks"]) and "tail" in value
    return _is_text(value.get("$blob", ""))


def _are_values(value: Any) -> bool:
    return type(value) is dict and all(map(_is_value, value.values()))


def _are_writes(value: Any) -> bool:
    return type(value) is list and all(map(_is_write, value))


def _are_texts(value: Any) -> bool:
    return type(value) is list and all(map(_is_text, value))


_METADATA = "data.metadata."
_PLACE: Mapping[str, _Test] = {_METADATA + name: _is_text for name in Place._fields}
_SHAPES: Mapping[str, Mapping[str, _Test]] = {
    CHECKPOINT: {
        **_PLACE,
        "data.parent_checkpoint_id": lambda value: value is None or _is_text(value),
        "data.checkpoint": _is_there,
        "data.checkpoint_metadata": _is_there,
        "data.channel_values": _are_values,
    },
    WRITES: {**_PLACE, "data.metadata.task_id": _is_text, "data.writes": _are_writes},
    BLOB: {"data.value": _is_there},
    ITEM: {
        "data.metadata.namespace": _are_texts,
        "data.metadata.key": _is_text,
        "data.metadata.expires_at": lambda value: value is _Absent or _is_text(value),
        "data.metadata.ttl_minutes": lambda value: value is _Absent or isinstance(value, int | float),
        "data.value": _is_object,
    },
}
