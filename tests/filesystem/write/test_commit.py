import asyncio
import errno
import os
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageCorruptedError, StorageError, StorageNotFoundError, StorageUnavailableError
from fsstore.filesystem.documents.layout import is_shard
from fsstore.filesystem.log.counters import State
from fsstore.filesystem.write import index_updates, writer
from fsstore.filesystem.write.commit import Committer
from fsstore.filesystem.write.index_updates import IndexUpdates
from fsstore.model.mutations import AnyMutation, Mutation, deleting, patching, saving
from fsstore.model.records import JsonObject
from fsstore.testing import HandClock
from tests.filesystem.faults import Faults, busy_writer, contents, control, cut_off, first, place, until

pytestmark = pytest.mark.usefixtures("file_clock")

# where the number of the newest segment stands in the sequence file
NEWEST = 8 * State._fields.index("newest")


def note(record_id: str) -> JsonObject:
    return {"id": record_id, "type": "note", "data": {"value": "new"}}


async def _save(storage: FileStorage) -> None:
    await storage.save({"id": "a", "data": {"value": "new"}})


async def _insert(storage: FileStorage) -> None:
    await storage.save({"id": "Z 1", "data": {"value": "new"}})


async def _delete(storage: FileStorage) -> None:
    await storage.delete("a")


async def _batch(storage: FileStorage) -> None:
    changes = [saving(note("a")), saving(note("d"))]
    await storage.commit([*changes, patching("b", {"data": {"value": "new"}}), deleting("c")])


WORKS: dict[str, Callable[[FileStorage], Awaitable[None]]] = {
    "save": _save,
    "insert": _insert,
    "delete": _delete,
    "batch": _batch,
}


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(monkeypatch)


async def open_filled(path: Path, *, fsync: bool) -> FileStorage:
    storage = await FileStorage.open(path, fsync=fsync, clock=HandClock())
    await storage.batch_save({"id": name, "data": {"value": "old"}} for name in "abc")
    await storage.list()
    return storage


async def attempt(work: Callable[[FileStorage], Awaitable[None]], storage: FileStorage) -> StorageError | None:
    try:
        await work(storage)
    except StorageError as error:
        return error
    return None


def says_what_became_of_it(
    error: StorageError | None, found: JsonObject, *, old: dict[str, Any], new: dict[str, Any]
) -> bool:
    """Whether an error's `outcome`, or its absence, is true of what is found."""
    if error is None:
        return found == new
    assert isinstance(error, StorageUnavailableError)
    return found == old if error.outcome == "not applied" else found in (old, new)


@pytest.mark.parametrize(("fsync", "number"), [(True, errno.EIO), (False, errno.ENOSPC)], ids=["durable", "no fsync"])
@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS.keys())
async def test_an_error_at_any_step_tells_what_became_of_the_commit_and_the_store_goes_on(
    tmp_path: Path, faults: Faults, work: Callable[[FileStorage], Awaitable[None]], number: int, *, fsync: bool
) -> None:
    async with await open_filled(tmp_path / "model", fsync=fsync) as storage:
        old = await contents(storage)
        await work(storage)
        new = await contents(storage)
    for step in count(1):
        store = tmp_path / str(step)
        async with await open_filled(store, fsync=fsync) as storage:
            with faults.at_step(step, number):
                error = await attempt(work, storage)
            found: dict[str, Any] = await contents(storage)
            assert says_what_became_of_it(error, found, old=old, new=new), f"step {step}: {faults.fired}: {error!r}"
            await storage.save({"id": "after"})
            found["after"] = await storage.load("after")
            assert await contents(storage) == found
        assert [control(store, name) for name in ("staging", "log", "quarantine")] == [[], [], []]
        async with await FileStorage.open(store) as storage:
            assert await contents(storage) == found
        if not faults.fired:
            break
    assert step > 2


async def test_a_commit_that_the_disk_refuses_does_not_refuse_the_others_of_its_group(
    tmp_path: Path, faults: Faults
) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        with faults.where(lambda name, args: name == "write" and b"too much" in bytes(args[1]), errno.ENOSPC):
            with busy_writer(storage):
                saves = [asyncio.ensure_future(storage.save({"id": name, "data": name})) for name in ("a", "b")]
                saves += [asyncio.ensure_future(storage.save({"id": "c", "data": "too much"}))]
                await asyncio.sleep(0)
            results: list[Any] = await asyncio.gather(*saves, return_exceptions=True)
        assert results[:2] == ["a", "b"]
        assert isinstance(results[2], StorageUnavailableError)
        assert (results[2].errno, results[2].outcome) == (errno.ENOSPC, "not applied")
        assert set(await contents(storage)) == {"a", "b"}


