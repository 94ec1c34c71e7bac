"""Where an import reads: JSON lines in a file or from standard input, or a folder in the old flat layout.

Gives the text of each session with the place where it stands, and takes no more memory than the longest may have. A
folder in the old flat layout (`<session_id>.json` each) is only read.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple, TypeAlias

import aiofiles

from fsstore.errors import StorageUnavailableError, StorageValidationError
from fsstore.filesystem.documents.layout import MARKER
from fsstore.model.json_text import BYTE_ORDER_MARK
from fsstore.paths import path_of
from fsstore.transfer.lines import STANDARD_STREAM, system_errors

Chunks: TypeAlias = AsyncGenerator[bytes]

MAX_LINE_BYTES = 64 * 1024 * 1024

_CHUNK_BYTES = 1024 * 1024
_TOO_LONG = "is longer than {} bytes"
_JSON_SPACE = b" \t\r\n"


class Entry(NamedTuple):
    """One session as found: where it stands, its text, the id it has when it names none, the bytes it took.

    `fault` says why it is too long to be read; then there is no text.
    """

    place: str
    text: bytes
    default_id: str | None
    size: int
    fault: str = ""


def entries(source: str) -> AsyncGenerator[Entry]:
    """Give the sessions of a source as they stand there. Raises StorageValidationError, StorageUnavailableError."""
    if source == STANDARD_STREAM:
        return _lines(_standard_input(), "standard input")
    source = path_of(source, name="source")
    with system_errors(source):
        is_folder = Path(source).is_dir()
    if is_folder:
        return _flat_files(Path(source))
    return _lines(_file_chunks(source), source)


async def _lines(chunks: Chunks, name: str) -> AsyncGenerator[Entry]:
    """Give the lines that hold anything, whichever way they end; a byte order mark at the start is skipped.

    A line that is too long is given as a fault as soon as that is known, and its rest is passed over.
    """
    number, parts, held = 1, list[bytes](), 0
    async with aclosing(chunks):
        async for chunk in chunks:
            for piece in _pieces(chunk):
                parts.append(piece)
                held += len(piece)
                if held > MAX_LINE_BYTES:
                    if held - len(piece) <= MAX_LINE_BYTES:
                        yield Entry(f"{name}, line {number}", b"", None, 0, _TOO_LONG.format(MAX_LINE_BYTES))
                    parts.clear()
                if piece.endswith(b"\n"):
                    for entry in _line(parts, name, number):
                        yield entry
                    number, parts, held = number + 1, [], 0
    for entry in _line(parts, name, number):
        yield entry


def _line(parts: list[bytes], name: str, number: int) -> Iterator[Entry]:
    """Give the entry that a line is; none when it is blank."""
    line = b"".join(parts)
    text = line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
    if text := text.strip(_JSON_SPACE):
        yield Entry(f"{name}, line {number}", text, None, len(line))


def _pieces(chunk: bytes) -> Iterator[bytes]:
    # bytes.splitlines would also end a line at a lone \r
    *whole, rest = chunk.split(b"\n")
    yield from (piece + b"\n" for piece in whole)
    if rest:
        yield rest


async def _file_chunks(path: str) -> Chunks:
    with system_errors(path):
        async with aiofiles.open(path, "rb") as file:
            while chunk := await file.read(_CHUNK_BYTES):
                yield chunk


async def _standard_input() -> Chunks:
    if sys.stdin is None:
        raise StorageUnavailableError(
            reason="it is closed", path="standard input", advice="name a file, or pipe one in"
        )
    with system_errors("standard input"):
        descriptor = sys.stdin.fileno()
        await _until_readable(descriptor)
        while chunk := await asyncio.to_thread(os.read, descriptor, _CHUNK_BYTES):
            yield chunk
            await _until_readable(descriptor)


async def _until_readable(descriptor: int) -> None:
    """Wait without a thread: one that hangs in a read could not be cancelled, and Ctrl-C would wait for a line."""
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except (PermissionError, NotImplementedError):
        return  # a device like /dev/null, or a loop that cannot watch one: then the read itself waits
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


async def _flat_files(folder: Path) -> AsyncGenerator[Entry]:
    with system_errors(str(folder)):
        files = await asyncio.to_thread(lambda: sorted(path for path in folder.glob("*.json") if path.is_file()))
    if folder / MARKER in files:
        raise StorageValidationError(
            reason=f"{folder} is a store, not a folder of sessions",
            path="source",
            advice="export it, and import that",
        )
    if not files and any(await asyncio.to_thread(lambda: list(folder.iterdir()))):
        raise StorageValidationError(
            reason=f"{folder} holds no .json file",
            path="source",
            advice="name the folder in which the files lie, or one file of JSON lines",
        )
    for path in files:
        with system_errors(str(path)):
            async with aiofiles.open(path, "rb") as file:
                text = await file.read(MAX_LINE_BYTES + 1)
        if len(text) > MAX_LINE_BYTES:
            yield Entry(str(path), b"", None, 0, _TOO_LONG.format(MAX_LINE_BYTES))
            continue
        yield Entry(str(path), text.removeprefix(BYTE_ORDER_MARK), path.stem, len(text))
