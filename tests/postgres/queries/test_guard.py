from __future__ import annotations

from typing import Any

import pytest

from fsstore.errors import StorageValidationError
from fsstore.postgres.queries.guard import guarded

RENAMED = {"json_extract": '"s"."x_json_extract"'}


@pytest.mark.parametrize(
    ("query", "params", "text", "values"),
    [
        ("SELECT id FROM documents WHERE id = ?", ["a"], "select id from documents where id = %s", ["a"]),
        ("SELECT id FROM documents WHERE id = :x", {"x": 1}, "select id from documents where id = %(x)s", {"x": 1}),
        ("SELECT 'a''b -- ?' LIKE 'a%' -- a remark", None, "select 'a''b -- ?' like 'a%%'", {}),
        ("SELECT /* one * more */ a->>'b'::text;", (), "select a ->> 'b' :: text", []),
        ('SELECT "D"."Id" FROM documents "D"', None, 'select "D" . "Id" from documents "D"', {}),
        ("SELECT json_extract(m, '$.a')", None, 'select "s"."x_json_extract" ( m , \'$.a\' )', {}),
        ("SELECT 1+-2, 1.5e3, n%2", None, "select 1 +- 2 , 1.5e3 , n %% 2", {}),
    ],
)
def test_a_query_is_written_for_psycopg(query: str, params: Any, text: str, values: Any) -> None:
    assert guarded(query, params, RENAMED)[2:] == (text, values)


@pytest.mark.parametrize(
    ("query", "is_with", "is_recursive", "text"),
    [
        ("WITH a AS (SELECT 1) SELECT * FROM a", True, False, "a as ( select 1 ) select * from a"),
        ("WITH RECURSIVE a(i) AS (SELECT 1) SELECT 2", True, True, "a ( i ) as ( select 1 ) select 2"),
        ("WITH a AS (SELECT 1), b(x, y) AS (SELECT 1, 2) SELECT 3", True, False, None),
    ],
)
def test_a_with_is_told_from_its_rest(query: str, *, is_with: bool, is_recursive: bool, text: str | None) -> None:
    found = guarded(query, None, {})

    assert (found.is_with, found.is_recursive) == (is_with, is_recursive)
    assert text in (None, found.text)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT pg_sleep(1)",
        "SELECT set_config('role', 'none', true)",
        "SELECT /* ( */ set_config -- (\n ('role', 'none', true)",
        "SELECT \"set_config\"('role', 'none', true)",
        "SELECT lower(set_config('role', 'none', true))",
        "SELECT 1, set_config('role', 'none', true) AS (a)",
        "SELECT public.lower('A')",
        "SELECT query_to_xml('SELECT 1', true, true, '')",
        "SELECT nextval('s'), lo_get(1)",
        "SELECT repeat('x', 1000000000)",
        "SELECT * FROM pg_class",
        "SELECT 16384::regclass",
        "SELECT cast('fsstore' AS REGROLE)",
        "SELECT 'lower'::\"regproc\"",
        'SELECT * FROM "pg_class"',
        "SELECT * FROM Pg_Catalog.version",
        "SELECT * FROM information_schema.tables",
        "SELECT 1 OPERATOR(public.+) 2",
        "SELECT * FROM documents FOR UPDATE",
        "SELECT * FROM documents FOR NO KEY UPDATE",
        "SELECT 1; SELECT 2",
        "SELECT $$a$$",
        "SELECT E'\\'; SELECT pg_sleep(1) --'",
        "SELECT 'a",
        'SELECT "a',
        "SELECT /* /* */ set_config('role', 'none', true) */",
        "SELECT 'a\0b' \0",
        "SELECT `a`",
    ],
)
def test_what_rights_do_not_keep_out_is_refused(query: str) -> None:
    with pytest.raises(StorageValidationError, match="is refused") as refusal:
        guarded(query, None, {})
    assert refusal.value.path == "query"


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("SELECT ?", None),
        ("SELECT ?", []),
        ("SELECT ?", {"a": 1}),
        ("SELECT 1", [1]),
        ("SELECT :a", {"b": 1}),
        ("SELECT 1", 5),
    ],
)
def test_parameters_that_do_not_fit_are_refused(query: str, params: Any) -> None:
    with pytest.raises(StorageValidationError, match="is refused"):
        guarded(query, params, {})
