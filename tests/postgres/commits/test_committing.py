"""What becomes of a commit whose answer is lost, or that meets others."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import pytest
from psycopg import sql

from fsstore import (
    StorageConflictError,
    StorageCorruptedError,
    StorageNotFoundError,
    StorageTimeoutError,
    StorageUnavailableError,
)
from fsstore.model.expected import Expected
from fsstore.model.mutations import AnyMutation, Mutation, deleting, saving, unchanged
from fsstore.model.records import JsonObject
from fsstore.postgres.commits.committing import Committer, exchanged
from fsstore.postgres.commits.writes import COMMIT, State, Step
from fsstore.postgres.schema.rows import key_of
from fsstore.postgres.storage import PostgresStorage
from tests.postgres.proxy import Proxy
from tests.postgres.server import Server
from tests.postgres.stores import appending, items_of, opened, setting

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
    # each of the two waits, for a connection and for the server, takes 2 s; the default would be 30
    assert monotonic() - began < 20
    proxy.is_down = False
    assert await items_of(cut_off) == [0, 1]


@each_way
async def test_a_commit_is_unknown_once_its_number_may_have_been_removed(
    cut_off: PostgresStorage, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, records: int, sent: bytes
) -> None:
    """As where a machine sleeps for hours between a commit and its answer."""
    await cut_off.commit(changes(0, records))
    times = iter([0.0, 7_200.0])
    monkeypatch.setattr("fsstore.postgres.commits.committing.time", lambda: next(times))
    proxy.cut_after = sent
    with pytest.raises(StorageUnavailableError, match="it was too long before") as caught:
        await cut_off.commit(changes(1, records))

    assert caught.value.outcome == "unknown"
    await until_items(cut_off, [0, 1])


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


# -- others are at it, too -----------------------------------------------------------------------------------------


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


async def test_a_document_that_another_program_is_making_is_waited_for_once(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt, attempts = Committer._attempt, list[Committer]()

    async def note(committing: Committer, *arguments: Any, **options: Any) -> Any:
        attempts.append(committing)
        return await attempt(committing, *arguments, **options)

    monkeypatch.setattr(Committer, "_attempt", note)
    async with await opened(postgres_url, tmp_path, timeout_seconds=1.0) as storage:
        await storage.save({"id": "first"})
        with psycopg.connect(postgres_url) as other:
            other.execute(storage._writes._hold, storage._writes.one("a"))
            began = monotonic()
            with pytest.raises(StorageTimeoutError, match="another commit of the same document") as caught:
                await storage.save({"id": "a"})
            other.rollback()
        assert caught.value.outcome == "not applied"
        assert monotonic() - began > 0.9
        # which would wait once more
        assert attempts == []
        await storage.save({"id": "a"})


async def test_a_commit_waits_its_own_time_whatever_lock_timeout_the_role_has(
    postgres_url: str, tmp_path: Path
) -> None:
    async with await opened(setting(postgres_url, lock_timeout="1"), tmp_path) as storage:
        await storage.commit([appending(0)])
        with psycopg.connect(postgres_url) as other:
            other.execute(sql.SQL("SELECT 1 FROM {} FOR UPDATE").format(storage.names.documents))
            waiting = asyncio.ensure_future(storage.commit([appending(1)]))
            await until_locked(postgres_url)
            assert not waiting.done()
        await waiting
        assert await items_of(storage) == [0, 1]


async def until_items(storage: PostgresStorage, items: list[int]) -> None:
    """Return as soon as the server has these: it may still be at a commit whose client has gone."""
    async with asyncio.timeout(20):
        while await items_of(storage) != items:  # noqa: ASYNC110 - the server tells nobody of it
            await asyncio.sleep(0)


async def until_locked(url: str) -> None:
    """Return as soon as a process of the server waits for a lock."""
    with psycopg.connect(url, autocommit=True) as looking:
        asked = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        # the server tells nobody of it
        while not looking.execute(asked).fetchone():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_limit_of_the_server_is_not_taken_for_the_time_that_a_call_has(
    postgres_url: str, tmp_path: Path
) -> None:
    url = setting(postgres_url, statement_timeout="300")
    async with await opened(url, tmp_path) as storage:
        with psycopg.connect(postgres_url) as other:
            other.execute(sql.SQL("LOCK TABLE {}").format(storage.names.documents))
            with pytest.raises(StorageTimeoutError, match="due to statement timeout") as caught:
                await storage.load("a")
    assert caught.value.timeout_seconds is not None
    assert 0.2 < caught.value.timeout_seconds < 30
    assert "ALTER ROLE" in caught.value.advice
    assert "timeout_seconds" not in caught.value.advice


async def test_a_role_that_only_reads_is_advised(postgres_url: str, tmp_path: Path) -> None:
    async with await opened(postgres_url, tmp_path):
        pass
    async with await opened(setting(postgres_url, default_transaction_read_only="on"), tmp_path) as storage:
        with pytest.raises(StorageUnavailableError, match="read-only transaction") as caught:
            await storage.save({"id": "a"})
        assert "default_transaction_read_only" in caught.value.advice
        assert await storage.load("a") is None


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


async def test_what_a_rule_raises_of_a_remembered_record_that_has_changed_is_nobodys_answer(
    postgres_url: str, tmp_path: Path
) -> None:
    def renamed(record: JsonObject | None) -> JsonObject:
        assert record is not None
        return {**record, "data": {"was": record["data"]["new"]}}

    mine, other = await opened(postgres_url, tmp_path), await opened(postgres_url, tmp_path)
    async with mine, other:
        await mine.save({"id": "a", "data": {"old": 1}})
        await other.save({"id": "a", "data": {"new": 2}})
        await mine.commit([Mutation("a", renamed)])
        record = await mine.load("a")
        assert record is not None
        assert record["data"] == {"was": 2}

        with pytest.raises(KeyError, match="new"):
            await mine.commit([Mutation("a", renamed)])


async def test_a_state_that_came_again_after_a_crash_is_not_taken_for_the_remembered_one(
    postgres_url: str, tmp_path: Path
) -> None:
    """A server that did not sync may lose versions that were acknowledged, and count them once more, in no time."""
    async with await opened(postgres_url, tmp_path) as storage:
        await storage.commit([appending(1)])
        record = await storage.load("a")
        assert record is not None
        rewrite(postgres_url, storage, json.dumps({**record, "data": {"items": [7]}}))
        await storage.commit([appending(2)])
        assert await items_of(storage) == [7, 2]


async def test_what_somebody_has_damaged_is_never_taken_for_what_is_remembered(
    postgres_url: str, tmp_path: Path
) -> None:
    async with await opened(postgres_url, tmp_path) as storage:
        for change in (appending(1), appending(2)):
            await storage.commit([change])
        rewrite(postgres_url, storage, "{")
        with pytest.raises(StorageCorruptedError):
            await storage.commit([appending(3)])

        await storage.save({"id": "a"})
        with psycopg.connect(postgres_url) as connection:
            kept = connection.execute(sql.SQL("SELECT version, record FROM {}").format(storage.names.damaged))
            assert kept.fetchall() == [(2, "{")]


def rewrite(url: str, storage: PostgresStorage, text: str) -> None:
    """Put a text in the place of the only record, and leave its version and its times."""
    with psycopg.connect(url) as connection:
        connection.execute(sql.SQL("UPDATE {} SET record = %s").format(storage.names.documents), [text])


@pytest.mark.parametrize("wrong", ["z", ""])
async def test_a_row_that_was_given_another_id_is_damaged_at_once(
    postgres_url: str, tmp_path: Path, wrong: str
) -> None:
    async with await opened(postgres_url, tmp_path) as storage:
        await storage.commit([appending(0)])
        with psycopg.connect(postgres_url) as other:
            other.execute(sql.SQL("UPDATE {} SET id = %s").format(storage.names.documents), [wrong])

        tries: list[list[AnyMutation]] = [[appending(1)], [saving({"id": "b", "type": "t", "data": 0}), appending(1)]]
        for changes in tries:
            with pytest.raises(StorageCorruptedError, match=f"says the id {wrong!r}") as caught:
                await storage.commit(changes)
            assert (caught.value.id, caught.value.outcome) == ("a", "not applied")
        assert await storage.list() == []
        assert (await storage.health_check())["documents"] == 1


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
async def test_no_version_comes_twice_while_a_document_is_made_and_deleted(
    postgres_url: str, tmp_path: Path, isolation: str
) -> None:
    """Whatever isolation the server is set up to give those who do not ask for one."""
    url = setting(postgres_url, default_transaction_isolation=isolation)
    stores = [await opened(url, tmp_path, pool_size=4) for _ in range(2)]
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


async def test_what_a_server_refuses_is_not_logged_beside_the_error(
    postgres_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with await opened(postgres_url, tmp_path) as storage:
        await storage.save({"id": "a"})
        with psycopg.connect(postgres_url) as connection:
            connection.execute(
                sql.SQL("ALTER TABLE {} RENAME TO {}").format(
                    storage.names.changes, sql.Identifier(storage.names.prefix + "gone")
                )
            )
        # so many that the refusal comes while some are still being sent
        for batch in ([{"id": "new"}], [{"id": f"{number}"} for number in range(300)]):
            with pytest.raises(StorageUnavailableError, match="does not exist"):
                await storage.batch_save(batch)
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.parametrize("text", ["{", None], ids=["damaged", "as it was"])
async def test_what_another_store_has_made_is_read_before_it_is_changed(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    """Without a transaction, unless what is there cannot be read."""
    async with await opened(postgres_url, tmp_path) as storage:
        await storage.commit([appending(1)])
        if text is not None:
            with psycopg.connect(postgres_url) as connection:
                connection.execute(sql.SQL("UPDATE {} SET record = %s").format(storage.names.documents), [text])
    async with await opened(postgres_url, tmp_path) as storage:
        transactions: list[int] = []
        attempt = storage._committer._attempt

        async def counted(*args: Any, **options: Any) -> Any:
            transactions.append(1)
            return await attempt(*args, **options)

        monkeypatch.setattr(storage._committer, "_attempt", counted)
        if text is not None:
            await storage.save({"id": "a"})
        else:
            (outcome,) = await storage.commit([appending(2)])
            assert (outcome.before, outcome.after, outcome.length) == (1, 2, 2)
        assert len(transactions) == (text is not None)


async def test_a_refused_exchange_leaves_nothing_that_is_thought_to_be_prepared(postgres_url: str) -> None:
    """What comes behind a refused statement is not even read by the server."""
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True, prepare_threshold=1) as connection:
        await exchanged(connection, [(b"SELECT 2", ())])
        with pytest.raises(psycopg.errors.DivisionByZero):
            await exchanged(connection, [(b"SELECT 1 / 0", ()), (b"SELECT 2", ())])
        (cursor,) = await exchanged(connection, [(b"SELECT 2", ())])
        assert await cursor.fetchall() == [(2,)]


@pytest.mark.parametrize("error", [psycopg.OperationalError("cannot exit"), psycopg.errors.AdminShutdown("going down")])
async def test_an_end_that_is_heard_before_the_connection_is_seen_to_close_leaves_the_outcome_to_be_looked_up(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: psycopg.Error
) -> None:
    """As when the server process is ended between COMMIT and its answer."""
    ends = [error]

    async def cut_short(connection: Any, steps: Any) -> Any:
        cursors = await exchanged(connection, steps)
        if steps[-1][0] == COMMIT and ends:
            raise ends.pop()
        return cursors

    monkeypatch.setattr("fsstore.postgres.commits.committing.exchanged", cut_short)
    async with await opened(postgres_url, tmp_path) as storage:
        await storage.commit(changes(0, 2))
        assert ends == []
        assert await items_of(storage) == [0]


async def test_one_who_goes_on_writing_asks_for_nothing_before_a_write(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first write the state of the store is known, and of what was written what is there."""
    sent: list[bytes] = []
    execute = psycopg.AsyncCursor.execute

    async def noted(cursor: psycopg.AsyncCursor[Any], query: Any, *values: Any, **options: Any) -> Any:
        sent.append(query)
        return await execute(cursor, query, *values, **options)

    async with await opened(postgres_url, tmp_path) as storage:
        await storage.save({"id": "a", "data": {}})
        monkeypatch.setattr(psycopg.AsyncCursor, "execute", noted)
        for turn in range(3):
            await storage.save({"id": "a", "data": {"turn": turn}})
            await storage.update("a", {"data": {"more": turn}})
    assert len(sent) == 6
    assert all(statement.startswith(b"WITH held") for statement in sent)


async def test_watches_are_notified_of_what_was_applied_and_of_nothing_else(postgres_url: str, tmp_path: Path) -> None:
    made, heard = saving({"id": "a", "type": "t", "data": {}}), list[psycopg.Notify]()
    mine, other = await opened(postgres_url, tmp_path), await opened(postgres_url, tmp_path)
    async with mine, other, await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as listening:
        listening.add_notify_handler(heard.append)

        async def count() -> int:
            # what was sent before comes with the answer
            await listening.execute("SELECT 1")
            return len(heard)

        await mine.save({"id": "b"})
        await other.commit([made])
        await listening.execute(sql.SQL("LISTEN {}").format(sql.Identifier(mine.names.channel)))
        # who has just notified does not do so again
        mine._notifies_at, other._notifies_at = 0.0, float("inf")

        # taken for new at first
        await mine.commit([made])
        assert await count() == 1

        await other.update("a", {"data": {"more": 1}})
        mine._notifies_at = 0.0
        # taken for what is remembered at first
        with pytest.raises(StorageConflictError):
            await mine.commit([made._replace(expected=Expected(2))])
        assert await count() == 1
        await mine.commit([made])
        assert await count() == 2
