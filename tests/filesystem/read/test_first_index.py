"""The index of a store that has none is made aside, and whatever happens meanwhile is in it."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from fsstore import FileStorage
from fsstore.filesystem.index import building
from fsstore.filesystem.index.building import IndexBuild
from fsstore.filesystem.index.connection import IndexUnavailableError
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.index_file import IndexFile
from fsstore.filesystem.index.reconcile import Reconciler
from fsstore.filesystem.index.rows import Entry
from fsstore.filesystem.read import first_index, fresh_index
from tests.filesystem.faults import Faults, contents, place

MANY = 60


@pytest_asyncio.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a store as a clone has it: documents, and nothing else."""
    monkeypatch.setattr(fresh_index, "MANY", MANY)
    monkeypatch.setattr(first_index, "_READ_AT_ONCE", 25)
    async with await FileStorage.open(tmp_path / "store", fsync=False) as storage:
        await storage.batch_save(
            {"id": f"n{number}", "data": {"metadata": {"status": "old"}}} for number in range(MANY)
        )
    shutil.rmtree(tmp_path / "store/.fsstore")
    return tmp_path / "store"


@pytest_asyncio.fixture
async def storage(store: Path) -> AsyncGenerator[FileStorage]:
    async with await FileStorage.open(store, fsync=False) as storage:
        yield storage


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many rows each transaction of an index in use has put or removed."""
    counted: list[int] = []
    real = Index.put

    def count(index: Index, documents: Sequence[object], removed: Sequence[str] = ()) -> None:
        documents, removed = list(documents), list(removed)
        counted.append(len(documents) + len(removed))
        real(index, documents, removed)  # type: ignore[arg-type]

    monkeypatch.setattr(Index, "put", count)
    return counted


async def statuses(storage: FileStorage) -> dict[str, str]:
    """Return each document's status as the index says it, after checking that the documents say the same."""
    said = {record["id"]: record["metadata"]["status"] for record in await storage.list_metadata()}
    found = {key: record["data"]["metadata"]["status"] for key, record in (await contents(storage)).items()}
    assert said == found
    return found


def staged(store: Path) -> list[str]:
    return [path.name for path in (store / ".fsstore/staging").iterdir()]


OLD = {f"n{number}": "old" for number in range(MANY)}


async def test_an_index_that_is_made_is_not_made_row_by_row(storage: FileStorage, store: Path, put: list[int]) -> None:
    assert await statuses(storage) == OLD
    assert put == []
    assert staged(store) == []
    assert (await storage.refresh()).changed == []


async def test_refresh_tells_what_it_found_also_where_it_made_the_index(storage: FileStorage) -> None:
    looked: list[tuple[int, int]] = []
    found = await storage.refresh(lambda done, steps: looked.append((done, steps)))
    assert sorted(found.changed) == sorted(OLD)
    assert looked[-1][0] == looked[-1][1] == len(looked)


