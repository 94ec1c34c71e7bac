import asyncio
import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageCorruptedError, StorageError, StorageUnavailableError
from fsstore.filesystem.documents.documents import Documents
from fsstore.filesystem.log import presence
from fsstore.filesystem.log.checkpoint import Checkpoint
from fsstore.filesystem.log.log import Log
from fsstore.filesystem.log.recovery import Recovery
from fsstore.filesystem.write import writer
from fsstore.filesystem.write.commit import Committer
from fsstore.model.records import JsonObject
from tests.filesystem import clocks
from tests.filesystem.faults import Faults, below, contents, control, cut_off, first, place, until
from tests.filesystem.test_crashes import crash

ROOT = Path(__file__).parents[3]
HOUR_NS = 3_600_000_000_000


async def values(store: Path) -> dict[str, Any]:
    """Open a store, and return the data of its documents."""
    async with await FileStorage.open(store) as storage:
        return {record_id: record["data"] for record_id, record in (await contents(storage)).items()}


async def left_by(tmp_path: Path, work: Callable[[FileStorage], Awaitable[object]]) -> Path:
    """Do some work and return a store as it lies on disk right after it, with its log."""
    store = tmp_path / "store"
    async with await FileStorage.open(store) as storage:
        await work(storage)
        return cut_off(storage, store, tmp_path / "left")


def quarantined(store: Path) -> list[bytes]:
    return [(store / ".fsstore/quarantine" / name).read_bytes() for name in control(store, "quarantine")]


def edited(data: bytes) -> bytes:
    return data.replace(b'"first"', b'"by hand"').replace(b'"last"', b'"by hand"')


async def two_saves(storage: FileStorage) -> bytes:
    """Save `a` twice; return the bytes of the first version."""
    await storage.save({"id": "a", "data": "first"})
    before = place(Path(storage._tree.root), "a").read_bytes()
    await storage.save({"id": "a", "data": "last"})
    return before


async def test_nobody_reads_a_part_of_a_batch_while_it_is_recovered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer has died between the log and the first document."""

    async def work(storage: FileStorage) -> None:
        await storage.batch_save([{"id": "a", "data": "first"}, {"id": "b", "data": "first"}])
        before.update({name: place(tmp_path / "store", name).read_bytes() for name in "ab"})
        await storage.batch_save([{"id": "a", "data": "last"}, {"id": "b", "data": "last"}])

    before: dict[str, bytes] = {}
    store = await left_by(tmp_path, work)
    for name, data in before.items():
        place(store, name).write_bytes(data)
    settle, seen = Recovery._settle, []

    def watched(recovery: Recovery, history: Any, *, anew: bool) -> bool:
        done = settle(recovery, history, anew=anew)
        seen.append(recovery._counters.read().applying % 2)
        return done

    monkeypatch.setattr(Recovery, "_settle", watched)
    assert await values(store) == {"a": "last", "b": "last"}
    assert seen == [1, 1]
    async with await FileStorage.open(store) as storage:
        assert storage._counters.read().applying % 2 == 0


async def test_what_is_in_place_can_be_read_while_the_disk_refuses_to_sync_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(monkeypatch)
    async with await FileStorage.open(tmp_path) as storage:
        await two_saves(storage)
        parts = storage._store
        assert parts.writer is not None
        with faults.where(lambda name, _: name == "fsync"):
            with pytest.raises(StorageUnavailableError):
                await asyncio.wrap_future(parts.writer.call(parts.recovery.run))
            assert parts.counters.read().unfinished
            assert (await storage.load("a") or {})["data"] == "last"


async def test_a_segment_whose_deletion_a_power_cut_has_undone_goes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its deletion was not synced, and the counters say that it is gone."""
    kept: dict[str, bytes] = {}
    withdraw = Log.withdraw

    def watched(withdrawn: Log) -> bool:
        kept.update({path.name: path.read_bytes() for path in (tmp_path / ".fsstore/log").iterdir()})
        return withdraw(withdrawn)

    monkeypatch.setattr(Log, "withdraw", watched)
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        await storage.batch_save([{"id": "a"}, {"id": "b"}])
    assert (len(kept), control(tmp_path, "log")) == (1, [])
    for name, data in kept.items():
        (tmp_path / ".fsstore/log" / name).write_bytes(data)
    assert await values(tmp_path) == {"a": {}, "b": {}}
    assert control(tmp_path, "log") == []


