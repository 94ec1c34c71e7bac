import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from fsstore import Change, FileStorage, Watch
from fsstore.errors import StorageClosedError
from fsstore.filesystem.watch.source import FileChangeSource
from fsstore.model.records import JsonObject
from tests.filesystem.faults import place
from tests.filesystem.watched import document, name_of, put


@pytest.fixture
def source(storage: FileStorage) -> FileChangeSource:
    return storage._watched()


async def test_it_is_ready_once_the_ledger_knows_every_document(source: FileChangeSource, store: Path) -> None:
    """The index has not heard of the edits yet."""
    put(store, "n1", "edited")
    put(store, "x")
    place(store, "n2").unlink()
    assert source.ledger.get(name_of("n0")) is None
    await source.ready()

    there = [record_id for record_id in ("n0", "n1", "n2", "n3", "x") if source.ledger.get(name_of(record_id))]
    assert there == ["n0", "n1", "n3", "x"]


@pytest.mark.parametrize(
    "filters",
    [{"data.metadata.status": "open"}, {"data.metadata": {"status": "open"}}, {"id": "n1"}],
    ids=["by the index", "by reading", "by id"],
)
async def test_who_matches_is_found_by_name(
    storage: FileStorage, source: FileChangeSource, filters: JsonObject
) -> None:
    await storage.save(document("n1", "open"))

    assert await source.inside(filters) == {name_of("n1"): "n1"}


async def test_the_one_that_was_updated_longest_ago_comes_first(storage: FileStorage, source: FileChangeSource) -> None:
    for record_id in ("n2", "n0", "n3", "n1"):
        await storage.update(record_id, {"data": {"metadata": {"status": "open"}}})

    found = await source.updated({"data.metadata.status": "open"})
    assert found == [name_of(record_id) for record_id in ("n2", "n0", "n3", "n1")]


async def test_what_cannot_be_read_is_left_out(source: FileChangeSource, store: Path) -> None:
    place(store, "n1").write_bytes(b"{")
    place(store, "n2").unlink()
    found = await source.read([name_of(f"n{number}") for number in range(3)])

    assert {name: record["id"] for name, (record, _) in found.items()} == {name_of("n0"): "n0"}


async def test_what_is_read_is_what_is_published(source: FileChangeSource) -> None:
    """Or a watch that catches up would look at it for ever."""
    await source.ready()
    (_, content) = (await source.read([name_of("n1")]))[name_of("n1")]
    state = source.ledger.get(name_of("n1"))

    assert state is not None
    assert state.content == content


async def test_what_is_stopped_is_never_ready(storage: FileStorage, source: FileChangeSource) -> None:
    await storage.close()
    with pytest.raises(StorageClosedError):
        await source.ready()


async def test_watches_that_are_begun_by_two_threads_at_once_are_both_given_own_commits(
    storage: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, watches, threads = FileChangeSource.__init__, list[Watch](), list[threading.Thread]()

    def begin_beside(source: FileChangeSource, *arguments: Any, **options: Any) -> None:
        if not threads:
            threads.append(threading.Thread(target=lambda: watches.append(storage.watch())))
            threads[0].start()
            # time for the other one to come
            threads[0].join(0.1)
        begin(source, *arguments, **options)

    monkeypatch.setattr(FileChangeSource, "__init__", begin_beside)
    watches.append(storage.watch())
    await asyncio.to_thread(threads[0].join)

    async with watches[0], watches[1]:
        await storage.save(document("n0", "open"))
        for watch in watches:
            change = await anext(watch)
            assert isinstance(change, Change)
            assert (change.id, change.origin) == ("n0", "own")


CLOSED_AT_ONCE = """
import asyncio, sys
from fsstore import open_sessions

async def main():
    # going live takes some milliseconds, in other threads
    for step in range(40):
        sessions = await open_sessions(sys.argv[1], live=True)
        await asyncio.sleep(0.0005 * step)
        await sessions.close()

asyncio.run(main())
"""


def test_a_store_that_is_closed_while_it_goes_live_leaves_no_error_that_nobody_has_seen(store: Path) -> None:
    """Asyncio reports such an error when it is forgotten, at the latest as the program ends."""
    done = subprocess.run([sys.executable, "-c", CLOSED_AT_ONCE, store], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
