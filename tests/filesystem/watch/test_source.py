import asyncio
import gc
from pathlib import Path

import pytest

from fsstore import FileStorage
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


async def test_whoever_gives_up_waiting_leaves_no_error_that_nobody_has_seen(
    storage: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    unseen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    source = storage._watched()
    begun = asyncio.Event()
    monkeypatch.setattr(source._watcher, "begin", lambda _: begun.set())
    waiting = asyncio.ensure_future(source.ready())
    await begun.wait()
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])

    source.stop()
    await asyncio.sleep(0)
    del waiting
    gc.collect()

    assert unseen == []
