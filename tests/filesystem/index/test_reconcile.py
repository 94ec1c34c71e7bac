import logging
import os
import shutil
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fsstore import FileStorage
from fsstore.errors import StorageCorruptedError, StorageTooLargeError
from fsstore.filesystem.disk import directories, files, trust
from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.index.connection import IndexDamagedError
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.inventory import Inventory
from fsstore.filesystem.index.reconcile import Compared, Reconciler
from fsstore.filesystem.index.rows import Known
from fsstore.watching.changes import Absorbed
from tests.filesystem.faults import contents, place

DAY_NS = 86_400_000_000_000


async def fill(storage: FileStorage) -> None:
    await storage.batch_save({"id": f"n{number}", "data": {"metadata": {"status": "old"}}} for number in range(6))


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> Path:
    """Return a store with six documents, all indexed, that no process has open."""
    async with await FileStorage.open(tmp_path / "store") as storage:
        await fill(storage)
        await storage.refresh()
    return tmp_path / "store"


@pytest_asyncio.fixture
async def storage(store: Path) -> AsyncGenerator[FileStorage]:
    async with await FileStorage.open(store) as storage:
        await storage.list()
        yield storage


async def statuses(storage: FileStorage) -> dict[str, str]:
    """Return each document's status, after checking that the index finds it by that."""
    found = {key: record["data"]["metadata"]["status"] for key, record in (await contents(storage)).items()}
    for status in ("old", "new"):
        by_index = {record["id"] for record in await storage.list_metadata({"data.metadata.status": status})}
        assert by_index == {key for key, value in found.items() if value == status}
    return found


# -- what other programs do -------------------------------------------------------------------------------------------


def rewrite_in_place(store: Path) -> None:
    place(store, "n1").write_bytes(place(store, "n1").read_bytes().replace(b'"old"', b'"new"'))


