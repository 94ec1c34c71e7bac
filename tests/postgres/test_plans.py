"""How PostgreSQL finds what each statement asks for, in a table large enough for an index to be worth it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from psycopg import sql

from fsstore.model.records import JsonObject
from fsstore.postgres.commits.at_once import AtOnce
from fsstore.postgres.commits.draft import Stored, Written
from fsstore.postgres.commits.remembered import Guess
from fsstore.postgres.commits.writes import Settings, State, Step, Writes
from fsstore.postgres.connections.connection import Connection
from fsstore.postgres.filters.statements import ABILITIES, Statement, counting, following, selecting
from fsstore.postgres.schema.rows import key_of
from fsstore.postgres.schema.tables import Names
from fsstore.query.filters import parse
from fsstore.query.orders import parse_order
from fsstore.query.plan import plan
from tests.postgres.tables import tables

NAMES = Names(prefix="plans_")
ROWS = 30_000
_TIME = "2026-01-31T09:15:00.000000+00:00"
KEY = "plans_documents_pkey"

_FILL = """
INSERT INTO {documents} (key, id, type, version, created_at, updated_at, session_id, thread_id, user_id, status, tags,
    marks, metadata, record)
SELECT substring(sha256(convert_to('s' || n, 'UTF8')) for 16), 's' || n, 'session', 1, moment, moment, 's' || n,
    't' || n % 3000, 'u' || n % 300, CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'open' END, ARRAY['tag' || n % 500],
    CASE WHEN n % 1000 = 0 THEN 8 ELSE 0 END, jsonb_build_object('n', n), repeat('x', 500)
