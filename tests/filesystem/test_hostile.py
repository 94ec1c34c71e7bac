import errno
import os
import shutil
import stat
import struct
import time
import zlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fsstore import FileStorage, open_storage
from fsstore.errors import StorageCorruptedError, StorageError, StorageUnavailableError
from fsstore.filesystem.disk import files, system
from fsstore.filesystem.disk.descriptors import read_all
from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.documents.layout import Layout
from fsstore.filesystem.log.records import NO_DOCUMENT, LoggedChange, pack, unpack
from fsstore.interfaces import IUnifiedStorage
from tests.filesystem.faults import below, contents, control, cut_off
from tests.filesystem.hostile import (
    BEFORE,
    TERABYTE,
    Obstacle,
    cleared,
    expected_after,
    fill,
    full_directory,
    in_time,
    link_to_a_directory,
    link_to_a_file,
    link_to_nothing,
    noise,
    ordeal,
    outside_of,
    pipe,
    place,
    planted,
    snapshot,
    terabyte,
    values_of,
)


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> Path:
    """Return a store that no process has open, of five documents."""
    async with open_storage(tmp_path / "store") as storage:
        await fill(storage)
        await storage.list()
    return tmp_path / "store"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return outside_of(tmp_path)


def of(came: dict[str, Any], kind: type[StorageError]) -> set[str]:
    """Return the calls of an ordeal that ended in such an error."""
    return {name for name, answer in came.items() if isinstance(answer, kind)}


async def opened_ordeal(store: Path, *, without: Collection[str] = ()) -> dict[str, Any]:
    """Open a store and go through the ordeal; the error of the opening is all there is where it is refused."""
    opening = await in_time(FileStorage.open(store))
    if isinstance(opening, StorageError):
        return {"open": opening}
    async with opening as storage:
        return await ordeal(storage, store.with_name("export.jsonl"), without=without)


async def assert_kept(store: Path, came: dict[str, Any]) -> None:
    """See that what was said to be written is there once the obstacle is gone, and nothing else has changed."""
    async with open_storage(store) as storage:
        values = await values_of(storage)
        if "open" in came:
            came = dict.fromkeys(("save", "save new", "update", "batch", "delete"), came["open"])
        assert {key: value for key, value in values.items() if value not in expected_after(came)[key]} == {}
        assert (await storage.health_check())["corrupt"] == []


# -- the control directory --------------------------------------------------------------------------------------------

PLANTED = {
    "index.sqlite3": full_directory,
    "index.sqlite3-wal": link_to_a_file,
    "index.sqlite3-shm": pipe,
    "seq": link_to_a_file,
    "batches": link_to_a_file,
    "lock": pipe,
    "log": noise,
    "staging": link_to_a_directory,
    "staging/planted": full_directory,
    "quarantine": link_to_a_directory,
    ".gitignore": link_to_a_file,
    "": link_to_a_file,
}
"""One obstacle for each name; the fault campaign tries them all. A pipe for a journal is a test of its own."""


def without_control(store: Path) -> None:
    """Take the control directory away, as anybody may while no process has the store open."""
    cleared(store / ".fsstore")


@pytest.mark.parametrize("name", PLANTED)
async def test_what_stands_in_the_control_directory_before_opening_loses_nothing(
    store: Path, outside: Path, name: str
) -> None:
    with planted(PLANTED[name], store / ".fsstore" / name, outside):
        came = await opened_ordeal(store, without=UNTOLD.get(name, ()))
    without_control(store)
    await assert_kept(store, came)


@pytest.mark.parametrize("name", PLANTED)
async def test_what_comes_into_the_control_directory_while_open_loses_nothing(
    store: Path, outside: Path, name: str
) -> None:
    storage = await FileStorage.open(store)
    await storage.list()
    try:
        with planted(PLANTED[name], store / ".fsstore" / name, outside):
            came = await ordeal(storage, store.with_name("export.jsonl"), without=UNTOLD.get(name, ()))
    finally:
        await storage.close()
    without_control(store)
    await assert_kept(store, came)


UNTOLD = {"quarantine": ("health",), "log": ("health",)}
"""What does not yet answer with an error of the store; see the tests that are expected to fail."""


@pytest.mark.parametrize("name", UNTOLD)
async def test_a_report_is_made_or_refused_whatever_stands_where_it_counts(
    store: Path, outside: Path, name: str
) -> None:
    async with open_storage(store) as storage:
        await storage.list()
        with planted(link_to_a_directory, store / ".fsstore" / name, outside):
            assert isinstance(await in_time(storage.health_check()), dict | StorageError)


