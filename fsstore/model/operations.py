"""What a caller of a storage hands over, as the mutations that a backend commits. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from fsstore.errors import StorageValidationError
from fsstore.model.mutations import AnyMutation, Mutation, deleting, patching, saving
from fsstore.model.records import JsonObject, check_id


def completed(record: Mapping[str, Any]) -> JsonObject:
    """Return a record, on a copy, with the id, type and data that a caller may leave out."""
    complete = dict(json_object(record))
    if "id" not in complete:
        complete["id"] = uuid.uuid4().hex
    complete.setdefault("type", "document")
    complete.setdefault("data", {})
    check_id(complete["id"])
    return complete


def json_object(value: Any) -> Mapping[str, Any]:
    """Return the value; raise StorageValidationError unless it is an object."""
    if not isinstance(value, Mapping):
        raise StorageValidationError(reason=f"must be an object, not {type(value).__name__}", path="$")
    return value


def operating(operation: Mapping[str, Any], at: int) -> AnyMutation:
    """Return one operation of a transaction as a mutation; `at` is its index.

    Raises StorageValidationError, whose path begins with the index, when it is malformed.
    """
    kind = json_object(operation).get("type")
    wanted = {"save": {"type", "data"}, "update": {"type", "id", "data"}, "delete": {"type", "id"}}.get(str(kind))
    if wanted is None:
        raise StorageValidationError(
            reason=f"unknown operation {kind!r}; known are save, update, delete", path=f"$[{at}].type"
        )
    if missing := wanted - operation.keys():
        raise StorageValidationError(reason=f"is missing in a {kind} operation", path=f"$[{at}].{min(missing)}")
    if kind == "save":
        return saving(completed(operation["data"]))
    if kind == "update":
        return patching(check_id(operation["id"]), json_object(operation["data"]))
    return deleting(check_id(operation["id"]))


def expiring(record_id: str, limit: str) -> Mutation:
    """Remove a record if it is still as old as when it was listed."""

    def rule(current: JsonObject | None) -> JsonObject | None:
        return None if current is None or current["updated_at"] < limit else current

    return Mutation(record_id, rule)
