"""The contract of single sessions: saving, patching, deleting, versions, typed models."""

from __future__ import annotations

import copy
from collections.abc import Awaitable
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from fsstore.errors import StorageClosedError, StorageConflictError, StorageNotFoundError, StorageValidationError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.clock import HandClock
from fsstore.model.records import JsonObject
from fsstore.sessions.service import SessionService
from fsstore.testing.backend import BackendFixtures, refusal
from fsstore.testing.examples import HOSTILE_IDS, REFUSED_IDS, REFUSED_VALUES

SESSIONS: dict[str, JsonObject] = {
    "a": {"metadata": {"status": "open", "tags": ["red", "blue"], "user_id": "zoe"}, "state": {"step": 1}},
    "b": {"metadata": {"status": "closed", "tags": ["blue"], "user_id": "zoe"}, "state": {"step": 2}},
    "c": {"metadata": {"status": "open", "rank": 5}, "messages": [{"role": "user", "content": "hi"}]},
}
"""Three sessions to look for."""

MALFORMED_METADATA: list[tuple[Any, str]] = [
    (["tags"], "$.metadata"),
    ("text", "$.metadata"),
    (None, "$.metadata"),
    ({"created_at": "yesterday"}, "$.metadata.created_at"),
    ({"created_at": 5}, "$.metadata.created_at"),
]
"""What no metadata can be, and the JSON path that the error names."""


def names(sessions: list[JsonObject]) -> list[str]:
    """Return the ids of sessions, in their order."""
    return [session["metadata"]["session_id"] for session in sessions]


def _replaced(session: JsonObject, _: JsonObject) -> JsonObject:
    return session


class SessionFixtures(BackendFixtures):
    """A session service on the backend's storage."""

    @pytest_asyncio.fixture
    async def sessions(self, storage: IUnifiedStorage) -> SessionService:
        """Return the sessions of an open, empty store."""
        return SessionService(storage)


