"""Processes that work on one store at once, and what they say: each runs `tests.campaign.worker`.

A worker says "open" when it has the store, waits for the word to begin, and from then on says one JSON value a line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 120.0


class Worker:
    """One process."""

    def __init__(self, store: Path, work: str, argument: object, *, fsync: bool, lock_timeout_seconds: float) -> None:
        mode = "durable" if fsync else "quick"
        command = [sys.executable, "-m", "tests.campaign.worker", work, str(store), mode]
        self.process = subprocess.Popen(
            [*command, str(lock_timeout_seconds), str(argument)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        # one that hangs is ended, so that whoever waits for it is told
        self._deadline = threading.Timer(DEADLINE_SECONDS, self.process.kill)
        self._deadline.daemon = True
        self._deadline.start()

    def wait_until_open(self) -> None:
        assert self.said() == "open"

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def said(self) -> Any:
        """Wait for the next thing it says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the process ended with {self.process.wait()}"
        return json.loads(line)

    def wait_until_stopped(self) -> None:
        """Wait until the process has got SIGSTOP, and leave its end for others to see."""
        state = os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert state is not None
        assert state.si_status == signal.SIGSTOP, "the process has ended"

    def kill(self) -> list[Any]:
        """Kill it, and return what it had still said; half a line counts for nothing."""
        self.process.kill()
        said = []
        for line in self._rest():
            with suppress(json.JSONDecodeError):
                said.append(json.loads(line))
        return said

    def finished(self) -> list[Any]:
        """Wait for its end, and return what it has said."""
        rest = self._rest()
        assert self.process.returncode == 0, f"the process ended with {self.process.returncode}"
        return [json.loads(line) for line in rest]

    def _rest(self) -> list[str]:
        # not `communicate`, which passes over what a line read before has left in the buffer
        assert self.process.stdout is not None
        rest = self.process.stdout.readlines()
        self.process.wait(DEADLINE_SECONDS)
        return rest


@contextmanager
def working(
    store: Path, *works: tuple[str, object], fsync: bool, lock_timeout_seconds: float = 60.0
) -> Iterator[list[Worker]]:
    """Start workers, each with the name of its work and an argument; they begin together, and none outlives the block.

    One that has been stopped is killed too.
    """
    started: list[Worker] = []
    try:
        for work, argument in works:
            started.append(Worker(store, work, argument, fsync=fsync, lock_timeout_seconds=lock_timeout_seconds))
        for worker in started:
            worker.wait_until_open()
        for worker in started:
            worker.tell("go")
        yield started
    finally:
        for worker in started:
            with worker.process as process:
                process.kill()


def side_by_side(store: Path, *works: tuple[str, object], fsync: bool) -> list[list[Any]]:
    """Let workers work to their end, and return what each has said."""
    with working(store, *works, fsync=fsync) as started:
        return [worker.finished() for worker in started]
