"""`FsstoreRepository` and `FsstoreStorage` with Strands at hand."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from strands import Agent
from strands.session.file_session_manager import FileSessionManager
from strands.session.repository_session_manager import RepositorySessionManager
from strands.session.snapshot_session_manager import SnapshotSessionManager
from strands.storage import LocalFileStorage
from strands.storage.storage import Storage
from strands.types.exceptions import SessionException
from strands.types.exceptions import StorageError as StrandsStorageError
from strands.types.session import Session, SessionAgent, SessionMessage, SessionType

import fsstore
import fsstore.sync
from fsstore.errors import StorageClosedError, StorageCorruptedError, StorageValidationError
from fsstore.integrations.strands import FsstoreRepository, FsstoreStorage
from tests.examples.strands_chat import Scripted

ROOT = Path(__file__).parents[3]

ADDING = """
import sys
from strands.types.session import Session, SessionAgent, SessionMessage
from strands.types.exceptions import SessionException
from fsstore.integrations.strands import FsstoreRepository

path, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with FsstoreRepository(path, fsync=False) as repository:
    for make in (
        lambda: repository.create_session(Session(session_id="s", session_type="AGENT")),
        lambda: repository.create_agent("s", SessionAgent("a", {}, {})),
    ):
        try:
            make()
        except SessionException:
            pass
    for number in range(first, first + count):
        text = [{"text": str(number)}]
        repository.create_message("s", "a", SessionMessage({"role": "user", "content": text}, number))
        print(number, flush=True)
