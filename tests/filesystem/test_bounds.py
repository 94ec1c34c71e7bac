"""Filters, orders, limits, cursors and queries as weapons: over a thousand sessions none takes a second, or 100 MB."""

from __future__ import annotations

import resource
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

from fsstore import FileStorage, SessionService
from fsstore.errors import StorageTimeoutError, StorageValidationError
from fsstore.model.records import JsonObject
from fsstore.query.limits import MAX_FILTER_CONDITIONS, MAX_FILTER_PATTERNS, MAX_FILTER_VALUES, MAX_PATH_STEPS
from tests.query.drawn import some_filter, some_order, some_record, write_path

SESSIONS, ROUNDS, SECONDS, MEGABYTES = 1_000, 150, 4.0, 100

NESTED = "(" * 8 + "a" + "+)" * 8
HUGE = [2**31, 2**63 - 1, 2**63, 2**70, 10**40]
SOME_QUERIES = [
    "SELECT * FROM documents ORDER BY {} DESC",
    "SELECT {0}, count(*) FROM documents GROUP BY {0}",
    "SELECT id FROM documents WHERE {} LIKE '%a%a%a%a%a%a%a%a%a%b'",
    "SELECT json_extract(metadata, '$.status') AS s, max({}) FROM documents GROUP BY s",
    "SELECT a.id, group_concat(a.{}) FROM documents a JOIN documents b ON a.id = b.id GROUP BY a.id",
    "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 20000) SELECT max(x), max('{}') FROM n",
    "WITH RECURSIVE n (x) AS (SELECT '{}' UNION ALL SELECT x || x FROM n) SELECT length(x) FROM n",
]
COLUMNS = ["id", "type", "version", "created_at", "updated_at", "session_id", "thread_id", "metadata"]


@asynccontextmanager
async def filled(path: Path) -> AsyncGenerator[tuple[FileStorage, list[JsonObject]]]:
    rng = Random(1)
    records = [some_record(rng, at) for at in range(SESSIONS)]
    for record in records:
        record["type"] = "session"
        if isinstance(record["data"], dict):
            record["data"]["messages"] = [{"role": "user", "content": "a" * 26 + "!"} for _ in range(5)]
    async with await FileStorage.open(path, fsync=False) as storage:
        await storage.batch_save(records)
        await storage.count()
        yield storage, records


async def cost(work: Awaitable[Any]) -> tuple[float, float]:
    """Return how much time of the processor, whose others are busy too, a call takes, and how much memory, in MB."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    with suppress(StorageValidationError, StorageTimeoutError):
        await work
    after = resource.getrusage(resource.RUSAGE_SELF)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, (after.ru_maxrss - before.ru_maxrss) / 1024


def nested(operator: str, levels: int, filters: Any) -> Any:
    for _ in range(levels):
        filters = {operator: [filters]} if operator != "$not" else {"$not": filters}
    return filters


def weapons(rng: Random) -> list[Any]:
    """Return filters that are as large as they may be, or larger, in one way each."""
    path = rng.choice(["data.messages.content", "data.metadata.status", "id", "data.metadata.tags.a", "data.state.0.a"])
    more = rng.choice([1, 1, 50])
    return [
        {path: {"$regex": f"^{NESTED}$"}},
        {"$or": [{path: {"$regex": f"^{NESTED}{at}$"}} for at in range(MAX_FILTER_PATTERNS * more)]},
        {"$or": [{path: str(at)} for at in range(MAX_FILTER_CONDITIONS // 2 * more)]},
        {"$and": [{path: {"$ne": at}} for at in range(MAX_FILTER_CONDITIONS // 3 * more)]},
        {path: {"$nin": list(range(MAX_FILTER_VALUES * more))}},
        {path: {"$all": ["a"] * (MAX_FILTER_CONDITIONS // 2 * more)}},
        {path: {"$in": [{"a": at} for at in range(MAX_FILTER_CONDITIONS // 2 * more)]}},
        {path: "x" * 100_000 * more},
        {write_path(["a"] * (MAX_PATH_STEPS - 1) * more): {"$exists": False}},
        {write_path([path, *["0"] * (MAX_PATH_STEPS // 2)] * more): 1},
        nested("$nor", 90 * more, {path: 3}),
        {path: nested("$not", 150 * more, {"$gt": 3})},
    ]


def calls(storage: FileStorage, records: list[JsonObject], rng: Random) -> list[Callable[[], Awaitable[Any]]]:
    filters = some_filter(rng, records) if rng.random() < 0.4 else rng.choice(weapons(rng))
    order = some_order(rng, records)
    order_by = ("-" if order.descending else "") + write_path(list(order.path))
    if rng.random() < 0.2:
        order_by = write_path(["a"] * rng.choice([190, 199, 900]))
    limit, offset = rng.choice([None, 0, 1, 50, *HUGE]), rng.choice([0, 0, 7, *HUGE])
    query = rng.choice(SOME_QUERIES).format(rng.choice(COLUMNS))
    sessions = SessionService(storage)
    return [
        lambda: storage.list(filters, limit, order_by=order_by, offset=offset),
        lambda: storage.list_metadata(filters, limit, order_by=order_by, offset=offset),
        lambda: storage.count(filters),
        lambda: storage.query(query),
        lambda: sessions.list_page(limit=limit or 1, cursor=rng.choice([None, "", "a" * 10_000, "W10", str(HUGE)])),
    ]


async def test_nothing_that_is_asked_takes_long_or_much_memory(tmp_path: Path) -> None:
    async with filled(tmp_path) as (storage, records):
        for seed in range(ROUNDS):
            rng = Random(seed)
            call = rng.choice(calls(storage, records, rng))
            seconds, megabytes = await cost(call())
            assert seconds < SECONDS, f"round {seed} took {seconds:.2f} s"
            assert megabytes < MEGABYTES, f"round {seed} took {megabytes:.0f} MB"


async def test_limits_and_offsets_of_any_size_are_counts(tmp_path: Path) -> None:
    async with filled(tmp_path) as (storage, records):
        for large in HUGE:
            for filters in (None, {"data.messages.content": {"$regex": "a"}}):
                assert len(await storage.list(filters, large)) == await storage.count(filters)
                assert await storage.list(filters, large, offset=large) == []
                assert await storage.list_metadata(filters, 1, offset=large) == []
            assert len(await storage.list_metadata(None, large)) == len(records)
        assert (await storage.health_check())["index"] == "file"


async def test_a_search_that_backtracking_would_never_end_does_not_stop_the_event_loop(tmp_path: Path) -> None:
    async with filled(tmp_path) as (storage, _):
        began = time.thread_time()
        assert await storage.list({"data.messages.content": {"$regex": "^(a+)+$"}}) == []
        assert await storage.count({"id": {"$regex": "^(.+)+\\d{9}$"}}) == 0
        assert time.thread_time() - began < 0.5
