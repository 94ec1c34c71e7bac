"""The index agrees with the documents before it is asked."""

import asyncio
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage
from fsstore.filesystem.documents.layout import CONTROL, STAGING
from fsstore.filesystem.index.building import IndexBuild
from fsstore.filesystem.index.reconcile import Reconciler
from fsstore.filesystem.log.counters import State
from fsstore.filesystem.log.lock import StoreLock
from fsstore.filesystem.read import fresh_index
from tests.filesystem.faults import until
from tests.filesystem.read.held_lock import WITHOUT_END, write


@pytest.mark.parametrize("taken", ["before", "meanwhile"])
async def test_an_index_that_is_made_aside_waits_for_no_held_lock(
    tmp_path: Path, elsewhere: StoreLock, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    monkeypatch.setattr(fresh_index, "MANY", 3)
    async with await FileStorage.open(tmp_path) as writing:
        await writing.batch_save([{"id": each} for each in "abcdefgh"])
    shutil.rmtree(tmp_path / CONTROL)
    async with await FileStorage.open(tmp_path) as writing:
        # now there is an index, of one document
        await writing.save({"id": "a"})
    finish = IndexBuild.finish

    def finish_too_late(build: IndexBuild) -> None:
        finish(build)
        elsewhere.acquire(10)

    if taken == "before":
        elsewhere.acquire(10)
    else:
        monkeypatch.setattr(IndexBuild, "finish", finish_too_late)
    async with (
        asyncio.timeout(60),
        await FileStorage.open(tmp_path, lock_timeout_seconds=WITHOUT_END) as reading,
    ):
        assert await reading.count() == 8
        assert len(await reading.list()) == 8
    assert not list((tmp_path / STAGING).iterdir())


async def test_lists_that_come_together_share_one_comparison_that_no_cancellation_ends(
    storage: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare, compared, go = Reconciler.compare, list[object](), threading.Event()

    def waiting(reconciler: Reconciler, *arguments: Any) -> Any:
        compared.append(reconciler)
        assert go.wait(20)
        return compare(reconciler, *arguments)

    fresh, asked = storage._reading.fresh_index, list[object]()
    reconcile = fresh.reconcile_if_stale

    async def noted(counters: State) -> None:
        asked.append(counters)
        await reconcile(counters)

    monkeypatch.setattr(Reconciler, "compare", waiting)
    monkeypatch.setattr(fresh, "reconcile_if_stale", noted)
    lists = [asyncio.ensure_future(storage.list()) for _ in range(5)]
    await until(lambda: compared and len(asked) == len(lists))
    lists[0].cancel()
    await asyncio.wait(lists[:1])
    go.set()
    assert [len(await each) for each in lists[1:]] == [1] * 4
    assert len(compared) == 1


async def test_what_a_refresh_beside_a_held_lock_has_found_is_not_forgotten_where_the_index_is_trusted(
    tmp_path: Path, elsewhere: StoreLock
) -> None:
    async with await FileStorage.open(tmp_path) as writing:
        await writing.save({"id": "a"})
        await writing.list()
    elsewhere.acquire(10)
    async with (
        asyncio.timeout(60),
        await FileStorage.open(tmp_path, reconcile="off", lock_timeout_seconds=WITHOUT_END) as reading,
    ):
        write(tmp_path, "edited", 7)
        assert (await reading.refresh()).changed == ["edited"]
        elsewhere.release()
        assert await reading.count() == 2
