import asyncio
import errno
import json
import os
import shutil
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageUnavailableError
from fsstore.filesystem.care import repair as repairing
from fsstore.filesystem.care.repair import Mover
from fsstore.filesystem.care.report import Kind, Moved, RepairReport
from fsstore.filesystem.care.verify import Examiner
from fsstore.filesystem.documents import documents
from fsstore.filesystem.documents.layout import INDEX
from fsstore.filesystem.write import writer
from tests.filesystem.care import test_verify as planting
from tests.filesystem.care.test_verify import Plant, contents_of, document, filled, name, told, verified
from tests.filesystem.crashing import CHANGING
from tests.filesystem.faults import Faults, contents, control, cut_off, nth, place

LONG_AGO = 1_700_000_000


@pytest.fixture
async def store(tmp_path: Path) -> Path:
    return await filled(tmp_path / "store")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what was changed a moment ago count as still."""
    monkeypatch.setattr(repairing, "_STILL_NS", 0)


async def repaired(store: Path) -> RepairReport:
    async with await FileStorage.open(store) as storage:
        return await storage.repair()


def bytes_in(store: Path) -> Counter[bytes]:
    """Return the bytes of all files that people could miss, and how often they are there."""
    control_files = ("seq", "batches", "floor", "lock", "open", "checkpoint")
    lost_without_harm = {*(f".fsstore/{name}" for name in control_files), INDEX}
    kept = {file: data for file, data in contents_of(store).items() if file not in lost_without_harm}
    return Counter(data for file, data in kept.items() if not file.startswith(".fsstore/log/"))


def documents_of(store: Path) -> dict[str, bytes]:
    return {file: data for file, data in contents_of(store).items() if not file.startswith(".fsstore/")}


UNREADABLE = [
    planting.torn,
    planting.empty,
    planting.no_text,
    planting.no_record,
    planting.directory,
    planting.pipe,
    planting.link,
    planting.file_for_a_shard,
    planting.link_for_a_shard,
]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("plant", UNREADABLE)
async def test_what_can_not_be_read_is_set_aside_whole_and_all_else_stays(store: Path, plant: Plant) -> None:
    file = plant(store)
    before, documents = bytes_in(store), documents_of(store)
    report = await repaired(store)
    (moved,) = report.moved
    assert (moved.file, report.left, report.altered) == (file, [], [])
    assert moved.reason
    assert moved.to.startswith(".fsstore/quarantine/")
    assert moved.to.endswith(file.replace("/", "-"))
    assert not os.path.lexists(store / file)
    assert os.path.lexists(store / moved.to)
    assert bytes_in(store) == before
    documents.pop(file, None)
    assert documents_of(store) == {key: data for key, data in documents.items() if not key.startswith(f"{file}/")}
    assert (await verified(store, hash=True)).findings == []
    assert (await repaired(store)).moved == []
    assert bytes_in(store) == before
    assert (await verified(store)).quarantined == 1


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("plant", [planting.other_shard, planting.other_level])
async def test_a_whole_document_goes_to_its_right_place_if_that_is_free(store: Path, plant: Plant) -> None:
    before = documents_of(store)
    file = plant(store)
    documents = {name("doc-1") if key == file else key: data for key, data in documents_of(store).items()}
    report = await repaired(store)
    assert [(moved.file, moved.to) for moved in report.moved] == [(file, name("doc-1"))]
    assert documents_of(store) == documents == before
    assert not (store / file).exists()
    assert place(store, "doc-1").stat().st_nlink == 1
    async with await FileStorage.open(store) as storage:
        assert (await contents(storage)).keys() == {f"doc-{number}" for number in range(12)}


@pytest.mark.usefixtures("patient")
async def test_a_copy_of_a_document_that_is_in_its_place_is_set_aside(store: Path) -> None:
    file = planting.upper_case(store)
    before = bytes_in(store)
    report = await repaired(store)
    assert [moved.file for moved in report.moved] == [file]
    assert control(store, "quarantine") == [Path(report.moved[0].to).name]
    assert bytes_in(store) == before
    assert place(store, "doc-1").exists()
    assert (await verified(store)).findings == []


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("obstacle", ["directory", "link to a shard"])
async def test_a_right_place_that_something_stands_in_is_cleared_first(store: Path, obstacle: str) -> None:
    file = planting.other_shard(store)
    if obstacle == "directory":
        place(store, "doc-1").mkdir()
    else:
        shard = place(store, "doc-1").parent
        shard.rename(store.parent / "elsewhere")
        shard.symlink_to(store.parent / "elsewhere")
    before = bytes_in(store)
    report = await repaired(store)
    (aside,) = (moved for moved in report.moved if moved.file != file)
    assert aside.to.startswith(".fsstore/quarantine/")
    assert {moved.file: moved.to for moved in report.moved}[file] == name("doc-1")
    assert report.left == []
    assert bytes_in(store) == before
    assert not (store.parent / "elsewhere/doc-1.json").exists()


def copied(store: Path, base: str, *, version: int, updated: int = 1, modified: int = 1, value: str = "") -> str:
    """Lay a copy of a document beside its place, as a program does that synchronises directories."""
    record = json.loads(place(store, "doc-2").read_bytes())
    record |= {"id": "doc-1", "version": version, "updated_at": f"2026-01-01T00:00:{updated:02}.000000Z"}
    record["data"] = {"value": value or base}
    path = place(store, "doc-1").with_name(base)
    path.write_text(json.dumps(record))
    os.utime(path, (LONG_AGO + modified, LONG_AGO + modified))
    return f"{path.parent.name}/{base}"


FIRST, SECOND, THIRD = "doc-1 (conflicted copy).json", "doc-1.sync-conflict-20260101.json", "doc-1~.json"


@pytest.mark.parametrize("place_holds", ["nothing", "a torn document"])
@pytest.mark.parametrize("newest", [FIRST, SECOND, THIRD])
@pytest.mark.parametrize("by", ["version", "updated", "modified"])
async def test_of_several_copies_the_newest_comes_back_and_the_others_are_set_aside(
    store: Path, newest: str, by: str, place_holds: str
) -> None:
    if place_holds == "nothing":
        place(store, "doc-1").unlink()
    else:
        planting.torn(store)
        os.utime(place(store, "doc-1"), (LONG_AGO, LONG_AGO))
    files = {base: copied(store, base, version=4, updated=5) for base in (FIRST, SECOND, THIRD) if base != newest}
    # what counts more says so against what counts less
    newer = {"version": (5, 1, 1), "updated": (4, 9, 1), "modified": (4, 5, 9)}[by]
    files[newest] = copied(store, newest, version=newer[0], updated=newer[1], modified=newer[2])
    before = bytes_in(store)
    report = await repaired(store)
    moved = {each.file: each for each in report.moved}
    assert moved[files[newest]].to == name("doc-1")
    assert f"of 3 copies it is the newest (version {newer[0]}, updated " in moved[files[newest]].reason
    for base in {FIRST, SECOND, THIRD} - {newest}:
        assert moved[files[base]].to.startswith(".fsstore/quarantine/")
        assert f"is older than {files[newest]}: version 4, updated " in moved[files[base]].reason
    assert json.loads(place(store, "doc-1").read_bytes())["data"] == {"value": newest}
    assert bytes_in(store) == before
    assert report.left == []


async def test_copies_that_hold_the_same_are_no_conflict(store: Path) -> None:
    place(store, "doc-1").unlink()
    files = [copied(store, base, version=4, value="same") for base in (FIRST, SECOND)]
    report = await repaired(store)
    reasons = {moved.to == name("doc-1"): moved.reason for moved in report.moved}
    assert "holds the same" in reasons[False]
    assert {moved.file for moved in report.moved} == {*files}


async def test_copies_of_the_same_age_that_differ_are_both_kept_and_said_to_differ(store: Path) -> None:
    place(store, "doc-1").unlink()
    for base in (FIRST, SECOND):
        copied(store, base, version=4)
    before = bytes_in(store)
    report = await repaired(store)
    assert [moved.to for moved in report.moved].count(name("doc-1")) == 1
    assert any("is as new as" in moved.reason for moved in report.moved)
    assert bytes_in(store) == before


async def test_a_whole_document_in_its_place_stays_whatever_copies_there_are(store: Path) -> None:
    """It is what was served, and changed, since the copy was made."""
    file = copied(store, FIRST, version=99)
    before = place(store, "doc-1").read_bytes()
    (moved,) = (await repaired(store)).moved
    assert (moved.file, moved.to.split("/")[1]) == (file, "quarantine")
    assert f"is newer than {name('doc-1')}: version 99, updated " in moved.reason
    assert place(store, "doc-1").read_bytes() == before


async def test_copies_stay_while_one_of_them_is_being_written(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(store, "doc-1").unlink()
    copied(store, FIRST, version=4)
    fresh = copied(store, SECOND, version=5)
    judge = Examiner.judge

    def touched(examiner: Examiner, names: Any) -> Any:
        os.utime(store / fresh)
        return judge(examiner, names)

    with monkeypatch.context() as patch:
        patch.setattr(Examiner, "judge", touched)
        report = await repaired(store)
    assert report.moved == []
    assert len(report.left) == 2
    os.utime(store / fresh, (LONG_AGO, LONG_AGO))
    assert {moved.file for moved in (await repaired(store)).moved if moved.to == name("doc-1")} == {fresh}


async def test_more_copies_than_are_moved_at_once_are_still_compared_with_each_other(store: Path) -> None:
    place(store, "doc-1").unlink()
    bases = [f"doc-1 ({number:02}).json" for number in range(45)]
    files = [copied(store, base, version=1 + number % 44) for number, base in enumerate(bases)]
    report = await repaired(store)
    assert [moved.file for moved in report.moved if moved.to == name("doc-1")] == [files[43]]
    assert len(control(store, "quarantine")) == 44


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(("made", "told_now"), [(2, 1), (1, 2)])
async def test_a_store_whose_marker_tells_another_depth_is_whole_again(
    tmp_path: Path, made: int, told_now: int
) -> None:
    async with await FileStorage.open(tmp_path, shard_depth=made) as storage:
        await storage.batch_save({"id": f"doc-{number}", "data": document(number)} for number in range(5))
    marker = tmp_path / "fsstore.json"
    marker.write_text(marker.read_text().replace(f'"shard_depth": {made}', f'"shard_depth": {told_now}'))
    before = Counter(documents_of(tmp_path).values())
    report = await repaired(tmp_path)
    assert len(report.moved) == 5
    assert Counter(documents_of(tmp_path).values()) == before
    async with await FileStorage.open(tmp_path) as storage:
        assert (await contents(storage)).keys() == {f"doc-{number}" for number in range(5)}


@pytest.mark.usefixtures("patient")
async def test_a_place_that_is_taken_at_the_last_moment_is_never_written_over(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = planting.other_shard(store)
    is_free = Mover._is_free

    def then_taken(mover: Mover, where: str) -> bool:
        free = is_free(mover, where)
        (store / where).write_text("somebody was faster")
        return free

    before = bytes_in(store) + Counter([b"somebody was faster"])
    with monkeypatch.context() as patch:
        patch.setattr(Mover, "_is_free", then_taken)
        report = await repaired(store)
    assert report.moved == []
    assert {finding.file for finding in report.left} == {file, name("doc-1")}
    assert place(store, "doc-1").read_text() == "somebody was faster"
    assert bytes_in(store) == before
    # the next time it is known what is there
    assert {moved.file: moved.to for moved in (await repaired(store)).moved}[file] == name("doc-1")
    assert bytes_in(store) == before


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    "plant",
    [
        *(planting.column, planting.metadata, planting.problem_row, planting.damaged_index, planting.foreign_index),
        *(planting.edited, planting.added, planting.removed, planting.no_index, planting.unfinished_index),
    ],
)
async def test_the_index_is_made_anew(store: Path, plant: Plant) -> None:
    plant(store)
    before = documents_of(store)
    report = await repaired(store)
    assert (report.moved, report.altered, report.left) == ([], [], [])
    assert report.indexed == len(before) - 1
    assert documents_of(store) == before
    assert (await verified(store, hash=True)).findings == []


@pytest.mark.usefixtures("patient")
async def test_a_damaged_index_does_not_keep_documents_from_being_set_aside(store: Path) -> None:
    file = planting.torn(store)
    planting.foreign_index(store)
    report = await repaired(store)
    assert [moved.file for moved in report.moved] == [file]
    assert (report.left, report.indexed) == ([], 11)


@pytest.mark.usefixtures("patient")
async def test_a_document_that_reads_well_stays_and_is_told_to_be_another_than_was_indexed(store: Path) -> None:
    file = planting.rotten(store)
    before = contents_of(store)
    report = await repaired(store)
    assert report.moved == []
    assert told(report.altered) == [(Kind.ALTERED, file)]
    assert place(store, "doc-1").read_bytes() == before[file]


# -- what is not for us to move ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("patient")
async def test_a_document_too_large_to_be_read_stays_and_is_told(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents_of(store)
    monkeypatch.setattr(documents, "READ_BYTES", 300)
    async with await FileStorage.open(store, max_bytes=300) as storage:
        report = await storage.repair()
    assert report.moved == []
    assert {finding.kind for finding in report.left} == {Kind.TOO_LARGE}
    assert documents_of(store) == {file: data for file, data in before.items() if not file.startswith(".fsstore/")}


async def test_a_file_that_somebody_is_writing_is_left_to_them(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = planting.torn(store)
    waited: list[float] = []

    def written_on(mover: Mover, names: Any) -> float:
        waited.append(until_still(mover, names))
        # and the next chunk comes
        os.utime(store / file)
        return 0.0

    until_still = Mover.seconds_until_still
    monkeypatch.setattr(Mover, "seconds_until_still", written_on)
    # from here on no test depends on how long a second is
    monkeypatch.setattr(repairing, "_STILL_NS", 3600 * 10**9)
    report = await repaired(store)
    assert (report.moved, told(report.left)) == ([], [(Kind.UNREADABLE, file)])
    assert 3500 < waited[0] <= 3600
    os.utime(store / file, (LONG_AGO, LONG_AGO))
    monkeypatch.setattr(Mover, "seconds_until_still", until_still)
    assert [moved.file for moved in (await repaired(store)).moved] == [file]


@pytest.mark.usefixtures("patient")
async def test_a_document_that_is_whole_again_is_not_taken(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = documents_of(store)
    file = planting.torn(store)

    def restored(_mover: Mover, names: Any) -> float:
        assert names == [file]
        (store / file).write_bytes(before[file])
        return 0.0

    monkeypatch.setattr(Mover, "seconds_until_still", restored)
    report = await repaired(store)
    assert (report.moved, report.left) == ([], [])
    assert documents_of(store) == before


@pytest.mark.usefixtures("patient")
async def test_a_document_that_is_gone_meanwhile_is_nobodys_trouble(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = planting.torn(store)
    judge = Examiner.judge

    def then_gone(examiner: Any, names: Any) -> Any:
        findings = judge(examiner, names)
        (store / file).unlink(missing_ok=True)
        return findings

    monkeypatch.setattr(Examiner, "judge", then_gone)
    report = await repaired(store)
    assert (report.moved, report.left) == ([], [])


@pytest.mark.usefixtures("patient")
async def test_commits_go_on_while_a_store_is_repaired(store: Path) -> None:
    planting.torn(store)
    async with await FileStorage.open(store) as one, await FileStorage.open(store) as other:
        stop, saved = False, 0

        async def write() -> None:
            nonlocal saved
            for number in count():
                if stop:
                    return
                await other.save({"id": f"more-{number}", "data": number})
                saved = number + 1

        task = asyncio.create_task(write())
        reports = [await one.repair() for _ in range(3)]
        stop = True
        await task
        found = await contents(other)
    assert [len(report.moved) for report in reports] == [1, 0, 0]
    assert [found[f"more-{number}"]["data"] for number in range(saved)] == list(range(saved))
    assert len(found) == saved + 11
    assert (await verified(store)).is_clean


# -- the log ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("patient")
async def test_what_the_log_still_holds_is_put_in_place_before_anything_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_IDLE_SECONDS", 600.0)
    async with await FileStorage.open(tmp_path) as storage:
        await storage.save({"id": "a", "data": "whole"})
        await storage.refresh()
        whole = place(tmp_path, "a").read_bytes()
        os.truncate(place(tmp_path, "a"), 20)
        report = await storage.repair()
        assert place(tmp_path, "a").read_bytes() == whole
    assert [moved.file for moved in report.moved] == [".fsstore/log"]
    assert (tmp_path / report.moved[0].to).read_bytes() == whole[:20]


@pytest.mark.usefixtures("patient")
async def test_a_document_moved_to_its_place_is_not_deleted_again_by_the_log(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_IDLE_SECONDS", 600.0)
    whole = place(store, "doc-1").read_bytes()
    finish_commits = Mover.finish_commits

    async with await FileStorage.open(store) as storage:

        def then_deleted(_mover: Mover) -> list[Moved]:
            monkeypatch.setattr(Mover, "finish_commits", finish_commits)
            (store / "00").mkdir(exist_ok=True)
            (store / "00/copy.json").write_bytes(whole)
            return []

        monkeypatch.setattr(Mover, "finish_commits", then_deleted)
        await storage.delete("doc-1")
        report = await storage.repair()
        left = cut_off(storage, store, tmp_path / "left")
    assert report.moved[-1].to == name("doc-1")
    (left / ".fsstore/seq").unlink()
    async with await FileStorage.open(left) as storage:
        assert await storage.exists("doc-1")


@pytest.mark.usefixtures("patient")
async def test_a_damaged_log_and_what_a_commit_left_are_seen_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_IDLE_SECONDS", 600.0)
    async with await FileStorage.open(tmp_path) as storage:
        for record_id in "abc":
            await storage.save({"id": record_id, "data": f"value of {record_id}"})
        (segment,) = (tmp_path / ".fsstore/log").iterdir()
        segment.write_bytes(segment.read_bytes().replace(b"value of b", b"value of X"))
        damaged = segment.read_bytes()
        (tmp_path / ".fsstore/staging/0123").write_text("{")
        report = await storage.repair()
        assert (await storage.verify()).findings == []
    assert [moved.file for moved in report.moved] == [".fsstore/log"]
    assert (tmp_path / report.moved[0].to).read_bytes() == damaged


# -- crashes ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("patient")
async def test_a_repair_that_dies_at_any_step_leaves_each_file_in_one_piece(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planting.torn(store)
    misplaced = store / planting.free_shard(store) / "doc-2.json"
    misplaced.parent.mkdir()
    place(store, "doc-2").rename(misplaced)
    before, faults, steps = bytes_in(store), Faults(monkeypatch), Counter[str]()
    # by name, since threads may make a call of some names more from one time to the next
    names = iter(CHANGING)
    name, turn = next(names), 0
    while name:
        turn += 1
        copy, left = tmp_path / f"copy-{name}-{turn}", tmp_path / f"left-{name}-{turn}"
        shutil.copytree(store, copy)
        storage = await FileStorage.open(copy)
        try:
            with faults.where(nth(name, turn), errno.EIO):
                await storage.repair()
        except StorageUnavailableError:
            pass
        finally:
            if faults.fired:
                # as it would lie there if the process had died
                cut_off(storage, copy, left)
            await storage.close()
        if not faults.fired:
            name, turn = next(names, ""), 0
            continue
        steps[name] += 1
        found = bytes_in(left)
        # for a moment a document has two names
        assert found.keys() == before.keys()
        assert all(found[data] - before[data] in (0, 1) for data in before)
        report = await repaired(left)
        assert report.left == []
        assert (await verified(left, hash=True)).findings == []
        assert place(left, "doc-2").exists()
        assert bytes_in(left).keys() == before.keys()
    assert {"fsync", "link", "mkdir", "replace", "unlink"} <= steps.keys()


@pytest.mark.usefixtures("patient")
async def test_what_is_moved_is_on_disk_under_its_new_name(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torn = planting.torn(store)
    misplaced = store / planting.free_shard(store) / "doc-2.json"
    misplaced.parent.mkdir()
    place(store, "doc-2").rename(misplaced)
    calls: list[str] = []
    fsync, replace, link, unlink = os.fsync, os.replace, os.link, os.unlink

    def syncing(descriptor: int) -> None:
        calls.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().relative_to(store)}")
        fsync(descriptor)

    def noting(what: str, call: Any) -> Any:
        def noted(path: Any, *arguments: Any, **options: Any) -> None:
            if str(path).endswith(".json"):
                calls.append(f"{what} {Path(path).name}")
            call(path, *arguments, **options)

        return noted

    monkeypatch.setattr(os, "fsync", syncing)
    for what, call in (("replace", replace), ("link", link), ("unlink", unlink)):
        monkeypatch.setattr(os, what, noting(what, call))
    await repaired(store)
    monkeypatch.undo()
    wrong, right = misplaced.parent.name, place(store, "doc-2").parent.name
    set_aside = [
        *(f"sync {torn}", "sync .fsstore", "replace doc-1.json"),
        *("sync .fsstore/quarantine", f"sync {place(store, 'doc-1').parent.name}"),
    ]
    put_right = [
        *(f"sync {wrong}/doc-2.json", "link doc-2.json", "sync .", f"sync {right}"),
        *("unlink doc-2.json", f"sync {wrong}"),
    ]
    # the floor of versions comes first, by what the index knew of the torn document
    floor = ["sync .fsstore/floor", "sync .fsstore"]
    assert [call for call in calls if call in {*floor, *set_aside, *put_right}] in (
        floor + set_aside + put_right,
        floor + put_right + set_aside,
    )


async def test_names_from_elsewhere_fit_into_the_quarantine(store: Path) -> None:
    shard = place(store, "doc-1").parent
    foreign = ["é" * 120 + ".json", "with space\nand more.json"]
    for base in foreign:
        (shard / base).write_text("{")
        os.utime(shard / base, (LONG_AGO, LONG_AGO))
    report = await repaired(store)
    assert {Path(moved.file).name for moved in report.moved} == set(foreign)
    assert all(Path(moved.to).name.isascii() and " " not in moved.to and "\n" not in moved.to for moved in report.moved)
    assert report.left == []


@pytest.mark.usefixtures("patient")
async def test_progress_is_told_for_both_looks(store: Path) -> None:
    told: list[int] = []
    async with await FileStorage.open(store) as storage:
        report = await storage.repair(progress=lambda done, _total: told.append(done))
    assert told == [*range(1, max(told) + 1)] * 2
    assert report.as_json() == {"moved": [], "altered": [], "left": [], "indexed": 12}


async def test_what_is_made_in_place_of_a_damaged_document_begins_above_it(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        for _ in range(3):
            await storage.save({"id": "a"})
        damaged = place(tmp_path, "a")
        damaged.write_bytes(damaged.read_bytes()[:-3])
        os.utime(damaged, (LONG_AGO, LONG_AGO))
        await storage.repair()
        await storage.save({"id": "a"})
        assert (await storage.load("a") or {})["version"] == 4
