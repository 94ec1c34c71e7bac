"""The contract of finding: filters and queries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from contextlib import aclosing
from typing import Any

import pytest

from fsstore.errors import StorageValidationError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.clock import HandClock
from fsstore.model.records import Filters, Records
from fsstore.testing.backend import BackendFixtures, refusal

NOTES: Records = [
    {
        "id": "a",
        "type": "note",
        "session_id": "s1",
        "thread_id": "t1",
        "data": {"metadata": {"status": "open", "tags": ["red", "blue"], "n": 1}, "text": "one"},
    },
    {
        "id": "b",
        "type": "note",
        "session_id": "s1",
        "data": {"metadata": {"status": "closed", "tags": ["blue"], "n": 2.5}, "text": "two"},
    },
    {
        "id": "c",
        "type": "memo",
        "session_id": "s2",
        "thread_id": "t1",
        "data": {
            "metadata": {"status": None, "tags": [], "n": "2"},
            "messages": [{"role": "user"}, {"role": "tool"}],
        },
    },
    {"id": "d", "type": "memo", "data": {"metadata": {"n": 10, "done": True, "owner": {"name": "Zoë"}}}},
    {"id": "e", "type": "memo", "data": "no object", "metadata": {"status": "open"}},
]
"""Five records, as unlike as five records can be."""

FILTERS: dict[str, tuple[dict[str, Any], str]] = {
    "no condition": ({}, "abcde"),
    "an id": ({"id": "c"}, "c"),
    "a type": ({"type": "memo"}, "cde"),
    "two keys": ({"type": "note", "session_id": "s1"}, "ab"),
    "a dotted path": ({"data.metadata.status": "open"}, "a"),
    "the record's own metadata": ({"metadata.status": "open"}, "e"),
    "a member of an array": ({"data.metadata.tags": "blue"}, "ab"),
    "a whole array": ({"data.metadata.tags": ["red", "blue"]}, "a"),
    "a whole object": ({"data.metadata.owner": {"name": "Zoë"}}, "d"),
    "a tuple": ({"data.metadata.tags": ("red", "blue")}, "a"),
    "into an object": ({"data.metadata.owner.name": "Zoë"}, "d"),
    "into an array of objects": ({"data.messages.role": "tool"}, "c"),
    "null or missing": ({"data.metadata.status": None}, "cde"),
    "a boolean": ({"data.metadata.done": True}, "d"),
    "a boolean is not a number": ({"data.metadata.done": 1}, ""),
    "one as a float": ({"data.metadata.n": 1.0}, "a"),
    "outside metadata": ({"data.text": "two"}, "b"),
    "$eq": ({"data.metadata.status": {"$eq": "closed"}}, "b"),
    "$ne": ({"data.metadata.status": {"$ne": "open"}}, "bcde"),
    "$gt": ({"data.metadata.n": {"$gt": 1}}, "bd"),
    "$gte": ({"data.metadata.n": {"$gte": 1}}, "abd"),
    "$lt": ({"data.metadata.n": {"$lt": 10}}, "ab"),
    "$lte": ({"data.metadata.n": {"$lte": "2"}}, "c"),
    "a range": ({"data.metadata.n": {"$gt": 1, "$lt": 10}}, "b"),
    "$in": ({"id": {"$in": ["a", "d", "x"]}}, "ad"),
    "$in with a set": ({"id": {"$in": {"a", "d", "x"}}}, "ad"),
    "$in with a tuple": ({"id": {"$in": ("a", "d", "x")}}, "ad"),
    "$nin with a frozenset": ({"id": {"$nin": frozenset("adx")}}, "bce"),
    "$in with null": ({"data.metadata.status": {"$in": ["closed", None]}}, "bcde"),
    "$in nothing": ({"id": {"$in": []}}, ""),
    "$nin": ({"id": {"$nin": ["a", "d", "x"]}}, "bce"),
    "$exists": ({"data.metadata.status": {"$exists": True}}, "abc"),
    "$exists false": ({"thread_id": {"$exists": False}}, "bde"),
    "$all": ({"data.metadata.tags": {"$all": ["blue", "red"]}}, "a"),
    "$regex": ({"data.text": {"$regex": "^t"}}, "b"),
    "$not": ({"data.metadata.n": {"$not": {"$gt": 1}}}, "ace"),
    "$and": ({"$and": [{"type": "note"}, {"data.metadata.n": {"$gt": 1}}]}, "b"),
    "$or": ({"$or": [{"id": "e"}, {"data.metadata.tags": "red"}]}, "ae"),
    "$nor": ({"$nor": [{"type": "note"}, {"id": "e"}]}, "cd"),
    "a number of the envelope": ({"version": {"$gte": 1}}, "abcde"),
    "no such path": ({"no.such.path": "x"}, ""),
    "a column and a value that it never holds": ({"type": True}, ""),
    "a column and an array": ({"version": []}, ""),
    "a column and nothing": ({"type": {"$in": []}}, ""),
    "a column and two values": ({"$and": [{"type": "note"}, {"type": "memo"}]}, ""),
}
"""Filters, and the ids of the notes that match."""

REFUSED_FILTERS: dict[str, Any] = {
    "unknown operator": {"data.n": {"$gte": 1, "$greater": 2}},
    "unknown operator at the top": {"$xor": [{"id": "a"}]},
    "$in without a list": {"id": {"$in": "a"}},
    "$or without a list": {"$or": {"id": "a"}},
    "broken pattern": {"id": {"$regex": "("}},
    "an operator in $ne": {"data.n": {"$ne": {"$in": [1, 2]}}},
    "an operator in $in": {"data.n": {"$in": [{"$gt": 3}]}},
    "an operator deep in $eq": {"data.n": {"$eq": {"a": [{"$exists": True}]}}},
    "an operator without its sign": {"data.n": {"gte": 3}},
    "a set as a value": {"data.n": {1, 2}},
    "not json": {"id": object()},
    "not an object": ["id", "a"],
    "text": "id=a",
    "nothing, but no object": [],
}
"""Filters that mean nothing."""

ENDLESS_QUERY = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"

REFUSED_QUERIES: dict[str, str] = {
    "insert": "INSERT INTO documents (id) VALUES ('x')",
    "update": "UPDATE documents SET type = 'x'",
    "delete": "DELETE FROM documents",
    "drop": "DROP TABLE documents",
    "create": "CREATE TABLE mine (id)",
    "pragma": "PRAGMA table_info(documents)",
    "pragma as a table": "SELECT * FROM pragma_database_list",
    "attach": "ATTACH 'other.db' AS other",
    "vacuum into": "VACUUM INTO 'copy.db'",
    "transaction": "BEGIN",
    "two statements": "SELECT id FROM documents; SELECT id FROM documents",
    "a write behind a read": "SELECT id FROM documents; DELETE FROM documents",
    "schema": "SELECT * FROM sqlite_master",
    "schema by its newer name": "SELECT * FROM sqlite_schema",
    "extension": "SELECT load_extension('x')",
    "other relation": "SELECT * FROM tags_or_anything_else",
    "unknown column": "SELECT no_such_column FROM documents",
    "syntax": "SELEKT id FROM documents",
    "missing parameter": "SELECT id FROM documents WHERE id = ?",
    "nothing": "",
    "null character": "SELECT id FROM documents\x00",
}
"""What is not one read-only SELECT over the relation."""


def ids_of(records: Records) -> list[str]:
    """Return the ids of records, in their order."""
    return [record["id"] for record in records]


async def streamed_records(storage: IUnifiedStorage, filters: Filters | None, batch_size: int = 2) -> Records:
    """Return everything that a stream gives."""
    async with aclosing(storage.stream_list(filters, batch_size)) as batches:
        return [record async for batch in batches for record in batch]


class FindingContract(BackendFixtures):
    """What the words of filters and queries find."""

    # -- filters ------------------------------------------------------------------------------------------------------

    async def test_filters_find_what_they_describe(self, storage: IUnifiedStorage) -> None:
        await storage.batch_save(NOTES)
        expected = {name: list(ids) for name, (_, ids) in FILTERS.items()}

        listed = {name: await storage.list(filters, order_by="id") for name, (filters, _) in FILTERS.items()}
        views = {name: await storage.list_metadata(filters, order_by="id") for name, (filters, _) in FILTERS.items()}
        streamed = {name: await streamed_records(storage, filters) for name, (filters, _) in FILTERS.items()}
        recent = {name: await storage.list(filters) for name, (filters, _) in FILTERS.items()}
        counted = {name: await storage.count(filters) for name, (filters, _) in FILTERS.items()}

        assert {name: ids_of(records) for name, records in listed.items()} == expected
        assert {name: ids_of(records) for name, records in views.items()} == expected
        assert {name: sorted(ids_of(records)) for name, records in recent.items()} == expected
        assert streamed == listed
        assert counted == {name: len(ids) for name, ids in expected.items()}
        assert listed["no condition"] == [await storage.load(name) for name in "abcde"]

    async def test_a_filter_that_means_nothing_is_refused(self, storage: IUnifiedStorage) -> None:
        await storage.batch_save(NOTES)

        for name, filters in REFUSED_FILTERS.items():
            calls: list[Awaitable[Any]] = [
                storage.list(filters),
                storage.count(filters),
                storage.list_metadata(filters),
                streamed_records(storage, filters),
            ]
            refused = [await refusal(call, StorageValidationError) is not None for call in calls]
            assert (name, refused) == (name, [True] * 4)

    async def test_an_unknown_operator_is_told_its_nearest_known_one(self, storage: IUnifiedStorage) -> None:
        with pytest.raises(StorageValidationError, match=r"\$gte"):
            await storage.list({"data.n": {"$gtee": 1}})

    async def test_large_integers_are_compared_exactly(self, storage: IUnifiedStorage) -> None:
        numbers = [2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1]
        await storage.batch_save([{"id": str(n), "data": {"metadata": {"n": n}}} for n in numbers])

        for number in numbers:
            assert ids_of(await storage.list({"data.metadata.n": number})) == [str(number)]
            above = await storage.count({"data.metadata.n": {"$gt": number}})
            assert above == sum(other > number for other in numbers)

    async def test_text_is_compared_by_code_point(self, storage: IUnifiedStorage) -> None:
        words = ["", "A", "a", "b", "\u00e9", "e\u0301", "\uffee", "\U0001f600", "a\x00", "a\x00b"]
        await storage.batch_save(
            [{"id": f"_{word.encode().hex()}", "data": {"metadata": {"w": word}}} for word in words]
        )

        for word in words:
            found = await storage.list({"data.metadata.w": {"$lte": word}}, order_by="data.metadata.w")
            assert [record["data"]["metadata"]["w"] for record in found] == sorted(w for w in words if w <= word)

    async def test_keys_with_dots_and_dollars_are_found_by_a_backslash(self, storage: IUnifiedStorage) -> None:
        odd = {"a.b": 1, "$in": "x", "back\\slash": True, "c": {"d.e": {"f": 2}}}
        await storage.save({"id": "odd", "data": {"metadata": odd, "state": odd}, "metadata": odd})
        await storage.save({"id": "plain", "data": {"metadata": {"a": {"b": 1}, "c": {"d": {"e": {"f": 2}}}}}})

        for place in ("data.metadata", "data.state", "metadata"):
            for filters in (
                {f"{place}.a\\.b": 1},
                {f"{place}.\\$in": {"$in": ["x"]}},
                {f"{place}.back\\\\slash": True},
                {f"{place}.back\\slash": True},
                {f"{place}.c.d\\.e.f": {"$gt": 1}},
                {"$nor": [{f"{place}.a\\.b": {"$exists": False}}]},
            ):
                assert ids_of(await storage.list(filters)) == ["odd"], filters
                assert await storage.count(filters) == 1, filters
            for order_by, expected in ((f"{place}.a\\.b", ["plain", "odd"]), (f"-{place}.a\\.b", ["odd", "plain"])):
                assert ids_of(await storage.list(order_by=order_by)) == expected
                assert ids_of(await storage.list_metadata(order_by=order_by)) == expected
        assert ids_of(await storage.list({"data.metadata.a.b": 1})) == ["plain"]

    async def test_a_filter_sees_a_record_as_it_is_now(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a", "data": {"metadata": {"status": "open", "tags": ["x"]}}})
        await storage.update("a", {"data": {"metadata": {"status": "closed", "tags": ["y"]}}})

        assert await storage.list({"data.metadata.status": "open"}) == []
        assert await storage.list({"data.metadata.tags": "x"}) == []
        assert ids_of(await storage.list({"data.metadata.status": "closed", "data.metadata.tags": "y"})) == ["a"]

    # -- queries ------------------------------------------------------------------------------------------------------

    async def test_a_query_reads_the_relation(self, storage: IUnifiedStorage, clock: HandClock) -> None:
        await storage.batch_save(NOTES)

        (row,) = await storage.query("SELECT * FROM documents WHERE id = ?", ["a"])

        metadata = row.pop("metadata")
        assert json.loads(metadata) == NOTES[0]["data"]["metadata"]
        assert row == {
            "id": "a",
            "type": "note",
            "version": 1,
            "created_at": clock.text,
            "updated_at": clock.text,
            "session_id": "s1",
            "thread_id": "t1",
        }

    async def test_a_query_groups_orders_and_takes_parameters(self, storage: IUnifiedStorage) -> None:
        await storage.batch_save(NOTES)

        counted = await storage.query("SELECT type, count(*) AS n FROM documents GROUP BY type ORDER BY type")
        named = await storage.query(
            "SELECT id FROM documents WHERE json_extract(metadata, '$.status') = :status ORDER BY id",
            {"status": "open"},
        )

        assert counted == [{"type": "memo", "n": 3}, {"type": "note", "n": 2}]
        assert named == [{"id": "a"}, {"id": "e"}]
        assert await storage.query("SELECT id FROM documents WHERE session_id IS NULL ORDER BY id") == [
            {"id": "d"},
            {"id": "e"},
        ]

    async def test_what_is_not_one_read_only_select_is_refused(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a"})

        accepted = [
            name
            for name, query in REFUSED_QUERIES.items()
            if not await refusal(storage.query(query), StorageValidationError)
        ]

        assert accepted == []
        assert await storage.query("SELECT id FROM documents") == [{"id": "a"}]
        assert await storage.count() == 1

    async def test_a_query_without_end_keeps_nobody_waiting(self, storage: IUnifiedStorage) -> None:
        """It runs beside the event loop, and ends when nobody waits for it any more."""
        await storage.save({"id": "a"})
        queries = [asyncio.ensure_future(storage.query(ENDLESS_QUERY)) for _ in range(6)]
        for _ in range(100):
            # what others of the loop do meanwhile
            await asyncio.sleep(0)

        assert not any(query.done() for query in queries)
        for query in queries:
            query.cancel()
        await asyncio.wait(queries)
        assert all(query.cancelled() for query in queries)
        async with asyncio.timeout(5):
            assert await storage.query("SELECT count(*) AS n FROM documents") == [{"n": 1}]