# -- what lies there, and what becomes of it --------------------------------------------------------------------------


@pytest.fixture
async def left(tmp_path: Path) -> Path:
    """Return a store whose log knows two versions of `a`; the older one lies beside it, in `first.json`."""
    kept: list[bytes] = []

    async def work(storage: FileStorage) -> None:
        kept.append(await two_saves(storage))

    store = await left_by(tmp_path, work)
    (tmp_path / "first.json").write_bytes(kept[0])
    return store


async def test_a_document_that_is_what_the_log_says_is_left_alone(left: Path) -> None:
    before = place(left, "a").stat()
    assert await values(left) == {"a": "last"}
    assert place(left, "a").stat().st_ino == before.st_ino
    assert control(left, "log") == []
    assert quarantined(left) == []


async def test_a_document_that_is_gone_comes_back(left: Path) -> None:
    place(left, "a").unlink()
    place(left, "a").parent.rmdir()
    assert await values(left) == {"a": "last"}
    assert quarantined(left) == []


async def test_an_older_version_that_the_log_knows_gives_way(left: Path, tmp_path: Path) -> None:
    shutil.copy(tmp_path / "first.json", place(left, "a"))
    assert await values(left) == {"a": "last"}
    assert quarantined(left) == []


async def test_the_version_before_all_that_the_log_holds_gives_way_too(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path / "store") as storage:
        await storage.save({"id": "a", "data": "first"})
    before = place(tmp_path / "store", "a").read_bytes()
    store = await left_by(tmp_path, lambda storage: storage.save({"id": "a", "data": "last"}))
    place(store, "a").write_bytes(before)
    assert await values(store) == {"a": "last"}
    assert quarantined(store) == []


@pytest.mark.parametrize("size", [0, 1, 60])
async def test_a_torn_document_is_written_again_and_what_lay_there_kept(left: Path, size: int) -> None:
    os.truncate(place(left, "a"), size)
    torn = place(left, "a").read_bytes()
    assert await values(left) == {"a": "last"}
    assert quarantined(left) == ([torn] if torn else [])


async def test_a_later_commit_whose_time_lags_behind_a_tick_is_not_taken_for_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log that knew of it is gone, and what is left of it knows one before."""
    monkeypatch.setattr(Committer, "_time_ns", lambda *_: time.time_ns() + HOUR_NS)
    store = await left_by(tmp_path, two_saves)
    later = place(store, "a").read_bytes().replace(b'"last"', b'"later"').replace(b'"version": 2', b'"version": 5')
    place(store, "a").write_bytes(later)
    async with await FileStorage.open(store) as storage:
        found = await storage.load("a")
        assert found is not None
        assert (found["data"], found["version"]) == ("later", 5)


async def test_a_document_that_comes_back_from_before_the_log_gives_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Committer, "_time_ns", lambda *_: time.time_ns() + HOUR_NS)
    store = await left_by(tmp_path, two_saves)
    earlier = place(store, "a").read_bytes().replace(b'"last"', b'"long ago"').replace(b'"version": 2', b'"version": 1')
    place(store, "a").write_bytes(earlier)
    assert await values(store) == {"a": "last"}
    assert quarantined(store) == [earlier]


async def test_a_staging_directory_that_is_removed_under_a_recovery_is_no_fault_of_the_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be put in place must not be kept to overwrite, later, what others commit meanwhile."""
    place_document, removed = Documents.place, list[str]()

    def place_once(documents: Documents, staged: str, name: str) -> Any:
        if not removed:
            # another process has made it anew already
            shutil.rmtree(tmp_path / "left/.fsstore/staging")
            (tmp_path / "left/.fsstore/staging").mkdir()
            removed.append(name)
        return place_document(documents, staged, name)

    store = await left_by(tmp_path, two_saves)
    place(store, "a").unlink()
    monkeypatch.setattr(Documents, "place", place_once)
    with suppress(StorageError):
        async with await FileStorage.open(store) as storage:
            await storage.save({"id": "b"})
    assert removed == [place(Path(), "a").as_posix()]
    assert not (store / ".fsstore/waiting").exists()
    assert await values(store) == {"a": "last", "b": {}}


