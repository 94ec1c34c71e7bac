"""What watches promise beyond the contract: other programs, late commits, restarts, pruning."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from fsstore import Change, StorageUnavailableError
from fsstore.postgres.storage import PostgresStorage
from fsstore.postgres.watch.following import Following
from fsstore.postgres.watch.watcher import Watcher
from fsstore.testing.watching import next_of, received
from tests.postgres.proxy import Pooler
from tests.postgres.server import Server
from tests.postgres.stores import opened, setting


async def test_changes_of_another_program_come_once_and_in_their_order(postgres_url: str, tmp_path: Path) -> None:
    mine, other = await opened(postgres_url, tmp_path), await opened(postgres_url, tmp_path)
    async with mine, other, mine.watch() as changes:
        for turn in range(20):
            await other.save({"id": "a", "data": {"metadata": {"turn": turn}}})
        await other.delete("a")

        found = [await next_of(changes) for _ in range(21)]
    assert [(change.version, change.origin) for change in found if isinstance(change, Change)] == [
        *((version, "store") for version in range(1, 21)),
        (20, "store"),
    ]
    assert [change.metadata.get("turn") for change in found if isinstance(change, Change)] == [*range(20), None]


async def test_behind_a_pooler_a_watch_asks_for_no_notifications(server: Server, tmp_path: Path) -> None:
    """They would come to whoever gets that process of the server next."""
    with Pooler(server.port) as between:
        async with await opened(between.url(), tmp_path) as storage:
            between.cut_before = b"LISTEN"
            async with storage.watch() as changes:
                await storage.save({"id": "a"})
                assert await received(changes, 1) == [("created", "a", 1)]
        assert between.cuts == 0


async def test_a_watch_reads_nothing_as_the_role_has_times_written(postgres_url: str, tmp_path: Path) -> None:
    url = setting(postgres_url, datestyle="SQL,DMY", intervalstyle="sql_standard")
    async with await opened(url, tmp_path) as storage, storage.watch() as changes:
        await storage.save({"id": "a"})
        assert await received(changes, 1) == [("created", "a", 1)]


async def test_a_filter_on_the_data_sees_versions_that_were_replaced_at_once(postgres_url: str, tmp_path: Path) -> None:
    mine, other = await opened(postgres_url, tmp_path), await opened(postgres_url, tmp_path)
    async with mine, other, mine.watch({"data.on": True}) as changes:
        for turn in range(6):
            await other.save({"id": "a", "data": {"on": turn % 2 == 0}})
        await other.save({"id": "end", "data": {"on": True}})
        assert await received(changes, 7) == [
            ("created", "a", 1),
            ("deleted", "a", 2),
            ("created", "a", 3),
            ("deleted", "a", 4),
            ("created", "a", 5),
            ("deleted", "a", 6),
            ("created", "end", 1),
        ]


async def test_a_transaction_that_commits_late_is_not_skipped(postgres_url: str, tmp_path: Path) -> None:
    """Its number is lower than those of the changes that were given before it."""
    async with await opened(postgres_url, tmp_path) as storage, storage.watch() as changes:
        with psycopg.connect(postgres_url) as late:
            late.execute("SELECT pg_current_xact_id()")
            await storage.save({"id": "early"})
            assert await received(changes, 1) == [("created", "early", 1)]
            _insert_by_hand(late, storage, "late")
            await storage.save({"id": "between"})
            assert await received(changes, 1) == [("created", "between", 1)]
            late.commit()
        await storage.save({"id": "end"})
        assert sorted(await received(changes, 2)) == [("created", "end", 1), ("created", "late", 1)]


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "at once"])
async def test_the_order_of_a_record_does_not_follow_the_numbers_of_transactions(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, together: bool
) -> None:
    """An older transaction may change a record after a younger one has, while a third keeps the horizon back."""
    async with await opened(postgres_url, tmp_path) as storage, storage.watch() as changes:
        with psycopg.connect(postgres_url) as old, psycopg.connect(postgres_url) as horizon:
            if together:
                monkeypatch.setattr("fsstore.postgres.watch.watcher.Watcher._look", _looks_at_nothing)
            old.execute("SELECT pg_current_xact_id()")
            horizon.execute("SELECT pg_current_xact_id()")
            await storage.save({"id": "a"})
            _note_by_hand(old, storage, "a", 1, 2)
            old.commit()
            monkeypatch.undo()
            assert await received(changes, 2) == [("created", "a", 1), ("updated", "a", 2)]


async def test_who_was_away_while_changes_were_removed_compares(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await opened(postgres_url, tmp_path) as storage:
        await storage.batch_save([{"id": "gone"}, {"id": "kept"}])
        async with storage.watch() as changes:
            monkeypatch.setattr("fsstore.postgres.watch.watcher.Watcher._look", _looks_at_nothing)
            await storage.save({"id": "kept", "data": {"n": 1}})
            await storage.delete("gone")
            await storage.save({"id": "new"})
            with psycopg.connect(postgres_url, autocommit=True) as connection:
                connection.execute(
                    psycopg.sql.SQL("UPDATE {} SET made_at = now() - interval '2 hours'").format(storage.names.changes)
                )
                connection.execute(Following(storage.names).prune)
                left = psycopg.sql.SQL("SELECT count(*) FROM {}").format(storage.names.changes)
                assert connection.execute(left).fetchone() == (0,)
            monkeypatch.undo()

            assert sorted(await received(changes, 3)) == [
                ("created", "new", 2),
                ("deleted", "gone", 1),
                ("updated", "kept", 2),
            ]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how often all records were compared with what was published: once, when the first watch begins."""
    count: list[int] = []
    compare = Watcher._compare

    def counted(watcher: Watcher, connection: Any) -> None:
        count.append(1)
        compare(watcher, connection)

    monkeypatch.setattr(Watcher, "_compare", counted)
    return count


