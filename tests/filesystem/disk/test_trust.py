"""When a signature stands for a file: the rule itself, the clocks it rests on, and real ones that are coarse."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsstore import FileStorage, SessionService
from fsstore.errors import StorageConflictError, StorageCorruptedError
from fsstore.filesystem.disk import trust
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.disk.trust import RACY_NS, Trust, is_settled, is_sure, shows_every_change
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.rows import Entry, Known
from tests.filesystem import images
from tests.filesystem.faults import place
from tests.filesystem.watched import document, told

NOW = 1_700_000_000_000_000_000
ROUNDS = 60


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


# -- the rule ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", ["mtime_ns", "ctime_ns"])
def test_what_was_read_is_sure_two_seconds_after_the_later_of_its_times(changed: str) -> None:
    signature = Signature(1, 2, 3, 4)._replace(**{changed: NOW})
    assert RACY_NS >= 2_000_000_000
    assert is_sure(signature, NOW + RACY_NS)
    assert not is_sure(signature, NOW + RACY_NS - 1)
    # the clock was set back since
    assert not is_sure(signature, NOW - 3_600_000_000_000)
    assert is_settled(NOW, NOW + RACY_NS)
    assert not is_settled(NOW, NOW + RACY_NS - 1)


def test_what_was_placed_is_sure_only_where_the_clock_shows_every_change() -> None:
    ours, placed = Trust(), Signature(1, 2, NOW, NOW + 1)
    assert not is_sure(placed, ours.seen_ns(placed))
    ours.clock_is_fine = True
    assert is_sure(placed, ours.seen_ns(placed))
    # the clock that was learnt is another one's
    elsewhere = placed._replace(inode=1 << 128)
    assert not is_sure(elsewhere, ours.seen_ns(elsewhere))


TIMES = st.integers(-(10**18), 2**63 + 10**18)


@given(st.integers(1, 2**65), TIMES, TIMES, st.integers(-RACY_NS - 2, RACY_NS + 2), st.booleans())
def test_the_index_follows_the_same_rule(inode: int, mtime_ns: int, ctime_ns: int, age: int, is_old: bool) -> None:  # noqa: FBT001 - drawn
    """It does in SQL, a shard at a time, where a time may be text."""
    signature = Signature(inode, 2, mtime_ns, ctime_ns)
    seen_ns = min(max(signature.changed_ns + RACY_NS + age if is_old else NOW, 0), 2**63 - 1)
    index = Index.open(None)
    try:
        index.apply([Entry("3f/a.json", document("a"), signature, b"", seen_ns)])
        (known,) = index.inventory.signatures().values()
        assert (known.signature, known.recorded_ns) == (signature, seen_ns)
        assert index.inventory.text("3f").endswith("?\n") == known.is_racy == (not is_sure(signature, seen_ns))
    finally:
        index.close()


def test_a_row_is_racy_when_its_file_is_not_sure() -> None:
    assert Known(Signature(1, 2, NOW, NOW), b"", NOW + RACY_NS - 1).is_racy
    assert not Known(Signature(1, 2, NOW, NOW), b"", NOW + RACY_NS).is_racy


# -- the clock --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "finely", "expected"),
    [("ext4", True, True), ("ext4", False, False), ("ext2", True, False), ("nfs", True, False), ("", True, False)],
)
def test_a_clock_is_fine_where_times_lie_closer_than_ticks_on_a_file_system_that_is_multigrain(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, kind: str, *, finely: bool, expected: bool
) -> None:
    monkeypatch.setattr(trust, "filesystem_type", lambda _root: kind)
    monkeypatch.setattr(Tree, "counts_finely", lambda _tree, _name: finely)
    assert shows_every_change(tree, "probe") is expected


def test_where_the_clock_is_fine_no_signature_comes_again(tree: Tree) -> None:
    """The promise that the rule rests on, asked of the system that these tests run on."""
    if not shows_every_change(tree, "probe"):
        pytest.skip("the clock of this file system is coarse")
    for turn in range(ROUNDS):
        tree.write_new("draft", b"old" * 100)
        placed = tree.replace("draft", "file")
        assert placed is not None
        path = tree.root / "file"
        if turn % 2:
            # most file systems give its inode number to the next file at once
            path.unlink()
            path.write_bytes(b"new" * 100)
        else:
            with path.open("r+b") as file:
                file.write(b"new" * 100)
        os.utime(path, ns=(placed.mtime_ns, placed.mtime_ns))
        assert not tree.is_same("file", placed)
        path.unlink()


def busy(directory: Path, ending: threading.Event) -> None:
    """Have the system give out times that lie closer than ticks."""
    descriptor = os.open(directory / "busy", os.O_CREAT | os.O_WRONLY)
    while not ending.is_set():
        os.pwrite(descriptor, b".", 0)
        os.fstat(descriptor)
    os.close(descriptor)


def test_a_coarse_clock_is_never_taken_for_a_fine_one_while_another_file_system_is_busy(
    coarse_disk: Path, tmp_path: Path
) -> None:
    """What another file system does moves its times between the ticks, on Linux from 6.13."""
    tree, ending = Tree(coarse_disk), threading.Event()
    noise = threading.Thread(target=busy, args=(tmp_path, ending))
    noise.start()
    try:
        for number in range(2_000):
            assert not shows_every_change(tree, f"probe-{number}")
            tree.unlink(f"probe-{number}")
    finally:
        ending.set()
        noise.join()


# -- another device ---------------------------------------------------------------------------------------------------


def test_a_file_on_another_device_never_has_the_signature_of_one_that_was_seen(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.write_new("file", b"data")
    tree.make_directory("3f")
    before, moment, looking = tree.signature("file"), tree.moment("3f"), os.lstat
    assert before is not None
    assert not before.is_elsewhere

    def moved(found: os.stat_result) -> os.stat_result:
        times = (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)
        return os.stat_result((*found[:2], found.st_dev + 1, *found[3:10], 0.0, 0.0, 0.0, *times))

    for name in ("stat", "fstat", "lstat"):
        monkeypatch.setattr(os, name, _mapped(getattr(os, name), moved))
    assert os.lstat(tree.root / "file").st_dev == looking(tree.root / "file").st_dev + 1
    after = tree.signature("file")
    assert after is not None
    assert after.is_elsewhere
    assert after[1:] == before[1:]
    assert not tree.is_same("file", before)
    assert tree.is_same("file", after)
    assert tree.read("file", max_bytes=10)[1] == after
    assert tree.moment("3f") != moment
    # what is used in one thread is the same tree
    assert tree.for_one_thread(keeps=1).signature("file") == after
    # for a store that is opened now that is where it lies
    assert Tree(tree.root).signature("file") == before


def _mapped(real: Callable[..., os.stat_result], change: Callable[[os.stat_result], os.stat_result]) -> object:
    return lambda *arguments, **named: change(real(*arguments, **named))


async def test_a_file_system_mounted_over_an_open_store_is_read_and_not_taken_for_what_was_there(
    tmp_path: Path,
) -> None:
    """Two stores that were made in the same second: everything that a stat says of their documents is equal."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with images.mounted(first, images.OLD_EXT4) as one, images.mounted(second, images.OLD_EXT4) as two:
        stores = [await FileStorage.open(where, fsync=False) for where in (one, two)]
        for _ in range(20):
            for store, text in zip(stores, ("one", "two"), strict=True):
                await store.save({"id": "a", "data": {"text": text}})
            looks = [os.stat(place(where, "a")) for where in (one, two)]  # noqa: PTH116 - each field is compared
            if len({(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns) for found in looks}) == 1:
                break
            for store in stores:
                await store.delete("a")
        else:
            pytest.fail("no two documents of one signature were made")
        await stores[1].close()
        try:
            store = stores[0]
            documents = store._documents
            signature = documents.tree.signature(documents.name("a"))
            assert signature is not None
            record = documents.read("a")
            assert record is not None
            # as if it had been read two seconds later
            documents.cache.was_read(documents.name("a"), record.data, signature)
            assert await text_of(store) == "one"
            images.bind(two, one)
            try:
                assert await text_of(store) == "two"
            finally:
                images.unbind(one)
            assert await text_of(store) == "one"
        finally:
            await stores[0].close()


