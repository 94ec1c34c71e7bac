from pathlib import Path

import pytest

from fsstore import FileStorage
from fsstore.filesystem.documents import documents
from fsstore.filesystem.log.log import Log
from tests.filesystem.faults import place


async def test_a_store_in_order_reports_what_it_holds_and_how_it_was_opened(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path, fsync=False, shard_depth=2) as storage:
        await storage.batch_save([{"id": "a"}, {"id": "b"}])

        report = await storage.health_check()

        assert (report["status"], report["trouble"], report["waiting"]) == ("ok", None, [])
        assert (report["documents"], report["quarantined"]) == (2, 0)
        assert report["document_bytes"] == sum(path.stat().st_size for path in tmp_path.glob("*/*/*.json"))
        assert (report["writable"], report["durable"], report["shard_depth"]) == (True, False, 2)
        assert (report["backend"], report["path"]) == ("filesystem", str(tmp_path))
        assert await storage.unreadable() == []


async def test_what_is_damaged_and_what_is_too_large_are_reported_apart_and_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.batch_save([{"id": "large", "data": "x" * 2000}, {"id": "small"}, {"id": "torn"}])
    large, torn = (str(place(tmp_path, name).relative_to(tmp_path)) for name in ("large", "torn"))
    (tmp_path / torn).write_text("{")
    monkeypatch.setattr(documents, "READ_BYTES", 1000)
    async with await FileStorage.open(tmp_path, max_bytes=900) as storage:
        report = await storage.health_check()

        assert report["status"] == "degraded"
        assert [problem["file"] for problem in report["corrupt"]] == [torn]
        assert [problem["file"] for problem in report["too_large"]] == [large]
        assert await storage.unreadable() == sorted(
            [*report["corrupt"], *report["too_large"]], key=lambda problem: str(problem["file"])
        )


async def test_a_log_that_cannot_be_listed_is_reported_as_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Log) -> list[int]:
        raise PermissionError(13, "Permission denied", "log")

    async with await FileStorage.open(tmp_path) as storage:
        await storage.save({"id": "a"})
        await storage.list()
        with monkeypatch.context() as failing:
            failing.setattr(Log, "numbers", refused)
            report = await storage.health_check()
        assert (report["status"], report["log_segments"], report["documents"]) == ("degraded", None, 1)
        assert "Permission denied" in report["trouble"]
        assert (await storage.health_check())["status"] == "ok"
