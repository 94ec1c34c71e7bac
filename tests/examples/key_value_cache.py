"""A FastMCP server whose answers are kept for the next process: `python -m tests.examples.key_value_cache STORE`.

Server and client speak within one process, so no network is needed. The program starts itself once for each turn.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from fastmcp import Client, FastMCP
from fastmcp.server.middleware.caching import ResponseCachingMiddleware

import fsstore.sync
from fsstore.integrations.key_value import ENTRY, FsstoreKeyValueStore


async def take_turn(path: str, turn: str) -> None:
    """Call a tool twice; what was answered before comes from the store."""
    done: list[str] = []
    async with FsstoreKeyValueStore(path) as store:
        server = FastMCP("guide")
        server.add_middleware(ResponseCachingMiddleware(cache_storage=store))

        @server.tool
        def city_of(bridge: str) -> str:
            """Return the city that has a bridge."""
            done.append(bridge)
            return "San Francisco" if bridge == "Golden Gate" else "somewhere"

        async with Client(server) as client:
            answers = [await client.call_tool("city_of", {"bridge": "Golden Gate"}) for _ in range(2)]
        print(f"{turn}: answered {[answer.data for answer in answers]}, the tool ran {len(done)} times")


def look(path: str) -> None:
    """Find the entries of a collection by a filter, and show the file of one."""
    with fsstore.sync.open_storage(path) as storage:
        for found in storage.list({"type": ENTRY, "data.metadata.collection": "tools/call"}):
            print(f"found an answer that is kept until {found['data']['metadata']['expires_at'][:10]}")
    (file,) = Path(path).glob("??/kv-tools-2fcall-*.json")
    print("its file says:")
    print(file.read_text("utf-8"), end="")


def main() -> None:
    """Take one turn, or both in processes of their own, and then look."""
    path, *turns = sys.argv[1:]
    if turns:
        asyncio.run(take_turn(path, turns[0]))
        return
    for turn in ("first", "second"):
        subprocess.run([sys.executable, "-m", "tests.examples.key_value_cache", path, turn], check=True)
    look(path)


if __name__ == "__main__":
    main()
