from __future__ import annotations

import pytest

from fsstore.model.records import JsonObject
from fsstore.postgres.filters.places import places
from fsstore.postgres.filters.terms import Terms
from fsstore.postgres.schema.rows import key_of
from fsstore.query.conditions import Field
from fsstore.query.filters import parse
from fsstore.query.orders import parse_order

HOSTILE = "'; DROP TABLE documents; -- %s %(v0)s"


@pytest.mark.parametrize(
    "filters",
    [
        {"data.metadata.key": HOSTILE},
        {f"data.metadata.{HOSTILE}": 1},
        {"data.metadata.status": {"$in": [HOSTILE, "b"]}},
        {"data.metadata.tags": HOSTILE},
        {"data.metadata.key": {"$gt": HOSTILE}},
        {"data.metadata.key": {HOSTILE: [HOSTILE]}},
        {"metadata.key": {"$all": [HOSTILE]}},
        {"id": HOSTILE},
        {"id": {"$gt": HOSTILE}},
        {"session_id": HOSTILE},
    ],
)
def test_text_of_a_callers_is_bound_and_never_written(filters: JsonObject) -> None:
    terms = Terms()
    text = terms.term(parse(filters))

    assert "DROP" not in text
    assert "DROP" in repr(terms.values)


def test_a_step_of_an_order_is_bound_and_never_written() -> None:
    terms = Terms()
    parts = places(terms, parse_order(f"data.metadata.x.{HOSTILE}"))

    assert parts is not None
    assert not any("DROP" in part for part in parts)


@pytest.mark.parametrize(
    ("filters", "is_sure"),
    [
        ({"data.metadata.status": "open"}, True),
        ({"data.metadata.key": {"$gt": 1}}, True),
        ({"session_id": None}, True),
        ({"data.metadata.tags": {"$in": ["a", "b"]}}, True),
        # an array may be on the way
        ({"data.metadata.a.b": 1}, False),
        ({"data.metadata.a.b": {"$exists": True}}, False),
        # other programs write times in other forms
        ({"data.metadata.created_at": "2026"}, False),
    ],
)
def test_terms_say_whether_a_record_may_have_to_be_asked(filters: JsonObject, *, is_sure: bool) -> None:
    terms = Terms()
    terms.term(parse(filters))
    assert terms.is_sure is is_sure


def test_an_id_is_found_by_its_key() -> None:
    terms = Terms()
    assert "d.key = ANY" in terms.term(parse({"id": "a"}))
    assert [key_of("a")] in terms.values.values()


@pytest.mark.parametrize("filters", [{"data.messages": 1}, {"data.metadata.a": {"$regex": "x"}}])
def test_what_the_plan_leaves_to_the_records_is_an_error_of_the_plan(filters: JsonObject) -> None:
    condition = parse(filters)
    assert isinstance(condition, Field)
    with pytest.raises(ValueError, match="does not"):
        Terms().term(condition)


def test_an_order_that_only_the_records_tell_has_no_places() -> None:
    assert places(Terms(), parse_order("data.messages")) is None
