"""How a commit becomes true: found and locked, drafted, written, and known to be true though its answer is lost.

One transaction, in two exchanges with the server: the first locks the records in the order of their keys and reads them
and the floor; the second writes, and commits. A commit of one record that is remembered, or probably new, takes one
exchange, if the store is as it was thought; of another one it is read before, without a lock. Invariants:
- Until the last exchange is sent nothing is applied, and whatever ends the first of two is not applied.
- Each commit writes its number, with the first record that it changes. Where the connection is lost in the last
  exchange, the same number is inserted as void by another connection. That waits for the transaction, if the server is
  still at it, and tells what became of it: the number is there, and the commit is applied; or it is not, and from then
  on it cannot be any more. Only where no server answers in time, or so late that the number may have been removed
  again, is the outcome unknown.
- A commit that was not applied for a reason which passes (another one was faster, a deadlock, a lost connection) is
  drafted and sent again, after a short time that is drawn by lot.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic, time
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import psycopg

from fsstore.errors import (
    StorageClosedError,
    StorageCorruptedError,
    StorageError,
    StorageTimeoutError,
    StorageUnavailableError,
)
from fsstore.filesystem.documents.sealed import Sealed, SealedSave
from fsstore.model.mutations import Check, Delete
from fsstore.postgres.commits.at_once import AtOnce
from fsstore.postgres.commits.draft import Draft, Stored, drafted
from fsstore.postgres.commits.remembered import Guess, Remembered
from fsstore.postgres.commits.writes import BEGIN, COMMIT, Settings, State, Step, Writes
from fsstore.postgres.connections.connection import Connection
from fsstore.postgres.connections.failures import RETRIED, is_lost
from fsstore.postgres.connections.pool import Lease, Pool
from fsstore.postgres.schema.making import WITHOUT_ROW, check_format
from fsstore.postgres.schema.rows import check_row, key_of
from fsstore.postgres.schema.tables import Names

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.002, 0.25
_PROVEN_SECONDS = 1_800.0
"""How long the number of a commit is relied on: its row is kept for an hour."""


class _AgainError(Exception):
    """The commit was not applied, and may be done again."""


class Committed(NamedTuple):
    """What a commit did."""

    draft: Draft
    number: UUID | None
    """None where nothing was written."""


class Committer:
    """Makes commits true, for one open store."""

    def __init__(
        self,
        pool: Pool,
        names: Names,
        writes: Writes,
        settings: Settings,
        remembered: Remembered,
        *,
        writer: UUID,
        max_bytes: int,
    ) -> None:
        self._pool = pool
        self._writes = writes
        self._settings = settings
        self._statements = AtOnce(names, settings)
        self._remembered = remembered
        self.writer = writer
        self._max_bytes = max_bytes
        self._expects_new = True

    async def commit(self, changes: Sequence[Sealed], now: str, *, notifies: bool) -> Committed:
        """Apply mutations as one, and return what was done to what was there.

        `notifies` says whether watches are to be notified. Raises what refuses a mutation, StorageUnavailableError and
        StorageTimeoutError, of which `outcome` says what became of the commit.
        """
        ends, pause = monotonic() + self._pool.server.timeout_seconds, _FIRST_PAUSE_SECONDS
        if len(changes) == 1 and (committed := await self._at_once(changes[0], now, notifies=notifies)) is not None:
            return committed
        while True:
            try:
                return await self._attempt(changes, now, notifies=notifies)
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

    async def _at_once(self, change: Sealed, now: str, *, notifies: bool) -> Committed | None:
        """Apply a mutation in one exchange, if what it is about is as it is remembered; None where it is not."""
        if isinstance(change, Delete | Check):
            return None
        async with self._pool.lease() as lease:
            guess = self._remembered.guess(change.id)
            if guess is None or (guess.found is None and not self._is_probably_new(change)):
                guess = await self._looked(lease, change.id)
            draft = None if guess is None else self._guessed(change, now, guess)
            written = [] if draft is None else draft.written()
            if guess is None or draft is None or not written or (made := written[0].made) is None:
                return None
            number, sent_at = uuid4(), time()
            steps = self._statements.steps(written[0], made, number, self.writer, guess, notifies=notifies)
            try:
                is_applied = await _first_count(lease.connection, steps) > 0
            except psycopg.Error as error:
                if not is_lost(lease.connection, error) and error.sqlstate in RETRIED:
                    return None
                lost = await self._lost(lease, error)
            else:
                seen = (made.data, guess.state) if is_applied else (None, None)
                self._remembered.see(change.id, *seen)
                self._expects_new = is_applied or guess.found is not None
                return Committed(draft, number) if is_applied else None
        return None if await self._is_void(draft, number, lost, sent_at) else Committed(draft, number)

    def _is_probably_new(self, change: Sealed) -> bool:
        """Whether a record that is not remembered is made: as the last one was that was thought to be new."""
        return self._expects_new and isinstance(change, SealedSave)

    async def _looked(self, lease: Lease, record_id: str) -> Guess | None:
        """Read the record and the state of the store without a lock; None where that does not help."""
        try:
            cursor = await lease.connection.execute(self._writes.look, self._writes.one(record_id))
            row = await cursor.fetchone()
        except psycopg.Error as error:
            if is_lost(lease.connection, error) and not lease.is_expired:
                return None
            raise lease.failed(error) from error
        if row is None:
            return None
        *state, text = row
        found = None if text is None else Stored(record_id, text.encode())
        self._expects_new = found is None
        try:
            # what is damaged is looked at under its lock
            return Guess(State(*state), found) if found is None or found.record else None
        except StorageCorruptedError:
            return None

    def _guessed(self, change: Sealed, now: str, guess: Guess) -> Draft | None:
        """Draft a mutation of what is remembered; None where that does not do."""
        if guess.found is None and not isinstance(change, SealedSave):
            return None
        found = {} if guess.found is None else {change.id: guess.found}
        try:
            return drafted([change], found, now, guess.state.floor, max_bytes=self._max_bytes)
        except Exception:  # noqa: BLE001 - a rule is the caller's code, and what it raises of another record is no answer
            # what is there may be another one, and is what counts
            return None

    async def _attempt(self, changes: Sequence[Sealed], now: str, *, notifies: bool) -> Committed:
        async with self._pool.lease() as lease:
            draft, state = await self._drafted(lease, changes, now)
            number, sent_at = uuid4(), time()
            steps = self._writes.steps(draft, number, self.writer, state)
            if not steps:
                await _roll_back(lease.connection)
                return Committed(draft, None)
            try:
                hints = [(self._writes.notify, ())] if notifies else []
                await exchanged(lease.connection, [*steps, *hints, (COMMIT, ())])
            except psycopg.Error as error:
                lost = await self._lost(lease, error)
            else:
                self._see(draft, state)
                return Committed(draft, number)
        if await self._is_void(draft, number, lost, sent_at):
            raise _AgainError from lost
        return Committed(draft, number)

    def _see(self, draft: Draft, state: State) -> None:
        state = state._replace(floor=draft.floor)
        for each in draft.written():
            self._remembered.see(each.id, None if each.made is None else each.made.data, state)

    async def _drafted(self, lease: Lease, changes: Sequence[Sealed], now: str) -> tuple[Draft, State]:
        """Lock what the mutations are about, and apply them to it; return the state of the store, too."""
        steps = [(BEGIN, ()), self._settings.step(), self._writes.lock(list({change.id for change in changes}))]
        try:
            cursors = await exchanged(lease.connection, [*steps, (self._writes.state, ())])
            rows = await cursors[-2].fetchall()
            state = State(*(await cursors[-1].fetchone() or (WITHOUT_ROW, 0, False)))
        except psycopg.Error as error:
            failure = await self._refused(lease, error)
            # the connection was one that had ended, or the server goes down: a new one will tell
            raise (_AgainError if is_lost(lease.connection, error) and not lease.is_expired else failure) from failure
        try:
            check_format(state.format, self._pool.server.place)
            asked = {key_of(change.id): change.id for change in changes}
            for key, row_id, _, _ in rows:
                check_row(key, row_id, asked)
            found = {each: Stored(each, text.encode(), row_version=version) for _, each, version, text in rows}
            return drafted(changes, found, now, state.floor, max_bytes=self._max_bytes), state
        except BaseException:
            await _roll_back(lease.connection)
            raise

    async def _lost(self, lease: Lease, error: psycopg.Error) -> StorageError:
        """Return the error by which nobody knows what became of a commit; raise where it was not applied."""
        failure = await self._refused(lease, error)
        if not is_lost(lease.connection, error):
            raise failure from error
        # it is not used again, whatever state it is in
        lease.connection.pgconn.finish()
        return failure

    async def _refused(self, lease: Lease, error: psycopg.Error) -> StorageError:
        """Return the error of ours, with the transaction ended; raise where the commit may be done again."""
        failure = lease.failed(error)
        failure.__cause__ = error
        if not is_lost(lease.connection, error):
            await _roll_back(lease.connection)
            if error.sqlstate in RETRIED:
                raise _AgainError from error
        return failure

    async def _is_void(self, draft: Draft, number: UUID, lost: StorageError, sent_at: float) -> bool:
        """Learn what became of a commit whose answer was lost, and that it stays so."""
        void = self._writes.void(draft.written()[0], number, self.writer)
        ends = monotonic() + self._pool.server.timeout_seconds
        while True:
            # by the time of the day, since a machine may have slept in between
            if time() - sent_at > _PROVEN_SECONDS:
                raise _unknown(self._pool.server.place, lost, "it was too long before the server could be asked")
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
                    raise _unknown(self._pool.server.place, lost, "the server did not come back") from error
            await asyncio.sleep(_LONGEST_PAUSE_SECONDS)


async def _first_count(connection: Connection, steps: Sequence[Step]) -> int:
    """Send statements as one transaction, and return the number that the first one gives."""
    if len(steps) == 1:
        row = await (await connection.execute(*steps[0])).fetchone()
    else:
        row = await (await exchanged(connection, steps))[0].fetchone()
    return 0 if row is None else int(row[0])


def _unknown(place: str, lost: StorageError, why: str) -> StorageUnavailableError:
    return StorageUnavailableError(
        reason=f"the connection was lost in the middle of a commit, and {why} ({lost.message})",
        path=place,
        advice="read the document once the server is there again, to see what became of the write",
        outcome="unknown",
    )


async def exchanged(connection: Connection, steps: Sequence[Step]) -> list[psycopg.AsyncCursor[tuple[Any, ...]]]:
    """Send statements together, and return their cursors when all are answered; raises the first error of psycopg."""
    cursors: list[psycopg.AsyncCursor[tuple[Any, ...]]] = []
    first: psycopg.Error | None = None
    try:
        async with connection.pipeline():
            try:
                # nothing is prepared: what comes behind a refused statement is not, and would be thought to be
                cursors = [await connection.execute(statement, values, prepare=False) for statement, values in steps]
            except psycopg.Error as error:
                # let out of here, it would have the end of the pipeline log that it has ended
                first = error
    except psycopg.Error as error:
        raise first or error from error
    if first is not None:
        raise first
    return cursors


async def _roll_back(connection: Connection) -> None:
    # a connection that does not even do that is closed when it is given back
    with suppress(psycopg.Error):
        await connection.rollback()
