"""A whole store into another one: versions and times kept, resumable, compared at the end, and the source unchanged."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fsstore import open_storage
from fsstore.errors import StorageConflictError, StorageUnavailableError
from fsstore.filesystem.storage import FileStorage
from fsstore.interfaces import IUnifiedStorage
from fsstore.memory import MemoryStorage
from fsstore.model.mutations import AnyMutation
from fsstore.model.records import JsonObject, Outcomes
from fsstore.model.values import write_json
from fsstore.transfer import migrate_store
from tests.query.drawn import some_record

RECORDS = 130


async def filled(storage: IUnifiedStorage, count: int = RECORDS) -> None:
    """Save records made to be nasty, and change some, so that versions and times differ."""
    rng = Random(5)
    drawn = [some_record(rng, at) for at in range(count)]
    ids = await storage.batch_save(drawn)
    for record_id in rng.sample(ids, count // 3):
        await storage.update(record_id, {"changed": True})
    await storage.delete(ids[0])
    await storage.save({"id": ids[0], "type": "again"})


async def contents(storage: IUnifiedStorage) -> dict[str, bytes]:
    async with aclosing(storage.stream_list()) as batches:
        return {record["id"]: write_json(record) async for batch in batches for record in batch}


def bytes_of(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


async def test_everything_goes_over_as_it_is_and_back(tmp_path: Path) -> None:
    async with MemoryStorage() as memory, await FileStorage.open(tmp_path / "a", fsync=False) as files:
        await filled(memory)
        steps: list[int] = []

        report = await migrate_store(memory, files, progress=steps.append)

        there = await contents(memory)
        assert await contents(files) == there
        lines = b"".join(there.values())
        assert report.records == report.copied == len(there) == RECORDS
        assert (report.bytes, report.digest) == (len(lines), hashlib.sha256(lines).hexdigest())
        assert steps == sorted(steps)
        assert steps[-1] == 2 * RECORDS
        async with MemoryStorage() as other:
            back = await migrate_store(files, other)
            assert await contents(other) == there
            assert back.digest == report.digest


async def test_a_directory_that_is_the_source_is_not_changed(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path / "a", fsync=False) as files:
        await filled(files)
    before = bytes_of(tmp_path / "a")

    async with (
        open_storage(tmp_path / "a", create=False, read_only=True) as source,
        open_storage(tmp_path / "b", fsync=False) as target,
    ):
        await migrate_store(source, target)
        with pytest.raises(StorageUnavailableError, match="is open with read_only=True; open it without"):
            await source.save({"id": "x"})

    assert bytes_of(tmp_path / "a") == before
    documents = {name: data for name, data in before.items() if not name.startswith(".fsstore/")}
    there = {name: data for name, data in bytes_of(tmp_path / "b").items() if not name.startswith(".fsstore/")}
    # the marker has an id of its own
    assert {name for name in documents if documents[name] != there.get(name)} <= {"fsstore.json", ".fsstore.json"}
    assert documents.keys() == there.keys()


async def test_a_store_opened_to_be_read_makes_nothing_not_even_its_control_directory(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path / "a", fsync=False) as files:
        await files.save({"id": "a"})
    for path in sorted((tmp_path / "a" / ".fsstore").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (tmp_path / "a" / ".fsstore").rmdir()

    async with await FileStorage.open(tmp_path / "a", read_only=True) as files:
        assert [record["id"] for record in await files.list()] == ["a"]
        assert (await files.health_check())["writable"] is False
    assert not (tmp_path / "a" / ".fsstore").exists()

    with pytest.raises(StorageUnavailableError, match="no store"):
        await FileStorage.open(tmp_path / "absent", read_only=True)
    assert not (tmp_path / "absent").exists()


async def test_no_version_that_was_deleted_in_the_source_comes_again_in_the_target(tmp_path: Path) -> None:
    async with MemoryStorage() as memory, MemoryStorage() as other:
        await filled(memory)
        for number in range(7):
            await memory.save({"id": "gone", "data": number})
        deleted = await version_of(memory, "gone")
        await memory.delete("gone")

        async with await FileStorage.open(tmp_path / "a", fsync=False) as files:
            await migrate_store(memory, files)
            assert await files.floor() == await memory.floor() == deleted
            assert await contents(files) == await contents(memory)
        async with await FileStorage.open(tmp_path / "a", read_only=True) as files:
            await migrate_store(files, other)
            assert await contents(other) == await contents(memory)

        await other.save({"id": "gone"})
        assert await version_of(other, "gone") == deleted + 1
        # a target that has deleted higher ones is left alone
        await other.delete("gone")
        await migrate_store(memory, other)
        assert await other.floor() == deleted + 1


async def version_of(storage: IUnifiedStorage, record_id: str) -> int:
    record = await storage.load(record_id)
    return 0 if record is None else int(record["version"])


class Failing(MemoryStorage):
    """Fails at the third commit."""

    commits = 0

    async def commit(self, changes: Sequence[AnyMutation]) -> Outcomes:
        self.commits += 1
        if self.commits == 3:
            raise StorageUnavailableError(reason="it fails here", path="memory:")
        return await super().commit(changes)


async def test_a_migration_that_was_stopped_goes_on_where_it_was() -> None:
    async with MemoryStorage() as source, Failing() as target:
        await filled(source)
        with pytest.raises(StorageUnavailableError, match="it fails here"):
            await migrate_store(source, target)
        assert len(await contents(target)) == 100

        steps: list[int] = []
        report = await migrate_store(source, target, progress=steps.append)

        assert (report.records, report.copied) == (RECORDS, RECORDS - 100)
        assert steps == sorted(steps)
        assert await contents(target) == await contents(source)
        again = await migrate_store(source, target)
        assert (again.copied, again.digest) == (0, report.digest)


async def test_a_migration_that_was_stopped_before_its_last_step_takes_the_floor_along_next_time() -> None:
    async with MemoryStorage() as source, Failing() as target:
        await source.batch_save([{"id": "a"}, {"id": "b"}])
        await source.delete("a")
        # one batch, and then the floor
        target.commits = 1
        with pytest.raises(StorageUnavailableError, match="it fails here"):
            await migrate_store(source, target)
        assert (await contents(target), await target.floor()) == (await contents(source), 0)

        assert (await migrate_store(source, target)).copied == 0
        assert await target.floor() == 1


async def test_what_has_changed_in_the_source_since_goes_over_by_the_next_call() -> None:
    async with MemoryStorage() as source, MemoryStorage() as target:
        await filled(source, 20)
        await migrate_store(source, target)
        (record_id, *_) = await contents(source)
        await source.update(record_id, {"changed": "again"})
        await source.save({"id": "a-new-one"})

        report = await migrate_store(source, target)

        assert report.copied == 2
        assert await contents(target) == await contents(source)


@pytest.mark.parametrize(
    ("records", "named", "reason"),
    [
        ([{"id": "other"}], "other", "the source has none"),
        # of the same version, and another record
        ([{"id": "a", "type": "mine"}], "a", "another document of that id"),
        ([{"id": "zz"}], "zz", "the source has none"),
        # of a lower version, and made at another time
        ([{"id": "b", "created_at": "2000-01-01"}], "b", "another document of that id"),
    ],
)
async def test_a_target_with_records_of_its_own_is_refused_before_anything_is_written(
    records: list[JsonObject], named: str, reason: str
) -> None:
    async with MemoryStorage() as source, MemoryStorage() as target:
        for _ in range(2):
            await source.save({"id": "b"})
        await source.save({"id": "a"})
        await target.batch_save(records)
        before = await contents(target)

        with pytest.raises(StorageConflictError, match=reason) as refused:
            await migrate_store(source, target)

        assert refused.value.id == named
        assert await contents(target) == before


class Moving(MemoryStorage):
    """A source that another program writes to once it was read."""

    reads = 0

    async def stream_list(self, *arguments: Any, **named: Any) -> Any:
        self.reads += 1
        if self.reads == 3:
            await self.update("a", {"changed": True})
        async for batch in super().stream_list(*arguments, **named):
            yield batch


async def test_a_source_that_changes_meanwhile_is_an_error_that_names_what_differs() -> None:
    async with Moving() as source, MemoryStorage() as target:
        await source.batch_save([{"id": "a"}, {"id": "b"}])

        with pytest.raises(StorageConflictError, match="changed meanwhile: a differ"):
            await migrate_store(source, target)

        assert (await migrate_store(source, target)).copied == 1


async def test_what_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path / "a", fsync=False) as files:
        await files.batch_save([{"id": "a"}, {"id": "b"}])
    (damaged,) = (tmp_path / "a").rglob("a.json")
    damaged.write_text("{")

    async with await FileStorage.open(tmp_path / "a", read_only=True) as source, MemoryStorage() as target:
        report = await migrate_store(source, target)
        assert report.unreadable == (str(damaged.relative_to(tmp_path / "a")),)
        assert set(await contents(target)) == {"b"}


# -- the command ------------------------------------------------------------------------------------------------------


def test_a_migration_that_is_killed_over_and_over_ends_whole(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    text = "".join(
        json.dumps({"metadata": {"session_id": f"s{at:05}"}, "text": "x" * 2000}) + "\n" for at in range(3_000)
    )
    (tmp_path / "sessions.jsonl").write_text(text)
    call = [sys.executable, "-m", "fsstore"]
    subprocess.run(
        [*call, "import", str(tmp_path / "sessions.jsonl"), "--store", str(source), "--no-fsync", "-q"], check=True
    )
    command = [*call, "migrate", str(source), str(target), "--no-fsync"]

    kills = 0
    for wanted in (1, 800, 1_600):
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        while process.poll() is None and sum(1 for _ in target.glob("??/*.json")) < wanted:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        assert process.stderr is not None
        process.stderr.close()
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert kills == 3
    assert done.returncode == 0, done.stderr
    assert "both stores hold the same 3000 records" in done.stderr
    copied = int(done.stderr.partition("copied ")[2].split()[0])
    assert 0 < copied < 3_000 - 1_500
    documents = {str(path.relative_to(source)): path.read_bytes() for path in source.glob("??/*.json")}
    assert {str(path.relative_to(target)): path.read_bytes() for path in target.glob("??/*.json")} == documents
