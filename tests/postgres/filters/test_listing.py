"""Lists, parts, counts and batches agree with `matches` and `Order.key`, on records and filters made to be nasty."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from random import Random
from typing import Any

import pytest
import pytest_asyncio

from fsstore.interfaces import summary
from fsstore.model.records import JsonObject, Records
from fsstore.postgres.connections.connection import Connection
from fsstore.postgres.filters import listing
from fsstore.postgres.filters.statements import ABILITIES
from fsstore.postgres.schema.rows import ODD, row_of
from fsstore.postgres.schema.tables import Names
from fsstore.query.conditions import Order
from fsstore.query.filters import matches, parse
from fsstore.query.orders import parse_order
from fsstore.query.plan import plan
from tests.postgres.tables import fill, tables
from tests.query.drawn import OPERAND_TIMES, SCALARS, TIMES, WRITTEN_TIMES, some_filter, some_order, some_record

NAMES = Names(prefix="listing_")
RECORDS, FILTERS, LEAST_PAIRS = 400, 100, 20_000
ODD_SHARE = 0.1
"""How many of the odd records stay: drawn as they are, most would be odd, and nothing asked of SQL."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def connection(postgres_url: str) -> AsyncGenerator[Connection]:
    async with tables(postgres_url, NAMES) as opened:
        yield opened


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def assert_agreement(
    connection: Connection,
    records: Records,
    wanted: JsonObject,
    order: Order,
    window: tuple[int | None, int] = (None, 0),
) -> Counter[str]:
    """Compare every way to answer with the definition; return how many pairs were judged, and how.

    A list is asked for the `window` of that limit and offset.
    """
    limit, offset = window
    condition = parse(wanted)
    expected = sorted((record for record in records if matches(wanted, record)), key=order.key)
    shown = expected[offset : None if limit is None else offset + limit]
    asked: dict[str, Any] = {"limit": limit, "offset": offset}

    found = await listing.listed(connection, NAMES.documents, condition, order, unreadable=set(), **asked)
    parts = await listing.listed(connection, NAMES.documents, condition, order, parts=True, unreadable=set(), **asked)
    if found is None or parts is None:
        assert found is parts is None
    else:
        assert found == shown, (wanted, order, window)
        # a part has no data where the columns know nothing of it
        assert [summary({"data": None, **part}) for part in parts] == [summary(record) for record in shown]
    assert await listing.counted(connection, NAMES.documents, condition, unreadable=set()) == len(expected), wanted
    assert await streamed(connection, wanted) == sorted(record["id"] for record in expected), wanted
    residue = plan(condition, ABILITIES).residue is not None
    return Counter(pairs=len(records), matching=len(expected), residue=len(records) * residue)


async def streamed(connection: Connection, wanted: JsonObject) -> list[str]:
    after: str | None = ""
    ids: list[str] = []
    while after is not None:
        after, found = await listing.batch(connection, NAMES.documents, parse(wanted), after, 37, unreadable=set())
        ids += [record["id"] for record in found]
    return ids


def some_records(rng: Random, count: int) -> Records:
    drawn = [some_record(rng, at) for at in range(count)]
    return [record for record in drawn if not row_of(record).marks >= ODD or rng.random() < ODD_SHARE]


@pytest.mark.parametrize("seed", [20260131, 7])
async def test_sql_and_residue_agree_with_matches_and_the_order_on_random_records(
    connection: Connection, seed: int
) -> None:
    rng = Random(seed)
    records = some_records(rng, 3 * RECORDS)
    await fill(connection, NAMES, records)
    judged: Counter[str] = Counter()
    for _ in range(FILTERS):
        window = rng.choice([None, 0, 1, 7]), rng.choice([0, 0, 3])
        wanted, order = some_filter(rng, records), some_order(rng, records)
        judged += await assert_agreement(connection, records, wanted, order, window)
    assert judged["pairs"] >= LEAST_PAIRS
    # the agreement says something only where filters neither want everything nor nothing, and SQL answers most
    assert judged["pairs"] * 0.02 < judged["matching"] < judged["pairs"] * 0.9
    assert judged["residue"] < judged["pairs"] * 0.5


