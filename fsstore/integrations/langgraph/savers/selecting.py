"""Which checkpoints a list wants: what an index finds of it, and what is judged on the metadata itself. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from langgraph.checkpoint.base import get_checkpoint_id

from fsstore.integrations.langgraph.naming import CHECKPOINT, Place
from fsstore.model.records import Filters, JsonObject

NEWEST_FIRST = "-data.metadata.checkpoint_id"

_METADATA = "data.metadata."
_KEPT_BY_STORES = {"created_at", "updated_at", "session_id"}
"""Keys of metadata that mean something else in a store."""
_NOT_AS_GIVEN = _KEPT_BY_STORES.union(Place._fields)
"""Keys under which the index has something else than was given, such as the place of the checkpoint."""
_MOST_INTEGER = 1 << 63


def plain_metadata(metadata: Mapping[str, Any]) -> JsonObject:
    """Return the part of a checkpoint's metadata that can be looked for."""
    return {
        key: value
        for key, value in metadata.items()
        if type(key) is str and _is_plain(key) and key not in _KEPT_BY_STORES and _is_plain(value)
    }


def filter_of(config: Any, filters: Mapping[str, Any] | None, before: Any) -> Filters:
    """Return the filter of records that finds the checkpoints, and perhaps some more: see `satisfies`."""
    wanted: list[JsonObject] = [{"type": CHECKPOINT}]
    if config is not None:
        configurable = config["configurable"]
        if "thread_id" in configurable:
            wanted.append({"thread_id": str(configurable["thread_id"])})
        if (namespace := configurable.get("checkpoint_ns")) is not None:
            wanted.append({f"{_METADATA}checkpoint_ns": str(namespace)})
        if checkpoint := get_checkpoint_id(config):
            wanted.append({f"{_METADATA}checkpoint_id": checkpoint})
    if before is not None and (checkpoint := get_checkpoint_id(before)):
        wanted.append({f"{_METADATA}checkpoint_id": {"$lt": checkpoint}})
    # true and 1 are equal in Python, and not in a store
    wanted += [
        {f"{_METADATA}{key}": value}
        for key, value in (filters or {}).items()
        if type(key) is type(value) is str and _is_plain(value) and key.isidentifier() and key not in _NOT_AS_GIVEN
    ]
    return {"$and": wanted}


def satisfies(metadata: Mapping[str, Any], filters: Mapping[str, Any] | None) -> bool:
    """Whether all values of a filter are in the metadata; a key with dots is looked for as it is, then as a path."""
    return all(value == _at(metadata, key) for key, value in (filters or {}).items())


def _at(metadata: Mapping[str, Any], key: str) -> Any:
    if key in metadata:
        return metadata[key]
    found: Any = metadata
    for step in str(key).split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def _is_plain(value: Any) -> bool:
    """Whether a store takes a value as it is."""
    if type(value) is str:
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if type(value) is int:
        return -_MOST_INTEGER <= value < _MOST_INTEGER
    return type(value) is bool or (type(value) is float and math.isfinite(value))
