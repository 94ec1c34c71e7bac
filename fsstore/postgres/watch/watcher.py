"""The thread that publishes what commits have changed, in this process and in others.

Invariants:
- A change is published once: versions of a record only grow, and what is not above the published one was published.
- It looks when it is notified, when this process has committed, and every POLL_SECONDS: a notification is a hint, and
  behind pgbouncer there is none.
- Where the connection is lost it makes another one, and goes on from its position; where the server was started anew,
  or changes were removed before they were read, it also compares all records with what was published.
- What the server refuses for good (the tables are gone, the rights were taken) ends all watches with the error.
- Where a filter asks more of records than changes tell, they are made to hold the records. One that was under way as
  that began, and whose record was replaced before it could be read, is left to the change that has replaced it.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, suppress
from typing import Any
from uuid import UUID

import orjson
import psycopg

from fsstore.errors import StorageClosedError, StorageCorruptedError, StorageUnavailableError
from fsstore.model.records import JsonObject
from fsstore.postgres.commits.writes import READ_ALL
from fsstore.postgres.connections.connection import Server, give_up
from fsstore.postgres.connections.failures import failed, lasts
from fsstore.postgres.schema.rows import key_of, record_in
from fsstore.postgres.watch.following import CLOSE, FETCH, Following, Moved
from fsstore.watching.changes import Origin
from fsstore.watching.ledger import KnownState, Ledger

POLL_SECONDS = 0.5
_PAUSE_SECONDS = 0.25
_CHUNK = 100
_Connection = psycopg.Connection[tuple[Any, ...]]


class Watcher:
    """Follows the changes of a store, for all watches of one process."""

    def __init__(self, server: Server, following: Following, writer: UUID) -> None:
        self.ledger = Ledger(server.place)
        self.needs_whole = False
        """Whether a filter asks for more of a record than a change tells."""
        self._server = server
        self._following = following
        self._writer = writer
        self._guard = threading.Lock()
        self._requests: list[Future[None]] = []
        self._thread: threading.Thread | None = None
        self._is_stopped = False
        self._connection: _Connection | None = None
        # the snapshot up to which changes were published, and when the server that gave it was started
        self._position: str | None = None
        self._started_at: object = None
        # by which the thread is woken, while there is one
        self._hearing: socket.socket | None = None
        self._waking: socket.socket | None = None

    def request(self) -> Future[None]:
        """Have all that is committed by now published; the result comes, or the error that prevents it, when it is.

        Starts the thread if need be; once it was stopped, the error says so.
        """
        request: Future[None] = Future()
        with self._guard:
            if self._is_stopped:
                request.set_exception(StorageClosedError(path=self._server.place))
                return request
            self._requests.append(request)
            if self._thread is None:
                self._hearing, self._waking = socket.socketpair()
                self._hearing.setblocking(False)
                self._waking.setblocking(False)
                self._thread = threading.Thread(target=self._run, name="fsstore-postgres-watch", daemon=True)
                self._thread.start()
        self.wake()
        return request

    def wake(self) -> None:
        """Have the thread look, since something has changed."""
        # full of such bytes it wakes as well, and closed it need not
        with suppress(OSError):
            if self._waking is not None:
                self._waking.send(b"\0")

    def stop(self) -> None:
        """Publish nothing more; the thread ends in its own time, which is short."""
        with self._guard:
            self._is_stopped = True
        self.ledger.end(StorageClosedError(path=self._server.place))
        if (connection := self._connection) is not None:
            give_up(connection)
        self.wake()

    @property
    def has_ended(self) -> bool:
        """Whether it publishes nothing any more."""
        return self._is_stopped

    @property
    def is_alive(self) -> bool:
        """Whether the thread has not ended yet."""
        return self._thread is not None and self._thread.is_alive()

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._is_stopped:
                try:
                    with closing(self._server.connect_blocking()) as connection:
                        self._connection = connection
                        self._follow(connection)
                except psycopg.Error as error:
                    failure = failed(error, self._server.place)
                    if lasts(error):
                        self._is_stopped = True
                        self.ledger.end(failure)
                    self._answer(failure)
                self._connection = None
                self._wait(_PAUSE_SECONDS)
        except BaseException as error:
            failure = StorageUnavailableError(reason=f"watching has ended: {error!r}", path=self._server.place)
            failure.__cause__ = error
            self.ledger.end(failure)
            self._answer(failure)
            raise
        finally:
            self._answer(StorageClosedError(path=self._server.place))
            for each in (self._hearing, self._waking):
                if each is not None:
                    each.close()

    def _answer(self, error: BaseException | None, requests: list[Future[None]] | None = None) -> None:
        if requests is None:
            with self._guard:
                requests, self._requests = self._requests, []
        for request in requests:
            if request.set_running_or_notify_cancel():
                request.set_exception(error) if error is not None else request.set_result(None)

    def _follow(self, connection: _Connection) -> None:
        # psycopg would keep them for somebody who asks
        connection.add_notify_handler(lambda _: None)
        asked = connection.execute("SELECT pg_postmaster_start_time()::text, pg_backend_pid()").fetchone()
        started_at, process = asked or (None, None)
        if process == connection.info.backend_pid:
            # behind a pooler, whoever has that process next would get the notifications
            connection.execute(self._following.listen)
        is_sure = self._position is not None and started_at == self._started_at
        while not self._is_stopped:
            with self._guard:
                requests, self._requests = self._requests, []
            try:
                self._look(connection, compare=not is_sure)
            except psycopg.Error:
                with self._guard:
                    self._requests = requests + self._requests
                raise
            is_sure, self._started_at = True, started_at
            self._answer(None, requests)
            self._wait(POLL_SECONDS, connection)

    def _wait(self, seconds: float, connection: _Connection | None = None) -> None:
        """Wait until there may be something to publish."""
        with self._guard:
            if self._requests and connection is not None:
                return
        if self._hearing is None:
            return
        with selectors.DefaultSelector() as selector:
            selector.register(self._hearing, selectors.EVENT_READ)
            if connection is not None:
                selector.register(connection.pgconn.socket, selectors.EVENT_READ)
            selector.select(seconds)
        with suppress(BlockingIOError):
            while self._hearing.recv(1 << 12):
                pass

    def _look(self, connection: _Connection, *, compare: bool) -> None:
        """Publish what has changed since the position, and move it."""
        if self.needs_whole:
            connection.execute(self._following.want_whole)
        connection.execute(READ_ALL)
        position, _ = connection.execute(self._following.now).fetchone() or ("", "")
        if self._position is not None:
            (is_lost,) = connection.execute(self._following.lost, {"since": self._position}).fetchone() or (True,)
            compare = compare or bool(is_lost)
            for moved in self._moved(connection):
                self._publish(moved)
        if compare:
            self._compare(connection)
        connection.execute(b"COMMIT")
        self._position = str(position)

    def _moved(self, connection: _Connection) -> Iterator[Moved]:
        since = str(self._position)
        for row in _rows(connection, self._following.moved(since, whole=self.needs_whole)):
            yield Moved(*row)

    def _publish(self, moved: Moved) -> None:
        known = self.ledger.get(moved.id)
        version = 0 if known is None else known.version
        origin: Origin = "own" if moved.writer == self._writer else "store"
        if not moved.after:
            if version and version <= moved.before:
                self.ledger.publish(moved.id, None, origin)
        elif version < moved.after and (moved.is_whole or not self.needs_whole):
            record: JsonObject = orjson.loads(moved.known or "{}")
            self.ledger.publish(moved.id, KnownState(moved.id, moved.after, moved.after, origin), origin, record)

    def _compare(self, connection: _Connection) -> None:
        """Publish what differs from what was published; take all for published where nothing was yet."""
        is_first = self._position is None
        there, others = set[str](), list[str]()
        for record_id, version in _rows(connection, self._following.states):
            if is_first:
                self.ledger.adopt(record_id, KnownState(record_id, version, version))
                continue
            there.add(record_id)
            known = self.ledger.get(record_id)
            if known is None or known.version != version:
                others.append(record_id)
        if is_first:
            return
        for at in range(0, len(others), _CHUNK):
            self._publish_present(connection, others[at : at + _CHUNK])
        for record_id in self.ledger.names() - there:
            self.ledger.publish(record_id, None, "store")

    def _publish_present(self, connection: _Connection, ids: list[str]) -> None:
        rows = connection.execute(self._following.records, [[key_of(each) for each in ids]]).fetchall()
        for record_id, version, text in rows:
            # what cannot be read is published once it can
            with suppress(StorageCorruptedError):
                state = KnownState(record_id, version, version, "store")
                self.ledger.publish(record_id, state, "store", record_in(text.encode(), record_id))


def _rows(connection: _Connection, declaration: bytes) -> Iterator[tuple[Any, ...]]:
    """Give the rows of a cursor that a statement declares, some at a time."""
    connection.execute(declaration)
    while rows := connection.execute(FETCH).fetchall():
        yield from rows
    connection.execute(CLOSE)
