"""Sessions and checkpoints of agent frameworks, next to the frameworks' own stores, in one run.

    python -m tests.benchmarks.frameworks openai-agents
    python -m tests.benchmarks.frameworks langgraph --json frameworks.json

They are `openai-agents`, `langgraph`, `pydantic-ai`, `key-value`, `strands`, `google-adk` and `claude-agent`. Each
needs the environment that `python -m tests.integrations --keep DIR` makes, and is measured by itself.
Every store writes durably where it can: fsstore and SQLite as they come. A round measures one store after the other,
so that what else the machine does meets all of them; printed are medians, and the ratio to the framework's own store.
Pydantic AI's own store is in memory alone, and those of Strands do not sync what they write. For key-value stores a
size is that of the entries in the store.
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
_OWN = (
    "SQLite",
    "AsyncSqlite",
    "InMemoryConversationStore",
    "FileTreeStore",
    "FileSession",
    "LocalFile",
    "SqliteSession",
    "JSONL",
)
"""What the names of the frameworks' own stores begin with."""
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


# -- Pydantic AI ------------------------------------------------------------------------------------------------------


async def pydantic_ai(room: Path, sizes: tuple[int, ...]) -> Figures:
    """Measure stores of conversations."""
    from pydantic_ai.conversation_store import InMemoryConversationStore  # noqa: PLC0415 - only this part needs it

    from fsstore.integrations.pydantic_ai import FsstoreConversationStore  # noqa: PLC0415 - the same

    figures: Figures = {}
    for size in sizes:
        for turn in range(_ROUNDS):
            directory = room / f"{size}-{turn}"
            with FsstoreConversationStore(directory) as ours:
                stores = {"FsstoreConversationStore": ours, "InMemoryConversationStore": InMemoryConversationStore()}
                talks = {name: _Talk(store, size) for name, store in stores.items()}
                for talk in talks.values():
                    await talk.save()
                (file,) = directory.glob("??/*.json")
                saves = {name: talk.save for name, talk in talks.items()}
                await in_turn(figures, f"save, 2 at {size}", {"write and rename": partial(_rewrite, file), **saves})
                await in_turn(figures, f"load, all of {size}", {name: talk.load for name, talk in talks.items()})
                await in_turn(
                    figures, f"load, 20 of {size}", {name: partial(talk.load, 20) for name, talk in talks.items()}
                )
                await in_turn(figures, f"fork, at {size}", {name: talk.fork for name, talk in talks.items()})
            note(figures, f"KB on disk, {size}", "FsstoreConversationStore", bytes_in(file) / 1000)
    return figures


class _Talk:
    """A conversation that grows by two messages with each save."""

    def __init__(self, store: Any, size: int) -> None:
        from pydantic_ai.conversation import Conversation  # noqa: PLC0415 - only this part needs it

        self._store = store
        self._conversation = Conversation(
            messages=[_pydantic(at) for at in range(size - 2)], conversation_id="c-1", usage=_usage()
        )

    async def save(self) -> None:
        """Save two messages more."""
        messages = self._conversation.messages
        messages.extend(_pydantic(len(messages) + at) for at in range(2))
        await self._store.save(self._conversation)

    async def load(self, limit: int | None = None) -> Any:
        """Load the conversation, or its end."""
        return await self._store.load("c-1", limit=limit)

    async def fork(self) -> Any:
        """Begin another one at its end."""
        return await self._store.fork("c-1")


def _pydantic(at: int) -> Any:
    from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, UserPromptPart  # noqa: PLC0415 - the same

    content = message(at)["content"]
    return ModelResponse(parts=[TextPart(content)]) if at % 2 else ModelRequest(parts=[UserPromptPart(content)])


def _usage() -> Any:
    from pydantic_ai.usage import RunUsage  # noqa: PLC0415 - only this part needs it

    return RunUsage(requests=3, input_tokens=400)


# -- key-value stores -------------------------------------------------------------------------------------------------


async def key_value(room: Path, sizes: tuple[int, ...]) -> Figures:
    """Measure stores of entries."""
    from key_value.aio.stores.filetree import FileTreeStore  # noqa: PLC0415 - only this part needs it

    from fsstore.integrations.key_value import FsstoreKeyValueStore  # noqa: PLC0415 - the same

    figures: Figures = {}
    for size in sizes:
        for turn in range(_ROUNDS):
            directory = room / f"{size}-{turn}"
            async with FsstoreKeyValueStore(directory / "ours") as ours:
                theirs = FileTreeStore(data_directory=directory / "theirs")
                await _measure_entries(figures, {"FsstoreKeyValueStore": ours, "FileTreeStore": theirs}, size)
            for name, place in (("FsstoreKeyValueStore", "ours"), ("FileTreeStore", "theirs")):
                note(figures, f"KB on disk, {size}", name, bytes_in(directory / place) / 1000)
    return figures


