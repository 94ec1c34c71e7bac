"""What one process does under a fault: a piece of work, and then all that its handle must still be good for."""

from __future__ import annotations

import asyncio
import gc
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fsstore import FileStorage
from fsstore.errors import StorageError
from tests.campaign.interpose import Interposer
from tests.campaign.modes import FOREVER, Mode
from tests.campaign.works import NAMES, Operation, Work, opened
from tests.filesystem.crashing import note
from tests.filesystem.faults import busy_writer, until
from tests.filesystem.views import VIEWS, Documents, rescan

IDS = (*NAMES, "added", "missing", "during", "after")
DURING = Operation(lambda storage: storage.save(note("during", "after")), ["during"])
AFTER = Operation(lambda storage: storage.save(note("after", "after")), ["after"])
_CALL_SECONDS = 8.0
_BRIEF_CHARACTERS = 300
_LOOKS, _LOOK_SECONDS = 50, 0.02


class Diary:
    """What a child lives to tell: lines of JSON in a file, written at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._path.write_bytes(b"")

    def note(self, **facts: Any) -> None:
        """Add a line."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, json.dumps(facts).encode() + b"\n")
        os.close(descriptor)

    def read(self, key: str) -> list[Any]:
        """Return the facts of that name."""
        lines = map(json.loads, self._path.read_text().splitlines())
        return [line[key] for line in lines if key in line]


