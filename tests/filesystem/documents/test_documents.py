from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageCorruptedError, StorageUnavailableError
from fsstore.filesystem.disk import files
from fsstore.filesystem.disk.descriptors import read_all
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.disk.trust import is_sure
from fsstore.filesystem.documents import cache, codec, documents
from fsstore.filesystem.documents.cache import CachedDocument
from fsstore.filesystem.documents.documents import Document, Documents
from fsstore.filesystem.documents.layout import Layout
from tests.filesystem.faults import place


def test_a_file_that_is_written_again_and_again_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Documents(Tree(tmp_path), Layout(1), max_bytes=1 << 20)
    path = tmp_path / store.name("a")
    path.parent.mkdir()
    path.write_bytes(b"{ half a docu")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        assert len(pauses) < 1000, "it waits for ever, and with it whoever wants the lock"

    # whenever it is looked at, the file has just been written
    clock = SimpleNamespace(time_ns=lambda: path.stat().st_mtime_ns, sleep=pause)
    monkeypatch.setattr(documents, "time", clock)

    with pytest.raises(StorageCorruptedError):
        store.read("a")
    assert 0 < sum(pauses) < 1


def test_a_file_that_changes_under_each_read_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Documents(Tree(tmp_path), Layout(1), max_bytes=1 << 20)
    path = tmp_path / store.name("a")
    path.parent.mkdir()
    path.write_bytes(b"{}")
    reads = 0

    def read_and_grow(descriptor: int, size: int) -> bytes:
        nonlocal reads
        reads += 1
        assert reads < 1000, "it reads for ever, and with it whoever wants the lock waits"
        data = read_all(descriptor, size)
        path.write_bytes(path.read_bytes() + b" ")
        return data

    monkeypatch.setattr(files, "read_all", read_and_grow)

    with pytest.raises(StorageUnavailableError, match="all the time"):
        store.read("a")


# -- what was examined before ------------------------------------------------------------------------------------------

LONG = b'{"id": "a", "type": "t", "version": 1, "data": {"n": 123456789012345678901234567890}, %s}'
TIMES = b'"created_at": "2026-01-01T00:00:00.000000+00:00", "updated_at": "2026-01-01T00:00:00.000000+00:00"'
PLAIN = b'{"id": "a", "type": "t", "version": 1, "data": {"n": 1}, %s}' % TIMES


@pytest.fixture
def store(tmp_path: Path) -> Documents:
    (tmp_path / "fsstore.json").write_bytes(b"{}")
    return Documents(Tree(tmp_path), Layout(1), max_bytes=1 << 20)


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Tell which bytes are examined."""
    seen: list[bytes] = []
    examine = codec.examine

    def note(data: bytes | bytearray, record_id: str | None = None) -> Any:
        seen.append(bytes(data))
        return examine(data, record_id)

    monkeypatch.setattr(codec, "examine", note)
    monkeypatch.setattr(documents, "examine", note)
    return seen


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every file have been at rest for a minute when it is read."""
    clock = SimpleNamespace(time_ns=lambda: time.time_ns() + 60_000_000_000, sleep=time.sleep)
    monkeypatch.setattr(documents, "time", clock)


_SECONDS = itertools.count(1_000_000_000)


def write(store: Documents, data: bytes, record_id: str = "a") -> Path:
    path = store.tree.root / store.name(record_id)
    path.parent.mkdir(exist_ok=True)
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(data)
    # whatever the clock of the file system shows, each change shows another time
    os.utime(path, times=(0, next(_SECONDS)))
    return path


def records(store: Documents, record_id: str = "a") -> list[Any]:
    """Return what each way to read the document gives, twice."""
    try:
        store.read_cached(record_id)
    except BlockingIOError:
        pytest.skip("this file system does not tell what is cached")
    ways: list[Callable[[], Any]] = [
        lambda: store.read_cached(record_id),
        lambda: store.read(record_id),
        lambda: store.read_in_turn(record_id),
        lambda: store.read_named(store.name(record_id)),
    ]
    found = [way() for way in (*ways, *ways)]
    return [_record(each) for each in found]


def _record(found: Any) -> Any:
    if isinstance(found, CachedDocument):
        return codec.decode_examined(found.data)
    return found.record if isinstance(found, Document) else found


