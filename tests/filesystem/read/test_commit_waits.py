"""Waits for the batch of somebody else."""

import asyncio
import os
from pathlib import Path

import pytest

from fsstore import FileStorage
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents.layout import COUNTERS
from fsstore.filesystem.log.counters import Counters
from fsstore.filesystem.log.lock import StoreLock
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