async def test_a_store_whose_files_lie_on_two_devices_is_read_written_and_watched(tmp_path: Path) -> None:
    """As in a container whose image holds a store, where what is written lies elsewhere."""
    below = tmp_path / "below"
    async with await FileStorage.open(below) as storage:
        await storage.batch_save({"id": name, "data": {"text": "one"}} for name in "abc")
    # which nobody puts into an image, or into git
    shutil.rmtree(below / ".fsstore")
    with (
        images.mounted(tmp_path, images.EXT2) as other,
        images.overlaid(below, other, tmp_path) as merged,
    ):
        devices = set()
        for text in ("two", "six"):
            async with await FileStorage.open(merged, fsync=False) as storage, storage.watch() as changes:
                assert len(await storage.list()) == 3
                await storage.update("a", {"data": {"text": text}})
                assert await text_of(storage) == text
                assert (await told(changes, 1))[0][:2] == ("updated", "a")
                await storage.refresh()
                devices |= {place(merged, name).stat().st_dev for name in "abc"}
                path = place(merged, "b")
                path.write_bytes(path.read_bytes().replace(b'"one"', b'"won"'))
                assert (await told(changes, 1))[0] == ("updated", "b", "external")
                path.write_bytes(path.read_bytes().replace(b'"won"', b'"one"'))
                assert (await storage.refresh()).corrupt == []
        assert len(devices) == 2