async def test_a_document_edited_by_hand_stays_and_the_logs_value_is_kept(left: Path) -> None:
    committed = place(left, "a").read_bytes()
    place(left, "a").write_bytes(edited(committed))
    assert await values(left) == {"a": "by hand"}
    assert quarantined(left) == [committed]


@pytest.mark.parametrize("is_read_only", [False, True], ids=["recovered", "only read"])
async def test_a_conflict_that_git_has_left_stays_for_who_solves_it(left: Path, *, is_read_only: bool) -> None:
    committed = place(left, "a").read_bytes()
    ours = b'  "data": "last",\n'
    theirs = ours.replace(b"last", b"theirs")
    both = b"<<<<<<< ours\n%b=======\n%b>>>>>>> theirs\n" % (ours, theirs)
    conflict = committed.replace(ours, both)
    assert conflict != committed
    place(left, "a").write_bytes(conflict)
    async with await FileStorage.open(left, read_only=is_read_only) as storage:
        with pytest.raises(StorageCorruptedError, match="conflict"):
            await storage.load("a")
    assert place(left, "a").read_bytes() == conflict
    assert quarantined(left) == ([] if is_read_only else [committed])


@pytest.mark.usefixtures("coarse_clock")
@pytest.mark.parametrize("attempt", range(3))
async def test_an_edit_by_hand_stays_also_within_the_tick_of_its_commit(tmp_path: Path, attempt: int) -> None:
    clocks.await_tick(tmp_path)
    store = await left_by(tmp_path, two_saves)
    committed = place(store, "a").read_bytes()
    place(store, "a").write_bytes(edited(committed))
    assert await values(store) == {"a": "by hand"}
    assert quarantined(store) == [committed], attempt


@pytest.mark.parametrize("obstacle", ["directory", "link"])
async def test_what_stands_in_the_place_of_a_document_moves_aside_whole(
    left: Path, tmp_path: Path, obstacle: str
) -> None:
    place(left, "a").unlink()
    if obstacle == "directory":
        place(left, "a").mkdir()
        (place(left, "a") / "inside").write_text("precious")
    else:
        (tmp_path / "inside").write_text("precious")
        place(left, "a").symlink_to(tmp_path / "inside")
    assert await values(left) == {"a": "last"}
    (name,) = control(left, "quarantine")
    aside = left / ".fsstore/quarantine" / name
    assert (aside / "inside" if obstacle == "directory" else aside).read_text() == "precious"


@pytest.mark.parametrize("by_hand", [False, True], ids=["as it was", "edited by hand"])
async def test_a_document_that_the_log_deleted_goes_unless_somebody_has_edited_it(
    tmp_path: Path, *, by_hand: bool
) -> None:
    kept: list[bytes] = []

    async def work(storage: FileStorage) -> None:
        kept.append(await two_saves(storage))
        kept.append(place(tmp_path / "store", "a").read_bytes())
        await storage.delete("a")

    store = await left_by(tmp_path, work)
    # the unlink was not synced, and a power cut has undone it
    place(store, "a").write_bytes(edited(kept[1]) if by_hand else kept[1])
    assert await values(store) == ({"a": "by hand"} if by_hand else {})


async def test_a_batch_whose_renames_were_all_undone_is_whole_again(tmp_path: Path) -> None:
    store = await left_by(tmp_path, lambda storage: storage.batch_save({"id": name, "data": 1} for name in "abcdef"))
    for name in "abcdef":
        place(store, name).unlink()
    assert await values(store) == dict.fromkeys("abcdef", 1)


# -- the log ----------------------------------------------------------------------------------------------------------


