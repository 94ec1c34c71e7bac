"""`FsstoreConversationStore` with Pydantic AI at hand; the rules of its stores are among the plugins."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_ai.conversation import Conversation
from pydantic_ai.conversation_store import ConversationConflict, ConversationStore, InMemoryConversationStore
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import ModelRequest, ModelResponse, ToolCallPart, UserPromptPart
from pydantic_ai.tools import DeferredToolRequests

import fsstore
import fsstore.sync
from fsstore.errors import StorageClosedError, StorageCorruptedError, StorageNotFoundError, StorageValidationError
from fsstore.integrations.pydantic_ai import FsstoreConversationStore
from tests.integrations.checks.interrupted import Interrupted

ROOT = Path(__file__).parents[3]

SAVING = """
import asyncio, sys
from pydantic_ai.conversation import Conversation
from pydantic_ai.conversation_store import ConversationConflict
from pydantic_ai.messages import ModelRequest, UserPromptPart
from fsstore.integrations.pydantic_ai import FsstoreConversationStore

path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])

async def add(store, text):
    while True:
        conversation = await store.load("c-1", limit=1) or Conversation(conversation_id="c-1")
        conversation.messages.append(ModelRequest(parts=[UserPromptPart(text)]))
        try:
            await store.save(conversation)
            return
        except ConversationConflict:
            continue

async def main():
    with FsstoreConversationStore(path, fsync=False) as store:
        for number in range(count):
            await add(store, f"{name}-{number}")
            print(f"{name}-{number}", flush=True)

