"""The contract of times in sessions: they stand in the metadata, and mean what those of records do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fsstore.errors import StorageValidationError
from fsstore.model.clock import HandClock
from fsstore.model.records import JsonObject
from fsstore.sessions.service import SessionService
from fsstore.testing.backend import refusal
from fsstore.testing.sessions import SessionFixtures, names
from fsstore.testing.times import (
    ENVELOPE_PATHS,
    MOMENT,
    NO_TIMES,
    SAME_MOMENT,
    WRITTEN,
    LocalZones,
    naive_and_its_instant,
)


def _setting(metadata: JsonObject) -> Callable[[JsonObject], None]:
    """Return an edit that sets something in the metadata."""

    def edit(draft: JsonObject) -> None:
        draft["metadata"].update(metadata)

    return edit


class SessionTimeContract(LocalZones, SessionFixtures):
    """The times in the metadata of sessions."""

    async def test_a_session_may_give_its_creation_in_any_form(self, sessions: SessionService) -> None:
        for at, given in enumerate(SAME_MOMENT):
            metadata = {"created_at": given, "updated_at": given}
            await sessions.save_session(f"s{at}", {"metadata": metadata})
            await sessions.batch_save_sessions({f"b{at}": {"metadata": metadata}})
            await sessions.batch_save_sessions({f"i{at}": {"metadata": metadata}}, keep_times=True)
            async with sessions.transaction() as transaction:
                await transaction.save_session(f"t{at}", {"metadata": metadata})
                await transaction.update_session(f"t{at}", {"metadata": metadata})
            await sessions.update_session(f"s{at}", {"metadata": metadata})
            await sessions.edit_session(f"b{at}", _setting(metadata))
            assert metadata == {"created_at": given, "updated_at": given}

        found = await sessions.list_metadata()

        assert len(found) == 4 * len(SAME_MOMENT)
        assert {metadata["created_at"] for metadata in found} == {MOMENT}
        assert {record["created_at"] for record in await sessions.storage.list()} == {MOMENT}
        imported = {metadata["updated_at"] for metadata in found if metadata["session_id"].startswith("i")}
        assert imported == {MOMENT}

    async def test_a_session_without_an_offset_in_its_times_means_local_time(
        self, sessions: SessionService, local_zone: str
    ) -> None:
        naive, instant = naive_and_its_instant()
        for name, given in (("a", naive), ("b", naive.isoformat())):
            times = {"created_at": given, "updated_at": given}
            await sessions.batch_save_sessions({name: {"metadata": {**times, "zone": local_zone}}}, keep_times=True)

        for operand in (naive, naive.isoformat(), instant):
            found = await sessions.list_sessions({"created_at": operand, "updated_at": {"$gte": operand}})
            assert names(found) == ["a", "b"]
        assert {session["metadata"]["updated_at"] for session in found} == {instant}

    @pytest.mark.parametrize("key", ENVELOPE_PATHS)
    async def test_a_session_with_what_is_no_time_is_refused_by_its_key(
        self, sessions: SessionService, key: str
    ) -> None:
        await sessions.save_session("there", {})
        before = await sessions.get_record("there")
        for given in NO_TIMES:
            data = {"metadata": {key: given}}
            calls: list[Awaitable[Any]] = [
                sessions.save_session("there", data),
                sessions.update_session("there", data),
                sessions.edit_session("there", _setting(data["metadata"])),
                sessions.batch_save_sessions({"there": data}),
                sessions.batch_save_sessions({"there": data}, keep_times=True),
                sessions.transaction().save_session("there", data),
            ]
            for call in calls:
                error = await refusal(call, StorageValidationError)
                assert error is not None, given
                assert (error.path, error.id) == (f"$.metadata.{key}", "there")
                assert "ISO 8601" in error.advice or "years 1 to 9999" in error.advice

        assert await sessions.get_record("there") == before

    async def test_an_update_of_a_session_is_never_before_what_was_there(
        self, sessions: SessionService, clock: HandClock
    ) -> None:
        for name in "abcde":
            await sessions.save_session(name, {})
        made = clock.text
        clock.turn(-86_400)

        await sessions.save_session("a", {"messages": []})
        await sessions.update_session("b", {"metadata": {"status": "open"}})
        await sessions.edit_session("c", lambda draft: draft.update(state={}))
        await sessions.batch_save_sessions({"d": {"metadata": {"status": "open"}}})
        async with sessions.transaction() as transaction:
            await transaction.update_session("e", {"state": {}})
        await sessions.save_session("new", {"metadata": {"created_at": made}})

        for record in await sessions.storage.list():
            assert record["created_at"] == record["updated_at"] == made
            assert {record["data"]["metadata"][key] for key in ENVELOPE_PATHS} == {made}

    async def test_sessions_from_elsewhere_are_listed_by_their_instants(self, sessions: SessionService) -> None:
        written = {name: value for name, value in WRITTEN.items() if name in "abcd"}
        await sessions.batch_save_sessions(
            {name: {"metadata": {"created_at": value, "updated_at": value}} for name, value in written.items()},
            keep_times=True,
        )

        for path in ("created_at", "updated_at", "metadata.created_at"):
            assert names(await sessions.list_sessions(order_by=path)) == [*"abcd"]
            assert names(await sessions.list_sessions(order_by=f"-{path}")) == [*"dcba"]
            assert await sessions.count_sessions({path: {"$gt": "2026-01-05T10:00:00Z"}}) == 3
        paged: list[str] = []
        page = await sessions.list_page(limit=1)
        paged += names(page.items)
        while page.cursor is not None:
            page = await sessions.list_page(limit=1, cursor=page.cursor)
            paged += names(page.items)
        assert paged == [*"dcba"]
