"""Takes the medium away under a process that has saved durably, gives it back within the same boot, and looks.

Run as a program of its own, so that it has one thread and may fork: `python -m tests.campaign.going DIRECTORY`. What
it does is the least that a USB disk does which is pulled out: some saves are on the disk for sure, those after them
were acknowledged and are in the log alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path

from fsstore import FileStorage
from fsstore.errors import StorageCorruptedError
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
    """Let the medium go once, and return what is wrong when it is there again."""
    image = Image(directory)
    with image.mounted():
        store = image.mount / "store"
        check(in_child(lambda: asyncio.run(_write(store, image, turn))) == 0, "the work fails by itself")
        image.detach()
        image.attach()
        told = directory / "told"

        def look() -> None:
            signal.alarm(_DEADLINE_SECONDS)
            told.write_text(json.dumps(asyncio.run(_look(store, turn))))

        ended = in_child(look)
        found: list[str] = json.loads(told.read_text()) if ended == 0 else [f"the store cannot be used: {ended}"]
        return found


async def _write(store: Path, image: Image, turn: int) -> None:
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
    shut_down(image.mount, DROPPING)
    os._exit(0)


async def _look(store: Path, turn: int) -> list[str]:
    expected = {f"doc-{number}": number for number in range(BEFORE)}
    expected |= {f"doc-{number * 2}": 100 + number for number in range(AFTER)}
    expected |= dict.fromkeys(_BATCH, 1000 + turn)
    wrong = []
    async with await FileStorage.open(store) as storage:
        for name, number in expected.items():
            try:
                record = await storage.load(name)
            except StorageCorruptedError as error:
                wrong.append(str(error))
                continue
            if record is None or record["data"] != body(name, number):
                wrong.append(f"{name} is {record and record['data']['number']}, but {number} was acknowledged")
        if len(await storage.list()) != len(expected):
            wrong.append(f"{len(await storage.list())} documents of {len(expected)} are listed")
    return wrong


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
