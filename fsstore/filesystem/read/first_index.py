"""Making the index of a store that has none yet, a fresh clone say: aside, in steps, and without the store lock.

The steps run in reader threads, so that a store that is closed meanwhile waits for one of them and no more.
"""

from __future__ import annotations

from functools import partial

from fsstore.errors import StorageClosedError
from fsstore.filesystem.index.building import IndexBuild
from fsstore.filesystem.index.connection import IndexDamagedError, IndexUnavailableError
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.reconcile import Steps
from fsstore.filesystem.open_store import OpenStore
from fsstore.filesystem.read.executor import Executor
from fsstore.query.conditions import EVERYTHING

MANY = 2_000
"""So many documents that are not indexed are worth it."""
_READ_AT_ONCE = 500
_FEW_TAKEN_OVER = 4


async def make_index(
    executor: Executor, store: OpenStore, generation: int, names: list[str], steps: Steps
) -> list[str] | None:
    """Have these documents, which that `generation` of the index lacks, indexed by a new one.

    Returns the ids of those that were read; then the index is another one. Returns None, and the documents are to be
    absorbed one by one, where the index has seen all documents before, or has many of them by commits, or is in memory,
    or whatever goes wrong, but raises LockBusyError.
    """
    index_file = store.index_file
    if store.writer is None or generation < 0:
        return None
    try:
        is_complete, rows = await executor.in_thread(lambda: index_file.use(_filled_so_far))
        if index_file.generation() != generation:
            # somebody else has made it just now
            return []
        # rows would be taken over one by one, with the lock held
        if is_complete or rows > len(names) // _FEW_TAKEN_OVER:
            return None
        # nothing is made that could not be installed
        await executor.soon_under_lock(lambda: None)
        build = await executor.in_thread(index_file.begin_build)
    except (IndexDamagedError, IndexUnavailableError):
        return None
    try:
        made = await _filled(executor, store, build, names, steps)
        if made:
            await executor.soon_under_lock(partial(index_file.install, build, generation))
    except (IndexDamagedError, IndexUnavailableError):
        # whoever was faster has removed the file
        return None if index_file.generation() == generation else []
    else:
        return made or None
    finally:
        try:
            await executor.in_thread(build.drop)
        except StorageClosedError:
            build.drop()


def _filled_so_far(index: Index) -> tuple[bool, int]:
    return index.get_meta("complete") is not None, index.count(EVERYTHING) or 0


async def _filled(executor: Executor, store: OpenStore, build: IndexBuild, names: list[str], steps: Steps) -> list[str]:
    made: list[str] = []

    def add(some: list[str]) -> None:
        entries = store.reconciler.read(some)
        build.add(entries)
        made.extend(entry.record["id"] for entry in entries)
        steps.read(-(-len(names) // _READ_AT_ONCE))

    for at in range(0, len(names), _READ_AT_ONCE):
        await executor.in_thread(partial(add, names[at : at + _READ_AT_ONCE]))
    await executor.in_thread(build.finish)
    return made
