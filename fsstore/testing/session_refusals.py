"""The contract of questions about sessions that are none: refused everywhere, in the words of sessions."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest

from fsstore.errors import StorageValidationError
from fsstore.model.records import JsonObject
from fsstore.sessions.service import SessionService
from fsstore.testing.backend import refusal
from fsstore.testing.sessions import SESSIONS, SessionFixtures

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


class SessionRefusalContract(SessionFixtures):
    """What no filter, order, bound or batch of sessions can be."""

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
