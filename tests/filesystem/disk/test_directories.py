import errno
import os
from pathlib import Path
from typing import Any

import pytest

from fsstore.filesystem.disk import directories
from fsstore.filesystem.disk.directories import Directories
from fsstore.filesystem.disk.system import NotAFileError
from tests.filesystem.faults import descriptors


@pytest.fixture
def tree(tmp_path: Path) -> Directories:
    return Directories(tmp_path)


def below(root: Path, *, keeps: int = 0) -> Directories:
    return Directories(root, keeps=keeps)


def test_a_root_is_made_with_all_that_is_missing_above_it_and_each_name_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(directories, "_sync_directory", lambda path, _flags, _parent=None: synced.append(path))
    below(tmp_path / "a" / "b" / "c").make_root()

    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert sorted(synced) == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")]
    synced.clear()
    below(tmp_path / "a" / "b" / "c").make_root()
    assert synced == []


@pytest.mark.parametrize(("file_mode", "directory_mode"), [(0o600, 0o700), (0o640, 0o750), (0o644, 0o755)])
def test_who_may_read_files_may_enter_directories(tmp_path: Path, file_mode: int, directory_mode: int) -> None:
    tree = Directories(tmp_path / "store", file_mode=file_mode)
    tree.make_root()
    tree.make_directory("3f")
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "store" / "3f").stat().st_mode & 0o777 == directory_mode & ~umask


def test_kept_parents_are_as_many_as_allowed_and_are_closed_when_forgotten(tmp_path: Path) -> None:
    before = descriptors()
    tree = below(tmp_path, keeps=2)
    for shard in ("01", "02", "03"):
        tree.make_directory(shard)
        tree.make_directory(f"{shard}/inner")
    assert descriptors() == before + 2
    tree.forget_parents("03")
    assert descriptors() == before + 1
    tree.forget_parents()
    assert descriptors() == before


def test_a_directory_made_anew_is_noticed_once_its_parents_are_forgotten(tmp_path: Path) -> None:
    tree = below(tmp_path, keeps=4)
    tree.make_directory("3f")
    tree.make_directory("3f/first")
    (tmp_path / "3f").rename(tmp_path / "aside")
    (tmp_path / "3f").mkdir()
    tree.forget_parents("3f")
    tree.make_directory("3f/second")
    assert [entry.name for entry in (tmp_path / "3f").iterdir()] == ["second"]


def test_where_the_system_cannot_pin_a_parent_links_are_refused_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directories, "_PINS", False)
    monkeypatch.setattr(directories, "_LISTS_DESCRIPTORS", False)
    (tmp_path / "outside").mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "3f").symlink_to(tmp_path / "outside")
    tree = below(tmp_path / "store")
    for use in (tree.make_directory, tree.is_directory, tree.remove_directory):
        with pytest.raises(NotAFileError):
            use("3f/inner")
    with pytest.raises(NotAFileError):
        tree.entries("3f")
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_name_that_goes_while_a_directory_is_listed_is_passed_over(tmp_path: Path) -> None:
    tree = below(tmp_path)
    tree.make_directory("3f")
    for base in "abc":
        (tmp_path / "3f" / base).touch()
    assert sorted(base for base, _ in tree.stats("3f")) == ["a", "b", "c"]
    assert tree.stats("none") == []


# -- what is known before a file is put in place ----------------------------------------------------------------------


def test_what_can_be_put_in_place_is_not_refused(tree: Directories) -> None:
    tree.make_directory("3f")
    (tree.root / "3f/a").touch()
    tree.refuse_placing("3f/a", is_there=True)
    tree.refuse_placing("3f/b", is_there=False)
    # directories that are missing are made
    tree.refuse_placing("4f/a", is_there=False)
    tree.refuse_placing("4f/5f/a", is_there=False)


def test_a_file_that_nobody_may_write_can_be_replaced_all_the_same(
    tree: Directories, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.make_directory("3f")
    (tree.root / "3f/a").touch()
    (tree.root / "3f/a").chmod(0o400)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, *rest, **more: path[-1] != "a" and access(path, *rest, **more))
    tree.refuse_placing("3f/a", is_there=True)


@pytest.mark.parametrize("missing", ["3f", "3f/4f"])
def test_a_directory_that_may_not_be_written_is_refused_also_if_another_one_must_be_made_in_it(
    tree: Directories, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    tree.make_directory("3f")
    closed = str(tree.root / "3f")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, *rest, **more: path != closed and access(path, *rest, **more))
    with pytest.raises(PermissionError) as caught:
        tree.refuse_placing(f"{missing}/a", is_there=False)
    assert caught.value.filename == closed
    tree.refuse_placing(f"{missing}/a", is_there=False, knows_directory=True)


def test_a_directory_on_another_file_system_is_refused(tree: Directories, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.make_directory("3f")
    elsewhere = str(tree.root / "3f")
    lstat = os.lstat

    def found(path: Any, **options: Any) -> Any:
        result = lstat(path, **options)
        return os.stat_result((*result[:2], result[2] + (str(path) == elsewhere), *result[3:]))

    monkeypatch.setattr(os, "lstat", found)
    with pytest.raises(OSError, match="another file system") as caught:
        tree.refuse_placing("3f/a", is_there=False)
    assert caught.value.errno == errno.EXDEV


@pytest.mark.parametrize("lists_descriptors", [True, False], ids=["by a descriptor", "by its path"])
def test_what_a_directory_holds_is_not_known_where_the_one_above_it_is_away(
    tree: Directories, monkeypatch: pytest.MonkeyPatch, *, lists_descriptors: bool
) -> None:
    monkeypatch.setattr(directories, "_LISTS_DESCRIPTORS", lists_descriptors)
    with pytest.raises(FileNotFoundError):
        tree.sure_entries(".fsstore/log")
    tree.make_directory(".fsstore")
    before = descriptors()
    assert tree.sure_entries(".fsstore/log") == []
    tree.make_directory(".fsstore/log")
    (tree.root / ".fsstore/log/1.log").touch()
    assert tree.sure_entries(".fsstore/log") == ["1.log"]
    assert descriptors() == before
