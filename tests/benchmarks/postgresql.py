"""A store in PostgreSQL next to plain statements by psycopg: `python -m tests.benchmarks.postgresql --help`.

Both are in one database of one server, which syncs each commit. The store is filled by `migrate`, from a directory; the
plain table has the same sessions as `jsonb`, with the columns and indexes that these statements need and no more. Each
operation has its turn in every round, the store and the plain statements in turn; what counts is the ratio of a round.
What the store takes of the disk, and how much of the write-ahead log each change writes, is printed, too. With `--adk`
it measures ADK's service for databases beside ours on the same server (`postgresql_adk`), which needs `google-adk`,
`sqlalchemy` and `greenlet`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
from rich.console import Console
from rich.table import Table

import fsstore
from fsstore.transfer import migrate_store
from tests.benchmarks import postgresql_adk
from tests.benchmarks.documents import STATUSES, session, session_name
from tests.postgres.server import Server

Connection: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]
Operations: TypeAlias = Mapping[str, Callable[[str], Awaitable[object]]]

_BATCH = 500
_PLAIN = """
CREATE TABLE plain (id text PRIMARY KEY, status text, updated_at timestamptz DEFAULT now(), body jsonb);
CREATE INDEX ON plain (status, updated_at DESC);
"""
_SIZES = """
SELECT relname, pg_relation_size(oid) FROM pg_class WHERE relname LIKE 'fsstore_documents%' AND relkind IN ('r', 'i')
UNION ALL SELECT 'overflow of long records (TOAST)', pg_relation_size(reltoastrelid) FROM pg_class
    WHERE relname = 'fsstore_documents'
