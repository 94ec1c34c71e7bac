"""What a caller that is cancelled, or comes in the middle of a batch, must not bring about."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage
from fsstore.filesystem import threads
from tests.filesystem.faults import threads_of_the_store, until


async def test_a_close_that_is_cancelled_closes_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    class Slow(ThreadPoolExecutor):
        def __init__(self, max_workers: int, thread_name_prefix: str) -> None:
            super().__init__(max_workers, thread_name_prefix, initializer=go.wait, initargs=(20,))

    storage = await FileStorage.open(tmp_path)
    monkeypatch.setattr(threads, "ThreadPoolExecutor", Slow)
    closing = asyncio.ensure_future(storage.close())
    await asyncio.sleep(0)
    closing.cancel()
    threading.Timer(0.1, go.set).start()
    await asyncio.gather(closing, return_exceptions=True)
    try:
        await until(lambda: not threads_of_the_store())
    finally:
        await asyncio.to_thread(storage._store.close)


READS: dict[str, Callable[[FileStorage], Awaitable[Any]]] = {
    "list_metadata": lambda storage: storage.list_metadata(),
    "count": lambda storage: storage.count(),
    "query": lambda storage: storage.query("SELECT id FROM documents"),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
async def test_what_the_index_answers_is_never_older_than_a_document_of_a_batch_that_was_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[FileStorage], Awaitable[Any]]
) -> None:
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        await storage.list()
        placing, go, replace = threading.Event(), threading.Event(), os.replace

        def slow(*arguments: Any, **options: Any) -> None:
            replace(*arguments, **options)
            placing.set()
            go.wait(20)

        monkeypatch.setattr(os, "replace", slow)
        batch = asyncio.ensure_future(storage.batch_save([{"id": "a"}, {"id": "b"}]))
        assert await asyncio.to_thread(placing.wait, 20)
        # a load that looked at the counters a moment ago finds the first of them, new
        assert storage._documents.read("a") or storage._documents.read("b")
        looking = asyncio.ensure_future(read(storage))
        await asyncio.wait([looking], timeout=0.3)
        go.set()
        await batch
        found = await looking
        assert (found if isinstance(found, int) else len(found)) == 2
