"""What a caller wants changed, as the engine takes it in: a save is written down at once, as the bytes that it will be.

Owns the moment at which the caller's value is taken: in the caller's thread, before anything is waited for, so that
nothing of it need be copied. What is then done with it is `drafting`'s. Knows nothing of files.

A save is written as it is where nothing is there. Over another document its version and times are others; these are in
the `part_of` its record, and the rest of the bytes stays: see `splice`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from fsstore.filesystem.documents.codec import decode_examined, encode
from fsstore.filesystem.documents.splice import spliced
from fsstore.model.records import JsonObject, Mutation, Save, stamped
from fsstore.model.times import canonical_time
from fsstore.model.values import snapshot


class SealedSave(NamedTuple):
    """A save, the bytes that it makes where nothing is there, and the `part_of` their record."""

    change: Mutation
    save: Save
    part: JsonObject
    data: bytes
    now: str
    """When it was taken in."""

    @property
    def id(self) -> str:
        """The id of the document."""
        return self.change.id

    def over(self, current: JsonObject, *, max_bytes: int) -> tuple[JsonObject, bytes]:
        """Return part and bytes of the record that takes the place of another one, of which a part will do.

        Raises StorageValidationError.
        """
        after = part_of(stamped(self.change, self.save.over(current, self.part), current, self.now))
        data = spliced(self.data, self.part, after)
        if data is None or len(data) > max_bytes:
            record = stamped(self.change, self.save.over(current, decode_examined(self.data)), current, self.now)
            data = encode(record, max_bytes=max_bytes, is_exact=True)
        return after, data


Sealed: TypeAlias = Mutation | SealedSave


def seal(change: Mutation, now: Callable[[], str], *, max_bytes: int) -> Sealed:
    """Take a mutation in; `now` is asked where it does not bring a time of its own.

    Raises StorageValidationError for a save that can not be stored; O(its bytes).
    """
    if change.save is None:
        return change
    given = change.save.record.get("updated_at") if change.keep_times else None
    moment = now() if given is None else canonical_time(given, "$.updated_at", change.id)
    record = stamped(change, change.save.record, None, moment)
    data = encode(record, max_bytes=max_bytes)
    return SealedSave(change, change.save, snapshot(part_of(record)), data, moment)


def part_of(record: JsonObject) -> JsonObject:
    """Return a record with nothing but the metadata of its data, where that is an object: what the index looks at."""
    data: Any = record["data"]
    if type(data) is not dict:
        return record
    return {**record, "data": {"metadata": data["metadata"]} if "metadata" in data else {}}
