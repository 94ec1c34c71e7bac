"""Puts one file of a store in trouble, and makes every public call: at it, and at all the others.

Run as a program of its own that has one thread and may fork, with the library of `interpose` loaded:
`python -m tests.campaign.troubled PLACE TRIALS DIRECTORY`. For each trial a line of JSON says what was wrong.

A trial is an error at every call of the system that opens, renames, removes or writes that file, or at those that
rename and remove it; or, as root, a file with which another user may do nothing. It begins before the store is opened,
or after, and lasts. Then:

- every call on others gives all of them, and their writes are applied, if a document or a shard is in trouble, or the
  index; where it is the log, a call may be refused;
- a call on the document is answered or refused by an error of the store, in time, and its absence is never the answer;
- the store can be closed; when all is well again, a fresh process finds what was answered.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsstore import FileStorage
from fsstore.errors import StorageCorruptedError, StorageError
from tests.campaign.interpose import Action, Interposer
from tests.campaign.lives import Diary
from tests.campaign.modes import FOREVER
from tests.campaign.public_calls import OTHERS, VICTIM, Calls, Model, record, value_of, victims
from tests.filesystem.crashing import check, in_child
from tests.filesystem.faults import place

ERRORS = (errno.EACCES, errno.EIO, errno.EBUSY, errno.EPERM)
OTHER_USER = 65534
_CALL_SECONDS, _LOCK_SECONDS, _TRIAL_SECONDS = 4.0, 2.0, 90
_LOOKS, _ABSENT = ("load", "exists", "get_session"), (None, False)
BESIDE = "beside"
REFUSED = object()
_WHEN = (False, "before opening"), (True, "while open")
MAYBE = {VICTIM, BESIDE}
_ANYTHING = 0o700, 0o600
PLACES: dict[str, Callable[[Path], Path]] = {
    "document": lambda store: place(store, VICTIM),
    "shard": lambda store: place(store, VICTIM).parent,
    "segment": lambda store: min((store / ".fsstore/log").iterdir()),
    "index": lambda store: store / ".fsstore/index.sqlite3",
}


@dataclass(frozen=True, slots=True)
class Trial:
    """One trouble: an error, or the rights that another user has; from the beginning, or while the store is open."""

    name: str
    is_open: bool
    error: int = 0
    functions: tuple[str, ...] = ()
    """Those that fail; all when there are none."""
    mode: int | None = None
    """What another user may do."""


def errors() -> Iterator[Trial]:
    """Give errors at all calls, and at those alone that replace or remove: of what is immutable, or mounted."""
    for is_open, when in _WHEN:
        for error in ERRORS:
            yield Trial(f"{errno.errorcode[error]} {when}", is_open, error)
        for error in (errno.EPERM, errno.EBUSY):
            yield Trial(f"{errno.errorcode[error]} at its name {when}", is_open, error, ("renameat2", "unlinkat"))


def users() -> Iterator[Trial]:
    """Give rights that another user has: none, or to look."""
    for is_open, when in _WHEN:
        yield Trial(f"another user, with no right, {when}", is_open, mode=0)
        yield Trial(f"another user, who may read, {when}", is_open, mode=0o755)


TRIALS: dict[str, Callable[[], Iterator[Trial]]] = {"errors": errors, "users": users}


class Troubles:
    """The trials at one place."""

    def __init__(self, where: str, directory: Path) -> None:
        self._where = where
        # acknowledged writes may be in what cannot be read
        self._refuses = where == "segment"
        self._directory = directory
        self._base = directory / "base"
        self._store = directory / "store"
        self._diary = Diary(directory / "diary")
        self._model = Model()

    def run(self, trials: Iterable[Trial]) -> Iterator[dict[str, Any]]:
        """Try one after the other, each with a fresh copy."""
        self._make()
        asyncio.run(self._warm_up())
        wrong = self._tried(Trial("nothing", is_open=True))
        check(not wrong, f"the calls fail by themselves: {wrong}")
        for trial in trials:
            yield {"trial": f"{self._where}: {trial.name}", "wrong": self._tried(trial)}

    def _make(self) -> None:
        async def make() -> None:
            storage = await self._open(self._base)
            await storage.batch_save(record(name) for name in (*OTHERS, VICTIM))
            await storage.list()
            await storage.close()
            if self._where == "segment":
                storage = await self._open(self._base)
                await storage.save(record(VICTIM))
                # the log stays, as after a kill
                os._exit(0)

        check(in_child(lambda: asyncio.run(make())) == 0, "the store was not made")

    async def _warm_up(self) -> None:
        """Have everything imported that is imported at first use: another user may not read the interpreter's files."""
        async with await self._open(self._directory / "warm") as storage:
            await storage.batch_save(record(name) for name in (*OTHERS, VICTIM))
            await Calls(storage, Model(), self._directory).make()

    async def _open(self, store: Path) -> FileStorage:
        return await FileStorage.open(store, lock_timeout_seconds=_LOCK_SECONDS, allow_network=True)

    def _tried(self, trial: Trial) -> list[str]:
        shutil.rmtree(self._store, ignore_errors=True)
        shutil.copytree(self._base, self._store)
        target = PLACES[self._where](self._store)
        self._diary.clear()
        if trial.mode is not None:
            self._give_away()
        ended = _in_time(lambda: asyncio.run(self._live(trial, target)))
        if trial.mode is not None:
            self._take_back(target)
        wrong = self._diary.read("wrong")
        if ended != 0:
            wrong.append("it hung" if ended == -signal.SIGALRM else f"the process ended with {ended}")
        ended = _in_time(lambda: asyncio.run(self._look_afterwards()))
        return (
            wrong + self._diary.read("afterwards") + ([] if ended == 0 else [f"looking afterwards ended with {ended}"])
        )

    # -- another user -------------------------------------------------------------------------------------------------

    def _give_away(self) -> None:
        for path in (self._directory, *self._directory.rglob("*")):
            os.chown(path, OTHER_USER, OTHER_USER)
        (self._directory / "diary").chmod(0o666)

    def _take_back(self, target: Path) -> None:
        for path in (self._directory, *self._directory.rglob("*")):
            os.chown(path, 0, 0)
        if target.exists():
            # it may have been replaced, deleted, or moved into quarantine
            target.chmod(_ANYTHING[target.is_file()])

    # -- a life -------------------------------------------------------------------------------------------------------

    async def _live(self, trial: Trial, target: Path) -> None:
        interposer = Interposer()
        plant = _failing(interposer, target, trial) if trial.mode is None else _forbidding(target, trial.mode)
        storage = None
        if trial.is_open:
            storage = await self._open(self._store)
            await storage.list()
        plant()
        if storage is None:
            storage = await self._bounded("open", self._open(self._store), may_refuse=self._refuses)
        if storage is not REFUSED:
            await self._call_it(storage)
            await self._call_others(storage)
            await self._bounded("close", storage.close(), may_refuse=False)
        interposer.stop()
        self._diary.note(model={name: self._model.values.get(name) for name in {*OTHERS} - self._model.unknown})

    async def _call_it(self, storage: FileStorage) -> None:
        for name, ask in victims(storage).items():
            answer = await self._bounded(f"{name} of it", ask(), may_refuse=True)
            if name in _LOOKS and answer in _ABSENT:
                self._wrong(f"{name} of it says that it is absent")
        try:
            await storage.batch_save([record(BESIDE), record(VICTIM)])
            self._diary.note(batch="applied")
        except StorageError as error:
            self._diary.note(batch=error.outcome)

    async def _call_others(self, storage: FileStorage) -> None:
        calls = Calls(storage, self._model, self._directory)
        for name, find in calls.found.items():
            found = await self._bounded(name, find(), may_refuse=self._refuses)
            others = set(self._model.values)
            if found is not REFUSED and not others <= set(found) <= others | MAYBE:
                self._wrong(f"{name} gives {sorted(found)}")
        for name, count in calls.counted.items():
            counted = await self._bounded(name, count(), may_refuse=self._refuses)
            if counted is not REFUSED and counted - len(self._model.values) not in range(len(MAYBE) + 1):
                self._wrong(f"{name} gives {counted} of {len(self._model.values)}")
        for name, ask in {**calls.asked, **calls.written}.items():
            # an index that can be neither read nor replaced cannot be made anew
            may_refuse = name == "repair" and self._where == "index"
            await self._bounded(name, ask(), may_refuse=may_refuse or self._refuses)

    async def _bounded(self, what: str, call: Awaitable[Any], *, may_refuse: bool) -> Any:
        """Return what comes of a call; REFUSED when it raises."""
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                return await call
        except StorageError as error:
            if not may_refuse:
                self._wrong(f"{what} is refused: {error}")
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is no StorageError
            self._wrong(f"{what}: {type(error).__name__}: {error}")
        return REFUSED

    def _wrong(self, complaint: str) -> None:
        self._diary.note(wrong=complaint)

    # -- afterwards ---------------------------------------------------------------------------------------------------

    async def _look_afterwards(self) -> None:
        (expected,) = self._diary.read("model") or [{}]
        async with await self._open(self._store) as storage:
            for name, value in expected.items():
                try:
                    held = value_of(await storage.load(name))
                except StorageCorruptedError as error:
                    held = str(error)
                if held != value:
                    self._diary.note(afterwards=f"{name} is {held}, not {value}")
            is_there = await storage.exists(BESIDE)
            if {"applied": False, "not applied": True}.get((self._diary.read("batch") or [""])[0]) == is_there:
                self._diary.note(afterwards=f"half of a batch: {BESIDE} is {'' if is_there else 'not '}there")


