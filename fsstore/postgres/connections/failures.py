"""What PostgreSQL refuses, as errors of ours: the only module that knows its codes.

No error shows a password: of a URL nothing is shown but the host, the port and the database, and what psycopg says of
connection strings is not repeated.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from math import inf
from types import MappingProxyType
from typing import Any

import psycopg

from fsstore.errors import Outcome, StorageError, StorageTimeoutError, StorageUnavailableError

RETRIED = frozenset({"40001", "40P01", "23505", "22012"})
"""Serialization failure and deadlock; a record that another commit has just made; and the floor, which has risen."""

_LOST = ("08", "57P")
"""What the codes of lost connections, and of a server that goes down, begin with."""

_TIMEOUTS = frozenset({"57014", "55P03", "25P03", "25P04"})
_ABSENT = frozenset({"42P01", "3F000"})
_NUMBERS: Mapping[str, int] = MappingProxyType(
    {"53100": errno.ENOSPC, "42501": errno.EACCES, "25006": errno.EROFS, "58030": errno.EIO, "53200": errno.ENOMEM}
)
_ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "53100": "make room on the server's disk and try again",
        "42501": "have the owner of the tables grant the rights: `fsstore init URL --grants ROLE` shows them",
        "25006": "connect to the primary server (target_session_attrs=read-write in the URL), as one whose"
        " default_transaction_read_only is off",
        "58030": "see the server's log, and check its disks before you trust them with more",
        "53300": "open fewer stores, lower pool_size, raise max_connections of the server, or put pgbouncer in between",
        "42P01": "make the store with `fsstore init URL`, or open it with create=True; check `schema` and `prefix`",
        "3F000": "make the store with `fsstore init URL`, or open it with create=True; check `schema` and `prefix`",
        "3D000": "make the database with createdb, or check its name in the URL",
        "28P01": "check user and password: of the URL, of PGPASSWORD, or of the file .pgpass",
        "28000": "check the user, and what pg_hba.conf of the server allows it",
        "42703": "the tables are not those that fsstore made: restore them, or make a store with another prefix",
    }
)
_REFUSED_ADVICE = "it runs, and does not let you in: check user, password, database and pg_hba.conf, or try again"
_SLOW = "PostgreSQL: another commit of the same document, or a server with too much to do"
_OTHER_LIMIT_ADVICE = (
    "try again; where that is a limit which the role or the database has (ALTER ROLE ... SET), raise it there"
)
_ROUNDED_SECONDS = 0.001
_LOST_ADVICE = "see whether the server runs and can be reached, and try again"


def is_lost(connection: psycopg.AsyncConnection[Any], error: psycopg.Error) -> bool:
    """Whether a connection is of no use any more, so that nobody knows how far the server has come.

    That the server ends it may be heard before its end is seen; and psycopg has no code of what it cannot finish.
    """
    is_of_connection = isinstance(error, psycopg.OperationalError) and (error.sqlstate or "08").startswith(_LOST)
    return bool(connection.closed) or is_of_connection


def is_absent(error: psycopg.Error) -> bool:
    """Whether the server knows no such table, or no such schema."""
    return error.sqlstate in _ABSENT


def lasts(error: psycopg.Error) -> bool:
    """Whether the server, which can be reached, will refuse the same again: there is no such table, or no right."""
    return (error.sqlstate or "").startswith("42") or is_absent(error)


def failed(
    error: psycopg.Error,
    place: str,
    *,
    waited_seconds: float | None = None,
    timeout_seconds: float = inf,
    outcome: Outcome = "not applied",
) -> StorageError:
    """Return the error of ours for what PostgreSQL, or the way to it, has refused.

    A call that ends after less than `timeout_seconds` was ended by a limit that is not ours, or by somebody else.
    """
    code = error.sqlstate or ""
    if code in _TIMEOUTS:
        is_ours = waited_seconds is not None and waited_seconds >= timeout_seconds - _ROUNDED_SECONDS
        return StorageTimeoutError(
            reason=_SLOW if is_ours else f"PostgreSQL, which gave up before: {_first_line(error)}",
            path=place,
            timeout_seconds=timeout_seconds if is_ours else waited_seconds and round(waited_seconds, 3),
            advice="try again, or raise timeout_seconds" if is_ours else _OTHER_LIMIT_ADVICE,
            outcome=outcome,
        )
    otherwise = "see the server's log for the statement it refused"
    if not code or code.startswith(_LOST):
        # psycopg gives no code of what refuses a connection
        otherwise = _REFUSED_ADVICE if not code and "FATAL:" in str(error) else _LOST_ADVICE
    return StorageUnavailableError(
        reason=_first_line(error),
        path=place,
        errno=_NUMBERS.get(code),
        advice=_ADVICE.get(code, otherwise),
        outcome=outcome,
    )


def _first_line(error: psycopg.Error) -> str:
    text = error.diag.message_primary or str(error)
    return " ".join(text.split()) or type(error).__name__


def no_connection(place: str, timeout_seconds: float) -> StorageTimeoutError:
    """Return the error for a server that does not answer."""
    return StorageTimeoutError(
        reason="a connection to PostgreSQL",
        path=place,
        timeout_seconds=timeout_seconds,
        advice="see whether the server runs and can be reached, or raise connect_timeout_seconds",
    )


def pool_exhausted(place: str, size: int, timeout_seconds: float) -> StorageTimeoutError:
    """Return the error for a call that no connection became free for."""
    return StorageTimeoutError(
        reason=f"one of the {size} connections of the pool, all of which are in use",
        path=place,
        timeout_seconds=timeout_seconds,
        advice="have fewer calls under way, or raise pool_size",
    )


def no_answer(place: str, timeout_seconds: float, outcome: Outcome) -> StorageTimeoutError:
    """Return the error for a statement that was not answered in time, and whose connection was given up."""
    return StorageTimeoutError(
        reason="an answer of PostgreSQL",
        path=place,
        timeout_seconds=timeout_seconds,
        advice="see whether the server can still be reached, or raise timeout_seconds",
        outcome=outcome,
    )
