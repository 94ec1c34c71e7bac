"""Several processes on one store. Each is this module run as a program: `python -m tests.filesystem.test_processes`."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage, SessionService
from fsstore.model.records import JsonObject
from tests.filesystem.faults import contents, until

ROOT = Path(__file__).parents[2]
BATCH = [f"batch-{number}" for number in range(10)]


# -- what the processes do --------------------------------------------------------------------------------------------


def say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


async def increment(storage: FileStorage, times: str) -> None:
    """Count a session up, from four tasks."""
    sessions = SessionService(storage)

    def count(data: JsonObject) -> None:
        data["count"] += 1

    async def task() -> None:
        for _ in range(int(times) // 4):
            await sessions.edit_session("counter", count, timeout_seconds=60)

    await asyncio.gather(*(task() for _ in range(4)))


async def churn(storage: FileStorage, seed: str) -> None:
    """Write batches that all carry one token; save, delete and list single documents in between."""
    chance = random.Random(seed)
    for turn in range(25):
        token = f"{seed}-{turn}"
        await storage.batch_save({"id": name, "data": {"metadata": {"status": token}}} for name in BATCH)
        await storage.save({"id": f"single-{seed}-{turn}"})
        if chance.random() < 0.5:
            await storage.delete(f"single-{seed}-{turn}")
        else:
            say(f"single-{seed}-{turn}")
        await storage.list(limit=5)


async def acknowledge(storage: FileStorage, seed: str) -> None:
    """Save until killed, telling each id when it is saved."""
    turn = 0
    while True:
        turn += 1
        ids = [f"{seed}-{turn}-{part}" for part in range(1 + turn % 3)]
        await storage.batch_save({"id": record_id, "data": "x" * 500} for record_id in ids)
        say(ids)


async def hurry(storage: FileStorage, seconds: str) -> None:
    """Save for some time; tell how often that was possible and how long the longest wait was."""
    saves, longest, end = 0, 0.0, time.monotonic() + float(seconds)
    while (start := time.monotonic()) < end:
        await storage.save({"id": f"{os.getpid()}-{saves % 20}"})
        saves += 1
        longest = max(longest, time.monotonic() - start)
    say([saves, longest])


WORKS: dict[str, Callable[[FileStorage, str], Awaitable[None]]] = {
    work.__name__: work for work in (increment, churn, acknowledge, hurry)
}


async def main(store: str, fsync: str, work: str, argument: str) -> None:
    async with await FileStorage.open(store, fsync=fsync == "durable", lock_timeout_seconds=60) as storage:
        say("open")
        # all begin together
        await asyncio.to_thread(sys.stdin.readline)
        await WORKS[work](storage, argument)


# -- starting them ----------------------------------------------------------------------------------------------------


class Workers:
    """Processes that have the store open and wait for the word to begin."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self.processes = processes

    def begin(self) -> None:
        """Wait until all are there, and let them go."""
        for process in self.processes:
            assert process.stdout is not None
            assert process.stdout.readline() == '"open"\n'
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()

    def finished(self) -> list[list[Any]]:
        """Wait for the end, and return what each has said."""
        said = []
        for process in self.processes:
            out, errors = process.communicate(timeout=90)
            assert process.returncode == 0, errors
            said.append([json.loads(line) for line in out.splitlines()])
        return said


@contextmanager
def workers(store: Path, work: str, *arguments: str, fsync: str = "quick") -> Iterator[Workers]:
    command = [sys.executable, "-m", "tests.filesystem.test_processes", str(store), fsync, work]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen([*command, argument], cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for argument in arguments
    ]
    try:
        yield Workers(processes)
    finally:
        for process in processes:
            process.kill()
            with process:
                process.wait()


