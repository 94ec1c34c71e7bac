"""The limit: one readable JSON file a session, written aside and renamed, with nothing around it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, TypeVar

import orjson

from tests.benchmarks.documents import Session
from tests.benchmarks.peers.store import BlockingStore

T = TypeVar("T")

_READABLE = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
_LOG_BYTES = 16 << 20


class Raw(BlockingStore):
    name = "raw"
    timed = (
        "open, write, os.replace, called directly; orjson, indented and sorted; durable: fsync of file and directory"
    )
    durabilities: ClassVar[tuple[bool, ...]] = (False, True)

    async def save(self, name: str, session: Session) -> None:
        await self._call(self._write, name, session)

    async def get(self, name: str) -> Any:
        return await self._call(self._read, name)

    async def exists(self, name: str) -> bool:
        return await self._call(os.path.exists, self._path(name))

    async def delete(self, name: str) -> None:
        await self._call(self._remove, name)

    async def update(self, name: str, changed: Session) -> None:
        await self._call(self._change, name, changed)

    async def all_names(self) -> Iterable[str]:
        return await self._call(self._found)

    async def survey(self) -> int:
        return await self._call(self._scan)

    async def stream(self) -> AsyncIterator[Session]:
        for name in await self.all_names():
            yield await self.get(name)

    # -- what is done -------------------------------------------------------------------------------------------------

    def _path(self, name: str) -> str:
        return f"{self.directory}/{name}.json"

    def _write(self, name: str, session: Session) -> None:
        self._place(name, orjson.dumps(session, option=_READABLE))

    def _place(self, name: str, data: bytes) -> None:
        draft = f"{self.directory}/.{name}.tmp"
        with open(draft, "wb") as file:  # noqa: PTH123 - the plainest way is what it stands for
            file.write(data)
            if self.syncs_files:
                file.flush()
                os.fsync(file.fileno())
        os.replace(draft, self._path(name))  # noqa: PTH105 - the same
        self._sync_directory()

    def _read(self, name: str) -> Any:
        try:
            with open(self._path(name), "rb") as file:  # noqa: PTH123 - the same
                return orjson.loads(file.read())
        except FileNotFoundError:
            return None

    def _change(self, name: str, changed: Session) -> None:
        session = self._read(name)
        session["metadata"].update(changed)
        self._write(name, session)

    def _remove(self, name: str) -> None:
        os.unlink(self._path(name))  # noqa: PTH108 - the same
        self._sync_directory()

    @property
    def syncs_files(self) -> bool:
        """Whether each file, and the directory that names it, is on disk when its write is acknowledged."""
        return self.durable

    def _sync_directory(self) -> None:
        if self.syncs_files:
            descriptor = os.open(self.directory, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _found(self) -> list[str]:
        with os.scandir(self.directory) as entries:
            return [entry.name.removesuffix(".json") for entry in entries if not entry.name.startswith(".")]

    def _scan(self) -> int:
        with os.scandir(self.directory) as entries:
            # the sum is of sizes, so that each file is really asked for its own
            return sum(entry.stat(follow_symlinks=False).st_size > 0 for entry in entries)


class RawThread(Raw):
    name = "raw thread"
    timed = "the same, handed to one worker thread of its own: nothing blocks the event loop"
    blocking = False

    async def open(self) -> None:
        self._thread = ThreadPoolExecutor(1)

    async def close(self) -> None:
        self._thread.shutdown()

    async def _call(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


class RawLogged(RawThread):
    name = "raw logged"
    timed = (
        "the same behind a log: a write is acknowledged once its bytes are synced in one file, over what lies there "
        "already, and placed; no file of a session is ever synced, and the log has no end"
    )
    durabilities = (True,)

    @property
    def syncs_files(self) -> bool:
        """Whether a write waits for anything but the log."""
        return False

    async def open(self) -> None:
        await super().open()
        self._log, self._at = os.open(self.directory.with_suffix(".log"), os.O_RDWR | os.O_CREAT, 0o600), 0
        os.write(self._log, bytes(_LOG_BYTES))
        os.fsync(self._log)

    async def close(self) -> None:
        await super().close()
        os.close(self._log)

    def _place(self, name: str, data: bytes) -> None:
        self._record(data)
        super()._place(name, data)

    def _remove(self, name: str) -> None:
        self._record(name.encode())
        super()._remove(name)

    def _record(self, data: bytes) -> None:
        if self._at + len(data) > _LOG_BYTES:
            self._at = 0
        os.pwrite(self._log, data, self._at)
        os.fdatasync(self._log)
        self._at += len(data)
