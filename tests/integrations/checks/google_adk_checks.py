"""`FsstoreSessionService` with Google's ADK at hand."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from google.adk.cli import service_registry
from google.adk.errors import StaleSessionError
from google.adk.errors.already_exists_error import AlreadyExistsError
from google.adk.events.event import Event
from google.adk.events.event_actions import EventActions
from google.adk.platform import time as adk_time
from google.adk.sessions import BaseSessionService, InMemorySessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.sessions.sqlite_session_service import SqliteSessionService
from hypothesis import given, settings
from hypothesis import strategies as st

import fsstore
import fsstore.sync
from fsstore.errors import StorageClosedError, StorageConflictError, StorageCorruptedError, StorageValidationError
from fsstore.integrations.google_adk import FsstoreSessionService, register
from tests.integrations.checks.interrupted import Interrupted

ROOT = Path(__file__).parents[3]
OWNER: dict[str, Any] = {"app_name": "app", "user_id": "u-1"}
SESSION: dict[str, Any] = {**OWNER, "session_id": "s-1"}
DOCUMENT = "session/app/u-1/s-1"

APPENDING = """
import asyncio, sys
from google.adk.errors import StaleSessionError
from google.adk.events.event import Event
from google.adk.events.event_actions import EventActions
from google.adk.sessions.base_session_service import GetSessionConfig
from fsstore.integrations.google_adk import FsstoreSessionService

path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])

async def main():
    async with FsstoreSessionService(path, fsync=False) as service:
        config = GetSessionConfig(num_recent_events=0)
        for number in range(count):
            while True:
                session = await service.get_session(app_name="app", user_id="u-1", session_id="s-1", config=config)
                state = {name: number, f"user:{name}": number, f"app:{name}": number}
                event = Event(author="user", invocation_id=f"{name}-{number}", actions=EventActions(state_delta=state))
                try:
                    await service.append_event(session, event)
                    break
                except StaleSessionError:
                    continue
            print(f"{name}-{number}", flush=True)

asyncio.run(main())
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", APPENDING, *arguments], stdout=subprocess.PIPE, text=True)


def event(name: str = "", state: dict[str, Any] | None = None, *, at: float | None = None) -> Event:
    times: Any = {} if at is None else {"timestamp": at}
    return Event(author="user", invocation_id=name, actions=EventActions(state_delta=state or {}), **times)


async def names(service: BaseSessionService, **config: Any) -> list[str]:
    found = await service.get_session(**SESSION, config=GetSessionConfig(**config))
    assert found is not None
    return [each.invocation_id for each in found.events]


async def made(service: BaseSessionService, count: int = 0) -> Session:
    session = await service.create_session(**SESSION)
    for number in range(count):
        await service.append_event(session, event(str(number)))
    return session


# -- what is stored ---------------------------------------------------------------------------------------------------


async def test_a_session_is_a_session_that_people_can_read_and_find_by_its_state(tmp_path: Path) -> None:
    async with FsstoreSessionService(tmp_path) as service:
        session = await service.create_session(**SESSION, state={"city": "Oslo", "app:tax": 2, "user:name": "Ann"})
        await service.append_event(session, event("i-1", {"status": "open"}))
    async with fsstore.open_sessions(tmp_path) as sessions:
        (found,) = await sessions.list_sessions({"metadata.state.status": "open", "user_id": "u-1"})
    assert found["metadata"]["session_id"] == DOCUMENT
    assert found["metadata"]["state"] == {"city": "Oslo", "status": "open"}
    assert [each["invocation_id"] for each in found["events"]] == ["i-1"]