def rewrite_and_put_the_time_back(store: Path) -> None:
    before = place(store, "n1").stat()
    rewrite_in_place(store)
    os.utime(place(store, "n1"), ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_by_another_file(store: Path) -> None:
    draft = store / "draft"
    draft.write_bytes(place(store, "n1").read_bytes().replace(b'"old"', b'"new"'))
    draft.replace(place(store, "n1"))


def add(store: Path) -> None:
    place(store, "x").parent.mkdir(exist_ok=True)
    text = place(store, "n1").read_text().replace('"n1"', '"x"').replace('"old"', '"new"')
    place(store, "x").write_text(text)


def remove(store: Path) -> None:
    place(store, "n1").unlink()


def remove_with_its_shard(store: Path) -> None:
    shutil.rmtree(place(store, "n1").parent)


OLD = {f"n{number}": "old" for number in range(6)}
EDITS: dict[str, tuple[Callable[[Path], None], dict[str, str]]] = {
    "rewritten in place": (rewrite_in_place, OLD | {"n1": "new"}),
    "rewritten, with the time put back": (rewrite_and_put_the_time_back, OLD | {"n1": "new"}),
    "replaced": (replace_by_another_file, OLD | {"n1": "new"}),
    "added": (add, OLD | {"x": "new"}),
    "removed": (remove, {key: value for key, value in OLD.items() if key != "n1"}),
}


@pytest.mark.parametrize(("edit", "expected"), EDITS.values(), ids=EDITS.keys())
async def test_an_edit_by_another_program_is_found_by_refresh(
    storage: FileStorage, store: Path, edit: Callable[[Path], None], expected: dict[str, str]
) -> None:
    edit(store)
    await storage.refresh()
    assert await statuses(storage) == expected


@pytest.mark.parametrize(("edit", "expected"), EDITS.values(), ids=EDITS.keys())
async def test_an_edit_made_while_the_store_is_closed_is_found_by_the_first_list(
    store: Path, edit: Callable[[Path], None], expected: dict[str, str]
) -> None:
    edit(store)
    async with await FileStorage.open(store) as storage:
        assert await statuses(storage) == expected


async def test_refresh_tells_what_it_found(storage: FileStorage, store: Path) -> None:
    await storage.refresh()
    rewrite_in_place(store)
    place(store, "n2").unlink()
    place(store, "n3").write_text("garbage")
    looked: list[tuple[int, int]] = []
    found = await storage.refresh(lambda done, shards: looked.append((done, shards)))
    names = {name: str(place(store, name).relative_to(store)) for name in ("n2", "n3")}
    assert "n1" in found.changed
    assert (found.removed, found.corrupt) == ([names["n2"]], [names["n3"]])
    assert looked[-1][0] == looked[-1][1] == len(looked)


async def test_no_returned_record_contradicts_its_document_before_any_refresh(
    storage: FileStorage, store: Path
) -> None:
    rewrite_in_place(store)
    place(store, "n2").unlink()
    old = await storage.list({"data.metadata.status": "old"})
    assert {record["id"] for record in old} == {"n0", "n3", "n4", "n5"}


async def test_an_edit_within_one_tick_of_the_clock_is_found_also_where_the_file_seems_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tick of an hour, and a file that was brought here with the time of its making, as rsync and tar do."""
    real, hour = vars(files)["signature_in"], 3_600_000_000_000

    def coarse(found: os.stat_result) -> Signature:
        inode, size, mtime_ns, ctime_ns = real(found)
        return Signature(inode, size, mtime_ns, ctime_ns - ctime_ns % hour + hour)

    monkeypatch.setattr(files, "signature_in", coarse)
    monkeypatch.setattr(trust, "shows_every_change", lambda _tree, _name: False)
    async with await FileStorage.open(tmp_path) as storage:
        await fill(storage)
        long_ago = place(tmp_path, "n1").stat().st_mtime_ns - DAY_NS
        os.utime(place(tmp_path, "n1"), ns=(long_ago, long_ago))
        await storage.refresh()
        rewrite_in_place(tmp_path)
        os.utime(place(tmp_path, "n1"), ns=(long_ago, long_ago))
        await storage.refresh()
        assert (await statuses(storage))["n1"] == "new"


async def test_what_commits_have_placed_is_compared_by_hash_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import is not read again, document by document, by the first list after it."""
    monkeypatch.setattr(trust, "shows_every_change", lambda _tree, _name: False)
    hashed: list[str] = []
    absorbed: list[str] = []
    compare, absorb, now = Reconciler._is_confirmed, Reconciler.absorb, time.time_ns

    def note_hashed(reconciler: Reconciler, name: str, signature: Signature | None, row: Known) -> bool:
        hashed.append(name)
        return compare(reconciler, name, signature, row)

    def note_absorbed(reconciler: Reconciler, names: Sequence[str]) -> Absorbed:
        absorbed.extend(names)
        return absorb(reconciler, names)

    monkeypatch.setattr(Reconciler, "_is_confirmed", note_hashed)
    monkeypatch.setattr(Reconciler, "absorb", note_absorbed)
    async with await FileStorage.open(tmp_path) as storage:
        await fill(storage)
    monkeypatch.setattr(time, "time_ns", lambda: now() + 60_000_000_000)
    for _ in range(3):
        async with await FileStorage.open(tmp_path) as storage:
            assert await storage.count({"data.metadata.status": "old"}) == 6
            await storage.save({"id": "n5", "data": {"metadata": {"status": "old"}}})
            assert (await storage.refresh()).changed == []
    assert sorted(set(hashed[:6])) == sorted(str(place(tmp_path, f"n{n}").relative_to(tmp_path)) for n in range(6))
    assert {*hashed[6:]} <= {str(place(tmp_path, "n5").relative_to(tmp_path))}
    assert absorbed == []


async def test_where_each_change_shows_nothing_is_compared_by_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> bool:
        raise AssertionError

    monkeypatch.setattr(trust, "shows_every_change", lambda _tree, _name: True)
    monkeypatch.setattr(Reconciler, "_compare_some", never)
    for _ in range(2):
        async with await FileStorage.open(tmp_path) as storage:
            await fill(storage)
            assert await storage.count({"data.metadata.status": "old"}) == 6
            assert (await storage.refresh()).changed == []


async def test_a_file_that_was_only_touched_is_recorded_with_its_new_times(storage: FileStorage, store: Path) -> None:
    os.utime(place(store, "n1"))
    assert (await storage.refresh()).changed == ["n1"]
    assert (await storage.refresh()).changed == []


async def test_without_reconciling_the_index_is_trusted_until_refresh(store: Path) -> None:
    add(store)
    async with await FileStorage.open(store, reconcile="off") as storage:
        assert await storage.count() == 6
        assert await storage.load("x") is not None
        await storage.refresh()
        assert await storage.count() == 7


async def test_without_reconciling_an_index_that_is_not_there_is_made_all_the_same(store: Path) -> None:
    shutil.rmtree(store / ".fsstore")
    async with await FileStorage.open(store, reconcile="off") as storage:
        assert await statuses(storage) == OLD


async def test_without_reconciling_what_a_writer_could_not_bring_to_the_index_is_found(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await FileStorage.open(store) as storage:
        assert await storage.count() == 6
        # as after a crash, or on a full disk
        counters = storage._store.counters
        monkeypatch.setattr(storage._store.index_file, "record", lambda *_: counters.increase("stale"))
        await storage.save({"id": "late", "type": "note", "data": {}})
    for _ in range(2):
        async with await FileStorage.open(store, reconcile="off") as storage:
            assert await storage.count() == 7
    add(store)
    async with await FileStorage.open(store, reconcile="off") as storage:
        assert await storage.count() == 7


# -- what cannot be read ---------------------------------------------------------------------------------------------


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"\x00\xff not JSON")


def another_id(path: Path) -> None:
    path.write_text(path.read_text().replace('"n1"', '"n9"'))


def a_list(path: Path) -> None:
    path.write_text("[]")


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_terabyte(path: Path) -> None:
    os.truncate(path, 1 << 40)


DAMAGES = (empty, garbage, another_id, a_list, a_directory, a_link, a_pipe, a_terabyte)


@pytest.mark.parametrize("damage", DAMAGES, ids=[damage.__name__ for damage in DAMAGES])
@pytest.mark.parametrize("when", ["open", "closed"])
async def test_what_can_not_be_read_is_reported_and_never_served_nor_taken_for_absence(
    store: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None], when: str
) -> None:
    async def look(storage: FileStorage) -> None:
        expected = {key: "old" for key in OLD if key != "n1"}
        assert {record["id"]: record["data"]["metadata"]["status"] for record in await storage.list()} == expected
        await storage.refresh()
        assert await statuses(storage) == expected
        report = await storage.health_check()
        assert report["status"] == "degraded"
        is_large = damage is a_terabyte
        reported = [problem["file"] for problem in report["too_large" if is_large else "corrupt"]]
        assert reported == [str(place(store, "n1").relative_to(store))]
        assert report["corrupt" if is_large else "too_large"] == []
        for attempt in (storage.load("n1"), storage.update("n1", {"data": {}})):
            with pytest.raises(StorageTooLargeError if is_large else StorageCorruptedError):
                await attempt

    with caplog.at_level(logging.WARNING, "fsstore"):
        if when == "closed":
            damage(place(store, "n1"))
        async with await FileStorage.open(store) as storage:
            if when == "open":
                await storage.list()
                damage(place(store, "n1"))
            before = os.lstat(place(store, "n1"))
            await look(storage)
    assert "n1.json is left out of" in caplog.text
    after = os.lstat(place(store, "n1"))
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)


