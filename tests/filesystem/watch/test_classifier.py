import asyncio
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from fsstore import Change, FileStorage, Watch
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.documents.codec import encode
from fsstore.filesystem.watch import classifier
from fsstore.filesystem.watch.observation import Observation
from fsstore.filesystem.watch.suspects import Suspect
from tests.filesystem.faults import DEADLINE_SECONDS, place, until
from tests.filesystem.watched import all_told, document, name_of, next_of, put, told

pytestmark = pytest.mark.usefixtures("file_clock")

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


async def test_a_write_that_follows_another_before_the_index_has_it_is_waited_for(
    storage: FileStorage, changes: Watch, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two commits of another process, each seen while it is under way: the second is not judged by the first."""
    real, indexing = classifier.ChangeClassifier._is_waiting_for, storage._counters.read().indexing
    waits: list[tuple[str, bool]] = []
    judged_second = threading.Event()

    def is_waiting(own: Any, name: str, observation: Observation, counted: int, suspect: Suspect) -> bool:
        assert observation.document is not None
        status = observation.document.record["data"]["metadata"]["status"]
        waits.append((status, real(own, name, observation, counted, suspect)))
        if status == "first" and len(waits) == 1:
            put(store, "n1", "second")
            storage._counters.write(indexing=indexing + 3)
        if status == "second":
            judged_second.set()
        return waits[-1][1]

    monkeypatch.setattr(classifier.ChangeClassifier, "_is_waiting_for", is_waiting)
    monkeypatch.setattr(classifier.ChangeClassifier, "_urge", lambda _classifier, _now: None)
    storage._counters.write(indexing=indexing + 1)
    put(store, "n1", "first")
    await asyncio.wait_for(asyncio.to_thread(judged_second.wait), 20)
    assert ("second", False) not in waits
    assert not changes._queue
    storage._counters.write(indexing=indexing + 4)


def _touching(record_id: str) -> Any:
    from fsstore.model.mutations import patching  # noqa: PLC0415 - one place needs it

    return patching(record_id, {"data": {"turn": time.monotonic_ns()}})


async def test_own_writes_that_only_recovery_could_finish_are_own(
    storage: FileStorage, changes: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failed = Tree.exchange, threading.Event()

    def fail_once(tree: Tree, source: str, target: str) -> Signature | None:
        if target == name_of("n2") and not failed.is_set():
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

    def wait(own: classifier.ChangeClassifier, suspects: dict[str, Suspect]) -> dict[str, Observation]:
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
    (row,) = storage._store.index_file.use(lambda index: index.inventory.known([name_of("n1")])).values()
    assert row.is_by_commit
    put(store, "n1", "edited")
    await storage.refresh()
    (row,) = storage._store.index_file.use(lambda index: index.inventory.known([name_of("n1")])).values()
    assert not row.is_by_commit


# -- what is not to be believed at once -------------------------------------------------------------------------------


@pytest.fixture
def observations(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Observation]]:
    """Return all that is seen, as it is seen."""
    seen: list[tuple[str, Observation]] = []
    real = classifier.ChangeClassifier._observe

    def observation(own: classifier.ChangeClassifier, name: str, suspect: Suspect) -> Observation:
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

    def observation(own: classifier.ChangeClassifier, name: str, suspect: Suspect) -> Observation:
        looks.append(name)
        if looks.count(name_of("n1")) == 2:
            (store / "aside").rename(path)
        return real(own, name, suspect)

    monkeypatch.setattr(classifier.ChangeClassifier, "_observe", observation)
    path.rename(store / "aside")
    await until(lambda: looks.count(name_of("n1")) >= 2 or changes._queue)
    assert await all_told(storage, changes) == []


async def test_half_a_document_is_waited_for(
    storage: FileStorage,
    changes: Watch,
    store: Path,
    observations: list[tuple[str, Observation]],
    caplog: Any,
) -> None:
    whole = encode(document("n1", "written slowly"), max_bytes=1 << 20)
    with place(store, "n1").open("wb", buffering=0) as file:
        file.write(whole[:50])
        await until(lambda: any(name == name_of("n1") and seen.unreadable for name, seen in observations))
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

    def observation(own: classifier.ChangeClassifier, name: str, suspect: Suspect) -> Observation:
        looks.append(name)
        if looks.count(name_of("n1")) == 2:
            path.write_bytes(whole)
        return real(own, name, suspect)

    monkeypatch.setattr(classifier.ChangeClassifier, "_observe", observation)
    path.write_bytes(whole[:50])
    await until(lambda: looks.count(name_of("n1")) >= 2)
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


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
@pytest.mark.parametrize("what", ["a link", "a file", "a directory in the place of the document"])
async def test_what_comes_back_as_it_was_is_no_change(
    storage: FileStorage, changes: Watch, store: Path, what: str
) -> None:
    path, aside = place(store, "n1"), store / "aside"
    moved = path if "directory" in what else path.parent
    moved.rename(aside)
    if what == "a link":
        moved.symlink_to(aside)
    elif what == "a file":
        moved.touch()
    else:
        moved.mkdir()
    await until(lambda: len(storage._store.index_file.use(lambda index: index.inventory.problems())) > 0)
    assert await all_told(storage, changes) == []

    if moved.is_dir() and not moved.is_symlink():
        moved.rmdir()
    else:
        moved.unlink()
    aside.rename(moved)
    await storage.refresh()
    assert await all_told(storage, changes) == []

    path.write_bytes(encode(document("n1", "edited"), max_bytes=1 << 20))
    assert await told(changes, 1) == [("updated", "n1", "external")]


async def test_a_foreign_file_is_nobody_s_business(storage: FileStorage, changes: Watch, store: Path) -> None:
    shard = place(store, "n1").parent
    for name in ("notes.txt", ".n1.json.swp", "n1.json~", "wrong-place.json"):
        (shard / name).write_bytes(encode(document("elsewhere"), max_bytes=1 << 20))
    (store / "README.md").write_text("mine")
    (store / "3ff").mkdir()
    (store / "3ff" / "x.json").write_text("{}")
    assert await all_told(storage, changes) == []


async def test_what_changed_for_a_moment_that_only_the_index_has_seen_is_indexed_again(
    storage: FileStorage, changes: Watch, store: Path
) -> None:
    """The file is as it was published, to the last tick of a clock; the row is of what it was in between."""
    assert changes is not None
    put(store, "x")
    assert await told(changes, 1) == [("created", "x", "external")]
    await storage._reading.executor.under_lock(lambda: storage._store.index_file.apply([], [name_of("x")]))
    storage._change_source._watcher._known.doubt(name_of("x"), time.monotonic())  # type: ignore[union-attr]
    deadline = time.monotonic() + DEADLINE_SECONDS
    while [record["id"] for record in await storage.list({"id": "x"})] != ["x"]:
        assert time.monotonic() < deadline, "the index does not follow"
        await asyncio.sleep(0.01)


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
