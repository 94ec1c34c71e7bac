"""`FsstoreSessionStore` with the Claude Agent SDK at hand."""

from __future__ import annotations

import asyncio
import json
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
from claude_agent_sdk import InMemorySessionStore, fold_session_summary, project_key_for_directory
from hypothesis import given, settings
from hypothesis import strategies as st

import fsstore
import fsstore.sync
from fsstore.errors import StorageClosedError, StorageConflictError, StorageCorruptedError, StorageValidationError
from fsstore.integrations import claude_agent
from fsstore.integrations.claude_agent import FsstoreSessionStore
from tests.integrations.checks.interrupted import Interrupted

ROOT = Path(__file__).parents[3]
KEY: Any = {"project_key": "-work", "session_id": "s-1"}
SUB: Any = {**KEY, "subpath": "subagents/agent-1"}

APPENDING = """
import asyncio, sys
from fsstore.integrations.claude_agent import FsstoreSessionStore

path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])

async def main():
    with FsstoreSessionStore(path, fsync=False) as store:
        for number in range(count):
            entry = {"type": "user", "uuid": f"{name}-{number}", "customTitle": f"{name}-{number}"}
            await store.append({"project_key": "-work", "session_id": "s-1"}, [entry])
            print(f"{name}-{number}", flush=True)

asyncio.run(main())
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", APPENDING, *arguments], stdout=subprocess.PIPE, text=True)


def said(uuid: str, **more: Any) -> Any:
    return {"type": "user", "uuid": uuid, "message": {"role": "user", "content": f"say {uuid}"}, **more}


def uuids(entries: Any) -> list[str]:
    return [entry["uuid"] for entry in entries]


# -- what is stored ---------------------------------------------------------------------------------------------------


async def test_a_transcript_is_a_session_that_people_can_read_and_find_by_its_summary(tmp_path: Path) -> None:
    with FsstoreSessionStore(tmp_path) as store:
        await store.append(KEY, [said("a"), {"type": "tag", "tag": "later"}])
        await store.append(SUB, [said("b")])
    async with fsstore.open_sessions(tmp_path) as sessions:
        (found,) = await sessions.list_sessions({"metadata.summary.tag": "later", "project_key": "-work"})
        assert found["metadata"]["session_id"] == "-work/s-1"
        assert found["entries"] == [said("a"), {"type": "tag", "tag": "later"}]
        # a line for each session, and none for its subagents
        assert await sessions.count_sessions() == 1


async def test_an_entry_is_stored_once_unless_it_has_no_uuid(tmp_path: Path) -> None:
    with FsstoreSessionStore(tmp_path) as store:
        for key in (KEY, SUB):
            await store.append(key, [said("a"), said("b"), {"type": "mode"}])
            await store.append(key, [said("b"), said("c"), {"type": "mode"}])
            stored = await store.load(key)
            assert stored is not None
            assert [entry.get("uuid") for entry in stored] == ["a", "b", None, "c", None]


async def test_an_entry_whose_uuid_is_null_is_another_one_each_time(tmp_path: Path) -> None:
    with FsstoreSessionStore(tmp_path) as store:
        for key in (KEY, SUB):
            for number in range(2):
                null: Any = {"type": "mode", "uuid": None, "n": number}
                await store.append(key, [null])
            nothing: Any = [{"type": "mode", "uuid": None, "n": number} for number in (2, 3)]
            await store.append(key, [said("a", n=4), *nothing, said("a"), said("b", n=5)])
            assert [entry.get("n") for entry in await store.load(key) or []] == [0, 1, 4, 2, 3, 5]


async def test_a_session_without_a_name_is_listed(tmp_path: Path) -> None:
    with FsstoreSessionStore(tmp_path) as store:
        await store.append({**KEY, "session_id": ""}, [said("a")])
        assert [each["session_id"] for each in await store.list_sessions("-work")] == [""]


async def test_entries_and_summary_are_one_commit(tmp_path: Path) -> None:
    with FsstoreSessionStore(tmp_path) as store:
        await store.append(KEY, [said("a", customTitle="first")])
        with pytest.raises(StorageValidationError):
            await store.append(KEY, [said("b", customTitle="second"), said("c", cost=float("nan"))])
        (summary,) = await store.list_session_summaries("-work")
        assert summary["data"]["custom_title"] == "first"
        assert uuids(await store.load(KEY)) == ["a"]


@pytest.mark.parametrize("data", [None, ["x"], {"metadata": 5}, {"metadata": {"summary": [], "mtime": "now"}}])
async def test_a_transcript_that_was_changed_by_hand_breaks_no_list(tmp_path: Path, data: Any) -> None:
    other: Any = {**KEY, "session_id": "s-2"}
    with FsstoreSessionStore(tmp_path) as store:
        for key in (KEY, SUB, other, {**KEY, "subpath": "subagents/agent-2"}):
            await store.append(key, [said("a")])
        async with fsstore.open_storage(tmp_path) as storage:
            for document in ("-work/s-1", "-work/s-1/subagents/agent-1"):
                record = await storage.load(document)
                assert record is not None
                await storage.save({**record, "data": data})
        assert [each["session_id"] for each in await store.list_sessions("-work")] == ["s-2"]
        assert [each["session_id"] for each in await store.list_session_summaries("-work")] == ["s-2"]
        assert await store.list_subkeys(KEY) == ["subagents/agent-2"]
        if type(data) is dict:
            with pytest.raises(StorageCorruptedError):
                await store.append(KEY, [said("b")])


@pytest.mark.parametrize("data", [None, ["x"], {"metadata": {}, "entries": 5}, {"metadata": {}, "entries": [5]}])
async def test_entries_that_were_changed_by_hand_are_damaged(tmp_path: Path, data: Any) -> None:
    with FsstoreSessionStore(tmp_path) as store:
        await store.append(KEY, [said("a")])
        async with fsstore.open_storage(tmp_path) as storage:
            record = await storage.load("-work/s-1")
            assert record is not None
            await storage.save({**record, "data": data})
        with pytest.raises(StorageCorruptedError, match="not a transcript"):
            await store.load(KEY)


async def test_a_summary_is_stored_as_it_was_folded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FsstoreSessionStore(tmp_path) as store:
        for data in (
            {"a": 1, "b": {"x": 1, "y": {"z": 1}}},
            {"a": 1, "a.b": 2, "b": {"y": {"w": [None]}}, "c": True},
            {"$set": {"d": 1}},
            {"c": {"d": 1}},
            {},
        ):
            folded: Any = {"session_id": "s-1", "mtime": 0, "data": data}
            monkeypatch.setattr(claude_agent, "fold_session_summary", lambda *_, folded=folded: folded)
            await store.append(KEY, [{"type": "x"}])
            (summary,) = await store.list_session_summaries("-work")
            assert summary["data"] == data


async def test_a_summary_counts_what_somebody_else_appended_in_between(tmp_path: Path) -> None:
    with FsstoreSessionStore(tmp_path) as store, FsstoreSessionStore(tmp_path) as other:
        await store.append(KEY, [said("a", customTitle="old")])
        shared: Any = store._store._shared
        real = shared.storage
        shared.storage = Interrupted(real, lambda: between(shared, real, other))
        await store.append(KEY, [said("c", aiTitle="mine")])
        (summary,) = await store.list_session_summaries("-work")
        assert (summary["data"]["custom_title"], summary["data"]["ai_title"]) == ("theirs", "mine")
        assert uuids(await store.load(KEY)) == ["a", "b", "c"]


async def between(shared: Any, real: Any, other: FsstoreSessionStore) -> None:
    shared.storage = real
    await other.append(KEY, [said("b", customTitle="theirs")])


async def test_a_document_of_another_kind_is_not_touched(tmp_path: Path) -> None:
    async with fsstore.open_storage(tmp_path) as storage:
        await storage.save({"id": "-work/s-1", "type": "other", "data": {"x": 1}})
        with FsstoreSessionStore(tmp_path) as store:
            assert await store.load(KEY) is None
            for change in (store.append(KEY, [said("a")]), store.delete(KEY)):
                with pytest.raises(StorageConflictError, match="'other'"):
                    await change
        record = await storage.load("-work/s-1")
        assert record is not None
        assert (record["type"], record["version"]) == ("other", 1)


async def test_deleting_a_session_removes_what_a_subagent_wrote_meanwhile(tmp_path: Path) -> None:
    with FsstoreSessionStore(tmp_path) as store, FsstoreSessionStore(tmp_path) as other:
        await store.append(KEY, [said("a")])
        await store.append({**KEY, "session_id": "s-10"}, [said("a")])
        shared: Any = store._store._shared
        real = shared.storage
        shared.storage = Interrupted(real, lambda: late(shared, real, other))
        await store.delete(KEY)
        assert await store.list_subkeys(KEY) == []
        assert await store.load(SUB) is None
        assert [found["session_id"] for found in await store.list_sessions("-work")] == ["s-10"]


async def late(shared: Any, real: Any, other: FsstoreSessionStore) -> None:
    shared.storage = real
    await other.append(SUB, [said("b")])


async def test_an_empty_subpath_is_refused(tmp_path: Path) -> None:
    with FsstoreSessionStore(tmp_path) as store:
        wrong: Any = {**KEY, "subpath": ""}
        for call in (store.append(wrong, [said("a")]), store.delete(wrong), store.load(wrong)):
            with pytest.raises(StorageValidationError, match="empty"):
                await call


# -- many at once -----------------------------------------------------------------------------------------------------


def test_four_processes_that_append_to_one_session_lose_nothing(tmp_path: Path) -> None:
    processes = [start(str(tmp_path), f"p{number}", "100") for number in range(4)]
    for process in processes:
        process.communicate(timeout=240)
        assert process.returncode == 0
    stored, summary = asyncio.run(whole(tmp_path))
    assert len(stored) == 400
    for number in range(4):
        own = [name for name in stored if name.startswith(f"p{number}-")]
        assert own == [f"p{number}-{turn}" for turn in range(100)]
    assert summary["data"]["custom_title"] == stored[-1]


def test_a_kill_leaves_every_entry_that_was_acknowledged(tmp_path: Path) -> None:
    process = start(str(tmp_path), "p", "100000")
    assert process.stdout is not None
    told = [process.stdout.readline().strip() for _ in range(50)]
    os.kill(process.pid, signal.SIGKILL)
    told += [line.strip() for line in process.communicate()[0].splitlines() if line.startswith("p-")]
    stored, summary = asyncio.run(whole(tmp_path))
    assert stored[: len(told)] == told
    assert len(stored) - len(told) <= 1
    assert summary["data"]["custom_title"] == stored[-1]


async def whole(path: Path) -> tuple[list[str], Any]:
    with FsstoreSessionStore(path) as store:
        (summary,) = await store.list_session_summaries("-work")
        return uuids(await store.load(KEY)), summary


def test_one_store_is_used_from_several_loops_at_once(tmp_path: Path) -> None:
    store = FsstoreSessionStore(tmp_path, fsync=False)

    async def add(name: str) -> None:
        for number in range(20):
            await store.append(KEY, [said(f"{name}-{number}")])

    threads = [threading.Thread(target=lambda name=name: asyncio.run(add(name))) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = uuids(asyncio.run(store.load(KEY)))
    assert sorted(stored) == sorted(f"{name}-{number}" for name in "abcd" for number in range(20))
    store.close()


# -- opening and closing ----------------------------------------------------------------------------------------------


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = FsstoreSessionStore(tmp_path)
    store.close()
    store.close()
    with pytest.raises(StorageClosedError):
        await store.append(KEY, [said("a")])


def test_a_store_that_is_dropped_in_a_temporary_directory_leaves_no_trouble() -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = FsstoreSessionStore(directory)
        asyncio.run(store.append(KEY, [said("a")]))
        del store
    assert not Path(directory).exists()


def test_a_program_that_closes_nothing_ends_and_leaves_what_it_appended(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from fsstore.integrations.claude_agent import FsstoreSessionStore\n"
        "store = FsstoreSessionStore(sys.argv[1])\n"
        "asyncio.run(store.append({'project_key': '-work', 'session_id': 's-1'}, [{'type': 'x', 'uuid': 'a'}]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    with fsstore.sync.open_sessions(tmp_path) as sessions:
        assert sessions.read_tail("-work/s-1", 5, "entries").length == 1


# -- next to the store in memory --------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
ENTRIES = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["user", "tag", "x"])},
        optional={
            "customTitle": TEXTS,
            "gitBranch": TEXTS,
            "tag": TEXTS,
            "timestamp": st.sampled_from(["2024-01-01T00:00:00.000Z", "no time"]),
            "cwd": TEXTS,
            "message": st.fixed_dictionaries({"content": TEXTS}),
            "deep": st.recursive(
                st.none() | st.booleans() | TEXTS, lambda inner: st.dictionaries(TEXTS, inner, max_size=2)
            ),
        },
    ),
    max_size=3,
)
KEYS = st.fixed_dictionaries(
    {"project_key": st.sampled_from(["-a", "-a-b"]), "session_id": st.sampled_from(["s", "s 1"])},
    optional={"subpath": st.sampled_from(["subagents/x", "subagents/y/z"])},
)
STEPS = st.lists(st.tuples(st.sampled_from(["append", "append", "append", "delete"]), KEYS, ENTRIES), max_size=12)


async def seen(store: Any) -> Any:
    """Return all that a store shows, but for the times."""
    shown: list[Any] = []
    for project in ("-a", "-a-b"):
        shown.append(sorted(found["session_id"] for found in await store.list_sessions(project)))
        shown.append(
            sorted((found["session_id"], found["data"]) for found in await store.list_session_summaries(project))
        )
        for session in ("s", "s 1"):
            key = {"project_key": project, "session_id": session}
            shown.append(sorted(await store.list_subkeys(key)))
            shown += [await store.load(key), await store.load({**key, "subpath": "subagents/x"})]
    return shown


@settings(max_examples=50, deadline=None)
@given(STEPS)
def test_it_does_what_the_store_in_memory_does(steps: list[Any]) -> None:
    async def both() -> None:
        with tempfile.TemporaryDirectory() as directory, FsstoreSessionStore(directory, fsync=False) as ours:
            theirs = InMemorySessionStore()
            for what, key, entries in steps:
                for store in (ours, theirs):
                    if what == "delete":
                        await store.delete(key)
                    elif entries:
                        await store.append(key, entries)
            assert await seen(ours) == await seen(theirs)

    asyncio.run(both())


async def test_summaries_are_what_folding_all_entries_gives(tmp_path: Path) -> None:
    with FsstoreSessionStore(tmp_path) as store:
        batches = [[said("a", gitBranch="x")], [{"type": "tag", "tag": "t"}], [{"type": "tag", "tag": ""}, said("b")]]
        for batch in batches:
            await store.append(KEY, batch)
        (summary,) = await store.list_session_summaries("-work")
        (listed,) = await store.list_sessions("-work")
    assert summary["data"] == fold_session_summary(None, KEY, [entry for batch in batches for entry in batch])["data"]
    assert summary["mtime"] == listed["mtime"]


# -- what the manual says ---------------------------------------------------------------------------------------------


def test_the_example_resumes_in_a_new_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.examples.claude_agent_notes", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    session = "-work-notes/6f1b8f0e-0d7a-4a53-9d26-4f2f5f1f0a01"
    assert lines[:3] == [
        "first: after 0 messages TextBlock(text='San Francisco.')",
        "second: after 2 messages TextBlock(text='California.')",
        f"found {session}: Which city has the Golden Gate Bridge?",
    ]
    # as the guide says
    assert lines[3] == "a8/work-notes-6f1b8f0e-0d7a-4a53-9d26-4f2f5~a83d1570f60d31a6734a581b44cbf563.json says:"
    assert len(json.loads("\n".join(lines[4:]))["data"]["entries"]) == 4


async def test_transcripts_of_claude_code_are_moved_as_the_guide_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = (ROOT / "fsstore" / "guides" / "claude-agent.md").read_text("utf-8")
    moving = guide[guide.index("## Moving") :]
    (block,) = re.findall(r"^```text\n(.*?)^```", moving, re.DOTALL | re.MULTILINE)
    defined: dict[str, Any] = {}
    exec(compile(block, "claude-agent.md", "exec"), defined)  # noqa: S102 - the guide's own code
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "claude"))
    project = project_key_for_directory(str(work))
    session = "6f1b8f0e-0d7a-4a53-9d26-4f2f5f1f0a01"
    transcript = tmp_path / "claude" / "projects" / project / f"{session}.jsonl"
    transcript.parent.mkdir(parents=True)
    entries = [said("a", sessionId=session), said("b", sessionId=session)]
    transcript.write_text("".join(json.dumps(entry) + "\n" for entry in entries), "utf-8")
    await defined["move"](str(work), str(tmp_path / "store"))
    with FsstoreSessionStore(tmp_path / "store") as store:
        assert await store.load({"project_key": project, "session_id": session}) == entries
