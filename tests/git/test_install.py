import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.git.conftest import Repository, open_store

OURS = """\
# sessions are shown and merged by fsstore: `fsstore git install`
/[0-9a-f][0-9a-f]/*.json -text diff=fsstore merge=fsstore
"""


def settings(repository: Repository) -> list[str]:
    return [line for line in repository.git("config", "--list", "--local").splitlines() if ".fsstore." in line]


def without_command(repository: Repository) -> Repository:
    """Return the repository as seen by somebody who has git and no `fsstore` on PATH."""
    path = repository.environment["PATH"].partition(os.pathsep)[2]
    return replace(repository, environment={**repository.environment, "PATH": path})


async def test_install_writes_attributes_and_the_configuration_of_this_clone(repository: Repository) -> None:
    await repository.save("s-1")
    printed, said = repository.fsstore("git", "install")
    assert printed == "store/.gitattributes\n"
    assert said == "fsstore: git shows and merges the sessions of 1 store; commit .gitattributes\n"
    assert (repository.store / ".gitattributes").read_text() == OURS
    assert {line.partition("=")[0] for line in settings(repository)} == {
        "diff.fsstore.textconv",
        "diff.fsstore.xfuncname",
        "merge.fsstore.name",
        "merge.fsstore.driver",
    }
    assert list(Path(repository.environment["HOME"]).iterdir()) == []
    document = repository.place("s-1").relative_to(repository.root)
    told = repository.git(
        "check-attr", "diff", "merge", "text", "--", str(document), "store/fsstore.json", "store/a.json"
    )
    assert told.splitlines()[:3] == [
        f"{document}: diff: fsstore",
        f"{document}: merge: fsstore",
        f"{document}: text: unset",
    ]
    assert all(line.endswith("unspecified") for line in told.splitlines()[3:])


async def test_to_install_again_changes_nothing(repository: Repository) -> None:
    await repository.save("s-1")
    repository.fsstore("git", "install")
    before = settings(repository)
    assert repository.fsstore("git", "install", "store")[0] == ""
    assert (repository.store / ".gitattributes").read_text() == OURS
    assert settings(repository) == before


@pytest.mark.parametrize("text", ["", "*.json -diff\n", "a b\r\nc d\r\n", "# no line end at the end", "\n\n"])
async def test_the_lines_of_the_user_stay_and_uninstall_takes_ours_back(repository: Repository, text: str) -> None:
    await repository.save("s-1")
    attributes = repository.store / ".gitattributes"
    attributes.write_bytes(text.encode())
    attributes.chmod(0o640)
    repository.git("config", "diff.fsstore.cachetextconv", "true")
    repository.fsstore("git", "install")
    assert attributes.read_bytes().startswith(text.encode())
    assert attributes.read_bytes().endswith(OURS.encode())
    assert attributes.stat().st_mode & 0o777 == 0o640
    with attributes.open("ab") as file:
        file.write(b"*.md text\n")
    repository.fsstore("git", "install")
    printed, said = repository.fsstore("git", "install", "--uninstall")
    assert printed == "store/.gitattributes\n"
    assert said == "fsstore: git shows and merges sessions by lines again\n"
    line_end = "" if text.endswith("\n") or not text else "\n"
    assert attributes.read_bytes() == f"{text}{line_end}*.md text\n".encode()
    assert settings(repository) == ["diff.fsstore.cachetextconv=true"]
    assert repository.fsstore("git", "install", "--uninstall")[0] == ""


async def test_uninstall_removes_a_file_that_holds_nothing_else(repository: Repository) -> None:
    await repository.save("s-1")
    before = repository.git("config", "--list", "--local")
    repository.fsstore("git", "install")
    repository.fsstore("git", "install", "--uninstall")
    assert not (repository.store / ".gitattributes").exists()
    assert repository.git("config", "--list", "--local") == before


async def test_every_store_of_the_repository_is_found_whatever_its_depth_and_place(repository: Repository) -> None:
    deep, odd = repository.root / "tests/deep", repository.root / "an 'odd' náme"
    for path, depth in ((repository.root, 1), (deep, 2), (odd, 1), (repository.root / "ignored", 1)):
        async with await open_store(path, shard_depth=depth) as storage:
            await storage.save({"id": "s-1", "data": {}})
    (repository.root / ".gitignore").write_text("ignored\n")
    (repository.root / "other").mkdir()
    (repository.root / "other/fsstore.json").write_text('{"name": "not a store"}')
    printed, _ = repository.fsstore("git", "install", "tests")
    assert sorted(printed.splitlines()) == [
        ".gitattributes",
        "an 'odd' náme/.gitattributes",
        "tests/deep/.gitattributes",
    ]
    (document,) = (path.relative_to(repository.root) for path in deep.glob("??/??/*.json"))
    assert repository.git("check-attr", "merge", "--", str(document)).endswith("merge: fsstore\n")
    repository.fsstore("git", "install", "--uninstall")
    assert list(repository.root.rglob(".gitattributes")) == []