@pytest.mark.parametrize("name", ["", "log"])
async def test_a_control_directory_that_becomes_a_link_while_open_is_not_followed(
    store: Path, outside: Path, name: str
) -> None:
    path = store / ".fsstore" / name
    storage = await FileStorage.open(store)
    try:
        with planted(link_to_a_directory, path, outside):
            await in_time(storage.save({"id": "n1"}))
    finally:
        cleared(path)
        await storage.close()


async def test_a_pipe_in_the_place_of_a_journal_hangs_nobody(store: Path, outside: Path) -> None:
    async with open_storage(store) as storage:
        with planted(pipe, store / ".fsstore/index.sqlite3-journal", outside):
            assert len(await in_time(storage.list())) == len(BEFORE)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_counters_full_of_noise_lose_nothing(store: Path) -> None:
    (store / ".fsstore/seq").write_bytes(b"\xff" * 64)
    await assert_kept(store, await opened_ordeal(store))


async def test_a_segment_of_a_terabyte_is_an_error_of_the_store(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(descriptor: int, size: int) -> bytes:
        # not tried, since a system that promises more memory than it has would read for hours
        if size == TERABYTE:
            raise MemoryError
        return read_all(descriptor, size)

    monkeypatch.setattr(files, "read_all", out_of_memory)
    segment = store / ".fsstore/log/000000000009.log"
    terabyte(segment, store)
    error = await in_time(FileStorage.open(store))
    assert isinstance(error, StorageUnavailableError)
    assert error.path == str(segment)
    segment.unlink()
    await assert_kept(store, {"open": error})


def hard_link(path: Path, outside: Path) -> None:
    os.link(outside / "file", path)


@pytest.mark.parametrize("obstacle", [hard_link, link_to_a_file, link_to_nothing], ids=lambda made: made.__name__)
@pytest.mark.parametrize("batch", [False, True])
async def test_nothing_is_written_through_a_name_that_was_planted_for_staging(
    store: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, obstacle: Obstacle, *, batch: bool
) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _size: "guessed")
    async with open_storage(store) as storage:
        if batch:
            (store / ".fsstore/staging/guessed-1").mkdir()
        name = "guessed-1/0" if batch else "guessed-1"
        with planted(obstacle, store / ".fsstore/staging" / name, outside):
            error = await in_time(storage.batch_save([{"id": "n1"}, {"id": "n2"}] if batch else [{"id": "n1"}]))
        assert isinstance(error, StorageUnavailableError)
        assert error.outcome == "not applied"
        assert (await values_of(storage))["n1"] == "before"


async def test_directories_within_directories_of_staging_do_not_stop_recovery(store: Path, tmp_path: Path) -> None:
    async with open_storage(store) as storage:
        await storage.save({"id": "n1", "data": {"is": "after"}})
        left = cut_off(storage, store, tmp_path / "left")  # type: ignore[arg-type]  # it is the one of a directory
    full_directory(left / ".fsstore/staging/planted", tmp_path)
    # counters that are lost make the next one recover
    (left / ".fsstore/seq").unlink()
    async with open_storage(left) as storage:
        assert (await values_of(storage))["n1"] == "after"
        assert control(left, "staging") == []


# -- the marker and the root ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("obstacle", [pipe, full_directory, link_to_a_file, terabyte], ids=lambda made: made.__name__)
async def test_a_marker_that_is_something_else_is_told_and_left_alone(
    store: Path, outside: Path, obstacle: Obstacle
) -> None:
    with planted(obstacle, store / "fsstore.json", outside):
        before = (store / "fsstore.json").lstat()
        assert set(await opened_ordeal(store)) == {"open"}
        assert (store / "fsstore.json").lstat()[:9] == before[:9]


@pytest.mark.parametrize(
    ("marker", "opens"),
    [
        (b'{"format": 1, "shard_depth": 2, "shard_depth": 1}', True),
        (b'{"format": 1, "shard_depth": 1, "by": 18446744073709551616}', True),
        (b'{"format": 1.0, "shard_depth": 1}', False),
        (b'{"format": true, "shard_depth": 1}', False),
        (b'{"format": 1, "shard_depth": true}', False),
        (b'{"format": 18446744073709551616, "shard_depth": 1}', False),
        (b'{"format": 1e400, "shard_depth": 1}', False),
        (b'{"format": "1", "shard_depth": "1"}', False),
        (b'\xef\xbb\xbf{"format": 1, "shard_depth": 1}', True),
        (b"[" * 4000, False),
    ],
)
async def test_a_marker_is_read_exactly_or_refused(store: Path, marker: bytes, *, opens: bool) -> None:
    (store / "fsstore.json").write_bytes(marker)
    came = await opened_ordeal(store)
    assert isinstance(came.get("open"), StorageCorruptedError) is not opens
    assert (store / "fsstore.json").read_bytes() == marker


