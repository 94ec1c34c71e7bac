"""What fails between a store and its server: an error of ours, in time, that says what became of a write."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from psycopg import sql

from fsstore import (
    StorageConflictError,
    StorageError,
    StorageNotFoundError,
    StorageTimeoutError,
    StorageUnavailableError,
    open_storage,
)
from fsstore.model.mutations import AnyMutation, Append, deleting, saving, unchanged
from fsstore.model.records import JsonObject
from fsstore.postgres.rows import key_of
from fsstore.postgres.schema import Names, grants
from fsstore.postgres.storage import PostgresStorage
from fsstore.postgres.writes import State, Step
from tests.postgres.proxy import Proxy
from tests.postgres.server import Server
from tests.postgres.stores import opened, prefix_of
from tests.test_opening import told


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def cut_off(proxy: Proxy, tmp_path: Path) -> AsyncGenerator[PostgresStorage]:
    """Give a store behind a network that may be cut."""
    async with await opened(proxy.url(), tmp_path, timeout_seconds=2.0, connect_timeout_seconds=2.0) as storage:
        yield storage


def appending(item: int) -> Append:
    new: JsonObject = {"id": "a", "type": "t", "data": {"items": []}}
    return Append("a", [item], ("data", "items"), make=new)


async def items_of(storage: PostgresStorage) -> list[int]:
    record = await storage.load("a")
    return [] if record is None else list(record["data"]["items"])


# -- the answer of a commit is lost -----------------------------------------------------------------------------------


WAYS = {
    # one record that is remembered, and what stands in its one statement
    "in one exchange": (1, b"noted AS"),
    "in two exchanges": (2, b"COMMIT\0"),
}
each_way = pytest.mark.parametrize(("records", "sent"), WAYS.values(), ids=WAYS)


def changes(item: int, records: int) -> list[AnyMutation]:
    batch: list[AnyMutation] = [appending(item), saving({"id": "b", "type": "t", "data": item})]
    return batch[:records]


@each_way
async def test_a_commit_whose_answer_is_lost_is_known_to_be_applied(
    cut_off: PostgresStorage, proxy: Proxy, records: int, sent: bytes
) -> None:
    await cut_off.commit(changes(0, records))
    proxy.cut_after = sent
    outcome, *_ = await cut_off.commit(changes(1, records))

    assert proxy.cuts == 1
    assert (outcome.before, outcome.after, outcome.length) == (1, 2, 2)
    assert await items_of(cut_off) == [0, 1]


@each_way
async def test_a_commit_that_did_not_reach_the_server_is_done_again_once(
    cut_off: PostgresStorage, proxy: Proxy, records: int, sent: bytes
) -> None:
    await cut_off.commit(changes(0, records))
    proxy.cut_before = sent
    outcome, *_ = await cut_off.commit(changes(1, records))

    assert proxy.cuts == 1
    assert (outcome.before, outcome.after, outcome.length) == (1, 2, 2)
    assert await items_of(cut_off) == [0, 1]


@each_way
async def test_a_commit_is_unknown_only_if_the_server_stays_away(
    cut_off: PostgresStorage, proxy: Proxy, records: int, sent: bytes
) -> None:
    await cut_off.commit(changes(0, records))
    proxy.cut_after = sent
    proxy.is_down = True
    began = monotonic()
    with pytest.raises(StorageUnavailableError, match="did not come back") as caught:
        await cut_off.commit(changes(1, records))

    assert caught.value.outcome == "unknown"
    assert monotonic() - began < 6
    proxy.is_down = False
    assert await items_of(cut_off) == [0, 1]


async def test_a_commit_that_comes_late_after_it_was_declared_void_is_not_applied(
    cut_off: PostgresStorage, proxy: Proxy, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server still holds the first attempt back when the second one is made."""
    await cut_off.commit(changes(0, 2))
    numbers: list[Any] = []
    steps = cut_off._writes.steps

    def noted(draft: Any, number: Any, *more: Any) -> Any:
        numbers.append((draft, number))
        return steps(draft, number, *more)

    monkeypatch.setattr(cut_off._writes, "steps", noted)
    proxy.cut_before = b"COMMIT\0"
    await cut_off.commit(changes(1, 2))
    draft, number = numbers[0]

    # what was on its way arrives now
    late = steps(draft, number, cut_off._writer, State(1, 1 << 40, is_whole=False))
    with psycopg.connect(server.url()) as connection:
        with pytest.raises(psycopg.errors.UniqueViolation):
            _execute(connection, late)
        connection.rollback()
    assert await items_of(cut_off) == [0, 1]