async def test_numbers_of_the_server_that_a_store_was_dumped_from_say_nothing_to_watches(
    postgres_url: str, tmp_path: Path, compared: list[int]
) -> None:
    async with await opened(postgres_url, tmp_path) as storage:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            async with storage.watch() as changes:
                with connection.transaction():
                    _note_by_hand(connection, storage, "gone long ago", 0, 5)
                    for table, column in ((storage.names.changes, "xid"), (storage.names.store, "pruned")):
                        connection.execute(_set(table, column, "'999999999999'"))
                for turn in range(3):
                    await storage.save({"id": f"{turn}"})
                    assert await received(changes, 1) == [("created", f"{turn}", 1)]
            assert compared == [1]

            connection.execute(Following(storage.names).prune)
            left = psycopg.sql.SQL("SELECT count(*), min(pruned::text) FROM {}, {}")
            found = connection.execute(left.format(storage.names.changes, storage.names.store))
            assert found.fetchone() == (3, "0")


async def test_a_long_transaction_of_another_program_does_not_make_watches_compare(
    postgres_url: str, tmp_path: Path, compared: list[int]
) -> None:
    """Changes that are younger than it were removed, and had been published."""
    async with await opened(postgres_url, tmp_path) as storage:
        with psycopg.connect(postgres_url) as long, psycopg.connect(postgres_url, autocommit=True) as connection:
            long.execute("SELECT pg_current_xact_id()")
            async with storage.watch() as changes:
                for turn in range(3):
                    await storage.save({"id": f"{turn}"})
                    assert await received(changes, 1) == [("created", f"{turn}", 1)]
                    connection.execute(_set(storage.names.changes, "made_at", "now() - interval '2 hours'"))
                    connection.execute(Following(storage.names).prune)
                # what has ended since may have been removed unseen
                long.rollback()
                await storage.save({"id": "end"})
                assert await received(changes, 1) == [("created", "end", 1)]
    assert len(compared) == 2


def _set(table: psycopg.sql.Identifier, column: str, value: LiteralString) -> psycopg.sql.Composed:
    return psycopg.sql.SQL("UPDATE {} SET {} = {}").format(
        table, psycopg.sql.Identifier(column), psycopg.sql.SQL(value)
    )


async def test_a_watch_goes_on_after_the_server_was_killed(own_server: Server, tmp_path: Path) -> None:
    async with await opened(own_server.url(), tmp_path) as storage, storage.watch() as changes:
        await storage.save({"id": "before"})
        assert await received(changes, 1) == [("created", "before", 1)]
        await asyncio.to_thread(own_server.kill)
        await asyncio.to_thread(own_server.start)
        async with await opened(own_server.url(), tmp_path) as other:
            for _ in range(3):
                await other.save({"id": "a"})
        assert await received(changes, 3) == [("created", "a", 1), ("updated", "a", 2), ("updated", "a", 3)]


def _looks_at_nothing(*_: Any, **__: Any) -> None:
    pass


def _insert_by_hand(connection: psycopg.Connection[Any], storage: PostgresStorage, record_id: str) -> None:
    """Note a record as a commit does, in a transaction that the test ends."""
    _note_by_hand(connection, storage, record_id, 0, 1)


def _note_by_hand(
    connection: psycopg.Connection[Any], storage: PostgresStorage, record_id: str, before: int, after: int
) -> None:
    statement = psycopg.sql.SQL(
        'INSERT INTO {} (key, commit, writer, id, "before", "after", known)'
        " VALUES (convert_to(%(id)s::text, 'UTF8'), gen_random_uuid(), gen_random_uuid(), %(id)s, %(before)s,"
        """ %(after)s, '{{"id": "x", "type": "t", "data": {{}}}}')"""
    ).format(storage.names.changes)
    connection.execute(statement, {"id": record_id, "before": before, "after": after})


async def test_watches_end_with_the_error_when_the_tables_are_gone_and_new_ones_go_on_when_they_are_back(
    postgres_url: str, tmp_path: Path
) -> None:
    async with await opened(postgres_url, tmp_path) as storage, storage.watch() as changes:
        await storage.save({"id": "a"})
        assert await received(changes, 1) == [("created", "a", 1)]
        away, back = (psycopg.sql.Identifier(storage.names.prefix + name) for name in ("away", "changes"))
        rename = psycopg.sql.SQL("ALTER TABLE {} RENAME TO {}")
        with psycopg.connect(postgres_url) as connection:
            connection.execute(rename.format(storage.names.changes, away))
        with pytest.raises(StorageUnavailableError, match="does not exist"):
            await asyncio.wait_for(anext(changes), 10)
        async with storage.watch() as still:
            with pytest.raises(StorageUnavailableError, match="does not exist"):
                await asyncio.wait_for(anext(still), 10)

        with psycopg.connect(postgres_url) as connection:
            connection.execute(rename.format(away, back))
        async with storage.watch() as again:
            await storage.save({"id": "b"})
            assert await received(again, 1) == [("created", "b", 1)]
