"""PostgreSQL as a storage: the contract on top of the pool and the committer.

Reads ask the database, and nothing of it is kept here: so what one program has committed, every other one sees.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from time import monotonic
from typing import Any, Self
from uuid import uuid4

from psycopg import sql

from fsstore.errors import StorageCorruptedError, StorageError, StorageValidationError
from fsstore.filesystem.documents.sealed import Sealed, seal
from fsstore.forking import tell_child
from fsstore.interfaces import IUnifiedStorage, summary
from fsstore.loops import check_loop
from fsstore.model.mutations import AnyMutation
from fsstore.model.records import Clock, Filters, Guarantees, JsonObject, Outcomes, Records, check_id
from fsstore.model.times import format_time, utc_now
from fsstore.postgres.commits.committing import Committed, Committer
from fsstore.postgres.commits.remembered import Remembered
from fsstore.postgres.commits.writes import Settings, State, Step, Writes
from fsstore.postgres.connections.connection import Connection, server_at, split_names
from fsstore.postgres.connections.pool import Pool, keep_for_parent
from fsstore.postgres.filters import listing
from fsstore.postgres.options import MAX_BYTES, Options
from fsstore.postgres.queries.relation import queried
from fsstore.postgres.schema.making import prepare, rights, upgrade
from fsstore.postgres.schema.rows import record_in
from fsstore.postgres.schema.tables import PREFIX, SCHEMA, Names
from fsstore.postgres.watch.following import Following, asks_for_more
from fsstore.postgres.watch.source import PostgresChangeSource
from fsstore.postgres.watch.watcher import Watcher
from fsstore.query.conditions import Condition
from fsstore.query.filters import parse
from fsstore.query.orders import check_batch_size, check_bounds, parse_order
from fsstore.watching.watch import MAX_QUEUED, Watch

_PAGE_ROWS = 100
_CONNECT_SECONDS, _UPGRADE_SECONDS = 10.0, 86_400.0
_NOTIFICATION_SECONDS = 0.05
_COMMITS_PER_PRUNING = 500
_LOOK_SECONDS, _LAST_LOOK_SECONDS = 0.005, 2.0


class PostgresStorage(IUnifiedStorage):
    """Records in tables of a PostgreSQL database, which any number of programs may share."""

    def __init__(self, pool: Pool, names: Names, options: Options, clock: Clock) -> None:
        """Use `PostgresStorage.open`; this asks nothing of the server."""
        self.guarantees = Guarantees(
            durable=options.durable, cross_process=True, isolated_batches=True, external_edits=False, watching=True
        )
        self.clock = clock
        self.pool = pool
        self.names = names
        self._max_bytes = options.max_bytes or MAX_BYTES
        self._writes = Writes(names)
        self._following = Following(names)
        self._writer = uuid4()
        self._remembered = Remembered()
        self._committer = Committer(
            pool,
            names,
            self._writes,
            Settings(options.timeout_seconds, options.durable),
            self._remembered,
            writer=self._writer,
            max_bytes=self._max_bytes,
        )
        # made for the first watch
        self._watcher: Watcher | None = None
        self._notifies_at = 0.0
        self._unreadable: set[str] = set()
        """The ids of the records that a list has met and could not read."""
        self._commits = 0
        tell_child(self)

    def in_child(self) -> None:
        """Write as another one than the parent, and leave its thread to it."""
        self._writer = self._committer.writer = uuid4()
        self._remembered.in_child()
        if self._watcher is not None:
            keep_for_parent(self._watcher)
            self._watcher = None

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        create: bool = False,
        schema: str | None = None,
        prefix: str | None = None,
        pool_size: int = 10,
        connect_timeout_seconds: float = 10.0,
        timeout_seconds: float = 30.0,
        durable: bool = True,
        max_bytes: int | None = None,
        clock: Clock = utc_now,
    ) -> Self:
        """Open the store of that schema and prefix in the database of a URL of libpq's.

        Passwords and TLS are libpq's affair: `sslmode`, `sslrootcert`, PGPASSWORD, `.pgpass`, `pg_service.conf`.

        - `create`: make the tables, and the schema, where they are not; `fsstore init URL` does the same.
        - `schema`, `prefix`: where the tables are, and how their names begin: `public` and `fsstore_`, unless the URL
          says otherwise, as in `postgresql://HOST/DATABASE?schema=app&prefix=sessions_`.
        - `pool_size`: how many connections this process has at most; they are made when they are needed.
        - `connect_timeout_seconds`, `timeout_seconds`: how long is waited for a connection, and for what one is asked.
        - `durable`: a write that has returned survives a crash of the server. False turns synchronous_commit off for
          writes: a crash of the server then loses those of the last moment, and nothing is ever torn.
        - `max_bytes`: the largest document that is written; 64 MiB by default.

        Raises StorageUnavailableError where the server cannot be reached or has no such store, StorageTimeoutError,
        StorageValidationError.
        """
        check_loop()
        url, named = split_names(url)
        names = _names(named, schema, prefix)
        options = Options(
            create=create,
            pool_size=pool_size,
            connect_timeout_seconds=connect_timeout_seconds,
            timeout_seconds=timeout_seconds,
            durable=durable,
            max_bytes=max_bytes,
        )
        if not callable(clock):
            raise StorageValidationError(reason=f"must be a function, not {clock!r}", path="clock")
        server = server_at(url, connect_timeout_seconds=connect_timeout_seconds, timeout_seconds=timeout_seconds)
        pool = Pool(server, pool_size)
        try:
            await prepare(pool, names, create=create)
        except BaseException:
            await pool.close()
            raise
        return cls(pool, names, options, clock)

    @classmethod
    async def upgrade(cls, url: str, *, schema: str | None = None, prefix: str | None = None) -> None:
        """Make of a store of an older format one of this one; no program may use it meanwhile.

        Nothing happens where there is none, or nothing to do. Raises StorageUnavailableError for a format from which
        there is no way.
        """
        url, named = split_names(url)
        pool = Pool(server_at(url, connect_timeout_seconds=_CONNECT_SECONDS, timeout_seconds=_UPGRADE_SECONDS), 1)
        try:
            await upgrade(pool, _names(named, schema, prefix))
        finally:
            await pool.close()

    async def rights_of(self, role: str) -> list[str]:
        """Return the statements by which the owner of the tables lets another role use the store, queries included."""
        statements = await self.pool.run(lambda connection: rights(connection, self.names, role))
        return [statement.as_string(None).strip() for statement in statements]

    # -- single records -----------------------------------------------------------------------------------------------

    async def load(self, id: str) -> JsonObject | None:
        """Return the record; one statement, which reads one row by its key."""
        values = self._writes.one(check_id(id))
        row = await self.pool.run(lambda connection: _row(connection, (self._writes.load, values)))
        if row is None:
            return None
        data = row[0].encode()
        record = record_in(data, id)
        self._remembered.see(id, data)
        return record

    async def exists(self, id: str) -> bool:
        """Whether there is a record with that id; one statement."""
        values = self._writes.one(check_id(id))
        return await self.pool.run(lambda connection: _row(connection, (self._writes.exists, values))) is not None

    async def commit(self, changes: Sequence[AnyMutation]) -> Outcomes:
        """Apply the mutations in one transaction, in two exchanges with the server.

        A caller who is cancelled does not interrupt it. Raises what refuses a mutation; StorageUnavailableError and
        StorageTimeoutError say by `outcome` what became of it.
        """
        self.pool.check()
        for change in changes:
            check_id(change.id)
        now = format_time(self.clock())
        sealed = [seal(change, lambda: now, max_bytes=self._max_bytes) for change in changes]
        if not sealed:
            return []
        committing = asyncio.ensure_future(self._committed(sealed, now))
        committing.add_done_callback(_see)
        committed = await asyncio.shield(committing)
        return committed.draft.outcomes

    async def _committed(self, sealed: Sequence[Sealed], now: str) -> Committed:
        notifies = self._notifies()
        has_notified = False
        try:
            committed = await self._committer.commit(sealed, now, notifies=notifies)
            has_notified = notifies and committed.number is not None
        finally:
            if notifies and not has_notified:
                # nobody was notified, and the next commit must not wait
                self._notifies_at = 0.0
        if committed.number is not None:
            if self._watcher is not None:
                self._watcher.wake()
            self._commits += 1
            if self._commits % _COMMITS_PER_PRUNING == 0:
                # what cannot be removed now is the next one's
                with suppress(StorageError):
                    await self.pool.run(lambda connection: connection.execute(self._following.prune))
        return committed

    def _notifies(self) -> bool:
        """Whether a commit is to notify other processes, if none has lately: those that do so wait for each other."""
        if monotonic() < self._notifies_at:
            return False
        self._notifies_at = monotonic() + _NOTIFICATION_SECONDS
        return True

    # -- many records -------------------------------------------------------------------------------------------------

    async def stream_list(self, filters: Filters | None = None, batch_size: int = 100) -> AsyncGenerator[Records]:
        """Give the matching records in the order of their ids; each batch is as the database is when it is read."""
        self.pool.check()
        check_batch_size(batch_size)
        condition = parse(filters)
        batch: Records = []
        after: str | None = ""
        while after is not None:
            after, found = await self.pool.run(partial(self._page, condition, after))
            for record in found:
                batch.append(record)
                if len(batch) == batch_size:
                    yield batch
                    batch = []
        if batch:
            yield batch

    async def _page(self, condition: Condition, after: str, connection: Connection) -> tuple[str | None, Records]:
        return await listing.batch(
            connection, self.names.documents, condition, after, _PAGE_ROWS, unreadable=self._unreadable
        )

    async def list(
        self,
        filters: Filters | None = None,
        limit: int | None = None,
        *,
        order_by: str | None = None,
        offset: int = 0,
    ) -> Records:
        """Return the matching records in order; one statement where the columns hold all that is asked."""
        found = await self._listed(filters, limit, order_by, offset, parts=False)
        # an order by what the columns do not know
        return await super().list(filters, limit, order_by=order_by, offset=offset) if found is None else found

    async def list_metadata(
        self,
        filters: Filters | None = None,
        limit: int | None = None,
        *,
        order_by: str | None = None,
        offset: int = 0,
    ) -> Records:
        """Like `list`, without the data, which is read of those records alone that the columns do not hold whole."""
        parts = await self._listed(filters, limit, order_by, offset, parts=True)
        if parts is None:
            return await super().list_metadata(filters, limit, order_by=order_by, offset=offset)
        return [summary(part) for part in parts]

    async def _listed(
        self, filters: Filters | None, limit: int | None, order_by: str | None, offset: int, *, parts: bool
    ) -> Records | None:
        self.pool.check()
        check_bounds(limit, offset)
        ask = partial(listing.listed, table=self.names.documents, condition=parse(filters), order=parse_order(order_by))
        more: dict[str, Any] = {"limit": limit, "offset": offset, "parts": parts, "unreadable": self._unreadable}
        return await self.pool.run(lambda connection: ask(connection, **more))

    async def count(self, filters: Filters | None = None) -> int:
        """Return how many records match; one statement where the columns hold all that is asked."""
        self.pool.check()
        condition = parse(filters)
        return await self.pool.run(
            lambda connection: listing.counted(connection, self.names.documents, condition, unreadable=self._unreadable)
        )

    async def query(self, query: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> Records:
        """Run one read-only SELECT over the relation `documents`, in PostgreSQL's own words; see `relation`.

        Raises StorageUnavailableError where there is no role that may run queries.
        """
        self.pool.check()
        return await self.pool.run(lambda connection: queried(connection, self.names, query, params))

    def watch(
        self,
        filters: Filters | None = None,
        since: datetime | str | None = None,
        *,
        max_queued: int = MAX_QUEUED,
    ) -> Watch:
        """Return the changes of the records that match, of every process; O(records) for the first watch.

        A change of another process is reported at once where notifications of the server arrive, else within a second.
        """
        self.pool.check()
        condition = parse(filters)
        watcher = self._watcher
        if watcher is None or watcher.has_ended:
            self._watcher = watcher = Watcher(self.pool.server, self._following, self._writer)
        watcher.needs_whole = watcher.needs_whole or asks_for_more(condition)
        source = PostgresChangeSource(self, self.pool, self._following, watcher)
        return Watch(source, condition, filters or {}, since, max_queued=max_queued)

    async def floor(self) -> int:
        """Return the highest version that was ever deleted; one statement."""
        row = await self.pool.run(lambda connection: _row(connection, (self._writes.state, ())))
        return 0 if row is None else State(*row).floor

    async def health_check(self) -> dict[str, Any]:
        """Return the report every backend gives, and what the server says of itself; O(records).

        `corrupt` names what lists of this open store have met, and is still no record.
        """
        statement = sql.SQL("SELECT count(*), current_setting('server_version') FROM {}").format(self.names.documents)

        async def ask(connection: Connection) -> tuple[Any, ...] | None:
            return await (await connection.execute(statement)).fetchone()

        documents, version = await self.pool.run(ask) or (0, "")
        corrupt = await self.unreadable()
        return {
            "status": "degraded" if corrupt else "ok",
            "backend": "postgresql",
            "documents": documents,
            "corrupt": corrupt,
            "server": version,
            "place": self.pool.server.place,
        }

    async def unreadable(self) -> Records:
        """Return what lists of this open store have left out, and is still no record: `file` is its id, and `reason`.

        One statement for each. Until a list has met it, `list_metadata` and `count` name and count it by its row where
        that holds all they ask.
        """
        found: Records = []
        for record_id in sorted(self._unreadable):
            try:
                await self.load(record_id)
                self._unreadable.discard(record_id)
            except (StorageCorruptedError, StorageValidationError) as error:
                # somebody may have given a row what is no id at all
                found.append({"file": record_id, "reason": error.reason})
        return found

    async def close(self) -> None:
        """Close the connections, those in use when they are given back, for which it waits."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            if watcher.is_alive:
                # what was committed before is still reported, if the server can be asked
                with suppress(StorageError, TimeoutError):
                    await asyncio.wait_for(asyncio.wrap_future(watcher.request()), _LAST_LOOK_SECONDS)
            # one that was not begun must not begin any more
            watcher.stop()
            # a thread, which no event of a loop tells
            while watcher.is_alive:  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_SECONDS)
        await self.pool.close()


def _names(named: Mapping[str, str], schema: str | None, prefix: str | None) -> Names:
    return Names(schema or named.get("schema", SCHEMA), named.get("prefix", PREFIX) if prefix is None else prefix)


async def _row(connection: Connection, step: Step) -> tuple[Any, ...] | None:
    return await (await connection.execute(*step)).fetchone()


def _see(committing: asyncio.Future[Committed]) -> None:
    # seen here, since whoever waits may have been cancelled
    if not committing.cancelled():
        committing.exception()
