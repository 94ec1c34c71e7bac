"""What a session is to a storage: its record, the mutations that change it, the filters that find it. Pure.

All session policy is here and nowhere else:

- `metadata.session_id`, `created_at` and `updated_at` are stamped, on a copy; `created_at` survives a re-save;
- in filters and orders a bare key means metadata (`status`), a dotted key starts at the session (`state.step`);
- a record of another type is not a session: it is not found, and not overwritten.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from fsstore.errors import StorageConflictError, StorageNotFoundError, StorageValidationError
from fsstore.filters import session_filter, session_path
from fsstore.models import (
    Filters,
    JsonObject,
    Mutation,
    Save,
    canonical_time,
    check_id,
    expect_seen,
    expect_version,
    replacing,
)
from fsstore.patch import merge_patch
from fsstore.values import copy_value, format_path, snapshot

SessionInput: TypeAlias = Mapping[str, Any] | BaseModel


def saving_session(
    session_id: str,
    session_data: SessionInput,
    now: str,
    *,
    expected_version: int | None = None,
    keep_times: bool = False,
) -> Mutation:
    """Insert or replace a session; `keep_times` leaves the times in its metadata as given."""
    record = _session_record(
        check_id(session_id), session_object(session_id, session_data), None, now, keep_times=keep_times
    )

    def expect(current: JsonObject | None) -> None:
        _expect_session(session_id, current, expected_version)

    def over(current: JsonObject, made: JsonObject) -> JsonObject:
        return _session_record(session_id, made["data"], current, now, keep_times=keep_times)

    return replacing(session_id, Save(record, expect, over), keep_times=True)


def updating_session(
    session_id: str, updates: Mapping[str, Any], now: str, *, expected_version: int | None = None
) -> Mutation:
    """Apply a merge patch to a session that must be there."""
    # checked, not only copied: a patch is followed down before what it makes is encoded
    patch = copied_session(check_id(session_id), updates)

    def rule(current: JsonObject | None) -> JsonObject:
        _expect_session(session_id, current, expected_version)
        if current is None:
            raise StorageNotFoundError(id=session_id)
        return _session_record(session_id, merge_patch(current["data"], patch), current, now)

    return Mutation(session_id, rule, keep_times=True, is_exact=True, is_of_part=patch.keys() <= {"metadata"})


def editing_session(
    session_id: str, edited: SessionInput, now: str, *, seen: JsonObject
) -> tuple[Mutation, JsonObject]:
    """Replace a session if its record is still what was seen; returns a copy of the data that will be there, too."""
    copied = snapshot({"data": session_object(session_id, edited)}, record_id=session_id)["data"]
    record = _session_record(session_id, copied, seen, now)

    def rule(current: JsonObject | None) -> JsonObject:
        expect_seen(session_id, current, seen)
        return record

    return Mutation(session_id, rule, keep_times=True, is_exact=True), snapshot(record["data"])


def deleting_session(session_id: str, *, expected_version: int | None = None, missing_ok: bool = False) -> Mutation:
    """Remove a session; with `missing_ok` nothing happens when it is absent, else StorageNotFoundError."""

    def rule(current: JsonObject | None) -> None:
        _expect_session(session_id, current, expected_version)
        if current is None and not missing_ok:
            raise StorageNotFoundError(id=session_id)

    return Mutation(check_id(session_id), rule, is_exact=True)


def sessions_only(filters: Filters | None) -> Filters:
    """Turn a filter of sessions into one of records, and leave other records out."""
    sessions: Filters = {"type": "session"}
    return {"$and": [sessions, session_filter(filters)]} if filters else sessions


def session_order(order_by: str | None) -> str | None:
    """Turn an order of sessions into one of records.

    The time of the last update is the record's own, by which the default order goes: an index answers that one.
    """
    return "-updated_at" if order_by == "-updated_at" else session_path(order_by)


def cursor_after(record: JsonObject) -> str:
    """Return the cursor of the page that follows a record in the default order."""
    return base64.urlsafe_b64encode(f"{record['updated_at']} {record['id']}".encode()).decode()


def beyond(cursor: str) -> Filters:
    """Match what comes after the cursor's record in the default order. Raises StorageValidationError."""
    try:
        updated_at, _, record_id = base64.urlsafe_b64decode(cursor.encode()).decode().partition(" ")
        canonical_time(updated_at, "cursor", None)
    except ValueError as error:
        raise StorageValidationError(
            reason="this is not a cursor that list_page gave", path="cursor", advice="start again without one"
        ) from error
    # the first condition is implied by the second; it lets an index start where the page starts
    return {
        "$and": [
            {"updated_at": {"$lte": updated_at}},
            {"$or": [{"updated_at": {"$lt": updated_at}}, {"id": {"$gt": record_id}}]},
        ]
    }