async def test_a_document_that_was_repaired_is_listed_again(storage: FileStorage, store: Path) -> None:
    good = place(store, "n1").read_bytes()
    garbage(place(store, "n1"))
    await storage.refresh()
    place(store, "n1").write_bytes(good)
    await storage.refresh()
    assert await statuses(storage) == OLD
    assert (await storage.health_check())["corrupt"] == []


async def test_a_damaged_document_that_is_gone_is_reported_no_longer(storage: FileStorage, store: Path) -> None:
    garbage(place(store, "n1"))
    await storage.refresh()
    assert len(await storage.unreadable()) == 1
    place(store, "n1").unlink()
    assert (await storage.refresh()).removed == [str(place(store, "n1").relative_to(store))]
    assert await storage.unreadable() == []
    assert (await storage.health_check())["status"] == "ok"


async def test_a_document_moved_to_another_name_is_corrupt_there_and_absent_here(
    storage: FileStorage, store: Path
) -> None:
    place(store, "n1").rename(place(store, "n2"))
    await storage.refresh()
    assert await storage.load("n1") is None
    with pytest.raises(StorageCorruptedError, match="n1"):
        await storage.load("n2")
    assert set(await statuses(storage)) == {"n0", "n3", "n4", "n5"}


async def test_a_shard_that_is_a_link_is_not_entered(storage: FileStorage, store: Path, tmp_path: Path) -> None:
    shard = place(store, "n1").parent
    shard.rename(tmp_path / "outside")
    shard.symlink_to(tmp_path / "outside")
    await storage.refresh()
    assert set(await statuses(storage)) == set(OLD) - {"n1"}
    for attempt in (storage.load("n1"), storage.save({"id": "n1"}), storage.delete("n1")):
        with pytest.raises(StorageCorruptedError):
            await attempt
    assert (tmp_path / "outside" / "n1.json").exists()


