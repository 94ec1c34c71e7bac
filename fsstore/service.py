"""Sessions on top of any storage: all session policy lives here and nowhere else.

A session is a JSON object with a `metadata` object. It is stored as the `data` of a record of type "session" whose id
is the session's. Policy:

- `metadata.session_id`, `created_at` and `updated_at` are stamped here, on a copy; `created_at` survives a re-save;
- in filters and orders a bare key means metadata (`status`), a dotted key starts at the session (`state.step`);
- a record of another type is not a session: it is not found, and not overwritten.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import math
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Self, TypeAlias, TypeVar, overload

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from fsstore.errors import StorageConflictError, StorageNotFoundError, StorageValidationError
from fsstore.filters import session_filter, session_path
from fsstore.interfaces import ISessionStore, IUnifiedStorage
from fsstore.models import (
    Filters,
    JsonObject,
    Mutation,
    Page,
    SessionData,
    canonical_time,
    check_id,
    expect_seen,
    expect_version,
    format_time,
    unchanged,
)
from fsstore.patch import merge_patch
from fsstore.values import copy_value, format_path, snapshot

SessionInput: TypeAlias = Mapping[str, Any] | BaseModel
Edit: TypeAlias = Callable[[JsonObject], Awaitable[JsonObject | None] | JsonObject | None]
M = TypeVar("M", bound=BaseModel)

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.0005, 0.02


class SessionService(ISessionStore):
    """Sessions in a storage; also known to callers as `SessionStorageAdapter`."""

    def __init__(self, storage: IUnifiedStorage) -> None:
        self.storage = storage
        self._edits: dict[tuple[int, str], tuple[asyncio.Lock, int]] = {}

    # -- one session --------------------------------------------------------------------------------------------------

    async def save_session(
        self, session_id: str, session_data: SessionInput, *, expected_version: int | None = None
    ) -> None:
        """Insert or replace a session; O(its size), one commit.

        `expected_version` is the version that must be there, 0 for none; else StorageConflictError.
        """
        await self.storage.commit([self._saving(session_id, session_data, expected_version=expected_version)])

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
            raise StorageValidationError(first["msg"], path=format_path(first["loc"]), record_id=session_id) from error

    async def session_exists(self, session_id: str) -> bool:
        """Whether there is a document with that id, of whatever type; O(1), where the storage need not read it."""
        return await self.storage.exists(session_id)

    async def update_session(
        self, session_id: str, updates: Mapping[str, Any], *, expected_version: int | None = None
    ) -> None:
        """Apply an RFC 7396 merge patch to a session, atomically. Raises StorageNotFoundError when it is absent."""
        await self.storage.commit([self._updating(session_id, updates, expected_version=expected_version)])

    async def delete_session(self, session_id: str, *, expected_version: int | None = None) -> None:
        """Remove a session for good. Raises StorageNotFoundError when it is absent."""
        await self.storage.commit([_deleting(session_id, expected_version=expected_version)])

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
                raise StorageNotFoundError(session_id)
            draft = copy_value(seen["data"])
            result = fn(draft)
            edited = await result if inspect.isawaitable(result) else result
            mutation, saved = self._editing(session_id, seen, draft if edited is None else edited)
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
            _sessions_only(filters), limit, order_by=session_path(order_by), offset=offset
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
            _sessions_only(filters), limit, order_by=session_path(order_by), offset=offset
        )
        return [summary["metadata"] for summary in summaries]

    async def list_page(self, filters: Filters | None = None, limit: int = 50, cursor: str | None = None) -> Page:
        """Return one page of the matching sessions, the most recently updated first, and the cursor of the next.

        Paging by key: a page costs the same wherever it lies, and a session that does not change is given exactly once.
        """
        if limit < 1:
            raise StorageValidationError("a page needs room for at least one session", path="limit")
        wanted = _sessions_only(filters)
        if cursor is not None:
            wanted = {"$and": [wanted, _beyond(cursor)]}
        records = await self.storage.list(wanted, limit + 1)
        more = len(records) > limit
        return Page(
            [record["data"] for record in records[:limit]],
            _cursor_after(records[limit - 1]) if more else None,
        )

    async def stream_sessions(
        self, filters: Filters | None = None, batch_size: int = 100
    ) -> AsyncGenerator[list[JsonObject]]:
        """Give the matching sessions in batches, in the order of their ids; memory is bounded by a batch."""
        async with aclosing(self.storage.stream_list(_sessions_only(filters), batch_size)) as batches:
            async for batch in batches:
                yield [record["data"] for record in batch]

    async def count_sessions(self, filters: Filters | None = None) -> int:
        """Return how many sessions match."""
        return await self.storage.count(_sessions_only(filters))

    async def batch_save_sessions(self, sessions: Mapping[str, SessionInput], *, keep_times: bool = False) -> None:
        """Insert or replace sessions, all or nothing. `keep_times` leaves the times in their metadata as given."""
        await self.storage.commit(
            [self._saving(session_id, data, keep_times=keep_times) for session_id, data in sessions.items()]
        )

    async def batch_delete_sessions(self, session_ids: Iterable[str]) -> None:
        """Remove sessions, all or nothing; absent ones are passed over."""
        await self.storage.commit([_deleting(session_id, missing_ok=True) for session_id in session_ids])

    def transaction(self) -> SessionTransaction:
        """Return a transaction, for `async with`: reads are remembered, writes buffered and committed at its end."""
        return SessionTransaction(self)

    # -- the store ----------------------------------------------------------------------------------------------------

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

    # -- mutations ----------------------------------------------------------------------------------------------------

    def _now(self) -> str:
        return format_time(self.storage.clock())

    def _saving(
        self,
        session_id: str,
        session_data: SessionInput,
        *,
        expected_version: int | None = None,
        keep_times: bool = False,
    ) -> Mutation:
        data, now = _session_object(check_id(session_id), session_data), self._now()

        def rule(current: JsonObject | None) -> JsonObject:
            _expect_session(session_id, current, expected_version)
            return _session_record(session_id, data, current, now, keep_times=keep_times)

        return Mutation(session_id, rule, keep_times=True)

    def _updating(
        self, session_id: str, updates: Mapping[str, Any], *, expected_version: int | None = None
    ) -> Mutation:
        # checked, not only copied: a patch is followed down before what it makes is encoded
        given = {"data": _session_object(check_id(session_id), updates)}
        patch, now = copy_value(given, record_id=session_id)["data"], self._now()

        def rule(current: JsonObject | None) -> JsonObject:
            _expect_session(session_id, current, expected_version)
            if current is None:
                raise StorageNotFoundError(session_id)
            return _session_record(session_id, merge_patch(current["data"], patch), current, now)

        return Mutation(session_id, rule, keep_times=True)

    def _editing(self, session_id: str, seen: JsonObject, edited: SessionInput) -> tuple[Mutation, JsonObject]:
        record = _session_record(session_id, _session_object(session_id, edited), seen, self._now())

        def rule(current: JsonObject | None) -> JsonObject:
            expect_seen(session_id, current, seen)
            return record

        return Mutation(session_id, rule, keep_times=True), record["data"]


class SessionTransaction:
    """Reads and writes that become true together at the end of `async with`, if nothing that was read has changed.

    Raises StorageConflictError at the end otherwise, and then nothing is applied. Leaving the block with an exception
    applies nothing. Inside, reads see the transaction's own writes; nobody else sees them before the end.
    """

    def __init__(self, service: SessionService) -> None:
        self._service = service
        self._seen: dict[str, JsonObject | None] = {}
        self._draft: dict[str, JsonObject | None] = {}
        self._writes: list[Mutation] = []

    async def get_session(self, session_id: str) -> JsonObject | None:
        """Return a session as this transaction sees it."""
        record = await self._current(session_id)
        return None if record is None or record["type"] != "session" else copy_value(record["data"])

    async def save_session(self, session_id: str, session_data: SessionInput) -> None:
        """Insert or replace a session at the end."""
        await self._write(self._service._saving(session_id, session_data))  # noqa: SLF001 - one idea, two classes

    async def update_session(self, session_id: str, updates: Mapping[str, Any]) -> None:
        """Patch a session at the end. Raises StorageNotFoundError when it is absent."""
        await self._write(self._service._updating(session_id, updates))  # noqa: SLF001 - one idea, two classes

    async def delete_session(self, session_id: str) -> None:
        """Remove a session at the end. Raises StorageNotFoundError when it is absent."""
        await self._write(_deleting(session_id))

    async def _current(self, session_id: str) -> JsonObject | None:
        if session_id not in self._draft:
            self._seen[session_id] = self._draft[session_id] = await self._service.storage.load(session_id)
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
            await self._service.storage.commit([*checks, *self._writes])


SessionStorageAdapter = SessionService


def _session_object(session_id: str, value: SessionInput) -> JsonObject:
    """Return the session, as it is now, as a dict of its own; raise StorageValidationError unless it is an object."""
    if isinstance(value, BaseModel):
        return _dump(session_id, value)
    if not isinstance(value, Mapping):
        raise StorageValidationError(
            f"a session must be an object, not {type(value).__name__}", path="$", record_id=session_id
        )
    # as the data of a record, so that a path in an error starts where all others do
    record: JsonObject = snapshot({"data": dict(value)}, record_id=session_id)
    data: JsonObject = record["data"]
    return data


def _dump(session_id: str, model: BaseModel) -> JsonObject:
    """Return what was set in a model, and what is no longer as its default: a list that was appended to, say."""
    try:
        changed = model.model_dump(mode="json", exclude_defaults=True)
        given = model.model_dump(mode="json", exclude_unset=True)
        # pydantic would write it as null
        _refuse_non_finite(model.model_dump(), ("data",), session_id)
    except StorageValidationError:
        raise
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise StorageValidationError(str(error), path="$", record_id=session_id) from error
    merged: JsonObject = _merged(changed, given)
    return merged


def _refuse_non_finite(value: Any, steps: tuple[str | int, ...], session_id: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise StorageValidationError(f"{value} is not a JSON number", path=format_path(steps), record_id=session_id)
    if isinstance(value, dict | list | tuple):
        for step, item in value.items() if isinstance(value, dict) else enumerate(value):
            _refuse_non_finite(item, (*steps, step), session_id)


def _merged(first: Any, second: Any) -> Any:
    if not (isinstance(first, dict) and isinstance(second, dict)):
        return second
    return first | {key: _merged(first[key], value) if key in first else value for key, value in second.items()}


def _expect_session(session_id: str, current: JsonObject | None, expected_version: int | None) -> None:
    if current is not None and current["type"] != "session":
        raise StorageConflictError(
            session_id,
            expected=0,
            actual=current["version"],
            reason=f"there is a document of type {current['type']!r} under that id",
        )
    expect_version(session_id, current, expected_version)


def _session_record(
    session_id: str, data: JsonObject, current: JsonObject | None, now: str, *, keep_times: bool = False
) -> JsonObject:
    """Wrap a session into its record and stamp its metadata, on copies."""
    metadata = data.get("metadata", {})
    if not isinstance(metadata, Mapping):
        raise StorageValidationError(
            f"must be an object, not {type(metadata).__name__}", path="$.metadata", record_id=session_id
        )
    created, updated = metadata.get("created_at"), metadata.get("updated_at")
    if current is not None and not keep_times:
        created = current["created_at"]
    if not (keep_times and updated):
        updated = now
    metadata = {**metadata, "session_id": session_id, "created_at": created or updated, "updated_at": updated}
    record = {
        **(current or {}),
        "id": session_id,
        "type": "session",
        "session_id": session_id,
        "created_at": canonical_time(metadata["created_at"], "$.metadata.created_at", session_id),
        "updated_at": canonical_time(updated, "$.metadata.updated_at", session_id),
    }
    if not keep_times:
        metadata["created_at"] = record["created_at"]
    record.pop("thread_id", None)
    if isinstance(thread_id := metadata.get("thread_id"), str):
        record["thread_id"] = thread_id
    record["data"] = {**data, "metadata": metadata}
    return record


def _deleting(session_id: str, *, expected_version: int | None = None, missing_ok: bool = False) -> Mutation:
    def rule(current: JsonObject | None) -> None:
        _expect_session(session_id, current, expected_version)
        if current is None and not missing_ok:
            raise StorageNotFoundError(session_id)

    return Mutation(check_id(session_id), rule)


def _sessions_only(filters: Filters | None) -> Filters:
    sessions: Filters = {"type": "session"}
    return {"$and": [sessions, session_filter(filters)]} if filters else sessions


def _cursor_after(record: JsonObject) -> str:
    return base64.urlsafe_b64encode(f"{record['updated_at']} {record['id']}".encode()).decode()


def _beyond(cursor: str) -> Filters:
    """Match what comes after the cursor's record in the default order."""
    try:
        updated_at, _, record_id = base64.urlsafe_b64decode(cursor.encode()).decode().partition(" ")
        canonical_time(updated_at, "cursor", None)
    except ValueError as error:
        raise StorageValidationError(
            "this is not a cursor that list_page gave", path="cursor", advice="start again without one"
        ) from error
    # the first condition is implied by the second; it lets an index start where the page starts
    return {
        "$and": [
            {"updated_at": {"$lte": updated_at}},
            {"$or": [{"updated_at": {"$lt": updated_at}}, {"id": {"$gt": record_id}}]},
        ]
    }
