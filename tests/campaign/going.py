"""Takes the medium away under a process that has saved durably, gives it back within the same boot, and looks.

Run as a program of its own, so that it has one thread and may fork: `python -m tests.campaign.going DIRECTORY`. What
it does is the least that a USB disk does which is pulled out: some saves are on the disk for sure, those after them
were acknowledged and are in the log alone. The process dies with it, or has the store open all along.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from fsstore import FileStorage
from fsstore.errors import StorageError
from fsstore.filesystem.write import writer as writing
from tests.campaign.cutting import DROPPING, idle, shut_down
from tests.campaign.images import Image
from tests.campaign.promises import body, document
from tests.filesystem.crashing import check, in_child

BEFORE, AFTER = 5, 5
_BATCH = [f"member-{number}" for number in range(4)]
_NEVER_SECONDS = 60.0
_DEADLINE_SECONDS = 30


def go_away(directory: Path, turn: int) -> list[str]:
    """Let the medium go once, and return what is wrong when it is there again.

    In every other turn the process that has the store open lives on, and is looked at, too.
    """
    image = Image(directory)
    with image.mounted():
        store = image.mount / "store"
        if turn % 2:
            return _told(directory, lambda: _live_on(store, image, turn)) + _told(directory, lambda: _look(store, turn))
        check(in_child(lambda: asyncio.run(_write(store, image, turn))) == 0, "the work fails by itself")
        image.detach()
        image.attach()
        return _told(directory, lambda: _look(store, turn))


def _told(directory: Path, look: Callable[[], Coroutine[Any, Any, list[str]]]) -> list[str]:
    """Return what a look in a process of its own finds wrong."""
    told = directory / "told"

    def run() -> None:
        signal.alarm(_DEADLINE_SECONDS)
        told.write_text(json.dumps(asyncio.run(look())))

    ended = in_child(run)
    found: list[str] = json.loads(told.read_text()) if ended == 0 else [f"the store cannot be used: {ended}"]
    return found


async def _write(store: Path, image: Image, turn: int) -> None:
    await _save(store, image, turn)
    shut_down(image.mount, DROPPING)
    os._exit(0)


async def _live_on(store: Path, image: Image, turn: int) -> list[str]:
    storage = await _save(store, image, turn)
    shut_down(image.mount, DROPPING)
    with suppress(StorageError):
        # what it says of the dead medium is no matter, only what comes after
        await storage.list()
    image.come_back()
    wrong = await _wrong(storage, turn)
    try:
        await storage.save(document("doc-0", 100))
    except StorageError as error:
        wrong.append(f"nothing can be saved: {error}")
    await storage.close()
    return wrong


async def _save(store: Path, image: Image, turn: int) -> FileStorage:
    # no checkpoint comes in between: what is acknowledged is in the log
    writing._IDLE_SECONDS = _NEVER_SECONDS
    storage = await FileStorage.open(store)
    for number in range(BEFORE):
        await storage.save(document(f"doc-{number}", number))
    await storage.batch_save(document(name, turn) for name in _BATCH)
    await idle(storage)
    image.sync()
    for number in range(AFTER):
        # half of them are new, the others were there before
        await storage.save(document(f"doc-{number * 2}", 100 + number))
    await storage.batch_save(document(name, 1000 + turn) for name in _BATCH)
    return storage


async def _look(store: Path, turn: int) -> list[str]:
    async with await FileStorage.open(store) as storage:
        return await _wrong(storage, turn)


async def _wrong(storage: FileStorage, turn: int) -> list[str]:
    expected = {f"doc-{number}": number for number in range(BEFORE)}
    expected |= {f"doc-{number * 2}": 100 + number for number in range(AFTER)}
    expected |= dict.fromkeys(_BATCH, 1000 + turn)
    wrong = []
    for name, number in expected.items():
        try:
            record = await storage.load(name)
        except StorageError as error:
            wrong.append(str(error))
            continue
        if record is None or record["data"] != body(name, number):
            wrong.append(f"{name} is {record and record['data']['number']}, but {number} was acknowledged")
    try:
        listed = len(await storage.list())
    except StorageError as error:
        return [*wrong, str(error)]
    return wrong if listed == len(expected) else [*wrong, f"{listed} documents of {len(expected)} are listed"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--times", type=int, default=10)
    arguments = parser.parse_args()
    logging.disable()
    found = [f"turn {turn}: {line}" for turn in range(arguments.times) for line in go_away(arguments.directory, turn)]
    sys.stdout.write(json.dumps({"cycles": arguments.times, "violations": found}) + "\n")


if __name__ == "__main__":
    main()
