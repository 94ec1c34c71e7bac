"""What a call passes on its way: which files of fsstore, how many functions of theirs, in all threads.

Calls are counted by the interpreter (`sys.setprofile`). Threads wait for each other, and how often they look meanwhile
differs from run to run, so each step is taken several times and the one with the fewest calls counts.
"""

import asyncio
import json
import shutil
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, NamedTuple

from fsstore import SessionService, open_sessions
from tests.house.source import HOME

TIMES = 15
_QUIET_SECONDS, _LOOK_SECONDS = 0.1, 0.01
_SESSIONS = 100
_INDEXING_AT = 8
"""Where in `.fsstore/seq` the counter lies that is odd while a commit is under way."""


class Passed(NamedTuple):
    """What one step has passed: files, calls, and calls that lead from one file to another."""

    calls: int
    files: int
    changes: int
    names: frozenset[str]


class Trace:
    """Notes every call of a function of fsstore, while it is on."""

    def __init__(self, times: int) -> None:
        self._home = str(HOME)
        self._times = times
        self._called: dict[int, list[str]] = {}
        self._is_on = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Be told of the calls of this thread, and of all that are started from now on."""
        sys.setprofile(self._hear)
        threading.setprofile(self._hear)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def _hear(self, frame: FrameType, event: str, argument: object) -> None:  # noqa: ARG002 - the interpreter gives it
        if self._is_on and event == "call":
            name = frame.f_code.co_filename
            if name.startswith(self._home):
                self._called.setdefault(threading.get_ident(), []).append(name)

    def begin(self) -> None:
        """Forget what was noted, and note what comes."""
        self._called, self._is_on = {}, True

    def end(self) -> Passed:
        """Note nothing more, and return what was noted."""
        self._is_on = False
        threads = list(self._called.values())
        files = frozenset(name[len(self._home) + 1 :] for called in threads for name in called)
        changes = sum(before != after for called in threads for before, after in pairwise(called))
        return Passed(sum(map(len, threads)), len(files), changes, files)

    async def until_quiet(self) -> None:
        """Wait until nothing was called for a while: what goes on behind an answer belongs to it."""
        before, since = -1, time.monotonic()
        while time.monotonic() - since < _QUIET_SECONDS:
            called = sum(map(len, self._called.values()))
            if called != before:
                before, since = called, time.monotonic()
            await asyncio.sleep(_LOOK_SECONDS)

    async def of(self, step: Callable[[int], Awaitable[Any]], *, to_the_end: bool = True) -> Passed:
        """Return what a step passes; it is given the number of the attempt."""
        attempts = []
        for attempt in range(self._times):
            self.begin()
            await step(attempt)
            if to_the_end:
                await self.until_quiet()
            attempts.append(self.end())
            await asyncio.sleep(_QUIET_SECONDS)
        return min(attempts)


async def measured(times: int = TIMES) -> dict[str, Passed]:
    """Take the steps of the scenario, so many times each, and return what each has passed."""
    trace = Trace(times)
    with TemporaryDirectory(prefix="fsstore-house-") as home, trace.installed():
        store = Path(home) / "store"
        async with await open_sessions(store) as sessions:
            await _warm(sessions)
            found = await _of_calls(trace, sessions)
            found["watched change"] = await _of_a_change(trace, sessions, store)
            await sessions.save_session("unfinished", _session(0))
            left = Path(home) / "left"
            shutil.copytree(store, left)
        found["recovery"] = await _of_a_recovery(trace, left)
    return found


def _session(number: int) -> dict[str, Any]:
    return {"metadata": {"status": "active", "user_id": f"user-{number % 5}"}, "messages": [{"text": f"{number}"}]}


async def _warm(sessions: SessionService) -> None:
    await sessions.batch_save_sessions({f"session-{number}": _session(number) for number in range(_SESSIONS)})
    for number in range(_SESSIONS):
        await sessions.get_session(f"session-{number}")
    await sessions.list_sessions({"status": "active"}, limit=5)


async def _of_calls(trace: Trace, sessions: SessionService) -> dict[str, Passed]:
    await trace.until_quiet()
    return {
        "save": await trace.of(lambda attempt: sessions.save_session("session-7", _session(attempt))),
        "get": await trace.of(lambda _: sessions.get_session("session-11")),
        "list of 5": await trace.of(lambda _: sessions.list_sessions({"status": "active"}, limit=5)),
    }


async def _of_a_change(trace: Trace, sessions: SessionService, store: Path) -> Passed:
    """Return what an edit by another program passes until the one who watches has it."""
    (path,) = store.glob("*/session-23.json")
    async with sessions.watch() as changes:

        async def edited(attempt: int) -> None:
            record = json.loads(path.read_text("utf-8"))
            record["data"]["metadata"]["status"] = f"edited {attempt}"
            path.write_text(json.dumps(record), "utf-8")
            await anext(changes)

        await edited(TIMES)
        return await trace.of(edited, to_the_end=False)


async def _of_a_recovery(trace: Trace, left: Path) -> Passed:
    """Return what opening a store passes whose writer died after its commit point."""

    async def opened(attempt: int) -> None:
        store = left.with_name(f"left-{attempt}")
        shutil.copytree(left, store)
        with (store / ".fsstore" / "seq").open("r+b") as counters:
            counters.seek(_INDEXING_AT)
            counters.write((1).to_bytes(8, "little"))
        async with await open_sessions(store) as sessions:
            assert await sessions.session_exists("unfinished")

    return await trace.of(opened, to_the_end=False)
