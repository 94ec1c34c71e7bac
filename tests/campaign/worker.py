"""What the processes of the campaign do: `python -m tests.campaign.worker WORK STORE MODE LOCK_TIMEOUT ARGUMENT`."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import astuple
from typing import Any

from fsstore import FileStorage, StorageConflictError, StorageError
from fsstore.filesystem.disk import files
from fsstore.model.mutations import Mutation, deleting, saving
from fsstore.model.records import JsonObject
from tests.campaign import clocks
from tests.campaign.batches import Watcher, batch
from tests.campaign.linearizability import Answer, Operation
from tests.campaign.streams import TASKS, document, turn_of

KEYS = ("a", "b", "c")
COUNTER = "counter"
HISTORY_TASKS, HISTORY_TURNS = 2, 400
Seen = tuple[int, str | None]
STALL_SECONDS = 0.005


def say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


# -- histories --------------------------------------------------------------------------------------------------------


async def history(storage: FileStorage, seed: str) -> None:
    """Load, save, delete and compare-and-swap a few documents from two tasks, and tell what was answered when."""

    async def task(number: int) -> list[Operation]:
        chance = random.Random(f"{seed}-{number}")
        seen: dict[str, Seen] = dict.fromkeys(KEYS, (0, None))
        return [await operate(storage, chance, seen, f"{seed}-{number}-{turn}") for turn in range(HISTORY_TURNS)]

    for operations in await asyncio.gather(*(task(number) for number in range(HISTORY_TASKS))):
        for operation in operations:
            say(astuple(operation))


async def operate(storage: FileStorage, chance: random.Random, seen: dict[str, Seen], value: str) -> Operation:
    """Do one operation; `seen` are the versions and values this task has seen last."""
    key, kind = chance.choice(KEYS), chance.choices(("load", "save", "delete"), (5, 5, 3))[0]
    expected, known = seen[key] if kind != "load" and chance.random() < 0.5 else (None, None)
    called = time.monotonic_ns()
    if kind == "load":
        record = await storage.load(key)
        answer = Answer() if record is None else Answer(None, record["version"], record["data"])
    else:
        answer = await write(storage, kind, key, value, expected)
    returned = time.monotonic_ns()
    if answer.refused:
        seen[key] = answer.before or 0, None
    else:
        seen[key] = answer.after or 0, answer.value if kind == "load" else value if kind == "save" else None
    return Operation(
        key,
        "load" if kind == "load" else "save" if kind == "save" else "delete",
        called,
        returned,
        answer,
        value if kind == "save" else None,
        expected,
        known,
    )


async def write(storage: FileStorage, kind: str, key: str, value: str, expected: int | None) -> Answer:
    record = {"id": key, "type": "note", "data": value}
    change = saving(record, expected_version=expected) if kind == "save" else deleting(key, expected_version=expected)
    try:
        (outcome,) = await storage.commit([change])
    except StorageConflictError as error:
        return Answer(before=error.actual, refused=True)
    return Answer(outcome.before, outcome.after)


# -- batches ----------------------------------------------------------------------------------------------------------


async def count_up(storage: FileStorage, turns: str) -> None:
    """Commit batches, each of which sets all documents to the next number; tell the errors that came in between."""
    done, errors = 0, list[str]()
    while done < int(turns):
        try:
            await storage.commit(batch())
            done += 1
        except StorageError as error:
            errors.append(repr(error))
    say(errors)


async def watch(storage: FileStorage, argument: str) -> None:
    """Read in all ways until the batches have come to a number; tell how often, and what was wrong or refused."""
    seed, last = argument.split()
    watcher = Watcher(storage, random.Random(seed))
    errors: list[str] = []
    while watcher.newest < int(last):
        try:
            await watcher.look()
        except StorageError as error:
            errors.append(repr(error))
    say([watcher.looks, watcher.violations, errors])


async def count(storage: FileStorage, times: str) -> None:
    """Count a document up, each time as one commit; tell how often that was done, and how often it is not known."""

    def counted(current: JsonObject | None) -> JsonObject:
        return {"id": COUNTER, "type": "note", "data": 1 if current is None else current["data"] + 1}

    fates = dict.fromkeys(("applied", "unknown", "not applied"), 0)
    while fates["applied"] < int(times):
        try:
            await storage.commit([Mutation(COUNTER, counted)])
            fates["applied"] += 1
        except StorageError as error:
            fates[error.outcome] += 1
    say(fates)


# -- storms -----------------------------------------------------------------------------------------------------------


async def hurry(storage: FileStorage, argument: str) -> None:
    """Save from some tasks for some time; tell begin and end of each wait."""
    tasks, seconds = argument.split()
    end = time.monotonic() + float(seconds)
    waits: list[tuple[float, float]] = []

    async def task(number: int) -> None:
        while (start := time.monotonic()) < end:
            await storage.save({"id": f"{os.getpid()}-{number}-{len(waits) % 20}"})
            waits.append((start, time.monotonic()))

    await asyncio.gather(*(task(number) for number in range(int(tasks))))
    say(waits)


async def stall(storage: FileStorage, seconds: str) -> None:
    """Do what a save asks of the machine, without the store: tell begin and end of each pause that took too long."""
    end = time.monotonic() + float(seconds)
    stalls: list[tuple[float, float]] = []
    descriptor = os.open(f"{storage._tree.root}.stalls", os.O_WRONLY | os.O_CREAT)
    while (start := time.monotonic()) < end:
        # this process has nothing else to do
        time.sleep(0.001)  # noqa: ASYNC251
        os.write(descriptor, b"x")
        if storage.guarantees.durable:
            os.fdatasync(descriptor)
        if (now := time.monotonic()) - start > STALL_SECONDS:
            stalls.append((start, now))
    os.close(descriptor)
    say(stalls)


async def acknowledge(storage: FileStorage, life: str) -> None:
    """Save, delete and save batches from some tasks until killed, and tell each turn when it is done."""

    async def task(number: int) -> None:
        turn = 0
        while True:
            turn += 1
            await storage.commit(
                [
                    deleting(name) if value is None else saving(document(name, value))
                    for name, value in turn_of(life, number, turn).items()
                ]
            )
            say([number, turn])

    await asyncio.gather(*(task(number) for number in range(TASKS)))


async def stop_in_batch(storage: FileStorage, argument: str) -> None:
    """Get SIGSTOP in the middle of a batch: after so many of its files are in place."""
    after = int(argument)
    placed = 0

    def stopping(put: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal placed
            if placed == after:
                # sent to this thread, which then does no step more; another one would take its time to stop all
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
            placed += 1
            return put(*arguments, **options)

        return counted

    # the two ways to put a file in place
    os.replace = stopping(os.replace)
    vars(files)["exchange"] = stopping(vars(files)["exchange"])
    await storage.commit(batch())
    say("done")


async def hold(storage: FileStorage, key: str) -> None:
    """Count a document up, and wait for a word between looking at it and writing."""

    def rule(current: JsonObject | None) -> JsonObject:
        say("looked")
        sys.stdin.readline()
        return {"id": key, "type": "note", "data": 1 if current is None else current["data"] + 1}

    await storage.commit([Mutation(key, rule)])
    say("done")


WORKS: dict[str, Callable[[FileStorage, str], Awaitable[None]]] = {
    work.__name__: work for work in (history, count_up, count, watch, hurry, stall, acknowledge, stop_in_batch, hold)
}


async def main(work: str, store: str, mode: str, lock_timeout_seconds: str, argument: str) -> None:
    clocks.obey()
    timeout = float(lock_timeout_seconds)
    async with await FileStorage.open(store, fsync=mode == "durable", lock_timeout_seconds=timeout) as storage:
        say("open")
        # all begin together
        sys.stdin.readline()
        await WORKS[work](storage, argument)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