def _execute(connection: psycopg.Connection[Any], steps: list[Step]) -> None:
    for statement, values in steps:
        connection.execute(statement, values)


# -- nothing is heard -------------------------------------------------------------------------------------------------


async def test_a_silent_network_ends_every_call_in_time(cut_off: PostgresStorage, proxy: Proxy) -> None:
    await cut_off.commit([appending(0)])
    proxy.is_silent = True
    began = monotonic()
    calls = [cut_off.load("a"), cut_off.commit([appending(1)]), cut_off.list({"type": "t"}), cut_off.health_check()]
    async with asyncio.timeout(30):
        ends = await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(end, StorageTimeoutError | StorageUnavailableError) for end in ends), ends
    # a call, and for a commit the question what became of it
    assert monotonic() - began < 12
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


async def test_a_document_that_another_program_holds_locked_is_a_timeout(postgres_url: str, tmp_path: Path) -> None:
    async with await opened(postgres_url, tmp_path, timeout_seconds=0.5) as storage:
        await storage.save({"id": "a"})
        with psycopg.connect(postgres_url) as other:
            other.execute(sql.SQL("SELECT 1 FROM {} FOR UPDATE").format(storage.names.documents))
            with pytest.raises(StorageTimeoutError, match="another commit of the same document") as caught:
                await storage.save({"id": "a"})
            assert caught.value.outcome == "not applied"
            assert await storage.load("a") is not None
        await storage.save({"id": "a"})


async def test_a_deadlock_with_another_program_is_done_again(postgres_url: str, tmp_path: Path) -> None:
    async with await opened(postgres_url, tmp_path) as storage:
        await storage.batch_save([{"id": "a"}, {"id": "b"}])
        first, second = (storage._writes.lock([each]) for each in _in_order("a", "b"))
        with psycopg.connect(postgres_url) as other:
            # so that it is our commit in which the server finds the deadlock
            other.execute("SET deadlock_timeout = '20s'")
            other.execute(*second)
            saving = asyncio.ensure_future(storage.batch_save([{"id": "a"}, {"id": "b"}]))
            await _waited_for(postgres_url)
            await asyncio.to_thread(lambda: other.execute(*first))
            other.rollback()
            await asyncio.wait_for(saving, 20)
        record = await storage.load("a")
        assert record is not None
        assert record["version"] == 2


def _in_order(*ids: str) -> list[str]:
    return sorted(ids, key=key_of)


async def _waited_for(url: str) -> None:
    """Wait until some commit waits for a lock."""
    async with asyncio.timeout(10):
        while True:
            with psycopg.connect(url) as connection:
                waiting = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
            if waiting != (0,):
                return
            await asyncio.sleep(0.02)


# -- the server -------------------------------------------------------------------------------------------------------


async def test_no_server_is_an_error_that_says_so_and_shows_no_password() -> None:
    with pytest.raises(StorageUnavailableError) as caught:
        await open_storage("postgresql://admin:hunter2@127.0.0.1:1/db")

    assert "127.0.0.1:1/db" in str(caught.value)
    assert "see whether the server runs" in caught.value.advice
    assert "hunter2" not in told(caught.value)


@pytest.mark.parametrize("url", ["postgresql://u:hunter2@h:nan/x", "postgres://u:hunter2@h/x?hunter2=1"])
async def test_what_is_no_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StorageError) as caught:
        await open_storage(url)

    assert "hunter2" not in told(caught.value)


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


