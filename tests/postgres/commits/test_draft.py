"""Rows whose text somebody has damaged by hand: what gives way, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from fsstore import StorageCorruptedError
from fsstore.model.mutations import AnyMutation, Append, deleting, saving
from fsstore.model.records import Filters
from fsstore.postgres.storage import PostgresStorage
from tests.postgres.stores import opened

TEXTS = ["", "{", "null", "[]", '{"id": "a"}', '{"id": "other", "type": "t", "version": 1, "data": {}}']
each_text = pytest.mark.parametrize("text", TEXTS)


async def damaged(url: str, path: Path, text: str) -> PostgresStorage:
    """Return a store whose record `a`, of version 3, cannot be read, and whose record `b` can."""
    storage = await opened(url, path)
    for number in range(3):
        await storage.save({"id": "a", "data": {"metadata": {"status": "open"}, "items": [number]}})
    await storage.save({"id": "b", "data": {"metadata": {"status": "open"}, "items": [7]}})
    damage(url, storage, text)
    await storage.close()
    # one that remembers nothing
    return await opened(url, path)


def damage(url: str, storage: PostgresStorage, text: str) -> None:
    with psycopg.connect(url) as connection:
        table = storage.names.documents
        connection.execute(sql.SQL("UPDATE {} SET record = %s WHERE id = 'a'").format(table), [text])


def set_aside(url: str, storage: PostgresStorage) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            sql.SQL("SELECT id, version, record FROM {} ORDER BY set_aside_at").format(storage.names.damaged)
        ).fetchall()


@each_text
async def test_a_save_takes_the_place_of_what_cannot_be_read_which_is_set_aside(
    postgres_url: str, tmp_path: Path, text: str
) -> None:
    async with await damaged(postgres_url, tmp_path, text) as storage:
        assert await storage.save({"id": "a", "data": {"new": True}}) == "a"
        record = await storage.load("a")
        assert record is not None
        assert (record["version"], record["data"]) == (4, {"new": True})
        assert set_aside(postgres_url, storage) == [("a", 3, text)]


@each_text
@pytest.mark.parametrize("keep", [False, True])
async def test_a_delete_removes_what_cannot_be_read(
    postgres_url: str, tmp_path: Path, text: str, *, keep: bool
) -> None:
    async with await damaged(postgres_url, tmp_path, text) as storage:
        assert await storage.delete("a", keep_damaged=keep)
        assert await storage.load("a") is None
        await storage.save({"id": "a"})
        record = await storage.load("a")
        assert record is not None
        assert record["version"] == 4
        assert set_aside(postgres_url, storage) == [("a", 3, text)] * keep


@each_text
@pytest.mark.parametrize(
    "change",
    [
        Append("a", [2], ("data", "items")),
        saving({"id": "a", "type": "t", "data": {}}, expected_version=3),
        deleting("a", expected_version=3),
    ],
    ids=["append", "save", "delete"],
)
async def test_what_looks_at_what_is_there_is_refused_and_so_is_its_batch(
    postgres_url: str, tmp_path: Path, text: str, change: AnyMutation
) -> None:
    async with await damaged(postgres_url, tmp_path, text) as storage:
        for batch in ([change], [deleting("b"), change]):
            with pytest.raises(StorageCorruptedError, match="somebody has changed the table"):
                await storage.commit(batch)
        assert await storage.exists("b")
        assert set_aside(postgres_url, storage) == []


@each_text
async def test_a_batch_over_what_cannot_be_read_goes_on_above_its_version(
    postgres_url: str, tmp_path: Path, text: str
) -> None:
    async with await damaged(postgres_url, tmp_path, text) as storage:
        new = saving({"id": "a", "type": "t", "data": {"items": [1]}})
        outcomes = await storage.commit([new, deleting("b"), Append("a", [2], ("data", "items"))])

        assert [(outcome.before, outcome.after) for outcome in outcomes] == [(3, 4), (1, 0), (4, 5)]
        record = await storage.load("a")
        assert record is not None
        assert record["data"] == {"items": [1, 2]}


@each_text
async def test_lists_leave_out_what_cannot_be_read_and_the_report_names_it(
    postgres_url: str, tmp_path: Path, text: str
) -> None:
    async with await damaged(postgres_url, tmp_path, text) as storage:
        for filters in ({}, {"data.items": {"$exists": True}}, {"data.metadata.status": "open"}):
            assert [record["id"] for record in await storage.list(filters)] == ["b"]
            for limit in (1, 5):
                assert [record["id"] for record in await storage.list(filters, limit, order_by="id")] == ["b"]
            assert [record["id"] async for batch in storage.stream_list(filters) for record in batch] == ["b"]
        wanted: list[Filters] = [{}, {"type": "document"}, {"data.metadata.status": "open"}, {"data.items": 7}]
        for asked in wanted:
            assert await storage.count(asked) == 1
            for order_by in (None, "id", "data.metadata.created_at"):
                for found in [await storage.list_metadata(asked, most, order_by=order_by) for most in (None, 1, 5)]:
                    assert [record["id"] for record in found] == ["b"], (asked, order_by)
        report = await storage.health_check()
        assert (report["status"], [problem["file"] for problem in report["corrupt"]]) == ("degraded", ["a"])

        await storage.save({"id": "a", "data": {"metadata": {"status": "open"}, "items": 7}})
        for asked in wanted:
            assert await storage.count(asked) == len(await storage.list_metadata(asked)) == 2
        report = await storage.health_check()
        assert (report["status"], report["corrupt"]) == ("ok", [])
