"""The contract of `edit_session` and its function: what this may return, and what it must not do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from fsstore.errors import StorageConflictError, StorageError, StorageTimeoutError, StorageValidationError
from fsstore.model.records import JsonObject
from fsstore.sessions.models import SessionData
from fsstore.sessions.service import SessionService
from fsstore.testing.backend import refusal
from fsstore.testing.sessions import SessionFixtures

SOON_SECONDS = 0.05
LONG_SECONDS = 20.0
"""What no edit of these tests may take; a hang would take it all."""

SESSION: JsonObject = {"messages": [{"role": "user"}], "metadata": {"status": "open"}}


async def hang(*_: Any) -> None:
    """Never end."""
    await asyncio.Event().wait()


async def out_of_time(edit: Callable[[float], Awaitable[object]], what: str) -> StorageError:
    """Return the error of an edit whose time is up, given so many seconds, while it waits for what `what` names.

    Where a machine is slow or busy the time may be up before that: then it gets ten times as long, twice at most.
    """
    for seconds in (SOON_SECONDS, 10 * SOON_SECONDS, 100 * SOON_SECONDS):
        async with asyncio.timeout(seconds + LONG_SECONDS):
            with pytest.raises((StorageTimeoutError, StorageConflictError)) as caught:
                await edit(seconds)
        if what in str(caught.value):
            break
    assert what in str(caught.value)
    return caught.value


class SessionEditReturnContract(SessionFixtures):
    """What the function of an edit may return."""

    async def test_what_a_function_returns_by_the_way_does_not_replace_the_session(
        self, sessions: SessionService
    ) -> None:
        await sessions.save_session("a", SESSION)
        before = await sessions.get_record("a")
        functions: dict[str, Callable[[JsonObject], Any]] = {
            "dict with the keys 'role'": lambda s: s["messages"].pop(),
            "dict": lambda s: s.setdefault("state", {}),
            "list": lambda s: s["messages"],
            "str": lambda s: s["metadata"].pop("status"),
            "bool": bool,
            "int": len,
            "SessionData": SessionData.model_validate,
        }

        for described, function in functions.items():
            error = await refusal(sessions.edit_session("a", function), StorageValidationError)
            assert error is not None, described
            assert (error.id, error.path, error.outcome) == ("a", "fn", "not applied")
            assert f"returned a value of type {described}, which is not the draft" in str(error)
            assert "replace=True" in str(error)
        assert await sessions.get_record("a") == before

    async def test_a_function_may_return_nothing_or_the_draft_in_any_form(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"n": 0})

        class Adding:
            async def __call__(self, data: JsonObject) -> JsonObject:
                data["n"] += 1
                return data

        async def add(step: int, data: JsonObject) -> None:
            data["n"] += step

        def add_now(data: JsonObject) -> JsonObject:
            data["n"] += 1
            return data

        def add_soon(data: JsonObject) -> Awaitable[None]:
            return asyncio.ensure_future(add(1, data))

        for function in (Adding(), partial(add, 1), add_now, add_soon):
            for replace in (False, True):
                await sessions.edit_session("a", function, replace=replace)

        assert (await sessions.get_session("a") or {})["n"] == 8

    async def test_a_session_is_replaced_on_request_alone(self, sessions: SessionService) -> None:
        await sessions.save_session("a", SESSION)

        taken = await sessions.edit_session("a", lambda s: s["messages"].pop(), replace=True)
        assert (taken["role"], "messages" in taken) == ("user", False)
        times = {"created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"}
        model = SessionData.model_validate({"metadata": {"session_id": "a", "status": "new", **times}})
        assert (await sessions.edit_session("a", lambda _: model, replace=True))["metadata"]["status"] == "new"
        others: list[Callable[[JsonObject], Any]] = [lambda _: "text", len, list]
        for function in others:
            assert await refusal(sessions.edit_session("a", function, replace=True), StorageValidationError)

        assert (await sessions.get_record("a") or {})["version"] == 3

    async def test_what_is_no_function_and_no_time_is_refused(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {})
        edit: Any = sessions.edit_session

        for function in (None, {"n": 1}, "text"):
            error = await refusal(edit("a", function), StorageValidationError)
            assert error is not None
            assert error.path == "fn"
        for seconds in (-1, float("nan"), "5", None, True, [1]):
            error = await refusal(edit("a", lambda _: None, timeout_seconds=seconds), StorageValidationError)
            assert error is not None
            assert error.path == "timeout_seconds"
        for seconds in (float("inf"), 10**400, 0, 1):
            await edit("a", lambda _: None, timeout_seconds=seconds)


class SessionEditInsideContract(SessionFixtures):
    """What the function of an edit must not do: write its own session in another way."""

    async def test_the_same_session_is_not_written_inside_its_edit(self, sessions: SessionService) -> None:
        await sessions.batch_save_sessions({"a": {"n": 0}, "b": {"n": 0}})
        other = SessionService(sessions.storage)

        async def in_transaction(service: SessionService, name: str) -> None:
            async with service.transaction() as transaction:
                await getattr(transaction, f"{name}_session")("a", *([] if name == "delete" else [{"n": 5}]))

        writes: dict[str, Callable[[SessionService], Awaitable[object]]] = {
            "edit_session": lambda service: service.edit_session("a", lambda s: s.update(n=5)),
            "update_session": lambda service: service.update_session("a", {"n": 5}),
            "save_session": lambda service: service.save_session("a", {"n": 5}),
            "delete_session": lambda service: service.delete_session("a"),
            "batch_save_sessions": lambda service: service.batch_save_sessions({"b": {}, "a": {}}),
            "batch_delete_sessions": lambda service: service.batch_delete_sessions(iter(["b", "a"])),
            "a transaction": lambda service: in_transaction(service, "update"),
            "a transaction ": lambda service: in_transaction(service, "save"),
            "a transaction  ": lambda service: in_transaction(service, "delete"),
        }

        def started(call: Awaitable[object]) -> Awaitable[object]:
            return asyncio.gather(call)

        for what, write in writes.items():
            for service in (sessions, other):
                for way in (lambda call: call, started):

                    async def edit(
                        _: JsonObject,
                        write: Callable[[SessionService], Awaitable[object]] = write,
                        service: SessionService = service,
                        way: Callable[[Awaitable[object]], Awaitable[object]] = way,
                    ) -> None:
                        await way(write(service))

                    async with asyncio.timeout(LONG_SECONDS):
                        error = await refusal(sessions.edit_session("a", edit), StorageValidationError)
                    assert error is not None, what
                    assert (error.id, error.outcome) == ("a", "not applied")
                    assert f"{what.strip()} cannot write the session inside" in str(error)
                    assert "change the draft" in str(error)
        assert [(await sessions.get_record(name) or {})["version"] for name in "ab"] == [1, 1]

    async def test_threads_that_a_function_starts_are_inside_it_too(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"n": 0})

        def write() -> None:
            asyncio.run(sessions.update_session("a", {"n": 5}))

        async def edit(_: JsonObject) -> None:
            await asyncio.to_thread(write)

        async with asyncio.timeout(LONG_SECONDS):
            assert await refusal(sessions.edit_session("a", edit), StorageValidationError)

    async def test_other_sessions_and_reads_are_free_inside_an_edit(self, sessions: SessionService) -> None:
        await sessions.batch_save_sessions({"a": {"n": 1}, "b": {"n": 2}, "c": {}})

        async def edit(data: JsonObject) -> None:
            await sessions.update_session("b", {"n": 3})
            await sessions.edit_session("b", lambda s: s.update(n=s["n"] + 1))
            await sessions.batch_delete_sessions(["c"])
            async with sessions.transaction() as transaction:
                seen = await transaction.get_session("a")
                await transaction.save_session("d", {"n": (seen or {})["n"]})
            data["n"] = (await sessions.get_session("a") or {})["n"] + len(await sessions.list_sessions())

        assert (await sessions.edit_session("a", edit))["n"] == 4
        assert (await sessions.get_session("b") or {})["n"] == 4

    async def test_a_task_that_goes_on_after_an_edit_may_write(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"n": 0})
        ended = asyncio.Event()
        tasks = []

        async def write_later() -> None:
            await ended.wait()
            await sessions.update_session("a", {"later": True})
            await sessions.edit_session("a", lambda s: s.update(n=s["n"] + 1))

        async def edit(data: JsonObject) -> None:
            tasks.append(asyncio.create_task(write_later()))
            await asyncio.sleep(0)
            data["n"] = 1

        await sessions.edit_session("a", edit)
        ended.set()
        await asyncio.gather(*tasks)

        session = await sessions.get_session("a")
        assert session is not None
        assert (session["n"], session["later"]) == (2, True)

    async def test_after_an_edit_that_fails_the_session_is_written_again(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"n": 0})

        for function, seconds in ((lambda _: 1 / 0, 30.0), (hang, SOON_SECONDS)):
            with pytest.raises((ZeroDivisionError, StorageTimeoutError)):
                await sessions.edit_session("a", function, timeout_seconds=seconds)  # type: ignore[arg-type]
            await sessions.update_session("a", {"n": 1})
            await sessions.edit_session("a", lambda s: s.update(n=2))

        assert (await sessions.get_record("a") or {})["version"] == 5
