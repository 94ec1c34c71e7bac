"""The connections of an open store, each used by one call at a time, in whichever event loop and thread.

A connection of psycopg belongs to no event loop, and nothing here runs beside the calls: so the same pool serves
coroutines and, by the synchronous face, threads with an event loop each. (The workers of psycopg_pool live in the loop
in which it was opened, and a call of the synchronous face ends when all tasks of its loop have.) Invariants:
- A connection that is given back in the middle of something is closed. One that has ended while nobody used it is
  replaced when it is due.
- A call that no connection becomes free for gets StorageTimeoutError; so does one whose connection does not answer.
- A child of fork makes connections of its own. Those of its parent are kept there as they are: to close one would end
  it for the parent, too.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from fsstore.errors import StorageClosedError, StorageError
from fsstore.forking import tell_child
from fsstore.postgres.connections.connection import Connection, Server, give_up, is_stale
from fsstore.postgres.connections.failures import failed, is_lost, no_answer, pool_exhausted

T = TypeVar("T")
_Waiting: TypeAlias = "tuple[asyncio.AbstractEventLoop, asyncio.Future[Connection | None]]"

_INHERITED: list[object] = []
"""Connections of a parent process, and who holds some, kept so that nothing closes them."""


def keep_for_parent(inherited: object) -> None:
    """Let what a child of fork has inherited be as it is until the child ends."""
    _INHERITED.append(inherited)


class Lease:
    """A connection while one call uses it."""

    def __init__(self, connection: Connection, server: Server) -> None:
        self.connection = connection
        self.is_expired = False
        self._server = server
        loop = asyncio.get_running_loop()
        self._time, self._began = loop.time, loop.time()
        self._timer = loop.call_later(server.patience_seconds, self._expire)

    def end(self) -> None:
        """Wait no longer for the time that the call has."""
        self._timer.cancel()

    def failed(self, error: psycopg.Error) -> StorageError:
        """Return the error of ours for one of this connection, by which nothing was applied."""
        if self.is_expired:
            return no_answer(self._server.place, self._server.patience_seconds, "not applied")
        waited = self._time() - self._began
        return failed(error, self._server.place, waited_seconds=waited, timeout_seconds=self._server.timeout_seconds)

    def _expire(self) -> None:
        self.is_expired = True
        give_up(self.connection)


class Pool:
    """At most `size` connections to a server, made when they are needed."""

    def __init__(self, server: Server, size: int) -> None:
        self.server = server
        self._size = size
        self._process = os.getpid()
        self._begin()
        self._closed = False
        tell_child(self)

    def _begin(self) -> None:
        self._guard = threading.Lock()
        self._idle: list[Connection] = []
        # those in use and those being made, too
        self._count = 0
        self._waiters: deque[_Waiting] = deque()

    def in_child(self) -> None:
        """Leave the connections to the parent."""
        _INHERITED.extend(self._idle)
        self._process = os.getpid()
        self._begin()

    @asynccontextmanager
    async def lease(self) -> AsyncGenerator[Lease]:
        """Give a connection for one call; errors of psycopg are the caller's to translate."""
        connection, process = await self._acquire(), os.getpid()
        lease = Lease(connection, self.server)
        try:
            yield lease
        finally:
            lease.end()
            if process == os.getpid():
                self._release(connection)
            else:
                keep_for_parent(connection)

    async def run(self, ask: Callable[[Connection], Awaitable[T]]) -> T:
        """Have a connection do what may be done twice, and return what that gives.

        It is done again, once, where the connection is lost, as when the server was started anew. Raises
        StorageUnavailableError, StorageTimeoutError.
        """
        for is_last in (False, True):
            async with self.lease() as lease:
                try:
                    return await ask(lease.connection)
                except psycopg.Error as error:
                    if is_last or lease.is_expired or not is_lost(lease.connection, error):
                        raise lease.failed(error) from error
        raise AssertionError

    async def close(self) -> None:
        """Close what is idle, and what is in use when it is given back; waits for that, as long as a call may take."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
            self._count -= len(idle)
            waiters, self._waiters = self._waiters, deque()
        for connection in idle:
            _close(connection)
        for waiter in waiters:
            # it takes a place that there is not, and gives it back at once
            self._count += 1
            self._pass_on(waiter, None)
        ends = asyncio.get_running_loop().time() + self.server.patience_seconds
        # not for an event: it may be given back in another loop
        while self._count and asyncio.get_running_loop().time() < ends:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    # -- taking and giving back ---------------------------------------------------------------------------------------

    async def _acquire(self) -> Connection:
        while True:
            with self._guard:
                self.check()
                if self._idle:
                    connection: Connection | None = self._idle.pop()
                    waiter = None
                elif self._count < self._size:
                    self._count += 1
                    connection = waiter = None
                else:
                    loop = asyncio.get_running_loop()
                    waiter = loop, loop.create_future()
                    self._waiters.append(waiter)
            if waiter is not None:
                connection = await self._wait(waiter)
                if self._closed:
                    self._drop(connection)
                    continue
            if connection is None:
                return await self._made()
            if not is_stale(connection):
                return connection
            self._drop(connection)

    def check(self) -> None:
        """Raise StorageClosedError when the store was closed."""
        if self._closed:
            raise StorageClosedError(path=self.server.place)

    async def _made(self) -> Connection:
        """Return a new connection, in the place that was kept for it."""
        try:
            return await self.server.connect()
        except BaseException:
            self._drop(None)
            raise

    async def _wait(self, waiter: _Waiting) -> Connection | None:
        """Return a connection that has become free, or None for the place of one."""
        try:
            await asyncio.sleep(0)
            async with asyncio.timeout(self.server.timeout_seconds):
                return await waiter[1]
        except TimeoutError as error:
            self._leave(waiter)
            raise pool_exhausted(self.server.place, self._size, self.server.timeout_seconds) from error
        except BaseException:
            self._leave(waiter)
            raise

    def _leave(self, waiter: _Waiting) -> None:
        with self._guard, suppress(ValueError):
            self._waiters.remove(waiter)
        future = waiter[1]
        if not future.cancel() and not future.cancelled():
            # it was given one at this very moment
            self._give(future.result())

    def _release(self, connection: Connection) -> None:
        if connection.closed or connection.info.transaction_status != TransactionStatus.IDLE:
            self._drop(connection)
        else:
            self._give(connection)

    def _drop(self, connection: Connection | None) -> None:
        """Close a connection, and let another one be made in its place."""
        if connection is not None:
            _close(connection)
        self._give(None)

    def _give(self, connection: Connection | None) -> None:
        """Give a connection, or the place of one, to who has waited longest, else keep it."""
        with self._guard:
            waiter = self._waiters.popleft() if self._waiters else None
            if waiter is None and connection is not None and not self._closed:
                self._idle.append(connection)
                return
            if waiter is None:
                self._count -= 1
        if waiter is None:
            if connection is not None:
                _close(connection)
            return
        self._pass_on(waiter, connection)

    def _pass_on(self, waiter: _Waiting, connection: Connection | None) -> None:
        try:
            waiter[0].call_soon_threadsafe(self._hand, waiter, connection)
        except RuntimeError:
            # its loop has ended
            self._give(connection)

    def _hand(self, waiter: _Waiting, connection: Connection | None) -> None:
        if waiter[1].done():
            # who waited was cancelled, or has waited long enough
            self._give(connection)
        else:
            waiter[1].set_result(connection)


def _close(connection: Connection) -> None:
    connection.pgconn.finish()
