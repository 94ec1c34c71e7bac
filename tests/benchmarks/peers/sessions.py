"""The session stores of agent frameworks: strands' FileSessionManager, the OpenAI agents' SQLiteSession."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from tests.benchmarks.documents import Session
from tests.benchmarks.peers.store import BlockingStore, Store, newest

_AGENT = "assistant"


class Strands(BlockingStore):
    name = "strands"
    timed = "FileSessionManager, called directly; json; a file for each message, metadata as the state of its agent"
    modules = ("strands",)
    most_calls = 100
    most_documents = 1000

    async def open(self) -> None:
        from strands.session.file_session_manager import FileSessionManager  # noqa: PLC0415 - a peer is optional
        from strands.types import session as types  # noqa: PLC0415 - the same

        self._types = types
        # it makes the session it is given, and serves the others as well
        self._manager = FileSessionManager("first", str(self.directory))

    async def save(self, name: str, session: Session) -> None:
        types, manager = self._types, self._manager
        state = {"metadata": session["metadata"], "state": session["state"]}
        agent = types.SessionAgent(agent_id=_AGENT, state=state, conversation_manager_state={})
        new = manager.read_session(name) is None
        if new:
            manager.create_session(types.Session(session_id=name, session_type=types.SessionType.AGENT))
        (manager.create_agent if new else manager.update_agent)(name, agent)
        store_message = manager.create_message if new else manager.update_message
        for index, message in enumerate(session["messages"]):
            store_message(name, _AGENT, types.SessionMessage.from_message(message, index))

    async def get(self, name: str) -> Any:
        agent = self._manager.read_agent(name, _AGENT)
        if agent is None:
            return None
        messages = self._manager.list_messages(name, _AGENT)
        return {**agent.state, "messages": [message.to_message() for message in messages]}

    async def exists(self, name: str) -> bool:
        return self._manager.read_session(name) is not None

    async def delete(self, name: str) -> None:
        self._manager.delete_session(name)

    async def update(self, name: str, changed: Session) -> None:
        agent: Any = self._manager.read_agent(name, _AGENT)
        agent.state["metadata"].update(changed)
        self._manager.update_agent(name, agent)

    async def list_sessions(self, status: str, user: str, limit: int) -> list[Session]:
        agents = self._agents(status, user, limit)
        return [await self.get(name) for name, _ in agents]

    async def list_metadata(self, status: str, user: str, limit: int) -> list[Session]:
        return [metadata for _, metadata in self._agents(status, user, limit)]

    async def count(self, status: str) -> int:
        return sum(self._metadata(name)["status"] == status for name in self.names)

    def _agents(self, status: str, user: str, limit: int) -> Any:
        each: Any = [(name, self._metadata(name)) for name in self.names]
        found = [pair for pair in each if pair[1]["status"] == status and pair[1]["user_id"] == user]
        return newest(found, limit, lambda pair: pair[1])

    def _metadata(self, name: str) -> Any:
        agent: Any = self._manager.read_agent(name, _AGENT)
        return agent.state["metadata"]


class OpenaiAgents(Store):
    name = "openai-agents"
    timed = "SQLiteSession, one object a call; json; WAL, FULL; it knows only messages: the rest is the first of them"
    modules = ("agents",)
    durabilities = (True,)
    most_calls = 100
    most_documents = 1000

    async def open(self) -> None:
        from agents import SQLiteSession  # noqa: PLC0415 - a peer is optional

        self._session: Any = SQLiteSession

    async def save(self, name: str, session: Session) -> None:
        with closing(self._opened(name)) as stored:
            await stored.clear_session()
            rest = {key: value for key, value in session.items() if key != "messages"}
            await stored.add_items([rest, *session["messages"]])

    async def get(self, name: str) -> Any:
        with closing(self._opened(name)) as stored:
            items = await stored.get_items()
        return {**items[0], "messages": items[1:]} if items else None

    async def exists(self, name: str) -> bool:
        with closing(self._opened(name)) as stored:
            return bool(await stored.get_items(limit=1))

    async def delete(self, name: str) -> None:
        with closing(self._opened(name)) as stored:
            await stored.clear_session()

    def _opened(self, name: str) -> Any:
        return self._session(name, self.directory / "sessions.sqlite3")
