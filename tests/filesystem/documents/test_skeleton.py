from __future__ import annotations

import os
from pathlib import Path

import pytest

from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents.layout import IGNORE, LOG, MARKER, STAGING
from fsstore.filesystem.documents.skeleton import open_skeleton

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
    assert not (tmp_path / IGNORE).exists(), "the next opening would not sync the directory"


def test_drafts_of_a_marker_do_not_stay(tmp_path: Path) -> None:
    draft = tmp_path / f".{MARKER}.0123456789abcdef"
    draft.write_bytes(b"{")
    skeleton(tmp_path)
    assert not draft.exists()


def test_a_marker_made_by_somebody_faster_counts_even_if_they_took_the_draft_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Tree.write_new

    def overtaken(tree: Tree, name: str, data: bytes) -> object:
        made = real(tree, name, data)
        if name.startswith(f".{MARKER}."):
            (tmp_path / MARKER).write_bytes(MARKER_BYTES.replace(b'"shard_depth": 1', b'"shard_depth": 2'))
            tree.unlink(name)
        return made

    monkeypatch.setattr(Tree, "write_new", overtaken)
    layout, _ = open_skeleton(Tree(tmp_path), create=True, shard_depth=1, allow_network=False)
    assert layout.shard_depth == 2