EVERY_VALUE = [
    *SCALARS,
    *([], {}, [1], [True], [None], [0.1], ["a", "b"], ["a\0b"], [[1]], [{"a": 1}], {"a": 1}, {"a": [1]}),
]


def records_with(values: list[JsonObject]) -> Records:
    return [
        {"id": f"{at}", "type": "t", "version": 1, "created_at": TIMES[at % 4], "updated_at": TIMES[at % 3]}
        | {"data": {"metadata": value}}
        for at, value in enumerate(values)
    ]


@pytest.mark.parametrize("key", ["x", "status", "tags"])
async def test_every_operator_and_order_agrees_on_every_pair_of_values(connection: Connection, key: str) -> None:
    path = f"data.metadata.{key}"
    records = records_with([*({key: value} for value in EVERY_VALUE), {}])
    await fill(connection, NAMES, records)
    wanted: list[JsonObject] = [{path: {"$in": ["a", "b"]}}, {path: {"$all": ["a", "b"]}}, {path: {"$exists": True}}]
    for value in EVERY_VALUE:
        operators = ["$eq", "$ne", "$gt", "$lte"] if isinstance(value, str | int | float) else ["$eq", "$ne"]
        wanted += [{path: {operator: value}} for operator in operators]
        wanted += [{path: {"$in": [value, "a", 1]}}, {f"{path}.a": {"$in": [value, 1]}}]
    for at, filters in enumerate(wanted):
        await assert_agreement(connection, records, filters, parse_order(path if at % 2 else f"-{path}"))


@pytest.mark.parametrize("key", ["created_at", "updated_at"])
async def test_every_operator_and_order_agrees_on_every_pair_of_times(connection: Connection, key: str) -> None:
    path = f"data.metadata.{key}"
    records = records_with([*({key: value} for value in [*WRITTEN_TIMES, *TIMES]), {}])
    await fill(connection, NAMES, records)
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
        window = (None, 0) if at % 3 else (3, 1)
        await assert_agreement(connection, records, filters, parse_order(path if at % 2 else f"-{path}"), window)


async def test_integers_and_floats_beyond_53_bits_compare_exactly(connection: Connection) -> None:
    numbers: list[Any] = [2**60 - 1, 2**60, 2**60 + 24, 2**60 + 128, float(2**60), 2.0**60 + 256, 2**53 + 1, 0.1, -1]
    records = records_with([{"n": number, "in": [number]} for number in numbers])
    for record, version in zip(records, [2**60, 2**60 + 24, 2**53 + 1, *range(1, 7)], strict=True):
        record["version"] = version
    await fill(connection, NAMES, records)

    for number in numbers:
        for operator in ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte"):
            for path in ("data.metadata.n", "data.metadata.in", "version"):
                await assert_agreement(connection, records, {path: {operator: number}}, parse_order(path))
        await assert_agreement(connection, records, {"data.metadata.in": {"$in": [[number]]}}, parse_order("-version"))


async def test_ids_and_texts_longer_than_an_index_holds_are_found_and_ordered(connection: Connection) -> None:
    long = "中" * 1023
    records = [
        {**record, "id": f"{long}{at}", "type": long, "session_id": f"{long}{at % 2}", "data": {"metadata": metadata}}
        for at, (record, metadata) in enumerate(
            (record, {"status": f"{long}{at % 3}", "user_id": long, "tags": [long, "a"]})
            for at, record in enumerate(records_with([{}] * 9))
        )
    ]
    await fill(connection, NAMES, records)

    for wanted in (
        {"id": f"{long}4"},
        {"id": {"$gt": f"{long}4"}},
        {"session_id": f"{long}1", "type": long},
        {"data.metadata.status": f"{long}2"},
        {"data.metadata.user_id": long},
        {"data.metadata.tags": long},
        {"data.metadata.tags": "a"},
    ):
        for order_by in ("id", "-id", "session_id", "-data.metadata.status", None):
            await assert_agreement(connection, records, wanted, parse_order(order_by), (5, 1))
