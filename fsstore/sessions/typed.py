"""Sessions as one pydantic model: a view of a service whose every call speaks the model.

Owns how a record becomes a `Session` of a model and back; what a session is, and how it is written, is the service's.
Every call raises StorageValidationError, with the session and the JSON path, for a session that does not fit the model.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeAlias, TypeVar

from fsstore.errors import StorageValidationError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.records import Filters, JsonObject
from fsstore.sessions.inputs import SessionInput
from fsstore.sessions.mutations import (
    beyond,
    check_page_limit,
    cursor_after,
    session_order,
    sessions_only,
    shown,
)
from fsstore.sessions.transaction import SessionTransaction
from fsstore.sessions.unknown_keys import UnknownKeys
from fsstore.sessions.wording import worded_for_sessions

if TYPE_CHECKING:
    from pydantic import BaseModel

M = TypeVar("M", bound="BaseModel")
ModelEdit: TypeAlias = Callable[[M], Awaitable[M | None] | M | None]
"""Changes a model in place, and returns nothing, or it; with `replace=True` it may return another."""


@dataclass(frozen=True, slots=True)
class Session(Generic[M]):
    """A session as it was read: its record, with the session itself as a model."""

    id: str
    version: int
    created_at: datetime
    updated_at: datetime
    data: M


Batch: TypeAlias = list[Session[M]]
"""Several sessions; `list` is a method below."""


@dataclass(frozen=True, slots=True)
class SessionPage(Generic[M]):
    """One page of sessions. `cursor` fetches the next one; None on the last."""

    items: list[Session[M]]
    cursor: str | None


class _Sessions(Protocol):
    """What the view asks of the service that gives it."""

    storage: IUnifiedStorage
    unknown_keys: UnknownKeys

    async def save_session(
        self, session_id: str, session_data: SessionInput, *, expected_version: int | None = None
    ) -> None: ...

    async def get_record(self, session_id: str) -> JsonObject | None: ...

    async def edit_model(
        self, session_id: str, fn: ModelEdit[M], model: type[M], *, timeout_seconds: float = 30.0, replace: bool = False
    ) -> M: ...

    def transaction(self) -> SessionTransaction: ...


@worded_for_sessions
class TypedSessions(Generic[M]):
    """The sessions of a service as models of one class; `SessionService.typed` gives it."""

    def __init__(self, service: _Sessions, model: type[M]) -> None:
        self._service = service
        self._model = model

    async def save(self, session_id: str, data: M, *, expected_version: int | None = None) -> None:
        """Insert or replace a session; see `SessionService.save_session`."""
        await self._service.save_session(session_id, data, expected_version=expected_version)

    async def get(self, session_id: str) -> Session[M] | None:
        """Return a session, None when there is none."""
        record = await self._service.get_record(session_id)
        return None if record is None else self._of(record)

    async def edit(
        self, session_id: str, fn: ModelEdit[M], *, timeout_seconds: float = 30.0, replace: bool = False
    ) -> M:
        """Let `fn` change the model of a session; see `SessionService.edit_session`. Returns it as saved."""
        return await self._service.edit_model(
            session_id, fn, self._model, timeout_seconds=timeout_seconds, replace=replace
        )

    async def list(
        self,
        filters: Filters | None = None,
        limit: int | None = None,
        *,
        order_by: str | None = None,
        offset: int = 0,
    ) -> Batch[M]:
        """Return the matching sessions; see `SessionService.list_sessions`."""
        order = session_order(order_by)
        records = await self._service.storage.list(sessions_only(filters), limit, order_by=order, offset=offset)
        if not records:
            await self._service.unknown_keys.warn(filters)
        await self._service.unknown_keys.warn_of_order(order, (record["data"] for record in records))
        return [self._of(record) for record in records]

    async def page(self, filters: Filters | None = None, limit: int = 50, cursor: str | None = None) -> SessionPage[M]:
        """Return one page of the matching sessions; see `SessionService.list_page`."""
        check_page_limit(limit)
        wanted = sessions_only(filters)
        if cursor is not None:
            wanted = {"$and": [wanted, beyond(cursor)]}
        records = await self._service.storage.list(wanted, limit + 1)
        if not records and cursor is None:
            await self._service.unknown_keys.warn(filters)
        items = [self._of(record) for record in records[:limit]]
        return SessionPage(items, cursor_after(records[limit - 1]) if len(records) > limit else None)

    async def stream(self, filters: Filters | None = None, batch_size: int = 100) -> AsyncGenerator[Batch[M]]:
        """Give the matching sessions in batches; see `SessionService.stream_sessions`."""
        async with aclosing(self._service.storage.stream_list(sessions_only(filters), batch_size)) as batches:
            async for batch in batches:
                yield [self._of(record) for record in batch]

    def transaction(self) -> TypedTransaction[M]:
        """Return a transaction that speaks the model; see `SessionService.transaction`."""
        return TypedTransaction(self._service.transaction(), self._model)

    def _of(self, record: JsonObject) -> Session[M]:
        created, updated = (datetime.fromisoformat(record[key]) for key in ("created_at", "updated_at"))
        return Session(record["id"], record["version"], created, updated, model_of(self._model, record))


@worded_for_sessions
class TypedTransaction(Generic[M]):
    """A `SessionTransaction` whose sessions are models of one class."""

    def __init__(self, transaction: SessionTransaction, model: type[M]) -> None:
        self._transaction = transaction
        self._model = model

    async def get(self, session_id: str) -> M | None:
        """Return a session as this transaction sees it, None when there is none."""
        record = await self._transaction.get_record(session_id)
        return None if record is None else model_of(self._model, record)

    async def save(self, session_id: str, data: M) -> None:
        """Insert or replace a session at the end."""
        await self._transaction.save_session(session_id, data)

    async def delete(self, session_id: str) -> None:
        """Remove a session at the end. Raises StorageNotFoundError when it is absent."""
        await self._transaction.delete_session(session_id)

    async def __aenter__(self) -> Self:
        await self._transaction.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        await self._transaction.__aexit__(kind, *raised)


def model_of(model: type[M], record: JsonObject) -> M:
    """Return the session of a record as a model."""
    from fsstore.sessions.models.loading import load_model  # noqa: PLC0415 - see `inputs`

    times = {key: record[key] for key in ("created_at", "updated_at")}
    return load_model(model, shown(record), session_id=record["id"], **times)


def editing(
    session_id: str, model: type[M], fn: ModelEdit[M], now: str, *, replaces: bool
) -> Callable[[JsonObject], Awaitable[Any]]:
    """Return an edit of a session that has `fn` edit its model, which then takes the place of the session.

    Unless `replaces`, it raises StorageValidationError when `fn` returns something else than the model or nothing.
    """
    from fsstore.sessions.models.loading import load_model  # noqa: PLC0415 - see `inputs`

    async def edit(draft: JsonObject) -> object:
        metadata = draft.get("metadata") if type(draft) is dict else None
        given: JsonObject = metadata if type(metadata) is dict else {}
        times = {key: str(given.get(key) or now) for key in ("created_at", "updated_at")}
        loaded = load_model(model, draft, session_id=session_id, **times)
        returned = fn(loaded)
        made = await returned if inspect.isawaitable(returned) else returned
        if made is None or made is loaded:
            return loaded
        if not replaces:
            raise StorageValidationError(
                reason=f"it returned a {type(made).__name__}, which is not the model that it was given",
                path="fn",
                id=session_id,
                advice="change the model in place and return nothing, or pass replace=True to save what is returned",
            )
        return made

    return edit
