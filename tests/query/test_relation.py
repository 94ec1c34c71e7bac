import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from typing import Any

import orjson
import pytest

from fsstore.errors import StorageTimeoutError, StorageUnavailableError, StorageValidationError
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.schema import BEHIND_RELATION
from fsstore.interfaces import summary
from fsstore.model.records import JsonObject
from fsstore.query.columns import metadata_of
from fsstore.query.limits import (
    MAX_QUERY_BYTES,
    MAX_QUERY_CHARACTERS,
    MAX_QUERY_COSTLY_BYTES,
    MAX_QUERY_VALUE_BYTES,
)
from fsstore.query.relation import COLUMNS, guarded_select, relation_over, relation_row
from tests.filesystem.index.test_index import entry, record

RECORDS: list[JsonObject] = [
    record("a", metadata={"status": "open", "tags": ["x", "y"]}, session_id="s1"),
    record("b", metadata={"status": "done"}, version=3),
    record("c", data="no object", top={"own": True}),
    record("d", data={}, top=None),
    record("e", metadata=None, top=["own"]),
    record("f", data=[{"metadata": {"status": "odd"}}]),
]


def in_memory() -> sqlite3.Connection:
    return relation_over(RECORDS)


def in_index() -> sqlite3.Connection:
    index = Index.open(None)
    index.apply(map(entry, RECORDS))
    return index._connection


@pytest.fixture(params=[in_memory, in_index], ids=["in memory", "in the index"])
def connection(request: pytest.FixtureRequest) -> Iterator[sqlite3.Connection]:
    with closing(request.param()) as opened:
        yield opened


def ask(connection: sqlite3.Connection, query: Any, params: Any = None, **options: Any) -> list[JsonObject]:
    return guarded_select(connection, query, params, behind=BEHIND_RELATION, **options)


def test_a_row_is_the_record_and_its_metadata(connection: sqlite3.Connection) -> None:
    rows = ask(connection, "SELECT * FROM documents ORDER BY id")

    assert [tuple(row) for row in rows] == [COLUMNS] * len(RECORDS)
    assert [tuple(row.values()) for row in rows] == [relation_row(record) for record in RECORDS]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["id"])
def test_the_metadata_is_that_of_a_summary(record: JsonObject) -> None:
    text = relation_row(record)[-1]

    assert (None if text is None else orjson.loads(text)) == metadata_of(record) == summary(record)["metadata"]


@pytest.mark.parametrize(
    ("query", "params", "expected"),
    [
        ("SELECT count(*) AS n FROM documents", None, [{"n": 6}]),
        ("SELECT 1 AS one FROM documents LIMIT 2", None, [{"one": 1}] * 2),
        ("SELECT id FROM documents WHERE session_id = ?", ["s1"], [{"id": "a"}]),
        ("SELECT id FROM documents WHERE version > :least", {"least": 2}, [{"id": "b"}]),
        (
            "SELECT d.id, t.value FROM documents AS d, json_each(d.metadata, '$.tags') AS t",
            (),
            [{"id": "a", "value": "x"}, {"id": "a", "value": "y"}],
        ),
        ("SELECT json_extract(metadata, '$.status') AS s FROM documents WHERE id = 'b'", None, [{"s": "done"}]),
        ("WITH open AS (SELECT id FROM documents) SELECT max(id) AS last FROM open", None, [{"last": "f"}]),
        (
            "-- a remark\n /* and\n one more */ select upper(id) AS id FROM documents WHERE id < 'b'",
            None,
            [{"id": "A"}],
        ),
        ("SELECT id, rank() OVER (ORDER BY id DESC) AS r FROM documents LIMIT 1", None, [{"id": "f", "r": 1}]),
        ("SELECT id FROM documents WHERE id = 'nobody'", None, []),
    ],
)
def test_a_select_over_the_relation_is_answered(
    connection: sqlite3.Connection, query: str, params: Any, expected: list[JsonObject]
) -> None:
    assert ask(connection, query, params) == expected