async def test_an_event_and_all_the_state_it_changes_are_one_commit(tmp_path: Path) -> None:
    async with FsstoreSessionService(tmp_path) as service, fsstore.open_storage(tmp_path) as storage:
        session = await made(service)
        refused = event("no", {"x": 1, "app:x": 1, "user:x": float("inf")})
        with pytest.raises(StorageValidationError):
            await service.append_event(session, refused)
        assert await names(service) == []
        assert [await storage.load(name) for name in ("app/app", "user/app/u-1")] == [None, None]
        await service.append_event(session, event("yes", {"x": 1, "app:x": 1, "user:x": {"y": 1}}))
        for document in (DOCUMENT, "app/app", "user/app/u-1"):
            record = await storage.load(document)
            assert record is not None
            assert list(record["data"]["metadata"]["state"]) == ["x"]


async def test_a_state_that_changes_by_plain_values_is_written_without_parsing_the_events(tmp_path: Path) -> None:
    async with FsstoreSessionService(tmp_path) as service:
        session = await made(service, 3)
        storage: Any = service._store.storage
        committed: list[Any] = []
        commit = storage.commit

        async def noted(changes: Any) -> Any:
            committed.extend(changes)
            return await commit(changes)

        storage.commit = noted
        await service.append_event(session, event("plain", {"a": 1, "b": [None], "c": "x"}))
        # what a merge patch of a caller's would be asked about
        await service.append_event(session, event("dotted", {"a.b": 1}))
        await service.append_event(session, event("operator", {"$set": 1}))
        kinds = [type(change).__name__ for change in committed]
        assert kinds == ["Check", "Append"] * 3
        assert session.state == {"a": 1, "b": [None], "c": "x", "a.b": 1, "$set": 1}
        assert await service.get_session(**SESSION) == session


async def test_an_event_that_was_delivered_already_is_not_stored_again(tmp_path: Path) -> None:
    async with FsstoreSessionService(tmp_path) as service:
        session = await made(service)
        once = event("once", {"app:x": 1})
        assert await service.append_event(session, once) is once
        assert await service.append_event(session, once.model_copy(deep=True)) == once
        assert await names(service) == ["once"]


async def test_a_key_that_is_the_name_of_a_scope_alone_belongs_to_the_session(tmp_path: Path) -> None:
    bare = {"app": 1, "user": {"name": "Li"}, "temp": None}
    async with FsstoreSessionService(tmp_path) as service:
        session = await service.create_session(**OWNER, session_id="s-1", state=bare)
        assert session.state == bare
        await service.append_event(session, event("x", {**bare, "app": 2}))
        found = await service.get_session(**SESSION)
        assert found is not None
        assert found.state == {**bare, "app": 2}
        assert await service.get_user_state(**OWNER) == {}


async def test_what_others_keep_where_a_state_would_be_is_not_touched(tmp_path: Path) -> None:
    async with FsstoreSessionService(tmp_path) as service, fsstore.open_sessions(tmp_path) as sessions:
        session = await made(service)
        await sessions.save_session("app/app", {"metadata": {"state": {"theirs": 1}}})
        for change in (
            partial(service.create_session, **OWNER, state={"app:x": 1}),
            partial(service.append_event, session, event("x", {"app:x": 1})),
        ):
            with pytest.raises(StorageConflictError, match="type 'session'"):
                await change()
        found = await service.get_session(**SESSION)
        assert found is not None
        assert (found.state, found.events) == ({}, [])


async def test_a_file_that_holds_no_events_of_adk_is_reported(tmp_path: Path) -> None:
    async with FsstoreSessionService(tmp_path) as service:
        await made(service, 1)
        async with fsstore.open_sessions(tmp_path) as sessions:
            await sessions.append_session(DOCUMENT, [{"content": 5}], path="events")
        with pytest.raises(StorageCorruptedError, match="no event of ADK"):
            await service.get_session(**SESSION)