async def test_the_root_may_be_a_link_and_may_become_one(store: Path, tmp_path: Path) -> None:
    async with open_storage(store) as storage:
        await storage.list()
        store.rename(tmp_path / "elsewhere")
        store.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
        await storage.save({"id": "n1", "data": {"is": "after"}})
        assert (await values_of(storage))["n1"] == "after"
    async with open_storage(store) as storage:
        assert (await values_of(storage))["n1"] == "after"
        assert len(await contents(storage)) == len(BEFORE)  # type: ignore[arg-type]  # it is the one of a directory


@pytest.mark.parametrize("empty_directory", [False, True])
async def test_a_root_that_is_taken_away_is_not_an_empty_store(
    store: Path, tmp_path: Path, *, empty_directory: bool
) -> None:
    """As when a medium is pulled out: its mount point is empty, or goes with it."""
    async with open_storage(store) as storage:
        await storage.list()
        store.rename(tmp_path / "elsewhere")
        if empty_directory:
            store.mkdir()
        came = await ordeal(storage, tmp_path / "export.jsonl")
        made = below(store)
        cleared(store)
        (tmp_path / "elsewhere").rename(store)
        refused = {"load", "load absent", "save", "save new", "update", "batch", "delete", "list", "count", "exists"}
        assert of(came, StorageUnavailableError) >= refused
        assert came["health"]["status"] == "degraded"
        assert made == []
        assert await values_of(storage) == BEFORE | {"new": "absent", "b": "absent"}


# -- documents and shards ---------------------------------------------------------------------------------------------


async def names_and_problems(storage: IUnifiedStorage) -> tuple[set[str], set[str]]:
    """Return the ids that are listed, and the files that are reported."""
    report = await storage.health_check()
    return {record["id"] for record in await storage.list()}, {problem["file"] for problem in report["corrupt"]}


@pytest.mark.parametrize("when", ["closed", "open"])
@pytest.mark.parametrize(
    "obstacle", [pipe, link_to_a_directory, link_to_nothing, noise], ids=lambda made: made.__name__
)
async def test_what_stands_in_the_place_of_a_shard_is_reported(
    store: Path, outside: Path, obstacle: Obstacle, when: str
) -> None:
    shard, good = place(store, "n1").parent, snapshot(place(store, "n1").parent)
    storage = await FileStorage.open(store)
    if when == "closed":
        await storage.close()
    with planted(obstacle, shard, outside):
        if when == "closed":
            without_control(store)
            storage = await FileStorage.open(store)
        listed, reported = await names_and_problems(storage)
        # what the index knows to be in there cannot be read either
        assert (listed, reported - {f"{shard.name}/n1.json"}) == (set(BEFORE) - {"n1"}, {f"{shard.name}/"})
        came = await ordeal(storage, store.with_name("export.jsonl"))
        assert of(came, StorageCorruptedError) == {"save"}
    cleared(shard)
    shard.mkdir()
    for name, (_, data) in good.items():
        (shard / name).write_bytes(data)
    assert await names_and_problems(storage) == ({"n0", "n1", "n2", "n3", "new", "b"}, set())
    await storage.close()


async def test_names_that_are_no_text_are_foreign(store: Path) -> None:
    shard = os.fsencode(place(store, "n1").parent)
    names = [b"\xff.json", b"\xed\xb2\x80.json", b"n1\x80.json"]
    for name in names:
        shutil.copy(os.fsencode(place(store, "n1")), os.path.join(shard, name))  # noqa: PTH118 - a Path holds no bytes
    async with open_storage(store) as storage:
        assert await names_and_problems(storage) == (set(BEFORE), set())
        await ordeal(storage, store.with_name("export.jsonl"))
    assert set(names) <= set(os.listdir(shard))  # noqa: PTH208 - the same


