"""Sessions on top of any storage: the contract of sessions, and what callers want beyond it.

Owns who asks the storage for what, and how often; what a session is, and how it is changed, is in `sessions`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any, Self, TypeVar, overload

from pydantic import BaseModel

from fsstore.errors import StorageValidationError
from fsstore.interfaces import IUnifiedStorage, Progress
from fsstore.model.records import Filters, JsonObject, Page, check_ids
from fsstore.model.times import format_time
from fsstore.sessions.edits import Edit, EditCall, Turns, refuse_inside_edit
from fsstore.sessions.interfaces import ISessionStore
from fsstore.sessions.model_loading import load_model
from fsstore.sessions.models import SessionData
from fsstore.sessions.mutations import (
    SessionInput,
    beyond,
    cursor_after,
    deleting_session,
    saving_session,
    session_order,
    sessions_only,
    shown,
    shown_metadata,
    updating_session,
)
from fsstore.sessions.transaction import SessionTransaction
from fsstore.watching.changes import Absorbed
from fsstore.watching.watch import MAX_QUEUED, Watch

M = TypeVar("M", bound=BaseModel)


class SessionService(ISessionStore):
    """Sessions in a storage; also known to callers as `SessionStorageAdapter`."""

    def __init__(self, storage: IUnifiedStorage) -> None:
        self.storage = storage
        # where blocking callers in other threads find whoever awaits for them
        self.loop = _running_loop()
        self._edits: Turns = {}

    # -- one session --------------------------------------------------------------------------------------------------

    async def save_session(
        self, session_id: str, session_data: SessionInput, *, expected_version: int | None = None
    ) -> None:
        """Insert or replace a session; O(its size), one commit.

        `expected_version` is the version that must be there, 0 for none; else StorageConflictError. Without it a
        session that is damaged or too large to be read is replaced, and its bytes go to quarantine first.
        """
        refuse_inside_edit(self.storage, [session_id], "save_session")
        await self.storage.commit(
            [saving_session(session_id, session_data, self._now(), expected_version=expected_version)]
        )

    async def get_session(self, session_id: str) -> JsonObject | None:
        """Return the session, None when there is none. Raises StorageCorruptedError when it cannot be read."""
        record = await self.get_record(session_id)
        return None if record is None else record["data"]

    async def get_record(self, session_id: str) -> JsonObject | None:
        """Return the whole record of a session: `version`, times, and the session itself under `data`."""
        record = await self.storage.load(session_id)
        if record is None or record["type"] != "session":
            return None
        return {**record, "session_id": session_id, "data": shown(record)}

    @overload
    async def get_model(self, session_id: str) -> SessionData | None: ...

    @overload
    async def get_model(self, session_id: str, model: type[M]) -> M | None: ...

    async def get_model(self, session_id: str, model: type[BaseModel] = SessionData) -> BaseModel | None:
        """Return the session as a pydantic model, None when there is none.

        What was saved as a model comes back equal, but for `session_id`, `created_at` and `updated_at` in its metadata.
        Raises StorageValidationError, with the JSON path, when the session does not fit the model. The cost is a read
        and a validation of JSON text.
        """
        record = await self.get_record(session_id)
        if record is None:
            return None
        times = {key: record[key] for key in ("created_at", "updated_at")}
        return load_model(model, record["data"], session_id=session_id, **times)

    async def session_exists(self, session_id: str) -> bool:
        """Whether there is a document with that id, of whatever type; O(1), where the storage need not read it."""
        return await self.storage.exists(session_id)

    async def update_session(
        self, session_id: str, updates: Mapping[str, Any], *, expected_version: int | None = None
    ) -> None:
        """Apply an RFC 7396 merge patch to a session, atomically. Raises StorageNotFoundError when it is absent.

        A patch writes the fields themselves: what was meant as an operator (`$set`) or as a dotted path raises
        StorageValidationError, unless the session has that very key.
        """
        refuse_inside_edit(self.storage, [session_id], "update_session")
        await self.storage.commit(
            [updating_session(session_id, updates, self._now(), expected_version=expected_version)]
        )

    async def delete_session(
        self, session_id: str, *, expected_version: int | None = None, keep_damaged: bool = False
    ) -> None:
        """Remove a session for good. Raises StorageNotFoundError when it is absent.

        Without `expected_version` a session that is damaged or too large to be read goes, too; with `keep_damaged` its
        bytes go to quarantine.
        """
        refuse_inside_edit(self.storage, [session_id], "delete_session")
        await self.storage.commit(
            [deleting_session(session_id, expected_version=expected_version, keep_damaged=keep_damaged)]
        )

    async def edit_session(
        self, session_id: str, fn: Edit, *, timeout_seconds: float = 30.0, replace: bool = False
    ) -> JsonObject:
        """Read a session, let `fn` change it, and save it if nobody wrote in between; else do it again.

        `fn` gets a draft of the session, changes it in place and returns nothing, or the draft; it may be async, and
        runs once a try. With `replace=True` it may also return another session, as a mapping or a model. What it writes
        to the same session in any other way is refused at once: change the draft. Returns the session as saved.

        `timeout_seconds` bounds everything that is awaited: the wait for other tasks that edit the session, an async
        `fn`, which is then cancelled, all tries and the commit. 0 is one try that waits for no other task.

        Raises StorageNotFoundError; StorageValidationError, when `fn` returns something else; StorageConflictError,
        when no try won in time; StorageTimeoutError, when waiting or `fn` took the time: its `outcome` is "unknown"
        where the commit was under way, else "not applied".
        """
        return await EditCall(self.storage, session_id, fn, timeout_seconds=timeout_seconds, replace=replace).run(
            self._edits
        )

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
        return [shown(record) for record in records]

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
        return [shown_metadata(summary["id"], summary["metadata"]) for summary in summaries]

    async def list_page(self, filters: Filters | None = None, limit: int = 50, cursor: str | None = None) -> Page:
        """Return one page of the matching sessions, the most recently updated first, and the cursor of the next.

        Paging by key: a page costs the same wherever it lies, and a session that does not change is given exactly once.
        """
        if type(limit) is not int or limit < 1:
            raise StorageValidationError(
                reason=f"must be a positive whole number, not {limit!r}",
                path="limit",
                advice="give a page room for a session",
            )
        wanted = sessions_only(filters)
        if cursor is not None:
            wanted = {"$and": [wanted, beyond(cursor)]}
        records = await self.storage.list(wanted, limit + 1)
        more = len(records) > limit
        return Page(
            [shown(record) for record in records[:limit]],
            cursor_after(records[limit - 1]) if more else None,
        )

    async def stream_sessions(
        self, filters: Filters | None = None, batch_size: int = 100
    ) -> AsyncGenerator[list[JsonObject]]:
        """Give the matching sessions in batches, in the order of their ids; memory is bounded by a batch."""
        async with aclosing(self.storage.stream_list(sessions_only(filters), batch_size)) as batches:
            async for batch in batches:
                yield [shown(record) for record in batch]

    async def count_sessions(self, filters: Filters | None = None) -> int:
        """Return how many sessions match."""
        return await self.storage.count(sessions_only(filters))

    async def batch_save_sessions(self, sessions: Mapping[str, SessionInput], *, keep_times: bool = False) -> None:
        """Insert or replace sessions, all or nothing. `keep_times` keeps the instants in their metadata."""
        if not isinstance(sessions, Mapping):
            raise StorageValidationError(
                reason=f"must be sessions by id, not {type(sessions).__name__}",
                path="sessions",
                advice="write them as in {'a': {...}, 'b': {...}}",
            )
        refuse_inside_edit(self.storage, sessions, "batch_save_sessions")
        now = self._now()
        await self.storage.commit(
            [saving_session(session_id, data, now, keep_times=keep_times) for session_id, data in sessions.items()]
        )

    async def batch_delete_sessions(self, session_ids: Iterable[str], *, keep_damaged: bool = False) -> None:
        """Remove sessions, all or nothing; absent ones are passed over. `keep_damaged` as in `delete_session`."""
        session_ids = check_ids(session_ids, "session_ids")
        refuse_inside_edit(self.storage, session_ids, "batch_delete_sessions")
        await self.storage.commit(
            [deleting_session(session_id, missing_ok=True, keep_damaged=keep_damaged) for session_id in session_ids]
        )

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
        begins to match is "created" for the watcher, one that no longer does "deleted". `since`, a datetime or
        ISO 8601 text (naive: local time), first tells the sessions that were updated then or later. Raises
        StorageValidationError, and StorageUnavailableError where the storage cannot be watched.
        """
        watch = self.storage.watch(sessions_only(filters), since, max_queued=max_queued)
        watch.show = shown_metadata
        return watch

    async def refresh(self, progress: Progress | None = None) -> Absorbed:
        """Find external edits now, and return what was found; one stat a session, one read for each that differs.

        `progress` is called, in another thread, with the steps that are done and the steps that there are.
        """
        return await self.storage.refresh(progress)

    async def unreadable(self) -> list[JsonObject]:
        """Return what lists leave out since it cannot be read, sessions or not: `file` and `reason` of each."""
        return await self.storage.unreadable()

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


SessionStorageAdapter = SessionService
