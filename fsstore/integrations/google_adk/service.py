"""The face of sessions that ADK knows: `FsstoreSessionService`.

Owns what is read and committed together, and when a session that a caller holds is out of date. Invariants:
- An event, the state it changes in all scopes, and the time of the session are one commit.
- The marker of a session is the version of its document; nothing is appended to another version than it says.
- A caller that is cancelled waits until its change is done, and its session says so.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Sequence
from typing import Any, Self, Unpack
from uuid import uuid4
from weakref import WeakValueDictionary

from google.adk.errors import StaleSessionError
from google.adk.errors.already_exists_error import AlreadyExistsError
from google.adk.errors.session_not_found_error import SessionNotFoundError
from google.adk.events.event import Event
from google.adk.platform.time import get_time
from google.adk.sessions import BaseSessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig, ListSessionsResponse
from pydantic_core import from_json

from fsstore.errors import StorageConflictError, StorageValidationError
from fsstore.integrations.google_adk.documents import USER, Owner, appending, making, scopes_of, sessions_of
from fsstore.integrations.google_adk.reading import Found, event_of, found, listed, session_of, shared_by, state_in
from fsstore.integrations.google_adk.scheme import place_of
from fsstore.integrations.open_stores import OpenStore, settled
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.mutations import AnyMutation
from fsstore.model.records import JsonObject
from fsstore.model.times import format_time
from fsstore.options import FileOptions
from fsstore.sessions.mutations import beyond, check_page_limit, cursor_after, deleting_session


class SessionPage(ListSessionsResponse):
    """One page of sessions. `cursor` fetches the next one; None on the last."""

    cursor: str | None = None


class FsstoreSessionService(BaseSessionService):
    """Sessions of ADK in a store, for `Runner(session_service=...)`.

    `uri` is a path or URL, as `fsstore.open_storage` takes it, with the same options, or `fsstore:///a/path`; without
    it the sessions are in memory, and gone with the object. All services of a process share one open store for each
    path. Any event loop may call. ADK's service registry passes `agents_dir` to every service; here it has no effect.
    """

    def __init__(
        self,
        uri: str | os.PathLike[str] = "memory:",
        *,
        agents_dir: str | None = None,  # noqa: ARG002 - see above
        **options: Unpack[FileOptions],
    ) -> None:
        self._store = OpenStore(place_of(uri), **options)
        self._turns: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()

    # -- one session --------------------------------------------------------------------------------------------------

    async def create_session(
        self, *, app_name: str, user_id: str, state: dict[str, Any] | None = None, session_id: str | None = None
    ) -> Session:
        """Make a session, with a random id where none is given; one commit, with the state it shares.

        Raises AlreadyExistsError, and StorageValidationError for a state that cannot be stored.
        """
        owner, name = Owner(app_name, user_id), _stripped(session_id) or str(uuid4())
        storage, scopes, now = self._store.storage, scopes_of(state), get_time()
        version = await _made(storage, name, making(owner, name, scopes, at=now, now=_now(storage)))
        made = Found(version, {"last_update_time": now, "state": scopes.session}, [])
        return session_of(owner, name, made, await shared_by(storage, owner))

    async def import_session(self, session: Session) -> None:
        """Store a session of another service as it is, with its events and all its state; one commit.

        The state of its app and of its user is changed by what it shows of them. Raises what `create_session` does.
        """
        owner, storage = Owner(session.app_name, session.user_id), self._store.storage
        scopes, items = scopes_of(session.state), [_item(event) for event in session.events]
        at, now = session.last_update_time, _now(storage)
        name = _stripped(session.id)
        await _made(storage, name, making(owner, name, scopes, items, at=at, now=now))

    async def get_session(
        self, *, app_name: str, user_id: str, session_id: str, config: GetSessionConfig | None = None
    ) -> Session | None:
        """Return a session with its events, the oldest first; None where there is none.

        With `num_recent_events` the newest are read from the end, and of a large session nothing else is parsed;
        `after_timestamp` leaves out what is older. Raises StorageCorruptedError for a file that cannot be read, or
        holds no events of ADK.
        """
        owner, name = Owner(app_name, user_id), _stripped(session_id)
        storage = self._store.storage
        document = owner.session_document(name)
        stored = await found(storage, document, config.num_recent_events if config else None)
        if stored is None:
            return None
        events = [event_of(document, item) for item in stored.events]
        if config and config.after_timestamp is not None:
            events = [event for event in events if event.timestamp >= config.after_timestamp]
        return session_of(owner, name, stored, await shared_by(storage, owner), events)

    async def delete_session(self, *, app_name: str, user_id: str, session_id: str) -> None:
        """Remove a session with its events, if it is there; the state that others share stays."""
        document = Owner(app_name, user_id).session_document(_stripped(session_id))
        await settled(self._store.storage.commit([deleting_session(document, missing_ok=True)]))

    async def append_event(self, session: Session, event: Event) -> Event:
        """Put an event at the end, with all state that it changes; one commit. Partial events are not stored.

        An event that the session has already is not stored again. Raises StaleSessionError where the session was
        changed since it was loaded, SessionNotFoundError where it is gone, StorageValidationError for what is no JSON.
        """
        return event if event.partial else await settled(self._append(session, event))

    async def _append(self, session: Session, event: Event) -> Event:
        owner, storage = Owner(session.app_name, session.user_id), self._store.storage
        document = owner.session_document(session.id)
        # agents that run side by side append to one object, which must know the version before the next one begins
        async with self._turn(document):
            if any(known == event for known in session.events if known.id == event.id):
                return event
            self._apply_temp_state(session, event)
            event = self._trim_temp_delta_state(event)
            item, scopes = _item(event), scopes_of(event.actions.state_delta)
            version = await _version_held(storage, document, session)
            changes = appending(owner, session.id, item, scopes, version=version, now=_now(storage))
            try:
                outcomes = await storage.commit(changes)
            except StorageConflictError as error:
                if error.id != document:
                    raise
                raise (_gone(session) if error.actual == 0 else _stale(session)) from error
            after = max(outcome.after for outcome in outcomes if outcome.id == document)
            session.last_update_time = event.timestamp
            session._storage_update_marker = str(after)  # noqa: SLF001 - ADK keeps it for its stores
            return self._commit_event_to_session(session, event)

    def _turn(self, document: str) -> asyncio.Lock:
        """Return the lock of the tasks of this loop that append to a session; it is there as long as one of them is."""
        return self._turns.setdefault((id(asyncio.get_running_loop()), document), asyncio.Lock())

    # -- many sessions ------------------------------------------------------------------------------------------------

    async def list_sessions(self, *, app_name: str, user_id: str | None = None) -> ListSessionsResponse:
        """Return the sessions of an app or of one of its users, with state and no events, the last updated at the end.

        The index answers; no session is opened. All of them are in memory at once: see `list_page`.
        """
        storage = self._store.storage
        rows = await storage.list_metadata(sessions_of(app_name, user_id), order_by="id")
        sessions = await listed(storage, app_name, rows)
        sessions.sort(key=lambda session: (session.last_update_time, session.user_id, session.id))
        return ListSessionsResponse(sessions=sessions)

    async def list_page(
        self, *, app_name: str, user_id: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> SessionPage:
        """Return one page of the same sessions, the most recently written first, and the cursor of the next.

        A page costs the same wherever it lies. Raises StorageValidationError for what is no limit, or no cursor.
        """
        check_page_limit(limit)
        storage, wanted = self._store.storage, sessions_of(app_name, user_id)
        if cursor is not None:
            wanted = {"$and": [wanted, beyond(cursor)]}
        rows = await storage.list_metadata(wanted, limit + 1)
        sessions = await listed(storage, app_name, rows[:limit])
        return SessionPage(sessions=sessions, cursor=cursor_after(rows[limit - 1]) if len(rows) > limit else None)

    async def get_user_state(self, *, app_name: str, user_id: str) -> dict[str, Any]:
        """Return the state that the sessions of a user share, without the prefix; empty where there is none."""
        return await state_in(self._store.storage, Owner(app_name, user_id).user_document, USER)

    # -- the store ----------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Release the store, which is closed with its last holder. Closing twice is allowed."""
        self._store.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def _made(storage: IUnifiedStorage, name: str, changes: Sequence[AnyMutation]) -> int:
    """Make a session by the first of the changes, and return the version that it has. Raises AlreadyExistsError."""
    try:
        outcomes = await settled(storage.commit(changes))
    except StorageConflictError as error:
        if error.id != changes[0].id:
            raise
        raise AlreadyExistsError(f"Session with id {name} already exists.") from error
    return outcomes[0].after


