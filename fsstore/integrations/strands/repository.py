"""Sessions, agents and messages of Strands: `FsstoreRepository`.

    SESSION                     a session, one line in `fsstore ls`
    SESSION/agent/AGENT         the state of an agent
    SESSION/messages/AGENT      its messages, appended
    SESSION/multi/ORCHESTRATOR  the state of several agents

Parts are percent-encoded. Invariants:
- An agent and its empty list of messages are made in one commit; a message is an append, and none replaces another.
- What is read and written back (a message, a state) is one commit, under the lock of the store.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, Unpack

from strands.session.session_repository import SessionRepository
from strands.types.exceptions import SessionException
from strands.types.session import Session, SessionAgent, SessionMessage

from fsstore.errors import StorageConflictError, StorageCorruptedError, StorageNotFoundError, StorageValidationError
from fsstore.integrations.open_stores import Holder, OpenStore
from fsstore.integrations.parts import part
from fsstore.integrations.plain import plain
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.expected import Expected
from fsstore.model.mutations import AnyMutation, Append, Check, Mutation, deleting, saving
from fsstore.model.records import Filters, JsonObject
from fsstore.model.times import format_time
from fsstore.options import FileOptions
from fsstore.sessions.mutations import saving_session

AGENT, MESSAGES, MULTI_AGENT = "strands.agent", "strands.messages", "strands.multi_agent"

T = TypeVar("T")

_AFTER_SLASH = "0"
"""The character after the slash: where the range of what is below a session ends."""
_AT_ONCE = 500


class FsstoreRepository(Holder, SessionRepository):
    """Sessions of agents, for `RepositorySessionManager(session_id, session_repository=...)`.

    `url` is a path or URL, as `fsstore.open_storage` takes it, with the same options; without it the sessions are in
    memory, and gone with the object. All objects of a process share one open store for each path, and any thread may
    call. Ids may be any text, that of a session not the empty one. Close it, or use it with `with`. What is not there,
    or there already, raises SessionException, as the interface has it.
    """

    def __init__(self, url: str | os.PathLike[str] = "memory:", **options: Unpack[FileOptions]) -> None:
        self._store = OpenStore(url, **options)

    # -- sessions -----------------------------------------------------------------------------------------------------

    def create_session(self, session: Session, **_: Any) -> Session:
        """Store a new session; one commit."""
        said = {**session.to_dict(), "session_type": str(getattr(session.session_type, "value", session.session_type))}
        now = format_time(self._store.storage.clock())
        made = saving_session(part(session.session_id), {"session": plain(said)}, now, expected_version=0)
        # a session manager has just found none, so it is mostly one that is not of Strands
        self._commit([made], f"Session {session.session_id} already exists, here or as one of another program")
        return session

    def read_session(self, session_id: str, **_: Any) -> Session | None:
        """Return a session, None when there is none."""
        record = self._load(part(session_id))
        if record is None or type(record["data"]) is not dict or "session" not in record["data"]:
            return None
        return _restored(record["id"], Session.from_dict, _dict_in(record, "session"))

    def delete_session(self, session_id: str, **_: Any) -> None:
        """Remove a session with everything that belongs to it; what somebody adds meanwhile goes after the session."""
        name = part(session_id)
        if self.read_session(session_id) is None:
            raise SessionException(f"Session {session_id} does not exist")
        names = [*self._below(name), name]
        for at in range(0, len(names), _AT_ONCE):
            self._commit([deleting(each) for each in names[at : at + _AT_ONCE]], "")
        while late := self._below(name)[:_AT_ONCE]:
            try:
                self._commit([Check(name, Expected(version=0)), *map(deleting, late)], "")
            except SessionException:
                # there is a new one of that id, and its agents are not ours to remove
                return

    def _below(self, name: str) -> list[str]:
        """Return the documents that belong to a session."""
        below: Filters = {
            "id": {"$gt": f"{name}/", "$lt": name + _AFTER_SLASH},
            "type": {"$in": [AGENT, MESSAGES, MULTI_AGENT]},
        }
        return [summary["id"] for summary in self._run(lambda storage: storage.list_metadata(below))]

    # -- agents -------------------------------------------------------------------------------------------------------

    def create_agent(self, session_id: str, session_agent: SessionAgent, **_: Any) -> None:
        """Store a new agent, without messages; one commit."""
        agent_id = session_agent.agent_id
        metadata = {"session": session_id, "agent_id": agent_id}
        self._commit(
            [
                Check(part(session_id), Expected(exists=True)),
                _created(_agent(session_id, agent_id), AGENT, metadata, {"agent": session_agent.to_dict()}),
                _created(_messages(session_id, agent_id), MESSAGES, metadata, {"messages": []}),
            ],
            f"Agent {agent_id} is in session {session_id} already, or there is no such session",
        )

    def read_agent(self, session_id: str, agent_id: str, **_: Any) -> SessionAgent | None:
        """Return an agent, None when there is none."""
        record = self._load(_agent(session_id, agent_id))
        return None if record is None else _restored(record["id"], SessionAgent.from_dict, _dict_in(record, "agent"))

    def update_agent(self, session_id: str, session_agent: SessionAgent, **_: Any) -> None:
        """Replace the state of an agent; the time of its creation stays, and is written into what was given."""
        name, said = _agent(session_id, session_agent.agent_id), plain(session_agent.to_dict())

        def rule(record: JsonObject) -> JsonObject:
            session_agent.created_at = str(_dict_in(record, "agent").get("created_at"))
            return {"agent": {**said, "created_at": session_agent.created_at}}

        self._commit([_changed(name, rule)], f"Agent {session_agent.agent_id} in session {session_id} does not exist")

    # -- messages -----------------------------------------------------------------------------------------------------

    def create_message(self, session_id: str, agent_id: str, session_message: SessionMessage, **_: Any) -> None:
        """Put a message at the end; one commit, an append. Raises StorageValidationError for an id that is no int."""
        if type(session_message.message_id) is not int:
            reason = f"must be a whole number, not {session_message.message_id!r}"
            raise StorageValidationError(reason=reason, path="message_id")
        name = _messages(session_id, agent_id)
        append = Append(
            name,
            [_item(session_message)],
            ("data", "messages"),
            unique_by="message_id",
            expected=Expected(type=MESSAGES),
        )
        (outcome,) = self._commit([append], f"Agent {agent_id} in session {session_id} does not exist")
        if outcome.before == outcome.after:
            raise SessionException(f"Message {session_message.message_id} of agent {agent_id} already exists")

    def read_message(self, session_id: str, agent_id: str, message_id: int, **_: Any) -> SessionMessage | None:
        """Return a message, None when there is none."""
        found = [item for item in self._items(session_id, agent_id) if item["message_id"] == message_id]
        return self._message(session_id, agent_id, found[0]) if found else None

    def update_message(self, session_id: str, agent_id: str, session_message: SessionMessage, **_: Any) -> None:
        """Replace a message; the time of its creation stays, and is written into what was given."""
        name, message_id = _messages(session_id, agent_id), session_message.message_id

        def rule(record: JsonObject) -> JsonObject:
            items = list(_items_in(record))
            at = next((at for at, item in enumerate(items) if item["message_id"] == message_id), None)
            if at is None:
                raise StorageNotFoundError(id=name)
            session_message.created_at = str(items[at].get("created_at"))
            items[at] = _item(session_message)
            return {"messages": items}

        self._commit([_changed(name, rule)], f"Message {message_id} of agent {agent_id} does not exist")

    def list_messages(
        self, session_id: str, agent_id: str, limit: int | None = None, offset: int = 0, **_: Any
    ) -> list[SessionMessage]:
        """Return messages in the order of their ids, after the first `offset` ones; none where there is no agent."""
        items = sorted(self._items(session_id, agent_id), key=lambda item: int(item["message_id"]))
        wanted = items[offset:] if limit is None else items[offset : offset + limit]
        return [self._message(session_id, agent_id, item) for item in wanted]

    def _items(self, session_id: str, agent_id: str) -> list[JsonObject]:
        record = self._load(_messages(session_id, agent_id))
        return [] if record is None else _items_in(record)

    def _message(self, session_id: str, agent_id: str, item: JsonObject) -> SessionMessage:
        return _restored(_messages(session_id, agent_id), SessionMessage.from_dict, item)

    # -- several agents -----------------------------------------------------------------------------------------------

    def create_multi_agent(self, session_id: str, multi_agent: Any, **_: Any) -> None:
        """Store the state of several agents, over what is there."""
        metadata = {"session": session_id, "multi_agent_id": multi_agent.id}
        data = {"metadata": plain(metadata), "state": _state_of(multi_agent)}
        made = saving({"id": _multi(session_id, multi_agent.id), "type": MULTI_AGENT, "data": data})
        self._commit([Check(part(session_id), Expected(exists=True)), made], f"Session {session_id} does not exist")

    def read_multi_agent(self, session_id: str, multi_agent_id: str, **_: Any) -> dict[str, Any] | None:
        """Return the state of several agents, None when there is none."""
        record = self._load(_multi(session_id, multi_agent_id))
        return None if record is None else _dict_in(record, "state")

    def update_multi_agent(self, session_id: str, multi_agent: Any, **_: Any) -> None:
        """Replace the state of several agents."""
        state = _state_of(multi_agent)
        changed = _changed(_multi(session_id, multi_agent.id), lambda _: {"state": state})
        self._commit([changed], f"MultiAgent {multi_agent.id} in session {session_id} does not exist")

    # -- the store ----------------------------------------------------------------------------------------------------

    def _load(self, name: str) -> JsonObject | None:
        return self._run(lambda storage: storage.load(name))

    def _commit(self, changes: list[AnyMutation], refused: str) -> Any:
        try:
            return self._run(lambda storage: storage.commit(changes))
        except (StorageConflictError, StorageNotFoundError) as error:
            raise SessionException(refused) from error

    def _run(self, work: Callable[[IUnifiedStorage], Awaitable[T]]) -> T:
        return self._store.plain.run(work)


def _agent(session_id: str, agent_id: str) -> str:
    return f"{part(session_id)}/agent/{part(agent_id)}"


def _messages(session_id: str, agent_id: str) -> str:
    return f"{part(session_id)}/messages/{part(agent_id)}"


def _multi(session_id: str, multi_agent_id: str) -> str:
    return f"{part(session_id)}/multi/{part(multi_agent_id)}"


def _state_of(multi_agent: Any) -> JsonObject:
    """Return the state of several agents. Raises StorageValidationError unless it is an object."""
    state: JsonObject = plain(multi_agent.serialize_state())
    if type(state) is not dict:
        raise StorageValidationError(reason=f"must be an object, not {type(state).__name__}", path="state")
    return state


def _item(message: SessionMessage) -> JsonObject:
    item: JsonObject = plain(message.to_dict())
    return item


def _created(name: str, kind: str, metadata: JsonObject, data: JsonObject) -> AnyMutation:
    return saving({"id": name, "type": kind, "data": plain({"metadata": metadata, **data})}, expected_version=0)


def _changed(name: str, change: Callable[[JsonObject], JsonObject]) -> Mutation:
    """Replace parts of the data of a record that must be there by what follows from it."""

    def rule(current: JsonObject | None) -> JsonObject:
        if current is None:
            raise StorageNotFoundError(id=name)
        if type(current["data"]) is not dict:
            raise StorageCorruptedError(id=name, reason="it is not what Strands stores")
        return {**current, "data": {**current["data"], **change(current)}}

    return Mutation(name, rule)


def _dict_in(record: JsonObject, key: str) -> JsonObject:
    """Return a part of the data of a record. Raises StorageCorruptedError where somebody else has changed it."""
    found = record["data"].get(key) if type(record["data"]) is dict else None
    if type(found) is not dict:
        raise StorageCorruptedError(id=record["id"], reason=f"its {key} is not what Strands stores")
    return found


def _items_in(record: JsonObject) -> list[JsonObject]:
    items = record["data"].get("messages") if type(record["data"]) is dict else None
    if type(items) is not list or not all(type(item) is dict and type(item.get("message_id")) is int for item in items):
        raise StorageCorruptedError(id=record["id"], reason="its messages are not those of an agent of Strands")
    return items


def _restored(name: str, restore: Callable[[Any], T], said: JsonObject) -> T:
    try:
        return restore(said)
    except (TypeError, ValueError) as error:
        raise StorageCorruptedError(id=name, reason=f"it is not what Strands stores: {error}") from error
