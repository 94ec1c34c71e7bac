"""The server of the tests: one a session of pytest, or that of FSSTORE_TEST_POSTGRES; and a store of its own a test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.postgres.server import Server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Give a server that tests share, and do not harm."""
    place = Path(mkdtemp(prefix="fsstore-postgres-"))
    server = Server(place / "data")
    server.make()
    server.start()
    yield server
    server.stop()
    shutil.rmtree(place)


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a database in which tests make stores."""
    given = os.environ.get("FSSTORE_TEST_POSTGRES")
    if given:
        return given
    server: Server = request.getfixturevalue("server")
    return server.url()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """Give a server that a test may kill, or set up otherwise; it syncs nothing, as only the machine needs it."""
    server = Server(tmp_path / "own")
    server.make()
    server.start()
    yield server
    server.stop()
