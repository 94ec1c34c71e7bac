"""A store of files into PostgreSQL and back, by the command, also when it is killed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from contextlib import aclosing
from pathlib import Path
from random import Random

import psycopg
from psycopg import sql

from fsstore import open_storage
from fsstore.filesystem.storage import FileStorage
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.values import write_json
from fsstore.postgres.schema.tables import Names
from tests.query.drawn import some_record

RECORDS = 400
KILLS = 3


async def contents(storage: IUnifiedStorage) -> dict[str, bytes]:
    async with aclosing(storage.stream_list()) as batches:
        return {record["id"]: write_json(record) async for batch in batches for record in batch}


async def filled(path: Path) -> dict[str, bytes]:
    """Fill a directory with records made to be nasty, some of them changed, and return what it holds."""
    rng = Random(20260131)
    async with await FileStorage.open(path, fsync=False) as files:
        ids = await files.batch_save(some_record(rng, at) for at in range(RECORDS))
        for record_id in rng.sample(ids, RECORDS // 4):
            await files.update(record_id, {"changed": True})
        return await contents(files)


def emptied(url: str) -> None:
    """Remove the store of the usual names, so that a test makes it anew."""
    names = Names()
    with psycopg.connect(url) as connection:
        connection.execute(
            sql.SQL("DROP TABLE IF EXISTS {}, {}, {}, {} CASCADE").format(
                names.documents, names.changes, names.damaged, names.store
            )
        )
        connection.execute(sql.SQL("DROP FUNCTION IF EXISTS {}").format(names.json_extract))


def migrate(source: Path | str, target: Path | str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fsstore", "migrate", str(source), str(target), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


async def held(url: str) -> dict[str, bytes]:
    async with open_storage(url) as storage:
        return await contents(storage)


def files_of(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.glob("??/*.json")}


def count(url: str) -> int:
    with psycopg.connect(url) as connection:
        try:
            found = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(Names().documents)).fetchone()
        except psycopg.errors.UndefinedTable:
            return 0
    return found[0] if found else 0


def test_a_store_of_files_goes_to_postgresql_and_back_as_it_was(postgres_url: str, tmp_path: Path) -> None:
    emptied(postgres_url)
    there = asyncio.run(filled(tmp_path / "a"))

    moved = migrate(tmp_path / "a", postgres_url)
    back = migrate(postgres_url, tmp_path / "b", "--no-fsync")

    assert (moved.returncode, back.returncode) == (0, 0), moved.stderr + back.stderr
    assert moved.stderr.startswith(f"fsstore: copied {RECORDS} records; both stores hold the same {RECORDS} records")
    assert asyncio.run(held(postgres_url)) == there
    digest = moved.stderr.partition("SHA-256 ")[2].partition(")")[0]
    assert f"SHA-256 {digest})" in back.stderr
    assert files_of(tmp_path / "b") == files_of(tmp_path / "a")


def test_no_version_that_was_deleted_before_a_move_comes_again_after_it(postgres_url: str, tmp_path: Path) -> None:
    emptied(postgres_url)
    asyncio.run(filled(tmp_path / "a"))
    deleted = asyncio.run(made_and_deleted(str(tmp_path / "a"), 5))

    assert migrate(tmp_path / "a", postgres_url).returncode == 0
    assert asyncio.run(made_and_deleted(postgres_url, 1)) == deleted + 1
    assert migrate(postgres_url, tmp_path / "b").returncode == 0
    assert asyncio.run(made_and_deleted(str(tmp_path / "b"), 1)) == deleted + 2


async def made_and_deleted(url: str, saves: int) -> int:
    """Save a record that is not there so often, delete it, and return the version that it had."""
    async with open_storage(url) as storage:
        for _ in range(saves):
            await storage.save({"id": "gone"})
        record = await storage.load("gone")
        await storage.delete("gone")
    assert record is not None
    return int(record["version"])


def test_a_migration_to_postgresql_that_is_killed_over_and_over_ends_whole(postgres_url: str, tmp_path: Path) -> None:
    emptied(postgres_url)
    there = asyncio.run(made(tmp_path / "a"))

    kills = 0
    for wanted in (1, 500, 1_000):
        process = subprocess.Popen(
            [sys.executable, "-m", "fsstore", "migrate", str(tmp_path / "a"), postgres_url], stderr=subprocess.DEVNULL
        )
        while process.poll() is None and count(postgres_url) < wanted:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    done = migrate(tmp_path / "a", postgres_url)

    assert kills == KILLS
    assert done.returncode == 0, done.stderr
    # what had arrived is not copied again
    assert int(done.stderr.partition("copied ")[2].split()[0]) <= len(there) - 1_000
    assert asyncio.run(held(postgres_url)) == there


async def made(path: Path) -> dict[str, bytes]:
    async with await FileStorage.open(path, fsync=False) as files:
        await files.batch_save({"id": f"s{at:05}", "data": {"text": "x" * 5_000}} for at in range(1_600))
        return await contents(files)


def test_a_database_with_records_of_its_own_is_refused(postgres_url: str, tmp_path: Path) -> None:
    emptied(postgres_url)
    asyncio.run(filled(tmp_path / "a"))
    asyncio.run(saved(postgres_url))
    before = asyncio.run(held(postgres_url))

    assert migrate(tmp_path / "a", postgres_url, "-q").returncode == 3

    assert asyncio.run(held(postgres_url)) == before


async def saved(url: str) -> None:
    async with open_storage(url, create=True) as storage:
        await storage.save({"id": "mine"})
