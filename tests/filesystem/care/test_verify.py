import asyncio
import errno
import json
import os
import shutil
import sqlite3
import tracemalloc
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageClosedError, StorageUnavailableError
from fsstore.filesystem.care.report import NOTES, Finding, Kind, VerifyReport
from fsstore.filesystem.documents import documents
from fsstore.filesystem.documents.layout import COUNTERS, INDEX, INDEX_FILES, Layout
from fsstore.filesystem.index.connection import IndexUnavailableError
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.write import writer
from tests.filesystem.faults import Faults, below, place

SAMPLE = Path(__file__).parents[3] / "sample_data/store"
FORWARD_NS = 10**18
Plant = Callable[[Path], str]


def name(record_id: str) -> str:
    """Return the name of a document's file in a store."""
    return Layout(1).name(record_id)


def rows(store: Path, statement: str, *values: Any) -> None:
    """Change the index of a closed store."""
    with sqlite3.connect(store / INDEX) as connection:
        connection.execute(statement, values)
    connection.close()


async def filled(store: Path) -> Path:
    """Make a store of twelve documents, with an index whose rows are not racy."""
    async with await FileStorage.open(store, fsync=False) as storage:
        await storage.batch_save({"id": f"doc-{number}", "data": document(number)} for number in range(12))
        await storage.refresh()
    rows(store, "UPDATE entry SET recorded_ns = recorded_ns + ?", FORWARD_NS)
    return store


def document(number: int) -> dict[str, Any]:
    return {"text": "x" * 200, "metadata": {"status": "new", "tags": ["a", str(number)], "user_id": "somebody"}}


@pytest.fixture
async def store(tmp_path: Path) -> Path:
    return await filled(tmp_path / "store")


async def verified(store: Path, *, hash: bool = False, **options: Any) -> VerifyReport:
    async with await FileStorage.open(store, **options) as storage:
        return await storage.verify(hash=hash)


def told(findings: list[Finding]) -> list[tuple[Kind, str]]:
    return [(finding.kind, finding.file) for finding in findings]


def contents_of(store: Path) -> dict[str, bytes]:
    """Return every file of a store with its bytes, but those of SQLite and the counters."""
    files = {str(path.relative_to(store)): path for path in below(store) if path.is_file() and not path.is_symlink()}
    # the counters count also that somebody looked
    return {file: path.read_bytes() for file, path in files.items() if file not in (*INDEX_FILES, COUNTERS)}


def index_of(store: Path) -> list[str]:
    with sqlite3.connect(store / INDEX) as connection:
        dump = list(connection.iterdump())
    connection.close()
    return dump


# -- what can be wrong ------------------------------------------------------------------------------------------------


def torn(store: Path) -> str:
    os.truncate(place(store, "doc-1"), 100)
    return name("doc-1")


def empty(store: Path) -> str:
    place(store, "doc-1").write_bytes(b"")
    return name("doc-1")


def no_text(store: Path) -> str:
    place(store, "doc-1").write_bytes(b"\xff\x00" * 50)
    return name("doc-1")


def no_record(store: Path) -> str:
    place(store, "doc-1").write_text('{"id": 5}')
    return name("doc-1")


def directory(store: Path) -> str:
    place(store, "doc-1").unlink()
    place(store, "doc-1").mkdir()
    (place(store, "doc-1") / "inside").write_text("precious")
    return name("doc-1")


def pipe(store: Path) -> str:
    place(store, "doc-1").unlink()
    os.mkfifo(place(store, "doc-1"))
    return name("doc-1")


def link(store: Path) -> str:
    place(store, "doc-1").rename(store.parent / "elsewhere.json")
    place(store, "doc-1").symlink_to(store.parent / "elsewhere.json")
    return name("doc-1")


def file_for_a_shard(store: Path) -> str:
    shard = free_shard(store)
    (store / shard).write_text("in the way")
    return shard


def link_for_a_shard(store: Path) -> str:
    shard = free_shard(store)
    (store.parent / "elsewhere").mkdir()
    (store / shard).symlink_to(store.parent / "elsewhere")
    return shard


def free_shard(store: Path) -> str:
    return next(f"{number:02x}" for number in count(0) if not (store / f"{number:02x}").exists())


