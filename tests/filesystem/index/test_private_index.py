from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fsstore import FileStorage
from fsstore.filesystem.index.connection import IndexDamagedError
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.private_index import PrivateIndex
from fsstore.filesystem.index.reconcile import Reconciler, Steps
from fsstore.query.filters import parse
from tests.filesystem.faults import place


@pytest_asyncio.fixture
async def storage(tmp_path: Path) -> AsyncGenerator[FileStorage]:
    async with await FileStorage.open(tmp_path, fsync=False) as opened:
        await opened.batch_save([{"id": each} for each in "abc"])
        await opened.list()
        yield opened


@pytest.fixture
def private(storage: FileStorage) -> PrivateIndex:
    return storage._store.private_index


def count(private: PrivateIndex) -> int | None:
    return private.use(lambda index: index.count(parse(None)))


async def test_it_begins_with_what_the_index_file_holds(private: PrivateIndex) -> None:
    absorbed = private.catch_up(1)

    assert (absorbed.changed, absorbed.removed, absorbed.corrupt) == ([], [], [])
    assert count(private) == 3


async def test_it_finds_what_the_index_file_lacks_and_leaves_that_as_it_is(
    storage: FileStorage, private: PrivateIndex
) -> None:
    place(storage._tree.root, "b").unlink()
    place(storage._tree.root, "c").write_bytes(b"{")

    absorbed = private.catch_up(1)

    assert len(absorbed.removed) == len(absorbed.corrupt) == 1
    assert count(private) == 1
    assert storage._store.index_file.use(lambda index: index.count(parse(None))) == 3


@pytest.mark.parametrize(("moment", "found"), [(1, 3), (2, 2), (None, 2)])
async def test_it_is_compared_again_unless_it_is_still_the_same_moment(
    storage: FileStorage, private: PrivateIndex, moment: object, found: int
) -> None:
    private.catch_up(1)
    place(storage._tree.root, "b").unlink()

    private.catch_up(moment)

    assert count(private) == found


async def test_it_begins_with_nothing_where_the_copy_is_of_another_schema(
    storage: FileStorage, private: PrivateIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    def foreign() -> Index:
        index = Index.open(None)
        index._connection.execute("PRAGMA user_version = 77")
        return index

    monkeypatch.setattr(storage._store.index_file, "copied", foreign)
    steps: list[tuple[int, int]] = []

    absorbed = private.catch_up(1, Steps(lambda done, of: steps.append((done, of))))

    assert len(absorbed.changed) == count(private) == 3
    assert steps[-1][0] == steps[-1][1]


async def test_what_was_given_up_is_not_asked(private: PrivateIndex) -> None:
    private.catch_up(1)
    private.forget()

    assert not private.is_kept
    with pytest.raises(IndexDamagedError):
        count(private)
    private.catch_up(1)
    assert count(private) == 3


async def test_all_who_wait_share_a_comparison_that_has_begun_since_they_asked(
    storage: FileStorage, private: PrivateIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared, compare = list[int](), Reconciler.compare

    def note(*arguments: Any) -> Any:
        compared.append(1)
        return compare(*arguments)

    monkeypatch.setattr(Reconciler, "compare", note)
    early = private.begun
    for _ in range(5):
        private.catch_up(None, asked=early)
    assert len(compared) == 1
    place(storage._tree.root, "b").unlink()
    # one that has begun before does not have what has changed since
    private.catch_up(None, asked=private.begun)
    assert (len(compared), count(private)) == (2, 2)
    private.forget()
    private.catch_up(None, asked=early)
    assert (len(compared), count(private)) == (3, 2)