async def test_few_documents_and_those_of_an_index_that_is_whole_are_absorbed(
    storage: FileStorage, store: Path, put: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    await storage.list()
    for number in range(MANY):
        path = place(store, f"n{number}")
        path.write_bytes(path.read_bytes().replace(b'"old"', b'"new"'))
    await storage.refresh()
    assert sum(put) >= MANY
    assert set((await statuses(storage)).values()) == {"new"}
    monkeypatch.setattr(fresh_index, "MANY", MANY + 1)
    for path in (store / ".fsstore").glob("index*"):
        path.unlink()
    put.clear()
    assert len(await statuses(storage)) == MANY
    assert sum(put) >= MANY


async def test_what_is_written_while_an_index_is_made_is_in_it(
    storage: FileStorage, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, real = asyncio.get_running_loop(), IndexBuild.finish

    async def write() -> None:
        async with await FileStorage.open(store, fsync=False) as other:
            await other.save({"id": "n1", "data": {"metadata": {"status": "saved"}}})
            await other.save({"id": "x", "data": {"metadata": {"status": "made"}}})
            await other.delete("n2")
        place(store, "n3").unlink()
        path = place(store, "n4")
        path.write_bytes(path.read_bytes().replace(b'"old"', b'"edited"'))

    def finish(build: IndexBuild) -> None:
        real(build)
        asyncio.run_coroutine_threadsafe(write(), loop).result()

    monkeypatch.setattr(IndexBuild, "finish", finish)
    expected = {key: status for key, status in OLD.items() if key not in ("n2", "n3")}
    assert await statuses(storage) == expected | {"n1": "saved", "x": "made", "n4": "edited"}
    names = [storage._documents.name(key) for key in ("n1", "x", "n4", "n5")]
    known = storage._store.index_file.use(lambda index: index.inventory.known(names))
    assert [known[name].is_by_commit for name in names] == [True, True, False, False]


async def test_where_commits_have_made_many_rows_the_others_are_absorbed(
    store: Path, put: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would be taken over while the lock is held."""
    made: list[str] = []
    begin = IndexFile.begin_build

    def note(index_file: IndexFile) -> IndexBuild:
        made.append("begun")
        return begin(index_file)

    monkeypatch.setattr(IndexFile, "begin_build", note)
    async with await FileStorage.open(store, fsync=False) as storage:
        await storage.batch_save({"id": f"x{n}", "data": {"metadata": {"status": "new"}}} for n in range(MANY // 2))
        assert await statuses(storage) == OLD | {f"x{number}": "new" for number in range(MANY // 2)}
    assert made == []
    assert sum(put) >= MANY


async def test_two_that_make_an_index_at_once_get_one(store: Path) -> None:
    async with (
        await FileStorage.open(store, fsync=False) as one,
        await FileStorage.open(store, fsync=False) as other,
    ):
        assert tuple(await asyncio.gather(statuses(one), statuses(other))) == (OLD, OLD)
        assert staged(store) == []


async def test_what_cannot_be_read_is_left_out_and_reported(storage: FileStorage, store: Path) -> None:
    place(store, "n1").write_text("garbage")
    assert await statuses(storage) == {key: status for key, status in OLD.items() if key != "n1"}
    assert [problem["file"] for problem in (await storage.health_check())["corrupt"]] == [storage._documents.name("n1")]


async def test_what_a_killed_process_has_left_is_removed_by_the_next(storage: FileStorage, store: Path) -> None:
    left = storage._store.index_file.begin_build()
    assert len(staged(store)) == 1
    assert await statuses(storage) == OLD
    assert staged(store) == []
    left.drop()


TROUBLES: dict[str, Callable[[str, tuple[object, ...]], bool]] = {
    "making the file": lambda name, arguments: name == "open" and "index-" in str(arguments[0]),
    "syncing it": lambda name, _arguments: name == "fsync",
    "giving it its name": lambda name, arguments: name == "replace" and "index-" in str(arguments[0]),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
async def test_where_it_cannot_be_made_aside_documents_are_absorbed(
    storage: FileStorage,
    store: Path,
    put: list[int],
    monkeypatch: pytest.MonkeyPatch,
    trouble: Callable[[str, tuple[object, ...]], bool],
) -> None:
    faults = Faults(monkeypatch)
    with faults.where(trouble):
        assert await statuses(storage) == OLD
        assert faults.fired
    assert sum(put) >= MANY
    assert staged(store) == []


async def test_closing_a_store_waits_for_one_step_only(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, closing = asyncio.Event(), asyncio.Event()
    loop, real, steps = asyncio.get_running_loop(), Reconciler.read, []

    def read(reconciler: Reconciler, names: list[str]) -> list[Entry]:
        steps.append(len(names))
        loop.call_soon_threadsafe(reading.set)
        asyncio.run_coroutine_threadsafe(closing.wait(), loop).result()
        return real(reconciler, names)

    monkeypatch.setattr(Reconciler, "read", read)
    storage = await FileStorage.open(store, fsync=False)
    listing = asyncio.ensure_future(storage.list())
    await reading.wait()
    ending = asyncio.ensure_future(storage.close())
    await asyncio.sleep(0)
    closing.set()
    await ending
    await asyncio.gather(listing, return_exceptions=True)
    assert steps == [25]
    assert staged(store) == []


async def test_an_index_that_is_another_by_now_is_left_alone(storage: FileStorage) -> None:
    await storage.list()
    index_file: IndexFile = storage._store.index_file
    build, before = index_file.begin_build(), index_file.generation()
    build.finish()
    await storage._reading.executor.under_lock(lambda: index_file.install(build, before + 1))
    assert index_file.generation() == before
    assert await statuses(storage) == OLD
    build.drop()


async def test_an_index_that_cannot_even_be_begun_leaves_nothing_behind(
    storage: FileStorage, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def fail(_: object) -> None:
        begun.extend(staged(store))
        raise IndexUnavailableError("the disk is full")

    monkeypatch.setattr(building, "begin_file", fail)

    assert await statuses(storage) == OLD
    assert begun
    assert staged(store) == []
