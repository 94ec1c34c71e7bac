"""Transcripts of the Claude Agent SDK, next to its store in memory and to lines in a file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.in_turn import Figures, bytes_in, documents_in, in_turn, message, note

_ROUNDS = 3
_SESSIONS = 100
_KEY: Any = {"project_key": "-work", "session_id": "s-1"}


async def claude_agent(room: Path, sizes: tuple[int, ...]) -> Figures:
    """Measure session stores of the SDK, which has none on disk: a file as Claude Code writes it is beside them."""
    from claude_agent_sdk import InMemorySessionStore  # noqa: PLC0415 - only this part needs it

    from fsstore.integrations.claude_agent import FsstoreSessionStore  # noqa: PLC0415 - the same

    figures: Figures = {}
    for size in sizes:
        entries = [_entry(number) for number in range(size)]
        for turn in range(_ROUNDS):
            directory = room / f"{size}-{turn}"
            directory.mkdir()
            with FsstoreSessionStore(directory / "ours") as ours:
                file = directory / "theirs.jsonl"
                stores = {
                    "FsstoreSessionStore": ours,
                    "JSONL file, synced": _Lines(file),
                    "InMemorySessionStore": InMemorySessionStore(),
                }
                for store in stores.values():
                    await store.append(_KEY, entries)
                grown = {name: _Transcript(store, size) for name, store in stores.items()}
                await in_turn(figures, f"append two, at {size}", {name: each.append for name, each in grown.items()})
                loads = {name: partial(store.load, _KEY) for name, store in stores.items()}
                await in_turn(figures, f"load, all of {size}", loads)
                note(figures, f"KB on disk, {size}", "FsstoreSessionStore", documents_in(directory / "ours"))
                note(figures, f"KB on disk, {size}", "JSONL file, synced", bytes_in(file) / 1000)
                if size <= _SESSIONS:
                    del stores["JSONL file, synced"]
                    await _measure_summaries(figures, stores)
    return figures


async def _measure_summaries(figures: Figures, stores: Mapping[str, Any]) -> None:
    for store in stores.values():
        for number in range(2, _SESSIONS + 1):
            await store.append({**_KEY, "session_id": f"s-{number}"}, [_entry(0)])
    calls = {name: partial(store.list_session_summaries, "-work") for name, store in stores.items()}
    await in_turn(figures, f"list_session_summaries, {_SESSIONS} sessions", calls)


class _Transcript:
    """A transcript that grows by two entries at a time."""

    def __init__(self, store: Any, length: int) -> None:
        self._store = store
        self._length = length

    async def append(self) -> None:
        """Put two entries at the end."""
        self._length += 2
        await self._store.append(_KEY, [_entry(self._length - 2), _entry(self._length - 1)])


class _Lines:
    """A transcript as Claude Code has it on disk: a line for each entry."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def append(self, _key: Any, entries: list[Any]) -> None:
        """Put lines at the end, and sync them."""
        with self._file.open("a", encoding="utf-8") as written:
            written.writelines(json.dumps(entry) + "\n" for entry in entries)
            written.flush()
            os.fsync(written.fileno())

    async def load(self, _key: Any) -> list[Any]:
        """Read all lines."""
        return [json.loads(line) for line in self._file.read_text("utf-8").splitlines()]


def _entry(number: int) -> Any:
    said = message(number)
    return {"type": said["role"], "uuid": f"u-{number}", "timestamp": "2026-11-30T12:00:00.000Z", "message": said}
