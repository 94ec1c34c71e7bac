"""Sessions of the OpenAI Agents SDK, next to the SDK's own stores."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.in_turn import Figures, bytes_in, in_turn, message, note, rewrite

_ROUNDS = 5


async def openai_agents(room: Path, sizes: tuple[int, ...]) -> Figures:
    """Measure sessions of the SDK."""
    from agents import SQLiteSession  # noqa: PLC0415 - only this part needs it

    from fsstore.integrations.openai_agents import FsstoreSession  # noqa: PLC0415 - the same

    figures: Figures = {}
    for size in sizes:
        items: Any = [message(number) for number in range(size)]
        added: Any = [message(size), message(size + 1)]
        for turn in range(_ROUNDS):
            directory = room / f"{size}-{turn}"
            directory.mkdir()
            stores: dict[str, Any] = {
                "FsstoreSession": FsstoreSession("s-1", directory / "ours"),
                "SQLiteSession": SQLiteSession("s-1", directory / "theirs.db"),
                "SQLiteSession in memory": SQLiteSession("s-1"),
            }
            for session in stores.values():
                await session.add_items(items)
                await session.add_items(added)
            (file,) = (directory / "ours").glob("??/*.json")
            each = stores.items()
            await in_turn(
                figures,
                f"add_items, at {size}",
                {
                    "write and rename": partial(rewrite, file),
                    **{name: partial(session.add_items, added) for name, session in each},
                },
            )
            whole = {name: session.get_items for name, session in each}
            await in_turn(figures, f"get_items, all of {size}", whole)
            await in_turn(
                figures, f"get_items, 20 of {size}", {name: partial(call, 20) for name, call in whole.items()}
            )
            for session in stores.values():
                session.close()
            note(figures, f"KB on disk, {size}", "FsstoreSession", bytes_in(file) / 1000)
            note(figures, f"KB on disk, {size}", "SQLiteSession", bytes_in(directory / "theirs.db") / 1000)
    return figures
