"""The reference backend: records in a dict, each isolated from the caller by a copy. It shows what the contract means.

Nothing awaits inside a commit, so an event loop sees every commit as one step; threads are kept apart by a lock.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Any

from fsstore.errors import StorageClosedError, StorageUnavailableError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.mutations import AnyMutation, Save, apply_each, outcome_of
from fsstore.model.records import (
    Clock,
    Filters,
    Guarantees,
    JsonObject,
    Outcome,
    Outcomes,
    Records,
    check_id,
    version_of,
)
from fsstore.model.successor import floor_above, stamped
from fsstore.model.times import format_time, utc_now
from fsstore.model.values import copy_value
from fsstore.options import check_clock
from fsstore.query.filters import parse
from fsstore.query.orders import check_batch_size
from fsstore.watching.ledger import KnownState, Ledger
from fsstore.watching.watch import MAX_QUEUED, Watch


class MemoryStorage(IUnifiedStorage):
    """Records that live as long as this object does."""

    guarantees = Guarantees(
        durable=False, cross_process=False, isolated_batches=True, external_edits=False, watching=True
    )

    def __init__(self, *, clock: Clock = utc_now) -> None:
        """Make an empty store. Raises StorageValidationError for a clock that cannot be called."""
        check_clock(clock)
        self.clock = clock
        self._records: dict[str, JsonObject] = {}
        # the highest version that was deleted
        self._floor = 0
        self._closed = False
        # one commit at a time, in whichever thread; of a thread, not of a call: see `commit`
        self._committing = threading.RLock()
        self._is_committing = False
        # made for the first watcher
        self._ledger: Ledger | None = None

    async def load(self, id: str) -> JsonObject | None:
        """Return a copy of the record; O(its size)."""
        self._check_open()
        with self._committing:
            # as a list does: half of a batch may be there
            record = self._records.get(check_id(id))
        return None if record is None else copy_value(record)

    async def stream_list(self, filters: Filters | None = None, batch_size: int = 100) -> AsyncGenerator[Records]:
        """Give copies of the matching records in the order of their ids; O(records)."""
        self._check_open()
        check_batch_size(batch_size)
        condition = parse(filters)
        batch: Records = []
        with self._committing:
            # another thread may be in the middle of a commit; records are replaced, and never changed
            records = self._records.copy()
        for record_id in sorted(records):
            record = records[record_id]
            if condition.matches(record):
                batch.append(copy_value(record))
            if len(batch) == batch_size:
                yield batch
                batch = []
        if batch:
            yield batch

    async def commit(self, changes: Sequence[AnyMutation]) -> Outcomes:
        """Apply the mutations to a draft, which then becomes true at once.

        A commit within a commit of the same thread raises StorageUnavailableError: a signal handler may ask for one.
        """
        with self._committing:
            self._check_open()
            if self._is_committing:
                raise StorageUnavailableError(
                    reason="this thread is in the middle of a commit",
                    path="memory:",
                    advice="let a signal handler set a flag, and write when it has returned",
                )
            self._is_committing = True
            try:
                return self._committed(changes)
            finally:
                self._is_committing = False

    def _committed(self, changes: Sequence[AnyMutation]) -> Outcomes:
        now, floor = format_time(self.clock()), self._floor
        draft: dict[str, JsonObject | None] = {}
        # first, since what cannot be stored is refused whatever is there
        taken = [_taken(change, now) for change in changes]

        def apply(change: AnyMutation) -> Outcome:
            nonlocal floor
            current = draft.get(change.id, self._records.get(change.id))
            result = change.apply(current, now, floor)
            if result is None:
                floor = floor_above(floor, version_of(current))
            if result is not current:
                # what was taken in is nobody else's
                draft[change.id] = result if isinstance(change, Save) else copy_value(result, record_id=change.id)
            return outcome_of(change, current, result)

        outcomes = apply_each(taken, apply)
        self._floor = floor
        for record_id, record in draft.items():
            if record is None:
                self._records.pop(record_id, None)
            else:
                self._records[record_id] = record
            if self._ledger is not None:
                self._ledger.publish(record_id, None if record is None else _state(record), "own", record)
        return outcomes

    async def floor(self) -> int:
        """Return the highest version that was deleted."""
        self._check_open()
        return self._floor

    async def health_check(self) -> dict[str, Any]:
        """Return the report every backend gives."""
        self._check_open()
        return {"status": "ok", "backend": "memory", "documents": len(self._records), "corrupt": []}

    async def close(self) -> None:
        """Forget everything."""
        with self._committing:
            self._closed = True
            self._records.clear()
        if self._ledger is not None:
            self._ledger.end(StorageClosedError(path="memory:"))

    # -- watching -----------------------------------------------------------------------------------------------------

    def watch(
        self,
        filters: Filters | None = None,
        since: datetime | str | None = None,
        *,
        max_queued: int = MAX_QUEUED,
    ) -> Watch:
        """Return the changes of the records that match; O(records) for the first watch."""
        self._check_open()
        with self._committing:
            if self._ledger is None:
                self._ledger = Ledger("memory:")
                for record in self._records.values():
                    self._ledger.adopt(record["id"], _state(record))
        return Watch(_ChangeSource(self, self._ledger), parse(filters), filters or {}, since, max_queued=max_queued)

    def _check_open(self) -> None:
        if self._closed:
            raise StorageClosedError(path="memory:")


class _ChangeSource:
    """The records as their watches see them: a record's name is its id, and its version says whether it is another."""

    def __init__(self, storage: MemoryStorage, ledger: Ledger) -> None:
        self._storage = storage
        self.ledger = ledger

    async def ready(self) -> None:
        """Return at once: each commit publishes to the ledger itself."""

    async def inside(self, filters: Filters) -> dict[str, str]:
        """Return the ids of the records that match."""
        return {record["id"]: record["id"] for record in await self._storage.list(filters)}

    async def updated(self, filters: Filters) -> list[str]:
        """Return the ids of the records that match, the one that was updated longest ago first."""
        return [record["id"] for record in await self._storage.list(filters, order_by="updated_at")]

    async def read(self, names: list[str]) -> dict[str, tuple[JsonObject, object]]:
        """Return the records that are there."""
        found = {name: await self._storage.load(name) for name in names}
        return {name: (record, record["version"]) for name, record in found.items() if record is not None}


def _taken(change: AnyMutation, now: str) -> AnyMutation:
    """Return a mutation that shares nothing with the caller. Raises StorageValidationError for what no store holds."""
    check_id(change.id)
    if not isinstance(change, Save):
        return change
    record = stamped(change.id, change.record, None, change.stamp, now)
    return change._replace(record=copy_value(record, record_id=change.id))


def _state(record: JsonObject) -> KnownState:
    return KnownState(record["id"], record["version"], record["version"])
