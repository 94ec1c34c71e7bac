"""Checkpoints of LangGraph, next to its own savers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.in_turn import Figures, bytes_in, in_turn, message, note

_ROUNDS = 5
_THREADS, _CHECKPOINTS = 400, 100


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