@pytest.mark.parametrize("fsync", [True, False])
async def test_a_full_disk_refuses_what_needs_a_directory_that_is_missing_and_keeps_nobody_from_the_rest(
    tmp_path: Path, faults: Faults, *, fsync: bool
) -> None:
    def makes_shard(name: str, arguments: tuple[Any, ...]) -> bool:
        return name == "mkdir" and is_shard(Path(arguments[0]).name)

    async with await open_filled(tmp_path, fsync=fsync) as storage:
        old = await contents(storage)
        with faults.where(makes_shard, errno.ENOSPC):
            for records in ([{"id": "d"}], [{"id": "a", "data": "new"}, {"id": "d"}]):
                (refused,) = await asyncio.gather(storage.batch_save(records), return_exceptions=True)
                assert isinstance(refused, StorageUnavailableError)
                assert (refused.errno, refused.outcome) == (errno.ENOSPC, "not applied")
                assert await contents(storage) == old
                assert [record["id"] for record in await storage.list(order_by="id")] == ["a", "b", "c"]
            with busy_writer(storage):
                saves = [asyncio.ensure_future(storage.save({"id": name, "data": "new"})) for name in "adb"]
                await asyncio.sleep(0)
            results = await asyncio.gather(*saves, return_exceptions=True)
            assert [result for result in results if not isinstance(result, StorageUnavailableError)] == ["a", "b"]
        await storage.save({"id": "d", "data": "new"})
        assert {
            name: record["data"] for name, record in (await contents(storage)).items() if name != "c"
        } == dict.fromkeys("abd", "new")


async def test_a_full_disk_refuses_it_also_where_the_first_of_that_directory_is_made_and_deleted_at_once(
    tmp_path: Path, faults: Faults
) -> None:
    def makes_shard(name: str, arguments: tuple[Any, ...]) -> bool:
        return name == "mkdir" and is_shard(Path(arguments[0]).name)

    brief = "brief"
    beside = next(name for name in map(str, count()) if place(tmp_path, name).parent == place(tmp_path, brief).parent)
    async with await open_filled(tmp_path, fsync=True) as storage:
        old = await contents(storage)
        assert not place(tmp_path, brief).parent.exists()
        with faults.where(makes_shard, errno.ENOSPC):
            changes: list[AnyMutation] = [saving(note(brief)), deleting(brief), saving(note(beside))]
            (refused,) = await asyncio.gather(storage.commit(changes), return_exceptions=True)
            assert isinstance(refused, StorageUnavailableError)
            assert (refused.errno, refused.outcome) == (errno.ENOSPC, "not applied")
            assert await contents(storage) == old


async def test_every_commit_of_a_refused_group_that_then_stumbles_is_answered(tmp_path: Path, faults: Faults) -> None:
    staging, placing = first("write"), first("replace")
    async with await FileStorage.open(tmp_path) as storage:
        with faults.where(lambda name, args: staging(name, args) or placing(name, args)):
            with busy_writer(storage):
                saves = [asyncio.ensure_future(storage.save({"id": name})) for name in "abc"]
                await asyncio.sleep(0)
            async with asyncio.timeout(10):
                results = await asyncio.gather(*saves, return_exceptions=True)
        assert faults.fired == ["write", "replace"]
        assert results == ["a", "b", "c"]
        assert set(await contents(storage)) == {"a", "b", "c"}


async def test_while_recovery_fails_too_a_commit_is_unknown_and_the_next_access_finishes_it(
    tmp_path: Path, faults: Faults
) -> None:
    async with await open_filled(tmp_path, fsync=True) as storage:
        with faults.where(lambda name, _: name in ("replace", "link")):
            error = await attempt(_batch, storage)
            assert error is not None
            assert error.outcome == "unknown"
            refused = await attempt(_save, storage)
            assert refused is not None
            assert refused.outcome == "not applied"
            with pytest.raises(StorageUnavailableError):
                await storage.load("a")
        found = await contents(storage)
        assert {name: record["data"]["value"] for name, record in found.items()} == dict.fromkeys("abd", "new")


class OddError(BaseException):
    """Neither an Exception nor one of ours."""


