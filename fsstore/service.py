"""Sessions on top of any storage: the contract of sessions, and what callers want beyond it.

Owns who asks the storage for what, and how often; what a session is, and how it is changed, is in `sessions`.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any, Self, TypeAlias, TypeVar, overload

from pydantic import BaseModel, ValidationError

from fsstore.changes import Absorbed
from fsstore.errors import StorageConflictError, StorageNotFoundError, StorageValidationError
from fsstore.interfaces import ISessionStore, IUnifiedStorage, Progress
from fsstore.models import (
    Filters,
    JsonObject,
    Mutation,
    Page,
    SessionData,
    format_time,
    unchanged,
)
from fsstore.sessions import (
    SessionInput,
    beyond,
    copied_session,
    cursor_after,
    deleting_session,
    editing_session,
    saving_session,
    session_order,
    sessions_only,
    updating_session,
)
from fsstore.values import copy_value, format_path
from fsstore.watching import MAX_QUEUED, Watch

Edit: TypeAlias = Callable[[JsonObject], Awaitable[JsonObject | None] | JsonObject | None]
M = TypeVar("M", bound=BaseModel)

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.0005, 0.02


class SessionService(ISessionStore):
    """Sessions in a storage; also known to callers as `SessionStorageAdapter`."""

    def __init__(self, storage: IUnifiedStorage) -> None:
        self.storage = storage
        # where blocking callers in other threads find whoever awaits for them
        self.loop = _running_loop()
        self._edits: dict[tuple[int, str], tuple[asyncio.Lock, int]] = {}

    # -- one session --------------------------------------------------------------------------------------------------

    async def save_session(
        self, session_id: str, session_data: SessionInput, *, expected_version: int | None = None
    ) -> None:
        """Insert or replace a session; O(its size), one commit.

        `expected_version` is the version that must be there, 0 for none; else StorageConflictError.
        """
        await self.storage.commit(
            [saving_session(session_id, session_data, self._now(), expected_version=expected_version)]
        )

    async def get_session(self, session_id: str) -> JsonObject | None:
        """Return the session, None when there is none. Raises StorageCorruptedError when it can not be read."""
        record = await self.get_record(session_id)
        return None if record is None else record["data"]

    async def get_record(self, session_id: str) -> JsonObject | None:
        """Return the whole record of a session: `version`, times, and the session itself under `data`."""
        record = await self.storage.load(session_id)
        return record if record is not None and record["type"] == "session" else None

    @overload
    async def get_model(self, session_id: str) -> SessionData | None: ...

    @overload
    async def get_model(self, session_id: str, model: type[M]) -> M | None: ...

    async def get_model(self, session_id: str, model: type[BaseModel] = SessionData) -> BaseModel | None:
        """Return the session as a pydantic model, None when there is none.

        Raises StorageValidationError, with the JSON path, when the session does not fit the model. A model may be saved
        with `save_session` like a dict.
        """
        data = await self.get_session(session_id)
        if data is None:
            return None
        try:
            return model.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            raise StorageValidationError(reason=first["msg"], path=format_path(first["loc"]), id=session_id) from error

    async def session_exists(self, session_id: str) -> bool:
        """Whether there is a document with that id, of whatever type; O(1), where the storage need not read it."""
        return await self.storage.exists(session_id)

    async def update_session(
        self, session_id: str, updates: Mapping[str, Any], *, expected_version: int | None = None
    ) -> None:
        """Apply an RFC 7396 merge patch to a session, atomically. Raises StorageNotFoundError when it is absent."""
        await self.storage.commit(
            [updating_session(session_id, updates, self._now(), expected_version=expected_version)]
        )

    async def delete_session(self, session_id: str, *, expected_version: int | None = None) -> None:
        """Remove a session for good. Raises StorageNotFoundError when it is absent."""
        await self.storage.commit([deleting_session(session_id, expected_version=expected_version)])

    async def edit_session(self, session_id: str, fn: Edit, *, timeout_seconds: float = 30.0) -> JsonObject:
        """Read a session, let `fn` change it, and save it if nobody wrote in between; else do it again.

        `fn` gets the session's data and changes it in place or returns new data; it may be async and runs once a try.
        Returns the data as saved. Raises StorageNotFoundError, and StorageConflictError when no try won in time.
        """
        key = (id(asyncio.get_running_loop()), session_id)
        lock, waiting = self._edits.get(key) or (asyncio.Lock(), 0)
        self._edits[key] = (lock, waiting + 1)
        try:
            # one task of this loop at a time tries: they would only defeat each other
            async with lock:
                return await self._edit(session_id, fn, timeout_seconds)
        finally:
            lock, waiting = self._edits.pop(key)
            if waiting > 1:
                self._edits[key] = (lock, waiting - 1)

    async def _edit(self, session_id: str, fn: Edit, timeout_seconds: float) -> JsonObject:
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        pause = _FIRST_PAUSE_SECONDS
        while True:
            seen = await self.get_record(session_id)
            if seen is None:
                raise StorageNotFoundError(id=session_id)
            draft = copy_value(seen["data"])
            result = fn(draft)
            edited = await result if inspect.isawaitable(result) else result
            mutation, saved = editing_session(session_id, draft if edited is None else edited, self._now(), seen=seen)
            try:
                await self.storage.commit([mutation])
            except StorageConflictError:
                if asyncio.get_running_loop().time() >= deadline:
                    raise
            else:
                return saved
            await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - spreads the tries, hides nothing
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    # -- many sessions ------------------------------------------------------------------------------------------------

    async def list_sessions(
        self,
        filters: Filters | None = None,
        limit: int | None = None,
        *,
        order_by: str | None = None,
        offset: int = 0,
    ) -> list[JsonObject]:
        """Return the matching sessions, by default the most recently updated first, ties by id."""
        records = await self.storage.list(
            sessions_only(filters), limit, order_by=session_order(order_by), offset=offset
        )
        return [record["data"] for record in records]

    async def list_metadata(
        self,
        filters: Filters | None = None,
        limit: int | None = None,
        *,
        order_by: str | None = None,
        offset: int = 0,
    ) -> list[JsonObject]:
        """Return the `metadata` objects of the matching sessions; where there is an index, no document is opened."""
        summaries = await self.storage.list_metadata(
            sessions_only(filters), limit, order_by=session_order(order_by), offset=offset
        )
        return [summary["metadata"] for summary in summaries]

    async def list_page(self, filters: Filters | None = None, limit: int = 50, cursor: str | None = None) -> Page:
        """Return one page of the matching sessions, the most recently updated first, and the cursor of the next.

        Paging by key: a page costs the same wherever it lies, and a session that does not change is given exactly once.
        """
        if limit < 1:
            raise StorageValidationError(reason="a page needs room for at least one session", path="limit")
        wanted = sessions_only(filters)
        if cursor is not None:
            wanted = {"$and": [wanted, beyond(cursor)]}
        records = await self.storage.list(wanted, limit + 1)
        more = len(records) > limit
        return Page(
            [record["data"] for record in records[:limit]],
            cursor_after(records[limit - 1]) if more else None,
        )

    async def stream_sessions(
        self, filters: Filters | None = None, batch_size: int = 100
    ) -> AsyncGenerator[list[JsonObject]]:
        """Give the matching sessions in batches, in the order of their ids; memory is bounded by a batch."""
        async with aclosing(self.storage.stream_list(sessions_only(filters), batch_size)) as batches:
            async for batch in batches:
                yield [record["data"] for record in batch]

    async def count_sessions(self, filters: Filters | None = None) -> int:
        """Return how many sessions match."""
        return await self.storage.count(sessions_only(filters))

    async def batch_save_sessions(self, sessions: Mapping[str, SessionInput], *, keep_times: bool = False) -> None:
        """Insert or replace sessions, all or nothing. `keep_times` leaves the times in their metadata as given."""
        now = self._now()
        await self.storage.commit(
            [saving_session(session_id, data, now, keep_times=keep_times) for session_id, data in sessions.items()]
        )

    async def batch_delete_sessions(self, session_ids: Iterable[str]) -> None:
        """Remove sessions, all or nothing; absent ones are passed over."""
        await self.storage.commit([deleting_session(session_id, missing_ok=True) for session_id in session_ids])

    def transaction(self) -> SessionTransaction:
        """Return a transaction, for `async with`: reads are remembered, writes buffered and committed at its end."""
        return SessionTransaction(self.storage)

    # -- the store ----------------------------------------------------------------------------------------------------

    def watch(
        self,
        filters: Filters | None = None,
        since: datetime | str | None = None,
        *,
        max_queued: int = MAX_QUEUED,
    ) -> Watch:
        """Return the changes of the matching sessions, each once, for `async for`: see `Watch`, `Change` and `Gap`.

        What this store writes, what other processes write and what is edited by hand is told alike; a session that
        begins to match is "created" for the watcher, one that no longer does "deleted". `since`, an aware time or one
        as in `updated_at`, first tells the sessions that were updated then or later. Raises StorageValidationError, and
        StorageUnavailableError where the storage can not be watched.
        """
        return self.storage.watch(sessions_only(filters), since, max_queued=max_queued)

    async def refresh(self, progress: Progress | None = None) -> Absorbed:
        """Find external edits now, and return what was found; one stat a session, one read for each that differs.

        `progress` is called, in another thread, with the steps that are done and the steps that there are.
        """
        return await self.storage.refresh(progress)

    async def health_check(self) -> dict[str, Any]:
        """Return the storage's report."""
        return await self.storage.health_check()

    async def close(self) -> None:
        """Close the storage."""
        await self.storage.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _now(self) -> str:
        return format_time(self.storage.clock())


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class SessionTransaction:
    """Reads and writes that become true together at the end of `async with`, if nothing that was read has changed.

    Raises StorageConflictError at the end otherwise, and then nothing is applied. Leaving the block with an exception
    applies nothing. Inside, reads see the transaction's own writes; nobody else sees them before the end.
    """

    def __init__(self, storage: IUnifiedStorage) -> None:
        self._storage = storage
        self._seen: dict[str, JsonObject | None] = {}
        self._draft: dict[str, JsonObject | None] = {}
        self._writes: list[Mutation] = []

    async def get_session(self, session_id: str) -> JsonObject | None:
        """Return a session as this transaction sees it."""
        record = await self._current(session_id)
        return None if record is None or record["type"] != "session" else copy_value(record["data"])

    async def save_session(self, session_id: str, session_data: SessionInput) -> None:
        """Insert or replace a session at the end."""
        # copied, since the end may be long after this
        await self._write(saving_session(session_id, copied_session(session_id, session_data), self._now()))

    async def update_session(self, session_id: str, updates: Mapping[str, Any]) -> None:
        """Patch a session at the end. Raises StorageNotFoundError when it is absent."""
        await self._write(updating_session(session_id, updates, self._now()))

    async def delete_session(self, session_id: str) -> None:
        """Remove a session at the end. Raises StorageNotFoundError when it is absent."""
        await self._write(deleting_session(session_id))

    def _now(self) -> str:
        return format_time(self._storage.clock())

    async def _current(self, session_id: str) -> JsonObject | None:
        if session_id not in self._draft:
            self._seen[session_id] = self._draft[session_id] = await self._storage.load(session_id)
        return self._draft[session_id]

    async def _write(self, mutation: Mutation) -> None:
        current = await self._current(mutation.id)
        result = mutation.rule(current)
        # checked now, so that an error names the statement that caused it
        drafted = copy_value(result, record_id=mutation.id)
        self._draft[mutation.id] = None if drafted is None else {"version": 0, **drafted}
        self._writes.append(mutation)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and (self._writes or self._seen):
            checks = [unchanged(session_id, seen) for session_id, seen in self._seen.items()]
            await self._storage.commit([*checks, *self._writes])


SessionStorageAdapter = SessionService
