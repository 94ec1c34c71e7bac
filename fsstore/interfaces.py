"""The contract of storages: what a backend must bring, and what every backend then has.

A backend implements five primitives: `load`, `stream_list`, `commit`, `health_check`, `close`. Everything else of
`IUnifiedStorage` is derived here, once, as the mixins of `collections.abc` are. A backend overrides a derived method
only for speed, under the same published contract tests (`fsstore.testing`).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, closing
from datetime import datetime, timedelta
from heapq import nsmallest
from typing import Any, NamedTuple, Self, TypeAlias

from fsstore.errors import (
    StorageConflictError,
    StorageNotFoundError,
    StorageTransactionError,
    StorageUnavailableError,
    StorageValidationError,
)
from fsstore.forking import using_sqlite
from fsstore.model.lists import Tail, list_at, tail_of
from fsstore.model.mutations import AnyMutation, deleting, patching, saving
from fsstore.model.operations import completed, expiring, json_object, operating
from fsstore.model.patch import Steps
from fsstore.model.records import Clock, Filters, Guarantees, Ids, JsonObject, Outcomes, Records, check_id, check_ids
from fsstore.model.times import format_time, utc_now
from fsstore.query.columns import ENVELOPE, metadata_of
from fsstore.query.fields import parse_fields
from fsstore.query.filters import parse
from fsstore.query.orders import check_bounds, parse_order
from fsstore.query.relation import clock_while_wanted, guarded_select, relation_over
from fsstore.watching.changes import Absorbed
from fsstore.watching.watch import MAX_QUEUED, Watch

Progress: TypeAlias = Callable[[int, int], None]
"""Called with how many steps are done, and how many there are as far as is known; each call is one step on."""


class IUnifiedStorage(ABC):
    """An async store of JSON records, found by id or by filter.

    Filter paths start at the record (`data.metadata.status`). All methods raise StorageClosedError after `close`, and
    StorageUnavailableError when the system refuses.
    """

    guarantees: Guarantees
    clock: Clock = staticmethod(utc_now)

    # -- the five primitives ------------------------------------------------------------------------------------------

    @abstractmethod
    async def load(self, id: str) -> JsonObject | None:
        """Return the whole record, None when there is none. Raises StorageCorruptedError when it cannot be read."""

    @abstractmethod
    def stream_list(self, filters: Filters | None = None, batch_size: int = 100) -> AsyncGenerator[Records]:
        """Give the matching records in batches, in the order of their ids; memory is bounded by a batch.

        A record that is there and matches all the while is given exactly once. Unreadable ones are left out and counted
        by `health_check`.
        """

    @abstractmethod
    async def commit(self, changes: Sequence[AnyMutation]) -> Outcomes:
        """Apply mutations, in order, as one: all of them become true together, or none does and the error says why.

        StorageNotFoundError and StorageConflictError carry, as `index`, the position of the mutation that is refused.
        """

    @abstractmethod
    async def health_check(self) -> dict[str, Any]:
        """Return a report: `status` ("ok" or "degraded"), `documents`, `corrupt` (a list), and the backend's own."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what is under way and release everything. Closing twice is allowed."""

    # -- single records -----------------------------------------------------------------------------------------------

    async def save(self, record: Mapping[str, Any]) -> str:
        """Insert or replace a record and return its id, which is made when missing; a missing type is "document".

        `created_at` and `updated_at` may be given as datetimes or ISO 8601 text; naive ones are local time, as
        `datetime.now()` gives it. `created_at` counts for a new record and survives; `updated_at` is checked, and then
        stamped, with a time that is never before what it was. Both are kept in UTC. Raises StorageValidationError with
        the path of what cannot be stored. What is there and is damaged, or too large to be read, is replaced; it is set
        aside first. StorageCorruptedError is raised, and nothing changed, where git has left a conflict in it.
        """
        complete = completed(record)
        await self.commit([saving(complete)])
        return str(complete["id"])

    async def update(self, id: str, updates: Mapping[str, Any]) -> bool:
        """Apply an RFC 7396 merge patch to a record. Raises StorageNotFoundError when it is absent.

        A patch writes the fields themselves: what was meant as an operator (`$set`) or as a dotted path raises
        StorageValidationError, unless the record has that very key.
        """
        await self.commit([patching(check_id(id), json_object(updates))])
        return True

    async def delete(self, id: str, *, keep_damaged: bool = False) -> bool:
        """Remove a record for good; False when it is absent.

        What is there and is damaged, or too large to be read, is removed, too; with `keep_damaged` it is set aside.
        """
        (outcome,) = await self.commit([deleting(check_id(id), keep_damaged=keep_damaged)])
        return outcome.before > 0

    async def load_tail(self, id: str, steps: Steps, count: int, before: int | None = None) -> TailRecord | None:
        """Return a record's type and version, and the last items of a list in it; None when there is no record.

        `steps` lead to the list, which may be absent; `before` asks for the items before that position. Raises
        StorageValidationError where something else than a list stands there.
        """
        record = await self.load(id)
        if record is None:
            return None
        return TailRecord(record["type"], record["version"], tail_of(list_at(record, steps) or (), count, before))

    async def exists(self, id: str) -> bool:
        """Whether there is a record with that id."""
        return await self.load(id) is not None

    async def load_fields(self, id: str, fields: Iterable[str]) -> JsonObject | None:
        """Return these parts of a record, None when there is none; fields are paths, as in filters.

        What is not there is left out: see `fsstore.query.fields`. Raises what `load` does, and StorageValidationError
        for what is no path.
        """
        wanted = parse_fields(fields)
        record = await self.load(id)
        return None if record is None else wanted.of(record)

    # -- many records -------------------------------------------------------------------------------------------------

    async def list(
        self,
        filters: Filters | None = None,
        limit: int | None = None,
        *,
        order_by: str | None = None,
        offset: int = 0,
    ) -> Records:
        """Return the matching records; by default the most recently updated first, ties by id.

        `order_by` is a path into the record, `-` before it turns the order round. At `created_at` and `updated_at`,
        also those of `data.metadata`, filters and orders compare instants, whatever form the text has; operands are
        datetimes or ISO 8601 text.
        """
        check_bounds(limit, offset)
        # before the order, as every backend does
        parse(filters)
        key = parse_order(order_by).key
        wanted = None if limit is None else limit + offset
        kept: Records = []
        async with aclosing(self.stream_list(filters)) as batches:
            async for batch in batches:
                kept += batch
                if wanted is not None and len(kept) >= 2 * wanted + 1000:
                    kept = nsmallest(wanted, kept, key=key)
        return sorted(kept, key=key)[offset:wanted]

    async def list_metadata(
        self,
        filters: Filters | None = None,
        limit: int | None = None,
        *,
        order_by: str | None = None,
        offset: int = 0,
    ) -> Records:
        """Like `list`, without the data: the envelope of each record, and its metadata under `metadata`."""
        records = await self.list(filters, limit, order_by=order_by, offset=offset)
        return [summary(record) for record in records]

    async def list_fields(
        self,
        fields: Iterable[str],
        filters: Filters | None = None,
        limit: int | None = None,
        *,
        order_by: str | None = None,
        offset: int = 0,
    ) -> Records:
        """Like `list`, with these parts of each record alone; `fields` as in `load_fields`."""
        wanted = parse_fields(fields)
        return [wanted.of(record) for record in await self.list(filters, limit, order_by=order_by, offset=offset)]

    async def stream_fields(
        self, fields: Iterable[str], filters: Filters | None = None, batch_size: int = 100
    ) -> AsyncGenerator[Records]:
        """Like `stream_list`, with these parts of each record alone; `fields` as in `load_fields`."""
        wanted = parse_fields(fields)
        async with aclosing(self.stream_list(filters, batch_size)) as batches:
            async for batch in batches:
                yield [wanted.of(record) for record in batch]

    async def count(self, filters: Filters | None = None) -> int:
        """Return how many records match."""
        total = 0
        async with aclosing(self.stream_list(filters)) as batches:
            async for batch in batches:
                total += len(batch)
        return total

    async def query(self, query: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> Records:
        """Run one read-only SELECT over the relation `documents`; anything else raises StorageValidationError.

        Columns: id, type, version, created_at, updated_at, session_id, thread_id, metadata (JSON text).
        Times are text in UTC; a datetime among the parameters is compared as such a text. It runs in another thread,
        and what it may cost is bounded: see `fsstore.query.limits`. Raises StorageTimeoutError.
        """
        async with aclosing(self.stream_list()) as batches:
            records = [record async for batch in batches for record in batch]
        with clock_while_wanted() as clock:
            return await asyncio.to_thread(_selected, records, query, params, clock)

    async def unreadable(self) -> Records:
        """Return what lists leave out since it cannot be read: `file` and `reason` of each."""
        report = await self.health_check()
        return [*report["corrupt"], *report.get("too_large", ())]

    async def floor(self) -> int:
        """Return the highest version that was ever deleted, above which new records begin; 0 where nobody counts that.

        What is moved to another store takes it along, so that no version of a record comes twice (`raising_floor`).
        """
        return 0

    async def get_by_session(self, session_id: str) -> Records:
        """Return the records that carry this session id."""
        return await self.list({"session_id": session_id})

    async def get_by_thread(self, thread_id: str) -> Records:
        """Return the records that carry this thread id."""
        return await self.list({"thread_id": thread_id})

    # -- commits of many ----------------------------------------------------------------------------------------------

    async def transaction(self, operations: Sequence[Mapping[str, Any]]) -> bool:
        """Apply operations, all or nothing.

        One is `{"type": "save", "data": record}`, `{"type": "update", "id": ..., "data": patch}` or
        `{"type": "delete", "id": ...}`. Raises StorageTransactionError, with the operation's index, when one of them
        cannot be applied to what is there, and StorageValidationError when one is malformed.
        """
        changes = [operating(operation, at) for at, operation in enumerate(operations)]
        try:
            await self.commit(changes)
        except (StorageNotFoundError, StorageConflictError) as error:
            raise StorageTransactionError(reason=error.message, index=error.index, id=error.id) from error
        return True

    async def batch_save(self, records: Iterable[Mapping[str, Any]]) -> Ids:
        """Insert or replace records in one transaction and return their ids."""
        complete = [completed(record) for record in records]
        await self.commit([saving(record) for record in complete])
        return [record["id"] for record in complete]

    async def batch_delete(self, ids: Iterable[str], *, keep_damaged: bool = False) -> int:
        """Remove records in one transaction and return how many were there; `keep_damaged` as in `delete`."""
        outcomes = await self.commit(
            [deleting(check_id(record_id), keep_damaged=keep_damaged) for record_id in check_ids(ids)]
        )
        return sum(outcome.before > 0 for outcome in outcomes)

    async def cleanup_old_data(self, retention_days: float) -> int:
        """Remove what was last updated more than that many days ago, and return how many; never anything younger.

        One commit a batch. A record that changes in the meantime stays.
        """
        is_number = isinstance(retention_days, int | float) and not isinstance(retention_days, bool)
        if not is_number or not retention_days >= 0:
            raise StorageValidationError(
                reason=f"must be a number of days, zero or more, not {retention_days!r}", path="retention_days"
            )
        try:
            limit = format_time(self.clock() - timedelta(days=retention_days))
        except OverflowError:
            # longer ago than the calendar reaches
            return 0
        removed = 0
        async with aclosing(self.stream_list({"updated_at": {"$lt": limit}})) as batches:
            async for batch in batches:
                outcomes = await self.commit([expiring(record["id"], limit) for record in batch])
                removed += sum(outcome.before > 0 and outcome.after == 0 for outcome in outcomes)
        return removed

    # -- what changes -------------------------------------------------------------------------------------------------

    async def refresh(self, progress: Progress | None = None) -> Absorbed:  # noqa: ARG002 - for those who override it
        """Find what other programs have changed; where none can, there is nothing to find."""
        return Absorbed()

    async def set_aside(self) -> AsyncGenerator[tuple[str, bytes]]:
        """Give the names and bytes of what was set aside when it could not be kept in its place; nothing in memory."""
        nothing: list[tuple[str, bytes]] = []
        for found in nothing:
            yield found

    def watch(
        self,
        filters: Filters | None = None,
        since: datetime | str | None = None,
        *,
        max_queued: int = MAX_QUEUED,
    ) -> Watch:
        """Return the changes of the records that match, for `async for`, each once: see `Watch`, `Change` and `Gap`.

        `since` is a datetime or ISO 8601 text (naive: local time): records that were updated then or later are
        reported first, as they are now, the one that was updated longest ago first. What was deleted or has left the
        filter before the watch began is not known. A watcher that leaves more than `max_queued` changes waiting gets a
        `Gap`.

        Raises StorageUnavailableError where `guarantees.watching` is False, StorageValidationError.
        """
        raise StorageUnavailableError(
            reason=f"{type(self).__name__} cannot be watched ({filters!r}, {since!r}, {max_queued})",
            path=type(self).__name__,
            advice="use a backend that promises `watching`, or ask again from time to time",
        )

    # -- opened and closed --------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _selected(records: Records, query: str, params: Any, clock: Callable[[], float]) -> Records:
    with using_sqlite(), closing(relation_over(records)) as connection:
        return guarded_select(connection, query, params, clock=clock)


class TailRecord(NamedTuple):
    """The end of a list in a record, and what the record is."""

    type: str
    version: int
    tail: Tail


def summary(record: Mapping[str, Any]) -> JsonObject:
    """Return a record's envelope, and its metadata: that of its data where there is one, else its own."""
    return {key: record[key] for key in ENVELOPE if key in record} | {"metadata": metadata_of(record)}
