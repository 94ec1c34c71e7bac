import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage, SessionService
from fsstore.filesystem.disk import files, trust
from fsstore.filesystem.disk.signatures import Signature, signature_in
from fsstore.model.records import JsonObject
from tests.filesystem.faults import place
from tests.filesystem.rescan import contradictions, documents, records

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOUR_NS = 3_600_000_000_000
SECOND_NS = 1_000_000_000


class Clock:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def note(record_id: str, text: str = "old") -> JsonObject:
    return {"id": record_id, "data": {"metadata": {"status": text}, "text": text}}


def edit(path: Path, old: str = "old", new: str = "new") -> None:
    """Change a document in place, to one of the same size."""
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.write(data.replace(old.encode(), new.encode()))
    assert path.stat().st_size == len(data)


# -- the clock of the store -------------------------------------------------------------------------------------------


async def test_versions_grow_whatever_the_clock_does(tmp_path: Path, clock: Clock) -> None:
    turns = (-HOUR, 5 * HOUR, timedelta(0), timedelta(days=-400), timedelta(microseconds=-1))
    async with await FileStorage.open(tmp_path, fsync=False, clock=clock) as storage:
        await storage.save(note("a"))
        latest = clock.now
        for version, turn in enumerate(turns, 2):
            clock.now += turn
            await storage.update("a", {"data": {"text": f"{version}"}})
            found = await storage.load("a")
            assert found is not None
            assert (found["version"], found["created_at"]) == (version, NOON.isoformat(timespec="microseconds"))
            latest = max(latest, clock.now)
            assert found["updated_at"] == latest.isoformat(timespec="microseconds")
            assert await contradictions(storage, tmp_path) == []


async def test_a_clock_set_back_between_two_openings_neither_hides_nor_undoes_a_write(
    tmp_path: Path, clock: Clock
) -> None:
    async with await FileStorage.open(tmp_path, clock=clock) as storage:
        await storage.batch_save(note(name) for name in "abc")
    clock.now -= HOUR
    async with await FileStorage.open(tmp_path, clock=clock) as storage:
        await storage.update("a", {"data": {"text": "later"}})
        # by the clock it would be older than what it was before
        assert [record["id"] for record in await storage.list()] == ["a", "b", "c"]
        assert {record["updated_at"] for record in await storage.list()} == {NOON.isoformat(timespec="microseconds")}
        assert await contradictions(storage, tmp_path) == []
    async with await FileStorage.open(tmp_path, clock=clock) as storage:
        changed = await storage.load("a")
        assert changed is not None
        assert (changed["version"], changed["data"]["text"]) == (2, "later")


async def test_documents_of_one_moment_are_ordered_by_id_and_paged_exactly_once(tmp_path: Path, clock: Clock) -> None:
    ids = [f"n{number:02d}" for number in range(25)]
    async with await FileStorage.open(tmp_path, fsync=False, clock=clock) as storage:
        sessions = SessionService(storage)
        for record_id in reversed(ids):
            await sessions.save_session(record_id, {"metadata": {"status": "old"}})
        assert [record["id"] for record in await storage.list()] == ids
        pages = [await storage.list(limit=7, offset=offset) for offset in range(0, 28, 7)]
        assert [record["id"] for page in pages for record in page] == ids
        seen, cursor = [], None
        while True:
            page = await sessions.list_page(limit=7, cursor=cursor)
            seen += [item["metadata"]["session_id"] for item in page.items]
            # what is written meanwhile, by a clock that was set back, moves nothing from one page to another
            clock.now -= HOUR
            await sessions.save_session(f"x{len(seen)}", {"metadata": {"status": "new"}})
            clock.now += HOUR
            if (cursor := page.cursor) is None or len(seen) >= len(ids):
                break
        assert seen[: len(ids)] == ids
        assert await contradictions(storage, tmp_path) == []


# -- cleanup ----------------------------------------------------------------------------------------------------------


