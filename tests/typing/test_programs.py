"""Three programs of users: they run, mypy and pyright find nothing in them, and find each mistake planted in a copy."""

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.typing.mistakes import MISTAKES, Mistake

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PROGRAMS = {
    "support_desk": ["answers: 5", "priority: 9", "statistics: [('closed', 1), ('open', 9)]", "newest: 3 of 10"],
    "nightly_report": [
        "rehearsed: True",
        "begun before: run-1",
        "steps: 4",
        "seconds: 40.0",
        "done: ['run-2', 'run-1']",
    ],
    "mirror": [
        "ranked: [('n-2', 2), ('n-3', 3), ('n-4', 4)]",
        "mirrored: 2 of 2",
        "visits: (1, 2)",
        "not there: absent",
    ],
}
"""The programs, and lines that they print."""

Errors: TypeAlias = dict[str, dict[int, list[str]]]
"""What a checker reports, by file and line."""


def run(arguments: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=directory, capture_output=True, text=True, encoding="utf-8", check=False
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_program_runs(program: str, tmp_path: Path) -> None:
    done = run(["-W", "error", str(HERE / f"{program}.py"), str(tmp_path)], ROOT)

    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in PROGRAMS[program] if line not in done.stdout.splitlines()] == []


def test_every_program_is_run_and_has_mistakes() -> None:
    there = {path.stem for path in HERE.glob("*.py") if "__main__" in path.read_text("utf-8")}

    assert there == PROGRAMS.keys() | {"test_programs"} == {mistake.program for mistake in MISTAKES} | {"test_programs"}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: f"{mistake.program}: {mistake.what}")
def test_what_a_mistake_replaces_stands_once_in_its_program(mistake: Mistake) -> None:
    assert (HERE / f"{mistake.program}.py").read_text("utf-8").count(mistake.right) == 1


# -- what the checkers find -------------------------------------------------------------------------------------------


def errors_of_mypy(directory: Path) -> Errors:
    """Return what mypy reports of the files of a directory, by the settings of the house."""
    done = run(["-m", "mypy", "--strict", "--output", "json", *map(str, sorted(directory.glob("*.py")))], ROOT)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: Errors = defaultdict(lambda: defaultdict(list))
    for line in done.stdout.splitlines():
        error = json.loads(line)
        if error["severity"] == "error":
            found[Path(error["file"]).stem][error["line"]].append(error["message"])
    return found


def errors_of_pyright(directory: Path) -> Errors:
    """Return what pyright in its strict mode reports of the files of a directory."""
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.11", "include": ["."], "extraPaths": [str(ROOT)]}
    (directory / "pyrightconfig.json").write_text(json.dumps(settings), "utf-8")
    done = run(["-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(directory)], directory)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(list(directory.glob("*.py")))
    found: Errors = defaultdict(lambda: defaultdict(list))
    for error in report["generalDiagnostics"]:
        if error["severity"] == "error":
            found[Path(error["file"]).stem][error["range"]["start"]["line"] + 1].append(error["message"])
    return found


@pytest.fixture
def planted(tmp_path: Path) -> dict[str, int]:
    """Write the programs, and a copy for each mistake, into a directory; return the line of each mistake by file."""
    lines: dict[str, int] = {}
    for program in PROGRAMS:
        source = (HERE / f"{program}.py").read_text("utf-8")
        (tmp_path / f"{program}.py").write_text(source, "utf-8")
        mistakes = [mistake for mistake in MISTAKES if mistake.program == program]
        for number, mistake in enumerate(mistakes):
            name = f"{program}_{number:02}_{re.sub('[^a-z]+', '_', mistake.what.lower())}"
            (tmp_path / f"{name}.py").write_text(source.replace(mistake.right, mistake.wrong), "utf-8")
            lines[name] = source[: source.index(mistake.right)].count("\n") + 1
    return lines


@pytest.mark.checkers
@pytest.mark.parametrize("check", [errors_of_mypy, errors_of_pyright])
def test_a_checker_finds_each_mistake_and_no_other(
    check: Callable[[Path], Errors], planted: dict[str, int], tmp_path: Path
) -> None:
    found = check(tmp_path)

    assert {program: found[program] for program in PROGRAMS if found[program]} == {}
    assert len(planted) == len(MISTAKES)
    assert {name: (line, found[name]) for name, line in planted.items() if line not in found[name]} == {}
