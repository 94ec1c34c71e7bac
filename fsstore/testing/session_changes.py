"""The contract of changing sessions safely: edits that are repeated where somebody else wrote in between."""

from __future__ import annotations

import asyncio

import pytest

from fsstore.errors import StorageConflictError, StorageNotFoundError
from fsstore.model.clock import HandClock
from fsstore.model.records import JsonObject
from fsstore.sessions.service import SessionService
from fsstore.testing.backend import OpenAgain, elsewhere
from fsstore.testing.session_edits import out_of_time
from fsstore.testing.sessions import SessionFixtures


class ChangeOfPlan(Exception):  # noqa: N818 - it is no error, a test leaves a block by it
    """What a caller raises inside a transaction or an edit."""


class SessionEditContract(SessionFixtures):
    """`edit_session`: read, change, save if nobody wrote in between, else again."""

    async def test_an_edit_may_change_the_session_in_place(self, sessions: SessionService, clock: HandClock) -> None:
        await sessions.save_session("a", {"n": 1, "list": [1]})
        born, edited_at = clock.text, clock.turn()

        def edit(data: JsonObject) -> None:
            data["n"] += 1
            data["list"].append(2)

        saved = await sessions.edit_session("a", edit)

        stamps = {"session_id": "a", "created_at": born, "updated_at": edited_at}
        assert saved == {"n": 2, "list": [1, 2], "metadata": stamps}
        assert await sessions.get_session("a") == saved
        assert (await sessions.get_record("a") or {})["version"] == 2

    async def test_an_edit_may_return_a_new_session(self, sessions: SessionService, clock: HandClock) -> None:
        await sessions.save_session("a", {"n": 1, "metadata": {"status": "open"}})

        saved = await sessions.edit_session("a", lambda data: {"m": data["n"]}, replace=True)

        stamps = {"session_id": "a", "created_at": clock.text, "updated_at": clock.text}
        assert saved == {"m": 1, "metadata": stamps}
        assert await sessions.get_session("a") == saved

    async def test_an_edit_may_be_async(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"n": 1})

        async def edit(data: JsonObject) -> None:
            await asyncio.sleep(0)
            data["n"] = 2

        assert (await sessions.edit_session("a", edit))["n"] == 2

    async def test_an_edit_is_repeated_when_somebody_wrote_in_between(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"n": 1})
        seen = []

        async def edit(data: JsonObject) -> None:
            seen.append(data["n"])
            if len(seen) < 3:
                await elsewhere(sessions.update_session("a", {"n": data["n"] * 10}))
            data["n"] += 1

        assert (await sessions.edit_session("a", edit))["n"] == 101
        assert seen == [1, 10, 100]

    async def test_an_edit_sees_through_a_session_deleted_and_made_again(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"n": 1})
        seen = []

        async def edit(data: JsonObject) -> None:
            seen.append(data["n"])
            if len(seen) == 1:
                await elsewhere(sessions.delete_session("a"))
                await elsewhere(sessions.save_session("a", {"n": 50}))
            data["n"] += 1

        assert (await sessions.edit_session("a", edit))["n"] == 51

    async def test_an_edit_that_never_wins_is_a_conflict_in_the_end(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"n": 0})

        async def edit(data: JsonObject) -> None:
            await elsewhere(sessions.update_session("a", {"n": data["n"] + 1}))
            data["n"] = -1

        with pytest.raises(StorageConflictError, match="during every try") as caught:
            await sessions.edit_session("a", edit, timeout_seconds=0)

        assert caught.value.outcome == "not applied"
        assert (await sessions.get_session("a") or {})["n"] == 1
        error = await out_of_time(
            lambda seconds: sessions.edit_session("a", edit, timeout_seconds=seconds), "during every try"
        )
        assert isinstance(error, StorageConflictError)

    async def test_edits_at_the_same_time_lose_nothing(self, sessions: SessionService, open_again: OpenAgain) -> None:
        shared = sessions.storage.guarantees.cross_process
        handles = [sessions, SessionService(await open_again())] if shared else [sessions]
        await sessions.save_session("a", {"n": 0})

        async def edit(data: JsonObject) -> None:
            before = data["n"]
            await asyncio.sleep(0)
            data["n"] = before + 1

        await asyncio.gather(*(handles[task % len(handles)].edit_session("a", edit) for task in range(20)))

        record = await sessions.get_record("a")
        assert record is not None
        assert (record["data"]["n"], record["version"]) == (20, 21)

    async def test_editing_an_absent_session_raises(self, sessions: SessionService) -> None:
        with pytest.raises(StorageNotFoundError):
            await sessions.edit_session("nobody", lambda data: data)

    async def test_an_edit_that_raises_changes_nothing(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"n": 1})
        before = await sessions.get_record("a")

        def edit(data: JsonObject) -> None:
            data["n"] = 2
            raise ChangeOfPlan

        with pytest.raises(ChangeOfPlan):
            await sessions.edit_session("a", edit)

        assert await sessions.get_record("a") == before
        assert (await sessions.edit_session("a", lambda data: data.update(n=3)))["n"] == 3

    async def test_what_a_caller_does_to_an_edited_session_does_not_reach_the_store(
        self, sessions: SessionService
    ) -> None:
        await sessions.save_session("a", {"list": []})
        kept: list[JsonObject] = []

        saved = await sessions.edit_session("a", kept.append)
        saved["list"].append(1)
        kept[0]["list"].append(2)

        assert (await sessions.get_session("a") or {})["list"] == []
