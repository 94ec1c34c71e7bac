"""The values of a checkpoint: what is kept inline, and what becomes a blob.

Owns the form of a value in a checkpoint: JSON as `values` writes it, `{"$blob": HASH}`, or
`{"$chunks": [HASH, ...], "tail": [...]}` for a list of more than 64 items. The full chunks of a list that grows at its
end are the same in each checkpoint, so they are stored once: a checkpoint costs what is new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from fsstore.integrations.langgraph.naming import digest_of
from fsstore.integrations.langgraph.savers.values import read, written

CHUNK_ITEMS = 64
MOST_INLINE_BYTES = 4096


class Serializer(Protocol):
    """What turns values into a type and bytes, and back."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Return the type and the bytes of a value."""
        ...

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Return the value."""
        ...


class Contents(NamedTuple):
    """The values of a checkpoint as they are stored, and the blobs that they refer to, not written out yet."""

    values: dict[str, Any]
    blobs: dict[str, tuple[str, bytes]]


def stored_contents(serde: Serializer, values: Mapping[str, Any]) -> Contents:
    """Return the values of a checkpoint as they are stored."""
    blobs: dict[str, tuple[str, bytes]] = {}
    return Contents({name: _stored(serde, value, blobs) for name, value in values.items()}, blobs)


def referred(values: Iterable[Any]) -> set[str]:
    """Return the blobs that stored values refer to."""
    found: set[str] = set()
    for value in values:
        if type(value) is dict:
            found.update(value.get("$chunks", ()))
            if "$blob" in value:
                found.add(value["$blob"])
    return found


def restored(serde: Serializer, value: Any, blobs: Mapping[str, Any]) -> Any:
    """Return a value as it was given; `blobs` are the contents of those that it refers to."""
    if type(value) is dict:
        if "$blob" in value:
            return serde.loads_typed(read(blobs[value["$blob"]]))
        if "$chunks" in value:
            items: list[Any] = []
            for digest in value["$chunks"]:
                items += serde.loads_typed(read(blobs[digest]))
            return items + serde.loads_typed(read(value["tail"]))
    return serde.loads_typed(read(value))


def _stored(serde: Serializer, value: Any, blobs: dict[str, tuple[str, bytes]]) -> Any:
    # a tuple comes back as a list from msgpack, too
    if type(value) in (list, tuple) and len(value) > CHUNK_ITEMS:
        chunked = _chunked(serde, list(value))
        if chunked is not None:
            blobs.update(chunked[1])
            return chunked[0]
    typed = serde.dumps_typed(value)
    if len(typed[1]) <= MOST_INLINE_BYTES:
        return written(typed)
    digest = digest_of(typed)
    blobs[digest] = typed
    return {"$blob": digest}


def _chunked(serde: Serializer, items: list[Any]) -> tuple[Any, dict[str, tuple[str, bytes]]] | None:
    """Return a list in chunks; None where equal chunks would not have equal bytes, as with encryption."""
    end = len(items) // CHUNK_ITEMS * CHUNK_ITEMS
    blobs: dict[str, tuple[str, bytes]] = {}
    digests = []
    for at in range(0, end, CHUNK_ITEMS):
        typed = serde.dumps_typed(items[at : at + CHUNK_ITEMS])
        if typed[0] != "msgpack":
            return None
        digests.append(digest_of(typed))
        blobs[digests[-1]] = typed
    return {"$chunks": digests, "tail": written(serde.dumps_typed(items[end:]))}, blobs
