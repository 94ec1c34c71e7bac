"""The rows that wait for the index: nothing is forgotten, the last word counts, and no failure is swallowed."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage
from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.disk.trust import Trust
from fsstore.filesystem.documents.text import Text
from fsstore.filesystem.index import connection
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.upserts import Described
from fsstore.filesystem.write import index_updates
from fsstore.filesystem.write.draft import Draft
from fsstore.filesystem.write.index_updates import IndexUpdates, row_of
from fsstore.query.filters import parse
from fsstore.query.orders import parse_order
from tests.filesystem.faults import until
from tests.filesystem.watched import document


class FakeIndexFile:
    """Takes what it is given; fails with `error`."""

    def __init__(self) -> None:
        self.error: OSError | None = None
        self.written: list[tuple[list[Any], list[str]]] = []

    def record(self, documents: Iterable[Any], removed: Iterable[str]) -> None:
        if self.error is not None:
            raise self.error
        self.written.append((list(documents), list(removed)))


def row(*values: object) -> Described:
    return Described(values, b"")


@pytest.fixture
def index_file() -> FakeIndexFile:
    return FakeIndexFile()


@pytest.fixture
def updates(index_file: FakeIndexFile, monkeypatch: pytest.MonkeyPatch) -> IndexUpdates:
    monkeypatch.setattr(index_updates, "_MANY", 2)
    return IndexUpdates(index_file)  # type: ignore[arg-type]


def place(updates: IndexUpdates, *names: str) -> None:
    for name in names:
        updates.place(name, row(name))
        updates.write_many()


def test_what_was_placed_is_written_in_order_and_the_last_word_of_a_document_counts(
    updates: IndexUpdates, index_file: FakeIndexFile
) -> None:
    updates.place("a", row("a", 1))
    updates.place("a", row("a", 2))
    updates.place("b", None)
    updates.write()
    updates.place("a", None)
    updates.write()
    updates.write()

    assert index_file.written == [([row("a", 2)], ["b"]), ([], ["a"])]


def test_few_documents_wait_and_many_are_written(updates: IndexUpdates, index_file: FakeIndexFile) -> None:
    place(updates, "a")
    assert index_file.written == []
    place(updates, "b", "c", "d", "e")
    assert index_file.written == [([row("a"), row("b")], []), ([row("c"), row("d")], [])]


def test_a_failure_is_raised_and_what_comes_after_is_not_lost(updates: IndexUpdates, index_file: FakeIndexFile) -> None:
    index_file.error = OSError(errno.EIO, "the counters")
    place(updates, "a")
    with pytest.raises(OSError, match="the counters"):
        updates.write()
    index_file.error = None
    place(updates, "c")
    updates.write()
    assert index_file.written == [([row("c")], [])]


def test_what_is_dropped_is_not_written(updates: IndexUpdates, index_file: FakeIndexFile) -> None:
    place(updates, "a")
    updates.drop()
    updates.write()
    assert index_file.written == []


CLIENT = "the-name-of-a-client"


def bytes_of_the_index(store: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((store / ".fsstore").glob("index.sqlite3*")))


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another"])
async def test_nothing_of_what_was_deleted_or_replaced_stays_in_the_files_of_the_index(
    tmp_path: Path, *, beside: bool
) -> None:
    async with AsyncExitStack() as stack:
        if beside:
            other = await stack.enter_async_context(await FileStorage.open(tmp_path, fsync=False))
            await other.count()
        async with await FileStorage.open(tmp_path, fsync=False) as storage:
            metadata = {"client": CLIENT, "tags": [CLIENT], "user_id": CLIENT, "note": CLIENT * 500}
            for name in ("deleted", "replaced", "stays"):
                await storage.save({"id": name, "type": "session", "data": {"metadata": metadata}})
            await storage.count()
            assert CLIENT.encode() in bytes_of_the_index(tmp_path)
            await storage.delete("deleted")
            for name in ("replaced", "stays"):
                await storage.save({"id": name, "type": "session", "data": {"metadata": {}}})
            await storage.count()
            # after a second without writes
            await until(lambda: CLIENT.encode() not in bytes_of_the_index(tmp_path))
            await storage.save({"id": "last", "data": {"metadata": metadata}})
            await storage.delete("last")

        assert CLIENT.encode() not in bytes_of_the_index(tmp_path)


async def test_a_reader_in_mid_list_keeps_no_writer_from_its_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_BUSY_TIMEOUT_SECONDS", 60.0)
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        await storage.batch_save({"id": f"n{number}"} for number in range(500))
        await storage.count()
        reader = Index.open(str(tmp_path / ".fsstore/index.sqlite3"))
        rows = reader.select(parse(None), parse_order(None)).rows
        next(rows)
        assert storage._store.writer is not None
        try:
            storage._store.writer.call(storage._store.index_file.truncate_log).result(20)
        finally:
            rows.close()
            reader.close()


# -- whether the file of a row may be another since --------------------------------------------------------------------


@pytest.mark.parametrize("is_fine", [True, False])
def test_a_row_is_as_old_as_the_placing_of_its_file_however_late_it_is_made(*, is_fine: bool) -> None:
    """The writer may be stopped between the two, and an edit in the tick of the placing shows in no signature."""
    long_ago = Signature(1, 2, 1_000, 2_001)
    record = document("a")
    trust = Trust()
    trust.clock_is_fine = is_fine
    draft = Draft("a", "3f/a.json", None, record, text=Text.of(b"{}"), written=long_ago, placed=long_ago)
    index = Index.open(None)
    made = row_of(draft, trust)
    assert made is not None
    index.put([made])
    (known,) = index.inventory.signatures().values()
    index.close()
    assert known.is_by_commit
    assert known.is_racy is not is_fine


def test_the_row_of_a_file_that_somebody_else_has_placed_is_always_compared() -> None:
    trust, ours = Trust(), Signature(1, 2, 1_000, 2_000)
    trust.clock_is_fine = True
    index = Index.open(None)
    for theirs in (ours._replace(inode=2), None):
        made = row_of(
            Draft("a", "3f/a.json", None, document("a"), text=Text.of(b"{}"), written=ours, placed=theirs), trust
        )
        assert made is not None
        index.put([made])
        (known,) = index.inventory.signatures().values()
        assert (known.is_by_commit, known.is_racy) == (False, True)
    index.close()
