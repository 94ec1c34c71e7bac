import asyncio
import gc
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsstore import Change, FileStorage, Gap, SessionService, StorageClosedError, StorageUnavailableError, Watch
from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.documents.codec import decode_examined, encode
from fsstore.filesystem.documents.layout import Layout, leads_to
from fsstore.filesystem.watch import classifier, watcher
from fsstore.filesystem.watch.scanner import Pace
from fsstore.filesystem.write import draft
from tests.filesystem.faults import place, threads_of_the_store, until
from tests.filesystem.watched import Refused, Silent, all_told, document, name_of, next_of, put, replace, told

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
        lambda: storage._store.index_file.use(lambda index: _is_known(index.inventory.known([name_of("n1")]), store))
    )


def _is_known(rows: dict[str, Any], store: Path) -> bool:
    return bool(rows[name_of("n1")].signature.inode == place(store, "n1").stat().st_ino)


async def test_a_filter_is_judged_for_edits_too(storage: FileStorage, store: Path) -> None:
    async with storage.watch({"data.metadata.status": "open"}) as changes:
        put(store, "n1", "open")
        assert await told(changes, 1) == [("created", "n1", "external")]
        put(store, "n1", "shut")
        assert await next_of(changes) == Change("deleted", "n1", 1, "external", {"status": "shut"})
        put(store, "n2", "shut")
        put(store, "n3", "open")
        assert await told(changes, 1) == [("created", "n3", "external")]


async def test_an_append_is_reported_without_parsing_the_document_unless_a_filter_asks_for_it(
    storage: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions, parsed = SessionService(storage), list[int]()
    await sessions.save_session("s", {"messages": [0], "metadata": {"status": "open"}})

    def note(data: bytes) -> Any:
        parsed.append(len(data))
        return decode_examined(data)

    monkeypatch.setattr(draft, "decode_examined", note)
    async with sessions.watch({"status": "open"}) as changes:
        for item in (1, 2):
            await sessions.append_session("s", [item])
            assert await told(changes, 1) == [("updated", "s", "own")]
    assert parsed == []
    async with storage.watch({"data.messages": 4}) as changes:
        await sessions.append_session("s", [3])
        await sessions.append_session("s", [4])
        assert await told(changes, 1) == [("created", "s", "own")]
    assert len(parsed) == 2


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


@pytest.mark.parametrize("follows_again", [False, True])
async def test_what_came_before_the_events_of_its_directory_is_no_reason_for_distrust(
    storage: FileStorage,
    store: Path,
    silent: list[Silent],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    follows_again: bool,
) -> None:
    """A directory is new, and its first document is found by a look before events about it could come."""
    monkeypatch.setattr(classifier, "_is_old", lambda _signature: True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(watcher, "_FOLLOW_PAUSE_SECONDS", 0.0 if follows_again else 1000.0)
    async with storage.watch() as changes:
        assert storage._change_source is not None
        thread = storage._change_source._watcher
        # directory and document come at once: none is followed while the other is not there
        made = put(tmp_path / "elsewhere", "x").parent
        made.rename(store / made.name)
        assert await told(changes, 1) == [("created", "x", "external")]
        if follows_again:
            await until(lambda: len(silent[0].followed) > 1)
        await until(lambda: thread._classifier.unreported_ns == 0)
        assert thread._distrust_until == 0.0


async def test_an_edit_within_one_tick_of_the_clock_is_told(
    storage: FileStorage, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two edits that leave the same signature: the event says that the file was written."""
    from fsstore.filesystem.disk import files, trust  # noqa: PLC0415 - its clock is what is turned

    real, hour = vars(files)["signature_in"], 3_600_000_000_000

    def coarse(found: os.stat_result) -> Signature:
        inode, size, mtime_ns, ctime_ns = real(found)
        return Signature(inode, size, mtime_ns - mtime_ns % hour + hour, ctime_ns - ctime_ns % hour + hour)

    monkeypatch.setattr(files, "signature_in", coarse)
    monkeypatch.setattr(trust, "shows_every_change", lambda _tree, _name: False)
    async with storage.watch() as changes:
        for status in ("aaa", "bbb", "ccc"):
            put(store, "n1", status)
            assert await next_of(changes) == Change("updated", "n1", 1, "external", {"status": status})


@pytest.mark.usefixtures("silent", "coarse_clock")
@pytest.mark.parametrize("before", ["own", "external", "indexed"])
async def test_an_edit_within_one_tick_of_which_no_event_comes_is_told_once_it_can_be_seen(
    storage: FileStorage, store: Path, before: str
) -> None:
    """It leaves the same signature, so no look at signatures ever finds it."""
    if before == "indexed":
        await storage.update("n1", {"data": {"metadata": {"status": "aaa"}}})
    async with storage.watch() as changes:
        if before == "own":
            await storage.update("n1", {"data": {"metadata": {"status": "aaa"}}})
            assert await told(changes, 1) == [("updated", "n1", "own")]
        elif before == "external":
            put(store, "n1", "aaa")
            assert await told(changes, 1) == [("updated", "n1", "external")]
        path = place(store, "n1")
        found = path.stat()
        with path.open("r+b") as file:
            data = file.read().replace(b'"aaa"', b'"bbb"')
            file.seek(0)
            file.write(data)
        # the same second
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        change = await next_of(changes)
        assert isinstance(change, Change)
        assert (change.id, change.origin, change.metadata) == ("n1", "external", {"status": "bbb"})
        assert await storage.count({"data.metadata.status": "bbb"}) == 1


async def test_a_path_of_events_below_a_linked_root_is_understood(
    storage: FileStorage, store: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(store)
    async with await FileStorage.open(tmp_path / "link") as linked, linked.watch() as changes:
        put(store, "n1", "edited")
        assert await told(changes, 1) == [("updated", "n1", "external")]
    assert storage is not None


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
    # not more than before: one of an earlier store may have ended meanwhile
    await until(lambda: len(threads_of_the_store()) <= before)


def _is_noting(storage: FileStorage) -> bool:
    writer = storage._store.writer
    return writer is not None and (writer._report is not None or writer._committer.notes is not None)


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
    assert "cannot be watched any more" in caplog.text


async def test_a_full_queue_is_dropped_and_made_up_for(storage: FileStorage, store: Path, other: FileStorage) -> None:
    await storage.batch_save([document(f"m{number}") for number in range(300)])
    async with storage.watch(max_queued=10) as changes:
        for number in range(300):
            put(store, f"m{number}", "edited")
        await other.batch_delete([f"n{number}" for number in range(4)])
        await until(lambda: changes._catch_up.is_behind)
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


# -- names -----------------------------------------------------------------------------------------------------------


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
