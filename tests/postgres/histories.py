"""Histories of several processes on one store in PostgreSQL, for the judge of the campaign."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.campaign.linearizability import Answer, Operation
from tests.postgres.stores import opened, prefix_of

_ROOT = Path(__file__).parents[2]
_SECONDS = 300


async def history_of(url: str, path: Path, seeds: list[str]) -> list[Operation]:
    """Let a process work for each seed, all at the same time, and return what they did."""
    async with await opened(url, path):
        return await asyncio.to_thread(_history, url, prefix_of(path), seeds)


def _history(url: str, prefix: str, seeds: list[str]) -> list[Operation]:
    with ExitStack() as stack:
        workers = []
        for seed in seeds:
            command = [sys.executable, "-m", "tests.postgres.worker", url, prefix, seed]
            worker = subprocess.Popen(
                command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
            )
            stack.callback(worker.kill)
            workers.append(stack.enter_context(worker))
        for worker in workers:
            assert worker.stdout is not None
            assert json.loads(worker.stdout.readline()) == "open"
        said = []
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("begin\n")
            worker.stdin.flush()
        for worker in workers:
            said += worker.communicate(timeout=_SECONDS)[0].splitlines()
            assert worker.returncode == 0
    return [_operation(json.loads(line)) for line in said]


def _operation(line: list[object]) -> Operation:
    key, kind, called, returned, answer, value, expected, seen = line
    return Operation(key, kind, called, returned, Answer(*answer), value, expected, seen)  # type: ignore[arg-type, misc]