async def test_foreign_files_are_never_touched(store: Path) -> None:
    foreign = [store / "README.md", store / ".git/config", store / "zz/n1.json", store / "aaa/n1.json"]
    foreign += [place(store, "n1").parent / name for name in (".n1.json.swp", "n1.json~", "notes.txt")]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("foreign")
    async with await FileStorage.open(store) as storage:
        await storage.refresh()
        assert await statuses(storage) == OLD
        await storage.delete("n1")
        assert (await storage.health_check())["corrupt"] == []
    assert [path.read_text() for path in foreign] == ["foreign"] * len(foreign)


# -- the index itself -------------------------------------------------------------------------------------------------


def index_of(store: Path) -> Path:
    return store / ".fsstore/index.sqlite3"


def index_deleted(store: Path, _: Path) -> None:
    for path in (store / ".fsstore").glob("index.sqlite3*"):
        path.unlink()


def index_deleted_alone(store: Path, _: Path) -> None:
    index_of(store).unlink()


def index_garbage(store: Path, _: Path) -> None:
    (store / "draft").write_bytes(b"garbage" * 5000)
    (store / "draft").replace(index_of(store))


def index_empty(store: Path, _: Path) -> None:
    (store / "draft").write_bytes(b"")
    (store / "draft").replace(index_of(store))


def index_cut(store: Path, _: Path) -> None:
    (store / "draft").write_bytes(index_of(store).read_bytes()[:5000])
    (store / "draft").replace(index_of(store))


def index_of_another_time(store: Path, spare: Path) -> None:
    shutil.copy(spare / "earlier", store / "draft")
    (store / "draft").replace(index_of(store))


def index_of_another_store(store: Path, spare: Path) -> None:
    shutil.copy(spare / "other", store / "draft")
    (store / "draft").replace(index_of(store))


def index_a_link(store: Path, spare: Path) -> None:
    index_of(store).unlink()
    index_of(store).symlink_to(spare / "other")


def everything_machine_local_deleted(store: Path, _: Path) -> None:
    shutil.rmtree(store / ".fsstore")


BLOWS: tuple[Callable[[Path, Path], Any], ...] = (
    index_deleted,
    index_deleted_alone,
    index_garbage,
    index_empty,
    index_cut,
    index_of_another_time,
    index_of_another_store,
    index_a_link,
    everything_machine_local_deleted,
)


@pytest_asyncio.fixture
async def spare(tmp_path: Path, store: Path) -> Path:
    """Return a directory with an index of this store from before its last changes, and one of another store."""
    spare = tmp_path / "spare"
    spare.mkdir()
    shutil.copy(index_of(store), spare / "earlier")
    async with await FileStorage.open(tmp_path / "other") as other:
        await other.batch_save({"id": f"n{number}", "data": {"metadata": {"status": "new"}}} for number in range(3))
        await other.refresh()
    shutil.copy(index_of(tmp_path / "other"), spare / "other")
    async with await FileStorage.open(store) as storage:
        await storage.batch_save({"id": f"n{number}", "data": {"metadata": {"status": "new"}}} for number in (1, 7, 8))
        await storage.delete("n2")
    return spare


AFTER = {"n0": "old", "n1": "new", "n3": "old", "n4": "old", "n5": "old", "n7": "new", "n8": "new"}


@pytest.mark.parametrize("blow", BLOWS, ids=[blow.__name__ for blow in BLOWS])
async def test_whatever_became_of_the_index_while_closed_answers_are_those_of_the_documents(
    store: Path, spare: Path, blow: Callable[[Path, Path], Any]
) -> None:
    blow(store, spare)
    async with await FileStorage.open(store) as storage:
        assert await statuses(storage) == AFTER
        await storage.save({"id": "z", "data": {"metadata": {"status": "new"}}})
        assert await statuses(storage) == AFTER | {"z": "new"}


@pytest.mark.parametrize("first_use", ["read", "write"])
@pytest.mark.parametrize("blow", BLOWS, ids=[blow.__name__ for blow in BLOWS])
async def test_whatever_becomes_of_the_index_while_open_answers_are_those_of_the_documents(
    store: Path, spare: Path, blow: Callable[[Path, Path], Any], first_use: str
) -> None:
    async with await FileStorage.open(store) as storage, await FileStorage.open(store) as other:
        assert await statuses(storage) == await statuses(other) == AFTER
        blow(store, spare)
        expected = AFTER
        if first_use == "write":
            await storage.save({"id": "z", "data": {"metadata": {"status": "new"}}})
            expected = AFTER | {"z": "new"}
        assert await statuses(storage) == expected
        assert await statuses(other) == expected
        await other.delete("n0")
        await storage.save({"id": "n3", "data": {"metadata": {"status": "new"}}})
        expected = {key: value for key, value in expected.items() if key != "n0"} | {"n3": "new"}
        assert await statuses(storage) == await statuses(other) == expected
    async with await FileStorage.open(store, reconcile="off") as storage:
        assert await statuses(storage) == expected


