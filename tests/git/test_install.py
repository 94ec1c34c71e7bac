import json
import os
import re
import shutil
import subprocess
import sys
import venv
from dataclasses import replace
from pathlib import Path

import pytest

from fsstore.cli.git.transcript import FORM
from fsstore.errors import StorageCorruptedError
from fsstore.filesystem.documents.codec import encode
from tests.git.conftest import GIT, Repository, open_store

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
        "diff.fsstore.cachetextconv",
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
    repository.git("config", "diff.fsstore.wordregex", "[a-z]")
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
    assert settings(repository) == ["diff.fsstore.wordregex=[a-z]"]
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


@pytest.mark.parametrize("command", ["install", "status"])
def test_outside_of_a_repository_git_s_own_words_are_told(repository: Repository, tmp_path: Path, command: str) -> None:
    _, said = repository.fsstore("git", command, str(tmp_path), code=2)
    assert said.startswith(f"fsstore: error: {tmp_path}: not a git repository")
    assert "make one with `git init`" in said
    _, said = repository.fsstore("git", command, str(tmp_path / "absent"), code=2)
    assert "No such file or directory" in said


def test_a_file_that_is_not_there_is_wrong_input(repository: Repository, tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.json")
    for arguments in (["show", absent], ["merge", absent, absent, absent, "name"]):
        _, said = repository.fsstore("git", *arguments, code=2)
        assert said == f"fsstore: error: there is no file {absent}; check the path\n"
    _, said = repository.fsstore("git", "show", str(tmp_path), code=2)
    assert said == f"fsstore: error: there is no file {tmp_path}; check the path\n"


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
    assert asked.fsstore()[0].split() == ["install", "status", "show", "merge"]


# -- with and without the command -------------------------------------------------------------------------------------


async def diverge(repository: Repository, *, far_apart: bool = False) -> None:
    """Make two branches that change different keys of one session, in one place or two; main is checked out.

    Far apart they are as edits by hand leave them: of all lines, git could merge them without a word.
    """

    async def save(a: int, b: int) -> None:
        if not far_apart:
            await repository.save("s-1", metadata={"a": a, "b": b}, messages=[])
            return
        between = {f"n {number}": number for number in range(20)}
        await repository.save("s-1", metadata={"a": 0}, messages=[], **between, zzz={"b": 0})
        place = repository.place("s-1")
        record = json.loads(place.read_bytes())
        record["data"] |= {"metadata": {"a": a}, "zzz": {"b": b}}
        stamp = "2026-01-01T00:00:00.000000+00:00"
        record |= {"version": 1, "updated_at": stamp, "created_at": stamp}
        place.write_bytes(encode(record, max_bytes=1 << 20))

    await save(0, 0)
    repository.commit()
    repository.git("switch", "-qc", "other")
    await save(0, 1)
    repository.commit()
    repository.git("switch", "-q", "main")
    await save(1, 0)
    repository.commit()


def environment_in(path: Path) -> Path:
    """Make a virtual environment that has fsstore, and return its interpreter."""
    venv.create(path, with_pip=False, symlinks=os.name != "nt")
    (packages,) = path.glob("[Ll]ib/**/site-packages")
    (packages / "fsstore.pth").write_text("\n".join(map(os.path.abspath, filter(None, sys.path))))
    return next(path.glob("[Bb][Ii][Nn]/python")) if os.name != "nt" else path / "Scripts" / "python.exe"


def run_by(python: Path, repository: Repository, *arguments: str, code: int = 0) -> str:
    """Run the fsstore of an environment that is not active, and return what it prints and says."""
    done = subprocess.run(
        [python, "-m", "fsstore", *arguments],
        cwd=repository.root,
        env=dict(repository.environment),
        capture_output=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return (done.stdout + done.stderr).decode()


def git_says(repository: Repository, *arguments: str) -> str:
    """Run git and return what it says on standard error."""
    done = subprocess.run(
        [GIT, *arguments], cwd=repository.root, env=dict(repository.environment), capture_output=True, check=False
    )
    return done.stderr.decode()


ODD = 'it\'s 100%A $HOME "env" \\ %P;'


async def test_git_starts_the_fsstore_of_an_environment_that_is_not_active(
    repository: Repository, tmp_path: Path
) -> None:
    python = environment_in(tmp_path / ODD)
    seen = without_command(repository)
    await repository.save("s-0")
    run_by(python, seen, "git", "install")
    await diverge(repository)
    assert "+    a: 1\n" in seen.git("log", "-p", "-1")
    assert git_says(seen, "log", "-p", "-1") == ""
    seen.git("merge", "-q", "other")
    assert {"a: 1", "b: 1"} <= {
        line.strip() for line in seen.fsstore("git", "show", str(seen.place("s-1")))[0].splitlines()
    }
    assert "git shows and merges the sessions of 1 store" in run_by(python, seen, "git", "status")


@pytest.mark.parametrize("gone", ["environment", "package"])
async def test_where_fsstore_is_gone_nothing_is_merged_by_lines(
    repository: Repository, tmp_path: Path, gone: str
) -> None:
    python = environment_in(tmp_path / ODD)
    await repository.save("s-0")
    run_by(python, repository, "git", "install")
    await diverge(repository, far_apart=True)
    if gone == "environment":
        shutil.rmtree(tmp_path / ODD)
    else:
        next((tmp_path / ODD).rglob("fsstore.pth")).unlink()
    assert "shown as JSON: fsstore cannot be started; run `fsstore git install` again" in git_says(
        repository, "show", "HEAD"
    )
    assert '+      "a": 1\n' in repository.git("log", "-p", "-1")
    # by lines it would be merged without a word
    assert "not merged: fsstore cannot be started; run `fsstore git install` again" in git_says(
        repository, "merge", "other"
    )
    assert repository.status().startswith("UU ")
    text = repository.place("s-1").read_text()
    for side, version in (("ours", "HEAD"), ("theirs", "other")):
        assert one_side(text, side) == repository.git("show", "--no-textconv", f"{version}:./{document(repository)}")
    async with await open_store(repository.store) as storage:
        with pytest.raises(StorageCorruptedError, match="conflict markers"):
            await storage.load("s-1")
    assert "names another fsstore, which may be gone" in repository.fsstore("git", "status", code=1)[0]

    repository.fsstore("git", "install")
    assert repository.fsstore("git", "status")[0] == ""
    repository.git("checkout", "-q", "--merge", "--", document(repository))
    merged = json.loads(repository.place("s-1").read_bytes())["data"]
    assert (merged["metadata"]["a"], merged["zzz"]["b"]) == (1, 1)
    assert "+    a: 1\n" in repository.git("log", "-p", "-1")


def document(repository: Repository) -> str:
    return repository.place("s-1").relative_to(repository.root).as_posix()


def one_side(text: str, side: str) -> str:
    return re.sub(
        r"^<{7} ours\n((?:.*\n)*?)={7}\n((?:.*\n)*?)>{7} theirs\n",
        lambda found: found[1 if side == "ours" else 2],
        text,
        flags=re.MULTILINE,
    )


async def test_modules_in_a_work_tree_do_not_pass_for_ours(repository: Repository) -> None:
    await repository.save("s-0")
    repository.fsstore("git", "install")
    for name in ("fsstore", "json", "orjson", "runpy", "re"):
        (repository.root / f"{name}.py").write_text("raise SystemExit(3)\n")
    await diverge(repository)
    assert "+    a: 1\n" in repository.git("log", "-p", "-1")
    repository.git("merge", "-q", "other")


# -- what is missing --------------------------------------------------------------------------------------------------


async def test_status_names_what_is_missing(repository: Repository, tmp_path: Path) -> None:
    await repository.save("s-0")
    printed, said = repository.fsstore("git", "status", code=1)
    assert printed.splitlines() == [
        "store/.gitattributes: does not name fsstore",
        "configuration of this clone: fsstore is not installed",
    ]
    assert said == "fsstore: fsstore does not show and merge all sessions here; run `fsstore git install`\n"
    repository.fsstore("git", "install")
    assert repository.fsstore("git", "status") == (
        "",
        "fsstore: git shows and merges the sessions of 1 store\n",
    )
    repository.commit()
    clone = repository.clone(tmp_path / "clone")
    assert clone.fsstore("git", "status", code=1)[0] == "configuration of this clone: fsstore is not installed\n"


# -- what git keeps ---------------------------------------------------------------------------------------------------

SHOWN = "refs/notes/textconv/fsstore"


def refs(repository: Repository) -> list[str]:
    return repository.git("for-each-ref", "--format=%(refname)", "refs/notes").splitlines()


async def test_what_git_has_shown_is_kept_until_the_form_changes_or_fsstore_goes(
    repository: Repository, tmp_path: Path
) -> None:
    """A broken interpreter shows whether git starts one."""
    python = environment_in(tmp_path / "env")
    await repository.save("s-0", messages=[{"role": "user", "content": "hello"}])
    run_by(python, repository, "git", "install")
    repository.commit()
    first = repository.git("log", "-p")
    assert "+[user]\n" in first
    assert refs(repository) == [SHOWN]
    python.unlink()
    assert repository.git("log", "-p") == first

    command = repository.git("config", "diff.fsstore.textconv").rstrip("\n")
    assert f" show {FORM} " in command
    repository.git("config", "diff.fsstore.textconv", command.replace(f" show {FORM} ", f" show {FORM + 1} "))
    assert "+[user]\n" not in repository.git("log", "-p")

    # what was shown while fsstore was gone does not stay
    repository.fsstore("git", "install")
    assert refs(repository) == []
    assert repository.git("log", "-p") == first
    repository.fsstore("git", "install", "--uninstall")
    assert refs(repository) == []


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
