"""Sessions in and out of a store as JSON lines: one session a line, compact, keys sorted, UTF-8 unescaped.

Owns the line format, how a source is read and how a target is written. Memory is bounded by a batch and the longest
line. The id of a session is its `metadata.session_id`.

An import commits batch by batch. Whatever stops it (a bad line, a full disk, a crash), the batches committed before
stay, the one under way is not there at all, and importing the same source again gives the same store. A folder in the
old flat layout (`<session_id>.json` each) is only read.

An export to a file grows under a temporary name beside it, is synced and then renamed: under the final name there is
the old file or the whole new one. A crash leaves a `.fsstore-export-*.tmp`, which nobody reads.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

import aiofiles
from pydantic_core import from_json

from fsstore.errors import StorageError, StorageUnavailableError, StorageValidationError
from fsstore.filesystem.layout import MARKER
from fsstore.models import Filters, JsonObject
from fsstore.service import SessionService
from fsstore.values import write_json

Progress: TypeAlias = Callable[[int, int], None]
"""Called after each batch with the bytes and the sessions done so far."""
Write: TypeAlias = Callable[[bytes], Awaitable[object]]
Chunks: TypeAlias = AsyncGenerator[bytes]

STANDARD_STREAM = "-"
MAX_LINE_BYTES = 64 * 1024 * 1024

_BATCH_SESSIONS, _BATCH_BYTES = 100, 4 * 1024 * 1024
_CHUNK_BYTES = 1024 * 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_JSON_SPACE = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class TransferReport:
    """What was moved. An id that an import met twice counts twice; the later one is what the store holds."""

    sessions: int = 0
    bytes: int = 0


def session_line(session: JsonObject) -> bytes:
    """Return a session as one line of an export, with its newline. `session` is as the store gave it.

    What was edited by hand beyond what can be saved is written as it stands. Raises StorageValidationError when that
    is nested too deep to be written at all.
    """
    return write_json(session)


# -- out --------------------------------------------------------------------------------------------------------------


async def export_sessions(
    service: SessionService,
    target: str | os.PathLike[str],
    filters: Filters | None = None,
    *,
    progress: Progress | None = None,
) -> TransferReport:
    """Write the matching sessions to a file, or to standard output for `-`, in the order of their ids.

    The file is readable by its owner only, unless it was there before with other rights. Raises StorageUnavailableError
    when it can not be written; BrokenPipeError passes through.
    """
    done = TransferReport()
    async with (
        _destination(os.fspath(target)) as write,
        aclosing(service.stream_sessions(filters)) as batches,
    ):
        async for batch in batches:
            text = b"".join(map(session_line, batch))
            await write(text)
            done = TransferReport(done.sessions + len(batch), done.bytes + len(text))
            if progress is not None:
                progress(done.bytes, done.sessions)
    return done


@asynccontextmanager
async def _destination(target: str) -> AsyncGenerator[Write]:
    with _system_errors("standard output" if target == STANDARD_STREAM else target):
        if target == STANDARD_STREAM:
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


# -- in ---------------------------------------------------------------------------------------------------------------


async def import_sessions(
    service: SessionService, source: str | os.PathLike[str], *, progress: Progress | None = None
) -> TransferReport:
    """Save the sessions of a JSON lines file, of standard input (`-`), or of a folder in the old flat layout.

    A session that is there already is replaced; times in the metadata are kept. One commit a batch (100 sessions or
    4 MB). Raises StorageValidationError, with file and line, at the first line that is not a session the store can
    hold; the error tells how many sessions were imported until then, and they stay.
    """
    done, batch = TransferReport(), _Batch()
    try:
        async with aclosing(_entries(os.fspath(source))) as entries:
            async for entry in entries:
                batch.add(entry)
                if batch.is_full:
                    done, batch = await _commit(service, batch, done, progress), _Batch()
        return await _commit(service, batch, done, progress)
    except StorageError as error:
        error.advice += f"; {done.sessions} sessions were imported before that and stay, importing again is safe"
        raise


class _Entry(NamedTuple):
    """One session as found: where it stands, its text, the id it has when it names none, the bytes it took."""

    place: str
    text: bytes
    default_id: str | None
    size: int


@dataclass(slots=True)
class _Batch:
    """Sessions that are saved by one commit, and where each came from."""

    sessions: dict[str, JsonObject] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    count: int = 0
    bytes: int = 0

    @property
    def is_full(self) -> bool:
        return self.count >= _BATCH_SESSIONS or self.bytes >= _BATCH_BYTES

    def add(self, entry: _Entry) -> None:
        session_id, session = _parse(entry)
        self.sessions[session_id] = session
        self.places[session_id] = entry.place
        self.count += 1
        self.bytes += entry.size


async def _commit(
    service: SessionService, batch: _Batch, done: TransferReport, progress: Progress | None
) -> TransferReport:
    try:
        await service.batch_save_sessions(batch.sessions, keep_times=True)
    except StorageValidationError as error:
        if error.id is None or error.id not in batch.places:
            raise
        at = f"{error.path}: " if error.path else ""
        raise _refused(batch.places[error.id], at + error.reason, record_id=error.id) from error
    done = TransferReport(done.sessions + batch.count, done.bytes + batch.bytes)
    if progress is not None:
        progress(done.bytes, done.sessions)
    return done


def _parse(entry: _Entry) -> tuple[str, JsonObject]:
    try:
        # not orjson: it reads integers beyond 64 bits as floats, and the store must see them to refuse them
        session = from_json(entry.text, allow_inf_nan=False)
    except ValueError as error:
        reason = str(error).replace(" at line 1 column ", " at column ")
        raise _refused(entry.place, f"it is not JSON: {reason}") from error
    if type(session) is not dict:
        raise _refused(entry.place, f"it is a JSON {type(session).__name__}, a session is an object")
    metadata = session.get("metadata")
    named = metadata.get("session_id") if isinstance(metadata, dict) else None
    session_id = entry.default_id if named is None else named
    if type(session_id) is not str or not session_id:
        raise _refused(entry.place, "it has no id: metadata.session_id must be a string, and not empty")
    return session_id, session


def _refused(place: str, reason: str, *, record_id: str | None = None) -> StorageValidationError:
    return StorageValidationError(f"{place}: {reason}", record_id=record_id, advice="correct it there")


# -- sources ----------------------------------------------------------------------------------------------------------


def _entries(source: str) -> AsyncGenerator[_Entry]:
    if source == STANDARD_STREAM:
        return _lines(_standard_input(), "standard input")
    if Path(source).is_dir():
        return _flat_files(Path(source))
    return _lines(_file_chunks(source), source)


async def _lines(chunks: Chunks, name: str) -> AsyncGenerator[_Entry]:
    """Give the lines that hold anything, whichever way they end; a byte order mark at the start is skipped.

    Raises StorageValidationError before a line takes more memory than allowed.
    """
    number, parts, held = 1, list[bytes](), 0
    async with aclosing(chunks):
        async for chunk in chunks:
            for piece in _pieces(chunk):
                parts.append(piece)
                held += len(piece)
                if held > MAX_LINE_BYTES:
                    raise _refused(f"{name}, line {number}", f"it is longer than {MAX_LINE_BYTES} bytes")
                if piece.endswith(b"\n"):
                    for entry in _line(parts, name, number):
                        yield entry
                    number, parts, held = number + 1, [], 0
    for entry in _line(parts, name, number):
        yield entry


def _line(parts: list[bytes], name: str, number: int) -> Iterator[_Entry]:
    """Give the entry that a line is; none when it is blank."""
    line = b"".join(parts)
    text = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
    if text := text.strip(_JSON_SPACE):
        yield _Entry(f"{name}, line {number}", text, None, len(line))


def _pieces(chunk: bytes) -> Iterator[bytes]:
    # bytes.splitlines would also end a line at a lone \r
    *whole, rest = chunk.split(b"\n")
    yield from (piece + b"\n" for piece in whole)
    if rest:
        yield rest


async def _file_chunks(path: str) -> Chunks:
    with _system_errors(path):
        async with aiofiles.open(path, "rb") as file:
            while chunk := await file.read(_CHUNK_BYTES):
                yield chunk


async def _standard_input() -> Chunks:
    if sys.stdin is None:
        raise StorageUnavailableError("it is closed", path="standard input", advice="name a file, or pipe one in")
    with _system_errors("standard input"):
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
        return  # a device like /dev/null, or a loop that can not watch one: then the read itself waits
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


async def _flat_files(folder: Path) -> AsyncGenerator[_Entry]:
    with _system_errors(str(folder)):
        files = await asyncio.to_thread(lambda: sorted(path for path in folder.glob("*.json") if path.is_file()))
    if folder / MARKER in files:
        raise StorageValidationError(
            f"{folder} is a store, not a folder of sessions",
            path="source",
            advice="export it, and import that",
        )
    for path in files:
        with _system_errors(str(path)):
            async with aiofiles.open(path, "rb") as file:
                text = await file.read(MAX_LINE_BYTES + 1)
        if len(text) > MAX_LINE_BYTES:
            raise _refused(str(path), f"it is longer than {MAX_LINE_BYTES} bytes")
        yield _Entry(str(path), text.removeprefix(_BYTE_ORDER_MARK), path.stem, len(text))


@contextmanager
def _system_errors(path: str) -> Iterator[None]:
    """Turn what the system says about a file into errors of ours; a closed pipe is the caller's business."""
    try:
        yield
    except (StorageError, BrokenPipeError):
        raise  # a timeout of the store is an OSError too
    except FileNotFoundError as error:
        raise StorageValidationError("there is no such file or folder", path=path, advice="check the path") from error
    except OSError as error:
        raise StorageUnavailableError(error.strerror or str(error), path=path, errno=error.errno) from error
