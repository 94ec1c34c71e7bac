"""What the explorer of power cuts has found, each as the shortest story that shows it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fsstore import FileStorage, open_storage
from fsstore.filesystem.disk import files, system
from fsstore.filesystem.documents.layout import Layout
from fsstore.filesystem.log import records
from fsstore.model.records import JsonObject
from tests.filesystem.faults import control, until


def note(record_id: str, value: str) -> JsonObject:
    return {"id": record_id, "type": "note", "data": {"value": value}}


@pytest.fixture
def system_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (records, system):
        monkeypatch.setattr(module, "boot_id", lambda: "after the cut")


async def test_counters_older_than_the_last_checkpoint_hold_no_write_up(tmp_path: Path) -> None:
    counters = tmp_path / ".fsstore" / "seq"
    async with open_storage(tmp_path) as storage:
        await storage.save(note("a", "old"))
        before = counters.read_bytes()
    # the segment's deletion was synced; the counters never are
    counters.write_bytes(before)
    async with open_storage(tmp_path) as storage:
        await storage.save(note("a", "new"))


async def test_a_temp_file_that_a_power_cut_brings_back_does_not_stay(tmp_path: Path) -> None:
    async with open_storage(tmp_path) as storage:
        await storage.save(note("a", "old"))
    # the rename was synced in the directory it led to, not in the one it came from
    left = tmp_path / ".fsstore" / "staging" / "0123456789abcdef"
    left.write_bytes((tmp_path / Layout(1).name("a")).read_bytes())
    async with open_storage(tmp_path):
        pass
    assert not left.exists()


@pytest.mark.parametrize("documents", [1, 4, 6])
async def test_a_segment_goes_only_when_the_names_of_new_directories_are_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, documents: int
) -> None:
    """A document in a shard that was made for it is lost with the name of the shard, which stands in the root."""
    done: list[str] = []
    real, unlinking = os.fsync, files.Tree.unlink

    def sync(descriptor: int) -> None:
        real(descriptor)
        done.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    def unlink(tree: files.Tree, name: str) -> bool:
        done.append(name)
        return unlinking(tree, name)

    async with open_storage(tmp_path) as storage:
        await storage.save(note("first", "old"))
    storage = await FileStorage.open(tmp_path)
    shards = {str((tmp_path / Layout(1).name(f"n{number}")).parent) for number in range(documents)}
    assert not any(Path(shard).exists() for shard in shards)
    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(files.Tree, "unlink", unlink)
    await storage.batch_save(note(f"n{number}", "new") for number in range(documents))
    await storage.close()
    before = done[: next(at for at, name in enumerate(done) if name.startswith(".fsstore/log/"))]
    assert {str(tmp_path), *shards} <= set(before)


@pytest.mark.usefixtures("system_restarts")
async def test_an_acknowledged_save_survives_when_it_and_the_unsynced_edit_before_it_are_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, cut, document = tmp_path / "store", tmp_path / "cut", Layout(1).name("a")
    async with open_storage(store) as storage:
        await storage.save(note("a", "old"))
    old = (store / document).read_bytes()
    async with await FileStorage.open(store) as storage:
        # an editor renames its version into place, and syncs neither that nor the directory
        (store / document).write_bytes(old.replace(b"old", b"edited"))
        await storage.save(note("a", "new"))
        await until(lambda: not control(store, "staging"))
        shutil.copytree(store, cut)
    # the cut undoes both renames; the record in the log was synced
    (cut / document).write_bytes(old)
    for module in (records, system):
        vars(module)["boot_id"] = lambda: "after the second cut"
    # nobody can set a ctime, and the file that came back has an old one
    signature = vars(files)["signature_in"]
    monkeypatch.setattr(files, "signature_in", lambda found: signature(found)._replace(ctime_ns=1))
    async with open_storage(cut) as storage:
        record = await storage.load("a")
    assert record is not None
    assert record["data"] == {"value": "new"}
