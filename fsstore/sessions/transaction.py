"""Transactions over sessions: reads that are remembered, writes that are buffered, and one commit at the end.

Owns what a transaction has seen and what it wants written. A crash before its end leaves nothing, since nothing was
handed to the storage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

from fsstore.interfaces import IUnifiedStorage
from fsstore.model.mutations import AnyMutation, unchanged
from fsstore.model.records import JsonObject
from fsstore.model.times import format_time
from fsstore.model.values import copy_value
from fsstore.sessions.appending import MESSAGES, appending_session
from fsstore.sessions.edits import refuse_inside_edit
from fsstore.sessions.inputs import SessionInput
from fsstore.sessions.mutations import (
    copied_session,
    deleting_session,
    saving_session,
    shown,
    updating_session,
)
from fsstore.sessions.wording import worded_for_sessions


@worded_for_sessions
class SessionTransaction:
    """Reads and writes that become true together at the end of `async with`, if nothing that was read has changed.

    Raises StorageConflictError at the end otherwise, and then nothing is applied. Leaving the block with an exception
    applies nothing. Inside, reads see the transaction's own writes; nobody else sees them before the end.
    """

    def __init__(self, storage: IUnifiedStorage) -> None:
        self._storage = storage
        self._seen: dict[str, JsonObject | None] = {}
        self._draft: dict[str, JsonObject | None] = {}
        self._writes: list[AnyMutation] = []

    async def get_session(self, session_id: str) -> JsonObject | None:
        """Return a session as this transaction sees it."""
        record = await self.get_record(session_id)
        return None if record is None else copy_value(shown(record))

    async def get_record(self, session_id: str) -> JsonObject | None:
        """Return the whole record of a session as this transaction sees it; it must not be changed."""
        record = await self._current(session_id)
        return None if record is None or record["type"] != "session" else record

    async def save_session(self, session_id: str, session_data: SessionInput) -> None:
        """Insert or replace a session at the end."""
        # copied, since the end may be long after this
        await self._write(saving_session(session_id, copied_session(session_id, session_data), self._now()))

    async def update_session(self, session_id: str, updates: Mapping[str, Any]) -> None:
        """Patch a session at the end. Raises StorageNotFoundError when it is absent."""
        await self._write(updating_session(session_id, updates, self._now()))

    async def append_session(
        self,
        session_id: str,
        items: Iterable[Any],
        *,
        path: str = MESSAGES,
        metadata: Mapping[str, Any] | None = None,
        create: bool = True,
        unique_by: str | None = None,
    ) -> int:
        """Put items at the end of a list of a session at the end; returns how many it has then."""
        change = appending_session(
            session_id, items, self._now(), path=path, metadata=metadata, create=create, unique_by=unique_by
        )
        await self._write(change)
        return change.length(self._draft[session_id] or {})

    async def delete_session(self, session_id: str) -> None:
        """Remove a session at the end. Raises StorageNotFoundError when it is absent."""
        await self._write(deleting_session(session_id))

    def _now(self) -> str:
        return format_time(self._storage.clock())

    async def _current(self, session_id: str) -> JsonObject | None:
        if session_id not in self._draft:
            self._seen[session_id] = self._draft[session_id] = await self._storage.load(session_id)
        return self._draft[session_id]

    async def _write(self, mutation: AnyMutation) -> None:
        refuse_inside_edit(self._storage, [mutation.id], "a transaction")
        current = await self._current(mutation.id)
        # checked now, so that an error names the statement that caused it
        self._draft[mutation.id] = copy_value(mutation.apply(current, self._now()), record_id=mutation.id)
        self._writes.append(mutation)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and (self._writes or self._seen):
            checks = [unchanged(session_id, seen) for session_id, seen in self._seen.items()]
            await self._storage.commit([*checks, *self._writes])
