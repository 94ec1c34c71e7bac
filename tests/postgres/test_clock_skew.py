"""Two programs whose clocks are hours apart: versions, order and watches do not depend on what time it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import pytest_asyncio

from fsstore.model.times import utc_now
from fsstore.postgres.storage import PostgresStorage
from fsstore.testing.watching import received
from tests.postgres.stores import opened

_APART = timedelta(hours=3)


@pytest_asyncio.fixture
async def early(postgres_url: str, tmp_path: Path) -> AsyncGenerator[PostgresStorage]:
    async with await opened(postgres_url, tmp_path, clock=lambda: utc_now() - _APART) as storage:
        yield storage


@pytest_asyncio.fixture
async def late(postgres_url: str, tmp_path: Path) -> AsyncGenerator[PostgresStorage]:
    async with await opened(postgres_url, tmp_path, clock=lambda: utc_now() + _APART) as storage:
        yield storage


async def test_the_time_of_a_record_never_goes_back(early: PostgresStorage, late: PostgresStorage) -> None:
    times = []
    for turn in range(6):
        await (early if turn % 2 else late).save({"id": "a", "data": {"turn": turn}})
        times.append((await early.load("a") or {})["updated_at"])

    assert times == sorted(times)
    assert times[0] == times[1]


async def test_all_who_watch_receive_every_change_in_one_order(early: PostgresStorage, late: PostgresStorage) -> None:
    async with early.watch() as first, late.watch() as second:
        for writer in (late, early, late, early):
            await writer.save({"id": "a"})
        await early.delete("a")
        await early.save({"id": "a"})

        found = [await received(each, 6) for each in (first, second)]
    assert found[0] == found[1]
    assert [(kind, version) for kind, _, version in found[0]] == [
        ("created", 1),
        ("updated", 2),
        ("updated", 3),
        ("updated", 4),
        ("deleted", 4),
        ("created", 5),
    ]


async def test_no_update_is_lost_between_them(early: PostgresStorage, late: PostgresStorage) -> None:
    await late.save({"id": "a", "data": {}})

    await asyncio.gather(
        *(
            writer.update("a", {"data": {f"{name}{turn}": turn}})
            for turn in range(10)
            for name, writer in (("early", early), ("late", late))
        )
    )

    found = await early.load("a")
    assert found is not None
    assert (found["version"], len(found["data"])) == (21, 20)
