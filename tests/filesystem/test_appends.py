"""Several processes append to the same sessions. Each is this module run as a program, with its number."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fsstore import open_sessions
from tests.filesystem.faults import place

ROOT = Path(__file__).parents[2]
PROCESSES, TASKS = 4, 4


async def append(store: str, process: str, items: str) -> None:
    """Append so many items in all, from several tasks, and tell how long the list was after each."""
    lengths: list[int] = []

    async def task(number: int) -> None:
        for at in range(int(items) // TASKS):
            item = {"by": f"{process}.{number}", "at": at, "text": "x" * (at % 50)}
            lengths.append(await sessions.append_session("shared", [item], metadata={"last": item["by"]}))
            if at % 10 == 0:
                # another session in the same group
                await sessions.append_session(f"own-{process}", [item, item])

    async with open_sessions(store) as sessions:
        await asyncio.gather(*map(task, range(TASKS)))
    sys.stdout.write(json.dumps(lengths))


def done_by(store: Path, items: int) -> list[list[int]]:
    command = [sys.executable, "-m", "tests.filesystem.test_appends", str(store)]
    processes = [
        subprocess.Popen([*command, str(number), str(items)], cwd=ROOT, stdout=subprocess.PIPE)
        for number in range(PROCESSES)
    ]
    answers = [process.communicate(timeout=500)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES
    return [json.loads(answer) for answer in answers]


@pytest.mark.parametrize("items", [240, pytest.param(2000, marks=pytest.mark.campaign)])
async def test_all_that_processes_and_tasks_append_is_there_and_each_ones_order_is_kept(
    quick: Path, items: int
) -> None:
    each = items // PROCESSES
    lengths = await asyncio.to_thread(done_by, quick, each)
    # nobody was told the same length
    assert sorted(itertools.chain(*lengths)) == list(range(1, items + 1))
    async with open_sessions(quick) as sessions:
        shared: Any = await sessions.get_session("shared")
        found = shared["messages"]
        assert len(found) == items
        for process in range(PROCESSES):
            for task in range(TASKS):
                by = f"{process}.{task}"
                assert [item["at"] for item in found if item["by"] == by] == list(range(each // TASKS))
            own: Any = await sessions.get_session(f"own-{process}")
            assert {item["by"].partition(".")[0] for item in own["messages"]} == {str(process)}
            assert len(own["messages"]) == 2 * TASKS * len(range(0, each // TASKS, 10))
    assert json.loads(place(quick, "shared").read_bytes())["data"]["messages"] == found


if __name__ == "__main__":
    asyncio.run(append(*sys.argv[1:]))
