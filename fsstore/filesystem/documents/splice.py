"""Changing the bytes of a document without reading them: what differs is put between what stays.

Invariants:
- What comes of it is byte for byte what `codec.encode` gives of the record, or nothing.
- Only bytes in the form that `codec` writes are taken apart. No string of JSON holds a raw line end, so a line that
  begins as a member of the record, or of its data, is one.
"""

from __future__ import annotations

from fsstore.filesystem.documents.codec import in_form
from fsstore.filesystem.documents.text import Edit, Text
from fsstore.model.records import JsonObject

# between which lines the members of a record's data stand
_DATA, _DATA_END = b'\n  "data": {\n', b"\n  }"


def spliced(text: Text, before: JsonObject, after: JsonObject, *, metadata_at: int = -1) -> list[Edit] | None:
    """Return what makes a record's bytes of those of another one whose data is the same beside its metadata.

    Of both records the `part_of` is given, of the other one also its bytes, as `encode` made them. What the data holds
    stays as it is. None where that cannot be done, and `encode` is due. `metadata_at` is where the line before the
    metadata ends, if that is known: it is searched for from the end.
    """
    try:
        old, new = (in_form(part) for part in (before, after))
    except TypeError:
        # `encode` tells why
        return None
    begin, end = data_in(old)
    new_begin, new_end = data_in(new)
    metadata, last = old[begin:end], len(text) - len(old) + end
    if min(begin, new_begin) < 0 or last < begin or text.part(last, len(text)) != old[end:]:
        return None
    at = metadata_at if metadata_at >= 0 else bytes(text).rfind(metadata, begin, last)
    behind = at + len(metadata)
    if at < begin or behind > last or text.part(0, begin) != old[:begin] or text.part(at, behind) != metadata:
        return None
    if behind < last and text.part(behind, behind + 1) != b",":
        # the metadata goes on where it should end: not the bytes of that record
        return None
    # mostly the same, and then nothing changes that far in front
    beginning = [] if new[:new_begin] == old[:begin] else [Edit(0, begin, new[:new_begin])]
    return [
        *beginning,
        Edit(at, behind - at, new[new_begin:new_end]),
        Edit(last, len(text) - last, new[new_end:]),
    ]


def data_in(text: bytes) -> tuple[int, int]:
    """Return where the members of the data begin and end in the bytes of a record; -1 where it has none."""
    # no string holds a raw line end, so each of these begins a line, and its blanks tell how deep it lies
    at = text.find(_DATA)
    begin = at + len(_DATA) - 1 if at >= 0 else -1
    return begin, text.find(_DATA_END, begin)