# -- several at once --------------------------------------------------------------------------------------------------


async def test_only_one_of_many_makes_a_document_that_must_not_exist(postgres_url: str, tmp_path: Path) -> None:
    stores = [await opened(postgres_url, tmp_path) for _ in range(3)]
    for turn in range(20):
        made = [
            store.commit([saving({"id": f"{turn}", "type": "t", "data": at}, expected_version=0)])
            for at, store in enumerate(stores)
        ]
        ends = await asyncio.gather(*made, return_exceptions=True)
        assert sum(not isinstance(end, BaseException) for end in ends) == 1, ends
    for store in stores:
        await store.close()


async def test_what_is_remembered_does_not_hide_what_others_have_written(postgres_url: str, tmp_path: Path) -> None:
    mine, other = await opened(postgres_url, tmp_path), await opened(postgres_url, tmp_path)
    async with mine, other:
        for turn in range(5):
            for store in (mine, other, other, mine):
                await store.commit([appending(turn)])
            with pytest.raises(StorageConflictError):
                await mine.commit([saving({"id": "a", "type": "t", "data": {}}, expected_version=0)])
        assert await items_of(mine) == [turn for turn in range(5) for _ in range(4)]

        await other.delete("a")
        with pytest.raises(StorageNotFoundError):
            await mine.update("a", {"data": {"more": 1}})
        await other.save({"id": "a", "data": {"items": ["new"]}})
        await mine.update("a", {"data": {"more": 1}})
        record = await mine.load("a")
    assert record is not None
    assert (record["version"], record["data"]) == (22, {"items": ["new"], "more": 1})


async def test_a_state_that_came_again_after_a_crash_is_not_taken_for_the_remembered_one(
    postgres_url: str, tmp_path: Path
) -> None:
    """A server that did not sync may lose versions that were acknowledged, and count them once more."""
    async with await opened(postgres_url, tmp_path) as storage:
        await storage.commit([appending(1)])
        with psycopg.connect(postgres_url) as connection:
            record = await storage.load("a")
            assert record is not None
            other = {**record, "data": {"items": [7]}, "updated_at": "2030-01-01T00:00:00.000000+00:00"}
            connection.execute(
                sql.SQL("UPDATE {} SET record = %s, updated_at = %s").format(storage.names.documents),
                [json.dumps(other), other["updated_at"]],
            )
        await storage.commit([appending(2)])
        assert await items_of(storage) == [7, 2]


async def test_no_version_comes_twice_while_a_document_is_made_and_deleted(postgres_url: str, tmp_path: Path) -> None:
    stores = [await opened(postgres_url, tmp_path, pool_size=4) for _ in range(2)]
    seen: list[int] = []

    async def work(store: PostgresStorage) -> None:
        for _ in range(40):
            (saved,) = await store.commit([saving({"id": "a", "type": "t", "data": {}})])
            seen.append(saved.after)
            await store.commit([deleting("a")])

    await asyncio.gather(*(work(store) for store in stores for _ in range(3)))
    assert len(seen) == len(set(seen))
    for store in stores:
        await store.close()


async def test_what_a_batch_found_absent_is_so_until_it_is_committed(postgres_url: str, tmp_path: Path) -> None:
    """Two batches that each make what the other one must not find cannot both be applied."""
    stores = [await opened(postgres_url, tmp_path) for _ in range(2)]
    for turn in range(30):
        a, b = f"a{turn}", f"b{turn}"
        ends = await asyncio.gather(
            *(
                store.commit([unchanged(absent, None), saving({"id": made, "type": "t", "data": {}})])
                for store, absent, made in zip(stores, (a, b), (b, a), strict=True)
            ),
            return_exceptions=True,
        )
        assert sum(not isinstance(end, BaseException) for end in ends) == 1, ends
    for store in stores:
        await store.close()
