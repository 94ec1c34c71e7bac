"""The contract of many sessions: batches, filters and orders, pages."""

from __future__ import annotations

import copy
from collections.abc import Awaitable
from contextlib import aclosing
from typing import Any

import pytest
from pydantic import BaseModel

from fsstore.errors import StorageValidationError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.clock import HandClock
from fsstore.model.records import JsonObject
from fsstore.sessions.service import SessionService
from fsstore.testing.backend import refusal
from fsstore.testing.sessions import SESSIONS, SessionFixtures, names

STRANGE: dict[str, JsonObject] = {
    "a": {"metadata": {"session_id": "z", "status": "copied"}},
    "b": {"metadata": {"status": "by hand"}},
    "c": {"messages": ["by hand"]},
    "d": {"metadata": {"session_id": ["a", "list"]}},
}
"""Sessions as files may hold them that were copied, or edited by hand."""


class AnySession(BaseModel):
    """A session with any metadata."""

    metadata: dict[str, Any]


FILTERS: dict[str, tuple[JsonObject, str]] = {
    "a bare key": ({"status": "open"}, "ac"),
    "two bare keys": ({"status": "open", "user_id": "zoe"}, "a"),
    "a tag": ({"tags": "blue"}, "ab"),
    "the session's id": ({"session_id": "b"}, "b"),
    "a dotted key": ({"state.step": 2}, "b"),
    "metadata by its whole path": ({"metadata.status": "closed"}, "b"),
    "into the messages": ({"messages.role": "user"}, "c"),
    "an operator": ({"rank": {"$gt": 4}}, "c"),
    "logic over both": ({"$or": [{"status": "closed"}, {"messages.content": "hi"}]}, "bc"),
    "nothing that is there": ({"step": 1}, ""),
    "no condition": ({}, "abc"),
}
"""Filters in the words of sessions, and the sessions that match."""

REFUSED_FILTERS: dict[str, tuple[JsonObject, str, str]] = {
    "a bare key": ({"status": {"$ne": {"$in": ["x"]}}}, "$.status['$ne']", "use {'status': {'$nin': [...]}}"),
    "a dotted key": ({"state.step": {"gt": 1}}, "$['state.step']", "write '$gt'"),
    "metadata by its whole path": (
        {"metadata.rank": {"$in": [{"$gt": 1}]}},
        "$['metadata.rank']['$in'][0]",
        "{'$or': [{'metadata.rank': {'$gt': ...}}, ...]}",
    ),
    "an escaped key": ({r"a\.b": {"$ne": {"$gt": 1}}}, r"$['a\\.b']['$ne']", r"{'a\\.b': {'$not': {'$gt': ...}}}"),
    "a part of a list": (
        {"$or": [{"a": 1}, {"n": {"m": {"$gt": 1}}}]},
        "$['$or'][1].n.m",
        r"put it into the path: n.m.\$gt",
    ),
    "one that others begin with": (
        {"rank": 1, "ranking": {"$eq": {"$gt": 1}}},
        "$.ranking['$eq']",
        "leave $eq out: {'ranking': {'$gt': ...}}",
    ),
    "a time": ({"created_at": {"$gt": "yesterday"}}, "$.created_at['$gt']", "give a datetime"),
    "no path of a key": ({"$oops": 1}, "$['$oops']", "supported are"),
}
"""Filters that are refused, the place that is named, and what to write instead, in the same words."""