def test_without_a_store_nothing_is_written(repository: Repository) -> None:
    _, said = repository.fsstore("git", "install", code=5)
    assert "there is no store in this repository; make one with `fsstore init PATH`" in said
    assert settings(repository) == []


def test_outside_of_a_repository_git_s_own_words_are_told(repository: Repository, tmp_path: Path) -> None:
    _, said = repository.fsstore("git", "install", str(tmp_path), code=5)
    assert said.startswith(f"fsstore: error: {tmp_path}: not a git repository")
    assert "make one with `git init`" in said
    _, said = repository.fsstore("git", "install", str(tmp_path / "absent"), code=5)
    assert "No such file or directory" in said


def test_without_git_it_is_told_what_to_do(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    nowhere = replace(repository, environment={**repository.environment, "PATH": str(tmp_path / "empty")})
    assert nowhere.fsstore("git", "install", code=5)[1] == (
        "fsstore: error: git: there is no such command; install git, or put it on PATH, and try again\n"
    )


async def test_a_link_is_not_written_through(repository: Repository, tmp_path: Path) -> None:
    await repository.save("s-1")
    (tmp_path / "elsewhere").write_text("mine\n")
    (repository.store / ".gitattributes").symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in repository.fsstore("git", "install", code=5)[1]
    assert (tmp_path / "elsewhere").read_text() == "mine\n"


async def test_a_marker_in_conflict_is_told(repository: Repository) -> None:
    await repository.save("s-1")
    (repository.store / "fsstore.json").write_text("<<<<<<< ours\n")
    assert "store/fsstore.json cannot be read" in repository.fsstore("git", "install", code=4)[1]


@pytest.mark.parametrize("arguments", [(), ("merge",), ("show",), ("bogus",)])
def test_wrong_usage_is_told_in_one_line(repository: Repository, arguments: tuple[str, ...]) -> None:
    _, said = repository.fsstore("git", *arguments, code=2)
    assert said.count("\n") == 1


def test_the_shell_completes_the_commands(repository: Repository) -> None:
    words = {"_FSSTORE_COMPLETE": "complete_bash", "COMP_WORDS": "fsstore git ", "COMP_CWORD": "2"}
    asked = replace(repository, environment={**repository.environment, **words})
    assert asked.fsstore()[0].split() == ["install", "show", "merge"]


# -- with and without the command -------------------------------------------------------------------------------------


async def diverge(repository: Repository) -> None:
    """Make two branches that change different keys of one session; main is checked out."""
    await repository.save("s-1", metadata={"a": 0, "b": 0}, messages=[])
    repository.commit()
    repository.git("switch", "-qc", "other")
    await repository.save("s-1", metadata={"a": 0, "b": 1}, messages=[])
    repository.commit()
    repository.git("switch", "-q", "main")
    await repository.save("s-1", metadata={"a": 1, "b": 0}, messages=[])
    repository.commit()


@pytest.mark.parametrize("on_path", [True, False])
async def test_git_starts_fsstore_by_its_name_or_else_by_the_interpreter(
    repository: Repository, *, on_path: bool
) -> None:
    seen = repository if on_path else without_command(repository)
    await repository.save("s-0")
    seen.fsstore("git", "install")
    assert (sys.executable in "".join(settings(repository))) is not on_path
    await diverge(repository)
    assert seen.git("log", "-p", "-1").count("\nsession s-1") == 0  # the heading has not changed
    assert "+    a: 1\n" in seen.git("log", "-p", "-1")
    seen.git("merge", "-q", "other")
    assert {"a: 1", "b: 1"} <= {
        line.strip() for line in seen.fsstore("git", "show", str(seen.place("s-1")))[0].splitlines()
    }


async def test_where_fsstore_is_gone_git_shows_the_files_and_merges_by_lines(repository: Repository) -> None:
    await repository.save("s-0")
    repository.fsstore("git", "install")
    await diverge(repository)
    seen = without_command(repository)
    assert '+      "a": 1,\n' in seen.git("log", "-p", "-1")
    seen.git("merge", "-q", "other", code=1)
    assert "<<<<<<< ours\n" in seen.place("s-1").read_text()
    assert seen.status().startswith("UU ")


async def test_a_clone_that_has_not_installed_uses_git_s_own_ways(repository: Repository, tmp_path: Path) -> None:
    await repository.save("s-0")
    repository.fsstore("git", "install")
    await diverge(repository)
    clone = repository.clone(tmp_path / "clone")
    assert '+      "a": 1,\n' in clone.git("log", "-p", "-1")
    clone.git("merge", "-q", "origin/other", code=1)
    clone.git("merge", "--abort")
    assert clone.fsstore("git", "install")[0] == ""
    clone.git("merge", "-q", "origin/other")
