"""Queries of callers on a real server: what they see, what they may not, and what ends them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from psycopg import sql

from fsstore.errors import StorageTimeoutError, StorageUnavailableError, StorageValidationError
from fsstore.model.records import Records
from fsstore.postgres.connections.connection import Connection
from fsstore.postgres.queries import relation
from fsstore.postgres.queries.relation import queried
from fsstore.postgres.schema.reader import making_reader, reader_of
from fsstore.postgres.schema.tables import Names
from fsstore.query.relation import COLUMNS, relation_row
from fsstore.testing.finding import ENDLESS_QUERY
from tests.postgres.stores import opened, setting
from tests.postgres.tables import fill, tables
from tests.query.drawn import some_record

NAMES = Names(prefix="relation_")
RECORDS = 200

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def connection(postgres_url: str) -> AsyncGenerator[Connection]:
    async with tables(postgres_url, NAMES) as opened:
        yield opened


@pytest.fixture(scope="module")
def records() -> Records:
    rng = Random(20260131)
    return [some_record(rng, at) for at in range(RECORDS)]


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def _filled(connection: Connection, records: Records) -> None:
    await fill(connection, NAMES, records)


async def ask(connection: Connection, query: Any, params: Any = None, **options: Any) -> Records:
    return await queried(connection, NAMES, query, params, **options)


async def test_a_row_is_the_record_and_its_metadata_with_another_character_for_each_nul(
    connection: Connection, records: Records
) -> None:
    rows = await ask(connection, "SELECT * FROM documents ORDER BY id")

    expected = [relation_row(record) for record in sorted(records, key=lambda record: record["id"])]
    assert [tuple(row) for row in rows] == [COLUMNS] * RECORDS
    for row, (*envelope, metadata) in zip(rows, expected, strict=True):
        *found, text = row.values()
        assert found == [value.replace("\0", "\ufffd") if isinstance(value, str) else value for value in envelope]
        if metadata is None:
            assert text is None
        else:
            assert json.loads(text) == json.loads(metadata.replace("\\u0000", "\ufffd"))


@pytest.mark.parametrize(
    ("query", "params", "expected"),
    [
        ("SELECT count(*) AS n FROM documents", None, [{"n": RECORDS}]),
        ("SELECT 1 AS one FROM documents LIMIT 2;", None, [{"one": 1}] * 2),
        ("WITH a AS (SELECT id FROM documents), b(x) AS (SELECT 2) SELECT x FROM a, b LIMIT 1", None, [{"x": 2}]),
        ("SELECT id FROM documents WHERE id = 'nobody'", None, []),
        ("SELECT sum(version) = ? AS is_so FROM documents WHERE id = ''", [None], [{"is_so": None}]),
        ("SELECT CAST(2.5 AS numeric(3, 1)) AS n, avg(1.5) AS a, sum(2) AS s", None, [{"n": 2.5, "a": 1.5, "s": 2}]),
        ("SELECT metadata ->> 'a''b%' AS x FROM documents LIMIT 1", {}, [{"x": None}]),
    ],
)
async def test_a_select_over_the_relation_is_answered(
    connection: Connection, query: str, params: Any, expected: Records
) -> None:
    assert await ask(connection, query, params) == expected


async def test_times_compare_as_the_text_that_they_are(connection: Connection, records: Records) -> None:
    query = "SELECT count(*) AS n FROM documents WHERE updated_at >= :since"

    (row,) = await ask(connection, query, {"since": datetime(2026, 1, 3, tzinfo=UTC)})

    assert row["n"] == sum(record["updated_at"] >= "2026-01-03" for record in records)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM relation_documents",
        "SELECT * FROM public.relation_documents",
        "SELECT * FROM public.relation_store",
        "INSERT INTO documents (id) VALUES ('x')",
        "WITH x AS (DELETE FROM documents RETURNING 1) SELECT * FROM x",
        "WITH x AS (DELETE FROM public.relation_documents RETURNING 1) SELECT * FROM x",
        "SELECT 1 INTO mine FROM documents",
        "SELECT nobody FROM documents",
        "SELECT 1 / 0",
        "SELECT CAST('x' AS integer)",
        "SELECT FROM",
        "SELECT (SELECT 1 UNION SELECT 2)",
        b"SELECT 1",
        None,
    ],
)
async def test_anything_else_is_refused_and_the_allowed_is_told(connection: Connection, query: Any) -> None:
    with pytest.raises(StorageValidationError, match=r"SELECT over documents\(id, type, version") as refused:
        await ask(connection, query)

    assert refused.value.path == "query"
    assert await ask(connection, "SELECT count(*) AS n FROM documents") == [{"n": RECORDS}]


@pytest.mark.parametrize("params", [["a\0"], ["\ud800"], [object()], 5])
async def test_values_that_no_text_holds_are_refused(connection: Connection, params: Any) -> None:
    with pytest.raises(StorageValidationError, match="refused"):
        await ask(connection, "SELECT id FROM documents WHERE id = ?", params)


async def test_a_query_runs_with_rights_on_the_view_alone_even_past_the_guard(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fsstore.postgres.queries.guard._check", lambda _: None)

    (row,) = await ask(connection, "SELECT current_user AS who, current_setting('transaction_read_only') AS reads")

    assert row == {"who": reader_of(NAMES, connection.info.dbname), "reads": "on"}
    for query in ("SELECT * FROM public.relation_documents", "SELECT pg_read_file('/etc/passwd')"):
        with pytest.raises(StorageValidationError, match="permission denied"):
            await ask(connection, query)


async def test_a_query_leaves_the_connection_as_it_was(connection: Connection) -> None:
    before = await settings(connection)
    await ask(connection, "SELECT 1")
    with pytest.raises(StorageValidationError):
        await ask(connection, "SELECT nobody")

    assert await settings(connection) == before
    assert not connection.pgconn.transaction_status


async def settings(connection: Connection) -> Any:
    names = ("role", "search_path", "statement_timeout", "transaction_read_only")
    calls = ", ".join(f"current_setting('{name}')" for name in names)
    return await (await connection.execute(f"SELECT {calls}".encode())).fetchone()


async def test_a_query_that_takes_too_long_is_ended_on_the_server_too(connection: Connection) -> None:
    began = time.monotonic()
    with pytest.raises(StorageTimeoutError, match="the end of the query"):
        await ask(connection, ENDLESS_QUERY, timeout_seconds=0.3)
    assert time.monotonic() - began < 10

    asking = asyncio.ensure_future(ask(connection, ENDLESS_QUERY))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_query_gives_times_in_one_form_whatever_the_role_has(postgres_url: str, tmp_path: Path) -> None:
    url = setting(postgres_url, datestyle="SQL,DMY", intervalstyle="sql_standard")
    async with await opened(url, tmp_path) as storage:
        await storage.save({"id": "a"})
        text = "SELECT timestamptz '2026-01-31 09:15+00' AS at, interval '1 day -1 hour' AS span FROM documents"
        assert await storage.query(text) == [{"at": "2026-01-31T09:15:00.000000+00:00", "span": "23:00:00"}]


async def test_a_limit_that_ends_the_transaction_is_no_fault_of_the_query(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = psycopg.errors.IdleInTransactionSessionTimeout("terminating connection")
    monkeypatch.setattr(relation, "_restrict", failing(ended))
    with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
        await ask(connection, "SELECT id FROM documents")


def failing(error: Exception) -> Callable[..., Coroutine[Any, Any, None]]:
    async def fail(*_: object) -> None:
        raise error

    return fail


async def test_rows_beyond_what_an_answer_may_take_are_refused(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fsstore.postgres.queries.relation.MAX_QUERY_BYTES", 10_000)
    with pytest.raises(StorageValidationError, match="more than 10000 bytes"):
        await ask(connection, "SELECT a.id FROM documents a, documents b")


async def test_without_the_role_queries_are_refused_and_say_what_to_do(postgres_url: str) -> None:
    names = Names(prefix="without_reader_")
    async with tables(postgres_url, names) as connection:
        reader = sql.Identifier(reader_of(names, connection.info.dbname))
        await connection.execute(sql.SQL("DROP OWNED BY {}").format(reader))
        await connection.execute(sql.SQL("DROP ROLE {}").format(reader))

        with pytest.raises(StorageUnavailableError, match="no role that may run queries") as refused:
            await queried(connection, names, "SELECT 1")
        assert "CREATEROLE" in str(refused.value)

        for statement in making_reader(names, connection.info.dbname, "postgres"):
            await connection.execute(statement)
        assert await queried(connection, names, "SELECT count(*) AS n FROM documents") == [{"n": 0}]


async def test_a_role_that_may_make_no_roles_makes_a_store_without_queries(postgres_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as owner:
        await owner.execute("DROP ROLE IF EXISTS fsstore_plain")
        await owner.execute("CREATE ROLE fsstore_plain LOGIN")
        await owner.execute("CREATE SCHEMA plain AUTHORIZATION fsstore_plain")
        names = Names(schema="plain")
        try:
            async with tables(postgres_url, names, role="fsstore_plain") as connection:
                with pytest.raises(StorageUnavailableError, match="no role that may run queries"):
                    await queried(connection, names, "SELECT 1")
        finally:
            await owner.execute("DROP SCHEMA plain CASCADE")
            await owner.execute("DROP ROLE fsstore_plain")