@pytest.mark.usefixtures("settled")
def test_bytes_are_examined_once_as_long_as_nobody_touches_them(store: Documents, examined: list[bytes]) -> None:
    write(store, PLAIN)
    first, *others = records(store)
    assert first["data"] == {"n": 1}
    assert others == [first] * 7
    assert examined == [PLAIN]

    changed = PLAIN.replace(b'"n": 1', b'"n": 2')
    path = write(store, changed)
    assert {record["data"]["n"] for record in records(store)} == {2}
    assert examined == [PLAIN, changed]
    path.touch()
    # the same bytes as those that are kept
    assert {record["data"]["n"] for record in records(store)} == {2}
    assert examined == [PLAIN, changed]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (LONG % TIMES, ({"n": 123456789012345678901234567890}, "2026-01-01T00:00:00.000000+00:00")),
        (PLAIN.replace(b"00:00:00.000000+00:00", b"02:00:00+02:00"), ({"n": 1}, "2026-01-01T00:00:00.000000+00:00")),
    ],
    ids=["a long number", "a time in another form"],
)
def test_what_has_to_be_examined_is_so_each_time(
    store: Documents, data: bytes, expected: tuple[dict[str, int], str]
) -> None:
    write(store, data)
    assert [(record["data"], record["updated_at"]) for record in records(store)] == [expected] * 8
    assert {type(record["data"]["n"]) for record in records(store)} == {int}


def test_an_edit_in_place_of_the_same_size_is_examined(store: Documents) -> None:
    write(store, PLAIN)
    records(store)
    write(store, PLAIN.replace(b'"id": "a"', b'"id": "b"'))
    for read in (store.read, store.read_in_turn, store.read_cached):
        with pytest.raises((StorageCorruptedError, BlockingIOError)):
            read("a")


def test_a_document_in_the_wrong_place_stays_wrong(store: Documents) -> None:
    write(store, PLAIN, "b")
    for _ in range(3):
        with pytest.raises(StorageCorruptedError, match="belongs at"):
            store.read_named(store.name("b"))
        with pytest.raises(StorageCorruptedError, match="it is the document 'a'"):
            store.read("b")


def test_what_was_changed_a_moment_ago_is_read_and_examined_each_time(store: Documents, examined: list[bytes]) -> None:
    """Also where the clock shows every change: who writes it at this moment has set its time already."""
    store.trust.clock_is_fine = True
    write(store, PLAIN)
    records(store)
    assert len(examined) == 9


def test_what_was_changed_a_moment_before_its_reading_began_is_not_sure_however_long_that_takes(
    store: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process may be stopped for a while after it has looked at the file."""
    write(store, PLAIN)
    late = False

    def now() -> int:
        return time.time_ns() + (60_000_000_000 if late else 0)

    reading = Tree.read

    def read(tree: Tree, name: str, *, max_bytes: int) -> Any:
        nonlocal late
        found = reading(tree, name, max_bytes=max_bytes)
        late = True
        return found

    monkeypatch.setattr(documents, "time", SimpleNamespace(time_ns=now, sleep=time.sleep))
    monkeypatch.setattr(Tree, "read", read)
    document = store.read("a")
    assert document is not None
    assert not is_sure(document.signature, document.seen_ns)
    assert store.unchanged(store.name("a")) is None
    assert store._plain == {}


@pytest.mark.usefixtures("settled")
def test_no_more_is_noted_than_fits(store: Documents, examined: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_MOST_PLAIN", 2)
    # or what is kept of them would do
    monkeypatch.setattr(cache, "_MOST_BYTES", 0)
    for record_id in ("a", "b", "c"):
        write(store, PLAIN.replace(b'"id": "a"', b'"id": "%s"' % record_id.encode()), record_id)
    for _ in range(2):
        for record_id in ("a", "b", "c"):
            records(store, record_id)
    assert len(store._plain) <= 2
    assert len(examined) >= 5


@pytest.mark.usefixtures("file_clock")
async def test_what_was_written_here_need_not_be_examined(tmp_path: Path, examined: list[bytes]) -> None:
    record = {"id": "a", "type": "t", "data": {"n": 2**64 - 1, "text": "1" * 30}}
    async with await FileStorage.open(tmp_path / "own", fsync=False) as storage:
        await storage.save(record)
        for _ in range(3):
            found = await storage.load("a")
            assert found is not None
            assert found["data"] == record["data"]
        (listed,) = await storage.list()
        assert listed == found
        assert examined == []
        theirs = place(tmp_path / "own", "a")
        theirs.write_bytes(theirs.read_bytes().replace(b"18446744073709551615", b"18446744073709551616"))
        found = await storage.load("a")
        assert found is not None
        assert found["data"]["n"] == 2**64
