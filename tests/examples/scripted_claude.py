"""What stands for Claude Code in an example: it says what it was told to say, and mirrors it as Claude Code does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import claude_agent_sdk as sdk

ID, DIRECTORY, CONFIG = "6f1b8f0e-0d7a-4a53-9d26-4f2f5f1f0a01", "/work/notes", "/claude"
FILE = f"{CONFIG}/projects/{sdk.project_key_for_directory(DIRECTORY)}/{ID}.jsonl"


class Scripted(sdk.Transport):
    """Answers as Claude Code does, which also mirrors what it writes into its own transcript."""

    def __init__(self, reply: str, parent: str | None) -> None:
        self._reply, self._parent = reply, parent
        self._out: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    async def write(self, data: str) -> None:
        """Take what the SDK says, and answer."""
        said = json.loads(data)
        if said["type"] == "control_request":
            answer = {"subtype": "success", "request_id": said["request_id"], "response": {}}
            self._out.put_nowait({"type": "control_response", "response": answer})
        elif said["type"] == "user":
            answer = {"role": "assistant", "model": "scripted", "content": [{"type": "text", "text": self._reply}]}
            for message in (said["message"], answer):
                entry = {"type": message["role"], "uuid": str(uuid4()), "parentUuid": self._parent, "message": message}
                self._out.put_nowait({"type": "transcript_mirror", "filePath": FILE, "entries": [entry]})
                self._parent = entry["uuid"]
            ended = {"subtype": "success", "is_error": False, "num_turns": 1, "duration_ms": 1, "duration_api_ms": 1}
            for out in ({"type": "assistant", "message": answer}, {"type": "result", "session_id": ID, **ended}, None):
                self._out.put_nowait(out)

    async def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        """Give the answers."""
        while (message := await self._out.get()) is not None:
            yield message

    async def connect(self) -> None:
        """Do nothing, as there is no process; nor is there anything to end or to close."""

    end_input = close = connect

    def is_ready(self) -> bool:
        """Whether it can be written to."""
        return True