def session_object(session_id: str, value: SessionInput) -> JsonObject:
    """Return the session as a dict, which shares its parts; raise StorageValidationError unless it is an object."""
    if type(value) is dict:
        return value
    if isinstance(value, BaseModel):
        return _dump(session_id, value)
    if not isinstance(value, Mapping):
        raise StorageValidationError(
            reason=f"a session must be an object, not {type(value).__name__}", path="$", id=session_id
        )
    return dict(value)


def copied_session(session_id: str, value: SessionInput) -> JsonObject:
    """Return a session as it is now; raise StorageValidationError with the JSON path of what is no JSON value."""
    # as the data of a record, so that a path in an error starts where all others do
    copied: JsonObject = copy_value({"data": session_object(session_id, value)}, record_id=session_id)["data"]
    return copied


def _dump(session_id: str, model: BaseModel) -> JsonObject:
    """Return what was set in a model, and what is no longer as its default: a list that was appended to, say."""
    try:
        changed = model.model_dump(mode="json", exclude_defaults=True)
        given = model.model_dump(mode="json", exclude_unset=True)
        # pydantic would write it as null
        _refuse_non_finite(model.model_dump(), ("data",), session_id)
    except StorageValidationError:
        raise
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise StorageValidationError(reason=str(error), path="$", id=session_id) from error
    merged: JsonObject = _merged(changed, given)
    return merged


def _refuse_non_finite(value: Any, steps: tuple[str | int, ...], session_id: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise StorageValidationError(reason=f"{value} is not a JSON number", path=format_path(steps), id=session_id)
    if isinstance(value, dict | list | tuple):
        for step, item in value.items() if isinstance(value, dict) else enumerate(value):
            _refuse_non_finite(item, (*steps, step), session_id)


def _merged(first: Any, second: Any) -> Any:
    if not (isinstance(first, dict) and isinstance(second, dict)):
        return second
    return first | {key: _merged(first[key], value) if key in first else value for key, value in second.items()}


def _expect_session(session_id: str, current: JsonObject | None, expected_version: int | None) -> None:
    if current is not None and current["type"] != "session":
        raise StorageConflictError(
            id=session_id,
            expected=0,
            actual=current["version"],
            reason=f"there is a document of type {current['type']!r} under that id",
            advice="choose another id for the session, or delete that document first",
        )
    expect_version(session_id, current, expected_version)


def _session_record(
    session_id: str, data: JsonObject, current: JsonObject | None, now: str, *, keep_times: bool = False
) -> JsonObject:
    """Wrap a session into its record and stamp its metadata, on copies."""
    metadata = data.get("metadata", {})
    if type(metadata) is not dict:
        raise StorageValidationError(
            reason=f"must be an object, not {type(metadata).__name__}", path="$.metadata", id=session_id
        )
    created, updated = metadata.get("created_at"), metadata.get("updated_at")
    if current is not None and not keep_times:
        created = current["created_at"]
    if not (keep_times and updated):
        updated = now
    metadata = {**metadata, "session_id": session_id, "created_at": created or updated, "updated_at": updated}
    record = {
        **(current or {}),
        "id": session_id,
        "type": "session",
        "session_id": session_id,
        "created_at": canonical_time(metadata["created_at"], "$.metadata.created_at", session_id),
        "updated_at": canonical_time(updated, "$.metadata.updated_at", session_id),
    }
    if not keep_times:
        metadata["created_at"] = record["created_at"]
    record.pop("thread_id", None)
    if isinstance(thread_id := metadata.get("thread_id"), str):
        record["thread_id"] = thread_id
    record["data"] = {**data, "metadata": metadata}
    return record
