"""What a caller wants changed, as the engine takes it in: a save is written down at once, as the bytes that it will be.

Owns the moment at which the caller's value is taken: in the caller's thread, before anything is waited for, so that
nothing of it need be copied; and which mutations can do with the `part_of` a record, so that the rest of its bytes need
not be parsed. What is then done with them is `draft`'s. Knows nothing of files.

A save is written as it is where nothing is there and nothing was ever deleted. Over another document its version and
times are others, above a floor its version; these are in the `part_of` its record, and the rest of the bytes stays: see
`splice`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from fsstore.filesystem.documents.codec import decode_examined, encode
from fsstore.filesystem.documents.splice import spliced
from fsstore.filesystem.documents.text import Text
from fsstore.model.mutations import AnyMutation, Append, Check, Delete, Mutation, Patch, Pop, Restore, Save
from fsstore.model.records import JsonObject
from fsstore.model.successor import stamped
from fsstore.model.values import snapshot


class SealedSave(NamedTuple):
    """A save of the `part_of` its record as it is where nothing is there, and the bytes of the whole."""

    change: Save
    data: bytes
    now: str
    """When it was taken in."""

    @property
    def id(self) -> str:
        """The id of the document."""
        return self.change.id

    def over(self, current: JsonObject | None, floor: int, *, max_bytes: int) -> tuple[JsonObject, Text]:
        """Return part and bytes of the record that takes the place of another one, of which a part may do, or of none.

        Raises what `apply` raises, and StorageValidationError for one that is too large.
        """
        before, text = self.change.record, Text.of(self.data)
        if current is None and not floor:
            self.change.expected.check(self.id, None)
            return before, text
        after = part_of(self.change.apply(current, self.now, floor))
        edits = spliced(text, before, after)
        made = None if edits is None else text.edited(edits)
        if made is None or len(made) > max_bytes:
            record = self.change._replace(record=decode_examined(self.data)).apply(current, self.now, floor)
            made = Text.of(encode(record, max_bytes=max_bytes, is_exact=True))
        return after, made


Sealed: TypeAlias = SealedSave | Patch | Append | Pop | Delete | Check | Restore | Mutation


def seal(change: AnyMutation, now: Callable[[], str], *, max_bytes: int) -> Sealed:
    """Take a mutation in; `now` is asked where it does not bring a time of its own.

    Raises StorageValidationError for a save that cannot be stored; O(its bytes).
    """
    if not isinstance(change, Save):
        return change
    moment = change.stamp.at or now()
    record = stamped(change.id, change.record, None, change.stamp, moment)
    data = encode(record, max_bytes=max_bytes)
    return SealedSave(change._replace(record=snapshot(part_of(record))), data, moment)


def is_of_part(change: AnyMutation) -> bool:
    """Whether the `part_of` the record that is there will do for a mutation: the rest of its data stays, or goes."""
    if isinstance(change, Mutation | Append | Pop | Restore) or change.expected.seen is not ...:
        return False
    if not isinstance(change, Patch):
        return True
    # the refusal of a path looks at what stands on its way
    is_path = any(len(steps) == 1 and steps[0].startswith("data.") for steps in change.misread)
    data = change.patch.get("data", {})
    return type(data) is dict and data.keys() <= {"metadata"} and not (is_path and not change.within)


def part_of(record: JsonObject) -> JsonObject:
    """Return a record with nothing but the metadata of its data, where that is an object: what the index looks at."""
    data: Any = record["data"]
    if type(data) is not dict:
        return record
    return {**record, "data": {"metadata": data["metadata"]} if "metadata" in data else {}}
