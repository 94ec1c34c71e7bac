from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def run(arguments: list[str], directory: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=directory, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_two_commands_stand_first_and_are_one_line_each() -> None:
    first, *_ = blocks("sh")
    assert len(first.splitlines()) == 2
    assert README.index("```sh") < 1500
    assert "fsstore import sample_data/sessions.jsonl" in first.splitlines()[0]
    assert "pytest" in first.splitlines()[1]


def test_the_main_job_of_the_first_command_does_what_it_says(tmp_path: Path) -> None:
    command = blocks("sh")[0].splitlines()[0]
    jobs = [part.split() for part in command.split(" && ") if "bin/fsstore" in part]
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    *_, listed = [run(["-m", "fsstore", *job[1:]], tmp_path) for job in jobs]
    assert listed.count("failed") >= 10


def test_the_first_lines_of_python_run(tmp_path: Path) -> None:
    printed = run(["-c", blocks("python")[0]], tmp_path)
    assert "'role': 'user'" in printed
    assert "'status': 'done'" in printed
    (document,) = re.findall(r"`my_sessions/(\S+)`", README)
    assert (tmp_path / "my_sessions" / document).is_file()


def test_it_is_short() -> None:
    assert len(README.encode()) < 9_000


def test_the_guides_it_names_are_all_there_are() -> None:
    named = set(re.findall(r"\(fsstore/guides/([a-z-]+)\.md\)", README))
    assert named == {path.stem for path in (ROOT / "fsstore" / "guides").glob("*.md")}


def test_its_figures_are_those_of_the_guide() -> None:
    speed = (ROOT / "fsstore" / "guides" / "speed.md").read_text("utf-8")
    rows = re.findall(r"^\| ([a-z].*?) \| (\d[\d.]* \(.*?\)) \|$", README, re.MULTILINE)
    assert len(rows) == 5
    for name, figure in rows:
        assert re.search(rf"^\| {re.escape(name)} \|.*{re.escape(figure)}", speed, re.MULTILINE), name
