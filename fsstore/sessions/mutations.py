"""What a session is to a storage: its record, the mutations that change it, the filters that find it. Pure.

All session policy is here and nowhere else:

- `metadata.session_id`, `created_at` and `updated_at` are stamped, on a copy; `created_at` survives a re-save, and
  `updated_at` is never before what it was;
- these times may be given as datetimes or any ISO 8601 text, naive ones are local time; they are kept as instants, in
  the store's form;
- in filters and orders a bare key means metadata (`status`), a dotted key starts at the session (`state.step`);
- a record of another type is not a session: it is not found, and not overwritten.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, TypeAlias

from pydantic import BaseModel

from fsstore.errors import StorageConflictError, StorageNotFoundError, StorageValidationError
from fsstore.model.patch import TOP, merge_patch, misread_keys, refuse_misread
from fsstore.model.records import Filters, JsonObject, Mutation, Save, check_id, expect_seen, expect_version, replacing
from fsstore.model.times import TIME_KEYS, canonical_time, with_canonical_times
from fsstore.model.values import copy_value, format_path, snapshot
from fsstore.query.filters import parse
from fsstore.query.session_words import session_filter, session_path
from fsstore.query.steps import written_steps
from fsstore.sessions.models import dump_model

SessionInput: TypeAlias = Mapping[str, Any] | BaseModel


def saving_session(
    session_id: str,
    session_data: SessionInput,
    now: str,
    *,
    expected_version: int | None = None,
    keep_times: bool = False,
) -> Mutation:
    """Insert or replace a session; `keep_times` keeps the instants that its metadata gives."""
    record = _session_record(
        check_id(session_id), session_object(session_id, session_data), None, now, keep_times=keep_times
    )

    def expect(current: JsonObject | None) -> None:
        _expect_session(session_id, current, expected_version)

    def over(current: JsonObject, made: JsonObject) -> JsonObject:
        return _session_record(session_id, made["data"], current, now, keep_times=keep_times)

    return replacing(session_id, Save(record, expect, over), keep_times=True)


def updating_session(
    session_id: str, updates: SessionInput, now: str, *, expected_version: int | None = None
) -> Mutation:
    """Apply a merge patch to a session that must be there."""
    if isinstance(updates, BaseModel):
        raise StorageValidationError(
            reason=f"a patch must be an object, not the model {type(updates).__name__}",
            path="$",
            id=session_id,
            advice="save the model with save_session, or patch with model_dump(mode='json', exclude_unset=True)",
        )
    # checked, not only copied: a patch is followed down before what it makes is encoded
    patch = copied_session(check_id(session_id), updates)
    misread = misread_keys(patch, TOP)

    def rule(current: JsonObject | None) -> JsonObject:
        _expect_session(session_id, current, expected_version)
        if current is None:
            raise StorageNotFoundError(id=session_id)
        # looks at no more of the session than the patch touches, so that a part of it will do
        refuse_misread(current["data"], patch, misread, TOP, record_id=session_id, within=("data",))
        return _session_record(session_id, merge_patch(current["data"], patch), current, now)

    return Mutation(session_id, rule, keep_times=True, is_exact=True, is_of_part=patch.keys() <= {"metadata"})


def editing_session(
    session_id: str, edited: SessionInput, now: str, *, seen: JsonObject
) -> tuple[Mutation, JsonObject]:
    """Replace a session if its record is still what was seen; returns a copy of the data that will be there, too."""
    given = session_object(session_id, edited, seen=seen["data"])
    copied = snapshot({"data": given}, record_id=session_id)["data"]
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
    # what is empty and no object, such as a list, is refused too: it would want every session
    if filters is None:
        return sessions
    wanted = session_filter(filters)
    try:
        parse(wanted)
    except StorageValidationError as error:
        raise _in_words_of_sessions(error, filters) from error
    return {"$and": [sessions, wanted]} if wanted else sessions


def _in_words_of_sessions(error: StorageValidationError, filters: Filters) -> StorageValidationError:
    """Return the refusal of a filter of records as one of the filter that was given: its remedy is to be written there.

    The longest paths come first, since others may begin them.
    """
    place, reason, advice = error.path or "", error.reason or "", error.advice
    for path in sorted({*_paths_in(filters)}, key=len, reverse=True):
        written = f"data.{path}" if len(written_steps(path)) > 1 else f"data.metadata.{path}"
        place = place.replace(format_path((written,))[1:], format_path((path,))[1:])
        # as a part of a sentence, and as it stands in quotes
        for before, after in {written: path, repr(written)[1:-1]: repr(path)[1:-1]}.items():
            reason, advice = reason.replace(before, after), advice.replace(before, after)
    return StorageValidationError(reason=reason, path=place, advice=advice)


def _paths_in(filters: Filters) -> Iterator[str]:
    for key, value in filters.items():
        name = key.value if isinstance(key, Enum) else key
        if isinstance(name, str) and not name.startswith("$"):
            yield name
        elif isinstance(value, list | tuple):
            for part in value:
                if isinstance(part, Mapping):
                    yield from _paths_in(part)


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
    if not isinstance(cursor, str):
        raise StorageValidationError(
            reason=f"must be the text that list_page gave, not {type(cursor).__name__}",
            path="cursor",
            advice="pass page.cursor on, None for the first page",
        )
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


def session_object(session_id: str, value: SessionInput, *, seen: Any = None) -> JsonObject:
    """Return the session as a dict, which shares its parts, with the times of its metadata in the store's form.

    Raises StorageValidationError unless it is an object, and for times that are none; but where they are those of the
    session that was `seen`, as another program may have written them, nobody has given them.
    """
    if type(value) is dict:
        session = value
    elif isinstance(value, BaseModel):
        session = dump_model(session_id, value)
    elif isinstance(value, Mapping):
        session = dict(value)
    else:
        raise StorageValidationError(
            reason=f"a session must be an object, not {type(value).__name__}", path="$", id=session_id
        )
    metadata = session.get("metadata")
    return {**session, "metadata": _with_times(session_id, metadata, seen)} if type(metadata) is dict else session


def _with_times(session_id: str, metadata: JsonObject, seen: Any) -> JsonObject:
    before = seen.get("metadata") if type(seen) is dict else None
    if type(before) is dict:
        # they are stamped all the same
        metadata = metadata | {key: None for key in TIME_KEYS if key in metadata and metadata[key] == before.get(key)}
    return with_canonical_times(metadata, "$.metadata", session_id)


def copied_session(session_id: str, value: SessionInput) -> JsonObject:
    """Return a session as it is now; raise StorageValidationError with the JSON path of what is no JSON value."""
    # as the data of a record, so that a path in an error starts where all others do
    copied: JsonObject = copy_value({"data": session_object(session_id, value)}, record_id=session_id)["data"]
    return copied


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
    before = None if keep_times else current
    created = metadata.get("created_at") if before is None else before["created_at"]
    updated = metadata.get("updated_at") if keep_times else None
    if updated is None:
        # a clock that was set back must not take an update before what was there
        updated = max(now, created or now, now if before is None else before["updated_at"])
    times = {"created_at": created or updated, "updated_at": updated}
    record = {**(current or {}), "id": session_id, "type": "session", "session_id": session_id, **times}
    metadata = {**metadata, "session_id": session_id, **times}
    record.pop("thread_id", None)
    if isinstance(thread_id := metadata.get("thread_id"), str):
        record["thread_id"] = thread_id
    record["data"] = {**data, "metadata": metadata}
    return record