async def _measure_entries(figures: Figures, stores: Mapping[str, Any], size: int) -> None:
    keys = [f"k_{at}" for at in range(size)]
    for store in stores.values():
        await store.put_many(keys, [message(at) for at in range(size)], collection="c", ttl=3600)
    some = keys[:: max(1, size // 10)][:10]
    each = stores.items()
    value = message(size)
    for call, what in (
        (lambda store: partial(store.put, some[0], value, collection="c", ttl=3600), "put"),
        (lambda store: partial(store.get, some[0], collection="c"), "get"),
        (lambda store: partial(store.put_many, some, [value] * len(some), collection="c"), "put_many, 10"),
        (lambda store: partial(store.get_many, some, collection="c"), "get_many, 10"),
        (lambda store: store.cull, "cull, nothing to remove"),
    ):
        await in_turn(figures, f"{what}, of {size}", {name: call(store) for name, store in each})


# -- Strands ----------------------------------------------------------------------------------------------------------


async def strands(room: Path, sizes: tuple[int, ...]) -> Figures:
    """Measure repositories and storages."""
    from strands.session.file_session_manager import FileSessionManager  # noqa: PLC0415 - only this part needs it
    from strands.storage import LocalFileStorage  # noqa: PLC0415 - the same

    from fsstore.integrations.strands import FsstoreRepository, FsstoreStorage  # noqa: PLC0415 - the same

    figures: Figures = {}
    for size in sizes:
        for turn in range(_ROUNDS):
            ours, theirs = room / f"{size}-{turn}-ours", room / f"{size}-{turn}-theirs"
            with FsstoreRepository(ours) as repository, FsstoreStorage(ours) as storage:
                managers = {
                    "FsstoreRepository": repository,
                    "FileSessionManager": FileSessionManager(session_id="s", storage_dir=str(theirs)),
                }
                await _measure_agents(figures, {name: _Told(each, size) for name, each in managers.items()}, size)
                blobs: dict[str, Any] = {
                    "FsstoreStorage": storage,
                    "LocalFileStorage": LocalFileStorage(str(theirs / "blobs")),
                }
                snapshot = json.dumps([message(at) for at in range(size)]).encode()
                writes = {name: partial(each.write, "a/b.json", snapshot) for name, each in blobs.items()}
                await in_turn(figures, f"write, a snapshot of {size}", writes)
                await in_turn(
                    figures, f"read it, {size}", {name: partial(each.read, "a/b.json") for name, each in blobs.items()}
                )
    return figures


async def _measure_agents(figures: Figures, each: Mapping[str, _Told], size: int) -> None:
    await in_turn(figures, f"create_message, at {size}", {name: told.add for name, told in each.items()})
    await in_turn(figures, f"list_messages, all of {size}", {name: told.list for name, told in each.items()})
    await in_turn(figures, f"update_agent, at {size}", {name: told.update for name, told in each.items()})


class _Told:
    """An agent with messages, in a repository, whose plain calls keep the loop waiting."""

    def __init__(self, repository: Any, size: int) -> None:
        from strands.types.session import Session, SessionAgent, SessionType  # noqa: PLC0415 - only this part needs it

        self._repository, self._size = repository, 0
        self._agent = SessionAgent("a", {"n": 1}, {})
        if repository.read_session("s") is None:
            repository.create_session(Session(session_id="s", session_type=SessionType.AGENT))
        repository.create_agent("s", self._agent)
        for _ in range(size):
            self._put()

    def _put(self) -> None:
        from strands.types.session import SessionMessage  # noqa: PLC0415 - only this part needs it

        said = message(self._size)
        content: Any = {"role": said["role"], "content": [{"text": said["content"]}]}
        self._repository.create_message("s", "a", SessionMessage(content, self._size))
        self._size += 1

    async def add(self) -> None:
        """Put a message at the end."""
        self._put()

    async def list(self) -> Any:
        """Return all messages."""
        return self._repository.list_messages("s", "a")

    async def update(self) -> None:
        """Replace the state of the agent."""
        self._repository.update_agent("s", self._agent)


# -- what is printed --------------------------------------------------------------------------------------------------


def rows(figures: Figures) -> list[str]:
    """Return a table in markdown: the median of each store, least to most, and the ratio to the first of the others."""
    table = ["| what | store | median | least to most | times the framework's own |", "|---|---|---|---|---|"]
    for what, stores in figures.items():
        own = next((store for store in stores if store.startswith(_OWN)), None)
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
        "pydantic-ai": pydantic_ai,
        "key-value": key_value,
        "strands": strands,
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
