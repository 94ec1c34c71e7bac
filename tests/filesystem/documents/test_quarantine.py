import re
from pathlib import Path

import pytest

from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents.layout import CONTROL
from fsstore.filesystem.documents.quarantine import Quarantine


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    found = Tree(tmp_path / "store")
    found.make_root()
    for directory in (CONTROL, "3f"):
        found.make_directory(directory)
    return found


def test_what_is_moved_lies_there_whole_and_no_longer_where_it_lay(tree: Tree) -> None:
    tree.write_new("3f/a.json", b"torn {")
    aside = Quarantine(tree).move("3f/a.json")

    assert tree.read(aside, max_bytes=100)[0] == b"torn {"
    assert tree.entries("3f") == []
    assert re.fullmatch(r"\.fsstore/quarantine/\d{8}T\d{6}-[0-9a-f]{6}-3f-a\.json", aside)


def test_bytes_are_kept_beside_what_stays(tree: Tree) -> None:
    tree.write_new("3f/a.json", b"edited")
    aside = Quarantine(tree).keep("3f/a.json", b"what the log held")

    assert tree.read(aside, max_bytes=100)[0] == b"what the log held"
    assert tree.read("3f/a.json", max_bytes=100)[0] == b"edited"


def test_equal_names_in_one_second_never_replace_each_other(tree: Tree) -> None:
    quarantine = Quarantine(tree)
    names = {quarantine.keep("3f/a.json", str(number).encode()) for number in range(20)}
    assert sorted(tree.read(name, max_bytes=100)[0] for name in names) == sorted(str(n).encode() for n in range(20))


def test_a_directory_or_a_link_is_moved_as_it_is(tree: Tree, tmp_path: Path) -> None:
    tree.make_directory("3f/a.json")
    tree.write_new("3f/a.json/inner", b"x")
    (tmp_path / "store" / "3f" / "b.json").symlink_to(tmp_path)
    quarantine = Quarantine(tree)

    assert tree.entries(quarantine.move("3f/a.json")) == ["inner"]
    assert Path(tree.path(quarantine.move("3f/b.json"))).readlink() == tmp_path


def test_a_name_from_elsewhere_cannot_lead_out_of_the_quarantine(tree: Tree) -> None:
    name = "3f/" + "..\x1b[31m" + "ü" * 60 + "x" * 80
    tree.write_new(name, b"x")
    aside = Quarantine(tree).move(name)

    directory, _, base = aside.rpartition("/")
    assert directory == ".fsstore/quarantine"
    assert re.fullmatch(r"[A-Za-z0-9._~-]{1,255}", base)


def test_what_is_gone_cannot_be_moved(tree: Tree) -> None:
    with pytest.raises(FileNotFoundError):
        Quarantine(tree).move("3f/none.json")


def test_it_is_on_disk_before_the_caller_goes_on(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[str, str]] = []
    for name in ("write_new", "sync", "sync_directory", "replace"):
        real = getattr(Tree, name)

        def noted(own: Tree, *arguments: object, real: object = real, name: str = name) -> object:
            steps.append((name, str(arguments[0]) if arguments else ""))
            return real(own, *arguments)  # type: ignore[operator]

        monkeypatch.setattr(Tree, name, noted)
    aside = Quarantine(tree).keep("3f/a.json", b"x")
    assert steps == [
        ("sync_directory", ".fsstore"),
        ("write_new", aside),
        ("sync", aside),
        ("sync_directory", ".fsstore/quarantine"),
    ]
    steps.clear()
    tree.write_new("3f/b.json", b"x")
    Quarantine(tree).move("3f/b.json")
    assert [name for name, _ in steps[1:]] == ["sync", "replace", "sync_directory", "sync_directory"]
