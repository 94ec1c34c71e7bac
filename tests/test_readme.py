from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fsstore

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


async def test_the_tour_runs(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(compile(blocks("python")[1], "README.md", "exec"), names)  # noqa: S102 - the README's own code
    async with fsstore.open_sessions(tmp_path / "store", fsync=False) as sessions:
        await sessions.save_session("s-1", {"metadata": {"status": "new"}})
        await asyncio.wait_for(names["tour"](sessions), timeout=30)
        assert await sessions.count_sessions({"status": {"$in": ["copy", "copied"]}}) == 2


async def test_its_commands_about_secrets_do_what_it_says(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(compile(blocks("python")[3], "README.md", "exec"), names)  # noqa: S102 - the README's own code
    settings = {"api_key": "k-1", "demo_token": "tok-12345"}
    session = {"settings": settings, "messages": [{"ip": "10.0.0.1", "text": "user-7 says password=hunter2"}]}
    async with fsstore.open_sessions(tmp_path / "store", fsync=False) as sessions:
        await sessions.save_session("s-1", session)
        assert await names["secrets_in"](sessions) == ["s-1 $.data.messages[0].text", "s-1 $.data.settings.api_key"]
    (commands,) = (block.splitlines() for block in blocks("text") if block.startswith("fsstore scrub"))
    looking, redacting, exporting = (shlex.split(command)[1:] for command in commands)
    environment = {**os.environ, "FSSTORE_STORE": str(tmp_path / "store")}

    def start(arguments: list[str]) -> int:
        command = [sys.executable, "-m", "fsstore", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False).returncode

    assert start(exporting) == 0
    exported = (tmp_path / "fixtures.jsonl").read_text()
    assert not any(hidden in exported for hidden in ("k-1", "tok-12345", "10.0.0.1", "user-7", "hunter2"))
    assert [start(looking), start(redacting), start(looking)] == [1, 0, 0]


async def test_watching_tells_what_the_readme_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(compile(blocks("python")[2], "README.md", "exec"), names)  # noqa: S102 - the README's own code
    async with fsstore.open_sessions(tmp_path / "store", fsync=False) as sessions:
        following = asyncio.create_task(names["follow"](sessions))
        while not (printed := capsys.readouterr().out):
            # until it has begun
            await sessions.save_session("s-1", {"metadata": {"status": "open"}})
            await asyncio.sleep(0.01)
    await asyncio.wait_for(following, timeout=30)
    assert re.match(r"(created|updated) s-1 \d+ own \{", printed)


def test_every_error_it_names_is_public() -> None:
    named = set(re.findall(r"`(Storage\w+Error)`", README))
    assert named == {name for name in fsstore.__all__ if name.endswith("Error") and name != "StorageError"}


def test_the_commands_it_names_are_those_there_are(tmp_path: Path) -> None:
    (line,) = re.findall(r"^fsstore (init \|.*?)  ", README, re.MULTILINE)
    told = run(["-m", "fsstore", "--help"], tmp_path)
    for command in line.split(" | "):
        assert re.search(rf"^\W*{command}\b", told, re.MULTILINE), command