@pytest.mark.parametrize("at", [float("nan"), float("inf")])
async def test_an_event_that_could_not_be_read_again_is_refused(tmp_path: Path, at: float) -> None:
    async with FsstoreSessionService(tmp_path) as service:
        session = await made(service)
        with pytest.raises(StorageValidationError, match=r"event\.timestamp"):
            await service.append_event(session, event("x", at=at))
        copy = session.model_copy(update={"id": "s-2", "events": [event("x", at=at)]})
        with pytest.raises(StorageValidationError, match=r"event\.timestamp"):
            await service.import_session(copy)
        assert await names(service) == []


@pytest.mark.parametrize("depth", [220, 300])
async def test_an_event_that_is_nested_too_deep_is_refused(tmp_path: Path, depth: int) -> None:
    deep: dict[str, Any] = {}
    for _ in range(depth):
        deep = {"a": deep}
    async with FsstoreSessionService(tmp_path) as service:
        session = await made(service)
        with pytest.raises(StorageValidationError, match="event"):
            await service.append_event(session, Event(author="user", custom_metadata=deep))
        assert await names(service) == []


_BY_HAND: list[tuple[str, Any]] = [
    (DOCUMENT, None),
    (DOCUMENT, ["x"]),
    (DOCUMENT, {"metadata": 5}),
    (DOCUMENT, {"metadata": {"user_id": [], "adk_session_id": {}}}),
    (DOCUMENT, {"metadata": {"user_id": "u-1", "adk_session_id": "s-1", "last_update_time": "now"}}),
    (DOCUMENT, {"metadata": {"user_id": "u-1", "adk_session_id": "s-1"}, "events": {}}),
    ("user/app/u-1", None),
    ("user/app/u-1", {"metadata": 5}),
    ("app/app", ["x"]),
    ("app/app", {"metadata": {"state": []}}),
]


@pytest.mark.parametrize(("document", "data"), _BY_HAND)
async def test_a_document_that_was_changed_by_hand_breaks_no_list(tmp_path: Path, document: str, data: Any) -> None:
    async with FsstoreSessionService(tmp_path) as service:
        session = await made(service, 1)
        for number in range(60):
            # so many that the index is asked for the state of their users
            await service.create_session(app_name="app", user_id=f"u-{number + 2}", state={"user:a": 1, "app:a": 1})
        await service.append_event(session, event("x", {"user:a": 1, "app:a": 1}))
        async with fsstore.open_storage(tmp_path) as storage:
            record = await storage.load(document)
            assert record is not None
            await storage.save({**record, "data": data})
        listed = (await service.list_sessions(app_name="app")).sessions
        assert {f"u-{number + 2}" for number in range(60)} <= {each.user_id for each in listed}
        page = await service.list_page(app_name="app", user_id="u-2")
        assert [each.user_id for each in page.sessions] == ["u-2"]
        change = event("y", {"user:a": 2, "app:a": 2, "a": {}})
        with pytest.raises((StorageCorruptedError, StaleSessionError)):
            await service.append_event(session, change)
        if document == DOCUMENT and data != {"metadata": {"user_id": [], "adk_session_id": {}}}:
            for config in (None, GetSessionConfig(num_recent_events=1)):
                with pytest.raises(StorageCorruptedError):
                    await service.get_session(**SESSION, config=config)


# -- what is read -----------------------------------------------------------------------------------------------------


async def test_lists_open_no_session(tmp_path: Path) -> None:
    async with FsstoreSessionService(tmp_path) as service:
        await made(service, 30)
        storage: Any = service._store.storage
        loaded: list[str] = []
        load = storage.load

        async def noted(name: str) -> Any:
            loaded.append(name)
            return await load(name)

        storage.load = noted
        storage.list = storage.stream_list = None
        assert [session.id for session in (await service.list_sessions(app_name="app")).sessions] == ["s-1"]
        assert loaded == ["app/app", "user/app/u-1"]