async def test_a_damaged_record_in_the_middle_is_set_aside_and_the_others_are_applied(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(storage: FileStorage) -> None:
        for name in "abc":
            await storage.save({"id": name, "data": f"value of {name}"})

    store = await left_by(tmp_path, work)
    for name in "abc":
        place(store, name).unlink()
    (segment,) = (store / ".fsstore/log").iterdir()
    segment.write_bytes(segment.read_bytes().replace(b"value of b", b"value of X"))
    damaged = segment.read_bytes()
    with caplog.at_level(logging.WARNING, "fsstore"):
        assert await values(store) == {"a": "value of a", "c": "value of c"}
    assert quarantined(store) == [damaged]
    assert "is damaged" in caplog.text


@pytest.mark.parametrize("lost", [1, 5, 100])
async def test_a_record_torn_at_the_end_is_a_commit_that_never_happened(tmp_path: Path, lost: int) -> None:
    async def work(storage: FileStorage) -> None:
        await storage.save({"id": "a", "data": "x" * 200})
        await storage.save({"id": "b", "data": "y" * 200})

    store = await left_by(tmp_path, work)
    for name in "ab":
        place(store, name).unlink()
    (segment,) = (store / ".fsstore/log").iterdir()
    os.truncate(segment, segment.stat().st_size - lost)
    assert await values(store) == {"a": "x" * 200}
    assert quarantined(store) == []


async def in_two_segments(storage: FileStorage) -> None:
    """Save `a` in one segment and delete it in the next, with `b` in both."""
    writer = storage._store.writer
    assert writer is not None
    await storage.batch_save([{"id": "a", "data": 1}, {"id": "b", "data": 1}])
    parts = storage._store
    writer.call(Checkpoint(parts.documents, Log(parts.tree, parts.counters), parts.counters).seal)
    await storage.transaction([{"type": "delete", "id": "a"}, {"type": "update", "id": "b", "data": {"data": 2}}])


async def test_what_a_later_segment_deleted_is_never_resurrected_by_an_earlier_one(tmp_path: Path) -> None:
    store = await left_by(tmp_path, in_two_segments)
    assert len(control(store, "log")) == 2
    place(store, "b").unlink()
    assert await values(store) == {"b": 2}


@pytest.mark.parametrize("by", ["recovery", "checkpoint"])
async def test_segments_go_the_oldest_first_each_on_disk_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    calls: list[str] = []
    unlink, sync = os.unlink, os.fsync

    def unlinking(path: Any, *, dir_fd: int | None = None) -> None:
        if str(path).endswith(".log"):
            calls.append(Path(path).name)
        unlink(path, dir_fd=dir_fd)

    def syncing(descriptor: int) -> None:
        if calls and Path(f"/proc/self/fd/{descriptor}").readlink().name == "log":
            calls.append("sync")
        sync(descriptor)

    def watch() -> None:
        monkeypatch.setattr(os, "unlink", unlinking)
        monkeypatch.setattr(os, "fsync", syncing)

    if by == "recovery":
        store = await left_by(tmp_path, in_two_segments)
        watch()
        assert await values(store) == {"b": 2}
    else:
        async with await FileStorage.open(tmp_path / "store") as storage:
            await in_two_segments(storage)
            watch()
    assert calls == ["000000000001.log", "sync", "000000000002.log", "sync"]


async def test_who_finds_a_log_alone_replays_it_and_who_finds_somebody_there_does_not_even_read_it(
    left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    system_open = os.open

    def opening(path: Any, *arguments: Any, **options: Any) -> int:
        opened.append(str(path))
        return system_open(path, *arguments, **options)

    monkeypatch.setattr(os, "open", opening)
    async with await FileStorage.open(left) as storage:
        assert len([path for path in opened if path.endswith("/a.json") or path == "a.json"]) == 1
        await storage.save({"id": "b"})
        opened.clear()
        async with await FileStorage.open(left):
            assert control(left, "log") != []
            assert [path for path in opened if path.endswith(".json") and "fsstore.json" not in path] == []
            assert [path for path in opened if path.endswith(".log")] == []
    opened.clear()
    async with await FileStorage.open(left):
        assert [path for path in opened if path.endswith(".log")] == []


async def test_a_store_whose_counters_were_lost_replays_its_log_and_goes_on_behind_it(tmp_path: Path) -> None:
    store = await left_by(tmp_path, in_two_segments)
    (store / ".fsstore/seq").unlink()
    place(store, "b").unlink()
    async with await FileStorage.open(store) as storage:
        assert set(await contents(storage)) == {"b"}
        await storage.save({"id": "b", "data": 3})
        again = cut_off(storage, store, tmp_path / "again")
    assert await values(again) == {"b": 3}


async def test_a_store_copied_while_it_was_written_recovers_elsewhere(tmp_path: Path) -> None:
    store, copy = tmp_path / "store", tmp_path / "copy"
    async with await FileStorage.open(store) as storage:
        await storage.batch_save([{"id": "a", "data": 1}, {"id": "b", "data": 1}])
        shutil.copytree(store, copy, ignore=shutil.ignore_patterns(".fsstore"))
        # the copy of the documents is older than that of the log
        await storage.transaction(
            [
                {"type": "delete", "id": "a"},
                {"type": "save", "data": {"id": "c", "data": 2}},
                {"type": "update", "id": "b", "data": {"data": 2}},
            ]
        )
        cut_off(storage, store / ".fsstore", copy / ".fsstore")
    assert await values(copy) == {"b": 2, "c": 2}


async def test_while_the_log_holds_records_a_store_that_is_not_durable_logs_too(tmp_path: Path) -> None:
    store = tmp_path / "store"
    async with await FileStorage.open(store) as durable, await FileStorage.open(store, fsync=False) as quick:
        await durable.save({"id": "a", "data": "first"})
        first_version = place(store, "a").read_bytes()
        await quick.save({"id": "a", "data": "last"})
        await durable.save({"id": "b", "data": "first"})
        await quick.delete("b")
        left = cut_off(durable, store, tmp_path / "left")
    assert await values(shutil.copytree(left, tmp_path / "untouched")) == {"a": "last"}
    place(left, "a").write_bytes(first_version)
    assert await values(left) == {"a": "last"}


async def test_whoever_finds_the_control_directory_gone_logs_into_the_new_one(tmp_path: Path) -> None:
    store = tmp_path / "store"
    async with await FileStorage.open(store) as one, await FileStorage.open(store) as other:
        await one.save({"id": "a", "data": 1})
        await other.save({"id": "b", "data": 1})
        # a writer lets go of the lock a moment after its answer
        await until(lambda: not one._store.writer or not one._store.writer.lock_is_held())
        shutil.rmtree(store / ".fsstore")
        await one.save({"id": "a", "data": 2})
        await other.save({"id": "b", "data": 2})
        left = cut_off(other, store, tmp_path / "left")
    place(left, "b").unlink()
    assert await values(left) == {"a": 2, "b": 2}


# -- trouble ----------------------------------------------------------------------------------------------------------


async def test_a_document_that_could_not_be_synced_is_written_anew_before_its_log_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(monkeypatch)
    seen: list[str] = []

    def failing(name: str, arguments: tuple[Any, ...]) -> bool:
        if name == "unlink" and str(arguments[0]).endswith(".log"):
            seen.append("the log went")
        if name == "replace":
            seen.append("written anew")
        return not_synced(name, arguments)

    async with await FileStorage.open(tmp_path) as storage:
        await storage.save({"id": "a", "data": 1})
        before = place(tmp_path, "a").stat().st_ino
        not_synced = first("fsync")
        with faults.where(failing):
            await until(lambda: not control(tmp_path, "log"))
        assert faults.fired == ["fsync"]
        assert seen == ["written anew", "the log went"]
        assert place(tmp_path, "a").stat().st_ino != before
        assert (await contents(storage))["a"]["data"] == 1


async def test_a_recovery_that_the_disk_refuses_is_told_and_tried_again(
    left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(monkeypatch)
    place(left, "a").unlink()
    with (
        faults.where(lambda name, _: name in ("replace", "fsync"), errno.ENOSPC),
        pytest.raises(StorageUnavailableError) as caught,
    ):
        await FileStorage.open(left)
    assert caught.value.errno == errno.ENOSPC
    assert control(left, "log") != []
    assert await values(left) == {"a": "last"}
    assert control(left, "staging") == []


def test_a_recovery_killed_at_any_step_is_finished_by_the_next(tmp_path: Path) -> None:
    results = crash("recovery", tmp_path)
    assert len(results) >= 12
    assert {result["state"] for result in results} == {"new"}
    assert {"open", "write", "fsync", "replace", "unlink", "pwrite"} <= {result["call"] for result in results}


# -- a medium that cannot be written ---------------------------------------------------------------------------------


@pytest.fixture
def read_only_medium(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what makes the system refuse every change, as on a medium mounted read-only."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def begin() -> None:
        system_open, access = os.open, os.access

        def opening(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                refuse()
            return system_open(path, flags, *arguments, **options)

        monkeypatch.setattr(os, "open", opening)
        monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK and access(path, mode))
        for name in ("mkdir", "unlink", "replace", "rename", "link", "rmdir"):
            monkeypatch.setattr(os, name, refuse)

    return begin


@pytest.mark.parametrize("index_file", ["there", "gone"])
async def test_a_store_on_a_read_only_medium_is_read_and_listed_and_left_alone(
    tmp_path: Path, read_only_medium: Callable[[], None], index_file: str
) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.batch_save({"id": name, "data": {"value": name}} for name in "abc")
        expected: dict[str, JsonObject] = await contents(storage)
    if index_file == "gone":
        shutil.rmtree(tmp_path / ".fsstore")
    before = below(tmp_path)
    read_only_medium()
    async with await FileStorage.open(tmp_path) as storage:
        assert await contents(storage) == expected
        assert await storage.list({"data.value": "b"}) == [expected["b"]]
        report = await storage.health_check()
        assert (report["writable"], report["index"], report["documents"]) == (False, "memory", 3)
        with pytest.raises(StorageUnavailableError) as caught:
            await storage.save({"id": "d"})
        assert caught.value.outcome == "not applied"
    assert below(tmp_path) == before


async def test_a_document_that_could_not_be_synced_is_written_anew_before_the_log_goes_however_often_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the one checkpoint is the test's
    monkeypatch.setattr(writer, "_IDLE_SECONDS", 600.0)
    faults = Faults(monkeypatch)
    async with await FileStorage.open(tmp_path) as storage:
        thread = storage._store.writer
        assert thread is not None
        await storage.save({"id": "a", "data": "kept"})
        # the lock of one open store does not keep its threads apart
        await until(lambda: not thread.is_holding)
        before = place(tmp_path, "a").stat().st_ino
        # a file that is open keeps its inode number from the second one
        with place(tmp_path, "a").open("rb"), faults.where(lambda name, _: name == "fsync"):
            assert thread.checkpoints._seal()
            thread.checkpoints._sync()
            # its turn comes after the recovery that was queued, and it has to recover first too
            with pytest.raises(StorageUnavailableError):
                await asyncio.wrap_future(thread.call(lambda: None))
        assert control(tmp_path, "log") != []
    # the system thought its pages clean after the first failure, so that a second sync proves nothing of them
    assert place(tmp_path, "a").stat().st_ino != before
    assert [control(tmp_path, name) for name in ("staging", "log", "quarantine")] == [[], [], []]


async def test_a_deletion_whose_directory_could_not_be_synced_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.save({"id": "a"})
        await storage.delete("a")
        unlinked: list[str] = []
        unlink = os.unlink

        def unlinking(path: Any, *, dir_fd: int | None = None) -> None:
            unlinked.append(Path(path).name)
            unlink(path, dir_fd=dir_fd)

        monkeypatch.setattr(os, "unlink", unlinking)
        # a sync has failed, in whatever process
        storage._counters.write(unsynced=storage._counters.read().newest)
        await storage.save({"id": "b"})
        # there was nothing of that name left to remove
        assert "a.json" in unlinked
        assert set(await contents(storage)) == {"b"}
    assert quarantined(tmp_path) == []


# -- another process has died, and the store was open all along ------------------------------------------------------

DYING = """
import asyncio, sys
from pathlib import Path
from fsstore import FileStorage
from fsstore.filesystem.write import writer
from tests.filesystem.crashing import Killer

writer._IDLE_SECONDS = 600.0

async def work():
    storage = await FileStorage.open(sys.argv[1])
    for value in ("first", "last"):
        await storage.save({"id": "a", "data": value})
    for name in "bcde":
        await storage.save({"id": name, "data": "last"})
    print("saved", flush=True)
    sys.stdin.readline()
    Killer(1, Path(sys.argv[2]), only="replace").arm()
    # one is made, of another the name is exchanged: none of the two is in place
    await storage.batch_save([{"id": "e", "data": "tail"}, {"id": "tail", "data": "tail"}])

asyncio.run(work())
"""


async def test_edits_by_hand_are_not_undone_by_the_crash_of_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even back to a value that the log knows, as by `git checkout`, and no deletion."""
    monkeypatch.setattr(writer, "_IDLE_SECONDS", 600.0)
    store = tmp_path / "store"
    async with await FileStorage.open(store) as storage:
        await storage.save({"id": "a", "data": "zero"})
        zero = place(store, "a").read_bytes()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", DYING, str(store), str(tmp_path / "call")),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            assert process.stdin is not None
            assert await process.stdout.readline() == b"saved\n"
            committed = {name: place(store, name).read_bytes() for name in "abcd"}
            place(store, "a").write_bytes(zero)
            # somebody's editor is at it, and will go on
            os.truncate(place(store, "d"), 20)
            place(store, "b").unlink()
            place(store, "c").write_bytes(edited(committed["c"]))
            process.stdin.write(b"\n")
            assert await process.wait() == -signal.SIGKILL
        finally:
            if process.returncode is None:
                process.kill()
        assert control(store, "log") != []
        assert storage._counters.read().unfinished
        found = {key: record["data"] for key, record in (await contents(storage)).items()}
    assert found == {"a": "zero", "c": "by hand", "e": "tail", "tail": "tail"}
    assert place(store, "d").read_bytes() == committed["d"][:20]
    assert sorted(quarantined(store)) == sorted([committed["a"], committed["c"], committed["d"]])


async def test_what_was_placed_counts_for_nothing_once_nobody_has_had_the_store_open(
    left: Path, tmp_path: Path
) -> None:
    """A medium that went and came may have brought the old version back, or nothing, whatever the counters say."""
    shutil.copy(tmp_path / "first.json", place(left, "a"))
    async with await FileStorage.open(left) as storage:
        assert (await contents(storage))["a"]["data"] == "last"
    assert quarantined(left) == []


@pytest.mark.parametrize("what", ["nothing", "something"])
async def test_the_index_is_stale_after_a_replay_only_if_something_was_written(left: Path, what: str) -> None:
    async with await FileStorage.open(left) as storage:
        # in order with what is there, as the process has left it
        await storage.list()
        before = storage._counters.read().stale
        assert storage._store.writer is not None
        await storage.save({"id": "b", "data": 1})
        await until(lambda: storage._store.writer and not storage._store.writer.lock_is_held())
        assert storage._counters.read().stale == before
        storage._store.recovery.distrust_all()
        if what == "something":
            place(left, "b").unlink()
        await asyncio.wrap_future(storage._store.writer.call(storage._store.recovery.run))
        assert (storage._counters.read().stale > before) is (what == "something")


async def test_where_nobody_is_known_to_be_alone_whoever_opens_the_store_replays_its_log(
    left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "_EXCLUSIVE", 0)
    monkeypatch.setattr(presence, "_SHARED", 0)
    place(left, "a").unlink()
    assert await values(left) == {"a": "last"}


async def test_who_removes_the_control_directory_does_not_make_others_seem_to_be_away(tmp_path: Path) -> None:
    store = tmp_path / "store"
    async with await FileStorage.open(store) as storage:
        await storage.save({"id": "a"})
        await until(lambda: not storage._store.writer or not storage._store.writer.lock_is_held())
        shutil.rmtree(store / ".fsstore")
        await storage.save({"id": "a"})
        assert storage._store.presence.is_named


@pytest.mark.parametrize("depth", [1, 2])
async def test_the_name_that_a_killed_sync_has_left_above_the_documents_goes(tmp_path: Path, depth: int) -> None:
    store = tmp_path / "store"
    async with await FileStorage.open(store, shard_depth=depth) as storage:
        await storage.save({"id": "a"})
        above = ["", *storage._store.documents.scan.outer_shards()] if depth == 2 else [""]
    left = [store / directory / ".fsstore.json.changing" for directory in above]
    for name in left:
        name.write_bytes(b"")
    async with await FileStorage.open(store) as storage:
        assert await storage.load("a")
        await storage.save({"id": "b"})
        assert not any(name.exists() for name in left)


async def test_a_directory_of_that_name_is_nobodys_business(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.save({"id": "a"})
    (tmp_path / ".fsstore.json.changing").mkdir()
    async with await FileStorage.open(tmp_path) as storage:
        assert await storage.load("a")
