"""The contract of expected versions: a write that was meant for another state of a session is refused."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest

from fsstore.errors import StorageConflictError, StorageValidationError
from fsstore.sessions.service import SessionService
from fsstore.testing.backend import refusal
from fsstore.testing.sessions import SessionFixtures


class SessionVersionContract(SessionFixtures):
    """`expected_version`, wherever it is taken."""

    async def test_the_expected_version_lets_a_write_pass(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"n": 1}, expected_version=0)
        await sessions.save_session("a", {"n": 2}, expected_version=1)
        await sessions.update_session("a", {"n": 3}, expected_version=2)
        assert (await sessions.get_record("a") or {})["version"] == 3

        await sessions.delete_session("a", expected_version=3)
        assert await sessions.session_exists("a") is False

    async def test_another_version_than_expected_is_a_conflict(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"n": 1})
        await sessions.save_session("a", {"n": 2})
        before = await sessions.get_record("a")

        for call, expected in (
            (sessions.save_session("a", {}, expected_version=0), 0),
            (sessions.save_session("a", {}, expected_version=1), 1),
            (sessions.update_session("a", {}, expected_version=3), 3),
            (sessions.delete_session("a", expected_version=1), 1),
        ):
            with pytest.raises(StorageConflictError) as caught:
                await call
            assert (caught.value.id, caught.value.expected, caught.value.actual) == ("a", expected, 2)
        with pytest.raises(StorageConflictError) as caught:
            await sessions.save_session("nobody", {}, expected_version=4)
        assert (caught.value.expected, caught.value.actual) == (4, 0)
        assert await sessions.get_record("a") == before
        assert await sessions.count_sessions() == 1

    async def test_a_session_that_was_deleted_and_made_again_is_another_one(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"n": 1})
        await sessions.delete_session("a")
        await sessions.save_session("a", {"n": 2}, expected_version=0)

        with pytest.raises(StorageConflictError) as caught:
            await sessions.update_session("a", {"n": 3}, expected_version=1)
        assert (caught.value.expected, caught.value.actual) == (1, 2)

    async def test_a_version_that_is_no_count_is_refused(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {})
        versions: list[Any] = ["1", 1.0, True, -1]

        for version in versions:
            calls: list[Awaitable[Any]] = [
                sessions.save_session("a", {}, expected_version=version),
                sessions.update_session("a", {}, expected_version=version),
                sessions.delete_session("a", expected_version=version),
            ]
            errors = [await refusal(call, StorageValidationError) for call in calls]
            assert (version, [error and error.path for error in errors]) == (version, ["expected_version"] * len(calls))
