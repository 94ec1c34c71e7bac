"""What is seen of a store by who may not write to it: what a recovery would make of it, and nothing is waited for."""

import asyncio
import fcntl
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageTimeoutError, StorageUnavailableError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents.layout import COUNTERS, LOCK, PRESENCE
from fsstore.filesystem.log.counters import Counters, odd
from fsstore.filesystem.log.records import unpack
from fsstore.filesystem.write import writer as writing
from fsstore.model.mutations import deleting, saving
from fsstore.watching.changes import Change
from tests.filesystem import mounts
from tests.filesystem.crashing import Killer, as_another_user, document, in_child, must_be_killed
from tests.filesystem.faults import below, control, place, until
from tests.filesystem.views import VIEWS, Documents

IDS = [f"doc-{number}" for number in range(6)]
PATIENCE_SECONDS = 30.0


async def fill(store: Path, *, fsync: bool = True, file_mode: int = 0o600) -> None:
    """Make a store of old documents, whose log is empty."""
    async with await FileStorage.open(store, fsync=fsync, file_mode=file_mode) as storage:
        await storage.batch_save(document(number, "old") for number in range(4))


async def change(storage: FileStorage) -> None:
    """Replace some, add some, and delete one, as one."""
    saves = [saving(document(number, "new")) for number in (0, 1, 2, 4, 5)]
    await storage.commit([*saves, deleting("doc-3")])


def killed_at(step: int, store: Path, *, fsync: bool = True, file_mode: int = 0o600, only: str = "") -> bool:
    """Let a process change the documents and be killed at a step of it; False when there is no such step."""

    async def work() -> None:
        storage = await FileStorage.open(store, fsync=fsync, file_mode=file_mode)
        Killer(step, store.with_name("call"), only=only).arm()
        await change(storage)
        # what follows, up to an empty log, are no steps of the batch
        os._exit(0)

    ended = in_child(lambda: asyncio.run(work()))
    assert ended in (0, -signal.SIGKILL)
    return ended != 0


def half_placed(store: Path, **options: Any) -> None:
    """Leave a batch of which a part is in place."""
    assert killed_at(5, store, only="replace", **options)
    assert len({json.loads(place(store, key).read_bytes())["data"]["value"] for key in IDS[:3]}) == 2


@pytest.fixture
def reading_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Return what lets nobody write who opens a store in it."""

    @contextmanager
    def begin() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(Tree, "is_writable", lambda _tree, _name: False)
            yield

    return begin


async def seen(store: Path) -> Documents:
    """Open a store that cannot be written, ask it in each way, and return its documents; all ways agree, at once."""
    before, began = below(store), time.monotonic()
    async with await FileStorage.open(store, lock_timeout_seconds=2 * PATIENCE_SECONDS) as storage:
        assert storage._store.writer is None
        found = await seen_through(storage)
        report = await storage.health_check()
        assert (report["status"], report["documents"], report["corrupt"]) == ("ok", len(found), [])
    assert time.monotonic() - began < PATIENCE_SECONDS
    assert below(store) == before
    return found


async def seen_through(storage: FileStorage) -> Documents:
    documents: Documents = await VIEWS[0].ask(storage, IDS)
    for view in VIEWS:
        assert await view.ask(storage, IDS) == view.answer(documents), view.name
    streamed = {record["id"]: record async for batch in storage.stream_list(batch_size=2) for record in batch}
    assert streamed == documents
    assert {key for key in IDS if await storage.exists(key)} == documents.keys()
    report = await storage.verify()
    assert (report.documents, report.damage) == (len(documents), [])
    return documents


def values(documents: Documents) -> dict[str, str]:
    return {key: record["data"]["value"] for key, record in documents.items()}


OLD = {f"doc-{number}": "old" for number in range(4)}
NEW = {f"doc-{number}": "new" for number in (0, 1, 2, 4, 5)}


def as_it_was_left(_store: Path) -> None:
    pass


def without_counters(store: Path) -> None:
    (store / COUNTERS).unlink()


def with_even_counters(store: Path) -> None:
    """As a power cut leaves them, or who has recovered on another medium."""
    counters = Counters(Tree(store))
    counters.open()
    state = counters.read()
    counters.write(applying=state.applying & ~1, indexing=state.indexing & ~1)
    counters.close()


@pytest.mark.parametrize("fsync", [True, False])
@pytest.mark.parametrize(
    ("counters", "only"),
    [(as_it_was_left, ""), (without_counters, "replace"), (with_even_counters, "replace")],
)
def test_wherever_a_writer_dies_in_a_batch_the_reader_sees_what_a_recovery_makes_of_it(
    tmp_path: Path, reading_only: Callable[[], Any], counters: Callable[[Path], None], only: str, *, fsync: bool
) -> None:
    asyncio.run(fill(tmp_path / "base", fsync=fsync))
    states: list[dict[str, str]] = []
    for step in range(1, 1000):
        store, copy = tmp_path / f"store-{step}", tmp_path / "copy"
        shutil.copytree(tmp_path / "base", store)
        if not killed_at(step, store, fsync=fsync, only=only):
            break
        # who may write recovers, by the counters as they were left
        shutil.copytree(store, copy)
        counters(store)
        with reading_only():
            found = asyncio.run(seen(store))
        assert values(found) in (OLD, NEW), f"half of a batch is seen after step {step}"

        async def recovered(copy: Path = copy) -> Documents:
            async with await FileStorage.open(copy, fsync=fsync) as storage:
                documents: Documents = await VIEWS[0].ask(storage, IDS)
                return documents

        assert found == asyncio.run(recovered())
        states.append(values(found))
        shutil.rmtree(copy)
        shutil.rmtree(store)
    assert len(states) >= 5
    # all in the middle of the batch, or both sides of the commit point
    assert NEW in states
    assert (OLD in states) == (not only)


def test_a_mount_that_is_read_only_shows_whole_batches_at_once(tmp_path: Path) -> None:
    mounts.need(tmp_path)
    asyncio.run(fill(tmp_path / "store"))
    half_placed(tmp_path / "store")
    with mounts.read_only(tmp_path / "store", tmp_path / "shown") as shown:
        assert values(asyncio.run(seen(shown))) == NEW


@pytest.fixture
def public() -> Iterator[Path]:
    """Return a directory that every user may enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def test_a_user_who_may_not_write_sees_whole_batches_at_once(public: Path) -> None:
    store = public / "store"
    asyncio.run(fill(store, file_mode=0o644))
    half_placed(store, file_mode=0o644)

    def look() -> None:
        assert values(asyncio.run(seen(store))) == NEW

    if (ended := as_another_user(look)) is None:
        pytest.skip("only root may become another user")
    assert ended == 0