"""


@pytest.fixture
def repository(quick: Path) -> Iterator[FsstoreRepository]:
    with FsstoreRepository(quick, fsync=False) as opened:
        opened.create_session(Session(session_id="s", session_type=SessionType.AGENT))
        opened.create_agent("s", SessionAgent("a", {"n": 1}, {"kind": "none"}))
        yield opened


@pytest.fixture
def storage(quick: Path) -> Iterator[FsstoreStorage]:
    with FsstoreStorage(quick, fsync=False) as opened:
        yield opened


def message(number: int, **more: Any) -> SessionMessage:
    content: Any = [{"text": f"m-{number}"}]
    return SessionMessage({"role": "user", "content": content}, number, **more)


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", ADDING, *arguments], stdout=subprocess.PIPE, text=True)


# -- sessions, next to the manager of files ---------------------------------------------------------------------------


def both(quick: Path) -> list[Any]:
    theirs = FileSessionManager(session_id="other", storage_dir=str(quick / "theirs"))
    return [FsstoreRepository(quick / "ours", fsync=False), theirs]


def told(call: Any) -> Any:
    """Return what a call gives, or the kind of its error."""
    try:
        found = call()
    except SessionException:
        return SessionException
    return found.to_dict() if hasattr(found, "to_dict") else found


def test_it_does_what_the_manager_of_files_does(quick: Path) -> None:
    session, agent = Session("s", SessionType.AGENT), SessionAgent("a", {"n": [None, 1]}, {}, {"x": {}})
    several = SimpleNamespace(id="m", serialize_state=lambda: {"nodes": [], "none": None})
    image: Any = {"role": "user", "content": [{"image": {"format": "png", "source": {"bytes": b"\xff\x00"}}}]}
    calls = [
        lambda store: store.read_session("s"),
        lambda store: store.create_session(session),
        lambda store: store.create_session(session),
        lambda store: store.read_session("s"),
        lambda store: store.read_agent("s", "a"),
        lambda store: store.update_agent("s", agent),
        lambda store: store.create_agent("s", agent),
        lambda store: store.read_agent("s", "a"),
        lambda store: store.read_message("s", "a", 0),
        *(lambda store, at=at: store.create_message("s", "a", message(at)) for at in range(12)),
        lambda store: store.create_message("s", "a", SessionMessage(image, 12)),
        lambda store: store.read_message("s", "a", 12).message,
        lambda store: [item.message for item in store.list_messages("s", "a")],
        *(
            lambda store, limit=limit, offset=offset: [
                item.message_id for item in store.list_messages("s", "a", limit, offset)
            ]
            for limit in (None, 0, 3, 20)
            for offset in (0, 2, 11, 40)
        ),
        lambda store: store.update_message("s", "a", message(99)),
        lambda store: store.update_message("s", "a", message(3, redact_message={"role": "user", "content": []})),
        lambda store: store.read_message("s", "a", 3).redact_message,
        lambda store: store.update_multi_agent("s", several),
        lambda store: store.create_multi_agent("s", several),
        lambda store: store.update_multi_agent("s", several),
        lambda store: store.read_multi_agent("s", "m"),
        lambda store: store.read_multi_agent("s", "nobody"),
        lambda store: store.delete_session("s"),
        lambda store: store.delete_session("s"),
        lambda store: store.read_session("s"),
        lambda store: store.read_agent("s", "a"),
    ]
    ours, theirs = both(quick)
    for at, call in enumerate(calls):
        assert told(lambda call=call: call(ours)) == told(lambda call=call: call(theirs)), at
    ours.close()


@pytest.mark.parametrize("name", ["a/b", "../x", "ä b", "%2F", "x" * 500, "a/messages/b"])
def test_ids_may_be_any_text(repository: FsstoreRepository, name: str) -> None:
    repository.create_session(Session(session_id=name, session_type=SessionType.AGENT))
    repository.create_agent(name, SessionAgent(name, {}, {}))
    repository.create_message(name, name, message(0))
    assert len(repository.list_messages(name, name)) == 1
    repository.delete_session(name)
    assert repository.read_agent(name, name) is None
    assert repository.read_agent("s", "a") is not None


def test_what_belongs_to_nothing_is_refused(repository: FsstoreRepository) -> None:
    with pytest.raises(SessionException):
        repository.create_agent("nobody", SessionAgent("a", {}, {}))
    with pytest.raises(SessionException):
        repository.create_agent("s", SessionAgent("a", {}, {}))
    with pytest.raises(SessionException):
        repository.create_message("s", "nobody", message(0))
    with pytest.raises(SessionException):
        repository.create_multi_agent("nobody", SimpleNamespace(id="m", serialize_state=dict))


def test_a_message_replaces_none(repository: FsstoreRepository) -> None:
    repository.create_message("s", "a", message(0))
    with pytest.raises(SessionException, match="already"):
        repository.create_message("s", "a", message(0))
    repository.create_message("s", "a", message(2))
    repository.create_message("s", "a", message(1))
    assert [each.message_id for each in repository.list_messages("s", "a")] == [0, 1, 2]


@pytest.mark.parametrize("number", ["7", 1.5, True, None])
def test_a_message_whose_id_is_no_whole_number_is_refused(repository: FsstoreRepository, number: Any) -> None:
    with pytest.raises(StorageValidationError, match="message_id"):
        repository.create_message("s", "a", message(number))
    assert repository.list_messages("s", "a") == []


@pytest.mark.parametrize("state", [None, "x", [1]])
def test_a_state_of_several_agents_that_could_not_be_read_again_is_refused(
    repository: FsstoreRepository, state: Any
) -> None:
    team = SimpleNamespace(id="m", serialize_state=lambda: state)
    with pytest.raises(StorageValidationError, match="state"):
        repository.create_multi_agent("s", team)
    repository.create_multi_agent("s", SimpleNamespace(id="m", serialize_state=lambda: {"n": 1}))
    with pytest.raises(StorageValidationError, match="state"):
        repository.update_multi_agent("s", team)
    assert repository.read_multi_agent("s", "m") == {"n": 1}


@pytest.mark.parametrize("is_made_again", [False, True])
def test_deleting_a_session_removes_an_agent_that_was_made_meanwhile(
    repository: FsstoreRepository, monkeypatch: pytest.MonkeyPatch, *, is_made_again: bool
) -> None:
    session, commit = Session(session_id="s", session_type=SessionType.AGENT), repository._commit

    def interrupted(changes: Any, refused: str) -> Any:
        monkeypatch.setattr(repository, "_commit", commit)
        repository.create_agent("s", SessionAgent("late", {}, {}))
        repository.create_message("s", "late", message(0))
        done = commit(changes, refused)
        if is_made_again:
            repository.create_session(session)
            repository.create_agent("s", SessionAgent("a", {"n": 2}, {}))
        return done

    monkeypatch.setattr(repository, "_commit", interrupted)
    repository.delete_session("s")
    if is_made_again:
        # what belongs to whom cannot be known any more, and what is new stays
        kept = repository.read_agent("s", "a")
        assert kept is not None
        assert kept.state == {"n": 2}
    else:
        assert repository.read_agent("s", "late") is None
        assert repository.list_messages("s", "late") == []


def test_times_of_creation_stay(repository: FsstoreRepository) -> None:
    repository.create_message("s", "a", message(0, created_at="2001-01-01"))
    changed = message(0, created_at="2002-02-02")
    repository.update_message("s", "a", changed)
    assert changed.created_at == "2001-01-01"
    agent = SessionAgent("a", {}, {}, created_at="2002-02-02")
    repository.update_agent("s", agent)
    found = repository.read_agent("s", "a")
    assert found is not None
    assert found.created_at == agent.created_at != "2002-02-02"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("s", {"session": 1}),
        ("s", {"session": {}}),
        ("s/agent/a", []),
        ("s/agent/a", {"agent": {"agent_id": "a"}}),
        ("s/messages/a", {"messages": {}}),
        ("s/messages/a", {"messages": ["text"]}),
        ("s/messages/a", {"messages": [{"message_id": 0}]}),
    ],
)
def test_what_was_changed_by_hand_is_damaged(repository: FsstoreRepository, name: str, data: Any) -> None:
    record = repository._store.plain.load(name)
    assert record is not None
    repository._store.plain.save({**record, "data": data})
    with pytest.raises(StorageCorruptedError):
        _ = repository.read_session("s"), repository.read_agent("s", "a"), repository.list_messages("s", "a")


@pytest.mark.parametrize("data", [None, ["x"]])
def test_what_was_changed_by_hand_is_not_written_over(repository: FsstoreRepository, data: Any) -> None:
    team = SimpleNamespace(id="team", serialize_state=lambda: {"nodes": []})
    repository.create_multi_agent("s", team)
    writes: tuple[tuple[str, Callable[[], None]], ...] = (
        ("s/agent/a", lambda: repository.update_agent("s", SessionAgent("a", {}, {}))),
        ("s/messages/a", lambda: repository.update_message("s", "a", message(0))),
        ("s/multi/team", lambda: repository.update_multi_agent("s", team)),
    )
    for name, write in writes:
        record = repository._store.plain.load(name)
        assert record is not None
        repository._store.plain.save({**record, "data": data})
        with pytest.raises(StorageCorruptedError):
            write()


def test_a_session_of_an_application_is_not_touched(quick: Path, repository: FsstoreRepository) -> None:
    with fsstore.sync.open_sessions(quick, fsync=False) as sessions:
        sessions.save_session("mine", {"messages": [1]})
        assert repository.read_session("mine") is None
        with pytest.raises(SessionException, match="as one of another program"):
            repository.create_session(Session(session_id="mine", session_type=SessionType.AGENT))
        with pytest.raises(SessionException):
            repository.delete_session("mine")
        assert sessions.read_tail("mine", 1).items == [1]


def test_agents_go_on_where_they_were(quick: Path) -> None:
    for turn, before in (("first", 1), ("second", 3)):
        with FsstoreRepository(quick, fsync=False) as repository:
            manager = RepositorySessionManager(session_id="chat/1", session_repository=repository)
            agent = Agent(model=Scripted(turn), agent_id="a", session_manager=manager, callback_handler=None)
            assert len(agent.messages) == before - 1
            agent("Hello")
            agent.state.set("turn", turn)
            manager.sync_agent(agent)
    with FsstoreRepository(quick, fsync=False) as repository:
        found = repository.read_agent("chat/1", "a")
        assert found is not None
        assert found.state == {"turn": "second"}


def test_four_processes_that_add_to_one_agent_lose_nothing(tmp_path: Path) -> None:
    processes = [start(str(tmp_path), f"{number * 1000}", "100") for number in range(4)]
    for process in processes:
        process.communicate(timeout=120)
        assert process.returncode == 0
    with FsstoreRepository(tmp_path, fsync=False) as repository:
        found = [each.message_id for each in repository.list_messages("s", "a")]
    assert found == [number * 1000 + at for number in range(4) for at in range(100)]


def test_a_kill_leaves_every_message_that_was_acknowledged(tmp_path: Path) -> None:
    process = start(str(tmp_path), "0", "100000")
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(50)]
    os.kill(process.pid, signal.SIGKILL)
    lines += process.communicate()[0].splitlines(keepends=True)
    # the last one may be cut off
    told_of = [int(line) for line in lines if line.endswith("\n")]
    with FsstoreRepository(tmp_path, fsync=False) as repository:
        found = [each.message_id for each in repository.list_messages("s", "a")]
    assert found[: len(told_of)] == told_of
    assert len(found) - len(told_of) <= 1


def test_one_object_is_used_from_several_threads_at_once(repository: FsstoreRepository) -> None:
    def add(first: int) -> None:
        for at in range(20):
            repository.create_message("s", "a", message(first + at))

    threads = [threading.Thread(target=add, args=(number * 100,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(repository.list_messages("s", "a")) == 80


# -- bytes under keys -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"text", "ä\n\x00".encode(), b"\xff\xfe", bytes(range(256)), b'{"a": 1.0}'])
async def test_bytes_come_back_unchanged(storage: FsstoreStorage, data: bytes) -> None:
    assert isinstance(storage, Storage)
    await storage.write("a/b.bin", data)
    assert await storage.read("a/b.bin") == data


async def test_keys_are_listed_as_the_storage_of_files_lists_them(quick: Path, storage: FsstoreStorage) -> None:
    theirs = LocalFileStorage(str(quick / "theirs"))
    for key in ("a", "b/c", "b/c0", "b/d/e", "b0/c", "ä/%2F x", "b!/c", "//b///f/"):
        for each in (storage, theirs):
            await each.write(key, key.encode())
    for prefix in ("", "a", "b", "b/", "b/c", "b/d/", "b/d/e", "ä", "ä/", "nobody/", "/b", "b//"):
        assert await storage.list(prefix) == await theirs.list(prefix), prefix
    for key in ("b/c", "nobody", "b/f"):
        for each in (storage, theirs):
            await each.delete(key)
    assert await storage.list("") == await theirs.list("")


@pytest.mark.parametrize("metadata", [None, [], {}])
async def test_a_blob_that_was_changed_by_hand_breaks_no_list(storage: FsstoreStorage, metadata: Any) -> None:
    for key in ("a", "b"):
        await storage.write(key, b"x")
    storage._store.plain.save({"id": "~blob/a", "type": "strands.blob", "data": {"metadata": metadata, "text": ""}})
    assert await storage.list("") == ["b"]


async def test_keys_and_sessions_never_meet(repository: FsstoreRepository, storage: FsstoreStorage) -> None:
    for name in ("blob", "~blob"):
        repository.create_session(Session(session_id=name, session_type=SessionType.AGENT))
        repository.create_agent(name, SessionAgent("a", {}, {}))
        await storage.write("agent/a", b"x")
        await storage.delete("agent/a")
        assert repository.read_agent(name, "a") is not None


async def test_errors_are_those_of_strands(storage: FsstoreStorage) -> None:
    for call in (storage.write("", b""), storage.read("../x"), storage.delete("a\\b"), storage.list("..")):
        with pytest.raises(StrandsStorageError):
            await call
    with pytest.raises(StrandsStorageError, match="Failed to write"):
        await storage.write("/".join(["x" * 200] * 20), b"")
    storage._store.plain.save({"id": "~blob/k", "type": "strands.blob", "data": {"metadata": {"key": "k"}}})
    with pytest.raises(StrandsStorageError, match="neither text nor base64"):
        await storage.read("k")
    storage.close()
    with pytest.raises(StrandsStorageError, match="closed"):
        storage.clear()


def test_snapshots_go_on_where_they_were(quick: Path) -> None:
    for turn, before in (("first", 1), ("second", 3)):
        with FsstoreStorage(quick, fsync=False) as storage:
            manager = SnapshotSessionManager("chat-1", storage=storage)
            agent = Agent(model=Scripted(turn), agent_id="a", session_manager=manager, callback_handler=None)
            assert len(agent.messages) == before - 1
            agent("Hello")
    with fsstore.sync.open_storage(quick, fsync=False) as documents:
        names = [found["metadata"]["key"] for found in documents.list_metadata({"type": "strands.blob"})]
    assert "session/chat-1/scopes/agent/a/snapshots/snapshot_latest.json" in names


# -- opened and closed ------------------------------------------------------------------------------------------------


async def test_what_is_closed_says_so_and_its_neighbour_goes_on(quick: Path) -> None:
    repository, storage = FsstoreRepository(quick, fsync=False), FsstoreStorage(quick, fsync=False)
    repository.close()
    repository.close()
    with pytest.raises(StorageClosedError):
        repository.read_session("s")
    await storage.write("k", b"x")
    storage.close()
    with pytest.raises(StrandsStorageError, match="closed"):
        await storage.read("k")


async def test_what_is_dropped_in_a_temporary_directory_leaves_no_trouble() -> None:
    with tempfile.TemporaryDirectory() as directory:
        storage = FsstoreStorage(directory)
        await storage.namespace("n").write("k", b"x")
        del storage
    assert not Path(directory).exists()


def test_a_program_that_closes_nothing_ends_and_leaves_what_it_added(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from strands.types.session import Session\n"
        "from fsstore.integrations.strands import FsstoreRepository\n"
        "repository = FsstoreRepository(sys.argv[1])\n"
        "repository.create_session(Session(session_id='s', session_type='AGENT'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    with fsstore.sync.open_sessions(tmp_path) as sessions:
        assert sessions.session_exists("s")


# -- the example, and the guide ---------------------------------------------------------------------------------------


def test_the_example_resumes_in_a_new_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.examples.strands_chat", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, second, found, *file = done.stdout.splitlines()
    assert first == "first: the model was given 1 messages, and said 'San Francisco.'"
    assert second == "second: the model was given 3 messages, and said 'California.'"
    assert found == "found chat-1/messages/guide with 4 messages"
    assert any('"text": "What state is it in?"' in line for line in file)


def test_the_guide_moves_sessions_of_files(tmp_path: Path) -> None:
    guide = (ROOT / "fsstore" / "guides" / "strands.md").read_text("utf-8")
    names: dict[str, Any] = {}
    code = re.findall(r"^```text\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)
    exec(code[-1], names)  # noqa: S102 - the guide's own code
    old = FileSessionManager(session_id="s", storage_dir=str(tmp_path / "old"))
    old.create_agent("s", SessionAgent("a", {"n": 1}, {}))
    for at in range(3):
        old.create_message("s", "a", message(at))
    names["move"]("s", ["a"], str(tmp_path / "old"), str(tmp_path / "store"))
    with FsstoreRepository(tmp_path / "store") as repository:
        agent = repository.read_agent("s", "a")
        assert agent is not None
        assert agent.state == {"n": 1}
        assert [each.message_id for each in repository.list_messages("s", "a")] == [0, 1, 2]


async def test_what_is_written_at_once_by_several_loops_is_there(storage: FsstoreStorage) -> None:
    def write(name: str) -> None:
        for at in range(10):
            asyncio.run(storage.write(f"{name}/{at}", b"x"))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert len(await storage.list("")) == 40
