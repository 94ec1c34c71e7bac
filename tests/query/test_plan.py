"""A condition taken apart is the same condition, whatever an index has: on records made to be nasty."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsstore.model.records import JsonObject
from fsstore.query.columns import ENVELOPE, METADATA, TAGS, TOP_METADATA, known_part
from fsstore.query.conditions import EVERYTHING, All, Compares, Condition, Either, Matches, Not, OneOf
from fsstore.query.filters import parse
from fsstore.query.plan import STARTS, TESTS, Abilities, Plan, asks_documents, plan
from tests.query.drawn import some_filter, some_record

RECORDS, FILTERS = 60, 400
KEPT = frozenset({*ENVELOPE, METADATA, TOP_METADATA})
WHOLE = Abilities(
    parts=KEPT,
    starts=frozenset(STARTS),
    in_order=frozenset({"user_id"}),
    max_nesting=8,
    max_parts=400,
    max_values=5_000,
)


def some_abilities(rng: Random) -> Abilities:
    """Return what an index may have: all of it, or a part."""
    if rng.random() < 0.3:
        return WHOLE
    parts, starts = (frozenset(name for name in sorted(names) if rng.random() < 0.8) for names in (KEPT, STARTS))
    tests = frozenset(test for test in (OneOf, Compares, Matches) if rng.random() < 0.8)
    most = rng.choice([1, 2, 3, 8]), rng.choice([0, 1, 2, 5, 400]), rng.choice([0, 1, 3, 5_000])
    return Abilities(parts, starts, frozenset({"status"}) & starts, *most, tests=tests)


def judged(planned: Plan, record: JsonObject) -> bool:
    """Judge a record as a backend does: what is known by what an index knows of it, the residue by the document."""
    seen = known_part(record)
    is_found = all(part.matches(seen) for part in planned.known)
    return is_found and (planned.residue is None or planned.residue.matches(record))


def assert_the_same(condition: Condition, abilities: Abilities, records: list[JsonObject]) -> Counter[str]:
    """Hold a plan against the condition; return how many records were judged, and how much is left over."""
    planned = plan(condition, abilities)
    wanted = [record["id"] for record in records if condition.matches(record)]
    assert [record["id"] for record in records if judged(planned, record)] == wanted, (condition, abilities)
    for start in planned.starts:
        assert start.column in abilities.starts
        assert any(start.part is part for part in planned.known)
        assert all(start.part.matches(record) for record in records if record["id"] in wanted)
    has_both = planned.residue is not None and planned.known
    return Counter(pairs=len(records), wanted=len(wanted), split=len(records) * bool(has_both))


def test_known_and_residue_together_are_the_condition_on_random_records() -> None:
    rng = Random(20260131)
    records = [some_record(rng, at) for at in range(RECORDS)]
    found: Counter[str] = Counter()
    for _ in range(FILTERS):
        found += assert_the_same(parse(some_filter(rng, records)), some_abilities(rng), records)
    # it says something only where filters want a part of the records, and part of many a condition is left over
    assert found["pairs"] * 0.02 < found["wanted"] < found["pairs"] * 0.9
    assert found["pairs"] * 0.05 < found["split"]


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_known_and_residue_together_are_the_condition_on_what_hypothesis_finds(rng: Random, count: int) -> None:
    records = [some_record(rng, at) for at in range(count)]
    assert_the_same(parse(some_filter(rng, records)), some_abilities(rng), records)


# -- what is left over ------------------------------------------------------------------------------------------------


def parts_of(filters: JsonObject, abilities: Abilities = WHOLE) -> tuple[list[Condition], Condition | None]:
    planned = plan(parse(filters), abilities)
    return list(planned.known), planned.residue


def test_a_condition_that_an_index_knows_leaves_nothing() -> None:
    for filters in (
        {"id": "a"},
        {"data.metadata.status": "open"},
        {"metadata.a.b": {"$gt": 1}},
        {"$nor": [{"version": 3}, {"data.metadata": None}]},
    ):
        assert parts_of(filters) == ([parse(filters)], None)
    assert plan(EVERYTHING, WHOLE) == Plan((), None)


def test_what_must_hold_is_taken_apart_and_each_part_stays_whole() -> None:
    step, status = {"data.state.step": 3}, {"data.metadata.status": "open"}

    assert parts_of({"$and": [status, {"$and": [step, {"type": "t"}]}]}) == (
        [parse(status), parse({"type": "t"})],
        parse(step),
    )
    assert parts_of({**status, **step, "other": 1}) == ([parse(status)], parse({**step, "other": 1}))
    # either may hold: neither alone says anything
    assert parts_of({"$or": [status, step]}) == ([], parse({"$or": [status, step]}))


@pytest.mark.parametrize("part", sorted(KEPT))
def test_a_part_that_an_index_does_not_keep_is_left_over(part: str) -> None:
    paths = {METADATA: "data.metadata.status", TOP_METADATA: "metadata.a"}
    filters = {paths.get(part, part): "2026-01-02T00:00:00.000000+00:00"}

    assert parts_of(filters, replace(WHOLE, parts=KEPT - {part})) == ([], parse(filters))


@pytest.mark.parametrize(
    ("test", "operators"), [(OneOf, {"$eq": 1}), (Compares, {"$gt": 1}), (Matches, {"$regex": "a"})]
)
def test_a_test_that_an_index_can_not_do_is_left_over(test: type, operators: JsonObject) -> None:
    filters = {"$and": [{"data.metadata.a": {"$exists": True}}, {"data.metadata.a": operators}]}

    assert parts_of(filters, replace(WHOLE, tests=TESTS - {test})) == (
        [parse({"data.metadata.a": {"$exists": True}})],
        parse({"data.metadata.a": operators}),
    )


@pytest.mark.parametrize(("limit", "fits"), [("max_parts", 5), ("max_values", 6), ("max_nesting", 2)])
def test_a_part_too_large_for_a_statement_leaves_the_others_to_it(limit: str, fits: int) -> None:
    # a part of one node and one value, and one of four nodes, with five values in all
    small: JsonObject = {"type": "t"}
    large: JsonObject = {"$or": [{"version": {"$in": [1, 2]}}, {"id": {"$ne": "a"}}]}

    # a node that compares nothing counts as one value, too
    enough: dict[str, Any] = {"max_parts": 5, "max_values": 6, "max_nesting": 2}
    assert enough[limit] == fits
    assert parts_of({"$and": [small, large]}, replace(WHOLE, **enough)) == ([parse(small), parse(large)], None)
    assert parts_of({"$and": [small, large]}, replace(WHOLE, **{**enough, limit: fits - 1})) == (
        [parse(small)],
        parse(large),
    )


def test_a_small_part_after_one_too_large_is_known() -> None:
    large = {"version": {"$in": list(range(20))}}

    assert parts_of({**large, "type": "t"}, replace(WHOLE, max_values=19)) == ([parse({"type": "t"})], parse(large))


# -- where a list may start -------------------------------------------------------------------------------------------


def starts_of(filters: JsonObject, abilities: Abilities = WHOLE) -> list[tuple[str, bool]]:
    return [(start.column, start.is_sure) for start in plan(parse(filters), abilities).starts]


def test_a_list_starts_from_what_is_most_selective() -> None:
    filters: JsonObject = {
        **dict.fromkeys(("type", "thread_id", "id", "session_id"), "x"),
        "updated_at": {"$lt": "2026-01-31"},
        **{f"data.metadata.{key}": "x" for key in ("status", "tags", "user_id")},
    }

    assert starts_of(filters) == [
        ("id", True),
        ("session_id", True),
        ("thread_id", True),
        ("user_id", True),
        (TAGS, False),
        ("status", False),
        ("type", False),
        ("updated_at", True),
    ]
    assert starts_of(filters, replace(WHOLE, starts=frozenset({"status", "type"}))) == [
        ("status", False),
        ("type", False),
    ]


def test_one_value_of_a_column_in_order_is_a_sure_start_and_several_are_not() -> None:
    assert starts_of({"data.metadata.user_id": "zoe"}) == [("user_id", True)]
    assert starts_of({"data.metadata.user_id": {"$in": ["zoe", "tom"]}}) == [("user_id", False)]
    assert starts_of({"id": {"$in": ["a", "b"]}}) == [("id", True)]


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"data.metadata.status": None},
        {"data.metadata.status": True},
        {"data.metadata.status": {"$in": ["open", 1]}},
        {"data.metadata.status": ["open"]},
        {"data.metadata.status": {"$ne": "open"}},
        {"data.metadata.status": {"$gt": "open"}},
        {"data.metadata.status": {"$exists": True}},
        {"data.metadata.tags": {"$in": ["a", "b"]}},
        {"data.metadata.tags": 1},
        {"data.metadata.other": "a"},
        {"version": 1},
        {"$or": [{"id": "a"}, {"id": "b"}]},
        {"$nor": [{"id": "a"}]},
        {"data.state.id": "a"},
    ],
)
def test_what_says_little_of_where_rows_lie_is_no_start(filters: JsonObject) -> None:
    assert starts_of(filters) == []


def test_what_is_left_over_is_no_start() -> None:
    assert starts_of({"id": {"$in": ["a", "b"]}, "type": "t"}, replace(WHOLE, max_values=1)) == [("type", False)]


def test_the_parts_of_a_plan_are_those_of_its_condition() -> None:
    condition = parse({"$and": [{"type": "t"}, {"$or": [{"id": "a"}, {"$nor": [{"id": "b"}]}]}]})
    assert isinstance(condition, All)

    known = plan(condition, WHOLE).known

    # by identity: what a backend keeps of a condition is found by it
    assert all(part is given for part, given in zip(known, condition.parts, strict=True))
    assert isinstance(known[1], Either)
    assert isinstance(known[1].parts[1], Not)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, False),
        ({"id": "a", "data.metadata.status": "open", "metadata.n": 1}, False),
        ({"$or": [{"type": "t"}, {"data.metadata": {"$exists": True}}]}, False),
        ({"data": {"$exists": True}}, True),
        ({"data.state": 1}, True),
        ({"own": 1}, True),
        ({"$or": [{"type": "t"}, {"$nor": [{"data.messages.role": {"$exists": False}}]}]}, True),
    ],
)
def test_what_no_index_keeps_is_asked_of_documents(filters: dict[str, Any], expected: bool) -> None:  # noqa: FBT001 - a table
    assert asks_documents(parse(filters)) is expected