def _forbidding(target: Path, mode: int) -> Callable[[], None]:
    """Become the other user at once, and have the file forbidden by a child, which is root still."""
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.read(ready, 1)
            for path in target.parent.glob(f"{target.name}*"):
                os.chown(path, 0, 0)
                path.chmod(mode)
        finally:
            os._exit(0)
    os.setgroups([])
    os.setgid(OTHER_USER)
    os.setuid(OTHER_USER)

    def plant() -> None:
        os.write(go, b"x")
        os.waitpid(child, 0)

    return plant


def _failing(interposer: Interposer, target: Path, trial: Trial) -> Callable[[], None]:
    def plant() -> None:
        if trial.error:
            interposer.watch(target, reads=True)
            interposer.only(trial.functions)
            interposer.at(1, Action.fail, error=trial.error, times=FOREVER)

    return plant


def _in_time(work: Callable[[], None]) -> int:
    def timed() -> None:
        signal.alarm(_TRIAL_SECONDS)
        work()

    return in_child(timed)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("place", choices=PLACES)
    parser.add_argument("trials", choices=TRIALS)
    parser.add_argument("directory", type=Path)
    arguments = parser.parse_args()
    logging.disable()
    for result in Troubles(arguments.place, arguments.directory).run(TRIALS[arguments.trials]()):
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
