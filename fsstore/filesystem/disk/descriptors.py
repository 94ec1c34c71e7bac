"""Reading and writing through an open descriptor, all of it, however many calls that takes."""

from __future__ import annotations

import os
from collections.abc import Iterable

_PIECE_BYTES = 64 << 10


def read_all(descriptor: int, size: int) -> bytes:
    """Return the bytes of a file that had so many, and one more if it has grown; fewer where it has shrunk."""
    if hasattr(os, "pread"):
        # one byte more than the size, so that a file that has just grown shows as such
        data = os.pread(descriptor, size + 1, 0)
        if len(data) == size:
            return data
    os.lseek(descriptor, 0, os.SEEK_SET)
    parts = []
    wanted = size + 1
    while wanted > 0 and (part := os.read(descriptor, wanted)):
        parts.append(part)
        wanted -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of the bytes, however many calls that takes."""
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


def write_parts(descriptor: int, parts: Iterable[bytes | memoryview]) -> None:
    """Write all of the parts, one after another, in pieces that need no fresh memory."""
    piece: list[bytes | memoryview] = []
    size = 0
    for part in parts:
        if len(part) >= _PIECE_BYTES:
            # to copy it would take longer than a call more
            write_all(descriptor, b"".join(piece))
            write_all(descriptor, part)
            piece, size = [], 0
            continue
        piece.append(part)
        size += len(part)
        if size >= _PIECE_BYTES:
            write_all(descriptor, b"".join(piece))
            piece, size = [], 0
    if piece:
        write_all(descriptor, b"".join(piece))


def sync_data(descriptor: int) -> None:
    """Bring a file's bytes to the disk, and of its metadata only what reading them needs."""
    getattr(os, "fdatasync", os.fsync)(descriptor)
