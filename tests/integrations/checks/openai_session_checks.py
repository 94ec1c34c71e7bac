"""`FsstoreSession` with the OpenAI Agents SDK at hand."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from agents.memory import OpenAIResponsesCompactionSession, SessionABC, SQLiteSession

import fsstore
import fsstore.sync
from fsstore.errors import StorageClosedError, StorageValidationError
from fsstore.integrations.openai_agents import FsstoreSession

ITEMS: list[Any] = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]

ADDING = """
import asyncio, sys
from fsstore.integrations.openai_agents import FsstoreSession

path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])

async def main():
    with FsstoreSession("s-1", path, fsync=False) as session:
        for number in range(count):
            await session.add_items([{"role": "user", "content": f"{name}-{number}"}])
            print(f"{name}-{number}", flush=True)

asyncio.run(main())
"""

ROOT = Path(__file__).parents[3]


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", ADDING, *arguments], stdout=subprocess.PIPE, text=True)


def test_it_is_a_session_as_the_sdk_has_them(tmp_path: Path) -> None:
    with FsstoreSession("s-1", tmp_path, session_settings={"limit": 3}) as session:
        assert isinstance(session, SessionABC)
        assert session.session_settings is not None
        assert session.session_settings.limit == 3


async def test_the_items_are_one_session_that_people_can_read(tmp_path: Path) -> None:
    with FsstoreSession("chat/1", tmp_path, metadata={"status": "open", "tags": ["vip"]}) as session:
        await session.add_items(ITEMS)
        await session.add_items([{"role": "user", "content": "more"}])
    async with fsstore.open_sessions(tmp_path) as sessions:
        (found,) = await sessions.list_sessions({"status": "open", "tags": "vip"})
        assert [item["content"] for item in found["messages"]] == ["hi", "ho", "more"]
        assert found["metadata"]["session_id"] == "chat/1"


@pytest.mark.parametrize(("limit", "expected"), [(None, 2), (1, 1), (0, 0), (-1, 2), (5, 2)])
async def test_a_limit_gives_the_newest_items(tmp_path: Path, limit: int | None, expected: int) -> None:
    with FsstoreSession("s-1", tmp_path) as session:
        assert await session.get_items(limit) == []
        await session.add_items(ITEMS)
        assert await session.get_items(limit) == ITEMS[2 - expected :]


async def test_what_is_no_json_is_refused_as_a_whole(tmp_path: Path) -> None:
    with FsstoreSession("s-1", tmp_path) as session:
        wrong: Any = [*ITEMS, {"role": "user", "content": object()}]
        with pytest.raises(StorageValidationError):
            await session.add_items(wrong)
        assert await session.get_items() == []


@pytest.mark.parametrize("there", [{"messages": None}, {"messages": "abc"}, {"messages": {"a": 1}}, [1]])
@pytest.mark.parametrize("limit", [None, 5])
async def test_what_is_no_history_is_not_taken_for_one(tmp_path: Path, there: Any, limit: int | None) -> None:
    async with fsstore.open_storage(tmp_path) as storage:
        await storage.save({"id": "s-1", "type": "session", "data": there})
    with FsstoreSession("s-1", tmp_path) as session, pytest.raises(StorageValidationError, match="must be a"):
        await session.get_items(limit)


async def test_metadata_may_have_tuples(tmp_path: Path) -> None:
    with FsstoreSession("s-1", tmp_path, metadata={"tags": ("a", "b")}) as session:
        await session.add_items(ITEMS)
    async with fsstore.open_sessions(tmp_path) as sessions:
        assert len(await sessions.list_sessions({"tags": "a"})) == 1


async def test_replacing_is_one_commit_and_keeps_the_metadata(tmp_path: Path) -> None:
    with FsstoreSession("s-1", tmp_path, metadata={"status": "open"}) as session:
        assert await session._atomic_replace_items(ITEMS[:1])
        await session.add_items(ITEMS)
        assert await session._atomic_replace_items(ITEMS[1:])
        assert await session.get_items() == ITEMS[1:]
        async with fsstore.open_sessions(tmp_path) as sessions:
            record = await sessions.get_record("s-1")
        assert record is not None
        assert (record["version"], record["data"]["metadata"]["status"]) == (3, "open")


async def test_a_subclass_that_stores_items_in_its_own_form_replaces_them_by_its_own_means(tmp_path: Path) -> None:
    class Shouting(FsstoreSession):
        async def add_items(self, items: Any) -> None:
            await super().add_items([{**item, "content": item["content"].upper()} for item in items])

    with Shouting("s-1", tmp_path) as session:
        await session.add_items(ITEMS)
        assert not await session._atomic_replace_items(ITEMS[:1])
        assert len(await session.get_items()) == 2


async def test_compaction_replaces_the_history_in_one_commit(tmp_path: Path) -> None:
    summary = {"type": "compaction", "id": "c-1", "encrypted_content": "…"}

    class Responses:
        async def compact(self, **_: Any) -> Any:
            return type("Compacted", (), {"output": [summary]})

    client: Any = type("Client", (), {"responses": Responses()})
    with FsstoreSession("s-1", tmp_path) as session:
        compacting = OpenAIResponsesCompactionSession("s-1", session, client=client, compaction_mode="input")
        await compacting.add_items(ITEMS)
        await compacting.run_compaction({"force": True})
        assert await session.get_items() == [summary]
    async with fsstore.open_sessions(tmp_path) as sessions:
        record = await sessions.get_record("s-1")
    assert record is not None
    assert record["version"] == 2


async def test_a_cancelled_change_is_done_before_its_caller_goes_on(tmp_path: Path) -> None:
    with FsstoreSession("s-1", tmp_path) as session:
        await session.add_items(ITEMS)
        for change, left in ((session.add_items(ITEMS), 4), (session.pop_item(), 3), (session.clear_session(), 0)):
            task = asyncio.ensure_future(change)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(await session.get_items()) == left


def test_objects_made_without_a_loop_are_used_from_several_at_once(tmp_path: Path) -> None:
    with FsstoreSession("s-1", tmp_path) as first, FsstoreSession("s-1", tmp_path) as second:

        def add(session: FsstoreSession, name: str) -> None:
            for number in range(20):
                asyncio.run(session.add_items([{"role": "user", "content": f"{name}-{number}"}]))

        threads = [
            threading.Thread(target=add, args=(session, f"{name}"))
            for name, session in enumerate((first, second, first, second))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        contents = [item["content"] for item in asyncio.run(first.get_items())]
        assert sorted(contents) == sorted(f"{name}-{number}" for name in range(4) for number in range(20))


async def test_a_closed_session_says_so_and_its_neighbour_goes_on(tmp_path: Path) -> None:
    first, second = FsstoreSession("s-1", tmp_path), FsstoreSession("s-2", tmp_path)
    first.close()
    first.close()
    with pytest.raises(StorageClosedError):
        await first.add_items([])
    await second.add_items(ITEMS)
    second.close()


async def test_a_session_that_is_dropped_in_a_temporary_directory_leaves_no_trouble() -> None:
    with tempfile.TemporaryDirectory() as directory:
        session = FsstoreSession("s-1", directory)
        await session.add_items(ITEMS)
        del session
    assert not Path(directory).exists()


def test_a_program_that_closes_nothing_ends_and_leaves_what_it_added(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from fsstore.integrations.openai_agents import FsstoreSession\n"
        "session = FsstoreSession('s-1', sys.argv[1])\n"
        "asyncio.run(session.add_items([{'role': 'user', 'content': 'hi'}]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    with fsstore.sync.open_sessions(tmp_path) as sessions:
        assert sessions.read_tail("s-1", 5).length == 1


def test_four_processes_that_add_to_one_session_lose_nothing(tmp_path: Path) -> None:
    processes = [start(str(tmp_path), f"p{number}", "100") for number in range(4)]
    for process in processes:
        process.communicate(timeout=120)
        assert process.returncode == 0
    with fsstore.sync.open_sessions(tmp_path) as sessions:
        contents = [item["content"] for item in sessions.read_tail("s-1", 1000).items]
    assert len(contents) == 400
    for number in range(4):
        own = [content for content in contents if content.startswith(f"p{number}-")]
        assert own == [f"p{number}-{turn}" for turn in range(100)]


def test_a_kill_leaves_every_item_that_was_acknowledged(tmp_path: Path) -> None:
    process = start(str(tmp_path), "p", "100000")
    assert process.stdout is not None
    told = [process.stdout.readline().strip() for _ in range(50)]
    os.kill(process.pid, signal.SIGKILL)
    told += [line.strip() for line in process.communicate()[0].splitlines() if line.startswith("p-")]
    with fsstore.sync.open_sessions(tmp_path) as sessions:
        contents = [item["content"] for item in sessions.read_tail("s-1", 100_000).items]
    assert contents[: len(told)] == told
    assert len(contents) - len(told) <= 1


def test_the_example_resumes_in_a_new_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.examples.openai_agents_chat", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, second, found, *file = done.stdout.splitlines()
    assert first == "first: the model was given 1 items, and said 'San Francisco.'"
    assert second == "second: the model was given 3 items, and said 'California.'"
    assert found == "found chat-1 with 4 messages"
    # as the guide says
    assert file[0] == "e6/chat-1.json says:"
    assert '            "text": "California.",' in file


async def test_a_session_of_sqlite_is_moved_as_the_guide_says(tmp_path: Path) -> None:
    guide = (ROOT / "fsstore" / "guides" / "openai-agents.md").read_text("utf-8")
    names: dict[str, Any] = {}
    code = re.findall(r"^```text\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)
    exec(compile(code[-1], "openai-agents.md", "exec"), names)  # noqa: S102 - the guide's own code
    old = SQLiteSession("s-1", tmp_path / "old.db")
    await old.add_items(ITEMS)
    old.close()
    await names["move"]("s-1", str(tmp_path / "old.db"), str(tmp_path / "store"))
    with FsstoreSession("s-1", tmp_path / "store") as session:
        assert await session.get_items() == ITEMS
