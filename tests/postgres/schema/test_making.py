"""Tables that are there, or not, or of another format, or another role's."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from fsstore import (
    StorageUnavailableError,
)
from fsstore.postgres.schema.reader import reader_of
from fsstore.postgres.schema.tables import Names, grants
from fsstore.postgres.storage import PostgresStorage
from tests.postgres.stores import opened, prefix_of


async def test_a_store_of_a_newer_format_is_refused_also_while_it_is_open(postgres_url: str, tmp_path: Path) -> None:
    async with await opened(postgres_url, tmp_path) as storage:
        with psycopg.connect(postgres_url) as connection:
            connection.execute(sql.SQL("UPDATE {} SET format = 99").format(storage.names.store))
        with pytest.raises(StorageUnavailableError, match="format 99") as caught:
            await storage.save({"id": "a"})
        assert "install a newer version" in caught.value.advice
        with pytest.raises(StorageUnavailableError, match="format 99"):
            await opened(postgres_url, tmp_path)


async def test_no_store_is_made_unless_it_is_asked_for(postgres_url: str, tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailableError, match="there is no store in the schema 'public'") as caught:
        await PostgresStorage.open(postgres_url, prefix=prefix_of(tmp_path))
    assert "create=True" in caught.value.advice


async def test_a_role_needs_the_rights_that_are_documented_and_no_more(postgres_url: str, tmp_path: Path) -> None:
    prefix, role = prefix_of(tmp_path), prefix_of(tmp_path) + "role"
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        try:
            async with await opened(postgres_url, tmp_path) as storage:
                await storage.save({"id": "a"})
            theirs = postgres_url.replace("postgres@", f"{role}@")
            with pytest.raises(StorageUnavailableError, match="permission denied") as caught:
                await PostgresStorage.open(theirs, prefix=prefix)
            assert caught.value.errno == errno.EACCES

            for statement in grants(Names(prefix=prefix), role):
                owner.execute(statement)
            async with (
                await PostgresStorage.open(theirs, prefix=prefix) as storage,
                storage.watch({"data.n": 1}) as new,
            ):
                await storage.save({"id": "b", "data": {"n": 1}})
                await storage.delete("a")
                assert (await asyncio.wait_for(anext(new), 10)).id == "b"  # type: ignore[union-attr]
                assert [record["id"] for record in await storage.list()] == ["b"]
        finally:
            owner.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
            owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


async def test_stores_made_at_once_in_a_schema_that_is_not_there_are_all_made(
    postgres_url: str, tmp_path: Path
) -> None:
    schema = prefix_of(tmp_path)
    prefixes = ["a_", "b_", "c_", "d_", "a_", "b_"]
    opening = (PostgresStorage.open(postgres_url, create=True, schema=schema, prefix=prefix) for prefix in prefixes)
    for storage in await asyncio.gather(*opening):
        await storage.save({"id": "x"})
        assert await storage.query("SELECT id FROM documents") == [{"id": "x"}]
        await storage.close()


async def test_a_store_that_has_lost_its_row_is_refused_with_what_to_do(postgres_url: str, tmp_path: Path) -> None:
    async with await opened(postgres_url, tmp_path) as storage:
        with psycopg.connect(postgres_url) as connection:
            connection.execute(sql.SQL("DELETE FROM {}").format(storage.names.store))
        for call in (storage.save({"id": "a"}), opened(postgres_url, tmp_path)):
            with pytest.raises(StorageUnavailableError, match="lost its only row") as caught:
                await call
            assert "backup" in caught.value.advice


async def test_the_rights_shown_make_the_role_of_queries_where_the_maker_of_the_tables_may_make_none(
    postgres_url: str, tmp_path: Path
) -> None:
    schema, maker, app = (prefix_of(tmp_path) + end for end in ("", "maker", "app"))
    made_by, used_by = (postgres_url.replace("postgres@", f"{role}@") for role in (maker, app))
    with psycopg.connect(postgres_url, autocommit=True) as superuser:
        for role in (maker, app):
            superuser.execute(sql.SQL("CREATE ROLE {} LOGIN NOCREATEROLE").format(sql.Identifier(role)))
        places = [sql.Identifier(schema), sql.Identifier(maker)]
        superuser.execute(sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(*places))
        try:
            async with await PostgresStorage.open(made_by, create=True, schema=schema) as storage:
                await storage.save({"id": "a"})
                # twice, as the first statements make the role that the second ones find
                for role in (app, maker):
                    for statement in await storage.rights_of(role):
                        superuser.execute(statement.encode())
                assert await storage.query("SELECT id FROM documents") == [{"id": "a"}]
            async with await PostgresStorage.open(used_by, schema=schema) as storage:
                await storage.save({"id": "b"})
                assert await storage.query("SELECT count(*) AS n FROM documents") == [{"n": 2}]
        finally:
            superuser.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
            for role in (app, maker, reader_of(Names(schema=schema), superuser.info.dbname)):
                superuser.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(role)))
