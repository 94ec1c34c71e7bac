"""Sessions on top of any storage: the contract of sessions, and what callers want beyond it.

Owns who asks the storage for what, and how often; what a session is, and how it is changed, is in `sessions`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from fsstore.errors import StorageConflictError, StorageNotFoundError, StorageValidationError
from fsstore.interfaces import IUnifiedStorage, Progress
from fsstore.loops import loaded
from fsstore.model.lists import Tail
from fsstore.model.records import Filters, JsonObject, Page, check_id, check_ids
from fsstore.model.times import TIME_KEYS, format_time
from fsstore.sessions.appending import (
    MESSAGES,
    appending_session,
    check_count,
    continuing_session,
    list_steps,
    not_rotated,
    popping_session,
)
from fsstore.sessions.edits import Edit, EditCall, Turns, refuse_inside_edit
from fsstore.sessions.inputs import SESSION_DATA, SessionInput
from fsstore.sessions.interfaces import ISessionStore
from fsstore.sessions.mutations import (
    SESSION,
    beyond,
    check_page_limit,
    cursor_after,
    deleting_session,
    saving_session,
    session_order,
    sessions_only,
    shown,
    shown_metadata,
    shown_part,
    updating_session,
)
from fsstore.sessions.transaction import SessionTransaction
from fsstore.sessions.typed import ModelEdit, TypedSessions, editing, model_of
from fsstore.sessions.unknown_keys import UnknownKeys
from fsstore.sessions.wording import worded_for_sessions
from fsstore.sessions.words import session_fields
from fsstore.watching.changes import Absorbed
from fsstore.watching.watch import MAX_QUEUED, Watch

if TYPE_CHECKING:
    from pydantic import BaseModel

    from fsstore.sessions.models import SessionData

M = TypeVar("M", bound="BaseModel")

_POPS = 100
"""How often the end of a list may be another before `pop_last` gives up."""


@worded_for_sessions
class SessionService(ISessionStore):
    """Sessions in a storage; also known to callers as `SessionStorageAdapter`."""

    def __init__(self, storage: IUnifiedStorage) -> None:
        self.storage = storage
        # where blocking callers in other threads find the loop that awaits for them
        self.loop = _running_loop()
        self._edits: Turns = {}
        self.unknown_keys = UnknownKeys(storage)

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

    async def get_session(self, session_id: str, *, fields: Iterable[str] | None = None) -> JsonObject | None:
        """Return the session, None when there is none. Raises StorageCorruptedError when it cannot be read.

        `fields` asks for these parts alone, in their places: paths as in filters, where a bare key means metadata, and
        `.messages`, with the dot, a whole part of the session. `metadata.session_id` is always among them, and what is
        not there is left out. A large session is not opened for what the index knows, which is all of the metadata.
        """
        if fields is None:
            record = await self.get_record(session_id)
            return None if record is None else record["data"]
        wanted = session_fields(fields)
        part = await self.storage.load_fields(session_id, ["type", *wanted])
        if part is None or part["type"] != SESSION:
            return None
        session = shown_part(session_id, part)
        await self.unknown_keys.warn_of_fields(wanted, [session])
        return session

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

    async def get_model(self, session_id: str, model: type[BaseModel] = SESSION_DATA) -> BaseModel | None:
        """Return the session as a pydantic model, None when there is none.

        What was saved as a model comes back equal, but for `session_id`, `created_at` and `updated_at` in its metadata.
        Raises StorageValidationError, with the JSON path, when the session does not fit the model. The cost is a read
        and a validation of JSON text.
        """
        record = await self.get_record(session_id)
        if record is None:
            return None
        # with what saves a model again
        await loaded("fsstore.sessions.models.dumping")
        models = await loaded("fsstore.sessions.models")
        loads_as: type[BaseModel] = models.SessionData if model is SESSION_DATA else model
        return model_of(loads_as, record)

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

    async def edit_model(
        self,
        session_id: str,
        fn: ModelEdit[M],
        model: type[M],
        *,
        timeout_seconds: float = 30.0,
        replace: bool = False,
    ) -> M:
        """Do the same with the session as a pydantic model, which `fn` changes in place; returns it as saved."""
        edit = editing(session_id, model, fn, self._now(), replaces=replace)
        saved = await self.edit_session(session_id, edit, timeout_seconds=timeout_seconds, replace=True)
        times = {key: saved["metadata"][key] for key in TIME_KEYS}
        return model_of(model, {"id": session_id, "data": saved, **times})

    def typed(self, model: type[M]) -> TypedSessions[M]:
        """Return a view of these sessions that speaks a pydantic model; see `TypedSessions`."""
        return TypedSessions(self, model)

    # -- histories ----------------------------------------------------------------------------------------------------

    async def append_session(
        self,
        session_id: str,
        items: Iterable[Any],
        *,
        path: str = MESSAGES,
        metadata: Mapping[str, Any] | None = None,
        create: bool = True,
        unique_by: str | None = None,
        expected_version: int | None = None,
    ) -> int:
        """Put items at the end of a list of a session, and return how many it has then; one commit.

        `path` leads to the list (`messages`, `state.log`), which is made if it is not there; so is the session, unless
        `create` is False: then StorageNotFoundError. `metadata` is a merge patch of the metadata in the same commit.
        With `unique_by`, the name of a key, an item whose value under that key is in the list already is left out.
        Items are JSON values or pydantic models. Raises StorageValidationError, also where something else than a list
        stands at the path, and StorageConflictError for another version than is expected.
        """
        refuse_inside_edit(self.storage, [session_id], "append_session")
        (outcome,) = await self.storage.commit(
            [
                appending_session(
                    session_id,
                    items,
                    self._now(),
                    path=path,
                    metadata=metadata,
                    create=create,
                    unique_by=unique_by,
                    expected_version=expected_version,
                )
            ]
        )
        return outcome.length or 0

    async def batch_append(
        self,
        items: Mapping[str, Iterable[Any]],
        *,
        path: str = MESSAGES,
        create: bool = True,
        unique_by: str | None = None,
    ) -> dict[str, int]:
        """Append to several sessions, all or nothing; returns the length of each list by session id."""
        if not isinstance(items, Mapping):
            raise StorageValidationError(
                reason=f"must be items by session id, not {type(items).__name__}",
                path="items",
                advice="write them as in {'a': [...], 'b': [...]}",
            )
        refuse_inside_edit(self.storage, items, "batch_append")
        now = self._now()
        outcomes = await self.storage.commit(
            [
                appending_session(session_id, added, now, path=path, create=create, unique_by=unique_by)
                for session_id, added in items.items()
            ]
        )
        return {outcome.id: outcome.length or 0 for outcome in outcomes}

    async def read_tail(self, session_id: str, n: int, path: str = MESSAGES, *, before: int | None = None) -> Tail:
        """Return the newest items of a list of a session, at most `n`, and how long the list is.

        For the page before, pass the `start` of what came as `before`. A list that is not there is empty. Raises
        StorageNotFoundError, and StorageValidationError where something else than a list stands at the path.
        """
        steps = list_steps(path)
        check_count(n, "n")
        if before is not None:
            check_count(before, "before")
        found = await self.storage.load_tail(check_id(session_id), steps, n, before)
        if found is None or found.type != SESSION:
            raise StorageNotFoundError(id=session_id)
        return found.tail

    async def pop_last(self, session_id: str, path: str = MESSAGES) -> Any:
        """Take the last item of a list of a session away and return it; None when the list is empty.

        Raises StorageNotFoundError, StorageValidationError as `read_tail` does, and StorageConflictError when others
        changed the end of the list at every try.
        """
        refuse_inside_edit(self.storage, [session_id], "pop_last")
        for attempt in range(1, _POPS + 1):
            tail = await self.read_tail(session_id, 1, path)
            if not tail.items:
                return None
            try:
                await self.storage.commit([popping_session(session_id, tail.items[-1], self._now(), path=path)])
            except StorageConflictError:
                if attempt == _POPS:
                    raise
            else:
                return tail.items[-1]
        return None

    async def rotate_session(
        self, session_id: str, new_session_id: str, *, path: str = MESSAGES, keep_last: int = 0
    ) -> None:
        """Continue a session that has grown large in a new one: all of it but the list, of which the last items stay.

        The metadata of the new one says `continues`, that of the old one `continued_by`; both in one commit. Raises
        StorageNotFoundError, and StorageConflictError when there is a session of the new id, or the old one changed.
        """
        refuse_inside_edit(self.storage, [session_id, new_session_id], "rotate_session")
        # as it is stored: what is shown has its id in the metadata, which one written by hand need not have
        record = await self.storage.load(session_id)
        if record is None or record["type"] != SESSION:
            raise StorageNotFoundError(id=session_id)
        made, note = continuing_session(record, new_session_id, self._now(), path=path, keep_last=keep_last)
        try:
            await self.storage.commit([note, made])
        except StorageConflictError as error:
            raise not_rotated(error, new_session_id) from error

    # -- many sessions ------------------------------------------------------------------------------------------------

    async def list_sessions(
        self,
        filters: Filters | None = None,
        limit: int | None = None,
        *,
        order_by: str | None = None,
        offset: int = 0,
        fields: Iterable[str] | None = None,
    ) -> list[JsonObject]:
        """Return the matching sessions, by default the most recently updated first, ties by id.

        `fields` asks for parts of them alone: see `get_session`. Where these are metadata, as filter and order are, the
        index answers, and no document is opened; else each one that is returned is read all the same.

        All of them are in memory at once, some 9 KB for a session of 4 KB, and Python keeps much of that for later use
        after they are dropped: where there may be many thousands, give a limit, or use `stream_sessions`.

        Where nothing matches, a key of the filter that no session has in its metadata is logged as a warning, once; so
        is such a key of the order, or of the fields.
        """
        wanted, order = sessions_only(filters), session_order(order_by)
        if fields is None:
            records = await self.storage.list(wanted, limit, order_by=order, offset=offset)
            items = [shown(record) for record in records]
        else:
            parts = session_fields(fields)
            records = await self.storage.list_fields(["id", *parts], wanted, limit, order_by=order, offset=offset)
            items = [shown_part(part["id"], part) for part in records]
            await self.unknown_keys.warn_of_fields(parts, items)
        if not items:
            await self.unknown_keys.warn(filters)
        await self.unknown_keys.warn_of_order(order, items)
        return items

    async def list_metadata(
        self,
        filters: Filters | None = None,
        limit: int | None = None,
        *,
        order_by: str | None = None,
        offset: int = 0,
    ) -> list[JsonObject]:
        """Return the `metadata` objects of the matching sessions; where there is an index, no document is opened."""
        order = session_order(order_by)
        summaries = await self.storage.list_metadata(sessions_only(filters), limit, order_by=order, offset=offset)
        if not summaries:
            await self.unknown_keys.warn(filters)
        await self.unknown_keys.warn_of_order(order, summaries)
        return [shown_metadata(summary["id"], summary["metadata"]) for summary in summaries]

    async def list_page(
        self,
        filters: Filters | None = None,
        limit: int = 50,
        cursor: str | None = None,
        *,
        fields: Iterable[str] | None = None,
    ) -> Page:
        """Return one page of the matching sessions, the most recently updated first, and the cursor of the next.

        Paging by key: a page costs the same wherever it lies, and a session that does not change is given exactly once.
        `fields` asks for parts of them alone, at the cost of `list_sessions` with `fields`.
        """
        check_page_limit(limit)
        wanted = sessions_only(filters)
        if cursor is not None:
            wanted = {"$and": [wanted, beyond(cursor)]}
        if fields is None:
            records = await self.storage.list(wanted, limit + 1)
            items = [shown(record) for record in records[:limit]]
        else:
            parts = session_fields(fields)
            records = await self.storage.list_fields(["id", "updated_at", *parts], wanted, limit + 1)
            items = [shown_part(part["id"], part) for part in records[:limit]]
            await self.unknown_keys.warn_of_fields(parts, items)
        if not records and cursor is None:
            await self.unknown_keys.warn(filters)
        return Page(items, cursor_after(records[limit - 1]) if len(records) > limit else None)

    async def stream_sessions(
        self, filters: Filters | None = None, batch_size: int = 100, *, fields: Iterable[str] | None = None
    ) -> AsyncGenerator[list[JsonObject]]:
        """Give the matching sessions in batches, in the order of their ids; memory is bounded by a batch.

        `fields` asks for parts of them alone, at the cost of `list_sessions` with `fields`.
        """
        wanted = sessions_only(filters)
        if fields is None:
            async with aclosing(self.storage.stream_list(wanted, batch_size)) as batches:
                async for batch in batches:
                    yield [shown(record) for record in batch]
        else:
            asked = ["id", *session_fields(fields)]
            async with aclosing(self.storage.stream_fields(asked, wanted, batch_size)) as batches:
                async for batch in batches:
                    yield [shown_part(part["id"], part) for part in batch]

    async def count_sessions(self, filters: Filters | None = None) -> int:
        """Return how many sessions match."""
        number = await self.storage.count(sessions_only(filters))
        if not number:
            await self.unknown_keys.warn(filters)
        return number

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

        What this store writes, what other processes write and what is edited by hand is reported alike; a session that
        begins to match is "created" for the watcher, one that no longer does "deleted". `since`, a datetime or
        ISO 8601 text (naive: local time), first reports the sessions that were updated then or later. Raises
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