def upper_case(store: Path) -> str:
    other = place(store, "doc-1").with_name("DOC-1.json")
    shutil.copy(place(store, "doc-1"), other)
    return str(other.relative_to(store))


def other_shard(store: Path) -> str:
    shard = free_shard(store)
    (store / shard).mkdir()
    place(store, "doc-1").rename(store / shard / "doc-1.json")
    rows(store, "DELETE FROM entry WHERE id = 'doc-1'")
    return f"{shard}/doc-1.json"


def other_level(store: Path) -> str:
    shard = place(store, "doc-1").parent
    (shard / "00").mkdir()
    place(store, "doc-1").rename(shard / "00/doc-1.json")
    rows(store, "DELETE FROM entry WHERE id = 'doc-1'")
    return f"{shard.name}/00/doc-1.json"


def column(store: Path) -> str:
    rows(store, "UPDATE entry SET status = 'else' WHERE id = 'doc-1'")
    return name("doc-1")


def metadata(store: Path) -> str:
    rows(store, "UPDATE entry SET metadata = ? WHERE id = 'doc-1'", json.dumps({"status": "new", "more": 1}))
    return name("doc-1")


def problem_row(store: Path) -> str:
    rows(
        store,
        "INSERT INTO problem SELECT name, 'torn', inode, size, mtime_ns, ctime_ns, x'', recorded_ns"
        " FROM entry WHERE id = 'doc-1'",
    )
    rows(store, "DELETE FROM entry WHERE id = 'doc-1'")
    return name("doc-1")


def rotten(store: Path) -> str:
    path = place(store, "doc-1")
    path.write_bytes(path.read_bytes().replace(b"xxx", b"xyx", 1))
    found = path.stat()
    rows(
        store,
        "UPDATE entry SET mtime_ns = ?, ctime_ns = ?, recorded_ns = ? WHERE id = 'doc-1'",
        *(found.st_mtime_ns, found.st_ctime_ns, found.st_ctime_ns + FORWARD_NS),
    )
    return name("doc-1")


def damaged_index(store: Path) -> str:
    data = bytearray((store / INDEX).read_bytes())
    # the first page is the schema: without it the file would be no index at all
    data[4096:20000] = b"\x5a" * (20000 - 4096)
    (store / INDEX).write_bytes(data)
    return INDEX


def foreign_index(store: Path) -> str:
    (store / INDEX).write_bytes(b"something else entirely" * 100)
    return INDEX


def edited(store: Path) -> str:
    path = place(store, "doc-1")
    path.write_text(path.read_text().replace('"new"', '"by hand"'))
    return name("doc-1")


def added(store: Path) -> str:
    record = {**json.loads(place(store, "doc-1").read_text()), "id": "more"}
    place(store, "more").parent.mkdir(exist_ok=True)
    place(store, "more").write_text(json.dumps(record))
    return name("more")


def removed(store: Path) -> str:
    place(store, "doc-1").unlink()
    return name("doc-1")


def removed_with_its_shard(store: Path) -> str:
    shutil.rmtree(place(store, "doc-1").parent)
    return name("doc-1")


def no_index(store: Path) -> str:
    (store / INDEX).unlink()
    return INDEX


def unfinished_index(store: Path) -> str:
    rows(store, "DELETE FROM meta WHERE key = 'complete'")
    rows(store, "DELETE FROM entry WHERE id < 'doc-2'")
    return INDEX


async def test_a_temp_file_that_nobody_is_writing_is_found(store: Path) -> None:
    async with await FileStorage.open(store) as storage:
        (store / ".fsstore/staging/0123").write_text("{")
        report = await storage.verify()
        assert told(report.findings) == [(Kind.TEMPORARY, ".fsstore/staging/0123")]
        assert report.is_clean


