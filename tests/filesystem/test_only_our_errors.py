"""Every public method under every injected error: what leaves the API is a StorageError, and the store goes on.

Errors of the index are those of SQLite, which calls the system itself; they are injected at its calls. Errors of the
system are injected at the calls of Python.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage, SessionService, StorageError
from fsstore.filesystem.index import connection as connecting
from fsstore.filesystem.index.index_file import IndexFile
from tests.filesystem.faults import Faults

Call = Callable[[FileStorage, SessionService], Awaitable[Any]]

MOST_STEPS = 12


class Injector:
    """Lets calls of SQLite fail: one of them, or all from one on."""

    def __init__(self) -> None:
        self.fired = 0
        self._left, self._is_lasting, self._code = -1, False, 0

    @contextmanager
    def failing(self, step: int, code: int, *, lasting: bool) -> Iterator[None]:
        self.fired, self._left, self._is_lasting, self._code = 0, step, lasting, code
        try:
            yield
        finally:
            self._left = -1

    def call(self) -> None:
        if self._left < 0:
            return
        self._left -= self._left > 0
        if self._left == 0:
            self.fired += 1
            if not self._is_lasting:
                self._left = -1
            kind = sqlite3.DatabaseError if self._code == sqlite3.SQLITE_CORRUPT else sqlite3.OperationalError
            error = kind("injected")
            error.sqlite_errorcode = self._code
            raise error


@pytest.fixture
def injector(monkeypatch: pytest.MonkeyPatch) -> Injector:
    """Stand between the store and SQLite from the first connection on."""
    found = Injector()

    class Failing(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            found.call()
            return super().execute(sql, parameters)

        def cursor(self, *_: Any) -> Any:
            return super().cursor(FailingCursor)

    class FailingCursor(sqlite3.Cursor):
        def execute(self, sql: str, parameters: Any = (), /) -> Any:
            found.call()
            return super().execute(sql, parameters)

    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *arguments, **options: connect(*arguments, **options, factory=Failing)
    )
    return found


async def _all_of(stream: AsyncIterator[Any]) -> list[Any]:
    return [each async for each in stream]


async def _in_transaction(sessions: SessionService) -> None:
    async with sessions.transaction() as transaction:
        await transaction.save_session("t", {"messages": []})


RESIDUE = {"data.messages.content": "hello"}
SESSION_RESIDUE = {"messages.content": "hello"}
SESSION: dict[str, Any] = {"metadata": {"status": "open"}, "messages": [{"content": "hello"}]}
RECORD = {"id": "r", "data": {}}

CALLS: dict[str, Call] = {
    "load": lambda storage, _: storage.load("a"),
    "exists": lambda storage, _: storage.exists("a"),
    "save": lambda storage, _: storage.save(RECORD),
    "update": lambda storage, _: storage.update("a", {"data": {"x": 1}}),
    "delete": lambda storage, _: storage.delete("c"),
    "list": lambda storage, _: storage.list(),
    "list with a residue": lambda storage, _: storage.list(RESIDUE, 3, order_by="data.x", offset=1),
    "list_metadata": lambda storage, _: storage.list_metadata({"data.metadata.status": "open"}),
    "stream_list": lambda storage, _: _all_of(storage.stream_list(batch_size=2)),
    "count": lambda storage, _: storage.count(),
    "count with a residue": lambda storage, _: storage.count(RESIDUE),
    "query": lambda storage, _: storage.query("SELECT id FROM documents"),
    "get_by_session": lambda storage, _: storage.get_by_session("a"),
    "get_by_thread": lambda storage, _: storage.get_by_thread("a"),
    "transaction": lambda storage, _: storage.transaction([{"type": "save", "data": RECORD}]),
    "batch_save": lambda storage, _: storage.batch_save([RECORD, {"id": "q"}]),
    "batch_delete": lambda storage, _: storage.batch_delete(["q", "r"]),
    "cleanup_old_data": lambda storage, _: storage.cleanup_old_data(1),
    "health_check": lambda storage, _: storage.health_check(),
    "floor": lambda storage, _: storage.floor(),
    "refresh": lambda storage, _: storage.refresh(),
    "verify": lambda storage, _: storage.verify(hash=True),
    "repair": lambda storage, _: storage.repair(),
    "save_session": lambda _, sessions: sessions.save_session("s", SESSION),
    "get_session": lambda _, sessions: sessions.get_session("a"),
    "list_sessions": lambda _, sessions: sessions.list_sessions(SESSION_RESIDUE, limit=2),
    "list_page": lambda _, sessions: sessions.list_page(),
    "count_sessions": lambda _, sessions: sessions.count_sessions({"status": "open"}),
    "stream_sessions": lambda _, sessions: _all_of(sessions.stream_sessions()),
    "edit_session": lambda _, sessions: sessions.edit_session("a", lambda draft: draft.update(x=1)),
    "sessions' transaction": lambda _, sessions: _in_transaction(sessions),
    "batch_save_sessions": lambda _, sessions: sessions.batch_save_sessions({"s": SESSION, "u": SESSION}),
}


async def fill(storage: FileStorage) -> None:
    await storage.batch_save(
        {"id": name, "type": "session", "session_id": name, "data": {**SESSION, "x": at}}
        for at, name in enumerate("abcde")
    )


async def checked(call: Call, storage: FileStorage) -> None:
    """Call, and let an error of ours pass."""
    try:
        await call(storage, SessionService(storage))
    except StorageError:
        return


SQLITE = {
    "fsync": sqlite3.SQLITE_IOERR | (4 << 8),
    "corrupt": sqlite3.SQLITE_CORRUPT,
    "full": sqlite3.SQLITE_FULL,
    "busy": sqlite3.SQLITE_BUSY,
    "cannot open": sqlite3.SQLITE_CANTOPEN,
    "no memory": sqlite3.SQLITE_NOMEM,
}


@pytest.mark.parametrize("error", SQLITE)
@pytest.mark.parametrize("name", CALLS)
async def test_an_error_of_the_index_leaves_no_method_as_it_is(
    tmp_path: Path, injector: Injector, name: str, error: str
) -> None:
    """Once, and for good: with an index that is trusted, and with one that must be looked through first."""
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        await fill(storage)
        for lasting in (False, True):
            for step in range(1, MOST_STEPS):
                storage._counters.increase("stale")
                with injector.failing(step, SQLITE[error], lasting=lasting):
                    await checked(CALLS[name], storage)
                if not injector.fired:
                    break
        await storage.refresh()
        assert await storage.count({"id": {"$in": ["a", "b"]}}) == 2
        assert {"a", "b"} <= {record["id"] for record in await storage.list()}


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES, errno.EMFILE])
@pytest.mark.parametrize("name", CALLS)
async def test_an_error_of_the_system_leaves_no_method_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    faults = Faults(monkeypatch)
    async with await FileStorage.open(tmp_path) as storage:
        await fill(storage)
        for step in range(1, MOST_STEPS):
            with faults.at_step(step, number):
                await checked(CALLS[name], storage)
            if not faults.fired:
                break
        assert {"a", "b"} <= {record["id"] for record in await storage.list()}


async def test_a_damaged_index_that_cannot_be_replaced_gives_way_to_one_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the first sync of the new file fails, too: that was an internal error."""

    def use(self: IndexFile, work: Any, *, writing: bool = False) -> Any:
        if self.in_memory:
            return used(self, work, writing=writing)
        raise connecting.IndexDamagedError("disk I/O error")

    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        await fill(storage)
        used = IndexFile.use
        monkeypatch.setattr(IndexFile, "use", use)

        assert len(await storage.list()) == 5
        assert await storage.count() == 5
        assert (await storage.health_check())["index"] == "memory"