async def test_copies_of_a_document_are_reported_and_never_served(store: Path) -> None:
    source = place(store, "n1")
    other = place(store, "n2").parent
    copies = [
        *(source.with_name(f"{base}.json") for base in ("n1 (copy)", "N1", "n1.json", "x" * 250, "n1~" + "0" * 32)),
        *(source.with_name(f"{base}.json") for base in ("a\nb", "\u00e9", "e\u0301", "$(id)", "-rf", " ", "con")),
        other / "n1.json",
    ]
    for path in copies:
        shutil.copy(source, path)
    async with open_storage(store) as storage:
        reported = {str(path.relative_to(store)) for path in copies}
        assert await names_and_problems(storage) == (set(BEFORE), reported)
        await storage.save({"id": "n1", "data": {"is": "after"}})
        assert await storage.delete("n1") is True
        assert await storage.load("n1") is None
        assert await names_and_problems(storage) == (set(BEFORE) - {"n1"}, reported)
    assert all(path.exists() for path in copies)


async def test_an_upper_case_shard_and_a_link_to_one_are_foreign(store: Path, tmp_path: Path) -> None:
    for name in ("3F", "AC", "3f0", "3"):
        shutil.copytree(place(store, "n1").parent, store / name)
    (store / "FF").symlink_to(tmp_path)
    before = snapshot(store / "AC")
    async with open_storage(store) as storage:
        assert await names_and_problems(storage) == (set(BEFORE), set())
    assert snapshot(store / "AC") == before


async def test_documents_that_are_hard_links_of_each_other_part_with_the_first_save(store: Path, outside: Path) -> None:
    os.link(place(store, "n1"), outside / "linked")
    place(store, "n2").unlink()
    os.link(place(store, "n1"), place(store, "n2"))
    before = (outside / "linked").read_bytes()
    async with open_storage(store) as storage:
        assert isinstance(await in_time(storage.load("n2")), StorageCorruptedError)
        assert isinstance(await in_time(storage.update("n2", {"data": {}})), StorageCorruptedError)
        await storage.save({"id": "n1", "data": {"is": "after"}})
        assert (await storage.load("n1") or {})["data"] == {"is": "after"}
    assert (outside / "linked").read_bytes() == place(store, "n2").read_bytes() == before


@pytest.mark.parametrize(
    "obstacle", [pipe, full_directory, link_to_a_file, link_to_nothing], ids=lambda made: made.__name__
)
async def test_a_document_that_becomes_something_else_after_it_was_read_is_moved_aside_whole(
    store: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, obstacle: Obstacle
) -> None:
    """The race between the draft, which finds a file, and the rename, which finds something else."""
    path, real = place(store, "n1"), files.Tree.exchange

    def plant_and_exchange(tree: files.Tree, staged: str, name: str) -> Signature | None:
        monkeypatch.setattr(files.Tree, "exchange", real)
        cleared(path)
        obstacle(path, outside)
        return real(tree, staged, name)

    before = snapshot(outside)
    async with open_storage(store) as storage:
        monkeypatch.setattr(files.Tree, "exchange", plant_and_exchange)
        await storage.save({"id": "n1", "data": {"is": "after"}})
        assert (await values_of(storage))["n1"] == "after"
    assert snapshot(outside) == before
    # a rename puts a file in the place of anything but a directory
    assert len(control(store, "quarantine")) == (obstacle is full_directory)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