async def test_recent_events_belong_to_the_version_that_the_session_says(tmp_path: Path) -> None:
    async with FsstoreSessionService(tmp_path) as service, FsstoreSessionService(tmp_path) as other:
        session = await made(service, 3)
        storage: Any = service._store.storage
        load_tail = storage.load_tail

        async def late(*arguments: Any) -> Any:
            storage.load_tail = load_tail
            await other.append_event(session, event("late", {"x": 1}))
            return await load_tail(*arguments)

        storage.load_tail = late
        found = await service.get_session(**SESSION, config=GetSessionConfig(num_recent_events=1))
        assert found is not None
        assert ([each.invocation_id for each in found.events], found.state) == (["late"], {"x": 1})
        await service.append_event(found, event("next"))


async def test_pages_give_each_session_once_and_the_most_recently_written_first(tmp_path: Path) -> None:
    async with FsstoreSessionService(tmp_path) as service:
        for number in range(7):
            await service.create_session(**OWNER, session_id=f"s-{number}", state={"n": number, "user:name": "Ann"})
        await service.create_session(app_name="app", user_id="u-2")
        seen, cursor = [], None
        while True:
            page = await service.list_page(**OWNER, limit=3, cursor=cursor)
            seen += [(session.id, session.state) for session in page.sessions]
            cursor = page.cursor
            if cursor is None:
                break
        assert seen == [(f"s-{number}", {"n": number, "user:name": "Ann"}) for number in range(6, -1, -1)]
        with pytest.raises(StorageValidationError, match="limit"):
            await service.list_page(app_name="app", limit=0)


async def test_sessions_of_many_users_have_the_state_of_their_own(tmp_path: Path) -> None:
    async with FsstoreSessionService(tmp_path, fsync=False) as service:
        users = ["", *(f"u-{number}" for number in range(59))]
        await asyncio.gather(
            *(service.create_session(app_name="app", user_id=user, state={"user:me": user}) for user in users)
        )
        found = (await service.list_sessions(app_name="app")).sessions
        assert len(found) == 60
        assert all(session.state == {"user:me": session.user_id} for session in found)


# -- what is out of date ----------------------------------------------------------------------------------------------


async def test_neither_clocks_nor_rounding_decide_what_is_stale(tmp_path: Path) -> None:
    async with FsstoreSessionService(tmp_path) as service:
        session = await made(service)
        other = await service.get_session(**SESSION)
        assert other is not None
        # one that happened long ago is news all the same
        await service.append_event(other, event("old", at=1.0))
        with pytest.raises(StaleSessionError, match="modified in storage"):
            await service.append_event(session, event("lost"))
        other.last_update_time -= 0.5
        await service.append_event(other, event("next"))
        assert await names(service) == ["old", "next"]


async def test_a_session_that_was_listed_may_be_appended_to(tmp_path: Path) -> None:
    async with FsstoreSessionService(tmp_path) as service:
        await made(service, 2)
        (listed,) = (await service.list_sessions(**OWNER)).sessions
        await service.append_event(listed, event("listed"))
        assert await names(service) == ["0", "1", "listed"]


async def test_a_session_without_a_marker_is_judged_by_its_last_event(tmp_path: Path) -> None:
    async with FsstoreSessionService(tmp_path) as service:
        session = await made(service, 2)
        sent = Session.model_validate_json(session.model_dump_json())
        sent.last_update_time -= 0.5
        await service.append_event(sent, event("sent"))
        late = Session.model_validate_json(session.model_dump_json())
        with pytest.raises(StaleSessionError):
            await service.append_event(late, event("late"))
        foreign = session.model_copy()
        foreign._storage_update_marker = "2026-01-01T00:00:00.000000"
        with pytest.raises(StaleSessionError):
            await service.append_event(foreign, event("foreign"))
        assert await names(service) == ["0", "1", "sent"]


async def test_a_session_that_was_made_again_does_not_take_what_was_meant_for_the_old_one(tmp_path: Path) -> None:
    async with FsstoreSessionService(tmp_path) as service:
        old = await made(service)
        await service.delete_session(**SESSION)
        await made(service)
        with pytest.raises(StaleSessionError):
            await service.append_event(old, event("old"))
        assert await names(service) == []


