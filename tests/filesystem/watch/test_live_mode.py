"""A store in live mode: whatever is done to its files, what it lists is what lies there, soon."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fsstore import SessionService, open_sessions
from fsstore.filesystem.documents.codec import encode
from fsstore.model.records import JsonObject
from fsstore.query.filters import matches
from tests.filesystem.faults import place
from tests.filesystem.rescan import records

ROOT = Path(__file__).parents[3]
HANGS_SECONDS, PROMISED_SECONDS = 20.0, 1.0
TIME = "2026-01-31T09:15:00.000000+00:00"
FILTERS: tuple[JsonObject, ...] = (
    {},
    {"status": "old"},
    {"status": {"$in": ["edited", "branch"]}},
    {"rank": {"$gte": 3}},
)


def session(session_id: str, status: str, rank: int = 0) -> bytes:
    metadata = {"session_id": session_id, "status": status, "rank": rank, "created_at": TIME, "updated_at": TIME}
    envelope = {"id": session_id, "type": "session", "version": 1, "created_at": TIME, "updated_at": TIME}
    data = {"metadata": metadata, "messages": []}
    return encode({**envelope, "session_id": session_id, "data": data}, max_bytes=1 << 20)


def write(store: Path, session_id: str, status: str, rank: int = 0) -> None:
    place(store, session_id).parent.mkdir(exist_ok=True)
    place(store, session_id).write_bytes(session(session_id, status, rank))


def git(store: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=x", "-c", "user.email=x@x", "-c", "merge.conflictStyle=merge")
    command = ["/usr/bin/env", "git", *identity, *arguments]
    subprocess.run(command, cwd=store, check=True, capture_output=True)


# -- what is done from outside ----------------------------------------------------------------------------------------


def begin_history(store: Path) -> None:
    git(store, "init", "-q", "-b", "main")
    git(store, "add", ".")
    git(store, "commit", "-qm", "one")


def edit(store: Path) -> None:
    for number in range(0, 40, 3):
        write(store, f"s{number}", "edited", number % 7)


def edit_on_a_branch(store: Path) -> None:
    git(store, "commit", "-qam", "edited")
    git(store, "checkout", "-qb", "branch", "HEAD~1")
    for number in range(1, 40, 3):
        write(store, f"s{number}", "branch", number % 5)
    write(store, "from-branch", "branch", 9)
    place(store, "s2").unlink()
    git(store, "add", "-A")
    git(store, "commit", "-qm", "branch")


def check_out(store: Path) -> None:
    git(store, "checkout", "-q", "main")


def merge(store: Path) -> None:
    git(store, "merge", "-q", "--no-edit", "branch")


def delete(store: Path) -> None:
    for number in range(5, 15):
        place(store, f"s{number}").unlink(missing_ok=True)


def rename(store: Path) -> None:
    """Give a document the name and the id of another one, and move others to where they do not belong."""
    place(store, "s20").replace(place(store, "s21"))
    write(store, "s21", "edited", 6)
    place(store, "s22").rename(place(store, "s22").with_suffix(".bak"))


def move_directories(store: Path) -> None:
    """Take a shard away, and move another in that was made elsewhere."""
    shutil.rmtree(place(store, "s23").parent)
    shard = next(path for path in (place(store, f"t{number}").parent for number in range(999)) if not path.exists())
    (store / "elsewhere").mkdir()
    for number in range(2000):
        if place(store, f"t{number}").parent == shard:
            (store / "elsewhere" / f"t{number}.json").write_bytes(session(f"t{number}", "edited", 3))
    (store / "elsewhere").rename(shard)


def go_back(store: Path) -> None:
    git(store, "add", "-A")
    git(store, "stash", "-q")
    git(store, "checkout", "-q", "branch")


STEPS = (
    begin_history,
    edit,
    edit_on_a_branch,
    check_out,
    merge,
    delete,
    rename,
    move_directories,
    go_back,
)


# -- what is asked meanwhile ------------------------------------------------------------------------------------------


def answer(store: Path, filters: JsonObject) -> list[JsonObject]:
    """Return what a list must give, by reading every document."""
    found = [record for record in records(store) if record["type"] == "session"]
    paths = {f"data.metadata.{key}": value for key, value in filters.items()}
    return _in_order([record["data"] for record in found if matches(paths, record)])


def _in_order(sessions: list[JsonObject]) -> list[JsonObject]:
    return sorted(sessions, key=lambda data: str(data["metadata"]["session_id"]))


async def agrees(sessions: SessionService, store: Path) -> bool:
    for filters in FILTERS:
        if _in_order(await sessions.list_sessions(filters)) != answer(store, filters):
            return False
        if await sessions.count_sessions(filters) != len(answer(store, filters)):
            return False
    return True


async def until_it_agrees(sessions: SessionService, store: Path) -> float:
    """Return how long it took until lists and counts were those of the documents."""
    begun = time.perf_counter()
    while not await agrees(sessions, store):
        assert time.perf_counter() - begun < HANGS_SECONDS
        await asyncio.sleep(0.005)
    return time.perf_counter() - begun


@asynccontextmanager
async def asked(sessions: SessionService) -> AsyncIterator[None]:
    """Have four tasks ask the store all the time; none may ever fail, or be given what it has not asked for."""

    async def ask(filters: JsonObject) -> None:
        while True:
            for found in await sessions.list_sessions(filters):
                assert matches({f"metadata.{key}": value for key, value in filters.items()}, found)
            await asyncio.sleep(0.002)

    tasks = [asyncio.create_task(ask(filters)) for filters in FILTERS]
    try:
        yield
        assert [task.exception() for task in tasks if task.done()] == []
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> Path:
    async with open_sessions(tmp_path / "store", fsync=False) as sessions:
        await sessions.batch_save_sessions(
            {f"s{number}": {"metadata": {"status": "old", "rank": number % 4}} for number in range(40)}
        )
    return tmp_path / "store"


async def live_times(store: Path) -> dict[str, float]:
    """Do every step, and return how long each time the lists needed."""
    took = {}
    async with open_sessions(store, fsync=False, live=True) as sessions:
        await sessions.watch().started()
        async with asked(sessions):
            for step in STEPS:
                await asyncio.to_thread(step, store)
                took[step.__name__] = await until_it_agrees(sessions, store)
    return took


async def test_lists_follow_everything_that_is_done_to_the_files(store: Path) -> None:
    assert len(await live_times(store)) == len(STEPS)


@pytest.mark.campaign
async def test_lists_are_right_within_a_second(store: Path, record_property: Callable[[str, Any], None]) -> None:
    took = await live_times(store)
    late = {step: seconds for step, seconds in took.items() if seconds > PROMISED_SECONDS}
    sys.stderr.write(f"live: {json.dumps({step: round(seconds, 3) for step, seconds in took.items()})}\n")
    record_property("campaign", ("lists within a second in live mode", len(took), len(late)))
    assert late == {}


@pytest.mark.parametrize("options", [{}, {"live": True}], ids=["not live", "live"])
async def test_lists_are_right_at_once_after_a_refresh(store: Path, options: dict[str, Any]) -> None:
    async with open_sessions(store, fsync=False, **options) as sessions, asked(sessions):
        for step in STEPS:
            await asyncio.to_thread(step, store)
            await sessions.refresh()
            assert await agrees(sessions, store), step.__name__


async def test_progress_ends_where_it_says_it_will(store: Path) -> None:
    async with open_sessions(store, fsync=False) as sessions:
        for number in range(500):
            write(store, f"new{number}", "edited")
        seen: list[tuple[int, int]] = []
        found = await sessions.refresh(lambda done, total: seen.append((done, total)))
        assert set(found.changed) >= {f"new{number}" for number in range(500)}
        assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
        assert seen[-1][1] == len(seen)
        # the documents that were read count too, and are known of before the first is read
        shards = len([path for path in store.iterdir() if len(path.name) == 2])
        assert len(seen) > shards
        assert all(total == seen[-1][1] for done, total in seen if done > shards)


async def test_what_was_told_is_listed(store: Path) -> None:
    """Who is told of an edit and lists at once finds it."""
    async with open_sessions(store, fsync=False) as sessions, sessions.watch() as changes:
        for turn in range(20):
            write(store, f"s{turn}", f"turn {turn}")
            await asyncio.wait_for(anext(changes), HANGS_SECONDS)
            assert await sessions.count_sessions({"status": f"turn {turn}"}) == 1
            place(store, f"s{turn}").unlink()
            await asyncio.wait_for(anext(changes), HANGS_SECONDS)
            assert await sessions.count_sessions() == 39 - turn


async def test_a_store_that_can_not_be_written_is_live_too(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsstore.filesystem.disk import files  # noqa: PLC0415 - root may write everywhere

    monkeypatch.setattr(files.Tree, "is_writable", lambda _tree, _name: False)
    async with open_sessions(store, live=True) as sessions, sessions.watch() as changes:
        write(store, "s1", "edited", 5)
        place(store, "s2").unlink()
        for _ in range(2):
            await asyncio.wait_for(anext(changes), HANGS_SECONDS)
        await until_it_agrees(sessions, store)


# -- processes that sleep, and processes that fork ---------------------------------------------------------------------


async def sleeper(store: str) -> None:
    """Tell how long it takes from a word on until the index has that many sessions."""
    async with open_sessions(store, fsync=False, live=True) as sessions:
        await sessions.watch().started()
        sys.stdout.write("live\n")
        sys.stdout.flush()
        wanted = int(await asyncio.to_thread(sys.stdin.readline))
        while await sessions.count_sessions({"status": "new"}) < wanted:  # noqa: ASYNC110 - the index gives no sign
            await asyncio.sleep(0.01)
        sys.stdout.write("all\n")


def seconds_until_indexed(store: Path, number: int) -> float:
    """Let files appear while a process that watches is stopped; return what it needs after it goes on."""
    command = [sys.executable, "-m", "tests.filesystem.watch.test_live_mode", str(store)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "live\n"
        process.send_signal(signal.SIGSTOP)
        for at in range(number):
            write(store, f"new{at}", "new")
        process.stdin.write(f"{number}\n")
        process.stdin.flush()
        begun = time.perf_counter()
        process.send_signal(signal.SIGCONT)
        assert process.stdout.readline() == "all\n"
        return time.perf_counter() - begun
    finally:
        process.kill()
        process.communicate()


def test_files_that_appear_while_a_watcher_is_stopped_are_found(store: Path) -> None:
    assert seconds_until_indexed(store, 1000) < HANGS_SECONDS


@pytest.mark.campaign
def test_twenty_thousand_files_that_appear_while_a_watcher_is_stopped_are_found_within_half_a_minute(
    store: Path, record_property: Callable[[str, Any], None]
) -> None:
    """More than the system keeps events for."""
    seconds = seconds_until_indexed(store, 20_000)
    sys.stderr.write(f"20 000 files indexed {seconds:.1f} s after the watcher went on\n")
    record_property("campaign", ("20 000 files while stopped", 20_000, int(seconds > 30)))
    assert seconds < 30


_FORKING = """
import asyncio, os, sys
from fsstore import StorageClosedError, open_sessions

