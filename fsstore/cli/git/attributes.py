"""What `.gitattributes` says about the documents of a store, among the lines that are the user's own. Pure: no I/O.

The file lies in the store itself, so that it goes along where the store goes. Our lines stand together at its end,
below one that says whose they are; all other bytes stay as they are.
"""

from __future__ import annotations

DRIVER = "fsstore"
ATTRIBUTES = ".gitattributes"

IN_CONFLICT = 10
"""How the driver's merge ends that has left conflicts; not 1, with which Python ends where fsstore is gone."""

_HEADING = b"# sessions are shown and merged by fsstore: `fsstore git install`\n"
_SHARD = "[0-9a-f][0-9a-f]/"


def with_lines(text: bytes, shard_depth: int) -> bytes:
    """Return the file's bytes with our lines in it, once; as they are if they are in it already."""
    ours = _lines(shard_depth)
    if ours in text:
        return text
    others = without_lines(text)
    return others + (b"\n" if others and not others.endswith(b"\n") else b"") + ours


def without_lines(text: bytes) -> bytes:
    """Return the file's bytes without our lines, of any shard depth."""
    for shard_depth in (1, 2):
        text = text.replace(_lines(shard_depth), b"")
    return text


def _lines(shard_depth: int) -> bytes:
    # -text: a document's bytes are the same on every system
    return _HEADING + f"/{_SHARD * shard_depth}*.json -text diff={DRIVER} merge={DRIVER}\n".encode()