class Life:
    """What a child does: the work, under a fault, and then goes on with the same handle."""

    def __init__(self, work: Work, mode: Mode, store: Path, diary: Diary, *, fsync: bool) -> None:
        self._work = work
        self._mode = mode
        self._store = store
        self._diary = diary
        self._fsync = fsync
        self._interposer = Interposer()
        self._before: Documents = {}

    async def live(self, step: int, trace: Path) -> None:
        """Let the fault fall at a step; what is wrong goes into the diary."""
        storage = None if self._work.watched == "opening" else await self._ready()
        if self._work.watched == "closing":
            await self._rounds(storage)
        self._interposer.watch(self._store, reads=self._mode.reads)
        self._interposer.only(self._mode.functions)
        self._interposer.record(trace)
        self._interposer.at(step, self._mode.action, error=self._mode.error, times=self._mode.times)
        if storage is None:
            storage = await self._bounded("open", self._open)
        if storage is not None and self._work.watched != "closing":
            await self._rounds(storage)
        if storage is not None and (self._work.watched == "closing" or self._mode.kills):
            await self._bounded("close", storage.close)
            storage = None
        elif storage is not None and self._mode.times == FOREVER:
            await self._look(storage, "while it lasts", may_refuse=True)
            await self._operate(DURING)(storage)
        self._interposer.stop()
        self._diary.note(fired=self._interposer.fired)
        if self._interposer.fired and not self._mode.kills:
            await self._go_on(storage)

    async def _ready(self) -> FileStorage:
        storage = await self._open()
        if self._work.warm is not None:
            await self._work.warm(storage)
        await storage.list()
        return storage

    async def _open(self) -> FileStorage:
        return await opened(self._store, fsync=self._fsync)

    async def _go_on(self, storage: FileStorage | None) -> None:
        """Use the handle when all is well again; a store that would not open, or was closed, is opened anew."""
        if storage is not None and storage._store.writer is None:
            # it found a medium that could not be written, and stays so
            await self._bounded("close", storage.close)
            storage = None
        if storage is None:
            storage = await self._open()
        await self._look(storage, "afterwards", may_refuse=False)
        self._diary.note(found=rescan(self._store))
        await self._operate(AFTER, must=True)(storage)
        await self._look(storage, "after a save", may_refuse=False)
        # the directory itself is locked, too
        kept = (str(self._store), "/lock", "/seq", "/open", ".log", ".sqlite3", "-wal", "-shm")
        await self._descriptors("of the open store", kept)
        await self._bounded("close", storage.close)
        await self._descriptors("of the closed store", ())

    async def _descriptors(self, what: str, suffixes: tuple[str, ...]) -> None:
        # what hangs on the tracebacks of errors is no leak
        gc.collect()
        found: list[str] = []
        for _ in range(_LOOKS):
            found = self._left_open(suffixes)
            if not found:
                return
            # a checkpoint may be under way, which soon closes what it syncs
            await asyncio.sleep(_LOOK_SECONDS)
        for target in found:
            self._wrong(f"a descriptor {what} is left open: {target}")

    def _left_open(self, suffixes: tuple[str, ...]) -> list[str]:
        found = []
        for link in Path("/proc/self/fd").iterdir():
            try:
                target = str(link.readlink())
            except FileNotFoundError:
                continue
            # SQLite keeps a deleted file open as long as a connection to it is
            if target.startswith(str(self._store)) and not target.removesuffix(" (deleted)").endswith(suffixes or "\0"):
                found.append(target)
        return found

    async def _rounds(self, storage: FileStorage | None) -> None:
        assert storage is not None
        for number, operations in enumerate(self._work.rounds):
            self._diary.note(begun=number)
            with self._interposer.paused():
                self._before = rescan(self._store)
            calls = [self._operate(operation, (number, at)) for at, operation in enumerate(operations)]
            if len(calls) == 1:
                await calls[0](storage)
                continue
            with ExitStack() as kept:
                with self._interposer.paused():
                    # what keeps the writer busy takes the lock, and is no part of the group
                    kept.enter_context(busy_writer(storage))
                tasks = [asyncio.ensure_future(call(storage)) for call in calls]
                await asyncio.sleep(0)
            await asyncio.gather(*tasks)
        writer = storage._store.writer
        # the callers are answered before the index hears of it, which is part of the work
        await until(lambda: writer is None or not writer.is_holding)

    def _operate(
        self, operation: Operation, key: tuple[int, int] | None = None, *, must: bool = False
    ) -> Callable[[FileStorage], Awaitable[None]]:
        async def operate(storage: FileStorage) -> None:
            fate = "applied"
            try:
                async with asyncio.timeout(_CALL_SECONDS):
                    await operation.run(storage)
            except StorageError as error:
                fate = error.outcome
                if must:
                    self._wrong(f"a save is refused though all is well: {error}")
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is no StorageError
                fate = "unknown"
                self._wrong(f"{operation.ids or 'the call'}: {type(error).__name__}: {error}")
            self._diary.note(fate=[key or operation.ids[0], fate])

        return operate

    async def _bounded(self, what: str, run: Callable[[], Awaitable[Any]]) -> Any:
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                return await run()
        except StorageError as error:
            self._diary.note(refused=f"{what}: {error}")
        except BaseException as error:  # noqa: BLE001 - the same
            self._wrong(f"{what}: {type(error).__name__}: {error}")
        return None

    async def _look(self, storage: FileStorage, when: str, *, may_refuse: bool) -> None:
        loaded: Documents | None = None
        for view in VIEWS:
            with self._interposer.paused():
                earlier = view.answer(rescan(self._store))
            try:
                async with asyncio.timeout(_CALL_SECONDS):
                    answer = await view.ask(storage, IDS)
            except StorageError as error:
                if not may_refuse:
                    self._wrong(f"{when}: {view.name} refuses: {error}")
                continue
            except BaseException as error:  # noqa: BLE001 - the same
                self._wrong(f"{when}: {view.name}: {type(error).__name__}: {error}")
                continue
            if view.name == "load":
                self._diary.note(loaded=answer)
            with self._interposer.paused():
                expected = view.answer(rescan(self._store))
            if storage._store.writer is None:
                # one that cannot write shows what waits in the log: what it loads is judged, and the rest held to that
                loaded = answer if view.name == "load" else loaded
                expected = expected if loaded is None else view.answer(loaded)
            # a batch that could not be finished may be hidden as a whole
            hidden = may_refuse and storage._counters.applying() & 1 and answer == view.answer(self._before)
            # the writer may have finished meanwhile what an error had left in the log
            if answer not in (earlier, expected) and not hidden:
                self._wrong(f"{when}: {view.name} says {_brief(answer)}, the files {_brief(expected)}")

    def _wrong(self, complaint: str) -> None:
        self._diary.note(wrong=complaint)


def _brief(answer: object) -> str:
    text = str(answer)
    return text if len(text) <= _BRIEF_CHARACTERS else f"{text[:_BRIEF_CHARACTERS]}…"
