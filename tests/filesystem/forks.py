"""A program that is forked again and again while it uses a store, and what its children do with it.

`python -m tests.filesystem.forks FACE WORK FORKED CHILD TIMES DIR` prints, as JSON, how the children ended and which
sessions were saved. A child that hangs is ended by its alarm, and says before where it hangs.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from fsstore import FileStorage, LegacySessionStoreAdapter, SessionService, StorageClosedError
from fsstore.model.records import JsonObject

ROOT = Path(__file__).parents[2]
CHILD_SECONDS, PROGRAM_SECONDS = 60, 240
SESSIONS = 40

WORKED, REFUSED, FAILED = 0, 7, 1
"""How a child ends: its calls did what they should; each said why it cannot; anything else."""


class Case(NamedTuple):
    """One cell of the matrix: each is a key of the tables below."""

    face: str
    work: str
    forked: str
    child: str


class Face(Protocol):
    """A store as a program uses it, from any thread."""

    def save(self, session_id: str) -> None: ...
    def get(self, session_id: str) -> JsonObject | None: ...
    def ids(self) -> set[str]: ...
    def close(self) -> None: ...


class AsyncFace:
    """The sessions of a `FileStorage`, each call in an event loop of its own."""

    def __init__(self, path: str) -> None:
        self.sessions = SessionService(asyncio.run(FileStorage.open(path, fsync=False, lock_timeout_seconds=30)))

    def save(self, session_id: str) -> None:
        asyncio.run(self.sessions.save_session(session_id, {}))

    def get(self, session_id: str) -> JsonObject | None:
        return asyncio.run(self.sessions.get_session(session_id))

    def ids(self) -> set[str]:
        return {session["metadata"]["session_id"] for session in asyncio.run(self.sessions.list_sessions())}

    def close(self) -> None:
        asyncio.run(self.sessions.close())

    def watch(self, begun: Callable[[], None]) -> None:
        """Watch until the store is closed."""

        async def watch() -> None:
            async with self.sessions.watch() as changes:
                begun()
                async for _ in changes:
                    pass

        asyncio.run(watch())


class LegacyFace:
    """The same through the adapter, which has an event loop of its own."""

    def __init__(self, path: str) -> None:
        self.adapter = LegacySessionStoreAdapter(path, fsync=False, lock_timeout_seconds=30)

    def save(self, session_id: str) -> None:
        assert self.adapter.save_session(session_id, {})

    def get(self, session_id: str) -> JsonObject | None:
        return self.adapter.get_session(session_id)

    def ids(self) -> set[str]:
        return {session["metadata"]["session_id"] for session in self.adapter.list_sessions()}

    def close(self) -> None:
        self.adapter.close()


FACES: dict[str, Callable[[str], Face]] = {"async": AsyncFace, "legacy": LegacyFace}


# -- what other threads do meanwhile ----------------------------------------------------------------------------------


def _save_often(face: Face, stop: threading.Event, begun: Callable[[], None]) -> None:
    number = 0
    while not stop.is_set():
        face.save(f"busy-{threading.get_ident()}-{number % 20}")
        number += 1
        begun()


def _list_often(face: Face, stop: threading.Event, begun: Callable[[], None]) -> None:
    while not stop.is_set():
        face.ids()
        begun()


def _watch(face: Face, _stop: threading.Event, begun: Callable[[], None]) -> None:
    assert isinstance(face, AsyncFace)
    face.watch(begun)


Work = Callable[[Face, threading.Event, Callable[[], None]], None]
WORKS: dict[str, tuple[Work, ...]] = {
    "idle": (),
    "writing": (_save_often, _save_often),
    "listing": (_list_often, _list_often),
    "watching": (_watch, _save_often),
}


@contextmanager
def _working(face: Face, work: str) -> Iterator[threading.Event]:
    stop, threads = threading.Event(), []
    for run in WORKS[work]:
        begun = threading.Event()
        thread = threading.Thread(target=run, args=(face, stop, begun.set))
        thread.start()
        threads.append(thread)
        begun.wait(CHILD_SECONDS)
    try:
        yield stop
    finally:
        stop.set()
        face.close()
        for thread in threads:
            thread.join()


# -- what a child does ------------------------------------------------------------------------------------------------


def _work(face: Face, name: str) -> int:
    """Use the store; what it refuses, it must refuse in words."""
    try:
        face.save(name)
        assert face.get(name) is not None
        assert face.get("s0") is not None
        assert {name, "s0"} <= face.ids()
    except StorageClosedError as error:
        if "forked" not in str(error):
            raise
        return REFUSED
    finally:
        face.close()
    return WORKED


def _close(face: Face, _name: str) -> int:
    face.close()
    return WORKED


def _exit(_face: Face, _name: str) -> int:
    return WORKED


CHILDREN: dict[str, Callable[[Face, str], int]] = {"works": _work, "closes": _close, "exits": _exit}


def _child(face: Face, child: str, name: str) -> None:
    """Do it, and end as a program does."""
    faulthandler.dump_traceback_later(CHILD_SECONDS - 2)
    signal.alarm(CHILD_SECONDS)
    sys.exit(CHILDREN[child](face, name))


# -- how it is forked -------------------------------------------------------------------------------------------------


def _fork(run: Callable[[], None]) -> Callable[[], int]:
    process = os.fork()
    if not process:
        run()
    return lambda: os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _fork_in_thread(run: Callable[[], None]) -> Callable[[], int]:
    ends: list[Callable[[], int]] = []

    def fork() -> None:
        process = os.fork()
        if not process:
            try:
                run()
            except SystemExit as ended:
                # a thread that ends would end with 0
                os._exit(int(str(ended)))
            finally:
                os._exit(FAILED)
        ends.append(lambda: os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))

    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    return ends[0]


def _fork_by_multiprocessing(run: Callable[[], None]) -> Callable[[], int]:
    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()

    def end() -> int:
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    return end


FORKS = {"fork": _fork, "thread": _fork_in_thread, "multiprocessing": _fork_by_multiprocessing}


def main(case: Case, times: int, path: str) -> None:
    """Fork while the store is used, and go on using it."""
    face_name, work, forked, child = case
    face = FACES[face_name](path)
    saved = [f"s{number}" for number in range(SESSIONS)]
    for session_id in saved:
        face.save(session_id)
    assert face.ids() == set(saved)
    codes = []
    with _working(face, work):
        for number in range(times):
            name = f"child-{number}"
            end = FORKS[forked](lambda name=name: _child(face, child, name))  # type: ignore[misc]
            face.save(f"parent-{number}")
            saved.append(f"parent-{number}")
            assert set(saved) <= face.ids()
            codes.append(end())
            if child == "works" and codes[-1] == WORKED:
                saved.append(name)
            assert set(saved) <= face.ids()
    sys.stdout.write(json.dumps({"codes": codes, "saved": saved}) + "\n")


def program_forked(case: Case, times: int, path: Path) -> Any:
    """Run the program, and return what it says; raises AssertionError with its last words if it fails or hangs."""
    said, errors = ended("-W", "ignore", "-m", __name__, *case, times, path)
    return json.loads(said) | {"errors": errors}


def ended(*arguments: object, seconds: float = PROGRAM_SECONDS) -> tuple[str, str]:
    """Run Python and return what it writes; raises AssertionError if it fails or hangs. No child outlives it."""
    command = [sys.executable, *map(str, arguments)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as program:
        try:
            said, errors = program.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"it did not end within {seconds:g} s") from error
        finally:
            # also what a program has left that ended itself
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
    assert program.returncode == 0, errors[-6000:]
    return said, errors


async def lost(path: Path, saved: list[str]) -> list[str]:
    """Return what is wrong with the store that such a program has left."""
    async with await FileStorage.open(path) as storage:
        listed = {record["id"] for record in await storage.list()}
        report = await storage.verify(hash=True)
        missing = [session_id for session_id in saved if not await storage.exists(session_id)]
        return [
            *(f"{session_id} was saved and is gone" for session_id in missing),
            *(f"{session_id} is not listed" for session_id in {*saved} - listed),
            *([] if report.is_clean else [str(report)]),
        ]


if __name__ == "__main__":
    main(Case(*sys.argv[1:5]), int(sys.argv[5]), sys.argv[6])
