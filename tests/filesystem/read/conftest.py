from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from fsstore import FileStorage
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.log.counters import Counters
from fsstore.filesystem.log.lock import StoreLock
from tests.filesystem.faults import until


@pytest_asyncio.fixture
async def storage(tmp_path: Path) -> AsyncGenerator[FileStorage]:
    """Give a store of one document."""
    async with await FileStorage.open(tmp_path, fsync=False) as opened:
        await opened.save({"id": "a"})
        writer = opened._store.writer
        assert writer is not None
        # tests write to the counters as another process does, which has the lock
        await until(lambda: not writer.lock_is_held())
        yield opened


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[StoreLock]:
    """Give the lock as another process has it."""
    lock = StoreLock(tree := Tree(tmp_path), Counters(tree))
    yield lock
    lock.close()