@pytest.mark.parametrize(
    "thrown", [ValueError("no"), StopIteration(), OSError(errno.EIO, "of the rule"), KeyError("x"), OddError("odd")]
)
async def test_whatever_a_rule_raises_reaches_its_caller_and_nobody_else(tmp_path: Path, thrown: BaseException) -> None:
    def rule(_current: JsonObject | None) -> JsonObject:
        raise thrown

    async with await FileStorage.open(tmp_path) as storage:
        with busy_writer(storage):
            bad = asyncio.ensure_future(storage.commit([saving(note("b")), Mutation("a", rule)]))
            good = asyncio.ensure_future(storage.save({"id": "c"}))
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            # a StopIteration turns into a RuntimeError where it would leave a coroutine
            with pytest.raises(RuntimeError if isinstance(thrown, StopIteration) else type(thrown)):
                await bad
            assert await good == "c"
        assert set(await contents(storage)) == {"c"}


async def test_commits_of_one_group_build_on_each_other_in_the_order_of_their_coming(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        with busy_writer(storage):
            commits = [
                storage.save({"id": "a", "data": {"n": 1}}),
                storage.update("a", {"data": {"m": 2}}),
                storage.update("missing", {"data": {}}),
                storage.delete("a"),
                storage.save({"id": "a", "data": {"n": 3}}),
            ]
            tasks = [asyncio.ensure_future(commit) for commit in commits]
            await asyncio.sleep(0)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[:2] == ["a", True]
        assert isinstance(results[2], StorageNotFoundError)
        assert results[3:] == [True, "a"]
        record = await storage.load("a")
        assert record is not None
        # above the one that was deleted
        assert (record["data"], record["version"]) == ({"n": 3}, 3)


@pytest.mark.parametrize("change", ["save", "update", "delete"])
async def test_a_damaged_document_is_neither_changed_nor_removed_by_what_depends_on_it(
    tmp_path: Path, change: str
) -> None:
    async with await open_filled(tmp_path, fsync=True) as storage:
        place(tmp_path, "a").write_bytes(b"{torn")
        changes: dict[str, AnyMutation] = {
            "save": saving(note("a"), expected_version=1),
            "update": patching("a", {"data": {}}),
            "delete": deleting("a", expected_version=1),
        }
        with pytest.raises(StorageCorruptedError) as caught:
            await storage.commit([changes[change], saving(note("new"))])
        assert caught.value.path == str(place(tmp_path, "a"))
        assert place(tmp_path, "a").read_bytes() == b"{torn"
        assert not await storage.exists("new")


@pytest.mark.parametrize("reads", ["list", "stream"])
async def test_a_list_made_while_a_batch_reaches_the_index_is_of_one_side(tmp_path: Path, reads: str) -> None:
    async def listed() -> dict[str, Any]:
        if reads == "list":
            return {record["id"]: record["data"] for record in await reader.list()}
        return {record["id"]: record["data"] async for batch in reader.stream_list() for record in batch}

    async with await FileStorage.open(tmp_path) as storage, await FileStorage.open(tmp_path) as reader:
        await storage.save({"id": "a", "data": "old"})
        assert await listed() == {"a": "old"}
        with closing(sqlite3.connect(tmp_path / ".fsstore/index.sqlite3", isolation_level=None)) as index:
            # whoever writes to the index now has to wait
            index.execute("BEGIN IMMEDIATE")
            batch = asyncio.ensure_future(storage.batch_save({"id": name, "data": "new"} for name in "ab"))
            await until(lambda: place(tmp_path, "b").exists() and not control(tmp_path, "staging"))
            reading = asyncio.ensure_future(listed())
            await asyncio.wait([reading], timeout=0.1)
        await batch
        assert await reading in ({"a": "old"}, {"a": "new", "b": "new"})


@pytest.mark.parametrize("directory", ["staging", "log"])
async def test_directories_that_somebody_removes_because_they_are_empty_are_made_again(
    tmp_path: Path, directory: str
) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        shutil.rmtree(tmp_path / ".fsstore" / directory)
        await storage.save({"id": "a"})
        await storage.batch_save([{"id": "b"}, {"id": "c"}])
        assert set(await contents(storage)) == {"a", "b", "c"}


async def test_a_shard_that_git_removed_is_made_again(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        for _ in range(3):
            await storage.save({"id": "a"})
            await storage.delete("a")
            place(tmp_path, "a").parent.rmdir()
        await storage.save({"id": "a"})
        assert set(await contents(storage)) == {"a"}


async def test_directories_above_documents_that_git_removes_while_they_are_made_refuse_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, left = os.mkdir, count(3, -1)

    def make_and_remove(path: Any, *arguments: Any, **options: Any) -> None:
        make(path, *arguments, **options)
        if is_shard(Path(path).name) and Path(path).parent == tmp_path and next(left) > 0:
            Path(path).rmdir()

    async with await FileStorage.open(tmp_path, shard_depth=2) as storage:
        monkeypatch.setattr(os, "mkdir", make_and_remove)
        await storage.save({"id": "a"})
        assert set(await contents(storage)) == {"a"}


async def test_a_segment_that_could_not_be_begun_nor_taken_back_does_not_stand_in_the_way_for_good(
    tmp_path: Path, faults: Faults
) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        with faults.where(lambda name, args: name == "unlink" or (name == "pwrite" and args[2] == NEWEST)):
            error = await attempt(_save, storage)
        assert error is not None
        assert error.outcome == "not applied"
        assert await storage.load("a") is None
        await _save(storage)
        assert set(await contents(storage)) == {"a"}


async def test_a_save_that_could_not_be_placed_is_not_called_done_when_its_index_step_fails_too(
    tmp_path: Path, faults: Faults
) -> None:
    placing, settling = first("replace"), first("pwrite")
    # a log that is empty: only then is a single save not logged
    await (await open_filled(tmp_path, fsync=False)).close()
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        with faults.where(
            lambda name, args: placing(name, args) or ("replace" in faults.fired and settling(name, args)), errno.EIO
        ):
            error = await attempt(_save, storage)
            await until(lambda: faults.fired == ["replace", "pwrite"])
        assert error is not None
        assert error.outcome == "not applied"
        record = await storage.load("a")
        assert record is not None
        assert record["data"] == {"value": "old"}


@pytest.mark.parametrize("fsync", [True, False], ids=["durable", "no fsync"])
async def test_temp_files_that_would_not_go_are_gone_with_the_next_commit(
    tmp_path: Path, faults: Faults, *, fsync: bool
) -> None:
    async with await open_filled(tmp_path, fsync=fsync) as storage:
        with faults.where(lambda name, _: name in ("unlink", "rmdir", "fdatasync", "replace")):
            assert await attempt(_save, storage) is not None
            assert await attempt(_insert, storage) is not None
        assert control(tmp_path, "staging") != []
        await storage.save({"id": "after"})
        await until(lambda: control(tmp_path, "staging") == [])
        assert set(await contents(storage)) == {"a", "b", "c", "after"}


@pytest.mark.parametrize("fsync", [True, False], ids=["durable", "no fsync"])
@pytest.mark.parametrize("work", WORKS)
async def test_temp_files_that_never_go_keep_nobody_from_anything(
    tmp_path: Path, faults: Faults, caplog: pytest.LogCaptureFixture, work: str, *, fsync: bool
) -> None:
    """What was replaced was made immutable meanwhile, say, or the disk does not find its block any more."""
    async with await open_filled(tmp_path, fsync=fsync) as storage:
        with faults.where(lambda name, args: name in ("unlink", "rmdir") and "staging" in str(args[0])):
            for _ in range(2):
                await storage.save({"id": "b", "data": {"value": "new"}})
                await until(lambda: not busy(storage))
            await WORKS[work](storage)
            found = await contents(storage)
            await storage.close()
            async with await FileStorage.open(tmp_path, fsync=fsync) as other:
                assert await contents(other) == found
                await other.save({"id": "after"})
                assert set(await contents(other)) == {*found, "after"}
            left = control(tmp_path, "staging")
            assert left != []
            assert f".fsstore/staging/{left[0]} will not go" in caplog.text
    async with await FileStorage.open(tmp_path, fsync=fsync) as storage:
        assert set(await contents(storage)) == {*found, "after"}
    assert control(tmp_path, "staging") == []


async def test_where_nothing_is_synced_a_batch_that_is_in_place_leaves_no_log(tmp_path: Path) -> None:
    async with await open_filled(tmp_path, fsync=False) as storage:
        for _ in range(2):
            await _batch(storage)
            assert control(tmp_path, "log") == []
            await _save(storage)
            assert control(tmp_path, "log") == []
        found = await contents(storage)
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        assert await contents(storage) == found


async def test_a_batch_behind_what_others_have_synced_stays_in_the_log_with_what_follows(tmp_path: Path) -> None:
    async with (
        await open_filled(tmp_path, fsync=True) as durable,
        await FileStorage.open(tmp_path, fsync=False) as quick,
    ):
        before = control(tmp_path, "log")
        assert before != []
        await _batch(quick)
        await _save(quick)
        assert set(before) <= set(control(tmp_path, "log"))
        found = await contents(durable)
        assert found == await contents(quick)
    assert control(tmp_path, "log") == []
    async with await FileStorage.open(tmp_path) as storage:
        assert await contents(storage) == found


async def test_a_log_that_a_store_without_fsync_shares_with_one_that_syncs_does_not_grow_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_IDLE_SECONDS", 60.0)
    monkeypatch.setattr(writer, "_SEGMENT_BYTES", 20_000)

    def log_bytes() -> int:
        # the checkpoint may take a segment away between its name and its size
        total = 0
        for segment in (tmp_path / ".fsstore/log").iterdir():
            with suppress(FileNotFoundError):
                total += segment.stat().st_size
        return total

    async with (
        await open_filled(tmp_path, fsync=True) as durable,
        await FileStorage.open(tmp_path, fsync=False) as quick,
    ):
        batch = [{"id": name, "data": "x" * 2_000} for name in "de"]
        for _ in range(20):
            await quick.batch_save(batch)
        thread = quick._store.writer
        assert thread is not None
        # a slow disk may have kept one checkpoint running all the time: it is the batch after it that begins the next
        await until(lambda: not thread.checkpoints.is_running)
        await quick.batch_save(batch)
        await until(lambda: log_bytes() < 40_000)
        assert set(await contents(durable)) == set("abcde")


async def test_a_commit_that_was_refused_is_told_so_also_when_the_fate_of_its_group_is_unknown(
    tmp_path: Path, faults: Faults
) -> None:
    async with await open_filled(tmp_path, fsync=True) as storage:
        with faults.where(lambda name, _: name in ("fdatasync", "ftruncate")):
            with busy_writer(storage):
                good = asyncio.ensure_future(_save(storage))
                bad = asyncio.ensure_future(storage.update("missing", {}))
                await asyncio.sleep(0)
            results: Sequence[Any] = await asyncio.gather(good, bad, return_exceptions=True)
        assert isinstance(results[0], StorageUnavailableError)
        assert results[0].outcome == "unknown"
        assert isinstance(results[1], StorageNotFoundError)
        assert set(await contents(storage)) == set("abc")


@pytest.mark.parametrize("step", [(IndexUpdates, "write_many"), (Committer, "finish")], ids=["pass on", "finish"])
@pytest.mark.parametrize("thrown", [OSError(errno.EIO, "no"), sqlite3.OperationalError("no")])
@pytest.mark.parametrize("fsync", [True, False], ids=["durable", "no fsync"])
async def test_commits_go_on_when_the_step_behind_them_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: tuple[type, str], thrown: Exception, *, fsync: bool
) -> None:
    failures: list[str] = []

    def fail(_self: object) -> None:
        failures.append(step[1])
        raise thrown

    async with await open_filled(tmp_path, fsync=fsync) as storage, asyncio.timeout(20):
        with monkeypatch.context() as patch:
            patch.setattr(*step, fail)
            await asyncio.gather(*(storage.save({"id": f"n{at}"}) for at in range(5)))
            await _batch(storage)
            # without a log no checkpoint takes the lock once more
            await until(lambda: len(failures) > fsync)
        await _insert(storage)
        assert set(await contents(storage)) == {"a", "b", "d", "Z 1", *(f"n{at}" for at in range(5))}


async def test_a_watcher_that_can_not_be_told_keeps_no_commit_from_its_answer(tmp_path: Path) -> None:
    async with await open_filled(tmp_path, fsync=False) as storage, asyncio.timeout(20):
        assert storage._store.writer is not None
        storage._store.writer.report_to(lambda _notes: 1 / 0)  # type: ignore[arg-type]
        await _batch(storage)
        await _insert(storage)
        assert set(await contents(storage)) == {"a", "b", "d", "Z 1"}


@pytest.mark.parametrize("fsync", [True, False], ids=["durable", "no fsync"])
async def test_what_can_not_be_made_ready_for_the_index_is_committed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fsync: bool
) -> None:
    async with await open_filled(tmp_path, fsync=fsync) as storage:
        with monkeypatch.context() as patch:
            patch.setattr(index_updates, "described", lambda _entry: 1 / 0)
            await _batch(storage)
            await _insert(storage)
            await until(lambda: not busy(storage))
        found = await contents(storage)
        assert set(found) == {"a", "b", "d", "Z 1"}
        await _save(storage)
        await until(lambda: control(tmp_path, "staging") == [])
    async with await FileStorage.open(tmp_path) as storage:
        assert set(await contents(storage)) == set(found)


