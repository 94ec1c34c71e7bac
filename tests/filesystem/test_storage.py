import asyncio
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage, SessionService
from fsstore.errors import (
    StorageCorruptedError,
    StorageError,
    StorageTooLargeError,
    StorageUnavailableError,
    StorageValidationError,
)
from fsstore.filesystem.documents import documents
from fsstore.filesystem.documents.layout import Layout
from tests.filesystem.faults import below, contents, control, descriptors, place, threads_of_the_store, until


async def test_a_store_of_two_levels_does_what_one_of_one_does(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path, shard_depth=2) as storage:
        sessions = SessionService(storage)
        await sessions.batch_save_sessions({f"S {number}": {"metadata": {"status": "x"}} for number in range(30)})
        await sessions.update_session("S 3", {"metadata": {"status": "y"}})
        await sessions.delete_session("S 4")
        assert await sessions.count_sessions({"status": "x"}) == 28
    # the marker tells the depth, whatever is asked for
    async with await FileStorage.open(tmp_path, shard_depth=1) as storage:
        assert len(await contents(storage)) == 29
        assert (tmp_path / Layout(2).name("S 3")).is_file()
        (tmp_path / Layout(2).name("S 5")).unlink()
        await storage.refresh()
        assert len(await contents(storage)) == 28


@pytest.mark.parametrize(("file_mode", "directory_mode"), [(0o600, 0o700), (0o640, 0o750), (0o644, 0o755)])
async def test_files_get_the_mode_that_was_asked_for(tmp_path: Path, file_mode: int, directory_mode: int) -> None:
    mask = os.umask(0)
    try:
        async with await FileStorage.open(tmp_path / "store", file_mode=file_mode) as storage:
            await storage.batch_save([{"id": "a"}, {"id": "b"}])
            await storage.list()
            paths = below(tmp_path / "store")
    finally:
        os.umask(mask)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in paths if path.exists()}
    files = {mode for path, mode in modes.items() if path.is_file()}
    directories = {mode for path, mode in modes.items() if path.is_dir()}
    assert (files, directories) == ({file_mode}, {directory_mode})


async def test_a_document_larger_than_allowed_is_not_written_and_can_be_read(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.save({"id": "large", "data": "x" * 2000})
    async with await FileStorage.open(tmp_path, max_bytes=1000) as storage:
        for attempt in (storage.save({"id": "new", "data": "x" * 2000}), storage.update("large", {"type": "other"})):
            with pytest.raises(StorageValidationError, match=r"more than the 1000 allowed.*max_bytes"):
                await attempt
        await storage.save({"id": "small"})
        assert set(await contents(storage)) == {"small", "large"}
        assert (await storage.health_check())["status"] == "ok"
        await storage.update("large", {"data": "shorter"})
        assert await storage.delete("large")


@pytest.mark.parametrize("indexed", [False, True])
async def test_a_document_larger_than_is_read_is_too_large_and_never_corrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, indexed: bool
) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.batch_save([{"id": "large", "data": "x" * 2000}, {"id": "small"}])
        if indexed:
            await storage.list()
        name = str(place(tmp_path, "large").relative_to(tmp_path))
    monkeypatch.setattr(documents, "READ_BYTES", 1000)
    async with await FileStorage.open(tmp_path, max_bytes=900) as storage:
        assert set(await contents(storage)) == {"small"}
        assert await storage.exists("large")
        for attempt in (storage.load("large"), storage.update("large", {"type": "other"})):
            with pytest.raises(StorageTooLargeError, match=r"more than 1000; .* larger max_bytes, delete"):
                await attempt
        report = await storage.health_check()
        assert (report["status"], report["corrupt"]) == ("degraded", [])
        assert [problem["file"] for problem in report["too_large"]] == [name]
        assert [problem["file"] for problem in await storage.unreadable()] == [name]
        # what one opener cannot read is hidden from no other, whether it was open before or is opened now
        async with await FileStorage.open(tmp_path, max_bytes=3000) as larger:
            assert set(await contents(larger)) == {"small", "large"}
            await storage.refresh()
            assert set(await contents(storage)) == {"small"}
            assert set(await contents(larger)) == {"small", "large"}
            assert (await larger.health_check())["status"] == "ok"


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_document_larger_than_is_read_can_be_deleted_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, replaced: bool
) -> None:
    monkeypatch.setattr(documents, "READ_BYTES", 1000)
    async with await FileStorage.open(tmp_path, max_bytes=3000) as storage:
        await storage.save({"id": "large", "data": "x" * 2000})
    before = place(tmp_path, "large").read_bytes()
    async with await FileStorage.open(tmp_path, max_bytes=900) as storage:
        assert await storage.count() == 0
        if replaced:
            await storage.save({"id": "large", "data": "short"})
            assert set(await contents(storage)) == {"large"}
        else:
            assert await storage.delete("large")
            assert await storage.load("large") is None
        assert (await storage.health_check())["status"] == "ok"
    kept = [(tmp_path / ".fsstore/quarantine" / name).read_bytes() for name in control(tmp_path, "quarantine")]
    assert kept == ([before] if replaced else [])