@pytest.mark.parametrize(
    "query",
    [
        "",
        "   -- only a remark",
        "INSERT INTO documents (id) VALUES ('x')",
        "WITH x AS (SELECT 1) DELETE FROM documents",
        "WITH x AS (SELECT 1) UPDATE documents SET id = 'x'",
        "DROP TABLE documents",
        "CREATE TEMP TABLE t (a)",
        "PRAGMA user_version",
        "PRAGMA query_only = OFF",
        "ATTACH 'other.db' AS other",
        "VACUUM INTO 'copy.db'",
        "BEGIN",
        "EXPLAIN SELECT 1 FROM documents",
        "SELECT 1; SELECT 2",
        "SELECT 1; DELETE FROM documents",
        "SELECT * FROM sqlite_master",
        "SELECT count(*) FROM sqlite_master",
        "SELECT * FROM pragma_table_info('documents')",
        "SELECT name FROM entry",
        "SELECT count(*) FROM entry",
        "SELECT * FROM documents JOIN entry",
        "SELECT * FROM tag",
        "WITH documents AS (SELECT digest FROM entry) SELECT * FROM documents",
        "SELECT load_extension('x') FROM documents",
        "SELECT randomblob(1000000000) FROM documents",
        "SELECT judge(1, '{}') FROM documents",
        "SELECT nobody FROM documents",
        "SELECT * FROM documents WHERE id = ?",
        "SELECT FROM documents",
        "SELECT 'a\0b'",
        "SELECT CAST(x'ff' AS TEXT) FROM documents",
        b"SELECT 1",
        None,
    ],
)
def test_anything_else_is_refused_and_the_allowed_is_told(connection: sqlite3.Connection, query: Any) -> None:
    with pytest.raises(StorageValidationError, match=r"SELECT over documents\(id, type, version") as refused:
        ask(connection, query)

    assert refused.value.path == "query"
    assert ask(connection, "SELECT count(*) AS n FROM documents") == [{"n": 6}]


@pytest.mark.parametrize("params", [["a", "b"], [object()], [2**64], ["\ud800"], {"other": 1}, 5])
def test_parameters_that_do_not_fit_are_refused(connection: sqlite3.Connection, params: Any) -> None:
    by_place, by_name = "SELECT * FROM documents WHERE id = ?", "SELECT * FROM documents WHERE id = :id"
    with pytest.raises(StorageValidationError, match="refused"):
        ask(connection, by_place if isinstance(params, list) else by_name, params)


def test_a_datetime_is_compared_as_an_instant(connection: sqlite3.Connection) -> None:
    (made,) = {row["created_at"] for row in ask(connection, "SELECT created_at FROM documents")}
    moment = datetime.fromisoformat(made).astimezone(timezone(timedelta(hours=2)))

    def found(moment: datetime) -> int:
        rows = ask(connection, "SELECT id FROM documents WHERE created_at > ?", [moment])
        named = ask(connection, "SELECT id FROM documents WHERE created_at > :moment", {"moment": moment})
        assert rows == named
        return len(rows)

    assert (found(moment), found(moment - timedelta(microseconds=1))) == (0, len(RECORDS))
    assert (found(moment.replace(hour=23)), found(moment.astimezone().replace(tzinfo=None))) == (0, 0)
    with pytest.raises(StorageValidationError, match="time of day"):
        ask(connection, "SELECT id FROM documents WHERE created_at > ?", [moment.date()])


def test_sqlite_says_what_is_wrong(connection: sqlite3.Connection) -> None:
    with pytest.raises(StorageValidationError, match="no such column: nobody"):
        ask(connection, "SELECT nobody FROM documents")


def test_a_query_without_end_is_ended(connection: sqlite3.Connection) -> None:
    endless = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
    times = iter(range(1_000))

    with pytest.raises(StorageTimeoutError, match="after 5 s"):
        ask(connection, endless, timeout_seconds=5, clock=lambda: float(next(times)))

    assert ask(connection, "SELECT count(*) AS n FROM documents") == [{"n": 6}]


@pytest.mark.parametrize("test", ["(:x || i) LIKE :long", "(:x || i) GLOB :glob", "instr(:x || i, :half)"])
def test_a_query_of_few_long_steps_is_ended_after_the_one_under_way(connection: sqlite3.Connection, test: str) -> None:
    forty = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 40)"
    beginning = iter([0.0])
    values = {"x": "a" * 60_000, "long": f"%{'a' * 198}b", "glob": f"*{'a' * 198}b", "half": "a" * 5_000 + "b"}

    with pytest.raises(StorageTimeoutError, match="after 5 s"):
        guarded_select(
            connection,
            f"{forty} SELECT count(*) FROM n WHERE {test}",  # noqa: S608 - nobody else's text
            values,
            timeout_seconds=5,
            clock=lambda: next(beginning, 9.0),
        )

    assert ask(connection, "SELECT count(*) AS n FROM documents") == [{"n": 6}]
    assert not any(thread.name == "fsstore-query" for thread in threading.enumerate())