class SessionRecordContract(SessionFixtures):
    """One session at a time."""

    # -- saving and loading -------------------------------------------------------------------------------------------

    async def test_a_saved_session_comes_back_stamped(self, sessions: SessionService, clock: HandClock) -> None:
        await sessions.save_session("a", {"messages": [{"role": "user"}], "metadata": {"status": "open"}})

        assert await sessions.get_session("a") == {
            "messages": [{"role": "user"}],
            "metadata": {
                "status": "open",
                "session_id": "a",
                "created_at": clock.text,
                "updated_at": clock.text,
            },
        }

    async def test_a_session_without_metadata_gets_it(self, sessions: SessionService, clock: HandClock) -> None:
        await sessions.save_session("a", {})

        assert await sessions.get_session("a") == {
            "metadata": {"session_id": "a", "created_at": clock.text, "updated_at": clock.text}
        }

    async def test_saving_never_changes_what_the_caller_gave(self, sessions: SessionService) -> None:
        session: JsonObject = {"metadata": {"tags": ["x"]}, "state": {"list": [1]}}
        before = copy.deepcopy(session)

        await sessions.save_session("a", session)
        await sessions.update_session("a", session)
        await sessions.batch_save_sessions({"a": session, "b": session})
        session["state"]["list"].append(2)
        session["metadata"]["tags"].append("y")

        stored = await sessions.get_session("a")
        assert stored is not None
        assert (stored["state"], stored["metadata"]["tags"]) == (before["state"], before["metadata"]["tags"])
        assert set(session["metadata"]) == {"tags"}

    async def test_created_at_survives_a_second_save(self, sessions: SessionService, clock: HandClock) -> None:
        await sessions.save_session("a", {"n": 1})
        born, saved_at = clock.text, clock.turn()

        await sessions.save_session("a", {"n": 2, "metadata": {"created_at": saved_at, "session_id": "b"}})

        assert await sessions.get_session("a") == {
            "n": 2,
            "metadata": {"session_id": "a", "created_at": born, "updated_at": saved_at},
        }

    async def test_the_record_of_a_session_carries_what_others_look_for(
        self, sessions: SessionService, storage: IUnifiedStorage, clock: HandClock
    ) -> None:
        await sessions.save_session("a", {"metadata": {"thread_id": "t"}})
        born, updated_at = clock.text, clock.turn()
        await sessions.update_session("a", {"n": 1})

        record = await sessions.get_record("a")
        assert record is not None
        assert record.pop("data") == await sessions.get_session("a")
        assert record == {
            "id": "a",
            "type": "session",
            "session_id": "a",
            "thread_id": "t",
            "version": 2,
            "created_at": born,
            "updated_at": updated_at,
        }
        assert [found["id"] for found in await storage.get_by_session("a")] == ["a"]
        assert [found["id"] for found in await storage.get_by_thread("t")] == ["a"]

        await sessions.update_session("a", {"metadata": {"thread_id": None}})
        assert await storage.get_by_thread("t") == []

    async def test_an_absent_session_is_none(self, sessions: SessionService) -> None:
        assert await sessions.get_session("nobody") is None
        assert await sessions.get_record("nobody") is None
        assert await sessions.get_model("nobody") is None
        assert await sessions.session_exists("nobody") is False

    async def test_hostile_ids_name_different_sessions(self, sessions: SessionService) -> None:
        await sessions.batch_save_sessions({name: {"mine": name} for name in HOSTILE_IDS})

        for name in HOSTILE_IDS:
            assert (await sessions.get_session(name) or {})["mine"] == name
            assert await sessions.count_sessions({"session_id": name}) == 1

    async def test_what_is_not_an_id_names_no_session(self, sessions: SessionService) -> None:
        for name, session_id in REFUSED_IDS.items():
            calls: list[Awaitable[Any]] = [
                sessions.save_session(session_id, {}),
                sessions.get_session(session_id),
                sessions.update_session(session_id, {}),
                sessions.delete_session(session_id),
                sessions.session_exists(session_id),
                sessions.batch_save_sessions({"a": {}, session_id: {}}),
                sessions.batch_delete_sessions([session_id]),
                sessions.edit_session(session_id, lambda data: data),
            ]
            refused = [await refusal(call, StorageValidationError) is not None for call in calls]
            assert (name, refused) == (name, [True] * len(calls))

        assert await sessions.count_sessions() == 0

    async def test_a_session_that_is_not_json_is_refused_with_its_path(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"n": 1})
        before = await sessions.get_record("a")

        for name, value in REFUSED_VALUES.items():
            session = {"metadata": {"list": [0, value]}}
            calls: list[Awaitable[Any]] = [
                sessions.save_session("a", session),
                sessions.update_session("a", session),
                sessions.batch_save_sessions({"b": {}, "a": session}),
                sessions.edit_session("a", partial(_replaced, session), replace=True),
            ]
            errors = [await refusal(call, StorageValidationError) for call in calls]
            named = [error and (error.id, str(error.path)[:18]) for error in errors]
            assert (name, named) == (name, [("a", "$.metadata.list[1]")] * len(calls))

        assert await sessions.get_record("a") == before
        assert await sessions.count_sessions() == 1

    async def test_a_session_that_is_no_object_is_refused(self, sessions: SessionService) -> None:
        values: list[Any] = [None, "text", 5, ["a"], [("n", 1)]]

        for value in values:
            assert await refusal(sessions.save_session("a", value), StorageValidationError)

        assert await sessions.session_exists("a") is False

    async def test_malformed_metadata_is_refused_with_its_path(self, sessions: SessionService) -> None:
        for metadata, path in MALFORMED_METADATA:
            error = await refusal(sessions.save_session("a", {"metadata": metadata}), StorageValidationError)
            assert error is not None
            assert (error.id, error.path) == ("a", path)

        assert await sessions.session_exists("a") is False

    # -- patching and deleting ----------------------------------------------------------------------------------------

    async def test_an_update_is_a_merge_patch_of_the_session(self, sessions: SessionService, clock: HandClock) -> None:
        await sessions.save_session("a", {"keep": 1, "drop": 2, "metadata": {"status": "open", "tags": ["x"]}})
        born, updated_at = clock.text, clock.turn()

        await sessions.update_session("a", {"drop": None, "new": {"n": 3}, "metadata": {"status": None, "tags": []}})

        assert await sessions.get_session("a") == {
            "keep": 1,
            "new": {"n": 3},
            "metadata": {"tags": [], "session_id": "a", "created_at": born, "updated_at": updated_at},
        }

    async def test_an_update_cannot_remove_or_forge_the_stamps(
        self, sessions: SessionService, clock: HandClock
    ) -> None:
        await sessions.save_session("a", {"metadata": {"status": "open"}})
        born, updated_at = clock.text, clock.turn()
        stamps = {"session_id": "a", "created_at": born, "updated_at": updated_at}

        await sessions.update_session(
            "a",
            {
                "metadata": {
                    "session_id": "b",
                    "created_at": "1999-01-01T00:00:00Z",
                    "updated_at": None,
                    "status": "open",
                }
            },
        )
        assert (await sessions.get_session("a") or {})["metadata"] == {"status": "open", **stamps}

        await sessions.update_session("a", {"metadata": None})
        assert (await sessions.get_session("a") or {})["metadata"] == stamps

    async def test_updating_an_absent_session_raises_and_makes_nothing(self, sessions: SessionService) -> None:
        with pytest.raises(StorageNotFoundError) as caught:
            await sessions.update_session("nobody", {"n": 1})

        assert caught.value.id == "nobody"
        assert await sessions.session_exists("nobody") is False

    async def test_a_deleted_session_is_gone(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {})
        assert await sessions.session_exists("a") is True

        await sessions.delete_session("a")

        assert await sessions.session_exists("a") is False
        assert await sessions.get_session("a") is None
        with pytest.raises(StorageNotFoundError) as caught:
            await sessions.delete_session("a")
        assert caught.value.id == "a"

    # -- other types --------------------------------------------------------------------------------------------------

    async def test_a_record_of_another_type_is_not_a_session(
        self, sessions: SessionService, storage: IUnifiedStorage
    ) -> None:
        await storage.save({"id": "a", "type": "note", "data": {"metadata": {"session_id": "a"}}})
        before = await storage.load("a")

        assert await sessions.get_session("a") is None
        assert await sessions.get_record("a") is None
        assert await sessions.list_sessions() == []
        assert await sessions.count_sessions() == 0
        for call in (
            sessions.save_session("a", {}),
            sessions.update_session("a", {}),
            sessions.delete_session("a"),
            sessions.batch_save_sessions({"b": {}, "a": {}}),
            sessions.batch_delete_sessions(["b", "a"]),
        ):
            with pytest.raises(StorageConflictError, match="note"):
                await call
        with pytest.raises(StorageNotFoundError):
            await sessions.edit_session("a", lambda data: data)
        assert await storage.list() == [before]

    # -- closing ------------------------------------------------------------------------------------------------------

    async def test_closing_the_sessions_closes_the_storage(
        self, sessions: SessionService, storage: IUnifiedStorage
    ) -> None:
        async with sessions as entered:
            assert entered is sessions
            assert (await sessions.health_check())["status"] == "ok"

        with pytest.raises(StorageClosedError):
            await sessions.get_session("a")
        with pytest.raises(StorageClosedError):
            await sessions.save_session("a", {})
        with pytest.raises(StorageClosedError):
            await storage.load("a")
