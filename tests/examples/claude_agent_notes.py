"""A session of the Claude Agent SDK that goes on in a new process: `python -m tests.examples.claude_agent_notes STORE`.

A script stands for Claude Code, so no network and no key are needed. The program starts itself once for each turn.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import claude_agent_sdk as sdk

import fsstore.sync
from fsstore.integrations.claude_agent import FsstoreSessionStore
from tests.examples.scripted_claude import CONFIG, DIRECTORY, ID, Scripted

TURNS = {
    "first": ("Which city has the Golden Gate Bridge?", "San Francisco."),
    "second": ("Which state?", "California."),
}


async def take_turn(store: str, turn: str) -> None:
    """Ask one question; what was said before comes from the store."""
    question, reply = TURNS[turn]
    with FsstoreSessionStore(store) as kept:
        before = await sdk.get_session_messages_from_store(kept, ID, DIRECTORY)
        options = sdk.ClaudeAgentOptions(session_store=kept, cwd=DIRECTORY, env={"CLAUDE_CONFIG_DIR": CONFIG})
        transport = Scripted(reply, before[-1].uuid if before else None)
        async for message in sdk.query(prompt=question, options=options, transport=transport):
            if isinstance(message, sdk.AssistantMessage):
                print(f"{turn}: after {len(before)} messages {message.content[0]}")


def main() -> None:
    """Take one turn; or both in processes of their own, find the session by a filter, and show its file."""
    store, *turns = sys.argv[1:]
    if turns:
        asyncio.run(take_turn(store, turns[0]))
        return
    for turn in TURNS:
        subprocess.run([sys.executable, "-m", "tests.examples.claude_agent_notes", store, turn], check=True)
    with fsstore.sync.open_sessions(store) as sessions:
        for found in sessions.list_sessions({"project_key": sdk.project_key_for_directory(DIRECTORY)}):
            print(f"found {found['metadata']['session_id']}: {found['metadata']['summary']['first_prompt']}")
    (file,) = Path(store).glob("??/*.json")
    print(f"{file.relative_to(store)} says:\n{file.read_text('utf-8')}", end="")


if __name__ == "__main__":
    main()