FROM (
    SELECT n, timestamptz '2026-01-01' + n * interval '1 minute' AS moment FROM generate_series(1, {rows}) AS n
) AS rows
"""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def connection(postgres_url: str) -> AsyncGenerator[Connection]:
    async with tables(postgres_url, NAMES) as opened:
        await opened.execute(sql.SQL(_FILL).format(documents=NAMES.documents, rows=sql.Literal(ROWS)))
        await opened.execute(sql.SQL("VACUUM ANALYZE {}").format(NAMES.documents))
        yield opened


async def scans(connection: Connection, text: bytes, values: Any) -> dict[str, str]:
    """Return the kind of each scan that a statement makes, by the index it reads, or else the table."""
    cursor = await connection.execute(b"EXPLAIN (FORMAT JSON) " + text, values)
    ((found,),) = await cursor.fetchall()
    return dict(_scans(found[0]["Plan"]))


def _scans(node: JsonObject) -> Iterator[tuple[str, str]]:
    if place := node.get("Index Name") or node.get("Relation Name"):
        yield str(place), str(node["Node Type"])
    for child in node.get("Plans", ()):
        yield from _scans(child)


def single_statements() -> dict[str, Step]:
    writes, one = Writes(NAMES), Writes(NAMES).one("s77")
    commit, writer = uuid4(), uuid4()
    update = writes._update
    return {
        "load": (writes.load, one),
        "exists": (writes.exists, one),
        "lock one": writes.lock(["s77"]),
        "lock several": writes.lock(["s77", "s78", "s79"]),
        "update": (update, (*(None,) * (update.count(b"%s") - 2), *one)),
        "delete": (writes._delete, one),
        "what became of a commit": (writes._is_void, (one[0], commit)),
        "void": (writes._void, (one[0], commit, writer, "s77")),
    }


async def test_a_look_at_a_session_reads_it_by_its_key_and_the_one_row_of_the_store(connection: Connection) -> None:
    writes = Writes(NAMES)

    assert await scans(connection, writes.look, writes.one("s77")) == {"plans_store": "Seq Scan", KEY: "Index Scan"}


@pytest.mark.parametrize("name", single_statements())
async def test_a_statement_about_one_session_finds_it_by_its_key(connection: Connection, name: str) -> None:
    found = await scans(connection, *single_statements()[name])

    tables_read = {index for index, kind in found.items() if kind == "Seq Scan"}
    assert tables_read == set()
    assert {index for index in found if index.endswith("pkey")} <= {KEY, "plans_changes_pkey"}
    assert all(index.endswith("pkey") or index in ("plans_documents", "plans_changes") for index in found), found


async def test_a_session_that_is_remembered_is_renewed_by_its_key(connection: Connection) -> None:
    record = {"id": "s77", "type": "session", "version": 2, "data": {}, "created_at": _TIME, "updated_at": _TIME}
    made, found = (Stored("s77", b"{}", {**record, "version": version}) for version in (2, 1))
    written = Written("s77", key_of("s77"), 1, found=True, made=made)
    guess = Guess(State(1, 0, is_whole=False), found)
    statements = AtOnce(NAMES, Settings(30.0, durable=True))
    ((text, values),) = statements.steps(written, made, uuid4(), uuid4(), guess, notifies=False)

    # the one row of the store is read as a whole
    read = await scans(connection, text, values)
    assert read.pop("plans_store") == "Seq Scan"
    assert {place for place in read if place.endswith("pkey") or "_by_" in place} == {KEY}
    assert set(read.values()).isdisjoint({"Seq Scan", "Bitmap Heap Scan"})


SESSIONS: JsonObject = {"type": "session"}


@pytest.mark.parametrize(
    ("filters", "order_by", "index"),
    [
        (None, None, "by_updated_at"),
        (None, "updated_at", "by_updated_at"),
        (SESSIONS, None, "by_type|by_updated_at"),
        ({**SESSIONS, "data.metadata.status": "failed"}, None, "by_status"),
        ({**SESSIONS, "data.metadata.user_id": "u7"}, None, "by_user_id"),
        ({**SESSIONS, "data.metadata.tags": "tag7"}, None, "by_tags"),
        ({"thread_id": "t7"}, None, "by_thread_id"),
        ({"session_id": "s7"}, None, "by_session_id"),
        ({"id": {"$in": ["s7", "s8"]}}, None, "pkey"),
        ({**SESSIONS, "updated_at": {"$gte": "2026-01-21T00:00:00Z"}}, None, "by_updated_at|by_type"),
        (None, "id", "by_id"),
        ({**SESSIONS, "id": {"$gte": "s77", "$lt": "s78"}}, "id", "by_id"),
        ({**SESSIONS, "id": {"$gt": "s77", "$lte": "s78"}}, None, "by_id"),
    ],
)
async def test_a_list_reads_the_index_that_is_meant_for_it(
    connection: Connection, filters: JsonObject | None, order_by: str | None, index: str
) -> None:
    known = plan(parse(filters), ABILITIES)
    selection = selecting(NAMES.documents.as_string(None), known, parse_order(order_by), most=50)
    assert selection is not None

    found = await scans(connection, selection.joined.text.encode(), selection.joined.values)

    assert "Seq Scan" not in found.values(), found
    assert any(f"plans_documents_{name}" in found for name in index.split("|")), found
    # what only the record tells is found by itself
    if selection.others is not None and filters != {"id": {"$in": ["s7", "s8"]}}:
        narrow = {"plans_documents_odd", *(f"plans_documents_{name}" for name in index.split("|"))}
        assert narrow & found.keys(), found


async def test_a_page_of_a_list_begins_in_the_index_where_the_last_one_ended(connection: Connection) -> None:
    moment = "2026-01-10T00:00:00.000000+00:00"
    beyond = {"$or": [{"updated_at": {"$lt": moment}}, {"id": {"$gt": "s7"}}]}
    wanted = {"$and": [SESSIONS, {"updated_at": {"$lte": moment}}, beyond]}
    selection = selecting(NAMES.documents.as_string(None), plan(parse(wanted), ABILITIES), parse_order(None), most=51)
    assert selection is not None
    assert selection.is_exact

    cursor = await connection.execute(
        b"EXPLAIN (ANALYZE, FORMAT JSON) " + selection.ordered.text.encode(), selection.ordered.values
    )
    ((found,),) = await cursor.fetchall()

    (scan,) = [node for node in _nodes(found[0]["Plan"]) if "Index Name" in node]
    assert scan["Actual Rows"] <= 60


def _nodes(node: JsonObject) -> Iterator[JsonObject]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


async def test_a_batch_of_a_stream_goes_on_in_the_index_of_ids(connection: Connection) -> None:
    statement = following(NAMES.documents.as_string(None), plan(parse(SESSIONS), ABILITIES), "s20", 100)

    assert await _read(connection, statement) == {"plans_documents_by_id": "Index Scan"}


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({**SESSIONS, "data.metadata.user_id": "u7"}, "by_user_id"),
        ({**SESSIONS, "data.metadata.status": "failed"}, "by_status"),
        ({**SESSIONS, "data.metadata.status": "open"}, "by_status"),
        (SESSIONS, "by_type"),
    ],
)
async def test_a_count_of_sessions_reads_an_index_alone(
    connection: Connection, filters: JsonObject, index: str
) -> None:
    counted = counting(NAMES.documents.as_string(None), plan(parse(filters), ABILITIES))

    found = await _read(connection, counted.joined)

    assert found == {f"plans_documents_{index}": "Index Only Scan", "plans_documents_odd": "Index Scan"}


async def _read(connection: Connection, statement: Statement) -> dict[str, str]:
    return await scans(connection, statement.text.encode(), statement.values)
