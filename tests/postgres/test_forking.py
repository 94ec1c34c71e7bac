"""A child of fork uses the store of its parent by connections of its own."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from fsstore.postgres.connections.connection import Connection
from fsstore.postgres.storage import PostgresStorage
from fsstore.sync import Storage, open_storage
from tests.postgres.stores import opened, prefix_of

_SECONDS = 60

# newer Pythons warn of what is tested here
pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="it has no fork"),
    pytest.mark.filterwarnings("ignore:This process .*fork:DeprecationWarning"),
]


def _in_child(work: Callable[[], object]) -> str:
    """Return what went wrong in a child, nothing where all went well."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - it is the parent's to show
            os.write(writing, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        said = told.read()
    os.waitpid(child, 0)
    return said


def _backend(storage: Storage) -> int:
    """Return which process of the server answers."""

    async def ask(connection: Connection) -> int:
        row = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
        return int(row[0]) if row is not None else 0

    number: int = storage.run(lambda inner: inner.pool.run(ask))
    return number


def test_parent_and_child_go_on_with_connections_of_their_own(postgres_url: str, tmp_path: Path) -> None:
    with open_storage(postgres_url, create=True, prefix=prefix_of(tmp_path)) as storage:
        storage.save({"id": "a", "data": {"by": "parent"}})
        own = _backend(storage)

        def work() -> None:
            assert _backend(storage) != own
            for turn in range(20):
                assert storage.load("a") is not None
                storage.save({"id": "b", "data": {"turn": turn}})
            storage.close()

        for _ in range(2):
            assert _in_child(work) == ""
            # nothing that the child has closed was the parent's
            assert _backend(storage) == own
            for _ in range(5):
                assert storage.load("a") == storage.load("a")
                storage.save({"id": "a"})
        record = storage.load("b")
    assert record is not None
    assert record["version"] == 40


def test_a_child_may_watch_what_its_parent_watches(postgres_url: str, tmp_path: Path) -> None:
    with open_storage(postgres_url, create=True, prefix=prefix_of(tmp_path)) as storage, storage.watch() as changes:
        storage.save({"id": "a"})
        assert changes.next(_SECONDS).id == "a"  # type: ignore[union-attr]

        def work() -> None:
            with storage.watch() as own:
                storage.save({"id": "b"})
                assert own.next(_SECONDS).id == "b"  # type: ignore[union-attr]
            storage.close()

        assert _in_child(work) == ""
        change = changes.next(_SECONDS)
        assert (change.id, change.origin) == ("b", "store")  # type: ignore[union-attr]


async def test_a_child_that_was_forked_while_calls_were_under_way_has_a_pool_of_its_own(
    postgres_url: str, tmp_path: Path
) -> None:
    async with await opened(postgres_url, tmp_path, pool_size=3) as storage:
        calls = [asyncio.ensure_future(storage.save({"id": f"{number}"})) for number in range(20)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)

        def work() -> None:
            # the loop of the parent does not run here, whatever it says
            asyncio.events._set_running_loop(None)
            asyncio.run(_save(storage, "child"))

        assert _in_child(work) == ""
        await asyncio.gather(*calls)
        assert await storage.count() == 21


async def _save(storage: PostgresStorage, record_id: str) -> None:
    await storage.save({"id": record_id})