asyncio.run(main())
"""


@pytest.fixture
def store(quick: Path) -> Iterator[FsstoreConversationStore]:
    with FsstoreConversationStore(quick, fsync=False) as opened:
        yield opened


def message(text: str) -> ModelRequest:
    return ModelRequest(parts=[UserPromptPart(text)])


def texts_of(messages: Any) -> list[Any]:
    return [each.parts[0].content for each in messages]


async def saved(store: ConversationStore, name: str = "c-1", texts: str = "abcd", **more: Any) -> Conversation:
    conversation = Conversation(messages=[message(text) for text in texts], conversation_id=name)
    await store.save(conversation, **more)
    return conversation


async def texts_in(store: ConversationStore, name: str = "c-1") -> str | None:
    found = await store.load(name)
    return None if found is None else "".join(texts_of(found.messages))


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", SAVING, *arguments], stdout=subprocess.PIPE, text=True)


# -- next to the store in memory --------------------------------------------------------------------------------------

names = st.sampled_from(["c", "d", "e", "f"])
steps = st.one_of(
    st.tuples(st.just("add"), names, st.integers(1, 3)),
    st.tuples(st.just("rewrite"), names, st.integers(0, 4)),
    st.tuples(st.just("branch"), names, st.integers(0, 4)),
    st.tuples(st.just("back"), names, st.integers(0, 4)),
    st.tuples(st.just("fork"), names, st.integers(0, 6), names),
    st.tuples(st.just("delete"), names),
)


class Walk:
    """Does steps with a store, and says what is there after them in words that all stores share: texts."""

    def __init__(self, store: ConversationStore) -> None:
        self._store = store
        self._made = 0

    async def take(self, step: Any) -> str:
        """Return how the step ended."""
        try:
            await getattr(self, f"_{step[0]}")(*step[1:])
        except (ConversationConflict, UserError) as error:
            return type(error).__name__
        return "done"

    def _message(self) -> ModelRequest:
        self._made += 1
        return message(f"{self._made},")

    async def _add(self, name: str, count: int) -> None:
        conversation = await self._store.load(name, limit=2) or Conversation(conversation_id=name)
        conversation.messages.extend(self._message() for _ in range(count))
        await self._store.save(conversation)

    async def _rewrite(self, name: str, kept: int) -> None:
        found = await self._store.load(name)
        messages = [*(found.messages[:kept] if found else ()), self._message()]
        revision = found.revision if found else None
        await self._store.save(Conversation(messages=messages, conversation_id=name, revision=revision))

    async def _branch(self, name: str, at: int) -> None:
        record = await self._store.read_record(name)
        await self._store.branch(name, at=at, expected_revision=record.revision if record else None)

    async def _back(self, name: str, at: int) -> None:
        record = await self._store.read_record(name)
        tips = record.branches if record else []
        entry = tips[at % len(tips)] if tips else "nobody"
        await self._store.branch(name, from_entry=entry, expected_revision=record.revision if record else None)

    async def _fork(self, name: str, at: int, other: str) -> None:
        await self._store.fork(name, at=at, new_conversation_id=other)

    async def _delete(self, name: str) -> None:
        await self._store.delete(name)

    async def found(self) -> list[Any]:
        """Return the histories of all conversations, and of the branches that they left."""
        told = []
        for record in sorted(await self._store.list_conversations(), key=lambda record: record.conversation_id):
            lines = [await self._store.read_history(tip) for tip in (record.head_id, *record.branches)]
            texts = [texts_of(entry.message for entry in line) for line in lines]
            told.append((record.conversation_id, record.forked_from, texts))
        return told


def entries_of(storage: fsstore.sync.Storage) -> set[str]:
    records = storage.list({"type": {"$in": ["session", "pydantic_ai.entries"]}})
    return {item["message"]["parts"][0]["content"] for record in records for item in record["data"]["messages"]}


@settings(max_examples=120, deadline=None)
@given(st.lists(steps, max_size=14))
def test_it_has_what_the_store_in_memory_has_and_no_entry_more(given_steps: list[Any]) -> None:
    async def walk() -> None:
        memory = InMemoryConversationStore()
        with FsstoreConversationStore() as ours:
            walks = [Walk(memory), Walk(ours)]
            for step in given_steps:
                first, second = [await each.take(step) for each in walks]
                assert first == second
            assert await walks[0].found() == await walks[1].found()
            kept = {texts_of([entry.message])[0] for entry in memory._entries.values()}
            assert entries_of(ours._store.plain) == kept

    asyncio.run(walk())


# -- documents --------------------------------------------------------------------------------------------------------


async def test_a_conversation_is_a_session_that_people_can_read(quick: Path, store: FsstoreConversationStore) -> None:
    await saved(store, "chat/1", scope="u-1")
    async with fsstore.open_sessions(quick, fsync=False) as sessions:
        (found,) = await sessions.list_sessions({"user_id": "u-1"})
        assert [item["message"]["parts"][0]["content"] for item in found["messages"]] == list("abcd")
        assert found["metadata"]["conversation_id"] == "chat/1"
        tail = await sessions.read_tail("chat%2F1", 1)
        assert tail.items[0]["id"] == found["metadata"]["head_id"]


async def test_what_others_say_of_a_conversation_stays(quick: Path, store: FsstoreConversationStore) -> None:
    conversation = await saved(store)
    async with fsstore.open_sessions(quick, fsync=False) as sessions:
        await sessions.update_session("c-1", {"metadata": {"tags": ["vip"]}, "notes": {"by": "hand"}})
        conversation.messages.append(message("e"))
        await store.save(conversation)
        await store.fork("c-1", new_conversation_id="f-1")
        found = await sessions.get_session("c-1")
    assert found is not None
    assert (found["metadata"]["tags"], found["notes"]) == (["vip"], {"by": "hand"})
    assert await texts_in(store) == "abcde"


async def test_a_session_of_an_application_is_no_conversation(quick: Path, store: FsstoreConversationStore) -> None:
    async with fsstore.open_sessions(quick, fsync=False) as sessions:
        await sessions.save_session("c-1", {"messages": ["mine"]})
        assert await store.load("c-1") is None
        assert await store.list_conversations() == []
        with pytest.raises(ConversationConflict):
            await saved(store)
        await store.delete("c-1")
        assert (await sessions.read_tail("c-1", 1)).items == ["mine"]


async def test_a_save_appends_and_parses_no_history(store: FsstoreConversationStore) -> None:
    conversation = await saved(store)
    changes: list[Any] = []

    class Watching(Interrupted):
        async def commit(self, made: Any) -> Any:
            changes.extend(made)
            return await super().commit(made)

        async def load(self, id: str) -> Any:
            raise AssertionError(id)

    conversation.messages.append(message("e"))
    await between(store, _nothing, lambda: store.save(conversation), Watching)
    assert [type(change).__name__ for change in changes] == ["Append"]
    assert len(changes[0].items) == 1


async def test_a_save_looks_at_the_record_once(store: FsstoreConversationStore) -> None:
    conversation = await saved(store)
    looks: list[str] = []

    class Counting(Interrupted):
        async def load_fields(self, id: str, fields: Any) -> Any:
            looks.append(id)
            return await self._storage.load_fields(id, fields)

    await between(store, _nothing, lambda: store.save(conversation), Counting)
    assert looks == ["c-1"]
    # what was seen for another purpose is not what is replaced now
    with FsstoreConversationStore(store._store.url, fsync=False) as other:
        assert await other.read_record("c-1") is not None
        await store.save(conversation)
        copy = await store.read_record("c-1")
        assert copy is not None
        await other.delete_record("c-1", expected_revision=copy.revision)
    assert await store.load("c-1") is None


async def test_the_last_messages_are_read_without_the_others(store: FsstoreConversationStore) -> None:
    await saved(store)

    class Guarded(Interrupted):
        async def load(self, id: str) -> Any:
            raise AssertionError(id)

    found = await between(store, _nothing, lambda: store.load("c-1", limit=2), Guarded)
    assert texts_of(found.messages) == ["c", "d"]


@pytest.mark.parametrize("change", [{"usage": "much"}, {"head_id": 7}, {"saved_at": "soon"}, {"branches": None}])
async def test_a_record_that_was_changed_by_hand_is_damaged(
    quick: Path, store: FsstoreConversationStore, change: Any
) -> None:
    await saved(store)
    async with fsstore.open_sessions(quick, fsync=False) as sessions:
        await sessions.edit_session("c-1", lambda session: session["metadata"].update(change))
    with pytest.raises(StorageCorruptedError, match="conversation"):
        await store.load("c-1")


@pytest.mark.parametrize("head_id", [5, ["x"], {}])
async def test_a_fork_that_was_changed_by_hand_is_not_followed(
    quick: Path, store: FsstoreConversationStore, head_id: Any
) -> None:
    await saved(store)
    await store.fork("c-1", new_conversation_id="c-2")
    async with fsstore.open_sessions(quick, fsync=False) as sessions:
        await sessions.edit_session("c-2", lambda session: session["metadata"].update(head_id=head_id))
    with pytest.raises(StorageCorruptedError, match="conversation"):
        await store.delete("c-1")
    assert await store.load("c-1") is not None


@pytest.mark.parametrize("metadata", [{"revision": "r"}, [{"revision": "r", "saved_at": "9"}]])
async def test_a_conversation_that_was_changed_by_hand_breaks_no_list(
    quick: Path, store: FsstoreConversationStore, metadata: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("c-1", "c-2", "c-3"):
        await saved(store, name)
    async with fsstore.open_storage(quick, fsync=False) as storage:
        record = await storage.load("c-3")
        assert record is not None
        await storage.save({**record, "data": {"metadata": metadata, "messages": []}})
        for limit, names in ((None, ["c-2", "c-1"]), (2, ["c-2", "c-1"]), (1, ["c-2"]), (0, [])):
            assert [each.conversation_id for each in await store.list_conversations(limit=limit)] == names
    assert "c-3 is left out" in caplog.text


@pytest.mark.parametrize("item", [{"id": "x"}, "text", {"id": "x", "parent_id": None, "kind": "message", "message": 1}])
async def test_a_message_that_was_changed_by_hand_is_damaged(
    quick: Path, store: FsstoreConversationStore, item: Any
) -> None:
    await saved(store)
    async with fsstore.open_sessions(quick, fsync=False) as sessions:
        await sessions.edit_session("c-1", lambda session: session["messages"].append(item))
        await sessions.update_session("c-1", {"metadata": {"head_id": "x"}})
        for limit in (None, 1):
            with pytest.raises(StorageCorruptedError):
                await store.load("c-1", limit=limit)


async def test_a_line_that_was_bent_into_a_circle_ends(quick: Path, store: FsstoreConversationStore) -> None:
    await saved(store)

    def bend(session: Any) -> None:
        session["messages"][0]["parent_id"] = session["messages"][2]["id"]

    async with fsstore.open_sessions(quick, fsync=False) as sessions:
        await sessions.edit_session("c-1", bend)
    with pytest.raises(StorageNotFoundError, match="there is no entry"):
        await asyncio.wait_for(store.load("c-1"), timeout=30)


_ENDLESS: dict[str, Any] = {}
_ENDLESS["a"] = _ENDLESS


@pytest.mark.parametrize("value", ["\ud800", object(), len, _ENDLESS, 2**70])
async def test_what_is_no_json_is_refused_as_a_whole(store: FsstoreConversationStore, value: Any) -> None:
    conversation = await saved(store)
    conversation.messages.append(ModelResponse(parts=[ToolCallPart(tool_name="look", args={"a": value})]))
    with pytest.raises(StorageValidationError):
        await store.save(conversation)
    conversation.messages.pop()
    conversation.deferred_tool_requests = DeferredToolRequests(calls=[ToolCallPart("look", {"a": value})])
    with pytest.raises(StorageValidationError):
        await store.save(conversation)
    assert await texts_in(store) == "abcd"


# -- at the same moment -----------------------------------------------------------------------------------------------


async def _nothing() -> None:
    pass


async def between(
    store: FsstoreConversationStore,
    happens: Callable[[], Awaitable[Any]],
    call: Callable[[], Awaitable[Any]],
    kind: type[Interrupted] = Interrupted,
) -> Any:
    """Do something between the look of a call and its commit."""
    storage = store._store._shared.storage
    wrapped: Any = kind(storage, happens)
    store._store._shared.storage = wrapped
    try:
        return await call()
    finally:
        store._store._shared.storage = storage


async def test_a_save_goes_through_when_somebody_begins_a_fork(store: FsstoreConversationStore) -> None:
    conversation = await saved(store)
    conversation.messages.append(message("e"))
    await between(store, lambda: store.fork("c-1", new_conversation_id="f-1"), lambda: store.save(conversation))
    assert (await texts_in(store), await texts_in(store, "f-1")) == ("abcde", "abcd")
    await store.delete("c-1")
    assert await texts_in(store, "f-1") == "abcd"


async def test_a_save_that_others_win_is_a_conflict_and_nothing_else(store: FsstoreConversationStore) -> None:
    conversation, other = await saved(store), await store.load("c-1")
    assert other is not None
    conversation.messages.append(message("mine"))
    other.messages.append(message("other"))
    with pytest.raises(ConversationConflict):
        await between(store, lambda: store.save(other), lambda: store.save(conversation))
    assert await texts_in(store) == "abcdother"
    with pytest.raises(ConversationConflict):
        await between(store, lambda: store.delete("c-1"), lambda: store.save(other))
    assert await texts_in(store) is None


async def test_a_delete_keeps_what_a_fork_needs_that_begins_meanwhile(store: FsstoreConversationStore) -> None:
    await saved(store)
    await store.fork("c-1", at=1, new_conversation_id="f-1")
    await between(store, lambda: store.fork("c-1", at=3, new_conversation_id="f-2"), lambda: store.delete("c-1"))
    assert [await texts_in(store, name) for name in ("c-1", "f-1", "f-2")] == [None, "a", "abc"]


async def test_a_fork_of_what_is_deleted_meanwhile_is_refused(store: FsstoreConversationStore) -> None:
    await saved(store)
    with pytest.raises(ConversationConflict):
        await between(store, lambda: store.delete("c-1"), lambda: store.fork("c-1", new_conversation_id="f-1"))
    assert await store.list_conversations() == []


async def test_a_fork_finds_what_was_kept_of_what_is_deleted_meanwhile(store: FsstoreConversationStore) -> None:
    await saved(store)
    await store.fork("c-1", new_conversation_id="f-1")
    await between(store, lambda: store.delete("c-1"), lambda: store.fork("c-1", at=2, new_conversation_id="f-2"))
    await store.delete("f-1")
    assert await texts_in(store, "f-2") == "ab"


async def test_a_delete_of_what_is_saved_meanwhile_deletes_that_too(store: FsstoreConversationStore) -> None:
    conversation = await saved(store)
    conversation.messages.append(message("e"))
    await between(store, lambda: store.save(conversation), lambda: store.delete("c-1"))
    assert await texts_in(store) is None


@pytest.mark.parametrize("is_forked", [False, True])
async def test_a_revision_that_is_replaced_meanwhile_is_not_deleted(
    store: FsstoreConversationStore, *, is_forked: bool
) -> None:
    conversation = await saved(store)
    if is_forked:
        await store.fork("c-1", new_conversation_id="f-1")
    seen = str(conversation.revision)
    conversation.messages.append(message("e"))
    with pytest.raises(ConversationConflict):
        await between(
            store, lambda: store.save(conversation), lambda: store.delete_record("c-1", expected_revision=seen)
        )
    assert await texts_in(store) == "abcde"


async def test_a_history_is_found_when_its_beginning_moves_meanwhile(store: FsstoreConversationStore) -> None:
    await saved(store)
    await store.fork("c-1", new_conversation_id="f-1")
    record = await store.read_record("f-1")
    assert record is not None
    # this object goes on thinking that the entries are where they were
    store._tips[str(record.head_id)] = "c-1"
    with FsstoreConversationStore(store._store.url, fsync=False) as other:
        await other.delete("c-1")
    assert len(await store.read_history(record.head_id)) == 4


def test_objects_made_without_a_loop_are_used_from_several_at_once(quick: Path) -> None:
    with FsstoreConversationStore(quick, fsync=False) as first, FsstoreConversationStore(quick, fsync=False) as second:

        async def add(store: FsstoreConversationStore, name: str) -> None:
            conversation = Conversation(conversation_id=name)
            for number in range(10):
                conversation.messages.append(message(f"{number}"))
                await store.save(conversation)

        threads = [
            threading.Thread(target=lambda at=at, store=store: asyncio.run(add(store, f"c-{at}")))
            for at, store in enumerate((first, second, first, second))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [asyncio.run(texts_in(first, f"c-{at}")) for at in range(4)] == ["0123456789"] * 4


def test_four_processes_that_save_to_one_conversation_lose_nothing(tmp_path: Path) -> None:
    processes = [start(str(tmp_path), f"p{number}", "25") for number in range(4)]
    for process in processes:
        process.communicate(timeout=120)
        assert process.returncode == 0
    with FsstoreConversationStore(tmp_path, fsync=False) as store:
        found = asyncio.run(store.load("c-1"))
    assert found is not None
    contents = texts_of(found.messages)
    assert len(contents) == 100
    for number in range(4):
        own = [content for content in contents if content.startswith(f"p{number}-")]
        assert own == [f"p{number}-{turn}" for turn in range(25)]


def test_a_kill_leaves_every_message_that_was_acknowledged(tmp_path: Path) -> None:
    process = start(str(tmp_path), "p", "100000")
    assert process.stdout is not None
    told = [process.stdout.readline().strip() for _ in range(50)]
    os.kill(process.pid, signal.SIGKILL)
    told += [line.strip() for line in process.communicate()[0].splitlines() if line.startswith("p-")]
    with FsstoreConversationStore(tmp_path, fsync=False) as store:
        found = asyncio.run(store.load("c-1"))
    assert found is not None
    contents = texts_of(found.messages)
    assert contents[: len(told)] == told
    assert len(contents) - len(told) <= 1


# -- opened and closed ------------------------------------------------------------------------------------------------


async def test_a_closed_store_says_so_and_its_neighbour_goes_on(tmp_path: Path) -> None:
    first, second = FsstoreConversationStore(tmp_path), FsstoreConversationStore(tmp_path)
    first.close()
    first.close()
    with pytest.raises(StorageClosedError):
        await first.load("c-1")
    await saved(second)
    second.close()


async def test_a_store_that_is_dropped_in_a_temporary_directory_leaves_no_trouble() -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = FsstoreConversationStore(directory)
        await saved(store)
        del store
    assert not Path(directory).exists()


def test_a_program_that_closes_nothing_ends_and_leaves_what_it_saved(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from pydantic_ai.conversation import Conversation\n"
        "from fsstore.integrations.pydantic_ai import FsstoreConversationStore\n"
        "store = FsstoreConversationStore(sys.argv[1])\n"
        "asyncio.run(store.save(Conversation(conversation_id='c-1')))\n"
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
        assert sessions.count_sessions() == 1


def test_the_example_resumes_in_a_new_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.examples.pydantic_ai_chat", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, second, fork, found, other, *file = done.stdout.splitlines()
    assert first == "first: the model was given 1 messages, and said 'San Francisco.'"
    assert second == "second: the model was given 3 messages, and said 'California.'"
    assert fork == "the fork begins with 2 messages"
    assert found == "found chat-1 with 4 messages of its own"
    assert other == "found chat-2 with 0 messages of its own"
    assert any('"content": "What state is it in?"' in line for line in file)


async def test_the_guide_moves_histories_that_were_stored_as_json(tmp_path: Path) -> None:
    guide = (ROOT / "fsstore" / "guides" / "pydantic-ai.md").read_text("utf-8")
    names: dict[str, Any] = {}
    code = re.findall(r"^```text\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)
    exec(code[-1], names)  # noqa: S102 - the guide's own code
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "c-1.json").write_bytes(
        names["ModelMessagesTypeAdapter"].dump_json([message("a"), message("b")])
    )
    assert await names["move"](tmp_path / "old", str(tmp_path / "store")) == 1
    with FsstoreConversationStore(tmp_path / "store") as store:
        assert await texts_in(store) == "ab"
