"""Cuts the power of a real file system: ext4 in an image, shut down at a random moment while a process writes to it.

Run as a program of its own, so that it has one thread and may fork: `python -m tests.campaign.cutting OPTIONS DIR`.
One store lives through all cycles. A cycle: a writer works and tells what is acknowledged in a file outside of the
image; EXT4_IOC_SHUTDOWN drops all that is not on the disk; the writer is killed; the image is mounted again, which
replays its journal; a child looks at the store. It believes in a new start of the system, or with `--same-boot` it does
not: then the medium has gone while the host stayed.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import logging
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from fsstore import FileStorage
from fsstore.errors import StorageError
from fsstore.filesystem.write import writer as writing
from tests.campaign import clocks, images
from tests.campaign.images import Image
from tests.campaign.looking import beginning, look
from tests.campaign.promises import Contents, History, begun, told
from tests.campaign.recorded import Shop
from tests.filesystem.crashing import check, in_child
from tests.filesystem.faults import until

# linux/fs/ext4/ext4.h: _IOR('X', 125, __u32), and the flags it takes
_SHUTDOWN = 0x8004587D
_DEFAULT, _FLUSHING, DROPPING = 0, 1, 2
_IDS = [f"doc-{number}" for number in range(24)]
_DEADLINE_SECONDS = 60
_NUMBERS_A_CYCLE = 10_000


def why_not(directory: Path) -> str:
    """Say why no power can be cut here; empty when it can."""
    if reason := images.why_not(directory):
        return reason
    try:
        with Image(directory).mounted() as mount:
            shut_down(mount, DROPPING)
    except OSError as error:
        return f"an ext4 image cannot be shut down here: {error}"
    return ""


class Cuts:
    """One store on one file system, and cuts of its power."""

    def __init__(self, directory: Path, *, options: str, seed: int, same_boot: bool) -> None:
        self._directory = directory
        self._same_boot = same_boot
        self._begin = beginning(same_boot=same_boot)
        self._image = Image(directory, options=options)
        self._draws = Random(seed)
        self._contents: Contents = {}
        self._cycle = 0
        self.violations: list[str] = []

    def run(self, cycles: int) -> None:
        """Write, cut, look, again and again."""
        with self._image.mounted():
            for self._cycle in range(1, cycles + 1):
                self._run_cycle()

    def _run_cycle(self) -> None:
        marks = self._directory / "marks"
        marks.write_text("".join(f"{mark}\n" for mark in self._known()))
        store, first = self._image.mount / "store", self._cycle * _NUMBERS_A_CYCLE
        seed = self._draws.random()
        image = self._image if self._same_boot else None
        self._cut("written", lambda: _write(store, marks, first=first, seed=seed, image=image), 0.25)
        if self._draws.random() < 0.2:
            self._cut("cut in recovery", lambda: _open(store), 0.02)
        # a line that the kill has cut off was told to nobody
        whole = marks.read_text().rpartition("\n")[0].splitlines()
        self._look(store, History.read(whole))

    def _known(self) -> Iterator[str]:
        """Give marks that say what is there by now."""
        for number in sorted(set(self._contents.values())):
            yield begun(number, {key: True for key, held in self._contents.items() if held == number})
            yield told(number, "acknowledged")

    def _cut(self, what: str, work: Callable[[], None], most_seconds: float) -> None:
        """Let a child work for a while, then cut the power."""
        child = os.fork()
        if child == 0:
            try:
                self._begin(f"cycle {self._cycle}, {what}")
                work()
            finally:
                os._exit(0)
        time.sleep(self._draws.uniform(0.0, most_seconds))
        shut_down(self._image.mount, self._draws.choices((DROPPING, _FLUSHING, _DEFAULT), (8, 1, 1))[0])
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        self._image.detach()
        self._image.attach()

    def _look(self, store: Path, history: History) -> None:
        found = self._directory / "found"

        def look_at_it() -> None:
            signal.alarm(_DEADLINE_SECONDS)
            self._begin(f"cycle {self._cycle}, looked at")
            found.write_text(json.dumps(asyncio.run(look(store, history))))

        ended = in_child(look_at_it)
        check(ended == 0, f"cycle {self._cycle}: the store cannot be used: {ended}")
        self._contents, wrong = json.loads(found.read_text())
        self.violations += [f"cycle {self._cycle}: {each}" for each in wrong]


def shut_down(mount: Path, flag: int) -> None:
    """Let a file system drop what is not on the disk, as a power cut does; some flags flush its journal first."""
    descriptor = os.open(mount, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", flag))
    finally:
        os.close(descriptor)


def _open(store: Path) -> None:
    shop = Shop(store, lambda _mark: None, first=0)

    async def open_and_close() -> None:
        await (await shop.open()).close()

    asyncio.run(open_and_close())


def _write(store: Path, marks: Path, *, first: int, seed: float, image: Image | None) -> None:
    draws = Random(seed)
    writing._IDLE_SECONDS = draws.choice((0.003, 0.01, 1.0))
    writing._SEGMENT_BYTES = draws.choice((20_000, 200_000, 16 << 20))
    descriptor = os.open(marks, os.O_WRONLY | os.O_APPEND)

    def tell(mark: str) -> None:
        os.write(descriptor, f"{mark}\n".encode())

    asyncio.run(_work(Shop(store, tell, first=first), draws, image))


async def idle(storage: FileStorage) -> None:
    """Wait until a store has finished what it has answered already."""
    writer = storage._store.writer
    await until(lambda: writer is None or not writer.is_holding)


async def _work(shop: Shop, draws: Random, image: Image | None) -> None:
    """Save, delete and batch until the power is cut; an image is synced now and then, so that counters are on it."""
    try:
        while True:
            async with await shop.open() as storage:
                for _ in range(draws.randrange(5, 200)):
                    at_once = draws.choice((1, 1, 1, 8))
                    size = draws.choice((1, 1, 4))
                    drawn = draws.sample(_IDS, at_once)
                    sets = (
                        [{key, *draws.sample(_IDS, size - 1)} for key in drawn]
                        if at_once == 1
                        else [{k} for k in drawn]
                    )
                    await asyncio.gather(
                        *(shop.commit(storage, {key: draws.random() < 0.7 for key in sorted(ids)}) for ids in sets)
                    )
                    if image is not None and draws.random() < 0.05:
                        await idle(storage)
                        await asyncio.to_thread(image.sync)
                    if draws.random() < 0.1:
                        await asyncio.sleep(draws.choice((0.0, 0.005, 0.015)))
    except (StorageError, OSError, subprocess.CalledProcessError):
        # the power is cut: who works on learns no more
        return


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--options", default="", help="for mount(8)")
    parser.add_argument("--cycles", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--same-boot", action="store_true", help="the medium goes, the host stays")
    arguments = parser.parse_args()
    clocks.obey()
    logging.disable()
    options = {"options": arguments.options, "seed": arguments.seed, "same_boot": arguments.same_boot}
    cuts = Cuts(arguments.directory, **options)
    cuts.run(arguments.cycles)
    sys.stdout.write(json.dumps({"cycles": arguments.cycles, "violations": cuts.violations}) + "\n")


if __name__ == "__main__":
    main()
