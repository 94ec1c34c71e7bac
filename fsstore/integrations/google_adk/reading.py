"""What is read of ADK's sessions: a session of one moment, the state that it shares, and what an index lists.

Owns how documents become sessions and events. A document that was edited by hand may hold anything: what ADK does not
take is damage, and is never left out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from google.adk.events.event import Event
from google.adk.sessions import Session
from pydantic import ValidationError

from fsstore.errors import StorageCorruptedError
from fsstore.integrations.google_adk.documents import APP, EVENTS, USER, Owner, Scopes, state_of, users_of
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.records import JsonObject, Records
from fsstore.sessions.mutations import SESSION

_METADATA = "data.metadata"
_TRIES = 20
"""How often a session may change between two looks at it before it is read as a whole."""

_FEW_USERS = 50


class Found(NamedTuple):
    """A session as it is stored, of one moment: its events, or the newest of them."""

    version: int
    metadata: JsonObject
    events: list[Any]

    @property
    def last_update_time(self) -> float:
        """When the last event happened, as a Unix time."""
        return float(self.metadata.get("last_update_time", 0.0))


async def found(storage: IUnifiedStorage, document: str, newest: int | None = None) -> Found | None:
    """Return a session, with the newest of its events alone where a number is given; None where there is none."""
    if newest is not None:
        for _ in range(_TRIES):
            part = await storage.load_fields(document, ["type", "version", _METADATA])
            tail = await storage.load_tail(document, ("data", EVENTS), newest)
            if part is None or tail is None or part["type"] != SESSION:
                return None
            if part["version"] == tail.version:
                return Found(tail.version, part.get("data", {}).get("metadata", {}), tail.tail.items)
    record = await storage.load(document)
    if record is None or record["type"] != SESSION:
        return None
    events = record["data"].get(EVENTS, [])
    kept = events if newest is None else events[max(len(events) - newest, 0) :]
    return Found(record["version"], record["data"].get("metadata", {}), kept)


async def shared_by(storage: IUnifiedStorage, owner: Owner) -> Scopes:
    """Return the state of an app and a user."""
    app, user = await state_in(storage, owner.app_document, APP), await state_in(storage, owner.user_document, USER)
    return Scopes(app, user, {})


async def state_in(storage: IUnifiedStorage, document: str, kind: str) -> JsonObject:
    """Return the state in a document of a type; empty where there is none."""
    record = await storage.load(document)
    return {} if record is None or record["type"] != kind else state_of(record["data"].get("metadata"))


async def listed(storage: IUnifiedStorage, app_name: str, rows: Records) -> list[Session]:
    """Return the sessions that rows of an index stand for."""
    app = await state_in(storage, Owner(app_name, "").app_document, APP)
    # somebody else may keep a session under such an id
    rows = [row for row in rows if {"user_id", "adk_session_id"} <= row["metadata"].keys()]
    users = await _users(storage, app_name, {row["metadata"]["user_id"] for row in rows})
    sessions = []
    for row in rows:
        metadata = row["metadata"]
        owner = Owner(app_name, metadata["user_id"])
        shared = Scopes(app, users.get(owner.user_id, {}), {})
        sessions.append(session_of(owner, metadata["adk_session_id"], Found(row["version"], metadata, []), shared))
    return sessions


async def _users(storage: IUnifiedStorage, app_name: str, names: Collection[str]) -> dict[str, JsonObject]:
    """Return the state of users by their ids; of few of them one by one, of many by the index."""
    if len(names) <= _FEW_USERS:
        return {name: await state_in(storage, Owner(app_name, name).user_document, USER) for name in names}
    rows = await storage.list_metadata(users_of(app_name), order_by="id")
    return {row["metadata"]["user_id"]: state_of(row["metadata"]) for row in rows}


def session_of(owner: Owner, session_id: str, stored: Found, shared: Scopes, events: Sequence[Event] = ()) -> Session:
    """Return a session as ADK has it, with the state that it shares."""
    session = Session(
        id=session_id,
        **owner._asdict(),
        state=shared._replace(session=state_of(stored.metadata)).merged(),
        events=list(events),
        last_update_time=stored.last_update_time,
    )
    session._storage_update_marker = str(stored.version)  # noqa: SLF001 - ADK keeps it for its stores
    return session


def event_of(document: str, item: Any) -> Event:
    """Return a stored event as ADK has it."""
    try:
        return Event.model_validate(item)
    except ValidationError as error:
        raise StorageCorruptedError(
            id=document, reason=f"it holds what is no event of ADK: {error.errors()[0]['msg']}"
        ) from error