UNION ALL SELECT 'plain table and its indexes', pg_total_relation_size('plain') ORDER BY 2 DESC
"""


def of_store(sessions: fsstore.SessionService, size_kb: int) -> Operations:
    """Return what is done with the store, by name, each with the id of one session."""
    return {
        "save": lambda name: sessions.save_session(name, session(_number(name), size_kb)),
        "get": sessions.get_session,
        "update": lambda name: sessions.update_session(name, {"metadata": {"status": _drawn()}}),
        "append": lambda name: sessions.append_session(name, [{"role": "user", "text": "a further message"}]),
        "list 50": lambda _: sessions.list_sessions({"status": _drawn()}, 50),
        "count": lambda _: sessions.count_sessions({"status": _drawn()}),
    }


def plain(connection: Connection, size_kb: int) -> Operations:
    """Return the same as statements of psycopg, each a transaction."""

    async def asked(statement: str, *values: Any) -> list[tuple[Any, ...]]:
        cursor = await connection.execute(statement.encode(), values)
        return await cursor.fetchall() if cursor.description else []

    def save(name: str) -> Awaitable[object]:
        body = session(_number(name), size_kb)
        return asked(
            "INSERT INTO plain (id, status, body) VALUES (%s, %s, %s) ON CONFLICT (id) DO UPDATE"
            " SET status = excluded.status, body = excluded.body, updated_at = now()",
            *(name, body["metadata"]["status"], json.dumps(body)),
        )

    def update(name: str) -> Awaitable[object]:
        status = _drawn()
        return asked(
            "UPDATE plain SET status = %s, updated_at = now(), body = jsonb_set(body, '{metadata,status}', %s::jsonb)"
            " WHERE id = %s",
            *(status, json.dumps(status), name),
        )

    def append(name: str) -> Awaitable[object]:
        item = json.dumps([{"role": "user", "text": "a further message"}])
        return asked(
            "UPDATE plain SET updated_at = now(), body = jsonb_set(body, '{messages}', body -> 'messages' || %s::jsonb)"
            " WHERE id = %s",
            *(item, name),
        )

    return {
        "save": save,
        "get": lambda name: asked("SELECT body FROM plain WHERE id = %s", name),
        "update": update,
        "append": append,
        "list 50": lambda _: asked(
            "SELECT body FROM plain WHERE status = %s ORDER BY updated_at DESC LIMIT 50", _drawn()
        ),
        "count": lambda _: asked("SELECT count(*) FROM plain WHERE status = %s", _drawn()),
    }


async def fill(directory: Path, url: str, count: int, size_kb: int) -> tuple[float, float]:
    """Fill the store by a migration, and the plain table; return the seconds that the migration and a copy took."""
    async with fsstore.open_sessions(directory, fsync=False) as files:
        for first in range(0, count, _BATCH):
            numbers = range(first, min(first + _BATCH, count))
            await files.batch_save_sessions({session_name(number): session(number, size_kb) for number in numbers})
    begun = time.perf_counter()
    async with (
        fsstore.open_storage(directory, read_only=True) as source,
        fsstore.open_storage(url, create=True) as target,
    ):
        await migrate_store(source, target)
    migrated = time.perf_counter() - begun
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(_PLAIN.encode())
        begun = time.perf_counter()
        async with connection.cursor().copy("COPY plain (id, status, body) FROM STDIN") as copy:
            for number in range(count):
                body = session(number, size_kb)
                await copy.write_row((session_name(number), body["metadata"]["status"], json.dumps(body)))
        return migrated, time.perf_counter() - begun


async def measure(url: str, options: argparse.Namespace, console: Console) -> None:
    """Print what each operation takes, and what it writes."""
    names = [session_name(number) for number in range(options.sessions)]
    times: dict[str, list[tuple[float, float]]] = {}
    logged: dict[str, tuple[float, float]] = {}
    async with (
        fsstore.open_sessions(url) as sessions,
        await psycopg.AsyncConnection.connect(url, autocommit=True) as connection,
        await psycopg.AsyncConnection.connect(url, autocommit=True) as beside,
    ):
        await beside.execute("VACUUM ANALYZE")
        both = of_store(sessions, options.size_kb), plain(connection, options.size_kb)
        for _ in range(options.rounds):
            for operation in both[0]:
                chosen = random.sample(names, min(options.calls, len(names)))
                found = [await timed(beside, each[operation], chosen) for each in both]
                times.setdefault(operation, []).append((found[0][0], found[1][0]))
                logged[operation] = (found[0][1], found[1][1])
        console.print(_table(times, logged, options))
        sizes = await (await beside.execute(_SIZES.encode())).fetchall()
    console.print(_sizes(sizes, options.sessions))


async def timed(
    beside: Connection, operation: Callable[[str], Awaitable[object]], names: Sequence[str]
) -> tuple[float, float]:
    """Return the microseconds that a call took, and the bytes of log that it wrote."""
    before = await _log_position(beside)
    begun = time.perf_counter()
    for name in names:
        await operation(name)
    seconds = time.perf_counter() - begun
    return seconds / len(names) * 1e6, (await _log_position(beside) - before) / len(names)


async def _log_position(connection: Connection) -> float:
    cursor = await connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'")
    return float((await cursor.fetchone() or (0,))[0])


def _table(
    times: Mapping[str, list[tuple[float, float]]],
    logged: Mapping[str, tuple[float, float]],
    options: argparse.Namespace,
) -> Table:
    title = f"{options.sessions} sessions of {options.size_kb} KB, {options.rounds} rounds of {options.calls} calls"
    table = Table("operation", "store, us", "plain, us", "plain / store", "log, B", "plain log, B", title=title)
    for operation, found in times.items():
        ours, theirs = (statistics.median(pair[at] for pair in found) for at in (0, 1))
        ratios = sorted(pair[1] / pair[0] for pair in found)
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        table.add_row(operation, f"{ours:.0f}", f"{theirs:.0f}", spread, *(f"{each:.0f}" for each in logged[operation]))
    return table


def _sizes(sizes: Sequence[tuple[Any, ...]], count: int) -> Table:
    table = Table("relation", "bytes a session", title="what it takes of the disk")
    for name, size in sizes:
        table.add_row(str(name), f"{(size or 0) / count:.0f}")
    return table


def _number(name: str) -> int:
    return int("".join(filter(str.isdigit, name)) or 0)


def _drawn() -> str:
    return random.choice(STATUSES)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.postgresql", description=__doc__)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--size-kb", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--adk", action="store_true", help="measure ADK's service for databases, too")
    parser.add_argument("--directory", type=Path, help="where to work; it decides which disk is measured")
    options = parser.parse_args(arguments)
    console = Console(width=120)
    with tempfile.TemporaryDirectory(prefix="fsstore-bench-", dir=options.directory) as directory:
        place = Path(directory)
        server = Server(place / "data", fsync=True)
        server.make()
        server.start()
        try:
            migrated, copied = asyncio.run(fill(place / "store", server.url(), options.sessions, options.size_kb))
            console.print(f"migrate: {migrated:.1f} s, compared at its end; COPY into the plain table: {copied:.1f} s")
            asyncio.run(measure(server.url(), options, console))
            if options.adk:
                console.print(asyncio.run(postgresql_adk.measure(server.url(), options)))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