def busy(storage: FileStorage) -> bool:
    writer = storage._store.writer
    return writer is not None and writer.is_holding


# -- versions ---------------------------------------------------------------------------------------------------------


async def made_again(storage: FileStorage) -> int:
    (outcome,) = await storage.commit([saving({"id": "a", "type": "note", "data": {}}, expected_version=0)])
    return outcome.after


@pytest.mark.parametrize("fsync", [True, False], ids=["durable", "quick"])
@pytest.mark.parametrize("lost", [None, "seq", "floor"])
async def test_versions_do_not_repeat_after_a_close_whichever_file_is_lost(
    tmp_path: Path, lost: str | None, *, fsync: bool
) -> None:
    async with await FileStorage.open(tmp_path, fsync=fsync) as storage:
        for _ in range(3):
            await storage.save({"id": "a"})
        await storage.delete("a")
    if lost is not None:
        (tmp_path / ".fsstore" / lost).unlink(missing_ok=lost == "floor")
    async with await FileStorage.open(tmp_path, fsync=fsync) as storage:
        assert await made_again(storage) == 4


async def test_a_deletion_in_the_log_tells_the_floor_where_a_power_cut_has_taken_the_rest(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path / "store") as storage:
        for _ in range(3):
            await storage.save({"id": "a"})
        await storage.delete("a")
        left = cut_off(storage, tmp_path / "store", tmp_path / "left")
    (left / ".fsstore/seq").write_bytes(b"")
    assert control(left, "log") != []
    assert not (left / ".fsstore/floor").exists()
    async with await FileStorage.open(left) as storage:
        assert await made_again(storage) == 4


