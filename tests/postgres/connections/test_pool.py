"""Connections that are used up, given back, cut, silent, or of a server that was started anew."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from fsstore import (
    StorageTimeoutError,
    StorageUnavailableError,
)
from fsstore.postgres.storage import PostgresStorage
from tests.postgres.proxy import Proxy
from tests.postgres.server import Server
from tests.postgres.stores import appending, items_of, opened


async def test_a_silent_network_ends_every_call_in_time(cut_off: PostgresStorage, proxy: Proxy) -> None:
    await cut_off.commit([appending(0)])
    proxy.is_silent = True
    began = monotonic()
    calls = [cut_off.load("a"), cut_off.commit([appending(1)]), cut_off.list({"type": "t"}), cut_off.health_check()]
    async with asyncio.timeout(30):
        ends = await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(end, StorageTimeoutError | StorageUnavailableError) for end in ends), ends
    # a call, and for a commit the question what became of it
    assert monotonic() - began < 20
    proxy.is_silent = False
    assert await items_of(cut_off) in ([0], [0, 1])


async def test_a_pool_that_is_in_use_says_so_in_time(postgres_url: str, tmp_path: Path) -> None:
    async with await opened(postgres_url, tmp_path, pool_size=1, timeout_seconds=0.5) as storage:
        async with storage.pool.lease():
            with pytest.raises(StorageTimeoutError, match="one of the 1 connections of the pool") as caught:
                await storage.load("a")
        assert "raise pool_size" in caught.value.advice
        assert await storage.load("a") is None


async def test_calls_wait_for_a_connection_in_turn(postgres_url: str, tmp_path: Path) -> None:
    async with await opened(postgres_url, tmp_path, pool_size=2) as storage:
        await asyncio.gather(*(storage.commit([appending(item)]) for item in range(40)))
        assert sorted(await items_of(storage)) == list(range(40))


async def test_a_caller_who_is_cancelled_leaves_the_pool_as_it_was(postgres_url: str, tmp_path: Path) -> None:
    async with await opened(postgres_url, tmp_path, pool_size=2, timeout_seconds=5) as storage:
        for turn in range(30):
            calls: list[asyncio.Future[Any]] = [asyncio.ensure_future(storage.load("a")) for _ in range(6)]
            calls += [asyncio.ensure_future(storage.save({"id": "b"})) for _ in range(3)]
            for _ in range(turn % 7):
                await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.gather(*(storage.load("a") for _ in range(6)))


async def test_who_is_cancelled_as_a_connection_comes_gives_it_back(postgres_url: str, tmp_path: Path) -> None:
    async with await opened(postgres_url, tmp_path, pool_size=1, timeout_seconds=5) as storage:
        async with storage.pool.lease():
            waiting = asyncio.ensure_future(storage.load("a"))
            # it has begun to wait
            for _ in range(5):
                await asyncio.sleep(0)
        # after the connection was handed over, and before the one who gets it can know
        asyncio.get_running_loop().call_soon(waiting.cancel)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await storage.load("a") is None


async def test_a_server_that_was_started_anew_is_used_without_an_error(own_server: Server, tmp_path: Path) -> None:
    async with await opened(own_server.url(), tmp_path) as storage:
        await storage.commit([appending(0)])
        await asyncio.gather(*(storage.load("a") for _ in range(5)))
        await asyncio.to_thread(own_server.kill)
        with pytest.raises(StorageUnavailableError) as caught:
            await storage.load("a")
        assert caught.value.outcome == "not applied"
        await asyncio.to_thread(own_server.start)

        assert await items_of(storage) == [0]
        await storage.commit([appending(1)])
        assert await items_of(storage) == [0, 1]
