"""What is read of ADK's sessions: a session of one moment, the state that it shares, and what an index lists.

Owns how documents become sessions and events. A document that was edited by hand may hold anything: what ADK does not
take is damage, and is never left out.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from google.adk.events.event import Event
from google.adk.sessions import Session
from pydantic import ValidationError

from fsstore.errors import StorageCorruptedError, StorageValidationError
from fsstore.integrations.google_adk.documents import APP, EVENTS, USER, Owner, Scopes, state_of, users_of
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.records import JsonObject, Records
from fsstore.query.columns import metadata_of
from fsstore.sessions.mutations import SESSION

_unreadable = logging.getLogger("fsstore.unreadable")

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
            try:
                tail = await storage.load_tail(document, ("data", EVENTS), newest)
            except StorageValidationError:
                # there is no list: somebody has changed it, as the whole of it tells
                break
            if part is None or tail is None or part["type"] != SESSION:
                return None
            if part["version"] == tail.version:
                return _checked(document, tail.version, metadata_of(part), tail.tail.items)
    record = await storage.load(document)
    if record is None or record["type"] != SESSION:
        return None
    events = record["data"].get(EVENTS, []) if type(record["data"]) is dict else None
    whole = _checked(document, record["version"], metadata_of(record), events)
    return whole if newest is None else whole._replace(events=whole.events[max(len(whole.events) - newest, 0) :])


def _checked(document: str, version: int, metadata: Any, events: Any) -> Found:
    """Return what is stored of a session. Raises StorageCorruptedError where somebody has changed it by hand."""
    said = {} if metadata is None else metadata
    at = said.get("last_update_time", 0.0) if type(said) is dict else None
    if type(at) not in (int, float) or type(events) is not list:
        raise StorageCorruptedError(id=document, reason="it is not a session of ADK")
    return Found(version, said, events)


async def shared_by(storage: IUnifiedStorage, owner: Owner) -> Scopes:
    """Return the state of an app and a user."""
    app, user = await state_in(storage, owner.app_document, APP), await state_in(storage, owner.user_document, USER)
    return Scopes(app, user, {})


async def state_in(storage: IUnifiedStorage, document: str, kind: str) -> JsonObject:
    """Return the state in a document of a type; empty where there is none."""
    record = await storage.load(document)
    return {} if record is None or record["type"] != kind else state_of(metadata_of(record))


async def listed(storage: IUnifiedStorage, app_name: str, rows: Records) -> list[Session]:
    """Return the sessions that rows of an index stand for. What cannot be read is left out, with a warning."""
    app = await state_in(storage, Owner(app_name, "").app_document, APP)
    # somebody else may keep a session under such an id
    rows = [row for row in rows if _is_text(row["metadata"], "user_id") and _is_text(row["metadata"], "adk_session_id")]
    users = await _users(storage, app_name, {row["metadata"]["user_id"] for row in rows})
    sessions = []
    for row in rows:
        metadata = row["metadata"]
        owner = Owner(app_name, metadata["user_id"])
        shared = Scopes(app, users.get(owner.user_id, {}), {})
        try:
            stored = _checked(row["id"], row["version"], metadata, [])
        except StorageCorruptedError as error:
            _unreadable.warning("the session %s is left out of a list: %s", row["id"], error)
        else:
            sessions.append(session_of(owner, metadata["adk_session_id"], stored, shared))
    return sessions


async def _users(storage: IUnifiedStorage, app_name: str, names: Collection[str]) -> dict[str, JsonObject]:
    """Return the state of users by their ids; of few of them one by one, of many by the index."""
    if len(names) <= _FEW_USERS:
        return {name: await state_in(storage, Owner(app_name, name).user_document, USER) for name in names}
    rows = await storage.list_metadata(users_of(app_name), order_by="id")
    told = (row["metadata"] for row in rows if _is_text(row["metadata"], "user_id"))
    return {metadata["user_id"]: state_of(metadata) for metadata in told}


def _is_text(metadata: Any, key: str) -> bool:
    return type(metadata) is dict and type(metadata.get(key)) is str


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
