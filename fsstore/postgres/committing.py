"""How a commit becomes true: found and locked, drafted, written, and known to be true though its answer is lost.

One transaction, in two exchanges with the server: the first locks the records in the order of their keys and reads them
and the floor; the second writes, and commits. Invariants:
- Until the second exchange is sent nothing is applied, and whatever ends the first is not applied.
- Each commit writes its number, with the first record that it changes. Where the connection is lost in the second
  exchange, the same number is inserted as void by another connection. That waits for the transaction, if the server is
  still at it, and tells what became of it: the number is there, and the commit is applied; or it is not, and from then
  on it cannot be any more. Only where no server answers in time is the outcome unknown.
- A commit that was not applied for a reason which passes (another one was faster, a deadlock, a lost connection) is
  drafted and sent again, after a short time that is drawn by lot.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import psycopg

from fsstore.errors import StorageClosedError, StorageError, StorageTimeoutError, StorageUnavailableError
from fsstore.filesystem.documents.sealed import Sealed
from fsstore.postgres.connection import Connection
from fsstore.postgres.draft import Draft, Stored, drafted
from fsstore.postgres.failures import RETRIED, is_lost
from fsstore.postgres.making import check_format
from fsstore.postgres.pool import Lease, Pool
from fsstore.postgres.writes import BEGIN, COMMIT, Settings, State, Step, Writes

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.002, 0.25


class _AgainError(Exception):
    """The commit was not applied, and may be done again."""


class Committed(NamedTuple):
    """What a commit did."""

    draft: Draft
    number: UUID | None
    """None where nothing was written."""


class Committer:
    """Makes commits true, for one open store."""

    def __init__(self, pool: Pool, writes: Writes, settings: Settings, *, writer: UUID, max_bytes: int) -> None:
        self._pool = pool
        self._writes = writes
        self._settings = settings
        self.writer = writer
        self._max_bytes = max_bytes

    async def commit(self, changes: Sequence[Sealed], now: str, tail: Callable[[], list[Step]]) -> Committed:
        """Apply mutations as one, and return what was done to what was there.

        `tail` gives what is sent before the end. Raises what refuses a mutation, and StorageUnavailableError and
        StorageTimeoutError, of which `outcome` says what became of the commit.
        """
        ends, pause = monotonic() + self._pool.server.timeout_seconds, _FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self._attempt(changes, now, tail)
            except _AgainError as error:
                cause = error.__cause__
                if monotonic() + pause >= ends:
                    raise self._given_up(cause) from cause
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - no secret, a lot
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _given_up(self, cause: BaseException | None) -> StorageError:
        if isinstance(cause, StorageError):
            return cause
        return StorageTimeoutError(
            reason=f"its turn beside other commits of the same documents ({cause})".replace("\n", " "),
            path=self._pool.server.place,
            timeout_seconds=self._pool.server.timeout_seconds,
            advice="try again, with fewer writers of the same documents",
        )

    async def _attempt(self, changes: Sequence[Sealed], now: str, tail: Callable[[], list[Step]]) -> Committed:
        async with self._pool.lease() as lease:
            draft, state = await self._drafted(lease, changes, now)
            number = uuid4()
            steps = self._writes.steps(draft, number, self.writer, state)
            if not steps:
                await _roll_back(lease.connection)
                return Committed(draft, None)
            try:
                await exchanged(lease.connection, [*steps, *tail(), (COMMIT, ())])
            except psycopg.Error as error:
                lost = await self._lost(lease, error)
            else:
                return Committed(draft, number)
        if await self._is_void(draft, number, lost):
            raise _AgainError from lost
        return Committed(draft, number)

    async def _drafted(self, lease: Lease, changes: Sequence[Sealed], now: str) -> tuple[Draft, State]:
        """Lock what the mutations are about, and apply them to it; return the state of the store, too."""
        steps = [(BEGIN, ()), self._settings.step(), self._writes.lock(list({change.id for change in changes}))]
        try:
            cursors = await exchanged(lease.connection, [*steps, (self._writes.state, ())])
            rows = await cursors[-2].fetchall()
            state = State(*(await cursors[-1].fetchone() or (0, 0, False)))
        except psycopg.Error as error:
            failure = await self._refused(lease, error)
            # the connection was one that had ended, or the server goes down: a new one will tell
            raise (_AgainError if is_lost(lease.connection) and not lease.is_expired else failure) from failure
        try:
            check_format(state.format, self._pool.server.place)
            found = {record_id: Stored(record_id, text.encode()) for record_id, text in rows}
            return drafted(changes, found, now, state.floor, max_bytes=self._max_bytes), state
        except BaseException:
            await _roll_back(lease.connection)
            raise

    async def _lost(self, lease: Lease, error: psycopg.Error) -> StorageError:
        """Return the error by which nobody knows what became of a commit; raise where it was not applied."""
        failure = await self._refused(lease, error)
        if not is_lost(lease.connection):
            raise failure from error
        return failure

    async def _refused(self, lease: Lease, error: psycopg.Error) -> StorageError:
        """Return the error of ours, with the transaction ended; raise where the commit may be done again."""
        failure = lease.failed(error)
        failure.__cause__ = error
        if not is_lost(lease.connection):
            await _roll_back(lease.connection)
            if error.sqlstate in RETRIED:
                raise _AgainError from error
        return failure

    async def _is_void(self, draft: Draft, number: UUID, lost: StorageError) -> bool:
        """Learn what became of a commit whose answer was lost, and that it stays so."""
        void = self._writes.void(draft.written()[0], number, self.writer)
        ends = monotonic() + self._pool.server.timeout_seconds
        while True:
            try:
                async with self._pool.lease() as lease:
                    try:
                        cursors = await exchanged(lease.connection, void)
                        (is_void,) = await cursors[-1].fetchone() or (False,)
                        return bool(is_void)
                    except psycopg.Error as error:
                        raise lease.failed(error) from error
            except (StorageUnavailableError, StorageTimeoutError, StorageClosedError) as error:
                if monotonic() >= ends or isinstance(error, StorageClosedError):
                    raise _unknown(self._pool.server.place, lost) from error
            await asyncio.sleep(_LONGEST_PAUSE_SECONDS)


def _unknown(place: str, lost: StorageError) -> StorageUnavailableError:
    return StorageUnavailableError(
        reason=f"the connection was lost in the middle of a commit, and the server did not come back ({lost.message})",
        path=place,
        advice="read the document once the server is there again, to see what became of the write",
        outcome="unknown",
    )


async def exchanged(connection: Connection, steps: Sequence[Step]) -> list[psycopg.AsyncCursor[tuple[Any, ...]]]:
    """Send statements together, and return their cursors when all are answered; raises the first error of psycopg."""
    async with connection.pipeline():
        return [await connection.execute(statement, values) for statement, values in steps]


async def _roll_back(connection: Connection) -> None:
    # a connection that does not even do that is closed when it is given back
    with suppress(psycopg.Error):
        await connection.rollback()