@pytest.mark.parametrize(
    ("kind", "plant"),
    [
        *((Kind.UNREADABLE, plant) for plant in (torn, empty, no_text, no_record, directory, pipe, link)),
        *((Kind.UNREADABLE, plant) for plant in (file_for_a_shard, link_for_a_shard)),
        *((Kind.WRONG_PLACE, plant) for plant in (upper_case, other_shard, other_level)),
        (Kind.INDEX_WRONG, problem_row),
        *((Kind.INDEX_DAMAGED, plant) for plant in (damaged_index, foreign_index)),
        (Kind.OUTDATED, edited),
        (Kind.NOT_INDEXED, added),
        *((Kind.LEFT_OVER, plant) for plant in (removed, removed_with_its_shard)),
        *((Kind.NO_INDEX, plant) for plant in (no_index, unfinished_index)),
    ],
)
async def test_what_is_wrong_is_found_exactly_once_and_left_as_it_is(store: Path, kind: Kind, plant: Plant) -> None:
    file = plant(store)
    before = contents_of(store)
    rows_before = index_of(store) if kind not in (Kind.INDEX_DAMAGED, Kind.NO_INDEX) else []
    for hashed in (False, True):
        report = await verified(store, hash=hashed)
        assert told(report.findings) == [(kind, file)]
        assert report.is_clean == (kind in NOTES)
        assert report.findings[0].reason
    assert contents_of(store) == before
    assert not rows_before or index_of(store) == rows_before
    assert (store / INDEX).exists() == (plant is not no_index)


@pytest.mark.parametrize(
    ("kind", "plant"), [(Kind.ALTERED, rotten), (Kind.INDEX_WRONG, column), (Kind.INDEX_WRONG, metadata)]
)
async def test_hashing_finds_what_size_and_times_do_not_show(store: Path, kind: Kind, plant: Plant) -> None:
    file = plant(store)
    assert (await verified(store)).findings == []
    report = await verified(store, hash=True)
    assert told(report.findings) == [(kind, file)]
    assert not report.is_clean


async def test_an_edit_within_the_clocks_tick_is_no_damage(store: Path) -> None:
    file = rotten(store)
    rows(store, "UPDATE entry SET recorded_ns = ctime_ns")
    assert (await verified(store)).findings == []
    assert told((await verified(store, hash=True)).findings) == [(Kind.OUTDATED, file)]


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        (Kind.DUPLICATE_KEY, '"status": "new",', '"status": "new", "status": "old",'),
        (Kind.NOT_SAVABLE, '"status": "new"', f'"status": {2**70}'),
    ],
)
async def test_a_readable_document_that_a_save_would_change_is_noted(
    store: Path, kind: Kind, old: str, new: str
) -> None:
    path = place(store, "doc-1")
    path.write_text(path.read_text().replace(old, new))
    async with await FileStorage.open(store) as storage:
        await storage.refresh()
        report = await storage.verify(hash=True)
    assert told(report.findings) == [(kind, name("doc-1"))]
    assert "status" in report.findings[0].reason
    assert report.is_clean


async def test_a_document_in_a_form_of_its_own_is_as_good_as_any(store: Path) -> None:
    path = place(store, "doc-1")
    path.write_text(json.dumps(json.loads(path.read_text())))
    async with await FileStorage.open(store) as storage:
        await storage.refresh()
        assert (await storage.verify(hash=True)).findings == []


async def test_a_key_is_looked_for_as_deep_as_the_reader_goes(store: Path) -> None:
    path = place(store, "doc-1")
    path.write_text(path.read_text().replace('"data": {', f'"data": {{"deep": {"[" * 900}{"]" * 900},'))
    async with await FileStorage.open(store) as storage:
        await storage.refresh()
        report = await storage.verify(hash=True)
    assert told(report.findings) == [(Kind.NOT_SAVABLE, name("doc-1"))]


