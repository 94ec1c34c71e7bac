import asyncio
import gc
import os
import shutil
import subprocess
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fsstore import Change, FileStorage, Gap, StorageClosedError, StorageUnavailableError, Watch
from fsstore.filesystem.disk.files import Signature, Tree
from fsstore.filesystem.documents.codec import encode
from fsstore.filesystem.documents.layout import Layout, leads_to
from fsstore.filesystem.watch import classifier, scanner, watcher
from fsstore.filesystem.watch.events import Report
from fsstore.filesystem.watch.scanner import Pace
from tests.filesystem.faults import DEADLINE_SECONDS, place, threads_of_the_store, until
from tests.filesystem.watched import Refused, Silent, all_told, document, next_of, put, replace, told

QUICK = Pace(look_seconds=0.05, sweep_seconds=0.05, share=1.0)


@pytest_asyncio.fixture
async def storage(tmp_path: Path) -> AsyncGenerator[FileStorage]:
    """Give an open store with four documents."""
    async with await FileStorage.open(tmp_path / "store", fsync=False) as storage:
        await storage.batch_save([document(f"n{number}") for number in range(4)])
        yield storage


@pytest.fixture
def store(storage: FileStorage) -> Path:
    return storage._tree.root


@pytest_asyncio.fixture
async def changes(storage: FileStorage) -> AsyncGenerator[Watch]:
    async with storage.watch() as changes:
        yield changes


@pytest_asyncio.fixture
async def other(store: Path) -> AsyncGenerator[FileStorage]:
    """Give the same store, opened once more: for the first one it is as another process."""
    async with await FileStorage.open(store, fsync=False) as other:
        yield other


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> list[Silent]:
    """Lose all events, and look often; returns the sources that were made."""
    made: list[Silent] = []

    def make(report: Report) -> Silent:
        made.append(Silent(report))
        return made[-1]

    monkeypatch.setattr(watcher, "Events", make)
    monkeypatch.setattr(watcher, "BESIDE_EVENTS", QUICK)
    monkeypatch.setattr(watcher, "WITHOUT_EVENTS", QUICK)
    return made


# -- what other programs do -------------------------------------------------------------------------------------------


def rewrite(store: Path) -> None:
    put(store, "n1", "edited")


def rewrite_with_the_same_size(store: Path) -> None:
    put(store, "n1", "old")


def swap(store: Path) -> None:
    replace(store, "n1", "edited")


def write_as_vim_does(store: Path) -> None:
    path = place(store, "n1")
    path.rename(path.with_name("n1.json~"))
    put(store, "n1", "edited")
    path.with_name("n1.json~").unlink()


def add(store: Path) -> None:
    put(store, "x")


def move_in_a_directory(store: Path) -> None:
    """Make a shard with its document elsewhere, and move it in: no event tells of the file."""
    shard = place(store, "x").parent
    assert not shard.exists()
    (store / "elsewhere").mkdir()
    (store / "elsewhere" / "x.json").write_bytes(encode(document("x"), max_bytes=1 << 20))
    (store / "elsewhere").rename(shard)


def remove(store: Path) -> None:
    place(store, "n1").unlink()


def remove_the_shard(store: Path) -> None:
    shutil.rmtree(place(store, "n1").parent)


EDITS: dict[str, tuple[Callable[[Path], None], tuple[str, str, str]]] = {
    edit.__name__: (edit, (kind, record_id, "external"))
    for edit, kind, record_id in (
        (rewrite, "updated", "n1"),
        (rewrite_with_the_same_size, "updated", "n1"),
        (swap, "updated", "n1"),
        (write_as_vim_does, "updated", "n1"),
        (add, "created", "x"),
        (move_in_a_directory, "created", "x"),
        (remove, "deleted", "n1"),
        (remove_the_shard, "deleted", "n1"),
    )
}
each_edit = pytest.mark.parametrize(("edit", "expected"), EDITS.values(), ids=EDITS.keys())


@each_edit
async def test_an_edit_by_hand_is_told_once(
    storage: FileStorage, changes: Watch, store: Path, edit: Callable[[Path], None], expected: tuple[str, str, str]
) -> None:
    edit(store)

    assert await told(changes, 1) == [expected]
    assert await all_told(storage, changes) == []