async def _version_held(storage: IUnifiedStorage, document: str, session: Session) -> int:
    """Return the version that a session was loaded at. Raises StaleSessionError, SessionNotFoundError."""
    marker = session._storage_update_marker  # noqa: SLF001 - ADK keeps it for its stores
    if marker is not None:
        if not marker.isdecimal():
            # another store gave it
            raise _stale(session)
        return int(marker)
    # made by hand, or by a program that did not keep the marker: its last event tells
    stored = await found(storage, document, 1)
    if stored is None:
        raise _gone(session)
    ends = stored.events[-1].get("id") if stored.events else None, session.events[-1].id if session.events else None
    if stored.last_update_time > session.last_update_time and ends[0] != ends[1]:
        raise _stale(session)
    return stored.version


def _item(event: Event) -> JsonObject:
    """Return an event as JSON. Raises StorageValidationError where it cannot be JSON."""
    if not math.isfinite(event.timestamp):
        # it would become null, and the session could not be read any more
        raise StorageValidationError(reason=f"must be a Unix time, not {event.timestamp}", path="event.timestamp")
    try:
        item: JsonObject = from_json(event.model_dump_json(exclude_none=True))
    except ValueError as error:
        # pydantic's own error is one, too; what is nested very deep it writes, and does not read
        raise StorageValidationError(reason=f"the event cannot be stored: {error}", path="event") from error
    return item


def _stripped(session_id: str | None) -> str:
    """Return an id as ADK's own services take it."""
    return (session_id or "").strip()


def _now(storage: IUnifiedStorage) -> str:
    return format_time(storage.clock())


def _stale(session: Session) -> StaleSessionError:
    return StaleSessionError(
        f"Session {session.id} was modified in storage since it was loaded; load it again with get_session."
    )


def _gone(session: Session) -> SessionNotFoundError:
    return SessionNotFoundError(f"Session {session.id} not found.")