async def ask(sessions, changes, name):
    await sessions.save_session(name, {})
    return (await asyncio.wait_for(anext(changes), 20)).id

async def child(sessions, inherited):
    try:
        await anext(inherited)
    except StorageClosedError:
        pass
    else:
        return 1
    async with sessions.watch() as changes:
        if await ask(sessions, changes, "from-child") != "from-child":
            return 2
    await sessions.close()
    return 0

async def parent():
    sessions = await open_sessions(sys.argv[1], fsync=False, live=True)
    changes = sessions.watch()
    await changes.started()
    assert await ask(sessions, changes, "before") == "before"
    process = os.fork()
    if not process:
        asyncio._set_running_loop(None)
        code = 3
        try:
            code = asyncio.new_event_loop().run_until_complete(child(sessions, changes))
        finally:
            os._exit(code)
    while os.waitpid(process, os.WNOHANG) == (0, 0):
        await asyncio.sleep(0.01)
    change = await asyncio.wait_for(anext(changes), 20)
    assert (change.id, change.origin) == ("from-child", "store"), change
    await sessions.close()
    print("done")

asyncio.run(parent())
"""


def test_a_child_of_fork_watches_for_itself(store: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORKING, str(store)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


if __name__ == "__main__":
    asyncio.run(sleeper(sys.argv[1]))
