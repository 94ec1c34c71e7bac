"""What a session is to a storage: its record, the mutations that change it, the filters that find it. Pure.

All session policy is here and nowhere else:

- the envelope is mirrored in the metadata (`Stamp`), on a copy: `session_id`, `created_at`, which survives a re-save,
  and `updated_at`, which is never before what it was;
- these times may be given as datetimes or any ISO 8601 text, naive ones are local time; they are kept as instants, in
  the store's form;
- the id of a session is its record's: whatever its metadata says, in a file that was edited by hand or copied, what is
  shown has that id (`shown`), filters and orders go by it, and the next save writes it down;
- in filters and orders a bare key means metadata (`status`), a dotted key starts at the session (`state.step`);
- a record of another type is not a session: it is not found, and not overwritten.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from enum import Enum
from inspect import isawaitable
from typing import Any

from fsstore.errors import StorageValidationError
from fsstore.model.expected import Expected
from fsstore.model.mutations import Delete, Patch, Save
from fsstore.model.patch import TOP, misread_keys
from fsstore.model.records import Filters, JsonObject, check_id
from fsstore.model.remedies import remedy
from fsstore.model.successor import Stamp, metadata_of
from fsstore.model.times import TIME_KEYS, canonical_time, with_canonical_times
from fsstore.model.values import copy_value, format_path, snapshot
from fsstore.query.filters import parse
from fsstore.query.steps import written_steps
from fsstore.sessions.inputs import SessionInput, dump_model, is_model
from fsstore.sessions.words import record_path, session_filter, session_path

_ID_IN_PLACE = re.compile(r"\.id(?=[.\[]|\Z)")

SESSION = "session"
"""The type of the records of sessions."""


def saving_session(
    session_id: str,
    session_data: SessionInput,
    now: str,
    *,
    expected_version: int | None = None,
    keep_times: bool = False,
) -> Save:
    """Insert or replace a session; `keep_times` keeps the instants that its metadata gives."""
    data = session_object(check_id(session_id), session_data)
    metadata_of(data, session_id)
    return Save(
        session_id,
        {"type": SESSION, "data": data},
        Expected(expected_version, SESSION),
        Stamp(keep_times, now, is_mirrored=True),
    )


def updating_session(session_id: str, updates: SessionInput, now: str, *, expected_version: int | None = None) -> Patch:
    """Apply a merge patch to a session that must be there."""
    if is_model(updates):
        raise StorageValidationError(
            reason=f"a patch must be an object, not the model {type(updates).__name__}",
            path="$",
            id=session_id,
            advice="save the model with save_session, or patch with model_dump(mode='json', exclude_unset=True)",
        )
    # checked, not only copied: a patch is followed down before what it makes is encoded
    patch = copied_session(check_id(session_id), updates)
    return Patch(
        session_id,
        {"data": patch},
        Expected(expected_version, SESSION),
        Stamp(at=now, is_mirrored=True),
        misread_keys(patch, TOP),
        within=("data",),
    )


def editing_session(
    session_id: str, edited: SessionInput, now: str, *, seen: JsonObject, copies: bool = True
) -> tuple[Save, JsonObject]:
    """Replace a session if its record is still what was seen; returns the data that will be there, too.

    That is a copy unless nobody else has what was edited.
    """
    data = session_object(session_id, edited, seen=seen["data"])
    save = Save(session_id, {"type": SESSION, "data": data}, Expected(seen=seen), Stamp(at=now, is_mirrored=True))
    # what was seen need not be compared with itself
    made = save._replace(expected=Expected()).apply(seen, now)
    if not copies:
        return save, made["data"]
    # with the record around it, so that a path in an error starts where all others do
    return save, snapshot({"data": made["data"]}, record_id=session_id)["data"]


def deleting_session(
    session_id: str, *, expected_version: int | None = None, missing_ok: bool = False, keep_damaged: bool = False
) -> Delete:
    """Remove a session; with `missing_ok` nothing happens when it is absent, else StorageNotFoundError."""
    return Delete(check_id(session_id), Expected(expected_version, SESSION, exists=not missing_ok), keep_damaged)


def sessions_only(filters: Filters | None, kind: str = SESSION) -> Filters:
    """Turn a filter of sessions into one of records, and leave out records of another type."""
    sessions: Filters = {"type": kind}
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
    paths = {path: record_path(written_steps(path), path) for path in _paths_in(filters)}
    if named := [path for path, written in paths.items() if written == "id"]:
        # while the others are still whole: so short a word stands in them too
        step = format_path((named[0],))[1:]
        place = _ID_IN_PLACE.sub(lambda _: step, place)
        reason, advice = reason.replace("'id'", repr(named[0])), advice.replace("'id'", repr(named[0]))
    for path in sorted(paths.keys() - {*named}, key=len, reverse=True):
        written = paths[path]
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


def shown(record: JsonObject) -> Any:
    """Return the session of a record as it is shown to callers, which shares its parts."""
    data = record["data"]
    if type(data) is not dict:
        return data
    metadata = data.get("metadata")
    if metadata is not None and type(metadata) is not dict:
        return data
    named = shown_metadata(record["id"], metadata)
    return data if named is metadata else {**data, "metadata": named}


def shown_metadata(session_id: str, metadata: Any) -> JsonObject:
    """Return the metadata of a session as it is shown: an object, with the session's id."""
    if type(metadata) is not dict:
        # a document edited by hand may hold anything
        return {"session_id": session_id}
    return metadata if metadata.get("session_id") == session_id else {**metadata, "session_id": session_id}


def shown_part(session_id: str, part: JsonObject) -> JsonObject:
    """Return parts of a session, given as parts of its record, as they are shown: an object, with the session's id."""
    data = part.get("data")
    found = data if type(data) is dict else {}
    return {**found, "metadata": shown_metadata(session_id, found.get("metadata"))}


def cursor_after(record: JsonObject) -> str:
    """Return the cursor of the page that follows a record in the default order."""
    return base64.urlsafe_b64encode(f"{record['updated_at']} {record['id']}".encode()).decode()


def check_page_limit(limit: Any) -> None:
    """Raise StorageValidationError unless it is a number of sessions that a page can have."""
    if type(limit) is not int or limit < 1:
        raise StorageValidationError(
            reason=f"must be a positive whole number, not {limit!r}",
            path="limit",
            advice="give a page room for a session",
        )


# several times as long as that of the longest id
_MOST_CURSOR = 16_384


def beyond(cursor: str) -> Filters:
    """Match what comes after the cursor's record in the default order. Raises StorageValidationError."""
    if not isinstance(cursor, str):
        raise StorageValidationError(
            reason=f"must be the text that list_page gave, not {type(cursor).__name__}",
            path="cursor",
            advice="pass page.cursor on, None for the first page",
        )
    try:
        if len(cursor) > _MOST_CURSOR:
            raise ValueError("too long")  # noqa: TRY301 - one error for all that is no cursor
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
    elif is_model(value):
        session = dump_model(session_id, value)
    elif isinstance(value, Mapping):
        session = dict(value)
    else:
        raise StorageValidationError(
            reason=f"a session must be an object, not {type(value).__name__}",
            path="$",
            id=session_id,
            advice=_object_instead(value),
        )
    metadata = session.get("metadata")
    return {**session, "metadata": _with_times(session_id, metadata, seen)} if type(metadata) is dict else session


def _object_instead(value: Any) -> str:
    if isinstance(value, str | bytes):
        return "load the text first: json.loads(value)"
    if is_dataclass(value) or isawaitable(value):
        return remedy(value)
    return "write it as in {'metadata': {'status': 'open'}, 'messages': []}"


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