async def test_directories_that_can_not_be_listed_are_reported_and_lose_no_document(
    store: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    async with open_storage(store) as storage:
        await storage.list()

        def refusing(_tree: files.Tree, name: str) -> Iterator[Any]:
            raise OSError(code, os.strerror(code), name)

        monkeypatch.setattr(files.Tree, "stats", refusing)
        came = await ordeal(storage, store.with_name("export.jsonl"))
        assert of(came, StorageUnavailableError) == set()
        assert came["health"]["status"] == "degraded"
        # each of them, and nothing that is in them: what is known of that can still be read
        shards = {f"{place(store, key).parent.name}/" for key in (*BEFORE, "b", "new")}
        assert {problem["file"] for problem in came["health"]["corrupt"]} == shards
        assert {problem["reason"] for problem in came["health"]["corrupt"]} == {os.strerror(code)}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is closed to this user")
async def test_a_shard_that_is_closed_to_us_is_no_absence(store: Path) -> None:
    shard = place(store, "n1").parent
    shard.chmod(0)
    try:
        came = await opened_ordeal(store)
    finally:
        shard.chmod(0o700)
    assert of(came, StorageUnavailableError) == {"save"}
    await assert_kept(store, came)


# -- modes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o177])
async def test_whatever_the_umask_nobody_else_may_read_or_enter(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        async with open_storage(tmp_path / "above/store") as storage:
            await fill(storage)
            await ordeal(storage, tmp_path / "above/export.jsonl")
            found = []
            for path in (tmp_path / "above", *below(tmp_path / "above")):
                # a segment of the log may be gone by now
                with suppress(FileNotFoundError):
                    found.append(path.stat().st_mode)
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(mode) for mode in found if stat.S_ISREG(mode)}
    directory_modes = {stat.S_IMODE(mode) for mode in found if stat.S_ISDIR(mode)}
    assert (modes, directory_modes) == ({0o600}, {0o700 & ~mask})


# -- the log ----------------------------------------------------------------------------------------------------------


def record_of(*bodies: bytes) -> bytes:
    """Return a record whose checksum is right, whatever is in it."""
    body = b"".join(bodies)
    head = struct.pack("<4sIQQ", b"\xf5LR\n", 1, len(body), time.time_ns())
    return head + struct.pack("<I", zlib.crc32(body, zlib.crc32(head))) + body


def change_of(kind: int, key: bytes, data: bytes, *, size: int | None = None) -> bytes:
    told = len(data) if size is None else size
    return struct.pack("<BH16sQ", kind, len(key), bytes(16), told) + key + data


MALFORMED = {
    "a kind from the future": change_of(3, b"n1", b"{}"),
    "no kind": change_of(0, b"n1", b""),
    "an id that is no text": change_of(1, b"\xff\xfe", b"{}"),
    "an id with a surrogate": change_of(2, b"\xed\xa0\x80", b""),
    "more data than there is": change_of(1, b"n1", b"{}", size=1 << 60),
    "an id longer than all": struct.pack("<BH16sQ", 2, 60_000, bytes(16), 0) + b"n1",
    "half a change": change_of(2, b"n1", b"")[:10],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_record_that_holds_what_no_commit_is_is_damage_and_hides_no_other(name: str) -> None:
    good = LoggedChange("n2", NO_DOCUMENT, b"{}", durable=True)
    header = system.boot_id().encode()
    header = struct.pack("<14sQH", b"fsstore-log-1\n", 0, len(header)) + header
    start = header + struct.pack("<I", zlib.crc32(header))

    # a whole change before the malformed one, in the same record: all of a group or nothing
    bad = record_of(change_of(2, b"n3", b""), MALFORMED[name])
    segment = unpack(1, start + bad + b"".join(pack([good], durable=True)))

    assert segment.changes == [good]
    assert segment.damage.startswith(f"the record at byte {len(start)} ")


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_store_with_such_a_record_opens_and_keeps_its_documents(store: Path, tmp_path: Path, name: str) -> None:
    left = await left_with(store, tmp_path, record_of(change_of(2, b"n0", b""), MALFORMED[name]))
    async with open_storage(left) as storage:
        assert await values_of(storage) == BEFORE | {"n1": "after", "new": "absent", "b": "absent"}
    assert len(control(left, "quarantine")) == 1


async def test_the_id_in_a_record_leads_nowhere_but_to_its_place(store: Path, tmp_path: Path) -> None:
    ids = ["../../x", "/etc/passwd", "..", ".fsstore/seq", "a/../../../x", "CON", "n1\\..\\x"]
    before = set(below(tmp_path)) | {tmp_path / "left"}
    record = record_of(*(change_of(1, key.encode(), b"not a document") for key in ids))
    left = await left_with(store, tmp_path, record)
    async with open_storage(left) as storage:
        for key in ids:
            assert isinstance(await in_time(storage.load(key)), StorageCorruptedError)
        assert len(await storage.list()) == len(BEFORE)
    grown = {path for path in set(below(tmp_path)) - before if not path.is_relative_to(left)}
    assert grown == set()
    assert {str(path.relative_to(left)) for path in below(left) if "~" in path.name} == {
        Layout(1).name(key) for key in ids
    }


async def left_with(store: Path, tmp_path: Path, record: bytes) -> Path:
    """Return a store as a dead process left it, with one more record in its log, to be replayed by the next."""
    async with open_storage(store) as storage:
        await storage.save({"id": "n1", "data": {"is": "after"}})
        left = cut_off(storage, store, tmp_path / "left")  # type: ignore[arg-type]  # it is the one of a directory
    (segment,) = (left / ".fsstore/log").iterdir()
    with segment.open("ab") as file:
        file.write(record)
    (left / ".fsstore/seq").unlink()
    return left