@each_edit
@pytest.mark.usefixtures("silent")
async def test_an_edit_that_no_event_tells_is_told_once(
    storage: FileStorage, store: Path, edit: Callable[[Path], None], expected: tuple[str, str, str]
) -> None:
    async with storage.watch() as changes:
        edit(store)

        assert await told(changes, 1) == [expected]
        assert await all_told(storage, changes) == []


async def test_a_change_tells_version_and_metadata(storage: FileStorage, changes: Watch, store: Path) -> None:
    put(store, "n1", "edited", version=7)
    assert await next_of(changes) == Change("updated", "n1", 7, "external", {"status": "edited"})
    place(store, "n1").unlink()
    assert await next_of(changes) == Change("deleted", "n1", 7, "external")
    await storage.save(document("n1", "again"))
    assert await next_of(changes) == Change("created", "n1", 1, "own", {"status": "again"})


async def test_the_same_bytes_once_more_are_no_change(storage: FileStorage, changes: Watch, store: Path) -> None:
    replace(store, "n1", "old")
    assert await told(changes, 1) == [("updated", "n1", "external")]
    os.utime(place(store, "n1"), (1, 1))
    replace(store, "n1", "old")
    assert await all_told(storage, changes) == []
    # and the index knows the file as it is now
    await until(
        lambda: storage._store.index_file.use(lambda index: _is_known(index.inventory.known([_name("n1")]), store))
    )


def _name(record_id: str) -> str:
    return str(place(Path(), record_id))


def _is_known(rows: dict[str, Any], store: Path) -> bool:
    return bool(rows[_name("n1")].signature.inode == place(store, "n1").stat().st_ino)


async def test_a_filter_is_judged_for_edits_too(storage: FileStorage, store: Path) -> None:
    async with storage.watch({"data.metadata.status": "open"}) as changes:
        put(store, "n1", "open")
        assert await told(changes, 1) == [("created", "n1", "external")]
        put(store, "n1", "shut")
        assert await next_of(changes) == Change("deleted", "n1", 1, "external", {"status": "shut"})
        put(store, "n2", "shut")
        put(store, "n3", "open")
        assert await told(changes, 1) == [("created", "n3", "external")]


async def test_a_store_of_two_levels_is_followed_on_both(tmp_path: Path, silent: list[Silent]) -> None:
    root = tmp_path / "deep"
    storage = await FileStorage.open(root, shard_depth=2, fsync=False)
    async with storage, storage.watch() as changes:
        path = root / Layout(2).name("d0")
        path.parent.mkdir(parents=True)
        path.write_bytes(encode(document("d0"), max_bytes=1 << 20))
        assert await told(changes, 1) == [("created", "d0", "external")]
        path.write_bytes(encode(document("d0", "edited"), max_bytes=1 << 20))
        assert await told(changes, 1) == [("updated", "d0", "external")]
        directories = {str(directory) for directory in (path.parent, path.parent.parent, root)}
        await until(lambda: set(silent[0].followed[-1]) == directories)


# -- whose it is ------------------------------------------------------------------------------------------------------


async def test_what_another_process_writes_comes_from_the_store(other: FileStorage, changes: Watch) -> None:
    await other.save({"id": "x"})
    assert await told(changes, 1) == [("created", "x", "store")]
    await other.update("n1", {"data": {"metadata": {"status": "theirs"}}})
    assert await next_of(changes) == Change("updated", "n1", 2, "store", {"status": "theirs"})
    await other.delete("n2")
    assert await told(changes, 1) == [("deleted", "n2", "store")]


async def test_a_batch_of_another_process_is_whole_when_it_is_told(
    storage: FileStorage, other: FileStorage, changes: Watch
) -> None:
    await other.batch_save([{"id": f"b{number}", "data": {"of": 20}} for number in range(20)])
    for _ in range(20):
        change = await next_of(changes)
        assert isinstance(change, Change)
        assert (change.kind, change.origin) == ("created", "store")
        assert len(await storage.list({"data.of": 20})) == 20