# -- what must hold ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fsync", "increments"), [("quick", 2000), ("durable", 200)])
async def test_no_increment_of_two_processes_with_four_tasks_each_is_lost(
    tmp_path: Path, fsync: str, increments: int
) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        sessions = SessionService(storage)
        await sessions.save_session("counter", {"count": 0})
        with workers(tmp_path, "increment", *[str(increments // 2)] * 2, fsync=fsync) as running:
            running.begin()
            await asyncio.to_thread(running.finished)
        record = await sessions.get_record("counter")
        assert record is not None
        assert record["data"]["count"] == increments
        assert record["version"] == increments + 1
        assert set(await contents(storage)) == {"counter"}


async def test_a_reader_never_sees_half_of_a_batch_of_three_writing_processes(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.batch_save({"id": name, "data": {"metadata": {"status": "first"}}} for name in BATCH)
        seen: set[str] = set()

        def token(record: JsonObject) -> str:
            return str(record["data"]["metadata"]["status"])

        with workers(tmp_path, "churn", "1", "2", "3") as running:
            running.begin()
            finished = asyncio.ensure_future(asyncio.to_thread(running.finished))
            while not finished.done():
                records = [record for record in await storage.list() if record["id"] in BATCH]
                assert [len(records), len({token(record) for record in records})] == [10, 1]
                rows = await storage.list_metadata({"id": {"$in": BATCH}})
                assert [len(rows), len({row["metadata"]["status"] for row in rows})] == [10, 1]
                (current,) = {token(record) for record in records}
                seen.add(current)
                await ordered_loads(storage)
            said = await finished
        assert len(seen) > 3
        kept = {name for names in said for name in names}
        assert set(await contents(storage)) == kept | set(BATCH)
        await storage.refresh()
        assert set(await contents(storage)) == kept | set(BATCH)


async def ordered_loads(storage: FileStorage) -> None:
    """Load all of a batch, one after the other: whoever has seen a version of one sees none older of the next."""
    versions = []
    for name in BATCH:
        record = await storage.load(name)
        assert record is not None
        versions.append(record["version"])
    assert versions == sorted(versions)


@pytest.mark.parametrize("fsync", ["durable", "quick"])
async def test_of_a_process_killed_at_any_moment_every_acknowledged_write_is_there(tmp_path: Path, fsync: str) -> None:
    chance = random.Random(20)
    acknowledged: set[str] = set()
    for kill in range(10):
        with workers(tmp_path, "acknowledge", str(kill), fsync=fsync) as running:
            running.begin()
            (process,) = running.processes
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(chance.randrange(1, 30))]
            process.send_signal(signal.SIGKILL)
            # what it had said before it died counts too; the last line may be cut
            lines += process.stdout.readlines()
        for line in lines:
            with suppress(json.JSONDecodeError):
                acknowledged.update(json.loads(line))
        async with await FileStorage.open(tmp_path, fsync=False) as storage:
            found = await contents(storage)
        assert acknowledged <= set(found)
        turns = {tuple(record_id.split("-")[:2]) for record_id in found}
        assert {record_id for kill_, turn in turns for record_id in whole(kill_, turn)} == set(found)
    assert len(acknowledged) > 50
    assert not (tmp_path / ".fsstore/quarantine").exists()


def whole(kill: str, turn: str) -> list[str]:
    return [f"{kill}-{turn}-{part}" for part in range(1 + int(turn) % 3)]


async def test_an_open_store_recovers_what_another_process_left_when_it_was_killed(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        await storage.list()
        with workers(tmp_path, "acknowledge", "k") as running:
            running.begin()
            (process,) = running.processes
            await until(lambda: (tmp_path / ".fsstore/seq").stat().st_size and process.stdout)
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            process.kill()
            process.wait()
        assert set(told) <= set(await contents(storage))
        await storage.save({"id": "after"})
        assert {"after", *told} <= set(await contents(storage))


async def test_three_busy_processes_each_get_their_share(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with workers(tmp_path, "hurry", "2", "2", "2") as running:
        running.begin()
        said = [lines[0] for lines in await asyncio.to_thread(running.finished)]
    shares = [saves for saves, _ in said]
    record_property("saves of each process", shares)
    record_property("longest wait in seconds", max(longest for _, longest in said))
    assert min(shares) >= sum(shares) / len(shares) / 3


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))


async def test_a_process_that_opens_a_store_disturbs_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await FileStorage.open(tmp_path, fsync=False) as storage, await FileStorage.open(tmp_path) as other:
        replace = os.replace

        def meanwhile(*arguments: Any, **options: Any) -> None:
            # what an opening does first: it sees temp files, and may not know whose they are
            assert other._store.recovery.is_left()
            replace(*arguments, **options)

        monkeypatch.setattr(os, "replace", meanwhile)
        await storage.save({"id": "a"})
        assert await storage.load("a") is not None
