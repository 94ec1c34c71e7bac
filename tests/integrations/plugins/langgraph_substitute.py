"""A pytest plugin: the tests of LangGraph's SQLite package get fsstore where they ask for its savers and stores.

The classes of that package keep their names, and their file becomes a directory of its own, in which nothing is synced.
"""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any, Self

import langgraph.checkpoint.sqlite
import langgraph.checkpoint.sqlite.aio
import langgraph.store.sqlite
import langgraph.store.sqlite.aio
from places import place

from fsstore.integrations.langgraph import FsstoreSaver, FsstoreStore

_DIRECTORIES: dict[str, str] = {}
_ROOM = ExitStack()
atexit.register(_ROOM.close)


def place_of(conn_string: str) -> Any:
    """Return the store that stands for a database file, and the options; nothing for one in memory."""
    if conn_string == ":memory:":
        return (), {}
    if conn_string not in _DIRECTORIES:
        _DIRECTORIES[conn_string] = _ROOM.enter_context(tempfile.TemporaryDirectory())
    where, options = place(_DIRECTORIES[conn_string])
    return (where,), options


class Saver(FsstoreSaver):
    """Takes the place of `SqliteSaver` and of `AsyncSqliteSaver`."""

    @classmethod
    @contextmanager
    def from_conn_string(cls, conn_string: str) -> Iterator[Self]:
        """Open it as `SqliteSaver` does."""
        place, options = place_of(conn_string)
        with cls(*place, **options) as saver:
            yield saver


class AsyncSaver(FsstoreSaver):
    """The same for coroutines."""

    @classmethod
    @asynccontextmanager
    async def from_conn_string(cls, conn_string: str) -> AsyncIterator[Self]:
        """Open it as `AsyncSqliteSaver` does."""
        place, options = place_of(conn_string)
        async with cls(*place, **options) as saver:
            yield saver


class Store(FsstoreStore):
    """Takes the place of `SqliteStore`."""

    @classmethod
    @contextmanager
    def from_conn_string(cls, conn_string: str, *, index: Any = None, ttl: Any = None) -> Iterator[Self]:
        """Open it as `SqliteStore` does."""
        place, options = place_of(conn_string)
        with cls(*place, index=index, ttl=ttl, **options) as store:
            yield store

    def setup(self) -> None:
        """Do nothing: there is no schema."""


class AsyncStore(FsstoreStore):
    """Takes the place of `AsyncSqliteStore`, whose sweeping is by coroutine."""

    @classmethod
    @asynccontextmanager
    async def from_conn_string(cls, conn_string: str, *, index: Any = None, ttl: Any = None) -> AsyncIterator[Self]:
        """Open it as `AsyncSqliteStore` does."""
        place, options = place_of(conn_string)
        async with cls(*place, index=index, ttl=ttl, **options) as store:
            yield store

    async def setup(self) -> None:
        """Do nothing: there is no schema."""

    async def sweep_ttl(self) -> int:  # type: ignore[override] # it is a coroutine there
        """Sweep."""
        return await self.asweep_ttl()

    async def start_ttl_sweeper(self, sweep_interval_minutes: float | None = None) -> None:  # type: ignore[override] # as above
        """Start the thread."""
        super().start_ttl_sweeper(sweep_interval_minutes)

    async def stop_ttl_sweeper(self) -> bool:  # type: ignore[override] # as above
        """Stop the thread."""
        return super().stop_ttl_sweeper()

    def close(self) -> None:
        """Close it."""
        FsstoreStore.stop_ttl_sweeper(self)
        self._store.close()


langgraph.checkpoint.sqlite.SqliteSaver = Saver
langgraph.checkpoint.sqlite.aio.AsyncSqliteSaver = AsyncSaver
langgraph.store.sqlite.SqliteStore = Store
langgraph.store.sqlite.AsyncSqliteStore = langgraph.store.sqlite.aio.AsyncSqliteStore = AsyncStore
