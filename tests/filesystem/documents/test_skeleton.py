from __future__ import annotations

import base64
import json
import os
import struct
import zlib
from pathlib import Path

import pytest
from filelock import lock_descriptor

from fsstore import FileStorage
from fsstore.errors import StorageCorruptedError, StorageError, StorageUnavailableError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents import skeleton as skeleton_module
from fsstore.filesystem.documents.layout import (
    CONTROL,
    CONTROL_MARKER,
    COUNTERS,
    IGNORE,
    LOCK,
    LOG,
    MARKER,
    STAGING,
)
from fsstore.filesystem.documents.skeleton import open_skeleton
from fsstore.filesystem.log.counters import State

MARKER_BYTES = b'{\n  "format": 1,\n  "shard_depth": 1\n}\n'


def skeleton(root: Path) -> None:
    open_skeleton(Tree(root), create=True, shard_depth=1, allow_network=False)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the paths that are synced from now on."""
    found: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        found.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("what a descriptor is open for is told by /proc alone")
    monkeypatch.setattr(os, "fsync", fsync)
    return found


def test_a_skeleton_whose_maker_may_have_died_is_synced_by_who_opens_it_next(tmp_path: Path, synced: list[str]) -> None:
    (tmp_path / MARKER).write_bytes(MARKER_BYTES)
    for directory in (LOG, STAGING):
        (tmp_path / directory).mkdir(parents=True)
    skeleton(tmp_path)
    assert {str(tmp_path / MARKER), str(tmp_path / ".fsstore"), str(tmp_path), str(tmp_path.parent)} <= {*synced}
    assert (tmp_path / IGNORE).read_bytes() == b"*\n"


def test_a_skeleton_that_is_complete_is_not_synced_again(tmp_path: Path, synced: list[str]) -> None:
    skeleton(tmp_path)
    synced.clear()
    skeleton(tmp_path)
    assert synced == []


def test_a_skeleton_is_complete_only_when_its_directories_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skeleton(tmp_path)
    (tmp_path / LOG).rmdir()

    def refuse(*_arguments: object) -> None:
        raise OSError(5, "no")

    monkeypatch.setattr(Tree, "sync_directory", refuse)
    with pytest.raises(OSError, match="no"):
        skeleton(tmp_path)
    assert (tmp_path / LOG).is_dir()
    assert (tmp_path / IGNORE).read_bytes() == b"*", "the next opening would not sync the directory"


def test_git_sees_no_file_of_a_control_directory_that_is_being_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = Tree.write_new, list[str]()

    def write_new(tree: Tree, name: str, data: bytes) -> object:
        if name.startswith(f"{CONTROL}/"):
            assert name == IGNORE or (tmp_path / IGNORE).read_bytes().strip() == b"*"
            made.append(name)
        return real(tree, name, data)

    monkeypatch.setattr(Tree, "write_new", write_new)
    skeleton(tmp_path)
    assert made[0] == IGNORE
    assert len(made) > 1
    (tmp_path / LOG).rmdir()
    skeleton(tmp_path)
    assert (tmp_path / IGNORE).read_bytes() == b"*\n"


def test_drafts_of_a_marker_do_not_stay(tmp_path: Path) -> None:
    draft = tmp_path / f".{MARKER}.0123456789abcdef"
    draft.write_bytes(b"{")
    skeleton(tmp_path)
    assert not draft.exists()


# -- the format of the control directory ------------------------------------------------------------------------------

SEGMENT_OF_FORMAT_1 = zlib.decompress(
    base64.b64decode(
        "eNpLKy4uyS9K1c3JT9c15GKAAAcVhiRzAzPTJMsUXTNzg0RdExNzM91Eo7Q03WSzlERTYxPLVBNTs0U3JrJ89QniYgRqOQfVuqbJd3nsrTcSqluU"
        "WRlZGNDBeiidnp+XWs2loKCUXJSaWJKaEp9YomSloGRkYGSma2ioa2wQYmhiZWpiZWCuZ2hmbm5soG1gYGVgoKQD0pOSWJIIVF1dC+ZlpoB0ggyE"
        "yJZUFqSCRFLyk0tzU/NKIKKlBSkk21OWWlScmZ8H1GDIVcsF8+kdqBcCF10B+5T1/fZ9WHy6F0pnpxaUEOtTSzNDY1NsPgWygTyISxQUkP0NMp5C"
        "f2PYit3f8lAPtfzbvQLk7zV97klMLAw2p85Gsh9684Fx0YsTWoLH/zEgxTAAN0qSHQ=="
    )
)
"""What fsstore 0.1.0 had in its log: `gone` saved, `kept` saved, `gone` deleted; nothing of it was synced in place."""


def control_of_format_1(root: Path) -> None:
    """Make what a process of fsstore 0.1.0 leaves that was killed."""
    (root / MARKER).write_bytes(MARKER_BYTES)
    for directory in (LOG, CONTROL_MARKER):
        (root / directory).mkdir(parents=True)
    (root / IGNORE).write_bytes(b"*\n")
    (root / LOCK).write_bytes(b"")
    (root / LOG / "000000000001.log").write_bytes(SEGMENT_OF_FORMAT_1)
    counters = State(applying=0, indexing=3, stale=1, newest=1, lock_acquisitions=1)
    (root / COUNTERS).write_bytes(struct.pack("<9Q", *counters[:9]))
    (root / CONTROL_MARKER / "0123").write_bytes(b"{")


async def test_a_control_directory_of_format_1_is_taken_over(tmp_path: Path) -> None:
    control_of_format_1(tmp_path)
    async with await FileStorage.open(tmp_path) as storage:
        assert [(record["id"], record["data"]) for record in await storage.list()] == [("kept", {"n": 1})]
        await storage.save({"id": "new"})
        assert await storage.count() == 2
    assert json.loads((tmp_path / CONTROL_MARKER).read_bytes())["format"] == 2
    assert list((tmp_path / STAGING).iterdir()) == []
    assert list((tmp_path / LOG).iterdir()) == []
    async with await FileStorage.open(tmp_path) as storage:
        assert await storage.count() == 2


def test_a_control_directory_in_which_an_older_version_writes_is_not_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control_of_format_1(tmp_path)
    monkeypatch.setattr(skeleton_module, "_LOCK_PAUSE_SECONDS", 0)
    for name in (LOCK, COUNTERS):
        with (tmp_path / name).open("rb+") as file:
            assert lock_descriptor(file.fileno(), blocking=False)
            with pytest.raises(StorageUnavailableError, match="older version") as caught:
                skeleton(tmp_path)
            assert "close the programs" in caught.value.advice
    assert (tmp_path / CONTROL_MARKER / "0123").exists()
    skeleton(tmp_path)
    assert (tmp_path / CONTROL_MARKER).is_file()


def test_what_an_older_version_expects_to_be_a_directory_is_a_file_that_says_why(tmp_path: Path) -> None:
    """What fsstore 0.1.0 does first: it makes `.fsstore/txn`, and passes over one that is a directory."""
    skeleton(tmp_path)
    with pytest.raises(FileExistsError):
        (tmp_path / ".fsstore" / "txn").mkdir()
    marker = tmp_path / ".fsstore" / "txn"
    assert marker.is_file()
    assert not marker.is_symlink()
    assert json.loads(marker.read_bytes()) == {"format": 2, "note": skeleton_module._NOTE}


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ('{"format": 3}', StorageUnavailableError, "format 3"),
        ('{"format": 1}', StorageCorruptedError, "declares no format"),
        ('{"format": "2"}', StorageCorruptedError, "declares no format"),
        ("", StorageCorruptedError, "declares no format"),
        ("[]", StorageCorruptedError, "declares no format"),
    ],
)
def test_a_control_directory_of_another_format_is_refused_and_stays_as_it_is(
    tmp_path: Path, text: str, error: type[StorageError], words: str
) -> None:
    (tmp_path / MARKER).write_bytes(MARKER_BYTES)
    (tmp_path / ".fsstore").mkdir()
    (tmp_path / CONTROL_MARKER).write_text(text)

    with pytest.raises(error, match=words) as caught:
        skeleton(tmp_path)

    assert caught.value.advice
    assert [path.name for path in (tmp_path / ".fsstore").iterdir()] == ["txn"]


async def test_an_older_version_that_makes_a_removed_control_directory_anew_is_seen(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.save({"id": "a"})
        # in one step, since the writer may be busy in it
        (tmp_path / ".fsstore").rename(tmp_path / "removed")
        (tmp_path / CONTROL_MARKER).mkdir(parents=True)
        await storage.save({"id": "b"})
        assert (tmp_path / CONTROL_MARKER).is_file()
        assert await storage.count() == 2