# -- what a comparison costs ------------------------------------------------------------------------------------------


class Looked:
    """What a comparison asks for: names one by one, whole shards, texts of rows, directories on the way to others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.shards: list[str] = []
        self.texts: list[str] = []
        self.parents: list[str] = []
        known, signatures, text = Inventory.known, Inventory.signatures, Inventory.text
        opened = directories._open_directory

        def note_known(inventory: Inventory, names: Sequence[str]) -> dict[str, Known]:
            self.names += names
            return known(inventory, names)

        def note_signatures(inventory: Inventory, prefix: str = "") -> dict[str, Known]:
            self.shards.append(prefix)
            return signatures(inventory, prefix)

        def note_text(inventory: Inventory, outer: str) -> str:
            self.texts.append(outer)
            return text(inventory, outer)

        def note_parent(path: str, parent: int | None) -> int:
            self.parents.append(path)
            return opened(path, parent)

        monkeypatch.setattr(Inventory, "known", note_known)
        monkeypatch.setattr(Inventory, "signatures", note_signatures)
        monkeypatch.setattr(Inventory, "text", note_text)
        monkeypatch.setattr(directories, "_open_directory", note_parent)


def compare(storage: FileStorage) -> Compared:
    return storage._store.index_file.use(storage._store.reconciler.compare)


@pytest.mark.parametrize("shard_depth", [1, 2])
async def test_of_a_shard_in_which_one_document_differs_no_other_is_looked_at_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard_depth: int
) -> None:
    async with await FileStorage.open(tmp_path, shard_depth=shard_depth) as storage:
        await storage.batch_save({"id": f"n{number}", "data": {}} for number in range(600))
        await storage.refresh()
        changed, gone, new = (storage._documents.name(name) for name in ("n1", "n2", "x"))
        os.utime(tmp_path / changed, ns=(DAY_NS, DAY_NS))
        (tmp_path / gone).unlink()
        (tmp_path / new).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / new).write_text("garbage")
        monkeypatch.setattr(trust, "shows_every_change", lambda _tree, _name: True)
        looked = Looked(monkeypatch)
        assert sorted(compare(storage).differing) == sorted([changed, gone, new])
        assert sorted(looked.names) == sorted([changed, gone, new])
        assert looked.shards == []


async def test_a_row_that_is_racy_is_looked_at_and_no_other_of_its_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.batch_save({"id": f"n{number}", "data": {}} for number in range(600))
        assert await storage.count() == 600
        racy = storage._documents.name("n1")

        def age(index: Index) -> None:
            later, now = "UPDATE entry SET recorded_ns = recorded_ns + ?", "UPDATE entry SET recorded_ns = mtime_ns"
            index._connection.execute(later, (DAY_NS & ~1,))
            index._connection.execute(f"{now} WHERE name = ?", (racy,))

        storage._store.index_file.use(age, writing=True)
        looked = Looked(monkeypatch)
        compared = compare(storage)
        assert (compared.differing, compared.confirmed) == ([], [racy])
        assert (looked.names, looked.shards) == ([racy], [])


async def test_a_comparison_of_many_shards_asks_the_index_once_for_each_outer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await FileStorage.open(tmp_path, shard_depth=2) as storage:
        await storage.batch_save({"id": f"n{number}", "data": {}} for number in range(600))
        await storage.refresh()
        outer = {path.name for path in tmp_path.glob("[0-9a-f][0-9a-f]")}
        assert len(list(tmp_path.glob("[0-9a-f][0-9a-f]/*"))) > 2 * len(outer)
        looked = Looked(monkeypatch)
        compare(storage)
        assert sorted(looked.texts) == sorted(outer)
        # each is entered once, and the shards are opened from there
        assert len(looked.parents) <= len(outer)


async def test_a_row_that_names_what_is_no_document_of_the_store_makes_the_index_anew(store: Path) -> None:
    async with await FileStorage.open(store) as storage:
        await storage.list()
        for name in ("00/../../x.json", "00/x", "00/00/x.json", "00/a\nb.json/1/2/3/4/\n00/../x.json"):

            def plant(index: Index, name: str = name) -> None:
                index._connection.execute("UPDATE entry SET name = ? WHERE id = 'n1'", (name,))

            storage._store.index_file.use(plant, writing=True)
            with pytest.raises(IndexDamagedError):
                compare(storage)
            await storage.refresh()
            assert await statuses(storage) == OLD