def test_where_no_thread_can_be_started_a_query_of_long_steps_is_refused(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(StorageUnavailableError, match="no thread could be started"):
        ask(connection, "SELECT id FROM documents WHERE id LIKE 'a%'")

    assert len(ask(connection, "SELECT id FROM documents")) == 6


BEYOND = {
    "rows without end": (
        "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n",
        f"{MAX_QUERY_BYTES} bytes of memory",
    ),
    "a value that grows": (
        "SELECT replace(replace(replace(:x, 'x', :x), 'x', :x), 'x', :x) FROM documents",
        f"longer than {MAX_QUERY_COSTLY_BYTES} bytes",
    ),
    "a list that grows": (
        "WITH RECURSIVE n (x) AS (SELECT 'x' UNION ALL SELECT x || x FROM n) SELECT max(length(x)) FROM n",
        f"longer than {MAX_QUERY_VALUE_BYTES} bytes",
    ),
    "many values at once": ("SELECT json_array(" + "1, " * 60 + "1) FROM documents", "too many arguments"),
    "a long text": ("SELECT " + "1," * MAX_QUERY_CHARACTERS + "1", f"more than {MAX_QUERY_CHARACTERS}"),
    "laughs by the billion": (
        "WITH c0 AS (SELECT id FROM documents)"  # noqa: S608 - nobody else's text
        + "".join(f", c{at + 1} AS (SELECT x.id FROM c{at} x, c{at} y)" for at in range(30))  # noqa: S608 - the same
        + " SELECT id FROM c30",
        "refused",
    ),
    "a long pattern": ("SELECT 'a' LIKE '" + "a" * 300 + "%' FROM documents", "pattern too complex"),
    "a fill of any length": ("SELECT printf('%.*c', 900000000, 'x') FROM documents", "not authorized"),
}


@pytest.mark.parametrize("name", BEYOND)
def test_a_query_that_asks_for_too_much_is_refused_and_the_connection_goes_on(
    connection: sqlite3.Connection, name: str
) -> None:
    query, reason = BEYOND[name]
    with pytest.raises(StorageValidationError, match=reason):
        ask(connection, query, {"x": "x" * 500} if ":x" in query else None)

    assert ask(connection, "SELECT count(*) AS n FROM documents") == [{"n": 6}]


COSTLY = {
    "instr": "SELECT instr(:x, :x || 'b') FROM documents",
    "replace": "SELECT REPLACE(:x, :x || 'b', '') FROM documents",
    "trim": 'SELECT "trim"(:x, :x) FROM documents',
    "json_patch": "SELECT json_patch(:x, :x) FROM documents",
    "json_array": "SELECT json_array(:x, :x) FROM documents",
    "json_set": "SELECT json_set('{}', '$.a', :x) FROM documents",
}


@pytest.mark.parametrize("name", COSTLY)
def test_what_takes_long_in_one_step_is_not_given_long_values(connection: sqlite3.Connection, name: str) -> None:
    long = {"x": "a" * (MAX_QUERY_COSTLY_BYTES + 1)}

    with pytest.raises(StorageValidationError, match=f"longer than {MAX_QUERY_COSTLY_BYTES} bytes"):
        ask(connection, COSTLY[name], long)

    assert ask(connection, "SELECT length(:x) AS n FROM documents LIMIT 1", long) == [{"n": len(long["x"])}]


def test_a_long_value_is_no_matter_outside_of_queries(connection: sqlite3.Connection) -> None:
    ask(connection, "SELECT id FROM documents")

    assert connection.execute("SELECT length(hex(zeroblob(?)))", [MAX_QUERY_VALUE_BYTES]).fetchone() == (
        2 * MAX_QUERY_VALUE_BYTES,
    )


def test_an_error_of_the_database_stays_its_own() -> None:
    connection = in_memory()
    connection.close()

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        ask(connection, "SELECT 1 FROM documents")
