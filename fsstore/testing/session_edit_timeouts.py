"""The contract of the time that `edit_session` may take: the wait for other edits, and its function."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest

from fsstore.errors import StorageConflictError, StorageError, StorageTimeoutError
from fsstore.model.records import JsonObject
from fsstore.sessions.edits import Edit
from fsstore.sessions.service import SessionService
from fsstore.testing.backend import elsewhere
from fsstore.testing.session_edits import LONG_SECONDS, SOON_SECONDS, hang, out_of_time
from fsstore.testing.sessions import SessionFixtures


class SessionEditTimeoutContract(SessionFixtures):
    """How long an edit may take, all in all."""

    async def test_the_timeout_bounds_the_wait_for_another_tasks_edit(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"n": 0})
        started = asyncio.Event()

        async def hold(_: JsonObject) -> None:
            started.set()
            await hang()

        holding = asyncio.create_task(sessions.edit_session("a", hold))
        await started.wait()
        for seconds in (SOON_SECONDS, 0):
            async with asyncio.timeout(LONG_SECONDS):
                with pytest.raises(StorageTimeoutError, match="another task's edit") as caught:
                    await sessions.edit_session("a", lambda s: s.update(n=1), timeout_seconds=seconds)
            assert (caught.value.outcome, caught.value.timeout_seconds) == ("not applied", seconds)

        holding.cancel()
        await asyncio.wait([holding])
        assert holding.cancelled()
        assert (await sessions.edit_session("a", lambda s: s.update(n=2)))["n"] == 2

    async def test_the_timeout_bounds_the_function(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"n": 0})
        given_seconds = 0.0

        async def stubborn(data: JsonObject) -> None:
            data["n"] = 1
            try:
                await hang()
            except asyncio.CancelledError:
                return  # as if nothing had happened

        def slow(data: JsonObject) -> None:
            data["n"] = 1
            time.sleep(2 * given_seconds)

        async def edit(function: Edit, seconds: float) -> None:
            nonlocal given_seconds
            given_seconds = seconds
            await sessions.edit_session("a", function, timeout_seconds=seconds)

        for function in (hang, stubborn, slow):
            error = await out_of_time(partial(edit, function), "fn")
            assert isinstance(error, StorageTimeoutError)
            assert error.outcome == "not applied"
        assert (await sessions.get_record("a") or {})["data"]["n"] == 0
        assert (await sessions.get_record("a") or {})["version"] == 1

    async def test_a_timeout_of_the_functions_own_is_its_own(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"n": 0})

        async def give_up(_: JsonObject) -> None:
            async with asyncio.timeout(0):
                await hang()

        with pytest.raises(TimeoutError) as caught:
            await sessions.edit_session("a", give_up)

        assert not isinstance(caught.value, StorageError)

    async def test_two_edits_inside_each_other_end_by_the_timeout_that_says_so(self, sessions: SessionService) -> None:
        await sessions.batch_save_sessions({"a": {"n": 0}, "b": {"n": 0}})
        inside = {"a": asyncio.Event(), "b": asyncio.Event()}

        async def edit_both(first: str, second: str, seconds: float) -> JsonObject:
            async def edit(_: JsonObject) -> None:
                inside[first].set()
                await inside[second].wait()
                await sessions.edit_session(second, lambda s: s.update(n=1))

            return await sessions.edit_session(first, edit, timeout_seconds=seconds)

        longer = asyncio.create_task(edit_both("b", "a", LONG_SECONDS))
        await inside["b"].wait()
        error = await out_of_time(partial(edit_both, "a", "b"), "waits for another task's edit of session 'b'")

        assert isinstance(error, StorageTimeoutError)
        assert "same order" in str(error)
        await longer
        assert [(await sessions.get_session(name) or {})["n"] for name in "ab"] == [1, 0]

    async def test_a_try_that_loses_and_then_hangs_is_a_conflict(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"n": 0})
        tries = []

        async def edit(data: JsonObject) -> None:
            tries.append(data["n"])
            if len(tries) > 1:
                await hang()
            await elsewhere(sessions.update_session("a", {"n": 7}))

        async def edit_anew(seconds: float) -> None:
            tries.clear()
            await sessions.save_session("a", {"n": 0})
            await sessions.edit_session("a", edit, timeout_seconds=seconds)

        error = await out_of_time(edit_anew, "during every try")
        assert isinstance(error, StorageConflictError)
        assert tries == [0, 7]