class SessionListContract(SessionFixtures):
    """Many sessions."""

    # -- batches ------------------------------------------------------------------------------------------------------

    async def test_a_batch_of_sessions_is_saved_and_deleted_as_one(
        self, sessions: SessionService, clock: HandClock
    ) -> None:
        await sessions.batch_save_sessions(SESSIONS)

        assert names(await sessions.list_sessions()) == ["a", "b", "c"]
        assert {session["metadata"]["created_at"] for session in await sessions.list_sessions()} == {clock.text}
        await sessions.batch_delete_sessions(["a", "nobody", "c"])
        assert names(await sessions.list_sessions()) == ["b"]

    async def test_a_batch_with_one_bad_session_is_refused_as_a_whole(self, sessions: SessionService) -> None:
        with pytest.raises(StorageValidationError):
            await sessions.batch_save_sessions({**SESSIONS, "d": {"metadata": "none"}})

        assert await sessions.count_sessions() == 0

    async def test_an_import_keeps_the_times_in_the_metadata(self, sessions: SessionService, clock: HandClock) -> None:
        times = {"created_at": "2020-01-01T00:00:00+00:00", "updated_at": "2021-01-01T01:00:00+01:00"}
        imported: dict[str, JsonObject] = {"old": {"metadata": times}, "bare": {}}

        await sessions.batch_save_sessions(imported, keep_times=True)
        await sessions.batch_save_sessions(imported, keep_times=True)

        record, bare = await sessions.get_record("old"), await sessions.get_record("bare")
        assert record is not None
        assert bare is not None
        assert record["created_at"] == "2020-01-01T00:00:00.000000+00:00"
        assert record["updated_at"] == "2021-01-01T00:00:00.000000+00:00"
        kept = {key: record[key] for key in times}
        assert record["data"]["metadata"] == {"session_id": "old", **kept}
        assert bare["data"]["metadata"]["created_at"] == bare["updated_at"] == clock.text
        assert names(await sessions.list_sessions()) == ["bare", "old"]

    # -- ids ----------------------------------------------------------------------------------------------------------

    async def test_the_id_of_a_session_is_its_records_whatever_its_metadata_says(
        self, sessions: SessionService, storage: IUnifiedStorage
    ) -> None:
        for record_id, data in STRANGE.items():
            await storage.save({"id": record_id, "type": "session", "session_id": "z", "data": copy.deepcopy(data)})

        listed = [metadata["session_id"] for metadata in await sessions.list_metadata(order_by="session_id")]
        assert listed == [*STRANGE]
        for record_id, data in STRANGE.items():
            shown = {**data, "metadata": {**(data.get("metadata") or {}), "session_id": record_id}}
            filters_by_id: list[JsonObject] = [
                {"session_id": record_id},
                {"metadata.session_id": {"$in": [record_id]}},
            ]
            for filters in filters_by_id:
                assert await sessions.list_sessions(filters) == [shown]
                assert await sessions.count_sessions(filters) == 1
                assert await sessions.list_metadata(filters) == [shown["metadata"]]
                assert (await sessions.list_page(filters)).items == [shown]
                async with aclosing(sessions.stream_sessions(filters)) as batches:
                    assert [batch async for batch in batches] == [[shown]]
            assert await sessions.get_session(record_id) == shown
            record = await sessions.get_record(record_id) or {}
            assert (record["session_id"], record["data"]) == (record_id, shown)
            async with sessions.transaction() as transaction:
                assert await transaction.get_session(record_id) == shown
            times = {key: record[key] for key in ("created_at", "updated_at")}
            model = await sessions.get_model(record_id, AnySession)
            assert model is not None
            assert model.metadata == times | shown["metadata"]
        assert await sessions.list_sessions({"session_id": {"$in": ["z", "x"]}}) == []

    async def test_the_next_change_of_a_session_writes_its_id_down(
        self, sessions: SessionService, storage: IUnifiedStorage
    ) -> None:
        drafts: list[JsonObject] = []
        for record_id, data in STRANGE.items():
            await storage.save({"id": record_id, "type": "session", "session_id": "z", "data": copy.deepcopy(data)})
            if record_id in "ac":
                await sessions.update_session(record_id, {"n": 1})
            else:
                await sessions.edit_session(record_id, lambda draft: drafts.append(copy.deepcopy(draft)))

        assert [draft["metadata"]["session_id"] for draft in drafts] == ["b", "d"]
        for record_id in STRANGE:
            record = await storage.load(record_id) or {}
            assert (record["session_id"], record["data"]["metadata"]["session_id"]) == (record_id, record_id)

    # -- filters and orders -------------------------------------------------------------------------------------------

    async def test_a_bare_key_means_metadata_and_a_dotted_one_the_session(
        self, sessions: SessionService, storage: IUnifiedStorage
    ) -> None:
        await sessions.batch_save_sessions(SESSIONS)
        await storage.save({"id": "z", "type": "note", "data": copy.deepcopy(SESSIONS["a"])})

        for name, (filters, ids) in FILTERS.items():
            expected = list(ids)
            assert (name, names(await sessions.list_sessions(filters))) == (name, expected)
            assert await sessions.count_sessions(filters) == len(expected)
            assert [metadata["session_id"] for metadata in await sessions.list_metadata(filters)] == expected
            async with aclosing(sessions.stream_sessions(filters, 2)) as batches:
                assert names([session async for batch in batches for session in batch]) == expected

    async def test_sessions_are_ordered_limited_and_skipped(self, sessions: SessionService, clock: HandClock) -> None:
        for number, name in enumerate("abcd"):
            await sessions.save_session(name, {"metadata": {"rank": number % 2}, "state": {"step": -number}})
            clock.turn()

        assert names(await sessions.list_sessions()) == ["d", "c", "b", "a"]
        assert names(await sessions.list_sessions(limit=2, offset=1)) == ["c", "b"]
        assert names(await sessions.list_sessions(order_by="rank")) == ["a", "c", "b", "d"]
        assert names(await sessions.list_sessions(order_by="-rank")) == ["b", "d", "a", "c"]
        assert names(await sessions.list_sessions(order_by="state.step")) == ["d", "c", "b", "a"]
        assert names(await sessions.list_sessions({"rank": 1}, 1, order_by="-updated_at")) == ["d"]

    async def test_list_metadata_gives_the_metadata_alone(self, sessions: SessionService, clock: HandClock) -> None:
        await sessions.save_session("a", SESSIONS["a"])

        assert await sessions.list_metadata() == [
            {
                **SESSIONS["a"]["metadata"],
                "session_id": "a",
                "created_at": clock.text,
                "updated_at": clock.text,
            }
        ]

    # -- pages --------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("limit", [1, 3, 10, 11, 99])
    async def test_pages_give_every_session_exactly_once(
        self, sessions: SessionService, clock: HandClock, limit: int
    ) -> None:
        for number, name in enumerate(["b", "a", " ", "é", "\U0001f600", "x y z", "c", "d", "e/f", "UPPER"]):
            await sessions.save_session(name, {"metadata": {"even": number % 2 == 0}})
            if number % 3 == 0:
                clock.turn()
        await sessions.save_session("old", {}, expected_version=0)
        expected = await sessions.list_sessions({"even": {"$exists": True}})

        found: list[JsonObject] = []
        sizes: list[int] = []
        cursor: str | None = None
        while not sizes or (cursor is not None and len(sizes) < 20):
            page = await sessions.list_page({"even": {"$exists": True}}, limit, cursor)
            found += page.items
            sizes.append(len(page.items))
            cursor = page.cursor

        assert found == expected
        assert len(found) == 10
        assert sizes == [limit] * (10 // limit) + [10 % limit] * (10 % limit > 0)

    async def test_a_session_that_does_not_change_is_paged_once_while_others_do(
        self, sessions: SessionService, clock: HandClock
    ) -> None:
        for number in range(12):
            await sessions.save_session(f"{number:02}", {})
            clock.turn()

        first = await sessions.list_page(limit=4)
        await sessions.update_session("03", {"n": 1})
        await sessions.save_session("new", {})
        await sessions.delete_session("11")
        second = await sessions.list_page(limit=4, cursor=first.cursor)
        third = await sessions.list_page(limit=4, cursor=second.cursor)

        assert names(first.items) == ["11", "10", "09", "08"]
        assert names(second.items) == ["07", "06", "05", "04"]
        assert names(third.items) == ["02", "01", "00"]
        assert third.cursor is None

    async def test_a_page_of_an_empty_store_is_empty(self, sessions: SessionService) -> None:
        page = await sessions.list_page()

        assert (page.items, page.cursor) == ([], None)

    async def test_a_cursor_that_is_none_is_refused(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {})

        cursors: list[Any] = ["", "x", "!!!!", "é", "AAAA", "bm90IGEgdGltZSBh", "\ud800", 5, True, b"x", ["x"]]
        for cursor in cursors:
            error = await refusal(sessions.list_page(cursor=cursor), StorageValidationError)
            assert (cursor, error and error.path) == (cursor, "cursor")

    async def test_a_page_without_room_is_refused(self, sessions: SessionService) -> None:
        limits: list[Any] = [0, -1, "5", 5.0, True, None, [5]]
        for limit in limits:
            error = await refusal(sessions.list_page(limit=limit), StorageValidationError)
            assert (limit, error and error.path) == (limit, "limit")

    # -- what is no question ------------------------------------------------------------------------------------------

    async def test_what_is_no_filter_of_sessions_is_refused_everywhere(self, sessions: SessionService) -> None:
        await sessions.save_session("a", SESSIONS["a"])
        filters: list[Any] = [
            *([], "", 0, False, "status=open", ["status"], ("status", "open"), {"status"}),
            *({"$or": {"status": "open"}}, {"metadata": {"status": "open"}}, {"data.metadata.status": "open"}),
            *({"status": {"$ne": {"$in": ["open"]}}}, {"status": {"eq": "open"}}, {"created": object()}),
        ]

        for wanted in filters:
            calls: list[Awaitable[Any]] = [
                sessions.list_sessions(wanted),
                sessions.list_metadata(wanted),
                sessions.list_page(wanted),
                sessions.count_sessions(wanted),
                anext(sessions.stream_sessions(wanted)),
            ]
            refused = [await refusal(call, StorageValidationError) is not None for call in calls]
            assert (wanted, refused) == (wanted, [True] * len(calls))

    @pytest.mark.parametrize("name", REFUSED_FILTERS)
    async def test_a_filter_is_refused_in_the_words_of_sessions(self, sessions: SessionService, name: str) -> None:
        wanted, path, remedy = REFUSED_FILTERS[name]

        for call in (sessions.list_sessions(wanted), sessions.list_page(wanted), sessions.count_sessions(wanted)):
            error = await refusal(call, StorageValidationError)
            assert error is not None
            assert error.path == path
            assert remedy in error.advice
            assert "data.metadata" not in str(error)

    async def test_what_is_no_order_of_sessions_is_refused_with_the_remedy(self, sessions: SessionService) -> None:
        orders: list[Any] = [[("created_at", -1)], ("created_at", -1), {"created_at": -1}, "", 5, ["created_at"]]

        for order_by in orders:
            for call in (sessions.list_sessions(order_by=order_by), sessions.list_metadata(order_by=order_by)):
                error = await refusal(call, StorageValidationError)
                assert (order_by, error and error.path) == (order_by, "order_by")
                assert 'order_by="' in str(error)

    async def test_bounds_of_sessions_that_are_no_counts_are_refused(self, sessions: SessionService) -> None:
        bounds: list[Any] = ["5", 5.0, True, -1]

        for bound in bounds:
            calls: list[Awaitable[Any]] = [
                sessions.list_sessions(limit=bound),
                sessions.list_metadata(limit=bound),
                sessions.list_sessions(offset=bound),
                sessions.list_metadata(offset=bound),
                anext(sessions.stream_sessions(batch_size=bound)),
            ]
            refused = [await refusal(call, StorageValidationError) is not None for call in calls]
            assert (bound, refused) == (bound, [True] * len(calls))

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

    async def test_one_id_is_not_taken_for_the_ids_of_its_letters(self, sessions: SessionService) -> None:
        await sessions.batch_save_sessions(SESSIONS)

        no_ids: list[Any] = ["abc", b"abc", None, 3]
        for ids in no_ids:
            for call in (sessions.batch_delete_sessions(ids), sessions.storage.batch_delete(ids)):
                assert await refusal(call, StorageValidationError), ids
        assert await sessions.count_sessions() == 3

    async def test_what_is_no_mapping_of_sessions_is_refused(self, sessions: SessionService) -> None:
        no_sessions: list[Any] = [None, "abc", [("a", {})], 3]
        for given in no_sessions:
            assert await refusal(sessions.batch_save_sessions(given), StorageValidationError), given
