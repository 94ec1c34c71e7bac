"""A chat of the OpenAI Agents SDK that goes on in a new process: `python -m tests.examples.openai_agents_chat STORE`.

The model is scripted, so no network and no key are needed. The program starts itself once for each turn.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from agents import Agent, RunConfig, Runner
from agents.testing import ScriptedModel
from openai.types.responses import ResponseOutputMessage, ResponseOutputText

import fsstore.sync
from fsstore.integrations.openai_agents import FsstoreSession

TURNS = {
    "first": ("What city is the Golden Gate Bridge in?", "San Francisco."),
    "second": ("What state is it in?", "California."),
}


def answer(text: str) -> ResponseOutputMessage:
    """Return what a model would say."""
    said = ResponseOutputText(type="output_text", text=text, annotations=[], logprobs=[])
    return ResponseOutputMessage(id="m", type="message", role="assistant", status="completed", content=[said])


async def take_turn(store: str, turn: str) -> None:
    """Ask one question; what was said before comes from the store."""
    question, reply = TURNS[turn]
    model = ScriptedModel(steps=[[answer(reply)]])
    with FsstoreSession("chat-1", store, metadata={"user_id": "u-1", "tags": ["bridge"]}) as session:
        agent = Agent(name="guide", model=model)
        result = await Runner.run(agent, question, session=session, run_config=RunConfig(tracing_disabled=True))
        print(f"{turn}: the model was given {len(model.calls[-1].input)} items, and said {result.final_output!r}")


def look(store: str) -> None:
    """Find the session by a filter, and show its file."""
    with fsstore.sync.open_sessions(store) as sessions:
        for found in sessions.list_sessions({"user_id": "u-1", "tags": "bridge"}):
            print(f"found {found['metadata']['session_id']} with {len(found['messages'])} messages")
    (file,) = Path(store).glob("??/chat-1.json")
    print(file.relative_to(store), "says:")
    print(file.read_text("utf-8"), end="")


def main() -> None:
    """Take one turn, or both in processes of their own, and then look."""
    store, *turns = sys.argv[1:]
    if turns:
        asyncio.run(take_turn(store, turns[0]))
        return
    for turn in TURNS:
        subprocess.run([sys.executable, "-m", "tests.examples.openai_agents_chat", store, turn], check=True)
    look(store)


if __name__ == "__main__":
    main()
