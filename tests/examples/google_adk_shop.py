"""An agent of Google's ADK that goes on in a new process: `python -m tests.examples.google_adk_shop STORE`.

The model is scripted, so no network and no key are needed. The program starts itself once for each turn.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

from google.adk.agents import LlmAgent
from google.adk.models import BaseLlm, LlmRequest, LlmResponse
from google.adk.runners import Runner
from google.genai import types

import fsstore.sync
from fsstore.integrations.google_adk import FsstoreSessionService

OWNER = {"app_name": "shop", "user_id": "u-1"}
TURNS = {"first": ("I would like a kettle.", "Steel or glass?"), "second": ("Glass.", "Ordered.")}


class Scripted(BaseLlm):
    """Says what it was told to say, and with how many messages it was asked."""

    reply: str

    async def generate_content_async(
        self,
        llm_request: LlmRequest,
        stream: bool = False,  # noqa: ARG002, FBT001, FBT002 - the interface has it
    ) -> AsyncGenerator[LlmResponse]:
        """Answer."""
        text = f"{self.reply} (asked with {len(llm_request.contents)} messages)"
        used = types.GenerateContentResponseUsageMetadata(prompt_token_count=9, candidates_token_count=3)
        yield LlmResponse(content=types.Content(role="model", parts=[types.Part(text=text)]), usage_metadata=used)


async def take_turn(store: str, turn: str) -> None:
    """Say one thing; what was said before comes from the store."""
    said, reply = TURNS[turn]
    async with FsstoreSessionService(f"fsstore://{store}") as service:
        agent = LlmAgent(name="clerk", model=Scripted(model="scripted", reply=reply), output_key="user:last_answer")
        runner = Runner(app_name="shop", agent=agent, session_service=service)
        if turn == "first":
            await service.create_session(**OWNER, session_id="s-1", state={"basket": ["kettle"]})
        message = types.Content(role="user", parts=[types.Part(text=said)])
        async for event in runner.run_async(user_id="u-1", session_id="s-1", new_message=message):
            if event.content and event.content.parts:
                print(f"{turn}: {event.content.parts[0].text}")
        print(f"{turn}: of the user is known {await service.get_user_state(**OWNER)}")


def look(store: str) -> None:
    """Find the session by a filter, and show its file."""
    with fsstore.sync.open_sessions(store) as sessions:
        for found in sessions.list_sessions({"user_id": "u-1", "metadata.state.basket": "kettle"}):
            print(f"found {found['metadata']['session_id']} with {len(found['events'])} events")
    (file,) = Path(store).glob("??/session-*.json")
    print(file.relative_to(store), "says:")
    print(file.read_text("utf-8"), end="")


def main() -> None:
    """Take one turn, or both in processes of their own, and then look."""
    store, *turns = sys.argv[1:]
    if turns:
        asyncio.run(take_turn(store, turns[0]))
        return
    for turn in TURNS:
        subprocess.run([sys.executable, "-m", "tests.examples.google_adk_shop", store, turn], check=True)
    look(store)


if __name__ == "__main__":
    main()
