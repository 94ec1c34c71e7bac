"""A chat of Strands that goes on in a new process: `python -m tests.examples.strands_chat STORE`.

The model is scripted, so no network and no key are needed. The program starts itself once for each turn.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from strands import Agent
from strands.models import Model
from strands.session.repository_session_manager import RepositorySessionManager

import fsstore.sync
from fsstore.integrations.strands import FsstoreRepository

TURNS = {
    "first": ("What city is the Golden Gate Bridge in?", "San Francisco."),
    "second": ("What state is it in?", "California."),
}


class Scripted(Model):
    """Says one thing."""

    def __init__(self, turn: str) -> None:
        self._turn = turn

    def update_config(self, **_: Any) -> None:
        """Change nothing: there is nothing to configure."""

    def get_config(self) -> Any:
        """Return no configuration."""
        return {}

    def structured_output(self, *_: Any, **__: Any) -> Any:
        """Refuse: it only speaks."""
        raise NotImplementedError

    async def stream(self, messages: Any, *_: Any, **__: Any) -> AsyncIterator[Any]:
        """Say it."""
        print(f"{self._turn}: the model was given {len(messages)} messages, and said {TURNS[self._turn][1]!r}")
        yield {"messageStart": {"role": "assistant"}}
        yield {"contentBlockDelta": {"delta": {"text": TURNS[self._turn][1]}}}
        yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "end_turn"}}


def take_turn(path: str, turn: str) -> None:
    """Ask one question; what was said before comes from the store."""
    with FsstoreRepository(path) as repository:
        manager = RepositorySessionManager(session_id="chat-1", session_repository=repository)
        Agent(model=Scripted(turn), agent_id="guide", session_manager=manager, callback_handler=None)(TURNS[turn][0])


def look(path: str) -> None:
    """Find the agent by a filter, and show the file of its messages."""
    with fsstore.sync.open_storage(path) as storage:
        for found in storage.list({"type": "strands.messages", "data.metadata.agent_id": "guide"}):
            print(f"found {found['id']} with {len(found['data']['messages'])} messages")
    (file,) = Path(path).glob("??/chat-1-messages-guide~*.json")
    print(file.read_text("utf-8"), end="")


if __name__ == "__main__":
    if sys.argv[2:]:
        take_turn(sys.argv[1], sys.argv[2])
    else:
        for each in TURNS:
            subprocess.run([sys.executable, "-m", "tests.examples.strands_chat", sys.argv[1], each], check=True)
        look(sys.argv[1])
