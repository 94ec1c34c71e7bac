import json
import sqlite3
from contextlib import closing
from typing import Any

import orjson
import pytest

from fsstore.filesystem.index.schema import CREATE
from fsstore.filesystem.index.terms import Terms, functions
from fsstore.model.records import JsonObject
from fsstore.query.filters import parse
from fsstore.query.orders import parse_order

HOSTILE = "'; DROP TABLE entry; --"


def term_of(filters: JsonObject) -> tuple[str, Terms]:
    terms = Terms()
    return terms.term(parse(filters)), terms


@pytest.mark.parametrize(
    "filters",
    [
        {"data.metadata.key": HOSTILE},
        {f"data.metadata.{HOSTILE}": 1},
        {"data.metadata.status": {"$in": [HOSTILE, "b"]}},
        {"data.metadata.tags": HOSTILE},
        {"data.metadata.key": {"$regex": HOSTILE}},
        {"id": {"$gt": HOSTILE}},
    ],
)
def test_text_of_a_callers_is_bound_and_never_written(filters: JsonObject) -> None:
    term, terms = term_of(filters)
    assert HOSTILE not in term
    assert any(HOSTILE in value for value in terms.values.values() if isinstance(value, str))


FILTERS: list[JsonObject] = [
    {"data.metadata.key": None},
    {"data.metadata.key": 1},
    {"data.metadata.status": "open"},
    {"data.metadata.tags": "a"},
    {"data.metadata.a.b": {"$exists": False}},
    {"data.metadata.key": {"$gt": 5}},
    {"data.metadata.key": {"$in": []}},
    {"data.metadata.created_at": {"$lt": "2026-01-31"}},
    {"metadata.key": {"$all": ["x"]}},
    {"session_id": None},
    {"data.metadata.key": {"$regex": "x"}},
    {"data.metadata.status": {"$ne": "open"}},
    {"data.metadata.status": {"$in": ["open", 1, None]}},
    {"$or": [{"data.metadata.status": "open"}, {"data.metadata.user_id": {"$in": ["a", "b"]}}]},
    {"$and": [{"data.metadata.user_id": "a"}, {"$nor": [{"data.metadata.status": 1}]}]},
]


@pytest.mark.parametrize("filters", FILTERS)
def test_a_term_says_what_the_filter_does_also_of_a_row_without_anything(filters: JsonObject) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(CREATE)
        connection.execute("INSERT INTO entry (name, id, flags) VALUES ('n', 'i', 0)")
        for negated in (False, True):
            term, terms = term_of({"$nor": [filters]} if negated else filters)
            for name, (count, function) in functions({id(one): one for one in terms.asked}).items():
                connection.create_function(name, count, function)
            (found,) = connection.execute(
                f"SELECT {term} FROM entry",  # noqa: S608 - the term under test, whose values are bound
                terms.values,
            ).fetchone()
            # what is neither true nor false takes no row, as what is false
            assert bool(found) is (parse(filters).matches({}) is not negated)


def test_a_number_beyond_64_bits_is_bound_as_one_that_compares_the_same() -> None:
    terms = Terms()
    terms.bind(2**63 - 1)
    terms.bind(2**70)
    assert list(terms.values.values()) == [0, 2**63 - 1, float(2**70)]


def test_a_path_that_the_index_does_not_know_is_an_error_of_the_plan() -> None:
    with pytest.raises(ValueError, match="does not know"):
        term_of({"data.messages": 1})


@pytest.mark.parametrize(
    ("order_by", "place"), [("id", "entry.id"), ("data.messages", None), ('data.metadata."', None)]
)
def test_an_order_is_a_column_or_left_to_the_documents(order_by: str, place: str | None) -> None:
    assert Terms().place(parse_order(order_by)) == place


@pytest.mark.parametrize(
    ("values", "step"),
    [([None, 1, 2.5, 2**70, "a", "b", [1], False, True], "a"), ([None, -1.5, 10, "10", {"x": 1}, False, True], "b.c")],
)
def test_places_order_values_as_the_definition_does(values: list[Any], step: str) -> None:
    place_of, order = functions({})["place_of"][1], parse_order(f"data.metadata.{step}")

    def document(value: Any) -> JsonObject:
        for name in reversed(["data", "metadata", *step.split(".")]):
            value = {name: value}
        return {"id": "x", "updated_at": "", **value}

    steps = orjson.dumps(order.path).decode()
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.create_function("place_of", 2, place_of)
        ordered = connection.execute(
            "SELECT key FROM json_each(?) ORDER BY place_of(?, value)",
            (json.dumps([document(value) for value in reversed(values)]), steps),
        ).fetchall()
    assert [len(values) - 1 - int(key) for (key,) in ordered] == list(range(len(values)))
