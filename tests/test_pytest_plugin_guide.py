"""The guide about fixtures, done as it says: twenty sessions in git, a test that mutates, a diff to review."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from tests.pytest_projects import ASYNCIO, WITH_PLUGIN, Project

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
SECTION = (ROOT / "fsstore" / "guides" / "fixtures.md").read_text("utf-8")
IMPORT, TEST, ASYNC_TEST, UPDATE, DIFF = re.findall(r"^```\w+\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)


def do(project: Project, line: str) -> str:
    """Do the commands of a line of the guide, with the fsstore, pytest and git of this test."""
    names = {
        "fsstore": [sys.executable, "-m", "fsstore"],
        "pytest": [sys.executable, "-m", "pytest", *WITH_PLUGIN],
        "git": project.git_command,
    }
    told = ""
    for command in line.split("&&"):
        name, *arguments = shlex.split(command)
        done = subprocess.run(
            [*names[name], *arguments],
            cwd=project.root,
            env={**project.git_environment, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        told += done.stdout + done.stderr
        assert done.returncode == 0, told
    return told


def changed(diff: str) -> dict[str, tuple[int, int]]:
    """Return the lines added and removed of each file that `git diff --numstat` names."""
    return {name: (int(added), int(removed)) for added, removed, name in map(str.split, diff.splitlines())}


def test_twenty_sessions_in_git_and_a_test_that_mutates_give_a_diff_to_review(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(pytester, monkeypatch)
    name = re.search(r"# (tests/\S+)\n", TEST)
    assert name is not None
    (project.root / name[1]).write_text(TEST, "utf-8")
    with (ROOT / "sample_data" / "sessions.jsonl").open(encoding="utf-8") as sessions:
        (project.root / "twenty.jsonl").write_text("".join(islice(sessions, 20)), "utf-8")
    project.git("init", "-q")
    do(project, IMPORT)
    in_git = project.git("ls-files").splitlines()
    assert len([file for file in in_git if file.endswith(".json")]) == 21
    assert not [file for file in in_git if ".fsstore" in file]

    told = do(project, UPDATE)

    diff = changed(project.git("diff", "--numstat"))
    assert diff == dict.fromkeys(diff, (4, 4))
    assert len(diff) == 2
    assert DIFF.rstrip() in told
    assert "2 files written in tests/sessions" in told
    lines = project.git("diff", "-U0")
    assert set(re.findall(r'^\+ *"(\w+)"', lines, re.MULTILINE)) == {"status", "updated_at", "version"}
    assert set(re.findall(r"^\+.*(2026-\S+)\"", lines, re.MULTILINE)) == {
        "2026-03-01T12:00:00.000000+00:00",
        "2026-03-01T12:01:00.000000+00:00",
    }
    assert project.git("status", "--porcelain", "--", "tests").count("\n") == 2

    project.git("commit", "-qam", "Renew fixtures")
    assert "0 files written" in do(project, UPDATE)
    assert project.git("diff", "--stat") == ""


def test_the_async_test_passes(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(pytester, monkeypatch)
    project.write(ASYNC_TEST)

    project.run_apart(*ASYNCIO).assert_outcomes(passed=1)
