"""The contract of transactions of sessions: they stand or fall as one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fsstore.errors import StorageConflictError, StorageNotFoundError, StorageValidationError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.clock import HandClock
from fsstore.sessions.service import SessionService
from fsstore.testing.session_changes import ChangeOfPlan
from fsstore.testing.sessions import SESSIONS, SessionFixtures, names


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