async def test_an_index_that_can_not_be_used_now_is_not_damaged(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(_index: Index, *, thorough: bool) -> str:
        raise IndexUnavailableError(f"database is locked, {thorough}")

    monkeypatch.setattr(Index, "check", busy)
    report = await verified(store, hash=True)
    assert told(report.findings) == [(Kind.NO_INDEX, INDEX)]
    assert (report.documents, report.indexed) == (12, 0)


async def test_a_document_in_the_wrong_place_tells_where_it_belongs(store: Path) -> None:
    other_shard(store)
    (finding,) = (await verified(store)).findings
    assert finding.belongs_at == name("doc-1")
    assert name("doc-1") in finding.reason


async def test_a_document_too_large_to_be_read_is_told_apart(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await verified(store, max_bytes=300)).is_clean
    monkeypatch.setattr(documents, "READ_BYTES", 300)
    report = await verified(store, max_bytes=300)
    assert {finding.kind for finding in report.findings} == {Kind.TOO_LARGE}
    assert (len(report.findings), report.documents) == (12, 0)


@pytest.mark.parametrize("what", ["document", "shard"])
async def test_what_the_system_refuses_to_read_is_told(store: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    system_open = os.open
    refused = place(store, "doc-1") if what == "document" else place(store, "doc-1").parent

    def opening(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        # the last component of a name, and for a shard its listing, which unlike a way through it needs to read
        path_only = flags & os.O_PATH
        if Path(path).name == refused.name and not path_only:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return system_open(path, flags, *arguments, **options)

    async with await FileStorage.open(store) as storage:
        monkeypatch.setattr(os, "open", opening)
        report = await storage.verify()
        monkeypatch.undo()
    assert told(report.findings) == [(Kind.REFUSED, str(refused.relative_to(store)))]
    assert "Permission denied" in report.findings[0].reason


async def test_damage_in_the_middle_of_the_log_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # no checkpoint while we look
    monkeypatch.setattr(writer, "_IDLE_SECONDS", 600.0)
    async with await FileStorage.open(tmp_path) as storage:
        for record_id in "abc":
            await storage.save({"id": record_id, "data": f"value of {record_id}"})
        await storage.refresh()
        (segment,) = (tmp_path / ".fsstore/log").iterdir()
        assert (await storage.verify(hash=True)).findings == []
        whole = segment.read_bytes()
        segment.write_bytes(whole.replace(b"value of b", b"value of X"))
        report = await storage.verify()
        segment.write_bytes(whole)
    assert told(report.findings) == [(Kind.LOG_DAMAGED, f".fsstore/log/{segment.name}")]
    assert not report.is_clean


# -- what is right ----------------------------------------------------------------------------------------------------


async def test_nothing_is_found_in_a_clean_store(tmp_path: Path) -> None:
    store = shutil.copytree(SAMPLE, tmp_path / "store", ignore=shutil.ignore_patterns(".fsstore"))
    before = contents_of(store)
    assert told((await verified(store, hash=True)).findings) == [(Kind.NO_INDEX, INDEX)]
    async with await FileStorage.open(store) as storage:
        await storage.refresh()
    rows(store, "UPDATE entry SET recorded_ns = recorded_ns + ?", FORWARD_NS)
    report = await verified(store, hash=True)
    assert report.findings == []
    assert report.documents == report.indexed == sum(name.count("/") for name in before)
    assert report.document_bytes == sum(len(data) for name, data in before.items() if "/" in name)


@pytest.mark.parametrize("shard_depth", [1, 2])
async def test_what_people_put_beside_the_documents_is_nobodys_business(tmp_path: Path, shard_depth: int) -> None:
    async with await FileStorage.open(tmp_path, shard_depth=shard_depth) as storage:
        await storage.save({"id": "a", "data": 1})
        await storage.refresh()
        shard = (tmp_path / storage._documents.name("a")).parent
        for foreign in (tmp_path / "README.md", tmp_path / "notes.json", shard / "a.json~", shard / ".a.json.swp"):
            foreign.write_text("foreign")
        (shard / "folder").mkdir()
        (tmp_path / ".git/ab").mkdir(parents=True)
        (tmp_path / ".git/ab/c.json").write_text("{")
        assert (await storage.verify(hash=True)).findings == []


async def test_records_of_every_shape_agree_with_their_rows(tmp_path: Path) -> None:
    odd: list[Any] = [
        None,
        [],
        [1, {"metadata": {"tags": ["a"]}}],
        {"metadata": None},
        {"metadata": {"tags": ["a", 1, "a", None], "status": 1.5, "user_id": True}},
        {"metadata": {"tags": "alone", "status": "\0", "n": 2**64 - 1, "é": "😀"}},
        {"metadata": {"b": {"z": 1, "a": [1, [2, {"x": 0.1}]]}, "a": 1, "user_id": 7}},
    ]
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        for number, data in enumerate(odd):
            more = {"session_id": None, "metadata": {"own": number}} if number % 2 else {"thread_id": "t"}
            await storage.save({"id": f"Odd {number}", "data": data, **more})
        await storage.refresh()
    rows(tmp_path, "UPDATE entry SET recorded_ns = recorded_ns + ?", FORWARD_NS)
    assert (await verified(tmp_path, hash=True)).findings == []


async def test_commits_meanwhile_are_never_taken_for_damage(store: Path) -> None:
    async with await FileStorage.open(store) as one, await FileStorage.open(store, fsync=False) as other:
        await one.refresh()
        stop = False

        async def write(storage: FileStorage, first: int) -> None:
            for round_ in count():
                if stop:
                    return
                ids = [f"doc-{number}" for number in range(first, first + 6)]
                await storage.batch_save({"id": record_id, "data": document(round_)} for record_id in ids)
                await asyncio.gather(*(storage.save({"id": f"{key}+{round_ % 3}", "data": round_}) for key in ids))
                await storage.batch_delete(f"{key}+{round_ % 2}" for key in ids)

        tasks = [asyncio.create_task(write(storage, first)) for storage, first in ((one, 0), (other, 6))]
        reports = [await one.verify(hash=True) for _ in range(8)]
        stop = True
        await asyncio.gather(*tasks)
    assert [report.findings for report in reports] == [[]] * 8
    assert all(report.documents >= 12 for report in reports)


async def test_a_finding_is_judged_again_under_the_lock(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torn(store)
    whole = await filled(store.parent / "other")
    async with await FileStorage.open(store) as storage:
        in_thread = storage._reading.executor.in_thread

        async def then_restore(run: Callable[[], Any]) -> Any:
            result = await in_thread(run)
            if getattr(result, "suspects", None):
                shutil.copy(place(whole, "doc-1"), place(store, "doc-1"))
            return result

        monkeypatch.setattr(storage._reading.executor, "in_thread", then_restore)
        report = await storage.verify()
    assert {finding.kind for finding in report.findings} <= NOTES


async def test_memory_does_not_grow_with_the_documents(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        for first in range(0, 4000, 500):
            await storage.batch_save({"id": f"{number}", "data": "x" * 1500} for number in range(first, first + 500))
        await storage.refresh()
    # opened again, so that no log is left: one segment of it has as many bytes as it happens to have
    async with await FileStorage.open(tmp_path) as storage:
        tracemalloc.start()
        try:
            report = await storage.verify(hash=True)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert (report.documents, report.findings) == (4000, [])
    assert peak < report.document_bytes / 4


async def test_progress_counts_directories_to_the_last(store: Path) -> None:
    told: list[tuple[int, int]] = []
    async with await FileStorage.open(store) as storage:
        await storage.verify(progress=lambda done, total: told.append((done, total)))
    assert told == [(done, len(told)) for done in range(1, len(told) + 1)]
    assert len(told) == len({path.parent for path in store.glob("??/*.json")})


async def test_a_store_that_can_not_be_written_is_verified_all_the_same(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = torn(store)
    with Faults(monkeypatch).where(lambda _name, _arguments: True, errno.EROFS):
        async with await FileStorage.open(store) as storage:
            report = await storage.verify(hash=True)
            assert told(report.findings) == [(Kind.UNREADABLE, file), (Kind.NO_INDEX, INDEX)]
            assert (report.documents, report.indexed) == (11, 0)
            with pytest.raises(StorageUnavailableError, match="cannot be written"):
                await storage.repair()


async def test_a_closed_store_says_so(store: Path) -> None:
    storage = await FileStorage.open(store)
    await storage.close()
    with pytest.raises(StorageClosedError):
        await storage.verify()
    with pytest.raises(StorageClosedError):
        await storage.repair()


async def test_a_report_can_be_written_as_json(store: Path) -> None:
    torn(store)
    shown = json.loads(json.dumps((await verified(store)).as_json()))
    assert list(shown) == [
        *("clean", "hashed", "documents", "document_bytes", "indexed", "quarantined", "counts", "findings")
    ]
    assert shown["counts"].keys() == set(Kind)
    assert shown["counts"]["unreadable"] == 1
    (finding,) = shown["findings"]
    assert finding["reason"]
    assert {**finding, "reason": ""} == {
        "kind": "unreadable",
        "file": name("doc-1"),
        "reason": "",
        "belongs_at": None,
        "damage": True,
    }
    undecodable = Finding(Kind.UNREADABLE, "27/\udcff.json", "?").as_json()
    assert undecodable["file"] == "27/\\udcff.json"
