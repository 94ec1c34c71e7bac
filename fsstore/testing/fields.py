"""The contract of asking for parts: of records, and of sessions in the words of sessions."""

from __future__ import annotations

import copy
from collections.abc import Awaitable
from contextlib import aclosing
from typing import Any

from fsstore.errors import StorageValidationError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.clock import HandClock
from fsstore.model.records import JsonObject
from fsstore.sessions.service import SessionService
from fsstore.testing.backend import BackendFixtures, refusal
from fsstore.testing.session_lists import STRANGE
from fsstore.testing.sessions import SessionFixtures

RECORDS: list[JsonObject] = [
    {"id": "a", "type": "t", "data": {"metadata": {"n": 1, "deep": {"x": [1], "y": 2}}, "log": [{"k": 1, "l": 2}, 3]}},
    {"id": "b", "type": "t", "data": {"metadata": None}, "session_id": "s", "metadata": {"own": True}},
    {"id": "c", "type": "t", "data": "text", "thread_id": None},
    {"id": "d", "type": "t", "data": [{"metadata": {"n": 5}}, 6, {}], "metadata": [{"n": 7}]},
    {"id": "e", "type": "t", "data": {}, "colour": "red"},
    {"id": "f", "type": "t", "data": {"metadata": {"n": 2**64 - 1, "z": "a\0b", "a.b": 1, "$c": 2}}},
    {"id": "g", "type": "t", "data": {"metadata": [{"n": 8}, {"m": 9}]}},
]
NOT_THERE: dict[str, JsonObject] = {"d": {"data": [{}, {}]}, "g": {"data": {"metadata": [{}, {}]}}}
"""What is left of arrays on the way to what their objects do not have."""
PARTS: list[tuple[list[str], dict[str, JsonObject]]] = [
    ([], {}),
    (["id"], {name: {"id": name} for name in "abcdefg"}),
    (["session_id", "thread_id"], {"b": {"session_id": "s"}, "c": {"thread_id": None}}),
    (
        ["data.metadata.n"],
        {
            "a": {"data": {"metadata": {"n": 1}}},
            "d": {"data": [{"metadata": {"n": 5}}, {}]},
            "f": {"data": {"metadata": {"n": 2**64 - 1}}},
            "g": {"data": {"metadata": [{"n": 8}, {}]}},
        },
    ),
    (
        ["data.metadata.deep.y", "data.metadata.deep.x"],
        {"a": {"data": {"metadata": {"deep": {"x": [1], "y": 2}}}}, **NOT_THERE},
    ),
    (
        ["data.metadata.deep", "data.metadata.deep.y"],
        {"a": {"data": {"metadata": {"deep": {"x": [1], "y": 2}}}}, **NOT_THERE},
    ),
    (["metadata.own", "metadata.n"], {"b": {"metadata": {"own": True}}, "d": {"metadata": [{"n": 7}]}}),
    ([r"data.metadata.a\.b", r"data.metadata.\$c"], {"f": {"data": {"metadata": {"a.b": 1, "$c": 2}}}, **NOT_THERE}),
    (["data.log.k"], {"a": {"data": {"log": [{"k": 1}]}}, "d": {"data": [{}, {}]}}),
    (["colour"], {"e": {"colour": "red"}}),
]
"""Fields, and what each record has of them; nothing where it is not named."""

NO_FIELDS: list[tuple[Any, str]] = [
    ("id", "fields"),
    (b"id", "fields"),
    (5, "fields"),
    ({"id": 1}, "fields"),
    ([1], "fields[0]"),
    (["id", None], "fields[1]"),
    ([""], "fields[0]"),
    (["a..b"], "fields[0]"),
    (["a", "b."], "fields[1]"),
    (["$set"], "fields[0]"),
    (["\ud800"], "fields[0]"),
    (["a" * 10_001], "fields[0]"),
    (["a." * 300 + "b"], "fields[0]"),
    (["a"] * 1_001, "fields"),
]
"""What is no list of fields, and the place that the error names."""


