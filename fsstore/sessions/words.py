"""The words in which callers of sessions filter and order, turned into those of records. Pure: paths change, no more.

A bare key means metadata (`status` is `data.metadata.status`), a dotted key starts at the session's data
(`state.step` is `data.state.step`). The id of a session is its record's, and `session_id` is another word for that: the
copy in the metadata may be missing or stale in a file that was edited by hand. In fields a dot at the beginning names a
whole part of the session (`.messages` is `data.messages`). What `fsstore.query.filters` makes of it is its own affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from fsstore.model.records import Filters
from fsstore.query.fields import check_fields, field_refusal, parse_field
from fsstore.query.filters import as_mapping, is_deep
from fsstore.query.operands import LOGICAL_OPERATORS, Steps, check_depth, refusal
from fsstore.query.orders import order_path
from fsstore.query.sizes import check_size
from fsstore.query.steps import written_steps


def session_filter(filters: Filters) -> Filters:
    """Turn a filter of sessions into one of records; changes paths only.

    A bare key means metadata (`status` is `data.metadata.status`), a dotted key starts at the session's data
    (`state.step` is `data.state.step`). Raises StorageValidationError for a path that was meant otherwise; whatever
    else is wrong with the filter is left for `parse` to refuse.
    """
    given = as_mapping(filters)
    if not is_deep(given):
        # before each part is turned: what is small may hold one part over and over
        check_size(given)
    return _session_filter(given, ())


def _session_filter(filters: Filters, steps: Steps) -> Filters:
    check_depth(steps)
    items = [_session_item(key, value, steps) for key, value in filters.items()]
    mapped = dict(items)
    # `status` and `metadata.status` are the same path: both must hold
    return mapped if len(mapped) == len(items) else {"$and": [{key: value} for key, value in items]}


def _session_item(key: Any, value: Any, steps: Steps) -> tuple[Any, Any]:
    if isinstance(key, Enum):
        key = key.value
    if key in LOGICAL_OPERATORS and isinstance(value, list | tuple):
        return key, [
            _session_filter(part, (*steps, key, at)) if isinstance(part, Mapping) else part
            for at, part in enumerate(value)
        ]
    if not isinstance(key, str) or key.startswith("$"):
        return key, value
    return _session_path(key, (*steps, key)), value


def session_path(order_by: str | None) -> str | None:
    """Turn an `order_by` of sessions into one of records, as `session_filter` does with paths."""
    if order_by is None:
        return None
    path, sign = order_path(order_by)
    return sign + _session_path(path, ("order_by",))


_OF_THE_SESSION = frozenset({"messages", "metadata", "settings", "state", "thread_configs", "workflow_state"})
"""Parts of sessions that as bare keys would be looked for in the metadata."""


def session_fields(fields: Iterable[str]) -> list[str]:
    """Turn fields of sessions into fields of records. Raises StorageValidationError for what was meant otherwise."""
    return [_session_field(field, at) for at, field in enumerate(check_fields(fields))]


def _session_field(field: str, at: int) -> str:
    # here, so that what is refused is called as the caller calls it
    parse_field(field.removeprefix("."), at)
    if field.startswith("."):
        return f"data{field}"
    if field in _OF_THE_SESSION:
        raise field_refusal(
            f"a bare key means metadata, so this is metadata.{field}",
            at,
            advice=f"write '.{field}' for the part of the session, 'metadata.{field}' if there is such a key",
        )
    written = written_steps(field)
    if written[:2] == ["data", "metadata"]:
        raise field_refusal(
            f"paths of sessions start at the session, so this is data.{field} in the record",
            at,
            advice="leave 'data.' out, as in 'status' or 'metadata.status'",
        )
    return f"data.{field}" if len(written) > 1 else f"data.metadata.{field}"


def record_path(written: list[str], path: str) -> str:
    """Return a path of sessions, given in its steps and as it was written, as one of records."""
    if written in (["session_id"], ["metadata", "session_id"]):
        return "id"
    return f"data.{path}" if len(written) > 1 else f"data.metadata.{path}"


def _session_path(path: str, steps: Steps) -> str:
    written = written_steps(path)
    if written == ["metadata"]:
        raise refusal(
            "a bare key means metadata already, so this is metadata.metadata",
            steps,
            advice="name the key itself, as in 'status'; write 'metadata.metadata' if there is such a key",
        )
    if written[:2] == ["data", "metadata"]:
        raise refusal(
            f"paths of sessions start at the session, so this is data.{path} in the record",
            steps,
            advice="leave 'data.' out, as in 'status' or 'metadata.status'; "
            "a path of records goes to the storage's own list",
        )
    return record_path(written, path)
