"""The server of the tests: one a session of pytest, or that of FSSTORE_TEST_POSTGRES; and a store of its own a test."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from fsstore.postgres.storage import PostgresStorage
from tests.postgres.proxy import Proxy
from tests.postgres.server import Server, running
from tests.postgres.stores import opened


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Give a server that tests share, and do not harm."""
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a database in which tests make stores."""
    given = os.environ.get("FSSTORE_TEST_POSTGRES")
    if given:
        return given
    server: Server = request.getfixturevalue("server")
    return server.url()


@pytest.fixture
def own_server() -> Iterator[Server]:
    """Give a server that a test may kill, or set up otherwise; it syncs nothing, as only the machine needs it."""
    with running() as server:
        yield server


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def cut_off(proxy: Proxy, tmp_path: Path) -> AsyncGenerator[PostgresStorage]:
    """Give a store behind a network that may be cut."""
    async with await opened(proxy.url(), tmp_path, timeout_seconds=2.0, connect_timeout_seconds=2.0) as storage:
        yield storage