async def test_what_one_group_makes_and_deletes_raises_the_floor(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        with busy_writer(storage):
            commits = [asyncio.ensure_future(storage.commit([change])) for change in (saving(note("a")), deleting("a"))]
            await asyncio.sleep(0)
        assert [outcome.after for (outcome,) in await asyncio.gather(*commits)] == [1, 0]
        assert await made_again(storage) == 2


async def test_a_version_written_by_hand_that_no_store_counts_to_raises_no_floor(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.save({"id": "a"})
        text = place(tmp_path, "a").read_text()
        place(tmp_path, "a").write_text(text.replace('"version": 1', f'"version": {2**63 - 1}'))
        await storage.delete("a")
        assert await made_again(storage) == 1


@pytest.mark.parametrize("others", [False, True], ids=["one process", "two processes"])
async def test_no_commit_is_lost_by_counters_that_are_older_than_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, others: bool
) -> None:
    monkeypatch.setattr(writer, "_IDLE_SECONDS", 600)
    store = tmp_path / "store"
    async with await FileStorage.open(store) as storage, await FileStorage.open(store) as other:
        await storage.save(note("a"))
        older = (store / ".fsstore/seq").read_bytes()
        for _ in range(3):
            with busy_writer(storage):
                storage._store.counters.write(sealed=storage._store.counters.read().newest)
            await storage.save(note("a"))
        # in place, as `cp` does it: the file keeps its inode, and nobody misses its name
        (store / ".fsstore/seq").write_bytes(older)
        await (other if others else storage).save({**note("a"), "data": {"value": "last"}})
        left = cut_off(storage, store, tmp_path / "left")
    # as a power cut takes it that was not synced
    place(left, "a").unlink()
    async with await FileStorage.open(left) as storage:
        record = await storage.load("a")
        assert record is not None
        assert (record["data"], record["version"]) == ({"value": "last"}, 5)


async def test_the_checkpoint_of_another_store_is_not_taken_for_a_log_that_was_removed(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path, fsync=False) as quick:
        async with await FileStorage.open(tmp_path) as durable:
            await durable.save(note("a"))
            # which is logged, too, since the log holds what the other one has written
            await quick.save(note("b"))
        assert await quick.count() == 2
        before = quick._store.counters.read()
        assert before.log_is_empty
        await quick.save(note("c"))
        assert await quick.count() == 3
        assert quick._store.counters.read().stale == before.stale
