"""`FsstoreKeyValueStore` with py-key-value at hand; the rules of its stores are among the plugins."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from key_value.aio.errors import SerializationError
from key_value.aio.stores.base import ManagedEntry
from key_value.aio.stores.filetree import FileTreeStore

import fsstore
import fsstore.sync
from fsstore.errors import StorageClosedError, StorageCorruptedError
from fsstore.integrations.key_value import ENTRY, FsstoreKeyValueStore

ROOT = Path(__file__).parents[3]

PUTTING = """
import asyncio, sys
from fsstore.integrations.key_value import FsstoreKeyValueStore

path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])

async def main():
    async with FsstoreKeyValueStore(path, fsync=False) as store:
        for number in range(count):
            await store.put(f"{name}-{number}", {"number": number}, collection="c")
            await store.put("last", {"name": name}, collection="c")
            print(f"{name}-{number}", flush=True)

asyncio.run(main())
"""


@pytest.fixture
async def store(quick: Path) -> AsyncIterator[FsstoreKeyValueStore]:
    async with FsstoreKeyValueStore(quick, fsync=False) as opened:
        yield opened


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PUTTING, *arguments], stdout=subprocess.PIPE, text=True)


async def put_expired(store: FsstoreKeyValueStore, *keys: str) -> None:
    await store.setup_collection(collection="c")
    past = datetime.now(UTC) - timedelta(seconds=1)
    for key in keys:
        entry = ManagedEntry(value={"a": 1}, expires_at=past)
        await store._put_managed_entry(collection="c", key=key, managed_entry=entry)


def ids_in(store: FsstoreKeyValueStore) -> list[str]:
    return [record["id"] for record in store._store.plain.list({"type": ENTRY}, order_by="id")]


# -- entries are documents --------------------------------------------------------------------------------------------


async def test_an_entry_is_a_document_that_people_can_read(quick: Path, store: FsstoreKeyValueStore) -> None:
    await store.put("k/1", {"a": {"b": [1]}}, collection="c d", ttl=60)
    (file,) = quick.glob("??/kv-*.json")
    assert '"a": {' in file.read_text("utf-8")
    async with fsstore.open_storage(quick, fsync=False) as storage:
        (found,) = await storage.list({"type": ENTRY, "data.metadata.collection": "c d"})
    assert (found["id"], found["data"]["value"]) == ("~kv/c%20d/k%2F1", {"a": {"b": [1]}})


async def test_many_are_put_all_or_none_of_them(store: FsstoreKeyValueStore) -> None:
    with pytest.raises(SerializationError):
        await store.put_many(["a", "b"], [{"x": 1}, {"x": object()}], collection="c")
    assert ids_in(store) == []
    versions = store._store.plain
    await store.put_many([f"k-{at}" for at in range(10)], [{"x": at} for at in range(10)], collection="c")
    assert {record["updated_at"] for record in versions.list({"type": ENTRY})} == {
        versions.list({"type": ENTRY}, 1)[0]["updated_at"]
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", 2**70, {1: 2}])
async def test_what_a_store_of_json_cannot_carry_is_refused_with_its_path(
    store: FsstoreKeyValueStore, value: Any
) -> None:
    with pytest.raises(SerializationError, match=r"value\.a"):
        await store.put("k", {"a": value}, collection="c")


@pytest.mark.parametrize("data", [[], {"value": 1}, {"value": {}, "metadata": {"expires_at": "soon"}}])
async def test_an_entry_that_was_changed_by_hand_is_damaged(
    quick: Path, store: FsstoreKeyValueStore, data: Any
) -> None:
    await store.put("k", {"a": 1}, collection="c")
    async with fsstore.open_storage(quick, fsync=False) as storage:
        await storage.save({"id": "~kv/c/k", "type": ENTRY, "data": data})
        with pytest.raises(StorageCorruptedError, match="py-key-value"):
            await store.get("k", collection="c")


async def test_it_leaves_sessions_beside_it_alone(quick: Path, store: FsstoreKeyValueStore) -> None:
    async with fsstore.open_sessions(quick, fsync=False) as sessions:
        await sessions.save_session("s-1", {"metadata": {"expires_at": "2001-01-01"}})
        await store.put("k", {"a": 1})
        assert await sessions.count_sessions() == 1
        await store.cull()
        await store.destroy()
        assert await sessions.session_exists("s-1")


# -- lists ------------------------------------------------------------------------------------------------------------


async def test_keys_and_collections_are_listed(store: FsstoreKeyValueStore) -> None:
    for collection, key in (("b", "2"), ("a", "1"), ("a", "x/y"), ("a0", "3"), ("a/b", "4")):
        await store.put(key, {}, collection=collection)
    assert await store.collections() == ["a", "a/b", "a0", "b"]
    assert await store.collections(limit=2) == ["a", "a/b"]
    assert await store.keys("a") == ["1", "x/y"]
    assert await store.keys("a", limit=1) == ["1"]
    assert await store.keys("nobody") == []


async def test_an_entry_without_a_name_is_listed_and_destroyed_with_its_collection(store: FsstoreKeyValueStore) -> None:
    await store.put("", {"n": 1}, collection="c")
    await store.put("k", {"n": 2}, collection="c")
    assert sorted(await store.keys("c")) == ["", "k"]
    assert await store.destroy_collection("c") is True
    assert await store.get("", collection="c") is None


@pytest.mark.parametrize("metadata", [None, [], {"key": 1, "collection": 1}, {"key": "k"}])
async def test_an_entry_that_was_changed_by_hand_breaks_no_list(store: FsstoreKeyValueStore, metadata: Any) -> None:
    for key in ("a", "b"):
        await store.put(key, {}, collection="c")
    store._store.plain.save({"id": "~kv/c/a", "type": ENTRY, "data": {"metadata": metadata, "value": {}}})
    assert (await store.keys("c"), await store.collections()) == (["b"], ["c"])


async def test_a_collection_is_destroyed_and_no_other(store: FsstoreKeyValueStore) -> None:
    for collection in ("a", "a0", "a/b"):
        await store.put("k", {}, collection=collection)
    assert await store.destroy_collection("a")
    assert not await store.destroy_collection("a")
    assert await store.collections() == ["a/b", "a0"]
    assert await store.destroy()
    assert await store.collections() == []


# -- what has expired -------------------------------------------------------------------------------------------------


async def test_what_has_expired_is_removed_when_it_is_read(store: FsstoreKeyValueStore) -> None:
    await put_expired(store, "a", "b")
    assert ids_in(store) == ["~kv/c/a", "~kv/c/b"]
    assert await store.keys("c") == []
    assert await store.get("a", collection="c") is None
    assert ids_in(store) == ["~kv/c/b"]
    await store.ttl("b", collection="c")
    assert ids_in(store) == []


async def test_culling_removes_what_has_expired_in_all_collections_of_all_objects(
    quick: Path, store: FsstoreKeyValueStore
) -> None:
    async with FsstoreKeyValueStore(quick, fsync=False) as other:
        await put_expired(other, *(f"k-{at}" for at in range(20)))
    await store.put("new", {}, collection="d", ttl=60)
    await store.cull()
    assert ids_in(store) == ["~kv/d/new"]


async def test_a_put_removes_what_has_expired_from_time_to_time(quick: Path, store: FsstoreKeyValueStore) -> None:
    await put_expired(store, "old")
    await store.put("new", {}, collection="c")
    assert ids_in(store) == ["~kv/c/new", "~kv/c/old"]
    async with FsstoreKeyValueStore(quick, cull_interval_seconds=None, fsync=False) as never:
        await never.put("newer", {}, collection="c")
        assert "~kv/c/old" in ids_in(store)
    async with FsstoreKeyValueStore(quick, cull_interval_seconds=0, fsync=False) as often:
        await often.put("newest", {}, collection="c")
    assert ids_in(store) == ["~kv/c/new", "~kv/c/newer", "~kv/c/newest"]


async def test_an_entry_that_is_put_anew_meanwhile_is_not_removed(store: FsstoreKeyValueStore) -> None:
    await put_expired(store, "k")
    await store.put("k", {"a": 2}, collection="c")
    await store._remove_expired(["~kv/c/k"])
    assert await store.get("k", collection="c") == {"a": 2}


# -- opened and closed ------------------------------------------------------------------------------------------------


async def test_a_seed_is_there_from_the_beginning(quick: Path) -> None:
    async with FsstoreKeyValueStore(quick, seed={"c": {"k": {"a": 1}}}, default_collection="c", fsync=False) as store:
        assert await store.get("k") == {"a": 1}


async def test_a_closed_store_says_so_and_its_neighbour_goes_on(quick: Path) -> None:
    first, second = FsstoreKeyValueStore(quick, fsync=False), FsstoreKeyValueStore(quick, fsync=False)
    await first.close()
    await first.close()
    with pytest.raises(StorageClosedError):
        await first.get("k")
    await second.put("k", {"a": 1})
    async with second:
        assert await second.get("k") == {"a": 1}
    with pytest.raises(StorageClosedError):
        await second.get("k")


async def test_a_store_that_is_dropped_in_a_temporary_directory_leaves_no_trouble() -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = FsstoreKeyValueStore(directory)
        await store.put("k", {"a": 1})
        del store
    assert not Path(directory).exists()


def test_a_program_that_closes_nothing_ends_and_leaves_what_it_put(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from fsstore.integrations.key_value import FsstoreKeyValueStore\n"
        "store = FsstoreKeyValueStore(sys.argv[1])\n"
        "asyncio.run(store.put('k', {'a': 1}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    with fsstore.sync.open_storage(tmp_path) as storage:
        assert storage.count({"type": ENTRY}) == 1


def test_one_object_is_used_from_several_loops_at_once(quick: Path) -> None:
    store = FsstoreKeyValueStore(quick, fsync=False)

    async def work(name: str) -> None:
        for at in range(20):
            await store.put(f"{name}-{at}", {"at": at}, collection="c")

    threads = [threading.Thread(target=lambda name=name: asyncio.run(work(name))) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asyncio.run(store.keys("c"))) == 80
    asyncio.run(store.close())


def test_four_processes_that_put_lose_nothing(tmp_path: Path) -> None:
    processes = [start(str(tmp_path), f"p{number}", "50") for number in range(4)]
    for process in processes:
        process.communicate(timeout=120)
        assert process.returncode == 0
    with fsstore.sync.open_storage(tmp_path) as storage:
        names = {found["metadata"]["key"] for found in storage.list_metadata({"type": ENTRY})}
    assert names == {"last", *(f"p{number}-{at}" for number in range(4) for at in range(50))}


def test_a_kill_leaves_every_entry_that_was_acknowledged(tmp_path: Path) -> None:
    process = start(str(tmp_path), "p", "100000")
    assert process.stdout is not None
    told = [process.stdout.readline().strip() for _ in range(50)]
    os.kill(process.pid, signal.SIGKILL)
    told += [line.strip() for line in process.communicate()[0].splitlines() if line.startswith("p-")]
    with fsstore.sync.open_storage(tmp_path) as storage:
        names = {found["metadata"]["key"] for found in storage.list_metadata({"type": ENTRY})}
    assert names >= {*told}
    assert len(names) - len(told) <= 2


# -- FastMCP, and the guide -------------------------------------------------------------------------------------------


def test_the_example_resumes_in_a_new_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.examples.key_value_cache", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second, found, _, *file = done.stdout.splitlines()
    assert first == "first: answered ['San Francisco', 'San Francisco'], the tool ran 1 times"
    assert second == "second: answered ['San Francisco', 'San Francisco'], the tool ran 0 times"
    assert found.startswith("found an answer that is kept until 2")
    assert any('"collection": "tools/call"' in line for line in file)


async def test_the_guide_moves_the_files_of_a_tree(tmp_path: Path) -> None:
    guide = (ROOT / "fsstore" / "guides" / "key-value.md").read_text("utf-8")
    names: dict[str, Any] = {}
    code = re.findall(r"^```text\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)
    exec(code[-1], names)  # noqa: S102 - the guide's own code
    old = FileTreeStore(data_directory=tmp_path / "old")
    await old.put("k", {"a": 1}, collection="c")
    await old.put("l", {"a": 2}, collection="d", ttl=100)
    await names["move"](tmp_path / "old", {"c": ["k", "nobody"], "d": ["l"]}, str(tmp_path / "store"))
    async with FsstoreKeyValueStore(tmp_path / "store") as store:
        assert await store.ttl("k", collection="c") == ({"a": 1}, None)
        _, ttl = await store.ttl("l", collection="d")
        assert ttl is not None
        assert 90 < ttl <= 100
