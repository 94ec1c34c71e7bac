from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageUnavailableError
from fsstore.filesystem.log.lock import StoreLock
from tests.filesystem.faults import busy_writer, contents, place, until


async def test_another_store_in_the_place_is_not_mixed_with_what_is_known_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the lock is kept for more to come, as long as it may be
    monkeypatch.setattr(StoreLock, "linger_seconds", lambda _lock, _state: 1.0)
    store = tmp_path / "store"
    async with await FileStorage.open(tmp_path / "other") as other:
        await other.batch_save([{"id": "a", "data": "other"}, {"id": "x", "data": "other"}])
    async with await FileStorage.open(store) as storage:
        await storage.batch_save([{"id": "a", "data": "first"}, {"id": "b", "data": "first"}])
        await contents(storage)
        store.rename(tmp_path / "away")
        (tmp_path / "other").rename(store)
        refused = 0
        for _ in range(20):
            try:
                await storage.save({"id": "c", "data": "other"})
                break
            except StorageUnavailableError:
                refused += 1
        # the writer may still have the lock of the first one, and lets go of it at once
        assert refused <= 1
        found = await contents(storage)
        assert {key: record["data"] for key, record in found.items()} == dict.fromkeys("acx", "other")
    assert not place(tmp_path / "away", "c").exists()


async def test_nothing_is_written_to_a_store_that_is_put_in_the_place_of_the_one_whose_lock_was_just_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, take, took = tmp_path / "store", StoreLock.acquire, list[StoreLock]()
    async with (
        await FileStorage.open(tmp_path / "other") as other,
        await FileStorage.open(store) as storage,
    ):
        await other.save({"id": "x"})
        await storage.save({"id": "a"})
        writer = storage._store.writer
        assert writer is not None
        await until(lambda: not writer.is_holding)

        def take_too_early(lock: StoreLock, *arguments: Any) -> None:
            take(lock, *arguments)
            took.append(lock)
            store.rename(tmp_path / "away")
            (tmp_path / "other").rename(store)
            monkeypatch.undo()

        with busy_writer(other):
            monkeypatch.setattr(StoreLock, "acquire", take_too_early)
            with pytest.raises(StorageUnavailableError, match="another directory") as refused:
                await storage.save({"id": "b"})
            assert refused.value.outcome == "not applied"
            assert len(took) == 1
        assert not place(store, "b").exists()
        await storage.save({"id": "b"})
        assert (await contents(storage)).keys() == {"x", "b"}
        store.rename(tmp_path / "other")
        (tmp_path / "away").rename(store)


async def test_what_waits_for_the_index_of_the_first_store_does_not_reach_the_index_of_the_other(
    tmp_path: Path,
) -> None:
    store = tmp_path / "store"
    async with await FileStorage.open(tmp_path / "other") as other:
        await other.save({"id": "x"})
        await other.list()
    async with await FileStorage.open(store) as storage:
        await storage.list()

        writer = storage._store.writer
        assert writer is not None
        # not the hold of the list, which may linger
        await until(lambda: not writer.is_holding)
        with pytest.MonkeyPatch.context() as patch:
            release = writer.section.release

            def releasing() -> None:
                # the rows of what was saved in this hold are written now
                patch.undo()
                store.rename(tmp_path / "away")
                (tmp_path / "other").rename(store)
                release()

            patch.setattr(writer.section, "release", releasing)
            await storage.save({"id": "a"})
            await until(lambda: not writer.is_holding)
    async with await FileStorage.open(store, reconcile="off") as storage:
        assert await storage.query("SELECT id FROM documents") == [{"id": "x"}]
