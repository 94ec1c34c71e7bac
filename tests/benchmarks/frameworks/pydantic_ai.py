"""Conversations of Pydantic AI, next to its store in memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.in_turn import Figures, bytes_in, in_turn, message, note, rewrite

_ROUNDS = 5


async def pydantic_ai(room: Path, sizes: tuple[int, ...]) -> Figures:
    """Measure stores of conversations."""
    from pydantic_ai.conversation_store import InMemoryConversationStore  # noqa: PLC0415 - only this part needs it

    from fsstore.integrations.pydantic_ai import FsstoreConversationStore  # noqa: PLC0415 - the same

    figures: Figures = {}
    for size in sizes:
        for turn in range(_ROUNDS):
            directory = room / f"{size}-{turn}"
            with FsstoreConversationStore(directory) as ours:
                stores = {"FsstoreConversationStore": ours, "InMemoryConversationStore": InMemoryConversationStore()}
                talks = {name: _Talk(store, size) for name, store in stores.items()}
                for talk in talks.values():
                    await talk.save()
                (file,) = directory.glob("??/*.json")
                saves = {name: talk.save for name, talk in talks.items()}
                await in_turn(figures, f"save, 2 at {size}", {"write and rename": partial(rewrite, file), **saves})
                await in_turn(figures, f"load, all of {size}", {name: talk.load for name, talk in talks.items()})
                await in_turn(
                    figures, f"load, 20 of {size}", {name: partial(talk.load, 20) for name, talk in talks.items()}
                )
                await in_turn(figures, f"fork, at {size}", {name: talk.fork for name, talk in talks.items()})
            note(figures, f"KB on disk, {size}", "FsstoreConversationStore", bytes_in(file) / 1000)
    return figures


class _Talk:
    """A conversation that grows by two messages with each save."""

    def __init__(self, store: Any, size: int) -> None:
        from pydantic_ai.conversation import Conversation  # noqa: PLC0415 - only this part needs it

        self._store = store
        self._conversation = Conversation(
            messages=[_pydantic(at) for at in range(size - 2)], conversation_id="c-1", usage=_usage()
        )

    async def save(self) -> None:
        """Save two messages more."""
        messages = self._conversation.messages
        messages.extend(_pydantic(len(messages) + at) for at in range(2))
        await self._store.save(self._conversation)

    async def load(self, limit: int | None = None) -> Any:
        """Load the conversation, or its end."""
        return await self._store.load("c-1", limit=limit)

    async def fork(self) -> Any:
        """Begin another one at its end."""
        return await self._store.fork("c-1")


def _pydantic(at: int) -> Any:
    from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, UserPromptPart  # noqa: PLC0415 - the same

    content = message(at)["content"]
    return ModelResponse(parts=[TextPart(content)]) if at % 2 else ModelRequest(parts=[UserPromptPart(content)])


def _usage() -> Any:
    from pydantic_ai.usage import RunUsage  # noqa: PLC0415 - only this part needs it

    return RunUsage(requests=3, input_tokens=400)
