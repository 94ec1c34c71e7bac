"""Waits for the batch of somebody else."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageUnavailableError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents.layout import COUNTERS
from fsstore.filesystem.log.counters import Counters
from fsstore.filesystem.log.lock import StoreLock
from fsstore.filesystem.read import commit_waits
from tests.filesystem.faults import Faults, control, until
from tests.filesystem.read.held_lock import WITHOUT_END, a_commit_that_the_index_lacks


@pytest.mark.skipif(os.name == "nt", reason="there an open file cannot be removed")
@pytest.mark.parametrize("how", ["removed before", "removed while it is awaited"])
async def test_no_half_of_a_batch_is_read_whose_counters_are_removed(storage: FileStorage, how: str) -> None:
    counters, root = storage._store.counters, storage._tree.root
    await storage.list()
    # as another process that is placing a batch
    elsewhere = StoreLock(tree := Tree(root), Counters(tree))
    elsewhere.acquire(10)
    counters.write(applying=counters.applying() | 1)
    if how == "removed before":
        (root / COUNTERS).unlink()
    loading = asyncio.ensure_future(storage.load("a"))
    await asyncio.wait([loading], timeout=0.1)
    (root / COUNTERS).unlink(missing_ok=True)
    await asyncio.wait([loading], timeout=0.3)
    assert not loading.done()

    elsewhere.release()
    async with asyncio.timeout(20):
        assert (await loading or {})["id"] == "a"
    assert counters.are_named()
    assert not counters.look().unfinished
    elsewhere.close()


async def test_what_a_dead_writer_left_is_recovered_and_a_living_one_is_not_waited_for(
    tmp_path: Path, elsewhere: StoreLock
) -> None:
    async with await FileStorage.open(tmp_path, lock_timeout_seconds=WITHOUT_END) as storage:
        commits, counters = storage._reading.commits, storage._store.counters
        elsewhere.acquire(10)
        try:
            a_commit_that_the_index_lacks(tmp_path)
            async with asyncio.timeout(20):
                await commits.recover_if_left()
            assert counters.look().unfinished
        finally:
            # the system releases the lock of a process that dies
            elsewhere.release()
        a_commit_that_the_index_lacks(tmp_path)
        await commits.recover_if_left()
        assert not counters.look().unfinished


async def test_what_waits_for_its_place_is_tried_again_by_refresh_at_once_and_by_others_from_time_to_time(
    storage: FileStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_waits, "_TRY_SECONDS", WITHOUT_END)
    with Faults(monkeypatch).where(lambda name, paths: name == "replace" and Path(paths[1]).name == "a.json"):
        with pytest.raises(StorageUnavailableError) as refused:
            await storage.batch_save([{"id": "a", "data": 2}, {"id": "b"}])
        assert (refused.value.outcome, refused.value.errno) == ("applied", errno.EIO)
        assert await storage.count() == 1
    assert await storage.count() == 1
    assert control(tmp_path, "waiting") != []
    await storage.refresh()
    assert control(tmp_path, "waiting") == []
    assert await storage.count() == 2


async def test_what_a_dead_writer_left_is_finished_also_by_who_waits_for_nobody(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path, fsync=False, lock_timeout_seconds=0) as storage:
        counters, writer = storage._store.counters, storage._store.writer
        assert writer is not None
        await storage.save({"id": "a"})
        await until(lambda: not writer.lock_is_held())
        counters.write(applying=counters.applying() | 1)
        assert (await storage.load("a") or {})["id"] == "a"
        await until(lambda: not writer.lock_is_held())
        a_commit_that_the_index_lacks(tmp_path)
        assert await storage.count() == 1
        assert not counters.look().unfinished
