"""Times in documents that another program wrote, or an older version: instants all the same, in every answer."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fsstore import FileStorage, SessionService
from fsstore.errors import StorageValidationError
from fsstore.model.clock import HandClock
from fsstore.model.records import JsonObject
from fsstore.query.filters import matches
from fsstore.query.orders import parse_order
from fsstore.testing.finding import ids_of
from fsstore.testing.sessions import names
from fsstore.testing.times import TIME_FILTERS, WRITTEN
from tests.filesystem.faults import place

NOW = HandClock().text
TIMED = {record_id: value for record_id, value in WRITTEN.items() if record_id in "abcde"}


def write(store: Path, session_id: str, envelope: Any, metadata: Any, *, user: str = "zoe") -> None:
    """Write a session as an editor would."""
    times = {"created_at": metadata, "updated_at": metadata, "user_id": user}
    record = {
        "id": session_id,
        "type": "session",
        "session_id": session_id,
        "version": 1,
        "created_at": envelope,
        "updated_at": envelope,
        "data": {"metadata": {"session_id": session_id, **times}, "messages": []},
    }
    path = place(store, session_id)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")


@pytest_asyncio.fixture
async def sessions(tmp_path: Path) -> AsyncGenerator[SessionService]:
    async with await FileStorage.open(tmp_path, fsync=False, clock=HandClock()) as storage:
        for session_id, value in WRITTEN.items():
            write(tmp_path, session_id, TIMED.get(session_id, "2020"), value)
        await storage.refresh()
        yield SessionService(storage)


async def every_answer(storage: FileStorage, filters: JsonObject, order_by: str | None) -> list[list[str]]:
    """Return what each way to ask gives: documents, the index alone, the definition on all records."""
    everything = [await storage.load(record["id"]) for record in await storage.list()]
    by_definition = [record for record in everything if record is not None and matches(filters, record)]
    return [
        ids_of(await storage.list(filters, order_by=order_by)),
        ids_of(await storage.list_metadata(filters, order_by=order_by)),
        ids_of(sorted(by_definition, key=parse_order(order_by).key)),
    ]


async def test_written_times_are_instants_in_every_answer(sessions: SessionService) -> None:
    storage = sessions.storage
    assert isinstance(storage, FileStorage)
    for name, (test, ids) in TIME_FILTERS.items():
        wanted = {"data.metadata.created_at": test}
        expected = [record_id for record_id in ids if record_id != "x"]
        for answer in await every_answer(storage, wanted, "id"):
            assert (name, answer) == (name, expected)
        assert (name, await sessions.count_sessions({"created_at": test})) == (name, len(expected))
    for order_by in ("data.metadata.updated_at", "-data.metadata.updated_at", "created_at", "-updated_at", None):
        documents, index, definition = await every_answer(storage, {}, order_by)
        assert documents == index == definition


async def test_written_documents_are_read_as_they_are_and_found_in_order(sessions: SessionService) -> None:
    record = await sessions.get_record("c")
    assert record is not None
    assert record["data"]["metadata"]["updated_at"] == WRITTEN["c"]
    assert record["updated_at"] == "2026-01-05T11:00:00.250000+00:00"
    assert (await sessions.list_metadata({"session_id": "c"}))[0]["updated_at"] == WRITTEN["c"]

    timed = {"updated_at": {"$gt": "2025"}}
    assert names(await sessions.list_sessions(timed)) == [*"edcbai"]
    paged, cursor = [], None
    while True:
        page = await sessions.list_page(limit=2, cursor=cursor)
        paged += names(page.items)
        cursor = page.cursor
        if cursor is None:
            break
    assert paged == names(await sessions.list_sessions()) == [*"edcba", *"fghi"]


async def test_a_written_session_can_be_changed_and_then_has_times_of_the_store(sessions: SessionService) -> None:
    await sessions.update_session("b", {"state": {}})
    await sessions.edit_session("f", lambda draft: draft.update(state={}))
    for session_id, created in (("b", "2026-01-05T10:00:00.500000+00:00"), ("f", "2020-01-01")):
        metadata = (await sessions.get_session(session_id) or {})["metadata"]
        assert metadata["created_at"].startswith(created)
        assert metadata["updated_at"] == NOW
    seen = await sessions.get_session("g") or {}
    with pytest.raises(StorageValidationError, match=r"\$\.metadata\.created_at"):
        # a number is no time, and whoever saves it as one is told
        await sessions.save_session("g", seen)


async def test_written_times_cost_other_filters_nothing(sessions: SessionService, tmp_path: Path) -> None:
    await sessions.close()
    connection = sqlite3.connect(tmp_path / ".fsstore/index.sqlite3")
    rows = dict(connection.execute("SELECT id, (odd IS NULL) * 10 + (flags & 8 <> 0) FROM entry"))
    connection.close()

    # ordinary rows all of them, which filters on anything else find by the index
    assert rows == {record_id: 11 if value is not None else 10 for record_id, value in WRITTEN.items()}


async def test_an_index_of_the_schema_before_is_made_anew(sessions: SessionService, tmp_path: Path) -> None:
    await sessions.close()
    connection = sqlite3.connect(tmp_path / ".fsstore/index.sqlite3")
    # as it was when nobody looked at the form of times
    connection.executescript("UPDATE entry SET flags = 0; PRAGMA user_version = 2")
    connection.close()

    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        again = SessionService(storage)
        assert await again.count_sessions({"created_at": "2026-01-05T05:00:00.5-05:00"}) == 1


async def test_verify_finds_nothing_wrong_with_written_times(sessions: SessionService) -> None:
    storage = sessions.storage
    assert isinstance(storage, FileStorage)
    assert (await storage.verify(hash=True)).findings == []


async def test_a_document_of_local_times_is_one(tmp_path: Path) -> None:
    local = datetime(2026, 7, 1, 12, tzinfo=UTC).astimezone().replace(tzinfo=None)
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        write(tmp_path, "a", local.isoformat(), local.isoformat())
        await storage.refresh()
        assert (await storage.health_check())["corrupt"] == []
        for path in ("created_at", "data.metadata.created_at"):
            assert await storage.count({path: "2026-07-01T12:00Z"}) == 1
            assert await storage.count({path: local}) == 1


async def test_a_document_that_was_copied_over_has_its_new_time(sessions: SessionService, tmp_path: Path) -> None:
    write(tmp_path, "a", "2027", "2027-01-01T00:00:00.000000+00:00")
    await sessions.refresh()
    assert names(await sessions.list_sessions(limit=1)) == ["a"]
    assert await sessions.count_sessions({"created_at": {"$gte": "2027-01"}}) == 1
    write(tmp_path, "a", "2027", "2019")
    await sessions.refresh()
    assert await sessions.count_sessions({"created_at": {"$lt": "2020"}}) == 1
