"""Sessions and snapshots of Strands, next to its own stores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.in_turn import Figures, in_turn, message

_ROUNDS = 5


async def strands(room: Path, sizes: tuple[int, ...]) -> Figures:
    """Measure repositories and storages."""
    from strands.session.file_session_manager import FileSessionManager  # noqa: PLC0415 - only this part needs it
    from strands.storage import LocalFileStorage  # noqa: PLC0415 - the same

    from fsstore.integrations.strands import FsstoreRepository, FsstoreStorage  # noqa: PLC0415 - the same

    figures: Figures = {}
    for size in sizes:
        for turn in range(_ROUNDS):
            ours, theirs = room / f"{size}-{turn}-ours", room / f"{size}-{turn}-theirs"
            with FsstoreRepository(ours) as repository, FsstoreStorage(ours) as storage:
                managers = {
                    "FsstoreRepository": repository,
                    "FileSessionManager": FileSessionManager(session_id="s", storage_dir=str(theirs)),
                }
                await _measure_agents(figures, {name: _Told(each, size) for name, each in managers.items()}, size)
                blobs: dict[str, Any] = {
                    "FsstoreStorage": storage,
                    "LocalFileStorage": LocalFileStorage(str(theirs / "blobs")),
                }
                snapshot = json.dumps([message(at) for at in range(size)]).encode()
                writes = {name: partial(each.write, "a/b.json", snapshot) for name, each in blobs.items()}
                await in_turn(figures, f"write, a snapshot of {size}", writes)
                await in_turn(
                    figures, f"read it, {size}", {name: partial(each.read, "a/b.json") for name, each in blobs.items()}
                )
    return figures


async def _measure_agents(figures: Figures, each: Mapping[str, _Told], size: int) -> None:
    await in_turn(figures, f"create_message, at {size}", {name: told.add for name, told in each.items()})
    await in_turn(figures, f"list_messages, all of {size}", {name: told.list for name, told in each.items()})
    await in_turn(figures, f"update_agent, at {size}", {name: told.update for name, told in each.items()})


class _Told:
    """An agent with messages, in a repository, whose plain calls keep the loop waiting."""

    def __init__(self, repository: Any, size: int) -> None:
        from strands.types.session import Session, SessionAgent, SessionType  # noqa: PLC0415 - only this part needs it

        self._repository, self._size = repository, 0
        self._agent = SessionAgent("a", {"n": 1}, {})
        if repository.read_session("s") is None:
            repository.create_session(Session(session_id="s", session_type=SessionType.AGENT))
        repository.create_agent("s", self._agent)
        for _ in range(size):
            self._put()

    def _put(self) -> None:
        from strands.types.session import SessionMessage  # noqa: PLC0415 - only this part needs it

        said = message(self._size)
        content: Any = {"role": said["role"], "content": [{"text": said["content"]}]}
        self._repository.create_message("s", "a", SessionMessage(content, self._size))
        self._size += 1

    async def add(self) -> None:
        """Put a message at the end."""
        self._put()

    async def list(self) -> Any:
        """Return all messages."""
        return self._repository.list_messages("s", "a")

    async def update(self) -> None:
        """Replace the state of the agent."""
        self._repository.update_agent("s", self._agent)