def test_who_may_not_look_into_the_log_is_told_so(public: Path) -> None:
    store = public / "store"
    asyncio.run(fill(store, file_mode=0o644))
    half_placed(store, file_mode=0o644)
    (store / ".fsstore").chmod(0o700)

    async def ask() -> None:
        async with await FileStorage.open(store) as storage:
            for call in (storage.load("doc-0"), storage.list(), storage.count(), storage.exists("doc-0")):
                with pytest.raises(StorageUnavailableError) as caught:
                    await call
                assert "permission" in caught.value.advice
            assert (await storage.health_check())["status"] == "degraded"

    if (ended := as_another_user(lambda: asyncio.run(ask()))) is None:
        pytest.skip("only root may become another user")
    assert ended == 0


# -- what wins -------------------------------------------------------------------------------------------------------


def test_what_a_power_cut_has_torn_is_read_from_the_log(tmp_path: Path, reading_only: Callable[[], Any]) -> None:
    asyncio.run(fill(tmp_path / "store"))
    half_placed(tmp_path / "store")
    for key in ("doc-0", "doc-1"):
        os.truncate(place(tmp_path / "store", key), 40)
    place(tmp_path / "store", "doc-2").unlink()
    with reading_only():
        assert values(asyncio.run(seen(tmp_path / "store"))) == NEW


def test_a_change_of_permissions_after_the_crash_makes_no_edit_of_an_older_document(
    tmp_path: Path, reading_only: Callable[[], Any]
) -> None:
    """It is how a store is closed to writers, and sets the time of change that nothing else can set."""
    store = tmp_path / "store"
    asyncio.run(fill(store))
    half_placed(store)
    for path in store.glob("??/*.json"):
        path.chmod(0o400)
    with reading_only():
        assert values(asyncio.run(seen(store))) == NEW


def test_what_was_edited_by_hand_since_stays(tmp_path: Path, reading_only: Callable[[], Any]) -> None:
    store = tmp_path / "store"
    asyncio.run(fill(store))
    half_placed(store)
    for key in ("doc-0", "doc-1", "doc-2"):
        data = place(store, key).read_text()
        place(store, key).write_text(data.replace('"old"', '"edited"').replace('"new"', '"edited"'))
    with reading_only():
        assert values(asyncio.run(seen(store))) == NEW | {"doc-0": "edited", "doc-1": "edited", "doc-2": "edited"}


