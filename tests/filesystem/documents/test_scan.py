from __future__ import annotations

import os
from pathlib import Path

import pytest

from fsstore.errors import StorageUnavailableError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.disk.unreadable import Unreadable
from fsstore.filesystem.documents.scan import Scan


def scan_of(root: Path, *, shard_depth: int = 1) -> Scan:
    tree = Tree(root)
    # the device that the others are compared with
    tree.signature("3f/a.json" if shard_depth == 1 else "3f/0a/a.json")
    return Scan(tree, shard_depth, Unreadable())


def made(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}")


def test_shards_are_given_in_order_and_foreign_names_are_passed_over(tmp_path: Path) -> None:
    made(tmp_path, "ff/a.json", "3f/a.json", "00/a.json", ".git/3f/a.json", "README", "3F/a.json", "123/a.json")
    scan = scan_of(tmp_path)
    assert list(scan.shards()) == scan.outer_shards() == ["00", "3f", "ff"]


def test_at_depth_two_the_shards_of_one_directory_can_be_had_alone(tmp_path: Path) -> None:
    made(tmp_path, "3f/0b/a.json", "3f/0a/a.json", "ff/00/a.json", "3f/a.json", "3f/docs/a.json")
    scan = scan_of(tmp_path, shard_depth=2)
    assert list(scan.shards()) == ["3f/0a", "3f/0b", "ff/00"]
    assert list(scan.shards("3f")) == ["3f/0a", "3f/0b"]
    assert list(scan.shards("3f/0a")) == ["3f/0a"]
    assert scan.outer_shards() == ["3f", "ff"]


def test_what_cannot_be_entered_stands_for_its_documents(tmp_path: Path) -> None:
    made(tmp_path, "3f/a.json", "elsewhere/b.json", "00")
    (tmp_path / "ff").symlink_to(tmp_path / "elsewhere")
    scan = scan_of(tmp_path)
    assert list(scan.shards()) == ["00", "3f", "ff"]
    assert scan.signatures("00") == {"00/": None}
    assert scan.signatures("ff") == {"ff/": None}
    assert list(scan.signatures("3f")) == ["3f/a.json"]
    assert scan.inventory("3f") is not None
    assert scan.inventory("00") is None


def test_only_documents_have_signatures_and_a_directory_among_them_has_none(tmp_path: Path) -> None:
    made(tmp_path, "3f/a.json", "3f/notes.txt", "3f/.a.json.swp")
    (tmp_path / "3f" / "b.json").mkdir()
    found = scan_of(tmp_path).signatures("3f")
    assert found.keys() == {"3f/a.json", "3f/b.json"}
    assert found["3f/a.json"] is not None
    assert found["3f/b.json"] is None


def test_an_inventory_is_a_line_for_each_document_and_not_known_where_a_name_is_two_lines(tmp_path: Path) -> None:
    made(tmp_path, "3f/b.json", "3f/a.json", "3f/notes.txt")
    scan = scan_of(tmp_path)
    inventory = scan.inventory("3f")
    assert inventory is not None
    assert [line.split("/")[:2] for line in inventory.splitlines()] == [["3f", "a.json"], ["3f", "b.json"]]
    made(tmp_path, "3f/c\nd.json")
    assert scan.inventory("3f") is None


def test_the_inventory_of_depth_two_is_that_of_all_its_shards_or_not_known(tmp_path: Path) -> None:
    made(tmp_path, "3f/0a/a.json", "3f/0b/b.json")
    scan = scan_of(tmp_path, shard_depth=2)
    inventory = scan.inventory("3f")
    assert inventory is not None
    assert [line.split("/")[1] for line in inventory.splitlines()] == ["0a", "0b"]
    (tmp_path / "3f" / "0c").symlink_to(tmp_path / "3f" / "0a")
    assert scan.inventory("3f") is None


def test_a_shard_that_the_system_refuses_raises_and_is_noted_until_it_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "3f/a.json")
    tree, unreadable = Tree(tmp_path), Unreadable()
    scan = Scan(tree, 1, unreadable)
    with monkeypatch.context() as patch:

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, os.strerror(13))

        patch.setattr(tree, "signatures", refuse)
        with pytest.raises(StorageUnavailableError, match="3f"):
            scan.signatures("3f")
        assert [refusal.name for refusal in unreadable.all()] == ["3f/"]
    assert list(scan.signatures("3f")) == ["3f/a.json"]
    assert not unreadable


def test_a_root_that_is_gone_is_no_empty_store(tmp_path: Path) -> None:
    scan = Scan(Tree(tmp_path / "gone"), 1, Unreadable())
    with pytest.raises(StorageUnavailableError):
        list(scan.shards())
    with pytest.raises(StorageUnavailableError):
        scan.outer_shards()
