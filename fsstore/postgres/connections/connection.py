"""Connections to PostgreSQL: where the server is, how one is made, and how one is given up that does not answer.

Invariants:
- A connection commits each statement by itself until BEGIN is sent, and sets nothing but within a transaction: so it
  may be one of pgbouncer's, which gives the next transaction to another server process. It prepares statements only
  where the process that answers is the one that the connection was made to, as none behind a pooler is.
- Nothing waits for ever. The server ends a statement of a transaction after `timeout_seconds`; where it cannot be
  heard any more, the socket is shut down a little later, and whoever waits gets an error of the connection. A thread
  that waits for no call, as that of a watch, gets one from the system when what it sends is not acknowledged.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from fsstore.errors import StorageUnavailableError, StorageValidationError
from fsstore.postgres.connections.failures import failed, no_connection

Connection: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]

_PREPARED_AFTER = 2
"""How often a connection runs a statement before it prepares it."""
_GRACE_SECONDS = 1.0
"""How much longer than the server is waited for before a connection is given up."""


@dataclass(frozen=True, slots=True)
class Server:
    """A database, and how long is waited for it."""

    conninfo: str = field(repr=False)
    """It may hold a password, so it is never shown."""
    place: str
    """What errors show of it."""
    connect_timeout_seconds: float
    timeout_seconds: float

    @property
    def patience_seconds(self) -> float:
        """After what time without an answer a connection is given up."""
        return self.timeout_seconds + _GRACE_SECONDS

    async def connect(self) -> Connection:
        """Return a new connection. Raises StorageUnavailableError, StorageTimeoutError."""
        # a call without an event loop of its own has no task before it has waited
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(self.connect_timeout_seconds):
                connection = await psycopg.AsyncConnection.connect(
                    self.conninfo, autocommit=True, prepare_threshold=None
                )
                if await _is_direct(connection):
                    connection.prepare_threshold = _PREPARED_AFTER
        except TimeoutError as error:
            raise no_connection(self.place, self.connect_timeout_seconds) from error
        except psycopg.Error as error:
            # the error itself carries the password, so only what it says goes on
            failure, cause = failed(error, self.place), type(error)(str(error))
        else:
            self._check(connection)
            return connection
        raise failure from cause

    def connect_blocking(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Return a new connection for a thread without an event loop; raises what psycopg raises."""
        seconds = max(2, round(self.connect_timeout_seconds))
        return psycopg.connect(self.conninfo, autocommit=True, prepare_threshold=None, connect_timeout=seconds)

    def _check(self, connection: Connection) -> None:
        encoding = connection.info.parameter_status("server_encoding")
        if encoding not in (None, "UTF8"):
            connection.pgconn.finish()
            raise StorageUnavailableError(
                reason=f"the database has the encoding {encoding}, which does not hold all text",
                path=self.place,
                advice="make one with: createdb --encoding=UTF8 --template=template0 NAME",
            )


async def _is_direct(connection: Connection) -> bool:
    """Whether no pooler stands between; these make up the number of a process, since theirs change."""
    try:
        row = await (await connection.execute(b"SELECT pg_backend_pid()")).fetchone()
    except BaseException:
        # nobody else has it yet
        connection.pgconn.finish()
        raise
    return row is not None and row[0] == connection.info.backend_pid


def split_names(url: str) -> tuple[str, dict[str, str]]:
    """Return a URL without the parameters that are ours, and these: `schema` and `prefix`.

    So a command, which takes nothing but a URL, can name any store.
    """
    base, _, query = url.partition("?")
    parts = [part.partition("=") for part in query.split("&") if part]
    ours = {name: unquote(value) for name, _, value in parts if name in ("schema", "prefix")}
    others = "&".join("".join(part) for part in parts if part[0] not in ours)
    return f"{base}?{others}" if others else base, ours


def server_at(url: str, *, connect_timeout_seconds: float, timeout_seconds: float) -> Server:
    """Return the server that a URL of libpq's names. Raises StorageValidationError, which shows nothing of it."""
    known = _read(url)
    if known is None:
        raise StorageValidationError(
            reason="it is no URL of PostgreSQL",
            path="url",
            advice="write postgresql://USER@HOST:PORT/DATABASE, with urllib.parse.quote(PASSWORD, '') if it has one",
        )
    host, port = known.get("host") or known.get("hostaddr") or "", known.get("port")
    where = f"{host}{f':{port}' if port else ''}/{known.get('dbname') or ''}"
    known.setdefault("fallback_application_name", "fsstore")
    # the texts of records are sent as they are
    known["client_encoding"] = "utf8"
    # who only listens, as a watch does, must notice that nothing arrives any more
    known.setdefault("tcp_user_timeout", round((timeout_seconds + _GRACE_SECONDS) * 1000))
    return Server(make_conninfo("", **known), f"postgresql://{where}", connect_timeout_seconds, timeout_seconds)


def _read(url: str) -> dict[str, Any] | None:
    """Return what a URL names; None for one that is none: the reason that is given quotes it, with its password."""
    try:
        return conninfo_to_dict(url)
    except (psycopg.Error, UnicodeError):
        return None


def is_stale(connection: Connection) -> bool:
    """Whether an idle connection has ended, or has something to say that nobody asked for."""
    if connection.closed:
        return True
    try:
        with socket.fromfd(connection.pgconn.socket, socket.AF_INET, socket.SOCK_STREAM) as same:
            same.setblocking(False)
            same.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except (OSError, psycopg.Error):
        return True
    return True


def give_up(connection: psycopg.AsyncConnection[Any] | psycopg.Connection[Any]) -> None:
    """Let whoever waits for a connection get an error: it is as if the server had gone."""
    # of a connection that has ended in the meantime
    with (
        suppress(OSError, psycopg.Error),
        socket.fromfd(connection.pgconn.socket, socket.AF_INET, socket.SOCK_STREAM) as same,
    ):
        same.shutdown(socket.SHUT_RDWR)