def test_a_batch_of_which_nothing_is_in_place_and_whose_shards_are_missing_is_seen(
    tmp_path: Path, reading_only: Callable[[], Any]
) -> None:
    store = tmp_path / "store"

    async def work() -> None:
        storage = await FileStorage.open(store)
        Killer(1, tmp_path / "call", only="replace").arm()
        await storage.batch_save(document(number, "new") for number in range(6))

    must_be_killed(lambda: asyncio.run(work()))
    assert not any(path.suffix == ".json" and path.name != "fsstore.json" for path in below(store))
    with reading_only():
        assert values(asyncio.run(seen(store))) == dict.fromkeys(IDS, "new")


async def test_who_reads_only_sees_what_a_later_writer_makes_of_it(
    tmp_path: Path, reading_only: Callable[[], Any]
) -> None:
    store = tmp_path / "store"
    await fill(store)
    half_placed(store)
    with reading_only():
        storage = await FileStorage.open(store)
    assert values(await seen_through(storage)) == NEW
    async with await FileStorage.open(store) as other:
        assert values(await seen_through(storage)) == NEW
        await other.delete("doc-0")
        await other.save(document(3, "after"))
        changed = {key: value for key, value in NEW.items() if key != "doc-0"} | {"doc-3": "after"}
        assert values(await seen_through(storage)) == changed
    assert values(await seen_through(storage)) == changed
    place(store, "doc-3").unlink()
    await storage.refresh()
    assert values(await seen_through(storage)) == {key: "new" for key in changed if key != "doc-3"}
    await storage.close()


# -- beside a living writer ------------------------------------------------------------------------------------------


@contextmanager
def locked(path: Path, kind: int) -> Iterator[None]:
    """Keep a file locked, as another process does."""
    path.touch()
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("present", [True, False])
@pytest.mark.parametrize("fsync", [True, False])
async def test_who_reads_only_beside_a_writer_sees_every_batch_whole_and_none_too_late(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reading_only: Callable[[], Any],
    *,
    fsync: bool,
    present: bool,
) -> None:
    # so that the log goes again and again while it is read
    monkeypatch.setattr(writing, "_SEGMENT_BYTES", 20_000)
    store, acknowledged, done = tmp_path / "store", [0], asyncio.Event()
    looks = 0
    async with await FileStorage.open(store, fsync=fsync) as writer:
        await writer.batch_save(document(number, "0") for number in range(6))
        if present:
            (store / PRESENCE).touch()
        with reading_only():
            reader = await FileStorage.open(store)

        async def write() -> None:
            while acknowledged[0] < 100 or looks < 10:
                turn = acknowledged[0] + 1
                await writer.batch_save(document(number, str(turn)) for number in range(6))
                acknowledged[0] = turn
            done.set()

        def check(found: set[str], since: int) -> None:
            assert len(found) == 1, f"half of a batch: {found}"
            assert int(found.pop()) >= since, "an acknowledged batch is not seen"

        async def read() -> None:
            nonlocal looks
            while not done.is_set():
                since, looks = acknowledged[0], looks + 1
                check({record["data"]["value"] for record in await reader.list()}, since)
                since = acknowledged[0]
                check({row["metadata"]["status"] for row in await reader.list_metadata()}, since)
                since, last = acknowledged[0], 0
                for key in IDS:
                    record = await reader.load(key)
                    assert record is not None
                    # one get after the other never goes back, nor into the middle of a batch
                    assert int(record["data"]["value"]) >= max(since, last)
                    last = int(record["data"]["value"])

        presence = locked(store / PRESENCE, fcntl.LOCK_SH) if present else None
        writing_task = asyncio.create_task(write())
        if presence is None:
            await read()
        else:
            with presence:
                await read()
        await writing_task
        await reader.close()