async def test_cleanup_goes_by_the_present_clock_and_by_the_documents(tmp_path: Path, clock: Clock) -> None:
    async with await FileStorage.open(tmp_path, fsync=False, clock=clock) as storage:
        for age in range(10):
            clock.now = NOON - timedelta(days=age)
            await storage.save(note(f"n{age}"))
        clock.now = NOON - HOUR
        # set back an hour: nothing is older than it was, so that what is a few minutes too old stays
        assert await storage.cleanup_old_data(5) == 4
        assert {record["id"] for record in records(tmp_path)} == {f"n{age}" for age in range(6)}
        clock.now = NOON + timedelta(microseconds=1)
        assert await storage.cleanup_old_data(5) == 1
        assert await contradictions(storage, tmp_path) == []
        clock.now = NOON - timedelta(days=4000)
        assert await storage.cleanup_old_data(0) == 0


async def test_cleanup_removes_nothing_that_only_the_index_holds_for_old(tmp_path: Path, clock: Clock) -> None:
    async with await FileStorage.open(tmp_path, fsync=False, clock=clock) as storage:
        clock.now = NOON - timedelta(days=30)
        await storage.batch_save(note(name) for name in ("edited", "saved", "old"))
        await storage.list()
        copy = tmp_path / ".fsstore/earlier"
        clock.now = NOON
        edit(place(tmp_path, "edited"), f"{NOON - timedelta(days=30):%Y-%m-%d}", f"{NOON:%Y-%m-%d}")
        await storage.close()
        shutil.copy(tmp_path / ".fsstore/index.sqlite3", copy)
    async with await FileStorage.open(tmp_path, fsync=False, clock=clock) as storage:
        await storage.save(note("saved"))
    copy.replace(tmp_path / ".fsstore/index.sqlite3")
    async with await FileStorage.open(tmp_path, fsync=False, clock=clock, reconcile="off") as storage:
        assert await storage.count({"updated_at": {"$lt": "2026-02-15"}}) == 3
        assert await storage.cleanup_old_data(7) == 1
        assert {record["id"] for record in records(tmp_path)} == {"edited", "saved"}


async def test_cleanup_leaves_what_is_saved_between_its_look_and_its_blow(tmp_path: Path, clock: Clock) -> None:
    async with await FileStorage.open(tmp_path, fsync=False, clock=clock) as storage:
        clock.now = NOON - timedelta(days=30)
        await storage.batch_save(note(f"n{number}") for number in range(6))
        clock.now = NOON
        commit_of_storage, blows = storage.commit, iter([True])

        async def slow(changes: Any) -> Any:
            if next(blows, False):
                await storage.update("n1", {"data": {"text": "young"}})
                edit(place(tmp_path, "n2"), f"{NOON - timedelta(days=30):%Y-%m-%d}", f"{NOON:%Y-%m-%d}")
            return await commit_of_storage(changes)

        # somebody is faster than the cleanup
        storage.commit = slow  # type: ignore[method-assign]
        assert await storage.cleanup_old_data(7) == 4
        assert {record["id"] for record in records(tmp_path)} == {"n1", "n2"}


async def test_cleanup_reads_a_time_with_another_offset_as_the_moment_it_is(tmp_path: Path, clock: Clock) -> None:
    async with await FileStorage.open(tmp_path, fsync=False, clock=clock) as storage:
        await storage.save(note("young"))
        # as text it is before noon, as a moment after it
        edit(place(tmp_path, "young"), "2026-03-01T12:00:00.000000+00:00", "2026-03-01T09:00:00.000000-04:00")
        clock.now = NOON + timedelta(minutes=30)
        await storage.refresh()
        assert await storage.cleanup_old_data(0) == 0
        assert await storage.load("young") is not None


# -- the clock of the file system -------------------------------------------------------------------------------------


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every row be recorded as if its file had been at rest for a minute: none is racy."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 60 * SECOND_NS)


