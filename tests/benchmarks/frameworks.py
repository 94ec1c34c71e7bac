"""Sessions and checkpoints of agent frameworks, next to the frameworks' own stores, in one run.

    python -m tests.benchmarks.frameworks openai-agents
    python -m tests.benchmarks.frameworks langgraph --json frameworks.json

Each framework needs the environment that `python -m tests.integrations --keep DIR` makes, and is measured by itself.
Every store writes durably where it can: fsstore and SQLite as they come. A round measures one store after the other,
so that what else the machine does meets all of them; printed are medians, and the ratio to the framework's own store.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.agent_sessions import claude_agent, google_adk
from tests.benchmarks.in_turn import Figures, bytes_in, in_turn, message, note

SIZES = (10, 1000, 5000)
_ROUNDS = 5
_THREADS, _CHECKPOINTS = 400, 100


# -- the OpenAI Agents SDK --------------------------------------------------------------------------------------------


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
                    "write and rename": partial(_rewrite, file),
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


async def _rewrite(file: Path) -> None:
    """Write the bytes of a file again beside it, sync them and rename it: what any store of whole files must do."""
    data = file.read_bytes()
    beside = file.with_suffix(".new")
    with beside.open("wb") as written:
        written.write(data)
        written.flush()
        os.fsync(written.fileno())
    beside.replace(file)


# -- LangGraph --------------------------------------------------------------------------------------------------------


async def langgraph(room: Path, sizes: tuple[int, ...]) -> Figures:
    """Measure savers of LangGraph."""
    from langgraph.checkpoint.memory import InMemorySaver  # noqa: PLC0415 - only this part needs it
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # noqa: PLC0415 - the same

    from fsstore.integrations.langgraph import FsstoreSaver  # noqa: PLC0415 - the same

    figures: Figures = {}
    for size in sizes:
        for turn in range(_ROUNDS):
            directory = room / f"{size}-{turn}"
            directory.mkdir()
            async with (
                FsstoreSaver(directory / "ours") as ours,
                AsyncSqliteSaver.from_conn_string(str(directory / "theirs.db")) as theirs,
            ):
                stores = {"FsstoreSaver": ours, "AsyncSqliteSaver": theirs, "InMemorySaver": InMemorySaver()}
                await _measure_savers(figures, stores, size)
            note(figures, f"KB on disk, {size}", "FsstoreSaver", bytes_in(directory / "ours") / 1000)
            note(figures, f"KB on disk, {size}", "AsyncSqliteSaver", bytes_in(directory / "theirs.db") / 1000)
    await _measure_many(figures, room)
    return figures


async def _measure_savers(figures: Figures, stores: Mapping[str, Any], size: int) -> None:
    threads = {name: _Thread(saver, size) for name, saver in stores.items()}
    for thread in threads.values():
        await thread.put()
    await in_turn(figures, f"put, at {size}", {name: thread.put for name, thread in threads.items()})
    await in_turn(figures, f"get_tuple, {size}", {name: thread.get for name, thread in threads.items()})
    await in_turn(figures, f"list, 3 with {size} each", {name: thread.list for name, thread in threads.items()})


class _Thread:
    """A thread whose history grows by a message with each checkpoint."""

    def __init__(self, saver: Any, size: int) -> None:
        self._saver = saver
        self._messages = [_langchain(at) for at in range(size)]
        self._named = self._config = _thread_config("t-1")
        self._version = 0

    async def put(self) -> None:
        """Put a checkpoint after the last one."""
        self._version += 1
        self._messages.append(_langchain(len(self._messages)))
        self._config = await self._saver.aput(self._config, *_checkpoint(self._messages, self._version))

    async def get(self) -> Any:
        """Get the newest checkpoint."""
        return await self._saver.aget_tuple(self._named)

    async def list(self) -> None:
        """List the newest three."""
        async for _ in self._saver.alist(self._named, limit=3):
            pass


def _thread_config(thread_id: str) -> Any:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}


def _langchain(at: int) -> Any:
    from langchain_core.messages import AIMessage, HumanMessage  # noqa: PLC0415 - only this part needs it

    return (HumanMessage, AIMessage)[at % 2](message(at)["content"], id=str(at))


def _checkpoint(messages: list[Any], version: int) -> tuple[Any, Any, Any]:
    from langgraph.checkpoint.base import empty_checkpoint  # noqa: PLC0415 - only this part needs it

    checkpoint = {
        **empty_checkpoint(),
        "channel_values": {"messages": list(messages)},
        "channel_versions": {"messages": version},
    }
    return checkpoint, {"source": "loop", "step": version}, {"messages": version}


async def _measure_many(figures: Figures, room: Path) -> None:
    """Measure the newest checkpoint of one thread among 40 000 documents."""
    from fsstore.integrations.langgraph import FsstoreSaver  # noqa: PLC0415 - only this part needs it

    path = room / "many"
    async with FsstoreSaver(path, fsync=False) as saver:
        threads = [_thread_config(f"t-{at}") for at in range(_THREADS)]
        for version in range(_CHECKPOINTS - 1):
            await saver.aput(threads[0], *_checkpoint([], version))
        for at in range(1, _THREADS):
            await saver.acopy_thread("t-0", f"t-{at}")
        # the first look at the index is not what is measured
        await saver.aget_tuple(threads[0])
        what = f"newest of a thread among {_THREADS * _CHECKPOINTS} documents"
        for config in threads[::20]:
            await in_turn(figures, what, {"FsstoreSaver": partial(saver.aget_tuple, config)})


# -- what is printed --------------------------------------------------------------------------------------------------


def rows(figures: Figures) -> list[str]:
    """Return a table in markdown: the median of each store, least to most, and the ratio to the first of the others."""
    table = ["| what | store | median | least to most | times the framework's own |", "|---|---|---|---|---|"]
    for what, stores in figures.items():
        own = next(
            (store for store in stores if store.startswith(("SQLite", "AsyncSqlite", "SqliteSession", "JSONL"))), None
        )
        for store, values in stores.items():
            median = statistics.median(values)
            ratio = f"{median / statistics.median(stores[own]):.2f}" if own else ""
            table.append(f"| {what} | {store} | {median:.2f} | {min(values):.2f} to {max(values):.2f} | {ratio} |")
    return table


def main(arguments: list[str] | None = None) -> int:
    """Measure a framework; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.frameworks", description=__doc__)
    measured = {
        "openai-agents": openai_agents,
        "langgraph": langgraph,
        "google-adk": google_adk,
        "claude-agent": claude_agent,
    }
    parser.add_argument("framework", choices=measured)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of messages")
    parser.add_argument("--directory", type=Path, help="where to make the stores; the directory for temporary files")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args(arguments)
    sizes = tuple(int(size) for size in options.sizes.split(","))
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="fsstore-frameworks-") as room:
        figures = asyncio.run(measured[options.framework](Path(room), sizes))
    sys.stdout.write("\n".join(rows(figures)) + "\n")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
