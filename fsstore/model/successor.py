"""How one record follows another: its version, its times, and what its data repeats of them. Pure.

Every change of a record ends here, whatever backend makes it. The rules:

- `version` grows by one with every change of that document; the caller's value is ignored. That of a new record is one
  above the `floor`, which is the highest version that was ever deleted in this store, 0 at first: so a version names
  one state of a document, also where it was deleted and made again;
- `created_at` is given for a new record, or else is the time of the change, and survives; `updated_at` is the time of
  the change, but never before what it was, nor before `created_at`, whatever the clock says; what is given for it is
  checked, and counts only where the mutation keeps the times it was given;
- times are kept as instants, in the one form that `fsstore.model.times` has for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fsstore.errors import StorageValidationError
from fsstore.model.records import JsonObject, check_envelope, version_of
from fsstore.model.times import canonical_time

_HIGHEST_FLOOR = 1 << 53


def floor_above(floor: int, version: int) -> int:
    """Return the floor after a record of that version was deleted.

    A version that no store counts to was written by hand. It does not raise the floor, which nothing could then be made
    above.
    """
    return max(floor, version) if version <= _HIGHEST_FLOOR else floor


class Stamp(NamedTuple):
    """Where the times of a changed record come from, and whether its data repeats its envelope."""

    keep_times: bool = False
    """`created_at` and `updated_at` stay as they are given (an import), where they are given."""
    at: str | None = None
    """The time of the change, in the store's form; None for that of the commit."""
    is_mirrored: bool = False
    """The envelope is mirrored in `data.metadata`, as that of a session is, and times are given there.

    `session_id`, which is the id, and the times stand in both; `thread_id` is taken from the metadata. What else stands
    beside the data stays when the record is saved over.
    """


def stamped(
    record_id: str, made: JsonObject, current: JsonObject | None, stamp: Stamp, now: str, *, floor: int = 0
) -> JsonObject:
    """Return what was made of a record as its next version. Raises StorageValidationError when it is no record."""
    record = dict(made)
    if record.setdefault("id", record_id) != record_id:
        raise StorageValidationError(reason="the id of a document cannot be changed", path="$.id", id=record_id)
    record["version"] = (floor if current is None else version_of(current)) + 1
    if stamp.is_mirrored:
        _mirror(record, current, stamp, now)
    else:
        # also what does not count is checked: whether a save is refused does not hang on what is there
        given = _given(record, "$", record_id)
        record["created_at"], record["updated_at"] = _times(given, current, stamp, now)
    check_envelope(record)
    return record


def _mirror(record: JsonObject, current: JsonObject | None, stamp: Stamp, now: str) -> None:
    """Let envelope and metadata say the same."""
    record_id, data = record["id"], record["data"]
    metadata = metadata_of(data, record_id)
    # what stands in the metadata of a record that is there may have been written by another program
    counts = current is None or stamp.keep_times
    given = _given(metadata, "$.metadata", record_id) if counts else (None, None)
    created, updated = _times(given, current, stamp, now)
    mirrored = {"session_id": record_id, "created_at": created, "updated_at": updated}
    record.update(mirrored)
    record.pop("thread_id", None)
    if isinstance(thread_id := metadata.get("thread_id"), str):
        record["thread_id"] = thread_id
    record["data"] = {**data, "metadata": {**metadata, **mirrored}}


def metadata_of(data: Mapping[str, Any], record_id: str) -> JsonObject:
    """Return the metadata of data, {} where it has none; raise StorageValidationError unless it is an object."""
    metadata = data.get("metadata", {})
    if type(metadata) is not dict:
        raise StorageValidationError(
            reason=f"must be an object, not {type(metadata).__name__}",
            path="$.metadata",
            id=record_id,
            advice="write it as in {'status': 'open'}; a model is written by value.model_dump(mode=\"json\")",
        )
    return metadata


def _given(times: Mapping[str, Any], path: str, record_id: str) -> tuple[str | None, str | None]:
    """Return the times of creation and of the last update that stand there. Raises StorageValidationError."""
    created, updated = times.get("created_at"), times.get("updated_at")
    if created is not None:
        created = canonical_time(created, f"{path}.created_at", record_id)
    if updated is not None:
        updated = canonical_time(updated, f"{path}.updated_at", record_id)
    return created, updated


def _times(given: tuple[str | None, str | None], current: JsonObject | None, stamp: Stamp, now: str) -> tuple[str, str]:
    """Return the times that a record gets, of creation and of the last update."""
    now, (created, updated) = stamp.at or now, given
    if stamp.keep_times:
        updated = updated or max(now, created or now)
        return created or updated, updated
    if current is None:
        created = created or now
        return created, max(now, created)
    # a clock that was set back must not take an update before what was there
    return current["created_at"], max(now, current["updated_at"], current["created_at"])