def with_its_times(change: Callable[[Path], None], path: Path) -> None:
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def by_another_file(path: Path) -> None:
    draft = path.with_suffix(".draft")
    shutil.copy2(path, draft)
    edit(draft)
    draft.replace(path)


def by_another_of_the_same_number(path: Path) -> None:
    data, number = path.read_bytes(), path.stat().st_ino
    for _ in range(50):
        path.unlink()
        path.write_bytes(data.replace(b"old", b"new"))
        if path.stat().st_ino == number:
            return


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("when", ["open", "closed"])
@pytest.mark.parametrize("change", [edit, by_another_file, by_another_of_the_same_number])
@pytest.mark.parametrize("offset_ns", [0, -400 * 24 * HOUR_NS, 400 * 24 * HOUR_NS], ids=["now", "past", "future"])
async def test_an_edit_of_the_same_size_with_its_time_put_back_is_found(
    tmp_path: Path, change: Callable[[Path], None], offset_ns: int, when: str
) -> None:
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        await storage.batch_save(note(name) for name in "abc")
        moment = place(tmp_path, "a").stat().st_mtime_ns + offset_ns
        os.utime(place(tmp_path, "a"), ns=(moment, moment))
        await storage.refresh()
        if when == "open":
            with_its_times(change, place(tmp_path, "a"))
            assert "a" in (await storage.refresh()).changed
            assert await contradictions(storage, tmp_path) == []
            assert await storage.count({"data.metadata.status": "new"}) == 1
    if when == "closed":
        with_its_times(change, place(tmp_path, "a"))
        async with await FileStorage.open(tmp_path, fsync=False) as storage:
            assert await contradictions(storage, tmp_path) == []
            assert await storage.count({"data.metadata.status": "new"}) == 1


@pytest.mark.parametrize("system_clock_ns", [0, -HOUR_NS], ids=["right", "set back an hour"])
async def test_an_edit_within_the_tick_of_its_save_is_found_whatever_the_system_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system_clock_ns: int
) -> None:
    """Every time of a file is that of one tick, so that a signature tells nothing of the edit."""
    real, now, tick_ns = signature_in, time.time_ns, time.time_ns()

    def coarse(found: os.stat_result) -> Signature:
        return real(found)._replace(mtime_ns=tick_ns, ctime_ns=tick_ns)

    monkeypatch.setattr(files, "signature_in", coarse)
    monkeypatch.setattr(trust, "shows_every_change", lambda _tree, _name: False)
    monkeypatch.setattr(time, "time_ns", lambda: min(now(), tick_ns + SECOND_NS) + system_clock_ns)
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        await storage.batch_save(note(name) for name in "abc")
        await storage.refresh()
        for old, new in (("old", "new"), ("new", "two")):
            edit(place(tmp_path, "a"), old, new)
            await storage.refresh()
            assert await storage.count({"data.metadata.status": new}) == 1
            assert await contradictions(storage, tmp_path) == []


@pytest.mark.parametrize("moment_ns", [-(10**18), 0, 2**63 - 1, 2**63 + 10**18], ids=["1938", "1970", "2262", "2294"])
async def test_a_file_of_any_time_is_indexed_and_found_again(tmp_path: Path, moment_ns: int) -> None:
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        await storage.batch_save(note(name) for name in "abc")
        try:
            os.utime(place(tmp_path, "a"), ns=(moment_ns, moment_ns))
        except (OSError, OverflowError) as error:
            pytest.skip(f"this system has no such time: {error}")
        before = documents(tmp_path)
        for _ in range(2):
            await storage.refresh()
            assert await contradictions(storage, tmp_path) == []
        edit(place(tmp_path, "a"))
        assert "a" in (await storage.refresh()).changed
        assert await contradictions(storage, tmp_path) == []
        assert documents(tmp_path).keys() == before.keys()