async def text_of(store: FileStorage) -> str:
    found = await store.load("a")
    assert found is not None
    return str(found["data"]["text"])


# -- a coarse clock, for real -----------------------------------------------------------------------------------------


def turns(least: int, shown: Sequence[object]) -> Iterator[int]:
    """Give numbers, at least so many, until what a test is about has come: on a busy machine ticks go by."""
    deadline = time.monotonic() + 100
    for turn in count():
        if turn >= least and (shown or time.monotonic() > deadline):
            return
        yield turn


async def test_no_write_of_another_process_is_lost_on_a_coarse_clock(coarse_disk: Path) -> None:
    """Two open stores, each of which does not know what the other does; inode, size and times come again."""
    session = {"metadata": {}, "a": 1000, "b": 1000}
    same = list[object]()
    async with (
        await FileStorage.open(coarse_disk, fsync=False) as storage,
        await FileStorage.open(coarse_disk, fsync=False) as other,
    ):
        ours, theirs = SessionService(storage), SessionService(other)
        for turn in turns(ROUNDS, same):
            await ours.save_session("d", session)
            before = storage._tree.signature(storage._documents.name("d"))
            transaction = ours.transaction()
            await transaction.__aenter__()
            found = await transaction.get_session("d")
            assert found is not None
            await transaction.save_session("d", {**found, "a": 3000})
            await theirs.delete_session("d")
            await theirs.save_session("d", {**session, "b": 2000})
            now = storage._tree.signature(storage._documents.name("d"))
            same += [now] if now == before else []
            if turn % 2:
                await ours.update_session("d", {"a": 3000})
            with pytest.raises(StorageConflictError):
                await transaction.__aexit__(None, None, None)
            after = await ours.get_session("d")
            assert after is not None
            assert after["b"] == 2000
            await ours.delete_session("d")
    assert same, "no signature came again: this shows nothing"


DAMAGES = [
    (b'"id": "d', b'"id": "X'),
    (b'"version"', b'"versiom"'),
    (b'"data"', b'"dada"'),
    (b'"updated_at": "2', b'"updated_at": "x'),
    (b"{\n", b"[\n"),
]


async def test_a_document_that_is_damaged_at_once_is_not_served_on_a_coarse_clock(coarse_disk: Path) -> None:
    async with await FileStorage.open(coarse_disk, fsync=False) as storage:
        sessions = SessionService(storage)
        same = list[object]()
        for number in turns(2 * len(DAMAGES), same):
            old, new = DAMAGES[number % len(DAMAGES)]
            session_id = f"d{number:02}"
            await sessions.save_session(session_id, {"metadata": {}, "a": 1})
            name = storage._documents.name(session_id)
            before, path = storage._tree.signature(name), coarse_disk / name
            with path.open("r+b") as file:
                data = file.read()
                assert data.count(old) >= 1
                file.seek(0)
                file.write(data.replace(old, new))
            now = storage._tree.signature(name)
            same += [now] if now == before else []
            with pytest.raises(StorageCorruptedError):
                await sessions.get_session(session_id)
            with pytest.raises(StorageCorruptedError):
                await sessions.update_session(session_id, {"a": 2})
            assert await sessions.list_sessions() == []
    assert same, "no signature stayed: this shows nothing"
