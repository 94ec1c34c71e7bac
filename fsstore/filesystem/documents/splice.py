"""Changing the bytes of a document without reading them: what differs is put between what stays.

Invariants:
- What comes of it is byte for byte what `codec.encode` gives of the record, or nothing.
- Only bytes in the form that `codec` writes are taken apart. No string of JSON holds a raw line end, so a line that
  begins as a member of the record, or of its data, is one.
"""

from __future__ import annotations

from fsstore.filesystem.documents.codec import in_form
from fsstore.model.records import JsonObject

# between which lines the members of a record's data stand
_DATA, _DATA_END = b'\n  "data": {\n', b"\n  }"


def spliced(data: bytes, before: JsonObject, after: JsonObject) -> bytes | None:
    """Return a record's bytes, made of those of another one whose data is the same beside its metadata.

    Of both records the `part_of` is given, of the other one also its bytes, as `encode` made them. What the data holds
    is copied as bytes, at the speed of memory. None where that cannot be done, and `encode` is due.
    """
    try:
        old, new = (in_form(part) for part in (before, after))
    except TypeError:
        # `encode` tells why
        return None
    begin, end = data_in(old)
    new_begin, new_end = data_in(new)
    metadata, last = old[begin:end], len(data) - len(old) + end
    at = data.rfind(metadata, begin, last)
    if min(begin, new_begin, at) < 0 or not data.startswith(old[:begin]) or data[last:] != old[end:]:
        return None
    following = data[at + len(metadata) : last]
    if following and not following.startswith(b","):
        # the metadata goes on where it should end: not the bytes of that record
        return None
    return b"".join((new[:new_begin], data[begin:at], new[new_begin:new_end], following, new[new_end:]))


def data_in(text: bytes) -> tuple[int, int]:
    """Return where the members of the data begin and end in the bytes of a record; -1 where it has none."""
    # no string holds a raw line end, so each of these begins a line, and its blanks tell how deep it lies
    at = text.find(_DATA)
    begin = at + len(_DATA) - 1 if at >= 0 else -1
    return begin, text.find(_DATA_END, begin)
