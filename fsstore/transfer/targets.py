"""Where an export is written: a file, replaced as a whole; a pipe or a device; standard output.

An export to a file grows under a temporary name beside it, is synced and then renamed: under the final name there is
the old file or the whole new one. A crash leaves a `.fsstore-export-*.tmp`, which nobody reads.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import aiofiles

from fsstore.paths import path_of
from fsstore.printing import printable_json
from fsstore.transfer.lines import STANDARD_STREAM, system_errors

Write: TypeAlias = Callable[[bytes], Awaitable[object]]


@asynccontextmanager
async def opened(target: str) -> AsyncGenerator[Write]:
    """Give what writes to a target, whose whole text is there at the end of the block. `-` is standard output.

    If the block fails, a file that was there before stays. Raises StorageUnavailableError, StorageValidationError.
    """
    is_stream = target == STANDARD_STREAM
    target = target if is_stream else path_of(target, name="target")
    with system_errors("standard output" if is_stream else target):
        if is_stream:
            yield _write_out
            await aiofiles.stdout_bytes.flush()
            return
        path, mode = await asyncio.to_thread(_locate, target)
        if stat.S_ISREG(mode):
            async with _replacing(path, permissions=stat.S_IMODE(mode)) as write:
                yield write
        else:
            # a pipe or a device has no content to keep whole, and must not become a file
            async with aiofiles.open(path, "wb") as file:
                yield file.write


async def _write_out(data: bytes) -> None:
    if sys.stdout is not None and sys.stdout.isatty():
        data = printable_json(data.decode()).encode()
    # in a loop, since under `python -u` the stream writes what it can at once
    rest = memoryview(data)
    while rest:
        rest = rest[await aiofiles.stdout_bytes.write(rest) :]


@asynccontextmanager
async def _replacing(path: Path, *, permissions: int) -> AsyncGenerator[Write]:
    growing = path.with_name(f".fsstore-export-{uuid.uuid4().hex}.tmp")
    try:
        async with aiofiles.open(growing, "xb", opener=_private) as file:
            yield file.write
            await file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        await asyncio.to_thread(_rename, growing, path, permissions)
    finally:
        # after the rename there is nothing left under this name
        growing.unlink(missing_ok=True)


def _rename(growing: Path, path: Path, permissions: int) -> None:
    growing.chmod(permissions)
    growing.replace(path)


def _locate(target: str) -> tuple[Path, int]:
    """Return the path and the mode of what an export will replace: the file behind a link, not the link."""
    path = Path(target).resolve()
    try:
        return path, path.stat().st_mode
    except FileNotFoundError:
        return path, stat.S_IFREG | 0o600


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
