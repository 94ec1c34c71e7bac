"""Kills a process at each step of a piece of work, opens the store again, and tells what it found.

Run as a program of its own, so that it has one thread and may fork: `python -m tests.filesystem.crashing SCENARIO DIR`.
A step is one call of the operating system that changes something; the child is killed (SIGKILL) right before it, which
is right after the one before. For each step a line of JSON says which call it was and what became of the store.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import os
import shutil
import signal
import struct
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from fsstore import FileStorage, open_storage
from fsstore.filesystem.disk import files
from fsstore.filesystem.log.counters import State
from fsstore.model.mutations import AnyMutation, deleting, patching, saving
from tests.filesystem.views import VIEWS, left_behind, quarantined, rescan

CHANGING = (
    "fdatasync",
    "fsync",
    "ftruncate",
    "link",
    "mkdir",
    "open",
    "pwrite",
    "replace",
    "rmdir",
    "unlink",
    "write",
)
_NOBODY = 65534
DOCUMENTS = int(os.environ.get("FSSTORE_CRASHING_DOCUMENTS", "10"))
"""How many a batch finds; it changes about as many."""


class Killer:
    """Counts the changing calls of this process and kills it at one of them."""

    def __init__(self, step: int, report: Path, *, only: str = "") -> None:
        self._left = step
        self._report = report
        self._only = only

    def arm(self) -> None:
        """Put itself between Python and the system."""
        for name in CHANGING:
            if hasattr(os, name):
                setattr(os, name, self._counting(name, getattr(os, name)))
        # the other way to put a file in place of one
        vars(files)["exchange"] = self._counting("replace", vars(files)["exchange"])

    def _counting(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if (name == "open" and not args[1] & os.O_CREAT) or self._only not in ("", name):
                return call(*args, **kwargs)
            self._left -= 1
            if self._left == 0:
                self._report.write_text(name)
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return counted


def in_child(work: Callable[[], None]) -> int:
    """Run a function in a child of fork and return how it ended: 0, an exit code, or minus a signal."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - a child must end here, whatever happens
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def as_another_user(work: Callable[[], None]) -> int | None:
    """Run a function in a child that may write nothing which it does not own; None where it cannot become that user."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None

    def other() -> None:
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
        work()

    return in_child(other)


def must_be_killed(work: Callable[[], None]) -> None:
    """Run a function in a child that dies of it."""
    ended = in_child(work)
    check(ended == -signal.SIGKILL, f"the child ended with {ended}")


def document(number: int, value: str) -> dict[str, Any]:
    """Return the document of that number."""
    return note(f"doc-{number}", value)


def note(name: str, value: str) -> dict[str, Any]:
    """Return a document that shows its value in its data and in its metadata."""
    return {
        "id": name,
        "type": "note",
        "data": {"value": value, "text": "x" * 300, "metadata": {"status": value, "tags": [value]}},
    }


async def _fill(store: Path, *, fsync: bool) -> None:
    async with open_storage(store, fsync=fsync) as storage:
        await storage.batch_save(document(number, "old") for number in range(DOCUMENTS))


async def _batch(storage: FileStorage) -> None:
    """Replace, patch, delete and add: half of the old documents are gone or new afterwards."""
    changes: list[AnyMutation] = [saving(document(number, "new")) for number in range(0, DOCUMENTS, 2)]
    changes += [patching(f"doc-{number}", {"data": {"value": "new"}}) for number in range(1, DOCUMENTS, 4)]
    changes += [deleting(f"doc-{number}") for number in range(3, DOCUMENTS, 4)]
    changes += [saving(document(number, "new")) for number in range(DOCUMENTS, DOCUMENTS + 5)]
    await storage.commit(changes)


async def _single(storage: FileStorage) -> None:
    await storage.save(document(0, "new"))


async def _new(storage: FileStorage) -> None:
    await storage.save(document(DOCUMENTS, "new"))


async def _delete(storage: FileStorage) -> None:
    await storage.delete("doc-0")


SCENARIOS: dict[str, Callable[[FileStorage], Awaitable[None]]] = {
    "batch": _batch,
    "save": _single,
    "insert": _new,
    "delete": _delete,
}


async def _contents(store: Path, *, fsync: bool) -> dict[str, Any]:
    """Open a store without any help and return its documents, after checking that all views of it agree."""
    async with open_storage(store, fsync=fsync) as storage:
        documents = rescan(store)
        for view in VIEWS:
            answer = await view.ask(storage, [f"doc-{number}" for number in range(DOCUMENTS + 5)])
            check(answer == view.answer(documents), f"{view.name} does not say what the files do: {answer}")
        check((await storage.health_check())["corrupt"] == [], "a document is corrupt")
    left = left_behind(store)
    check(not left, f"temp files or segments are left: {left}")
    check(not quarantined(store), "something is in quarantine")
    return documents


def check(condition: object, complaint: str) -> None:
    if not condition:
        raise AssertionError(complaint)


def stable(contents: dict[str, Any]) -> dict[str, Any]:
    """Leave out what differs between two runs: the time of the change."""
    return {key: {**record, "updated_at": "", "created_at": ""} for key, record in contents.items()}


class Campaign:
    """One scenario, killed at every step."""

    def __init__(self, scenario: str, directory: Path, *, fsync: bool) -> None:
        self._work = SCENARIOS[scenario]
        self._directory = directory
        self._fsync = fsync
        self._base = directory / "base"

    def run(self) -> Iterator[dict[str, Any]]:
        """Kill at each step, until the work is done before its turn comes."""
        check(in_child(lambda: asyncio.run(_fill(self._base, fsync=self._fsync))) == 0, "the store was not made")
        old = self._outcome(self._base)
        done = self._copy("done")
        check(in_child(lambda: asyncio.run(self._do(done, None))) == 0, "the work fails by itself")
        new = self._outcome(done)
        check(stable(old) != stable(new), "the work changes nothing")
        for step in range(1, 100_000):
            result = self._step(step, stable(old), stable(new))
            if result is None:
                return
            yield result

    def _step(self, step: int, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any] | None:
        store, report = self._copy("crashed"), self._directory / "call"
        killer = Killer(step, report)
        ended = in_child(lambda: asyncio.run(self._do(store, killer)))
        if ended == 0:
            return None
        check(ended == -signal.SIGKILL, f"step {step}: the child ended with {ended}")
        found = stable(self._outcome(store))
        state = "old" if found == old else "new" if found == new else "mixed"
        return {"step": step, "call": report.read_text(), "state": state}

    async def _do(self, store: Path, killer: Killer | None) -> None:
        storage = await FileStorage.open(store, fsync=self._fsync)
        if killer is not None:
            killer.arm()
        await self._work(storage)
        await storage.close()

    def _copy(self, name: str) -> Path:
        target = self._directory / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self._base, target)
        return target

    def _outcome(self, store: Path) -> dict[str, Any]:
        """Return what another process finds in a store."""
        found = self._directory / "found"

        def look() -> None:
            first, second = (asyncio.run(_contents(store, fsync=self._fsync)) for _ in range(2))
            check(first == second, "the second opening finds something else than the first")
            found.write_text(json.dumps(first))

        check(in_child(look) == 0, f"the store cannot be opened: {store}")
        contents: dict[str, Any] = json.loads(found.read_text())
        return contents


class RecoveryCampaign(Campaign):
    """A small batch that died half placed; its recovery is killed at every step."""

    def __init__(self, directory: Path) -> None:
        super().__init__("batch", directory, fsync=True)

    def run(self) -> Iterator[dict[str, Any]]:
        killer = Killer(2, self._directory / "call", only="replace")
        must_be_killed(lambda: asyncio.run(self._die(killer)))
        recovered = stable(self._outcome(self._copy("recovered")))
        values = {key: record["data"]["value"] for key, record in recovered.items()}
        check(values == {f"doc-{number}": "new" for number in (0, 1, 2, 4)}, f"recovered are {values}")
        for step in range(1, 1000):
            result = self._step(step, {}, recovered)
            if result is None:
                return
            yield result

    async def _die(self, killer: Killer) -> None:
        async with open_storage(self._base) as storage:
            await storage.batch_save(document(number, "old") for number in range(4))
        async with open_storage(self._base) as storage:
            killer.arm()
            saves = [saving(document(number, "new")) for number in (0, 1, 2, 4)]
            await storage.commit([*saves, deleting("doc-3")])

    async def _do(self, store: Path, killer: Killer | None) -> None:
        if killer is not None:
            killer.arm()
        storage = await FileStorage.open(store)
        await storage.close()


class WaitingCampaign(RecoveryCampaign):
    """The same, while one of its documents cannot be put in place; what comes after finds it possible again."""

    async def _do(self, store: Path, killer: Killer | None) -> None:
        exchange, replace = vars(files)["exchange"], os.replace

        def refusing(call: Callable[..., Any]) -> Callable[..., Any]:
            def refused(*arguments: Any, **options: Any) -> Any:
                if Path(arguments[1]).name == "doc-2.json":
                    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
                return call(*arguments, **options)

            return refused

        os.replace, vars(files)["exchange"] = refusing(replace), refusing(exchange)
        await super()._do(store, killer)


class DoubtCampaign(RecoveryCampaign):
    """The same, after a sync has failed: what was found equal is written anew, too."""

    async def _do(self, store: Path, killer: Killer | None) -> None:
        with (store / ".fsstore/seq").open("r+b") as counters:
            counters.seek(8 * State._fields.index("unsynced"))
            counters.write(struct.pack("<Q", 1 << 20))
        await super()._do(store, killer)


RECOVERIES = {"recovery": RecoveryCampaign, "waiting": WaitingCampaign, "doubt": DoubtCampaign}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", choices=[*SCENARIOS, *RECOVERIES])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--no-fsync", action="store_true")
    arguments = parser.parse_args()
    if arguments.scenario in RECOVERIES:
        campaign: Campaign = RECOVERIES[arguments.scenario](arguments.directory)
    else:
        campaign = Campaign(arguments.scenario, arguments.directory, fsync=not arguments.no_fsync)
    for result in campaign.run():
        sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
