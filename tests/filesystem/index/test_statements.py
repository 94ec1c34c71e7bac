"""The index agrees with `matches` and `Order.key`, on records and filters made to be nasty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.rows import Entry
from fsstore.filesystem.index.statements import Prepared, counting, following, selecting
from fsstore.model.records import JsonObject
from fsstore.query.conditions import Condition, Order
from fsstore.query.filters import matches, parse
from fsstore.query.orders import parse_order
from fsstore.query.plan import Start
from tests.query.drawn import OPERAND_TIMES, SCALARS, TIMES, WRITTEN_TIMES, some_filter, some_order, some_record

RECORDS, FILTERS, LEAST_PAIRS = 200, 400, 20_000


def entry(record: JsonObject) -> Entry:
    name = f"{sum(record['id'].encode()) % 256:02x}/{record['id']}.json"
    return Entry(name, record, Signature(1, 2, 3, 4), b"data", 5)


@pytest.fixture
def index() -> Iterator[Index]:
    opened = Index.open(None)
    yield opened
    opened.close()


def assert_agreement(index: Index, records: list[JsonObject], wanted: JsonObject, order: Order) -> Counter[str]:
    """Compare every way to answer with the definition; return how many pairs were judged, and how."""
    condition = parse(wanted)
    expected = sorted((record for record in records if matches(wanted, record)), key=order.key)
    ids = [record["id"] for record in expected]
    known = Prepared(condition).plan
    by_id = {record["id"]: record for record in records}
    for start in (None, *known.starts):
        answer, ordered = answered(index, condition, start, order, by_id)
        assert answer == ids if ordered else sorted(answer) == sorted(ids), (wanted, order, start)
        assert followed(index, condition, start, by_id) == sorted(ids), (wanted, start)
    if known.residue is None:
        assert next(index._execute(counting(known))) == (len(ids),), wanted
    return Counter(pairs=len(records), matching=len(ids), residue=len(records) * (known.residue is not None))


def answered(
    index: Index, condition: Condition, start: Start | None, order: Order, by_id: dict[str, JsonObject]
) -> tuple[list[str], bool]:
    known = Prepared(condition).plan
    statement, ordered = selecting(["id"], known, start, order)
    found = [row[0] for row in index._execute(statement)]
    return [
        record_id for record_id in found if known.residue is None or known.residue.matches(by_id[record_id])
    ], ordered


def followed(index: Index, condition: Condition, start: Start | None, by_id: dict[str, JsonObject]) -> list[str]:
    known, after, ids = Prepared(condition).plan, "", []
    while batch := [row[0] for row in index._execute(following(["id"], known, start, after, 37))]:
        ids += [record_id for record_id in batch if known.residue is None or known.residue.matches(by_id[record_id])]
        after = batch[-1]
    return ids


EVERY_VALUE = [
    *SCALARS,
    [],
    {},
    [1],
    [True],
    [None],
    [0.1],
    ["a", "b"],
    ["a\0b"],
    [[1]],
    [{"a": 1}],
    {"a": 1},
    {"a": [1]},
]


@pytest.mark.parametrize("company", [{}, {"other": "a\0b"}], ids=["ordinary", "odd"])
@pytest.mark.parametrize("key", ["x", "status", "tags"])
def test_every_operator_and_order_agrees_on_every_pair_of_values(index: Index, key: str, company: JsonObject) -> None:
    path = f"data.metadata.{key}"
    values = [{key: value, **company} for value in EVERY_VALUE] + [company]
    records = [
        {"id": f"{at}", "type": "t", "version": 1, "created_at": "", "updated_at": "", "data": {"metadata": value}}
        for at, value in enumerate(values)
    ]
    index.apply(map(entry, records))
    operators = ["$eq", "$ne", "$gt", "$lte"]
    wanted: list[JsonObject] = [{path: {"$in": ["a", "b"]}}, {path: {"$all": ["a", "b"]}}, {path: {"$exists": True}}]
    for value in EVERY_VALUE:
        ordered = isinstance(value, str | int | float)
        wanted += [{path: {operator: value}} for operator in (operators if ordered else operators[:2])]
        wanted += [{path: {"$in": [value, "a", 1]}}, {f"{path}.a": {"$in": [value, 1]}}]
    for at, filters in enumerate(wanted):
        assert_agreement(index, records, filters, parse_order(path if at % 2 else f"-{path}"))


@pytest.mark.parametrize("company", [{}, {"other": "a\0b"}], ids=["ordinary", "odd"])
@pytest.mark.parametrize("key", ["created_at", "updated_at"])
def test_every_operator_and_order_agrees_on_every_pair_of_times(index: Index, key: str, company: JsonObject) -> None:
    path = f"data.metadata.{key}"
    values = [{key: value, **company} for value in [*WRITTEN_TIMES, *TIMES]] + [company]
    records = [
        {"id": f"{at}", "type": "t", "version": 1, "created_at": TIMES[at % 4], "updated_at": TIMES[at % 3]}
        | {"data": {"metadata": value}}
        for at, value in enumerate(values)
    ]
    index.apply(map(entry, records))
    wanted: list[JsonObject] = [
        {path: {"$exists": True}},
        {path: None},
        {path: {"$ne": None}},
        {path: {"$regex": "Z$"}},
    ]
    for value in OPERAND_TIMES:
        wanted += [{path: {operator: value}} for operator in ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte")]
        wanted += [{path: {"$in": [value, None]}}, {path: {"$nin": [value]}}, {key: {"$gte": value}}, {key: value}]
    for at, filters in enumerate(wanted):
        assert_agreement(index, records, filters, parse_order(path if at % 2 else f"-{path}"))


def test_sql_and_residue_agree_with_matches_and_the_order_on_random_records(index: Index) -> None:
    rng = Random(20260131)
    records = [some_record(rng, at) for at in range(RECORDS)]
    index.apply(map(entry, records))
    judged: Counter[str] = Counter()
    for _ in range(FILTERS):
        judged += assert_agreement(index, records, some_filter(rng, records), some_order(rng, records))
    assert judged["pairs"] >= LEAST_PAIRS
    # the agreement says something only where filters neither want everything nor nothing, and SQL answers most
    assert judged["pairs"] * 0.02 < judged["matching"] < judged["pairs"] * 0.9
    assert judged["residue"] < judged["pairs"] * 0.4


@pytest.mark.parametrize(
    "order_by", [r"data.metadata.a\.b", r"-data.metadata.\$in", r"data.state.a\.b", r"metadata.a\.b"]
)
@pytest.mark.parametrize("company", [{}, {"other": "a\0b"}], ids=["ordinary", "odd"])
def test_keys_with_dots_and_dollars_are_found_and_ordered(index: Index, order_by: str, company: JsonObject) -> None:
    values: list[JsonObject] = [{"a.b": 2, "$in": "x"}, {"a": {"b": 3}, "$in": "a"}, {"a.b": 1}, {"a.b": {"c": 1}}, {}]
    records = [
        {
            **dict.fromkeys(("type", "created_at", "updated_at"), "t"),
            "id": f"{at}",
            "version": 1,
            "metadata": value,
            "data": {"metadata": value | company, "state": value},
        }
        for at, value in enumerate(values)
    ]
    index.apply(map(entry, records))

    for filters in (
        {r"data.metadata.a\.b": 2},
        {"data.metadata.a.b": 3},
        {r"data.metadata.a\.b.c": 1},
        {r"data.metadata.\$in": {"$in": ["x", "a"]}},
        {r"metadata.a\.b": {"$gt": 1}},
        {r"data\.metadata.a": {"$exists": True}},
        {r"data.state.a\.b": 1},
    ):
        assert_agreement(index, records, filters, parse_order(order_by))
    assert [record["id"] for record in records if matches({r"data.metadata.a\.b": {"$gte": 1}}, record)] == ["0", "2"]


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_sql_and_residue_agree_with_matches_on_what_hypothesis_finds(rng: Random, count: int) -> None:
    index = Index.open(None)
    try:
        records = [some_record(rng, at) for at in range(count)]
        index.apply(map(entry, records))
        assert_agreement(index, records, some_filter(rng, records), some_order(rng, records))
    finally:
        index.close()
