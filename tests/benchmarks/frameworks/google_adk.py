"""Sessions of Google's ADK, next to its own services."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.in_turn import Figures, bytes_in, documents_in, in_turn, message, note

_ROUNDS = 3
_SESSIONS = 100
OWNER = {"app_name": "app", "user_id": "u-1"}


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
                note(figures, f"KB on disk, {size}", "FsstoreSessionService", documents_in(directory / "ours"))
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
