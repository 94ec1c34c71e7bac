"""Where a server is, and that nobody is shown a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsstore import (
    StorageError,
    StorageUnavailableError,
    open_storage,
)
from fsstore.postgres.connections.connection import server_at
from tests.postgres.proxy import Pooler, Proxy
from tests.postgres.server import Server
from tests.postgres.stores import opened
from tests.test_opening import told


async def test_no_server_is_an_error_that_says_so_and_shows_no_password() -> None:
    with pytest.raises(StorageUnavailableError) as caught:
        await open_storage("postgresql://admin:hunter2@127.0.0.1:1/db")

    assert "127.0.0.1:1/db" in str(caught.value)
    assert "see whether the server runs" in caught.value.advice
    assert "hunter2" not in told(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@h:nan/x",
        "postgres://u:hunter2@h/x?hunter2=1",
        "postgresql://u:hunter2@h/\ud800",
        "postgresql://u:hunter2@h/x\0y",
        "postgresql://u:hunter2%00@h/x",
    ],
)
async def test_what_is_no_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StorageError) as caught:
        await open_storage(url)

    assert "hunter2" not in told(caught.value)


@pytest.mark.parametrize("wrong", ["nobody@", "nobody:hunter2@"])
async def test_a_server_that_lets_nobody_in_is_told_from_one_that_is_not_there(server: Server, wrong: str) -> None:
    url = server.url(over_tcp=True).replace("postgres@", wrong)
    with pytest.raises(StorageUnavailableError, match='role "nobody" does not exist') as caught:
        await open_storage(url)
    assert "check user, password, database" in caught.value.advice
    assert "hunter2" not in told(caught.value)


@pytest.mark.parametrize(("given", "milliseconds"), [("", "3500"), ("?tcp_user_timeout=70", "70")])
def test_what_a_network_swallows_is_missed_after_the_time_that_a_call_has(
    server: Server, given: str, milliseconds: str
) -> None:
    url = server.url(over_tcp=True) + given
    there = server_at(url, connect_timeout_seconds=5.0, timeout_seconds=2.5)
    with there.connect_blocking() as connection:
        assert connection.info.get_parameters()["tcp_user_timeout"] == milliseconds


@pytest.mark.parametrize("way", [Proxy, Pooler])
async def test_statements_are_prepared_unless_a_pooler_stands_between(
    server: Server, tmp_path: Path, way: type[Proxy]
) -> None:
    with way(server.port) as between:
        async with await opened(between.url(), tmp_path, pool_size=1) as storage:
            for turn in range(6):
                await storage.save({"id": "a", "data": {"turn": turn}})
                await storage.load("a")
                assert len(await storage.list({"type": "document"})) == 1
            rows = await storage.pool.run(
                lambda connection: connection.execute("SELECT statement FROM pg_prepared_statements")
            )
            prepared = [row[0] for row in await rows.fetchall()]
    assert any("SELECT record FROM" in text for text in prepared) == (way is Proxy)
    assert prepared == [] or way is Proxy
    # which index a list reads depends on what is asked
    assert not any("ORDER BY" in text for text in prepared)
