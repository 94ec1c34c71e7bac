"""A storm: a server is killed over and over while tasks write, and then compared with what they were told."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsstore import StorageError
from fsstore.model.mutations import AnyMutation, Append, deleting, saving
from fsstore.postgres.storage import PostgresStorage
from tests.postgres.server import Server
from tests.postgres.stores import opened

_LISTS = ("list 0", "list 1", "list 2")
_TASKS = 8


@dataclass(slots=True)
class Known:
    """What the tasks were told of their writes, each of which has a number of its own."""

    applied: set[int] = field(default_factory=set)
    not_applied: set[int] = field(default_factory=set)
    unknown: set[int] = field(default_factory=set)
    versions: dict[str, int] = field(default_factory=dict)
    """The highest version of each list that was acknowledged."""


async def storm(server: Server, path: Path, *, kills: int, seed: int = 5) -> tuple[Known, list[str]]:
    """Kill a server so many times; return what was acknowledged, and what was wrong, a line each."""
    chance, known, found = random.Random(seed), Known(), list[str]()
    options: dict[str, Any] = {"timeout_seconds": 10.0, "pool_size": _TASKS}
    async with await opened(server.url(), path, **options) as storage:
        numbers = iter(range(1 << 40))
        for turn in range(kills):
            ending = asyncio.Event()
            tasks = [asyncio.ensure_future(_write(storage, known, numbers, ending)) for _ in range(_TASKS)]
            await asyncio.sleep(chance.uniform(0.02, 0.25))
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            ending.set()
            # nothing hangs longer than a call, and the question what became of it
            await asyncio.wait_for(asyncio.gather(*tasks), 30)
            found += [f"after kill {turn}: {line}" for line in await _contradictions(storage, known)]
    return known, found


async def _write(storage: PostgresStorage, known: Known, numbers: Any, ending: asyncio.Event) -> None:
    while not ending.is_set():
        number = next(numbers)
        try:
            outcomes = await storage.commit(_changes(number))
        except StorageError as error:
            fate = {"applied": known.applied, "not applied": known.not_applied, "unknown": known.unknown}
            fate[error.outcome].add(number)
            # the server is away, and comes again
            await asyncio.sleep(0.01)
        else:
            known.applied.add(number)
            known.versions[outcomes[0].id] = max(known.versions.get(outcomes[0].id, 0), outcomes[0].after)


def _changes(number: int) -> list[AnyMutation]:
    """Return a batch that puts a number at the end of a list, makes a document of it, and deletes an older one."""
    name = _LISTS[number % len(_LISTS)]
    new = {"id": name, "type": "t", "data": {"items": []}}
    made = saving({"id": f"made {number}", "type": "t", "data": number})
    return [Append(name, [number], ("data", "items"), make=new), made, deleting(f"made {number - 50}")]


async def _contradictions(storage: PostgresStorage, known: Known) -> list[str]:
    found: list[str] = []
    there: list[int] = []
    for name in _LISTS:
        record = await storage.load(name)
        if record is not None:
            there += record["data"]["items"]
            if record["version"] != len(record["data"]["items"]):
                found.append(f"{name} has version {record['version']}, {len(record['data']['items'])} items")
            if record["version"] < known.versions.get(name, 0):
                found.append(f"{name} has version {record['version']}, acknowledged {known.versions[name]}")
    if len(there) != len(set(there)):
        found.append("an item stands twice")
    if lost := known.applied - set(there):
        found.append(f"acknowledged, and lost: {sorted(lost)[:9]}")
    if shown := known.not_applied & set(there):
        found.append(f"said not to be applied, and there: {sorted(shown)[:9]}")
    if others := set(there) - known.applied - known.unknown:
        found.append(f"there, and never answered for: {sorted(others)[:9]}")
    return found