async def test_nothing_is_told_while_a_batch_is_put_in_place(
    storage: FileStorage, changes: Watch, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that never ends its batch, and holds the lock: its first file is there already."""
    judged = threading.Event()
    monkeypatch.setattr(classifier.ChangeClassifier, "_urge", lambda _classifier, _now: judged.set())
    applying = storage._counters.applying()
    storage._counters.write(applying=applying + 1)
    put(store, "n1", "half a batch")
    await asyncio.wait_for(asyncio.to_thread(judged.wait), 20)
    assert not changes._queue
    put(store, "n2", "the other half")
    storage._counters.write(applying=applying + 2)

    assert sorted(await told(changes, 2)) == [("updated", "n1", "external"), ("updated", "n2", "external")]


async def test_a_batch_whose_writer_died_is_finished_by_who_watches(
    storage: FileStorage, changes: Watch, store: Path
) -> None:
    storage._counters.write(applying=storage._counters.applying() + 1)
    put(store, "n1", "half a batch")

    assert await told(changes, 1) == [("updated", "n1", "external")]
    assert storage._counters.applying() & 1 == 0


async def test_own_writes_are_told_one_by_one_between_those_of_others(
    storage: FileStorage, other: FileStorage, changes: Watch
) -> None:
    """Each version once at most, in order; of own writes, each."""
    own: set[int] = set()

    async def write(store: FileStorage, mine: set[int]) -> None:
        for _ in range(60):
            outcomes = await store.commit([_touching("n1")])
            mine.add(outcomes[0].after)

    await asyncio.gather(write(storage, own), write(other, set()))
    seen = [change for change in await all_told(storage, changes) if change.id == "n1"]

    versions = [change.version for change in seen]
    assert versions == sorted(set(versions))
    assert {change.version for change in seen if change.origin == "own"} == own
    assert {change.origin for change in seen} <= {"own", "store"}


async def test_a_write_that_was_written_over_before_it_could_be_judged_makes_no_edit_of_it(
    other: FileStorage, changes: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index knows the second write already when the first is judged: no row has the file that was seen."""
    real, loop, turns = classifier.ChangeClassifier._rows, asyncio.get_running_loop(), [2, 3]

    def write_over(own: classifier.ChangeClassifier, names: list[str]) -> dict[str, Any]:
        if turns:
            writing = other.update("n1", {"data": {"turn": turns.pop(0)}})
            asyncio.run_coroutine_threadsafe(writing, loop).result(20)
            # and in the index too
            asyncio.run_coroutine_threadsafe(other.count(), loop).result(20)
        return real(own, names)

    monkeypatch.setattr(classifier.ChangeClassifier, "_rows", write_over)
    await other.update("n1", {"data": {"turn": 1}})

    assert await next_of(changes) == Change("updated", "n1", 4, "store", {"status": "new"})


def _touching(record_id: str) -> Any:
    from fsstore.model.mutations import patching  # noqa: PLC0415 - one place needs it

    return patching(record_id, {"data": {"turn": time.monotonic_ns()}})


async def test_own_writes_that_only_recovery_could_finish_are_own(
    storage: FileStorage, changes: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failed = Tree.exchange, threading.Event()

    def fail_once(tree: Tree, source: str, target: str) -> Signature | None:
        if target == _name("n2") and not failed.is_set():
            failed.set()
            raise OSError(5, "Input/output error")
        return real(tree, source, target)

    monkeypatch.setattr(Tree, "exchange", fail_once)
    await storage.batch_save([document("n1", "batch"), document("n2", "batch")])

    assert failed.is_set()
    found = [(change.kind, change.id, change.origin) for change in await all_told(storage, changes)]
    assert found == [("updated", "n1", "own"), ("updated", "n2", "own")]


async def test_an_edit_that_another_process_has_noticed_first_stays_external(
    other: FileStorage, changes: Watch, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one has brought the index up to date before this one looks."""
    noticed = threading.Event()
    real = classifier.ChangeClassifier._see

    def wait(
        own: classifier.ChangeClassifier, suspects: dict[str, classifier.Suspect]
    ) -> dict[str, classifier.Observation]:
        observations = real(own, suspects)
        noticed.wait(20)
        return observations

    monkeypatch.setattr(classifier.ChangeClassifier, "_see", wait)
    put(store, "n1", "edited")
    await other.refresh()
    noticed.set()
    assert await told(changes, 1) == [("updated", "n1", "external")]


async def test_a_write_that_another_process_reads_again_stays_the_store_s(
    storage: FileStorage, other: FileStorage, store: Path
) -> None:
    """A row that is new is read once more by whoever reconciles, and stays a commit's."""
    await other.save(document("n1", "theirs"))
    async with await FileStorage.open(store) as third:
        await third.refresh()
    (row,) = storage._store.index_file.use(lambda index: index.inventory.known([_name("n1")])).values()
    assert row.is_by_commit
    put(store, "n1", "edited")
    await storage.refresh()
    (row,) = storage._store.index_file.use(lambda index: index.inventory.known([_name("n1")])).values()
    assert not row.is_by_commit


async def test_refresh_tells_what_no_event_has_told(
    storage: FileStorage, store: Path, silent: list[Silent], monkeypatch: pytest.MonkeyPatch
) -> None:
    never = Pace(look_seconds=3600.0, sweep_seconds=3600.0, share=1.0)
    monkeypatch.setattr(watcher, "BESIDE_EVENTS", never)
    async with storage.watch() as changes:
        assert silent
        await until(
            lambda: (
                storage._change_source is not None
                and storage._change_source._watcher._scanner.is_done(time.monotonic())
            )
        )
        put(store, "n1", "edited")
        place(store, "n2").unlink()
        await storage.refresh()
        assert sorted(await told(changes, 2)) == [("deleted", "n2", "external"), ("updated", "n1", "external")]


# -- what is not to be believed at once -------------------------------------------------------------------------------


@pytest.fixture
def observations(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, classifier.Observation]]:
    """Return all that is seen, as it is seen."""
    seen: list[tuple[str, classifier.Observation]] = []
    real = classifier.ChangeClassifier._observe

    def observation(own: classifier.ChangeClassifier, name: str, suspect: classifier.Suspect) -> classifier.Observation:
        found = real(own, name, suspect)
        seen.append((name, found))
        return found

    monkeypatch.setattr(classifier.ChangeClassifier, "_observe", observation)
    return seen


async def test_a_document_that_is_gone_for_a_moment_was_never_gone(
    storage: FileStorage, changes: Watch, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is back when it is looked at for the second time."""
    real, path, looks = classifier.ChangeClassifier._observe, place(store, "n1"), list[str]()

    def observation(own: classifier.ChangeClassifier, name: str, suspect: classifier.Suspect) -> classifier.Observation:
        looks.append(name)
        if looks.count(_name("n1")) == 2:
            (store / "aside").rename(path)
        return real(own, name, suspect)

    monkeypatch.setattr(classifier.ChangeClassifier, "_observe", observation)
    path.rename(store / "aside")
    await until(lambda: looks.count(_name("n1")) >= 2 or changes._queue)
    assert await all_told(storage, changes) == []


async def test_half_a_document_is_waited_for(
    storage: FileStorage,
    changes: Watch,
    store: Path,
    observations: list[tuple[str, classifier.Observation]],
    caplog: Any,
) -> None:
    whole = encode(document("n1", "written slowly"), max_bytes=1 << 20)
    with place(store, "n1").open("wb", buffering=0) as file:
        file.write(whole[:50])
        await until(lambda: any(name == _name("n1") and seen.unreadable for name, seen in observations))
        file.write(whole[50:])

    assert await next_of(changes) == Change("updated", "n1", 1, "external", {"status": "written slowly"})
    assert await all_told(storage, changes) == []
    assert caplog.records == []


async def test_half_a_document_that_becomes_what_it_was_is_no_change(
    storage: FileStorage, changes: Watch, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is whole again when it is looked at for the second time."""
    real, path, looks = classifier.ChangeClassifier._observe, place(store, "n1"), list[str]()
    whole = path.read_bytes()

    def observation(own: classifier.ChangeClassifier, name: str, suspect: classifier.Suspect) -> classifier.Observation:
        looks.append(name)
        if looks.count(_name("n1")) == 2:
            path.write_bytes(whole)
        return real(own, name, suspect)

    monkeypatch.setattr(classifier.ChangeClassifier, "_observe", observation)
    path.write_bytes(whole[:50])
    await until(lambda: looks.count(_name("n1")) >= 2)
    assert await all_told(storage, changes) == []


async def test_what_can_not_be_read_is_no_change_and_is_told_when_it_can(
    storage: FileStorage, changes: Watch, store: Path
) -> None:
    before = place(store, "n1").read_bytes()
    place(store, "n1").write_bytes(before[:40])
    place(store, "n2").unlink()
    place(store, "n2").mkdir()
    await until(lambda: len(storage._store.index_file.use(lambda index: index.inventory.problems())) == 2)
    assert await all_told(storage, changes) == []
    assert {record["id"] for record in await storage.list()} == {"n0", "n3", "zz-end"}

    place(store, "n1").write_bytes(before)
    assert await told(changes, 1) == [("updated", "n1", "external")]
    place(store, "n2").rmdir()
    assert await told(changes, 1) == [("deleted", "n2", "external")]


async def test_a_foreign_file_is_nobody_s_business(storage: FileStorage, changes: Watch, store: Path) -> None:
    shard = place(store, "n1").parent
    for name in ("notes.txt", ".n1.json.swp", "n1.json~", "wrong-place.json"):
        (shard / name).write_bytes(encode(document("elsewhere"), max_bytes=1 << 20))
    (store / "README.md").write_text("mine")
    (store / "3ff").mkdir()
    (store / "3ff" / "x.json").write_text("{}")
    assert await all_told(storage, changes) == []


async def test_git_that_goes_to_and_fro_tells_where_it_ends(storage: FileStorage, changes: Watch, store: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=x", "-c", "user.email=x@x")
        subprocess.run(["/usr/bin/env", "git", *identity, *arguments], cwd=store, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "one")
    git("checkout", "-qb", "branch")
    put(store, "n1", "branch")
    put(store, "x", "branch")
    place(store, "n2").unlink()
    expected = [("created", "x", "external"), ("deleted", "n2", "external"), ("updated", "n1", "external")]
    assert sorted(await told(changes, 3)) == expected
    git("add", ".")
    git("commit", "-qm", "two")
    for _ in range(5):
        git("checkout", "-q", "main")
        git("checkout", "-q", "branch")
    git("checkout", "-q", "main")
    seen: dict[str, tuple[bool, Any]] = {}
    while seen != {"x": (False, None), "n2": (True, "new"), "n1": (True, "new")}:
        change = await next_of(changes)
        assert isinstance(change, Change)
        seen[change.id] = change.kind != "deleted", change.metadata.get("status")
    # it may have been so for a moment before: then the index follows without anything to tell
    deadline = time.monotonic() + DEADLINE_SECONDS
    while {record["id"] for record in await storage.list()} != {"n0", "n1", "n2", "n3"}:
        assert time.monotonic() < deadline, "the index does not follow"
        await asyncio.sleep(0.001)


# -- when events fail -------------------------------------------------------------------------------------------------


async def test_a_recreated_root_tells_the_differences(
    storage: FileStorage, changes: Watch, store: Path, tmp_path: Path
) -> None:
    async with await FileStorage.open(tmp_path / "new") as new:
        await new.save(document("n1"))
        await new.save(document("x"))
    seen: list[tuple[str, str]] = []
    shutil.rmtree(store)
    (tmp_path / "new").rename(store)
    while ("created", "x") not in seen or {("deleted", f"n{number}") for number in (0, 2, 3)} - set(seen):
        change = await next_of(changes)
        assert isinstance(change, Change)
        seen.append((change.kind, change.id))
    put(store, "x", "edited")
    while (change := await next_of(changes)) != Change("updated", "x", 1, "external", {"status": "edited"}):
        assert isinstance(change, Change)
    assert {record["id"] for record in await storage.list()} == {"n1", "x"}


async def test_a_store_that_is_away_for_a_while_loses_no_documents(
    storage: FileStorage, changes: Watch, store: Path
) -> None:
    """As an unmounted medium: that nothing is there is no answer."""
    thread = storage._change_source
    assert thread is not None
    store.rename(store.with_name("away"))
    await until(lambda: not thread._watcher._is_there)
    store.with_name("away").rename(store)
    await until(lambda: thread._watcher._is_there)
    assert await all_told(storage, changes) == []


async def test_without_watches_of_the_system_it_looks_for_itself(
    storage: FileStorage, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "Events", Refused)
    async with storage.watch() as changes:
        for number in range(3):
            put(store, "n1", f"edit {number}")
            assert await told(changes, 1) == [("updated", "n1", "external")]


async def test_polling_asks_the_system_for_nothing(store: Path, silent: list[Silent]) -> None:
    async with await FileStorage.open(store, polling=True) as storage, storage.watch() as changes:
        put(store, "n1", "edited")
        assert await told(changes, 1) == [("updated", "n1", "external")]
        assert [source.followed for source in silent] == [[]]
    assert silent[0].is_closed


async def test_new_directories_are_followed_and_no_others(
    storage: FileStorage, store: Path, silent: list[Silent]
) -> None:
    (store / "foreign").mkdir()
    async with storage.watch() as changes:
        put(store, "x")
        assert await told(changes, 1) == [("created", "x", "external")]
        shards = {str(store), *(str(path) for path in store.iterdir() if len(path.name) == 2)}
        await until(lambda: set(silent[0].followed[-1]) == shards)


async def test_events_that_stay_away_are_not_trusted_for_a_while(
    storage: FileStorage, store: Path, silent: list[Silent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source says that it has begun, and yet an edit is found that it has not told."""
    monkeypatch.setattr(classifier, "_is_old", lambda _signature: True)
    async with storage.watch() as changes:
        assert silent
        assert storage._change_source is not None
        thread = storage._change_source._watcher
        assert thread._distrust_until == 0.0
        put(store, "n1", "edited")
        assert await told(changes, 1) == [("updated", "n1", "external")]
        await until(lambda: thread._distrust_until > time.monotonic())


async def test_an_edit_within_one_tick_of_the_clock_is_told(
    storage: FileStorage, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two edits that leave the same signature: the event says that the file was written."""
    from fsstore.filesystem.disk import files  # noqa: PLC0415 - its clock is what is turned

    real, hour = files._signature, 3_600_000_000_000

    def coarse(found: os.stat_result) -> Signature:
        inode, size, mtime_ns, ctime_ns = real(found)
        return Signature(inode, size, mtime_ns - mtime_ns % hour + hour, ctime_ns - ctime_ns % hour + hour)

    monkeypatch.setattr(files, "_signature", coarse)
    async with storage.watch() as changes:
        for status in ("aaa", "bbb", "ccc"):
            put(store, "n1", status)
            assert await next_of(changes) == Change("updated", "n1", 1, "external", {"status": status})


async def test_a_path_of_events_below_a_linked_root_is_understood(
    storage: FileStorage, store: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(store)
    async with await FileStorage.open(tmp_path / "link") as linked, linked.watch() as changes:
        put(store, "n1", "edited")
        assert await told(changes, 1) == [("updated", "n1", "external")]
    assert storage is not None


async def test_a_directory_that_can_not_be_entered_keeps_no_other_waiting(
    storage: FileStorage, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, closed = Tree.signatures, _name("n1").partition("/")[0]
    is_closed = threading.Event()
    is_closed.set()

    def signatures(tree: Tree, name: str) -> Iterator[tuple[str, Signature | None]]:
        if name == closed and is_closed.is_set():
            raise PermissionError(13, "Permission denied", name)
        return real(tree, name)

    monkeypatch.setattr(watcher, "Events", Silent)
    monkeypatch.setattr(watcher, "BESIDE_EVENTS", QUICK)
    await storage.list()
    monkeypatch.setattr(Tree, "signatures", signatures)
    async with storage.watch() as changes:
        put(store, "n1", "edited")
        put(store, "n2", "edited")
        assert await told(changes, 1) == [("updated", "n2", "external")]
        is_closed.clear()
        assert await told(changes, 1) == [("updated", "n1", "external")]


# -- the end ----------------------------------------------------------------------------------------------------------


async def test_closing_leaves_no_thread_and_no_task(store: Path) -> None:
    gc.collect()
    tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
    storage = await FileStorage.open(store, live=True)
    changes = storage.watch()
    await changes.started()
    waiting = asyncio.create_task(anext(changes))
    await asyncio.sleep(0)
    await storage.close()
    with pytest.raises(StopAsyncIteration):
        await waiting
    assert asyncio.all_tasks() - {waiting} == tasks
    await until(lambda: set(threading.enumerate()) <= threads)


@pytest.mark.parametrize("turns", range(6))
async def test_closing_while_watching_begins_ends_it(store: Path, turns: int) -> None:
    before = len(threads_of_the_store())
    storage = await FileStorage.open(store, live=True)
    beginning = asyncio.create_task(storage.watch().started())
    for _ in range(turns):
        await asyncio.sleep(0)
    await storage.close()
    (done,) = await asyncio.wait_for(asyncio.gather(beginning, return_exceptions=True), 20)
    assert done is None or isinstance(done, StorageClosedError)
    await until(lambda: len(threads_of_the_store()) == before)


def _is_noting(storage: FileStorage) -> bool:
    writer = storage._store.writer
    return writer is not None and (writer._tell is not None or writer._committer.notes is not None)


async def test_nothing_is_noted_for_a_watch_that_never_began_or_has_ended(storage: FileStorage) -> None:
    """Or notes would pile up, for nobody."""
    changes = storage.watch()
    await storage.save({"id": "x"})
    assert storage._change_source is not None
    assert storage._change_source._watcher._queue.empty()
    await changes.started()
    assert _is_noting(storage)
    await asyncio.to_thread(storage._change_source._watcher.stop)
    await storage.save({"id": "y"})
    assert not _is_noting(storage)


async def test_without_a_thread_nothing_can_be_watched(storage: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, start = storage.watch(), threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "fsstore-watch":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as no_threads:
        no_threads.setattr(threading.Thread, "start", refuse)
        with pytest.raises(StorageUnavailableError, match="can't start new thread"):
            await changes.started()
    await changes.started()
    await changes.aclose()


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancelled_beginning_can_be_made_again(storage: FileStorage, turns: int) -> None:
    changes = storage.watch()
    beginning = asyncio.create_task(changes.started())
    for _ in range(turns):
        await asyncio.sleep(0)
    beginning.cancel()
    await asyncio.gather(beginning, return_exceptions=True)
    await changes.started()
    await storage.save({"id": "x"})
    assert await told(changes, 1) == [("created", "x", "own")]
    await changes.aclose()


async def test_a_failure_of_the_thread_is_told_to_every_watcher(
    storage: FileStorage, changes: Watch, store: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def fail(_classifier: classifier.ChangeClassifier) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(classifier.ChangeClassifier, "classify_some", fail)
    put(store, "n1", "edited")
    with pytest.raises(StorageUnavailableError, match=r"planted; close it and open it again"):
        await next_of(changes)
    with pytest.raises(StorageUnavailableError):
        await storage.watch().started()
    assert "can not be watched any more" in caplog.text


async def test_a_full_queue_is_dropped_and_made_up_for(storage: FileStorage, store: Path, other: FileStorage) -> None:
    await storage.batch_save([document(f"m{number}") for number in range(300)])
    async with storage.watch(max_queued=10) as changes:
        for number in range(300):
            put(store, f"m{number}", "edited")
        await other.batch_delete([f"n{number}" for number in range(4)])
        await until(lambda: changes._is_behind)
        gap = await next_of(changes)
        seen = [gap]
        wanted = {("deleted", f"n{number}") for number in range(4)} | {
            ("updated", f"m{number}") for number in range(300)
        }
        while wanted - {(change.kind, change.id) for change in seen if isinstance(change, Change)}:
            seen.append(await next_of(changes))
        assert isinstance(gap, Gap)
        told_of = [change.id for change in seen if isinstance(change, Change)]
        assert len(told_of) == len(set(told_of)) == 304
        assert await all_told(storage, changes) == []


# -- bounds and names ------------------------------------------------------------------------------------------------


def test_the_bounds_are_those_that_are_documented() -> None:
    """As `FileStorage.watch` and the README state them."""
    assert Pace(look_seconds=0.5, sweep_seconds=5.0, share=0.02) == scanner.BESIDE_EVENTS
    assert Pace(look_seconds=0.25, sweep_seconds=0.5, share=0.1) == scanner.WITHOUT_EVENTS


@pytest.mark.parametrize(
    ("path", "one_level", "two_levels"),
    [
        ("", ("", False), ("", False)),
        ("3f", ("3f", False), ("3f", False)),
        ("3f/a0", None, ("3f/a0", False)),
        ("3f/a.json", ("3f/a.json", True), None),
        ("3f/a0/a.json", None, ("3f/a0/a.json", True)),
        ("3f/.a.json.swp", None, None),
        ("3f/a.txt", None, None),
        ("3f/a0/b/a.json", None, None),
        (".git", None, None),
        (".fsstore/index.sqlite3", None, None),
        ("README.json", None, None),
    ],
)
def test_a_path_leads_to_a_shard_a_document_or_nowhere(
    path: str, one_level: tuple[str, bool] | None, two_levels: tuple[str, bool] | None
) -> None:
    assert (leads_to(path, 1), leads_to(path, 2)) == (one_level, two_levels)