async def test_what_was_deleted_or_put_back_by_hand_is_seen_while_somebody_vouches_for_what_lies_in_place(
    tmp_path: Path, reading_only: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # no checkpoint empties the log meanwhile
    monkeypatch.setattr(writing, "_IDLE_SECONDS", 60.0)
    store = tmp_path / "store"
    async with await FileStorage.open(store) as writer:
        await writer.batch_save(document(number, "old") for number in range(4))
        before = place(store, "doc-1").read_bytes()
        await writer.save(document(1, "new"))
        thread = writer._store.writer
        assert thread is not None
        await until(lambda: not thread.is_holding)
        assert control(store, "log"), "the log is to hold what is edited"
        with reading_only():
            reader = await FileStorage.open(store)
        with locked(store / PRESENCE, fcntl.LOCK_SH):
            assert values(await VIEWS[0].ask(reader, IDS)) == OLD | {"doc-1": "new"}
            place(store, "doc-0").unlink()
            place(store, "doc-1").write_bytes(before)
            assert values(await VIEWS[0].ask(reader, IDS)) == {key: "old" for key in OLD if key != "doc-0"}
        await reader.close()


async def test_a_commit_that_was_left_unfinished_is_read_from_the_log_although_somebody_is_present(
    tmp_path: Path, reading_only: Callable[[], Any]
) -> None:
    """One of several processes was killed, and the others have not noticed yet."""
    store = tmp_path / "store"
    await fill(store)
    half_placed(store)
    with locked(store / PRESENCE, fcntl.LOCK_SH), reading_only():
        assert values(await seen(store)) == NEW


async def test_a_record_that_is_not_synced_yet_is_not_shown(tmp_path: Path, reading_only: Callable[[], Any]) -> None:
    """It may still be taken back. Its writer holds the lock."""
    store, copy = tmp_path / "store", tmp_path / "copy"
    await fill(store)
    shutil.copytree(store, copy)
    assert killed_at(1, copy, only="replace")
    (segment,) = control(copy, "log")
    assert unpack(1, (copy / ".fsstore/log" / segment).read_bytes()).changes
    shutil.copy(copy / COUNTERS, store / COUNTERS)
    with_even_counters(store)
    with reading_only():
        reader = await FileStorage.open(store)
    with locked(store / LOCK, fcntl.LOCK_EX):
        shutil.copy(copy / ".fsstore/log" / segment, store / ".fsstore/log" / segment)
        assert values(await VIEWS[0].ask(reader, IDS)) == OLD
    # its writer is dead now, and it is whole
    assert values(await VIEWS[0].ask(reader, IDS)) == NEW
    await reader.close()


async def test_a_writer_that_holds_a_batch_half_placed_is_waited_for_and_named_when_it_takes_too_long(
    tmp_path: Path, reading_only: Callable[[], Any]
) -> None:
    store = tmp_path / "store"
    await fill(store)
    counters = Counters(Tree(store))
    counters.open()
    with reading_only():
        reader = await FileStorage.open(store, lock_timeout_seconds=0.1)
    with locked(store / LOCK, fcntl.LOCK_EX):
        counters.write(applying=odd(counters.read().applying))
        for call in (reader.load("doc-0"), reader.list(), reader.count(), reader.exists("doc-0"), reader.verify()):
            with pytest.raises(StorageTimeoutError):
                await call
    # nobody holds it any more, and the log says that nothing was committed
    assert values(await seen_through(reader)) == OLD
    counters.close()
    await reader.close()


async def test_a_watch_of_who_reads_only_goes_on_after_a_crash(tmp_path: Path, reading_only: Callable[[], Any]) -> None:
    store = tmp_path / "store"
    await fill(store)
    half_placed(store)
    with reading_only():
        # longer than any wait here: the commit that was left must not be waited for
        reader = await FileStorage.open(store, polling=True, lock_timeout_seconds=60.0)
    async with reader.watch() as changes:
        edited = document(0, "edited") | {"version": 9, "created_at": "2026-01-01", "updated_at": "2026-01-01"}
        place(store, "doc-0").write_text(json.dumps(edited))
        found = await asyncio.wait_for(anext(changes), 10)
        assert isinstance(found, Change)
        assert (found.kind, found.id) == ("updated", "doc-0")
        async with await FileStorage.open(store) as writer:
            await writer.save(document(3, "after"))
            found = await asyncio.wait_for(anext(changes), 10)
            assert isinstance(found, Change)
            assert (found.kind, found.id) == ("created", "doc-3")
    await reader.close()
    await until(lambda: not control(store, "log"))


async def test_what_was_deleted_last_is_known_from_the_log_where_a_power_cut_took_the_counters(
    tmp_path: Path, reading_only: Callable[[], Any]
) -> None:
    store, copy = tmp_path / "store", tmp_path / "copy"
    async with await FileStorage.open(store) as storage:
        for _ in range(3):
            await storage.save(document(0, "new"))
        await storage.delete("doc-0")
        # temp files go while it is copied
        shutil.copytree(store, copy, ignore=lambda place, names: names if place.endswith("staging") else [])
    (copy / COUNTERS).write_bytes(bytes((copy / COUNTERS).stat().st_size))

    for place_of_it in (store, copy):
        with reading_only():
            reader = await FileStorage.open(place_of_it)
        assert await reader.floor() == 3
        await reader.close()