# -- many at once -----------------------------------------------------------------------------------------------------


async def test_agents_side_by_side_append_to_one_session_object(tmp_path: Path) -> None:
    async with FsstoreSessionService(tmp_path, fsync=False) as service:
        session = await made(service)
        await asyncio.gather(*(service.append_event(session, event(str(number))) for number in range(50)))
        assert await names(service) == [each.invocation_id for each in session.events]
        assert len(session.events) == 50


async def test_of_two_that_hold_the_same_version_one_is_stale(tmp_path: Path) -> None:
    async with FsstoreSessionService(tmp_path) as service, FsstoreSessionService(tmp_path) as other:
        session = await made(service)
        copy = session.model_copy(deep=True)
        service._store._shared.storage = Interrupted(  # type: ignore[assignment] # it is one for all that is called
            service._store.storage, lambda: commit_of(other, copy)
        )
        with pytest.raises(StaleSessionError):
            await service.append_event(session, event("second", {"app:x": 1}))
        assert await names(service) == ["first"]
        assert (await service.create_session(**OWNER)).state == {}


async def commit_of(service: FsstoreSessionService, session: Session) -> None:
    await service.append_event(session, event("first"))


def test_four_processes_that_append_to_one_session_lose_nothing(tmp_path: Path) -> None:
    asyncio.run(prepared(tmp_path))
    processes = [start(str(tmp_path), f"p{number}", "100") for number in range(4)]
    for process in processes:
        process.communicate(timeout=240)
        assert process.returncode == 0
    found, user = asyncio.run(whole(tmp_path))
    stored = [each.invocation_id for each in found.events]
    assert len(stored) == 400
    for number in range(4):
        own = [name for name in stored if name.startswith(f"p{number}-")]
        assert own == [f"p{number}-{turn}" for turn in range(100)]
        assert (found.state[f"p{number}"], found.state[f"app:p{number}"], user[f"p{number}"]) == (99, 99, 99)


def test_a_kill_leaves_every_event_that_was_acknowledged_with_its_state(tmp_path: Path) -> None:
    asyncio.run(prepared(tmp_path))
    process = start(str(tmp_path), "p", "100000")
    assert process.stdout is not None
    told = [process.stdout.readline().strip() for _ in range(50)]
    os.kill(process.pid, signal.SIGKILL)
    told += [line.strip() for line in process.communicate()[0].splitlines() if line.startswith("p-")]
    found, user = asyncio.run(whole(tmp_path))
    stored = [each.invocation_id for each in found.events]
    assert stored[: len(told)] == told
    assert len(stored) - len(told) <= 1
    assert found.state["p"] == found.state["app:p"] == user["p"] == len(stored) - 1


async def prepared(path: Path) -> None:
    async with FsstoreSessionService(path) as service:
        await made(service)


async def whole(path: Path) -> tuple[Session, dict[str, Any]]:
    async with FsstoreSessionService(path) as service:
        found = await service.get_session(**SESSION)
        assert found is not None
        return found, await service.get_user_state(**OWNER)


