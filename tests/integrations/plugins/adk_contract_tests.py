"""What ADK asks of every session service, rule by rule, since its distribution has no tests.

The rules are those that `BaseSessionService`, `GetSessionConfig` and `State` document, and what ADK's stores in memory
and in SQLite agree on. It is run in the environment of the framework, by `python -m tests.integrations`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.adk.errors import StaleSessionError
from google.adk.errors.already_exists_error import AlreadyExistsError
from google.adk.errors.session_not_found_error import SessionNotFoundError
from google.adk.events.event import Event
from google.adk.events.event_actions import EventActions, EventCompaction
from google.adk.sessions import sqlite_session_service
from google.adk.sessions.base_session_service import GetSessionConfig
from google.genai import types

A = {"app_name": "app", "user_id": "ann"}
B = {"app_name": "app", "user_id": "bob"}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Any]:
    """Give a service on disk: that of SQLite, or what a plugin has put in its place."""
    opened: Any = sqlite_session_service.SqliteSessionService(str(tmp_path / "sessions"))
    yield opened
    await opened.close()


def event(text: str = "", state: dict[str, Any] | None = None, *, at: float | None = None) -> Event:
    """Return an event that says something, and changes state."""
    content = types.Content(role="user", parts=[types.Part(text=text)])
    times: Any = {} if at is None else {"timestamp": at}
    return Event(author="user", content=content, actions=EventActions(state_delta=state or {}), **times)


def texts(session: Any) -> list[Any]:
    """Return what the events of a session say."""
    return [found.content.parts[0].text for found in session.events]


async def ids(service: Any, **owner: Any) -> list[str]:
    """Return the ids of the sessions that are listed."""
    return [session.id for session in (await service.list_sessions(**owner)).sessions]


# -- sessions ---------------------------------------------------------------------------------------------------------


async def test_a_session_that_is_not_there_is_none(service: Any) -> None:
    assert await service.get_session(**A, session_id="s-1") is None


async def test_a_session_comes_back_as_it_was_made(service: Any) -> None:
    made = await service.create_session(**A, session_id="s-1", state={"city": "Oslo", "app:tax": 2, "user:name": "Ann"})
    assert (made.id, made.app_name, made.user_id, made.events) == ("s-1", "app", "ann", [])
    assert await service.get_session(**A, session_id="s-1") == made


async def test_a_session_without_an_id_gets_one_of_its_own(service: Any) -> None:
    first, second = await service.create_session(**A), await service.create_session(**A, session_id="  ")
    assert first.id.strip()
    assert len({first.id, second.id}) == 2


async def test_an_id_that_is_there_is_refused_and_nothing_is_changed(service: Any) -> None:
    await service.create_session(**A, session_id="s-1", state={"app:tax": 1})
    with pytest.raises(AlreadyExistsError):
        await service.create_session(**A, session_id="s-1", state={"app:tax": 2})
    assert (await service.get_session(**A, session_id="s-1")).state == {"app:tax": 1}


async def test_an_id_counts_without_the_spaces_around_it(service: Any) -> None:
    made = await service.create_session(**A, session_id=" s-1 ")
    assert made.id == "s-1"
    assert await service.get_session(**A, session_id=" s-1\n") == made
    await service.delete_session(**A, session_id=" s-1")
    assert await service.get_session(**A, session_id="s-1") is None


async def test_sessions_of_one_id_and_different_users_or_apps_are_different(service: Any) -> None:
    mine = await service.create_session(**A, session_id="s-1")
    await service.append_event(mine, event("mine"))
    for other in (B, {**A, "app_name": "other"}):
        await service.create_session(**other, session_id="s-1")
        found = await service.get_session(**other, session_id="s-1")
        assert (found.user_id, found.app_name, found.events) == (other["user_id"], other["app_name"], [])


async def test_names_with_slashes_are_names(service: Any) -> None:
    first = await service.create_session(app_name="a/b", user_id="c", session_id="d/e")
    second = await service.create_session(app_name="a", user_id="b/c", session_id="d/e")
    assert await service.get_session(app_name="a/b", user_id="c", session_id="d/e") == first
    assert await service.get_session(app_name="a", user_id="b/c", session_id="d/e") == second
    assert await ids(service, app_name="a/b") == ["d/e"]


async def test_a_deleted_session_is_gone_and_its_neighbours_stay(service: Any) -> None:
    for name in ("s-1", "s-2"):
        await service.create_session(**A, session_id=name, state={"user:name": "Ann"})
    await service.delete_session(**A, session_id="s-1")
    await service.delete_session(**A, session_id="s-1")
    assert await service.get_session(**A, session_id="s-1") is None
    assert await ids(service, **A) == ["s-2"]
    assert await service.get_user_state(**A) == {"name": "Ann"}


# -- lists ------------------------------------------------------------------------------------------------------------


async def test_sessions_of_a_user_are_listed_with_their_state_and_no_events(service: Any) -> None:
    for number in range(5):
        session = await service.create_session(**A, session_id=f"s-{number}", state={"number": number, "app:tax": 2})
        await service.append_event(session, event("hi"))
    await service.create_session(**B, session_id="s-9")
    found = (await service.list_sessions(**A)).sessions
    assert {session.id: session.state for session in found} == {
        f"s-{number}": {"number": number, "app:tax": 2} for number in range(5)
    }
    assert all(session.events == [] and session.user_id == "ann" for session in found)


async def test_sessions_of_all_users_have_the_state_of_their_own_user(service: Any) -> None:
    await service.create_session(**A, session_id="s-1", state={"user:name": "Ann"})
    await service.create_session(**B, session_id="s-2", state={"user:name": "Bob"})
    await service.create_session(app_name="other", user_id="ann", session_id="s-3")
    for owner in ({"app_name": "app"}, {"app_name": "app", "user_id": None}):
        found = (await service.list_sessions(**owner)).sessions
        assert {session.id: session.state for session in found} == {
            "s-1": {"user:name": "Ann"},
            "s-2": {"user:name": "Bob"},
        }


async def test_a_user_without_a_name_is_a_user(service: Any) -> None:
    await service.create_session(**A, session_id="s-1")
    assert await ids(service, app_name="app", user_id="") == []


async def test_lists_begin_with_what_was_updated_first(service: Any) -> None:
    sessions = [await service.create_session(**A, session_id=name) for name in ("s-1", "s-2", "s-3")]
    for session, at in zip(sessions, (3e9, 1e9, 2e9), strict=True):
        await service.append_event(session, event(at=at))
    assert await ids(service, **A) == ["s-2", "s-3", "s-1"]


async def test_an_app_without_sessions_has_none(service: Any) -> None:
    assert await ids(service, app_name="app") == []
    assert await ids(service, **A) == []


# -- state ------------------------------------------------------------------------------------------------------------


async def test_state_of_an_app_is_shared_by_all_its_users(service: Any) -> None:
    session = await service.create_session(**A, session_id="s-1", state={"app:one": 1})
    await service.append_event(session, event("", {"app:two": 2}))
    assert session.state == {"app:one": 1, "app:two": 2}
    assert (await service.create_session(**B, session_id="s-2")).state == {"app:one": 1, "app:two": 2}
    assert (await service.get_session(**A, session_id="s-1")).state == {"app:one": 1, "app:two": 2}
    assert (await service.create_session(app_name="other", user_id="ann")).state == {}


async def test_state_of_a_user_is_shared_by_the_sessions_of_that_user(service: Any) -> None:
    session = await service.create_session(**A, session_id="s-1", state={"user:one": 1})
    await service.append_event(session, event("", {"user:two": 2}))
    assert (await service.create_session(**A, session_id="s-2")).state == {"user:one": 1, "user:two": 2}
    assert (await service.create_session(**B, session_id="s-3")).state == {}
    assert await service.get_user_state(**A) == {"one": 1, "two": 2}
    assert await service.get_user_state(**B) == {}


async def test_state_of_a_session_is_its_own(service: Any) -> None:
    session = await service.create_session(**A, session_id="s-1", state={"one": 1})
    await service.append_event(session, event("", {"two": 2}))
    assert (await service.get_session(**A, session_id="s-1")).state == {"one": 1, "two": 2}
    assert (await service.create_session(**A, session_id="s-2")).state == {}


async def test_a_value_of_state_takes_the_place_of_another_as_a_whole(service: Any) -> None:
    deep = {"a": {"x": 1}, "b": [1, 2], "c": 3, "d.e": 4, "$set": 5}
    session = await service.create_session(**A, session_id="s-1", state={**deep, "app:a": {"x": 1}})
    changed: dict[str, Any] = {"a": {"y": None}, "b": [{"z": None}], "c": None, "d.e": {}, "$set": 6, "f.g": 7}
    await service.append_event(session, event("", {**changed, "app:a": {"y": 2}, "user:b": None}))
    found = await service.get_session(**A, session_id="s-1")
    assert found.state == {**changed, "app:a": {"y": 2}, "user:b": None}
    assert found == session


async def test_temporary_state_lasts_as_long_as_the_session_in_memory(service: Any) -> None:
    session = await service.create_session(**A, session_id="s-1", state={"temp:seed": 1, "kept": 2})
    first = event("", {"temp:draft": "x", "kept": 3})
    await service.append_event(session, first)
    assert (session.state["temp:draft"], session.state["kept"]) == ("x", 3)
    assert first.actions.state_delta == {"kept": 3}
    await service.append_event(session, event("next"))
    assert session.state["temp:draft"] == "x"
    found = await service.get_session(**A, session_id="s-1")
    assert found.state == {"kept": 3}
    assert found.events[0].actions.state_delta == {"kept": 3}


async def test_what_is_no_json_in_a_state_becomes_text(service: Any) -> None:
    session = await service.create_session(**A, session_id="s-1", state={"call": len})
    await service.append_event(session, event("", {"other": print}))
    found = await service.get_session(**A, session_id="s-1")
    assert found.state == {"call": str(len), "other": str(print)}


# -- events -----------------------------------------------------------------------------------------------------------


async def test_an_event_comes_back_with_all_it_has(service: Any) -> None:
    session = await service.create_session(**A, session_id="s-1")
    full = Event(
        invocation_id="i-1",
        author="model",
        branch="a.b",
        timestamp=1_700_000_000.123456,
        content=types.Content(role="model", parts=[types.Part.from_bytes(data=bytes(range(256)), mime_type="x/y")]),
        turn_complete=True,
        partial=False,
        interrupted=True,
        error_code="E",
        error_message="m",
        long_running_tool_ids={"t-1"},
        custom_metadata={"deep": {"x": [1, 2.5, None]}},
        grounding_metadata=types.GroundingMetadata(
            web_search_queries=["q"], search_entry_point=types.SearchEntryPoint(sdk_blob=b"\xff\x00")
        ),
        usage_metadata=types.GenerateContentResponseUsageMetadata(prompt_token_count=1),
        citation_metadata=types.CitationMetadata(),
        input_transcription=types.Transcription(text="in", finished=True),
        output_transcription=types.Transcription(text="out", finished=False),
        actions=EventActions(
            artifact_delta={"file": 0},
            transfer_to_agent="b",
            escalate=True,
            compaction=EventCompaction(
                start_timestamp=1.0, end_timestamp=2.0, compacted_content=types.Content(role="model", parts=[])
            ),
        ),
    )
    assert await service.append_event(session, full) is full
    assert session.events == [full]
    assert await service.get_session(**A, session_id="s-1") == session


async def test_events_come_back_in_the_order_in_which_they_were_appended(service: Any) -> None:
    session = await service.create_session(**A, session_id="s-1")
    for number in range(12):
        await service.append_event(session, event(str(number), at=3e9))
    assert texts(await service.get_session(**A, session_id="s-1")) == [str(number) for number in range(12)]


async def test_the_time_of_a_session_is_that_of_its_last_event(service: Any) -> None:
    session = await service.create_session(**A, session_id="s-1")
    at = session.last_update_time + 10.25
    await service.append_event(session, event(at=at))
    assert session.last_update_time == at
    assert (await service.get_session(**A, session_id="s-1")).last_update_time == at


async def test_partial_events_are_given_back_and_not_stored(service: Any) -> None:
    session = await service.create_session(**A, session_id="s-1")
    partial = event("hal", {"x": 1})
    partial.partial = True
    assert await service.append_event(session, partial) is partial
    found = await service.get_session(**A, session_id="s-1")
    assert (session.events, found.events, found.state) == ([], [], {})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"num_recent_events": 0}, []),
        ({"num_recent_events": 3}, [3, 4, 5]),
        ({"num_recent_events": 9}, [1, 2, 3, 4, 5]),
        ({"after_timestamp": 4.0}, [4, 5]),
        ({"after_timestamp": 50.0}, []),
        ({"after_timestamp": 4.0, "num_recent_events": 3}, [4, 5]),
        ({"after_timestamp": 2.0, "num_recent_events": 3}, [3, 4, 5]),
    ],
)
async def test_a_config_chooses_events(service: Any, config: Any, expected: list[int]) -> None:
    session = await service.create_session(**A, session_id="s-1", state={"city": "Oslo"})
    for number in range(1, 6):
        await service.append_event(session, event(str(number), at=float(number)))
    found = await service.get_session(**A, session_id="s-1", config=GetSessionConfig(**config))
    assert texts(found) == [str(number) for number in expected]
    assert (found.state, found.last_update_time) == ({"city": "Oslo"}, 5.0)


async def test_a_session_that_is_gone_takes_no_event(service: Any) -> None:
    session = await service.create_session(**A, session_id="s-1")
    await service.delete_session(**A, session_id="s-1")
    with pytest.raises(SessionNotFoundError):
        await service.append_event(session, event("lost", {"app:x": 1}))
    assert (await service.create_session(**A, session_id="s-2")).state == {}


async def test_a_session_that_others_have_changed_is_stale(service: Any) -> None:
    session = await service.create_session(**A, session_id="s-1")
    other = await service.get_session(**A, session_id="s-1")
    await service.append_event(session, event("first", at=session.last_update_time + 1))
    with pytest.raises(StaleSessionError):
        await service.append_event(other, event("second", {"x": 1, "app:x": 1}))
    found = await service.get_session(**A, session_id="s-1")
    assert (texts(found), found.state) == (["first"], {})
    await service.append_event(found, event("second", at=session.last_update_time + 1))
    assert texts(await service.get_session(**A, session_id="s-1")) == ["first", "second"]


async def test_what_a_caller_changes_in_what_it_was_given_is_not_stored(service: Any) -> None:
    made = await service.create_session(**A, session_id="s-1", state={"list": [1], "user:list": [1]})
    made.state["list"].append(2)
    found = await service.get_session(**A, session_id="s-1")
    found.state["user:list"].append(2)
    found.events.append(event("x"))
    assert (await service.get_session(**A, session_id="s-1")).state == {"list": [1], "user:list": [1]}
    assert (await service.get_session(**A, session_id="s-1")).events == []
