"""A disk of the server that is full: a tablespace on a small file system in memory."""

from __future__ import annotations

import errno
import secrets
import shutil
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from fsstore import StorageUnavailableError
from fsstore.postgres.storage import PostgresStorage
from tests.filesystem import mounts
from tests.postgres.server import Server
from tests.postgres.stores import opened

_LEFT_BYTES = 3 << 20


async def test_a_full_disk_refuses_writes_and_nothing_that_was_acknowledged_is_lost(
    own_server: Server, tmp_path: Path
) -> None:
    mounts.need(tmp_path)
    point = own_server.place.parent / "small"
    point.mkdir()
    with mounts.in_memory(point):
        space = point / "space"
        space.mkdir()
        shutil.chown(space, own_server.place.owner())
        saved: list[str] = []
        async with await opened(own_server.url(), tmp_path) as storage:
            with psycopg.connect(own_server.url(), autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(sql.Literal(str(space))))
                connection.execute(sql.SQL("ALTER TABLE {} SET TABLESPACE small").format(storage.names.documents))
            filler = point / "filler"
            filler.write_bytes(b"\0" * (shutil.disk_usage(point).free - _LEFT_BYTES))

            with pytest.raises(StorageUnavailableError, match="No space left") as caught:
                await _save_many(storage, saved)
            assert caught.value.errno == errno.ENOSPC
            assert caught.value.outcome == "not applied"
            assert "make room" in caught.value.advice
            assert saved
            assert [record["id"] for record in await storage.list(order_by="created_at")] == saved

            filler.unlink()
            await storage.save({"id": "again", "data": {"text": secrets.token_hex(100_000)}})
            assert await storage.count() == len(saved) + 1
        own_server.stop()


async def _save_many(storage: PostgresStorage, saved: list[str]) -> None:
    for number in range(100):
        await storage.save({"id": f"{number}", "data": {"text": secrets.token_hex(100_000)}})
        saved.append(f"{number}")
