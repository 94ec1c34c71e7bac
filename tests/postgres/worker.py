"""One of several processes that work on one store: `python -m tests.postgres.worker URL PREFIX SEED`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from fsstore.postgres.storage import PostgresStorage
from tests.campaign.worker import history, say


async def _work(url: str, prefix: str, seed: str) -> None:
    storage: Any = await PostgresStorage.open(url, prefix=prefix)
    async with storage:
        say("open")
        await asyncio.to_thread(sys.stdin.readline)
        await history(storage, seed)


if __name__ == "__main__":
    asyncio.run(_work(*sys.argv[1:]))