async def test_the_marker_may_say_how_large_a_document_may_be(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        assert storage._documents.max_bytes == 64 << 20
    marker = {"format": 1, "shard_depth": 1, "max_bytes": 1000}
    (tmp_path / "fsstore.json").write_text(json.dumps(marker))
    async with await FileStorage.open(tmp_path) as storage:
        with pytest.raises(StorageValidationError, match="more than the 1000 allowed"):
            await storage.save({"id": "a", "data": "x" * 2000})
    async with await FileStorage.open(tmp_path, max_bytes=3000) as storage:
        await storage.save({"id": "a", "data": "x" * 2000})
    assert json.loads((tmp_path / "fsstore.json").read_text()) == marker


@pytest.mark.parametrize("declared", [0, -1, "1", 1.5, True, None])
async def test_a_marker_with_a_limit_that_is_none_is_refused(tmp_path: Path, declared: Any) -> None:
    (tmp_path / "fsstore.json").write_text(json.dumps({"format": 1, "shard_depth": 1, "max_bytes": declared}))
    error = await refused(tmp_path)
    assert isinstance(error, StorageCorruptedError)
    assert "max_bytes" in str(error)


@pytest.mark.parametrize("given", [0, -1, "1", 1.5, True])
async def test_a_limit_that_is_none_is_refused(tmp_path: Path, given: Any) -> None:
    error = await refused(tmp_path, max_bytes=given)
    assert isinstance(error, StorageValidationError)
    assert error.path == "max_bytes"


# -- what is no store -------------------------------------------------------------------------------------------------


async def refused(path: Path, **options: Any) -> StorageError:
    before, running = descriptors(), len(threads_of_the_store())
    with pytest.raises(StorageError) as caught:
        await FileStorage.open(path, **options)
    await until(lambda: len(threads_of_the_store()) <= running)
    assert descriptors() <= before
    return caught.value


async def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    assert isinstance(await refused(tmp_path / "file"), StorageUnavailableError)
    assert (tmp_path / "file").read_text() == "text"


async def test_no_store_is_made_where_none_is_wanted(tmp_path: Path) -> None:
    assert isinstance(await refused(tmp_path / "missing", create=False), StorageUnavailableError)
    assert isinstance(await refused(tmp_path, create=False), StorageUnavailableError)
    assert below(tmp_path) == []


async def test_a_store_of_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "fsstore.json").write_text(json.dumps({"format": 2, "shard_depth": 1, "more": True}))
    error = await refused(tmp_path)
    assert isinstance(error, StorageUnavailableError)
    assert "newer fsstore" in str(error)
    assert below(tmp_path) == [tmp_path / "fsstore.json"]


@pytest.mark.parametrize("marker", ["", "garbage", "[]", "{}", '{"format": 1, "shard_depth": 7}', "\0" * 100])
async def test_a_damaged_marker_is_told_and_not_replaced(tmp_path: Path, marker: str) -> None:
    (tmp_path / "fsstore.json").write_text(marker)
    assert isinstance(await refused(tmp_path), StorageCorruptedError)
    assert (tmp_path / "fsstore.json").read_text() == marker


async def test_documents_without_a_marker_are_not_taken_for_an_empty_store(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.save({"id": "a"})
    (tmp_path / "fsstore.json").unlink()
    error = await refused(tmp_path)
    assert isinstance(error, StorageUnavailableError)
    assert "fsstore.json" in str(error)
    assert place(tmp_path, "a").exists()


async def test_a_control_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "store/.fsstore").symlink_to(tmp_path / "outside")
    assert isinstance(await refused(tmp_path / "store"), StorageUnavailableError)
    assert below(tmp_path / "outside") == []


async def test_a_store_made_by_several_at_once_is_one_store(tmp_path: Path) -> None:
    stores = await asyncio.gather(*(FileStorage.open(tmp_path / "store") for _ in range(6)))
    await asyncio.gather(*(storage.save({"id": f"n{number}"}) for number, storage in enumerate(stores)))
    for storage in stores:
        assert len(await contents(storage)) == 6
    for storage in stores:
        await storage.close()
