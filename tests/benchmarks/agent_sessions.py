"""Sessions of Google's ADK and transcripts of the Claude Agent SDK, next to the frameworks' own stores."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.in_turn import Figures, bytes_in, in_turn, message, note

_ROUNDS = 3
_SESSIONS = 100
OWNER = {"app_name": "app", "user_id": "u-1"}
_KEY: Any = {"project_key": "-work", "session_id": "s-1"}


# -- Google's ADK -----------------------------------------------------------------------------------------------------


async def google_adk(room: Path, sizes: tuple[int, ...]) -> Figures:
    """Measure session services of ADK; the events of a session are appended one by one, as ADK does."""
    from google.adk.sessions import InMemorySessionService  # noqa: PLC0415 - only this part needs it
    from google.adk.sessions.sqlite_session_service import SqliteSessionService  # noqa: PLC0415 - the same

    from fsstore.integrations.google_adk import FsstoreSessionService  # noqa: PLC0415 - the same

    figures: Figures = {}
    for size in sizes:
        for turn in range(_ROUNDS):
            directory = room / f"{size}-{turn}"
            directory.mkdir()
            async with FsstoreSessionService(directory / "ours") as ours:
                theirs = SqliteSessionService(str(directory / "theirs.db"))
                stores = {
                    "FsstoreSessionService": ours,
                    "SqliteSessionService": theirs,
                    "InMemorySessionService": InMemorySessionService(),
                }
                await _measure_services(figures, stores, size)
                note(figures, f"KB on disk, {size}", "FsstoreSessionService", _documents(directory / "ours"))
                note(figures, f"KB on disk, {size}", "SqliteSessionService", bytes_in(directory / "theirs.db") / 1000)
                if size <= _SESSIONS:
                    await _measure_list(figures, stores)
                await theirs.close()
    return figures


async def _measure_services(figures: Figures, stores: Mapping[str, Any], size: int) -> None:
    from google.adk.sessions.base_session_service import GetSessionConfig  # noqa: PLC0415 - only this part needs it

    whole = {name: Conversation(service) for name, service in stores.items()}
    for each in whole.values():
        await each.begin(size)
    await in_turn(figures, f"append_event, at {size}", {name: each.append for name, each in whole.items()})
    await in_turn(
        figures, f"get_session, all of {size}", {name: partial(each.get, None) for name, each in whole.items()}
    )
    newest = GetSessionConfig(num_recent_events=20)
    await in_turn(
        figures, f"get_session, 20 of {size}", {name: partial(each.get, newest) for name, each in whole.items()}
    )


async def _measure_list(figures: Figures, stores: Mapping[str, Any]) -> None:
    for service in stores.values():
        for number in range(2, _SESSIONS + 1):
            await service.create_session(**OWNER, session_id=f"s-{number}", state={"number": number})
    lists = {name: partial(service.list_sessions, **OWNER) for name, service in stores.items()}
    await in_turn(figures, f"list_sessions, {_SESSIONS} sessions", lists)


class Conversation:
    """A session that grows by an event with a change of state at a time."""

    def __init__(self, service: Any) -> None:
        self._service = service
        self._session: Any = None
        self._length = 0

    async def begin(self, size: int) -> None:
        """Make the session."""
        self._session = await self._service.create_session(**OWNER, session_id="s-1")
        for _ in range(size):
            await self.append()

    async def append(self) -> None:
        """Put an event at the end."""
        from google.adk.events.event import Event  # noqa: PLC0415 - only this part needs it
        from google.adk.events.event_actions import EventActions  # noqa: PLC0415 - the same
        from google.genai import types  # noqa: PLC0415 - the same

        self._length += 1
        content = types.Content(role="user", parts=[types.Part(text=message(self._length)["content"])])
        actions = EventActions(state_delta={"turn": self._length})
        await self._service.append_event(self._session, Event(author="user", content=content, actions=actions))

    async def get(self, config: Any) -> None:
        """Get the session."""
        await self._service.get_session(**OWNER, session_id="s-1", config=config)


# -- the Claude Agent SDK ---------------------------------------------------------------------------------------------


async def claude_agent(room: Path, sizes: tuple[int, ...]) -> Figures:
    """Measure session stores of the SDK, which has none on disk: a file as Claude Code writes it is beside them."""
    from claude_agent_sdk import InMemorySessionStore  # noqa: PLC0415 - only this part needs it

    from fsstore.integrations.claude_agent import FsstoreSessionStore  # noqa: PLC0415 - the same

    figures: Figures = {}
    for size in sizes:
        entries = [_entry(number) for number in range(size)]
        for turn in range(_ROUNDS):
            directory = room / f"{size}-{turn}"
            directory.mkdir()
            with FsstoreSessionStore(directory / "ours") as ours:
                file = directory / "theirs.jsonl"
                stores = {
                    "FsstoreSessionStore": ours,
                    "JSONL file, synced": _Lines(file),
                    "InMemorySessionStore": InMemorySessionStore(),
                }
                for store in stores.values():
                    await store.append(_KEY, entries)
                grown = {name: _Transcript(store, size) for name, store in stores.items()}
                await in_turn(figures, f"append two, at {size}", {name: each.append for name, each in grown.items()})
                loads = {name: partial(store.load, _KEY) for name, store in stores.items()}
                await in_turn(figures, f"load, all of {size}", loads)
                note(figures, f"KB on disk, {size}", "FsstoreSessionStore", _documents(directory / "ours"))
                note(figures, f"KB on disk, {size}", "JSONL file, synced", bytes_in(file) / 1000)
                if size <= _SESSIONS:
                    del stores["JSONL file, synced"]
                    await _measure_summaries(figures, stores)
    return figures


async def _measure_summaries(figures: Figures, stores: Mapping[str, Any]) -> None:
    for store in stores.values():
        for number in range(2, _SESSIONS + 1):
            await store.append({**_KEY, "session_id": f"s-{number}"}, [_entry(0)])
    calls = {name: partial(store.list_session_summaries, "-work") for name, store in stores.items()}
    await in_turn(figures, f"list_session_summaries, {_SESSIONS} sessions", calls)


class _Transcript:
    """A transcript that grows by two entries at a time."""

    def __init__(self, store: Any, length: int) -> None:
        self._store = store
        self._length = length

    async def append(self) -> None:
        """Put two entries at the end."""
        self._length += 2
        await self._store.append(_KEY, [_entry(self._length - 2), _entry(self._length - 1)])


class _Lines:
    """A transcript as Claude Code has it on disk: a line for each entry."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def append(self, _key: Any, entries: list[Any]) -> None:
        """Put lines at the end, and sync them."""
        with self._file.open("a", encoding="utf-8") as written:
            written.writelines(json.dumps(entry) + "\n" for entry in entries)
            written.flush()
            os.fsync(written.fileno())

    async def load(self, _key: Any) -> list[Any]:
        """Read all lines."""
        return [json.loads(line) for line in self._file.read_text("utf-8").splitlines()]


def _entry(number: int) -> Any:
    said = message(number)
    return {"type": said["role"], "uuid": f"u-{number}", "timestamp": "2026-11-30T12:00:00.000Z", "message": said}


def _documents(store: Path) -> float:
    """Return the KB of the documents of a store."""
    return sum(bytes_in(file) for file in store.glob("??/*.json")) / 1000
