"""The open stores that sessions of frameworks share; no framework is needed here."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

import fsstore
from fsstore.errors import StorageClosedError, StorageValidationError
from fsstore.integrations import open_stores
from fsstore.integrations.open_stores import OpenStore, settled


def closing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "fsstore-close"]


def test_holders_of_one_path_share_one_store(tmp_path: Path) -> None:
    first, second = OpenStore(tmp_path / "store"), OpenStore(f"{tmp_path}/other/../store")
    assert first.storage is second.storage
    first.close()
    assert second.plain.save({"id": "a"}) == "a"
    second.close()


def test_the_last_holder_closes_the_store(tmp_path: Path) -> None:
    first, second = OpenStore(tmp_path), OpenStore(tmp_path)
    storage = first.storage
    first.close()
    first.close()
    asyncio.run(storage.save({"id": "a"}))
    second.close()
    with pytest.raises(StorageClosedError):
        asyncio.run(storage.save({"id": "a"}))
    with pytest.raises(StorageClosedError, match="open it again"):
        _ = second.storage


def test_a_holder_that_is_dropped_closes_the_store_at_once(tmp_path: Path) -> None:
    holder = OpenStore(tmp_path)
    storage = holder.storage
    del holder
    assert closing_threads() == []
    with pytest.raises(StorageClosedError):
        asyncio.run(storage.save({"id": "a"}))
    assert not open_stores._registry._shared


def test_a_holder_that_is_dropped_in_the_middle_of_a_call_is_closed_by_a_thread(tmp_path: Path) -> None:
    holders = [OpenStore(tmp_path)]
    storage, plain = holders[0].storage, holders[0].plain

    def rule(current: Any) -> Any:
        # in the writer of this very store, which closing has to wait for
        holders.clear()
        return {"type": "note", "data": 1} if current is None else current

    asyncio.run(asyncio.wait_for(storage.commit([fsstore.Mutation("a", rule)]), 60))
    assert holders == []
    for thread in closing_threads():
        thread.join(timeout=60)
    with pytest.raises(StorageClosedError):
        plain.save({"id": "b"})


def test_a_holder_that_the_collector_finds_is_closed_by_a_thread(tmp_path: Path) -> None:
    class Knot:
        def __init__(self) -> None:
            self.knot, self.holder = self, OpenStore(tmp_path)

    knot = Knot()
    plain = knot.holder.plain
    del knot
    gc.collect()
    for thread in closing_threads():
        thread.join(timeout=60)
    with pytest.raises(StorageClosedError):
        plain.save({"id": "a"})
    assert not open_stores._registry._shared


def test_a_directory_may_go_before_the_holder_is_dropped(tmp_path: Path) -> None:
    holder = OpenStore(tmp_path / "store")
    holder.plain.save({"id": "a"})
    # at once: what removes file by file would meet those that are made meanwhile
    (tmp_path / "store").rename(tmp_path / "gone")
    del holder
    assert not open_stores._registry._shared


def test_a_store_in_memory_belongs_to_one_holder() -> None:
    first, second = OpenStore("memory:"), OpenStore("memory:")
    first.plain.save({"id": "a"})
    assert not second.plain.exists("a")
    first.close()
    second.close()


def test_other_options_for_an_open_store_are_an_error(tmp_path: Path) -> None:
    holder = OpenStore(tmp_path, fsync=False)
    with pytest.raises(StorageValidationError, match=r"open with other options \(fsync=False\)"):
        OpenStore(tmp_path)
    OpenStore(tmp_path, fsync=False).close()
    holder.close()


def test_a_store_that_cannot_be_opened_is_held_by_nobody(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(fsstore.StorageError):
        OpenStore(tmp_path / "store")
    assert not open_stores._registry._shared


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_of_fork_goes_on_with_the_store(tmp_path: Path) -> None:
    holder = OpenStore(tmp_path)
    holder.plain.save({"id": "a"})
    # as a thread of the parent may hold it at that moment
    open_stores._registry._lock.acquire()
    child = os.fork()
    if not child:
        try:
            # one that waits for ever is ended
            signal.alarm(60)
            OpenStore(tmp_path).plain.save({"id": "b"})
            os._exit(0)
        finally:
            os._exit(1)
    open_stores._registry._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert holder.plain.exists("b")
    holder.close()


async def test_a_cancelled_caller_waits_until_the_change_is_made() -> None:
    made, may_go_on = asyncio.Event(), asyncio.Event()

    async def change() -> None:
        await may_go_on.wait()
        made.set()

    task = asyncio.create_task(settled(change()))
    await asyncio.sleep(0)
    task.cancel()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert made.is_set()


async def test_an_error_of_the_change_is_that_of_its_caller() -> None:
    async def change() -> Any:
        raise StorageValidationError(reason="no")

    with pytest.raises(StorageValidationError):
        await settled(change())
