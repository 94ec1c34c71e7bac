import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage
from fsstore.filesystem.documents.layout import INDEX, INDEX_FILES
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.log.counters import State
from fsstore.filesystem.log.lock import StoreLock
from fsstore.filesystem.read.isolation import Isolation
from fsstore.filesystem.write import writer
from fsstore.watching.changes import Absorbed
from tests.filesystem.faults import place
from tests.filesystem.read.held_lock import WITHOUT_END, a_commit_that_the_index_lacks, write


async def test_a_batch_that_is_placed_while_the_index_is_awaited_is_read_again(
    storage: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index need not know of that batch, while its documents are in place."""
    reading, store = storage._reading, storage._store
    awaited = reading.commits.await_indexed
    asked: list[set[str]] = []

    async def awaited_beside_a_batch() -> State:
        await awaited()
        number = store.counters.applying()
        store.batches.note(number + 1, ["3f/a.json"])
        store.counters.write(applying=number + 2)
        return store.counters.read()

    monkeypatch.setattr(reading.commits, "await_indexed", awaited_beside_a_batch)
    await reading.ask_whole(lambda _index, isolation: asked.append(isolation.touched()))

    assert asked == [{"3f/a.json"}]


async def test_an_answer_counts_only_if_the_index_it_began_with_was_the_one_awaited(
    storage: FileStorage,
) -> None:
    reading, store = storage._reading, storage._store
    asked: list[Index] = []

    def ask(index: Index, isolation: Isolation) -> None:
        asked.append(index)
        if len(asked) == 1:
            store.counters.increase("stale")
        isolation.begin()

    await reading.ask_whole(ask)

    assert len(asked) == 2


async def test_a_batch_makes_no_answer_anew_that_reads_no_documents(storage: FileStorage) -> None:
    reading, counters = storage._reading, storage._store.counters
    asked: list[Index] = []

    def ask(index: Index) -> None:
        asked.append(index)
        counters.write(applying=counters.applying() + 2)

    await reading.ask(ask)

    assert len(asked) == 1


# -- beside a lock that nobody lets go of -----------------------------------------------------------------------------

Left = Callable[[Path], None]


def nothing(_: Path) -> None:
    """Leave everything as it is."""


def never_listed(store: Path) -> None:
    for name in (INDEX, *INDEX_FILES):
        (store / name).unlink(missing_ok=True)


def a_damaged_index(store: Path) -> None:
    never_listed(store)
    (store / INDEX).write_bytes(b"no index " * 1000)


def an_edit_by_hand(store: Path) -> None:
    write(store, "a", 5)
    place(store, "c").unlink()


@pytest.mark.skipif(os.name == "nt", reason="there an open file cannot be removed")
@pytest.mark.parametrize(
    "left", [nothing, never_listed, a_damaged_index, an_edit_by_hand, a_commit_that_the_index_lacks]
)
async def test_reads_answer_beside_a_lock_that_nobody_lets_go_of(
    tmp_path: Path, elsewhere: StoreLock, left: Left
) -> None:
    async with await FileStorage.open(tmp_path) as writing:
        await writing.batch_save([{"id": each, "data": 1} for each in "abc"])
        await writing.list()
    left(tmp_path)
    wanted = {file.stem: json.loads(file.read_bytes())["data"] for file in tmp_path.glob("??/*.json")}
    elsewhere.acquire(10)
    async with (
        asyncio.timeout(60),
        await FileStorage.open(tmp_path, lock_timeout_seconds=WITHOUT_END) as reading,
    ):
        assert {record["id"]: record["data"] for record in await reading.list()} == wanted
        streamed = [record async for batch in reading.stream_list(batch_size=1) for record in batch]
        assert {record["id"]: record["data"] for record in streamed} == wanted
        assert await reading.count() == len(wanted)
        assert await reading.count({"data": wanted["a"]}) == list(wanted.values()).count(wanted["a"])
        assert await reading.query("SELECT count(*) AS n FROM documents") == [{"n": len(wanted)}]
        assert {record["id"] for record in await reading.list_metadata()} == wanted.keys()
        assert (await reading.health_check())["documents"] == len(wanted)
        write(tmp_path, "edited", 7)
        assert (await reading.refresh()).changed == ["edited"]
        assert (await reading.list({"data": 7}))[0]["id"] == "edited"


async def test_an_answer_beside_a_held_lock_has_each_commit_that_the_index_lacks(
    tmp_path: Path, elsewhere: StoreLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # else a checkpoint of its own, which has waited for the lock, may have it when the last answers want it
    monkeypatch.setattr(writer, "_IDLE_SECONDS", WITHOUT_END)
    async with await FileStorage.open(tmp_path, lock_timeout_seconds=WITHOUT_END) as storage:
        await storage.save({"id": "a", "data": 1})
        await storage.list()
        elsewhere.acquire(10)
        try:
            a_commit_that_the_index_lacks(tmp_path)
            async with asyncio.timeout(60):
                for value in range(10, 13):
                    # whoever holds the lock goes on committing, and the counters stay as they are
                    write(tmp_path, f"more-{value}", value)
                    assert await storage.count() == value - 8
                    assert len(await storage.list({"data": {"$gte": 10}})) == value - 9
        finally:
            elsewhere.release()
        assert storage._store.private_index.is_kept
        # the commit that was left is finished first
        assert await storage.count() == 4
        assert len(await storage.list()) == 4
        assert not storage._store.private_index.is_kept


async def test_a_stream_beside_a_held_lock_compares_the_documents_once(
    tmp_path: Path, elsewhere: StoreLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await FileStorage.open(tmp_path, lock_timeout_seconds=WITHOUT_END) as storage:
        await storage.batch_save([{"id": f"a{number}", "data": 1} for number in range(6)])
        await storage.list()
        private, compared = storage._store.private_index, list[object]()
        catch_up = private.catch_up

        def counted(moment: object, **facts: Any) -> Absorbed:
            compared.append(moment)
            return catch_up(moment, **facts)

        monkeypatch.setattr(private, "catch_up", counted)
        elsewhere.acquire(10)
        try:
            a_commit_that_the_index_lacks(tmp_path)
            for _ in range(2):
                # a stream that begins is compared anew
                compared.clear()
                streamed = [record["id"] async for batch in storage.stream_list(batch_size=1) for record in batch]
                assert streamed == ["a", *(f"a{number}" for number in range(6))]
                assert compared == [None]
            stream = storage.stream_list(batch_size=1)
            assert await anext(stream)
            # as another answer of the index file gives it up
            private.forget()
            assert [record["id"] async for batch in stream for record in batch] == [f"a{n}" for n in range(6)]
        finally:
            elsewhere.release()


async def test_no_half_of_a_batch_is_seen_beside_a_held_lock(tmp_path: Path, elsewhere: StoreLock) -> None:
    """Who holds the lock goes on, with a batch, while another one compares the documents for an answer."""
    async with await FileStorage.open(tmp_path, lock_timeout_seconds=WITHOUT_END) as storage:
        await storage.batch_save([{"id": "a", "data": 1}, {"id": "b", "data": 1}])
        await storage.list()
        store, counted = storage._store, list[int]()
        private, agree = store.private_index, store.private_index.catch_up

        def agree_beside_a_batch(moment: object, **facts: Any) -> Absorbed:
            absorbed = agree(moment, **facts)
            if not counted:
                number = store.counters.applying()
                store.batches.note(number + 1, [storage._documents.name(each) for each in "ab"])
                for each in "ab":
                    write(tmp_path, each, 2)
                store.counters.write(applying=number + 2)
            counted.append(1)
            return absorbed

        elsewhere.acquire(10)
        try:
            a_commit_that_the_index_lacks(tmp_path)
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(private, "catch_up", agree_beside_a_batch)
                assert {record["id"]: record["data"] for record in await storage.list()} == {"a": 2, "b": 2}
                counted.clear()
                assert await storage.count({"type": "document"}) == 2
                assert len(counted) == 2, "what reads no documents is asked again"
        finally:
            elsewhere.release()


async def test_a_stream_beside_a_held_lock_asks_no_copy_that_another_answer_is_about_to_compare(
    tmp_path: Path, elsewhere: StoreLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two of its pages who holds the lock puts a batch in place, of a document that is there and a new one."""
    async with await FileStorage.open(tmp_path, lock_timeout_seconds=WITHOUT_END) as storage:
        await storage.batch_save([{"id": f"a{number}", "data": 1} for number in range(6)])
        await storage.list()
        store, loop = storage._store, asyncio.get_running_loop()
        private, agree, page = store.private_index, store.private_index.catch_up, list[Any]()
        elsewhere.acquire(10)
        try:
            a_commit_that_the_index_lacks(tmp_path)
            stream = storage.stream_list(batch_size=3)
            assert len(await anext(stream)) == 3
            number = store.counters.applying()
            store.batches.note(number + 1, [storage._documents.name(each) for each in ("a3", "a35")])
            write(tmp_path, "a3", 2)
            write(tmp_path, "a35", 2)
            store.counters.write(applying=number + 2)

            def agree_later(moment: object, **facts: Any) -> Absorbed:
                monkeypatch.setattr(private, "catch_up", agree)
                page.extend(asyncio.run_coroutine_threadsafe(anext(stream), loop).result())
                return agree(moment, **facts)

            monkeypatch.setattr(private, "catch_up", agree_later)
            assert len(await storage.list()) == 8
            assert {record["id"]: record["data"] for record in page} == {"a2": 1, "a3": 2, "a35": 2}
        finally:
            elsewhere.release()