class FieldContract(BackendFixtures):
    """Parts of records."""

    async def test_each_way_to_ask_for_parts_gives_them_in_the_shape_of_the_record(
        self, storage: IUnifiedStorage
    ) -> None:
        await storage.batch_save(copy.deepcopy(RECORDS))

        for fields, parts in PARTS:
            expected = [parts.get(name, {}) for name in "abcdefg"]
            assert await storage.list_fields(fields, order_by="id") == expected, fields
            assert [await storage.load_fields(name, fields) for name in "abcdefg"] == expected, fields
            async with aclosing(storage.stream_fields(iter(fields), {"type": "t"}, 3)) as batches:
                assert [batch async for batch in batches] == [expected[:3], expected[3:6], expected[6:]], fields
        assert await storage.load_fields("nobody", ["id"]) is None

    async def test_parts_are_those_of_the_whole_record(self, storage: IUnifiedStorage) -> None:
        await storage.batch_save(copy.deepcopy(RECORDS))
        whole = ["id", "type", "version", "created_at", "updated_at", "session_id", "thread_id", "metadata", "data"]

        listed = await storage.list(order_by="id")
        assert await storage.list_fields([*whole, "colour"], order_by="id") == listed
        assert await storage.list_fields(["data.metadata"], {"data.metadata.n": 1}) == [
            {"data": {"metadata": RECORDS[0]["data"]["metadata"]}}
        ]
        assert await storage.list_fields(["id"], {"data.log.k": 1}) == [{"id": "a"}]
        bounded = await storage.list_fields(["id"], limit=2, offset=1, order_by="-id")
        assert [part["id"] for part in bounded] == ["f", "e"]

    async def test_what_a_caller_changes_in_parts_changes_nothing(self, storage: IUnifiedStorage) -> None:
        await storage.save(copy.deepcopy(RECORDS[0]))
        for found in (
            await storage.load_fields("a", ["data.metadata"]),
            (await storage.list_fields(["data.metadata"]))[0],
        ):
            assert found is not None
            found["data"]["metadata"]["deep"]["x"].append(2)
        assert (await storage.load("a") or {})["data"] == RECORDS[0]["data"]

    async def test_what_is_no_list_of_fields_is_refused_with_its_place(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a"})
        for fields, place in NO_FIELDS:
            calls: list[Awaitable[Any]] = [
                storage.load_fields("a", fields),
                storage.list_fields(fields),
                anext(storage.stream_fields(fields)),
            ]
            for call in calls:
                error = await refusal(call, StorageValidationError)
                assert (str(fields)[:20], error and error.path) == (str(fields)[:20], place)


SESSION: JsonObject = {
    "metadata": {"status": "open", "user_id": "u", "tags": ["x"], "plan": {"name": "p", "size": 1}},
    "messages": [{"role": "user", "content": "hi"}, {"role": "tool"}],
    "state": {"step": 2, "log": []},
}
OF_SESSION: list[tuple[list[str], JsonObject]] = [
    ([], {"metadata": {}}),
    (["session_id"], {"metadata": {}}),
    (["status", "user_id", "tags"], {"metadata": {"status": "open", "user_id": "u", "tags": ["x"]}}),
    (["metadata.status", "plan.name", "plan.none"], {"metadata": {"status": "open"}}),
    (["metadata.plan.name"], {"metadata": {"plan": {"name": "p"}}}),
    (["state.step", "absent"], {"metadata": {}, "state": {"step": 2}}),
    ([".state", "status"], {"metadata": {"status": "open"}, "state": {"step": 2, "log": []}}),
    (["messages.role"], {"metadata": {}, "messages": [{"role": "user"}, {"role": "tool"}]}),
    ([".messages"], {"metadata": {}, "messages": SESSION["messages"]}),
]
"""Fields in the words of sessions, and what a session has of them, its id aside."""

NO_FIELDS_OF_SESSIONS: list[tuple[Any, str, str]] = [
    ("status", "fields", '["status", "user_id"]'),
    (["status", 5], "fields[1]", "state.step"),
    (["metadata"], "fields[0]", "'.metadata'"),
    (["messages"], "fields[0]", "'.messages'"),
    (["data.metadata.status"], "fields[0]", "leave 'data.' out"),
    ([".", "a"], "fields[0]", "state.step"),
    (["state..step"], "fields[0]", "state.step"),
    (["$status"], "fields[0]", r"\$status"),
]
"""What is no list of fields of sessions, the place that the error names, and what to write instead."""


class SessionFieldContract(SessionFixtures):
    """Parts of sessions."""

    async def test_each_way_to_ask_for_parts_of_sessions_gives_them_with_the_id(self, sessions: SessionService) -> None:
        await sessions.save_session("a", copy.deepcopy(SESSION))

        for fields, part in OF_SESSION:
            expected = {**part, "metadata": {**part["metadata"], "session_id": "a"}}
            assert await sessions.get_session("a", fields=fields) == expected, fields
            assert await sessions.list_sessions(fields=iter(fields)) == [expected], fields
            assert (await sessions.list_page(fields=fields)).items == [expected], fields
            async with aclosing(sessions.stream_sessions(fields=fields)) as batches:
                assert [batch async for batch in batches] == [[expected]], fields
        assert await sessions.get_session("nobody", fields=["status"]) is None

    async def test_times_are_given_as_they_are_stamped(self, sessions: SessionService, clock: HandClock) -> None:
        await sessions.save_session("a", {})
        part = await sessions.get_session("a", fields=["created_at", "updated_at"])
        assert part == {"metadata": {"session_id": "a", "created_at": clock.text, "updated_at": clock.text}}

    async def test_parts_of_many_come_by_filter_order_and_page(
        self, sessions: SessionService, storage: IUnifiedStorage, clock: HandClock
    ) -> None:
        for number, name in enumerate("abcde"):
            await sessions.save_session(name, {"metadata": {"rank": number % 2, "n": number}, "big": ["x"] * 9})
            clock.turn()
        await storage.save({"id": "z", "type": "note", "data": {"metadata": {"n": 9}}})

        def numbers(parts: list[JsonObject]) -> list[int]:
            assert all(part.keys() == {"metadata"} and part["metadata"].keys() == {"session_id", "n"} for part in parts)
            return [part["metadata"]["n"] for part in parts]

        assert numbers(await sessions.list_sessions({"rank": 0}, fields=["n"])) == [4, 2, 0]
        assert numbers(await sessions.list_sessions(None, 2, order_by="-n", offset=1, fields=["n"])) == [3, 2]
        assert numbers(await sessions.list_sessions({"big.0": "x"}, 1, fields=["n"])) == [4]
        first = await sessions.list_page(limit=3, fields=["n"])
        last = await sessions.list_page(limit=3, cursor=first.cursor, fields=["n"])
        assert [numbers(first.items), numbers(last.items), last.cursor] == [[4, 3, 2], [1, 0], None]
        async with aclosing(sessions.stream_sessions({"rank": {"$gte": 0}}, 2, fields=["n"])) as batches:
            assert [numbers(batch) async for batch in batches] == [[0, 1], [2, 3], [4]]
        assert await sessions.get_session("z", fields=["n"]) is None

    async def test_parts_of_sessions_that_were_edited_by_hand_have_their_ids(
        self, sessions: SessionService, storage: IUnifiedStorage
    ) -> None:
        for record_id, data in STRANGE.items():
            await storage.save(
                {"id": record_id, "type": "session", "metadata": {"status": "own"}, "data": copy.deepcopy(data)}
            )
        await storage.save({"id": "e", "type": "session", "data": "text"})

        expected = {
            "a": {"metadata": {"session_id": "a", "status": "copied"}},
            "b": {"metadata": {"session_id": "b", "status": "by hand"}},
            **{name: {"metadata": {"session_id": name}} for name in "cde"},
        }
        assert await sessions.list_sessions(fields=["status"], order_by="session_id") == [*expected.values()]
        assert {name: await sessions.get_session(name, fields=["status"]) for name in expected} == expected

    async def test_what_is_no_field_of_sessions_is_refused_with_the_remedy(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {})
        for fields, place, remedy in NO_FIELDS_OF_SESSIONS:
            calls: list[Awaitable[Any]] = [
                sessions.get_session("a", fields=fields),
                sessions.list_sessions(fields=fields),
                sessions.list_page(fields=fields),
                anext(sessions.stream_sessions(fields=fields)),
            ]
            for call in calls:
                error = await refusal(call, StorageValidationError)
                assert error is not None, fields
                assert (error.path, remedy in error.advice) == (place, True), fields
                assert "data.state" not in str(error)
