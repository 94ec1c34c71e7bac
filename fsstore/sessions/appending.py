"""Histories that grow: what is appended to a session, read from its end, taken away, and continued elsewhere. Pure.

A list is named by its path in the session, written as in filters (`messages`, `state.log`). Items are JSON values or
pydantic models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fsstore.errors import StorageConflictError, StorageValidationError
from fsstore.model.expected import Expected
from fsstore.model.lists import list_at, tail_of
from fsstore.model.mutations import Append, Patch, Pop, Save
from fsstore.model.patch import Steps, merge_patch
from fsstore.model.records import JsonObject, check_id
from fsstore.model.successor import Stamp, metadata_of
from fsstore.model.times import TIME_KEYS
from fsstore.model.values import copy_value, format_path, snapshot
from fsstore.query.filters import parse_argument
from fsstore.sessions.inputs import dump_model, is_model
from fsstore.sessions.mutations import SESSION, saving_session, updating_session

MESSAGES = "messages"
"""The path of a session's history, unless another one is named."""


def appending_session(
    session_id: str,
    items: Iterable[Any],
    now: str,
    *,
    path: str = MESSAGES,
    metadata: Mapping[str, Any] | None = None,
    create: bool = True,
    unique_by: str | None = None,
    expected_version: int | None = None,
) -> Append:
    """Put items at the end of a list of a session; `create` makes session and list where they are not there."""
    steps = list_steps(path)
    patch = updating_session(check_id(session_id), {"metadata": _object(metadata)}, now) if metadata else None
    if not (unique_by is None or (isinstance(unique_by, str) and unique_by)):
        raise StorageValidationError(reason=f"must be the key of an item, not {unique_by!r}", path="unique_by")
    return Append(
        session_id,
        _checked(session_id, items),
        steps,
        patch,
        {"type": SESSION, "data": {"metadata": {}}} if create else None,
        unique_by,
        Expected(expected_version, SESSION),
        Stamp(at=now, is_mirrored=True),
    )


def popping_session(session_id: str, item: Any, now: str, *, path: str) -> Pop:
    """Take the last item of a list of a session away, if it is that one."""
    return Pop(session_id, item, list_steps(path), Expected(type=SESSION, exists=True), Stamp(at=now, is_mirrored=True))


def continuing_session(record: JsonObject, new_id: str, now: str, *, path: str, keep_last: int) -> tuple[Save, Patch]:
    """Return a new session that continues another one with the last items of its list, and the note in that one.

    Everything else is copied. The metadata of the new one says `continues`, that of the old one `continued_by`. Raises
    StorageValidationError for a session that another program has left without a list or metadata in their places.
    """
    session_id, steps = record["id"], list_steps(path)
    kept = tail_of(list_at(record, steps) or (), check_count(keep_last, "keep_last")).items
    session: JsonObject = snapshot(record["data"])
    emptied: Any = snapshot(kept)
    for step in reversed(steps[1:]):
        emptied = {step: emptied}
    metadata = metadata_of(session, session_id)
    own = {key: value for key, value in metadata.items() if key not in {"session_id", "continued_by", *TIME_KEYS}}
    continued = {**merge_patch(session, emptied), "metadata": {**own, "continues": session_id}}
    note = updating_session(session_id, {"metadata": {"continued_by": new_id}}, now)
    # what was written meanwhile must not be left behind
    note = note._replace(expected=Expected(seen=record))
    return saving_session(new_id, continued, now, expected_version=0), note


def not_rotated(error: StorageConflictError, new_id: str) -> StorageConflictError:
    """Return the error of a session that could not be continued: the new id is taken, or the old session changed."""
    return StorageConflictError(
        id=error.id,
        expected=error.expected,
        actual=error.actual,
        reason=error.reason,
        advice="choose another id for the new session" if error.id == new_id else "rotate it again",
    )


def list_steps(path: str) -> Steps:
    """Return where a list of a session stands in its record. Raises StorageValidationError for what is no path."""
    if not isinstance(path, str) or not path:
        raise StorageValidationError(
            reason=f"must be the path of a list in the session, not {path!r}", path="path", advice="write 'messages'"
        )
    return ("data", *parse_argument(path, "path"))


def check_count(count: Any, name: str) -> int:
    """Return a number of items; raise StorageValidationError unless it is a whole number, zero or more."""
    if type(count) is not int or count < 0:
        raise StorageValidationError(reason=f"must be a whole number, zero or more, not {count!r}", path=name)
    return count


def _checked(session_id: str, items: Any) -> list[Any]:
    """Return the items as JSON values that nobody else holds."""
    if isinstance(items, str | bytes | Mapping) or is_model(items) or not isinstance(items, Iterable):
        raise StorageValidationError(
            reason=f"must be the items to append, not {type(items).__name__}",
            path="items",
            id=session_id,
            advice="put one item into a list: [item]",
        )
    values = [_dumped(session_id, at, item) if is_model(item) else item for at, item in enumerate(items)]
    copied: JsonObject = copy_value({"items": values}, record_id=session_id)
    return list(copied["items"])


def _dumped(session_id: str, at: int, item: Any) -> JsonObject:
    try:
        return dump_model(session_id, item)
    except StorageValidationError as error:
        path = format_path(("items", at)) + (error.path or "").removeprefix("$.data")
        raise StorageValidationError(reason=error.reason, path=path, id=session_id, advice=error.advice) from error


def _object(metadata: Any) -> Any:
    if not isinstance(metadata, Mapping):
        raise StorageValidationError(
            reason=f"must be a merge patch of the metadata, not {type(metadata).__name__}",
            path="metadata",
            advice="write it as in {'status': 'active'}",
        )
    return metadata
