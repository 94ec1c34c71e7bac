"""A chat of Pydantic AI that goes on in a new process: `python -m tests.examples.pydantic_ai_chat STORE`.

The model is scripted, so no network and no key are needed. The program starts itself once for each turn.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from pydantic_ai import Agent
from pydantic_ai.conversation import Conversation
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

import fsstore.sync
from fsstore.integrations.pydantic_ai import FsstoreConversationStore

TURNS = {
    "first": ("What city is the Golden Gate Bridge in?", "San Francisco."),
    "second": ("What state is it in?", "California."),
}


async def take_turn(path: str, turn: str) -> None:
    """Ask one question; what was said before comes from the store."""
    question, reply = TURNS[turn]

    def model(messages: list[ModelMessage], _info: AgentInfo) -> ModelResponse:
        print(f"{turn}: the model was given {len(messages)} messages, and said {reply!r}")
        return ModelResponse(parts=[TextPart(reply)])

    with FsstoreConversationStore(path) as store:
        conversation = await store.load("chat-1", scope="u-1") or Conversation(conversation_id="chat-1")
        result = await Agent(FunctionModel(model)).run(question, conversation=conversation)
        await store.save(result, scope="u-1")


async def try_again(path: str) -> None:
    """Begin another conversation after the first answer, which both share."""
    with FsstoreConversationStore(path) as store:
        fork = await store.fork("chat-1", at=2, new_conversation_id="chat-2")
        print(f"the fork begins with {len(fork.messages)} messages")


def look(path: str) -> None:
    """Find the conversations of a user by a filter, and show the file of one."""
    with fsstore.sync.open_sessions(path) as sessions:
        for found in sessions.list_sessions({"user_id": "u-1"}, order_by="session_id"):
            print(f"found {found['metadata']['conversation_id']} with {len(found['messages'])} messages of its own")
    (file,) = Path(path).glob("??/chat-1.json")
    print(file.relative_to(path), "says:")
    print(file.read_text("utf-8"), end="")


def main() -> None:
    """Take one turn, or both in processes of their own, and then look."""
    path, *turns = sys.argv[1:]
    if turns:
        asyncio.run(take_turn(path, turns[0]))
        return
    for turn in TURNS:
        subprocess.run([sys.executable, "-m", "tests.examples.pydantic_ai_chat", path, turn], check=True)
    asyncio.run(try_again(path))
    look(path)


if __name__ == "__main__":
    main()