async def test_a_cancelled_append_is_done_before_its_caller_goes_on(tmp_path: Path) -> None:
    async with FsstoreSessionService(tmp_path) as service:
        session = await made(service)
        task = asyncio.ensure_future(service.append_event(session, event("first")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await service.append_event(session, event("second"))
        assert await names(service) == ["first", "second"]


def test_one_service_is_used_from_several_loops_at_once(tmp_path: Path) -> None:
    service = FsstoreSessionService(tmp_path, fsync=False)

    async def add(name: str) -> None:
        session = await service.create_session(**OWNER, session_id=name)
        for number in range(20):
            await service.append_event(session, event(f"{number}", {f"app:{name}": number}))

    threads = [threading.Thread(target=lambda name=name: asyncio.run(add(name))) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = asyncio.run(service.list_sessions(app_name="app")).sessions
    assert sorted(session.id for session in found) == ["a", "b", "c", "d"]
    assert found[0].state == {f"app:{name}": 19 for name in "abcd"}
    asyncio.run(service.close())


# -- opening and closing ----------------------------------------------------------------------------------------------


async def test_a_closed_service_says_so(tmp_path: Path) -> None:
    service = FsstoreSessionService(tmp_path)
    await service.close()
    await service.close()
    with pytest.raises(StorageClosedError):
        await service.create_session(**OWNER)


async def test_a_service_that_is_dropped_in_a_temporary_directory_leaves_no_trouble() -> None:
    with tempfile.TemporaryDirectory() as directory:
        service = FsstoreSessionService(directory)
        await made(service, 1)
        del service
    assert not Path(directory).exists()


def test_a_program_that_closes_nothing_ends_and_leaves_what_it_appended(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from fsstore.integrations.google_adk import FsstoreSessionService\n"
        "service = FsstoreSessionService(sys.argv[1])\n"
        "asyncio.run(service.create_session(app_name='app', user_id='u-1', session_id='s-1'))\n"
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
        assert sessions.session_exists(DOCUMENT)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> service_registry.ServiceRegistry:
    monkeypatch.setattr(service_registry, "_service_registry_instance", None)
    return service_registry.get_service_registry()


async def test_adk_makes_the_service_for_the_scheme(
    registry: service_registry.ServiceRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register()
    await used(registry, f"fsstore://{tmp_path}/a%20store", tmp_path / "a store")
    monkeypatch.chdir(tmp_path)
    await used(registry, "fsstore://data/sessions", tmp_path / "data" / "sessions")
    for wrong in ("fsstore://", "fsstore:", "fsstore:///a?fsync=no", "fsstore:///a#b"):
        with pytest.raises(StorageValidationError, match="directory"):
            registry.create_session_service(wrong)


async def test_adk_makes_the_service_by_services_yaml(
    registry: service_registry.ServiceRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = (ROOT / "fsstore" / "guides" / "google-adk.md").read_text("utf-8")
    (written,) = re.findall(r"^```yaml\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)
    (tmp_path / "services.yaml").write_text(written, "utf-8")
    # it puts the directory there
    monkeypatch.setattr(sys, "path", [*sys.path])
    service_registry.load_services_module(str(tmp_path))
    await used(registry, f"fsstore://{tmp_path}/store", tmp_path / "store")


async def used(registry: service_registry.ServiceRegistry, uri: str, store: Path) -> None:
    service: Any = registry.create_session_service(uri, agents_dir="agents", fsync=False)
    assert isinstance(service, FsstoreSessionService)
    async with service:
        await made(service)
    async with fsstore.open_sessions(store) as sessions:
        assert await sessions.session_exists(DOCUMENT)


# -- next to the store in memory --------------------------------------------------------------------------------------

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xy"), inner, max_size=2),
    max_leaves=3,
)
KEYS = st.builds(
    "{}{}".format, st.sampled_from(["", "app:", "user:", "temp:"]), st.sampled_from(["a", "b", "c.d", "$e"])
)
STATES = st.dictionaries(KEYS, VALUES, max_size=3)
USERS, IDS = st.sampled_from(["u", "v/w"]), st.sampled_from(["s", "t ", "~"])
CONFIGS = st.builds(
    GetSessionConfig,
    num_recent_events=st.none() | st.integers(0, 4),
    after_timestamp=st.none() | st.integers(0, 20).map(float),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), USERS, IDS, STATES),
        st.tuples(st.just("append"), USERS, IDS, STATES),
        st.tuples(st.just("append"), USERS, IDS, STATES),
        st.tuples(st.just("get"), USERS, IDS, CONFIGS),
        st.tuples(st.just("delete"), USERS, IDS, st.none()),
        st.tuples(st.just("list"), st.none() | USERS, IDS, st.none()),
    ),
    max_size=14,
)


async def taken(service: BaseSessionService, step: Any, at: float) -> Any:
    """Take a step, and return what is seen of it."""
    what, user, name, given = step
    named: Any = {"app_name": "a", "user_id": user, "session_id": name}
    if what == "create":
        return (await service.create_session(**named, state=given)).model_dump()
    if what == "append":
        session = await service.get_session(**named)
        if session is None:
            return None
        appended = Event(id=f"{at}", author="user", timestamp=at, actions=EventActions(state_delta=dict(given)))
        await service.append_event(session, appended)
        return session.model_dump()
    if what == "get":
        found = await service.get_session(**named, config=given)
        return found and found.model_dump(), await service.get_user_state(app_name="a", user_id=user)
    if what == "delete":
        return await service.delete_session(**named)
    return (await service.list_sessions(app_name="a", user_id=user)).model_dump()


async def outcome(call: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return await call()
    except Exception as error:  # noqa: BLE001 - whatever it is, the other one must raise it, too
        return type(error)


@settings(max_examples=50, deadline=None)
@given(STEPS)
def test_it_does_what_the_store_in_memory_does(steps: list[Any]) -> None:
    async def both() -> None:
        now = 0.0
        adk_time.set_time_provider(lambda: now)
        with tempfile.TemporaryDirectory() as directory:
            theirs = InMemorySessionService()
            async with FsstoreSessionService(directory, fsync=False) as ours:
                for at, step in enumerate(steps, 1):
                    now = float(at)
                    wanted = await outcome(partial(taken, theirs, step, now))
                    assert await outcome(partial(taken, ours, step, now)) == wanted, step

    asyncio.run(both())


# -- what the manual says ---------------------------------------------------------------------------------------------


def test_the_example_resumes_in_a_new_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.examples.google_adk_shop", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert said[:5] == [
        "first: Steel or glass? (asked with 1 messages)",
        "first: of the user is known {'last_answer': 'Steel or glass? (asked with 1 messages)'}",
        "second: Ordered. (asked with 3 messages)",
        "second: of the user is known {'last_answer': 'Ordered. (asked with 3 messages)'}",
        "found session/shop/u-1/s-1 with 4 events",
    ]
    # as the guide says
    assert said[5] == "d3/session-shop-u-1-s-1~d38f117db26a779dcbeb7bd57d23a30f.json says:"
    assert '              "text": "I would like a kettle."' in said


async def test_sessions_of_sqlite_are_moved_as_the_guide_says(tmp_path: Path) -> None:
    guide = (ROOT / "fsstore" / "guides" / "google-adk.md").read_text("utf-8")
    moving = guide[guide.index("## Moving") :]
    (block,) = re.findall(r"^```text\n(.*?)^```", moving, re.DOTALL | re.MULTILINE)
    defined: dict[str, Any] = {}
    exec(compile(block, "google-adk.md", "exec"), defined)  # noqa: S102 - the guide's own code
    old = SqliteSessionService(str(tmp_path / "old.db"))
    session = await old.create_session(**SESSION, state={"a": None, "app:x": 1, "user:y": {"z": 1}})
    await old.append_event(session, event("i-1", {"b": 2, "a": 3}))
    await old.append_event(session, event("i-2", {"a": None, "app:x": 2}))
    async with FsstoreSessionService(tmp_path / "store") as new:
        await defined["move"](old, new, "app")
        found, before = await new.get_session(**SESSION), await old.get_session(**SESSION)
        assert found is not None
        assert before is not None
        assert found.model_dump() == before.model_dump()
        await new.append_event(found, event("i-3"))
        with pytest.raises(AlreadyExistsError):
            await defined["move"](old, new, "app")
        assert await new.get_user_state(**OWNER) == {"y": {"z": 1}}
    await old.close()
