"""The contract of changing sessions safely: edits that are repeated, transactions that stand or fall as one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fsstore.errors import StorageConflictError, StorageNotFoundError, StorageValidationError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.clock import HandClock
from fsstore.model.records import JsonObject
from fsstore.sessions.service import SessionService
from fsstore.testing.backend import OpenAgain, elsewhere
from fsstore.testing.sessions import SESSIONS, SessionFixtures, names


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
        with pytest.raises(StorageConflictError):
            await sessions.edit_session("a", edit, timeout_seconds=0.05)

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


class SessionTransactionContract(SessionFixtures):
    """`transaction()`: reads that are checked and writes that are buffered until the end of the block."""

    async def test_a_transaction_is_committed_at_its_end(self, sessions: SessionService, clock: HandClock) -> None:
        await sessions.batch_save_sessions(SESSIONS)
        clock.turn()

        async with sessions.transaction() as transaction:
            await transaction.save_session("new", {"n": 1})
            await transaction.update_session("a", {"state": {"step": 9}})
            await transaction.delete_session("b")
            assert await sessions.count_sessions() == 3
            assert (await sessions.get_session("a") or {})["state"] == {"step": 1}

        assert names(await sessions.list_sessions()) == ["a", "new", "c"]
        assert (await sessions.get_session("a") or {})["state"] == {"step": 9}
        assert (await sessions.get_record("a") or {})["version"] == 2

    async def test_leaving_a_transaction_by_an_exception_applies_nothing(self, sessions: SessionService) -> None:
        await sessions.batch_save_sessions(SESSIONS)
        before = await sessions.list_sessions()

        async def change_the_plan() -> None:
            async with sessions.transaction() as transaction:
                await transaction.save_session("new", {})
                await transaction.delete_session("a")
                raise ChangeOfPlan

        with pytest.raises(ChangeOfPlan):
            await change_the_plan()

        assert await sessions.list_sessions() == before

    async def test_a_transaction_reads_its_own_writes(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"n": 1})

        async with sessions.transaction() as transaction:
            await transaction.update_session("a", {"n": 2})
            assert (await transaction.get_session("a") or {})["n"] == 2
            await transaction.save_session("b", {"n": 3})
            await transaction.update_session("b", {"m": 4})
            made = await transaction.get_session("b")
            assert made is not None
            assert (made["n"], made["m"], made["metadata"]["session_id"]) == (3, 4, "b")
            await transaction.delete_session("a")
            assert await transaction.get_session("a") is None
            assert await transaction.get_session("nobody") is None

        assert names(await sessions.list_sessions()) == ["b"]

    async def test_one_session_may_be_changed_several_times_in_a_transaction(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"n": 1, "metadata": {"status": "open"}})

        async with sessions.transaction() as transaction:
            await transaction.update_session("a", {"n": 2})
            await transaction.delete_session("a")
            await transaction.save_session("a", {"n": 3})
            await transaction.update_session("a", {"m": 4})

        session = await sessions.get_session("a")
        assert session is not None
        assert (session["n"], session["m"]) == (3, 4)
        assert "status" not in session["metadata"]

    @pytest.mark.parametrize("name", ["a", "nobody"])
    async def test_a_transaction_is_refused_when_what_it_read_has_changed(
        self, sessions: SessionService, name: str
    ) -> None:
        await sessions.save_session("a", {"n": 1})

        async def read_then_write() -> None:
            async with sessions.transaction() as transaction:
                await transaction.get_session(name)
                await transaction.save_session("b", {"n": 1})
                await sessions.save_session(name, {"n": 2})

        with pytest.raises(StorageConflictError) as caught:
            await read_then_write()

        assert caught.value.id == name
        assert await sessions.session_exists("b") is False
        assert (await sessions.get_session(name) or {})["n"] == 2

    async def test_a_transaction_that_only_reads_is_checked_too(self, sessions: SessionService) -> None:
        await sessions.batch_save_sessions({"a": {"n": 1}, "b": {"n": 1}})

        async def read_both() -> None:
            async with sessions.transaction() as transaction:
                await transaction.get_session("a")
                await sessions.update_session("a", {"n": 2})
                await transaction.get_session("b")

        with pytest.raises(StorageConflictError):
            await read_both()

    async def test_a_transaction_is_not_disturbed_by_other_sessions(self, sessions: SessionService) -> None:
        await sessions.batch_save_sessions({"a": {"n": 1}, "b": {"n": 1}})

        async with sessions.transaction() as transaction:
            read = await transaction.get_session("a")
            assert read is not None
            await transaction.update_session("a", {"n": read["n"] + 1})
            await sessions.update_session("b", {"n": 5})

        assert (await sessions.get_session("a") or {})["n"] == 2
        assert (await sessions.get_session("b") or {})["n"] == 5

    async def test_an_empty_transaction_does_nothing(self, sessions: SessionService) -> None:
        async with sessions.transaction():
            pass

        assert await sessions.count_sessions() == 0

    async def test_an_error_in_a_transaction_names_its_statement_at_once(self, sessions: SessionService) -> None:
        bad: dict[str, Any] = {"n": float("nan")}
        async with sessions.transaction() as transaction:
            with pytest.raises(StorageNotFoundError):
                await transaction.update_session("nobody", {"n": 1})
            with pytest.raises(StorageNotFoundError):
                await transaction.delete_session("nobody")
            with pytest.raises(StorageValidationError):
                await transaction.save_session("a", bad)
            await transaction.save_session("b", {})

        assert names(await sessions.list_sessions()) == ["b"]

    async def test_what_a_caller_does_to_what_a_transaction_gave_stays_outside_it(
        self, sessions: SessionService
    ) -> None:
        await sessions.save_session("a", {"list": []})

        async with sessions.transaction() as transaction:
            read = await transaction.get_session("a")
            assert read is not None
            read["list"].append(1)
            await transaction.update_session("a", {"n": 1})

        session = await sessions.get_session("a")
        assert session is not None
        assert (session["list"], session["n"]) == ([], 1)

    async def test_transfers_at_the_same_time_keep_the_sum(
        self, sessions: SessionService, storage: IUnifiedStorage
    ) -> None:
        await sessions.batch_save_sessions({"a": {"n": 50}, "b": {"n": 50}})

        async def transfer(amount: int) -> bool:
            try:
                async with sessions.transaction() as transaction:
                    left, right = await transaction.get_session("a"), await transaction.get_session("b")
                    assert left is not None
                    assert right is not None
                    await asyncio.sleep(0)
                    await transaction.update_session("a", {"n": left["n"] - amount})
                    await transaction.update_session("b", {"n": right["n"] + amount})
            except StorageConflictError:
                return False
            return True

        done = await asyncio.gather(*(transfer(amount) for amount in range(1, 9)))

        moved = sum(amount for amount, succeeded in zip(range(1, 9), done, strict=True) if succeeded)
        found = {record["id"]: record["data"]["n"] for record in await storage.list()}
        assert moved > 0
        assert found == {"a": 50 - moved, "b": 50 + moved}
