"""The manual: its guides are there, its code runs, and its commands are those that there are."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import fsstore
from fsstore.cli.guides import TOPICS
from fsstore.testing import SessionContract, StorageContract
from tests.command_guide import GUIDE, command_guide

GUIDES = Path(fsstore.__file__).parent / "guides"
EXAMPLES = {
    "sessions": ["tour", "pages", "recent"],
    "append": ["turn"],
    "durability": ["careful"],
    "moving": ["side_by_side"],
}
"""The functions of the guides that are given open sessions."""


def blocks(topic: str, language: str) -> list[str]:
    text = (GUIDES / f"{topic}.md").read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def names_of(topic: str) -> dict[str, Any]:
    """Return what the code of a guide defines."""
    names: dict[str, Any] = {}
    for block in blocks(topic, "python"):
        exec(compile(block, f"{topic}.md", "exec"), names)  # noqa: S102 - the guide's own code
    return names


def test_every_guide_is_a_topic() -> None:
    assert {path.stem for path in GUIDES.glob("*.md")} == TOPICS.keys()
    for path in GUIDES.glob("*.md"):
        assert re.match(r"# \S", path.read_text("utf-8")), path.name


def test_the_guide_of_the_command_line_is_made_from_the_commands() -> None:
    assert GUIDE.read_text("utf-8") == command_guide(), "run `python -m tests.command_guide`"


@pytest.mark.parametrize(("topic", "function"), [(topic, name) for topic, names in EXAMPLES.items() for name in names])
async def test_the_code_of_a_guide_runs(tmp_path: Path, topic: str, function: str) -> None:
    async with fsstore.open_sessions(tmp_path / "store", fsync=False) as sessions:
        await sessions.save_session("s-1", {"metadata": {"status": "active"}})
        await asyncio.wait_for(names_of(topic)[function](sessions), timeout=30)


def test_every_function_of_a_guide_that_takes_sessions_is_run() -> None:
    elsewhere = {
        "models": ["tour", "typed"],
        "watching": ["follow"],
        "secrets": ["secrets_in"],
        "postgres": ["grown"],
    }
    for topic in TOPICS:
        if topic == "fixtures":
            continue
        found = [
            name
            for name, value in names_of(topic).items()
            if inspect.iscoroutinefunction(value) and list(inspect.signature(value).parameters) == ["sessions"]
        ]
        assert found == [*EXAMPLES.get(topic, []), *elsewhere.get(topic, [])], topic


class OldStore:
    """A store of the old kind, with what JSON does not have in it."""

    def list_sessions(self) -> list[dict[str, Any]]:
        moment = datetime(2026, 1, 31, 9, 15, tzinfo=UTC)
        return [
            {
                "metadata": {"session_id": name, "status": "open", "created_at": moment, "due": moment},
                "messages": [{"role": "user", "content": "é"}],
            }
            for name in ("a", "b/c", "Ü")
        ]


async def test_an_old_store_is_moved_as_the_guide_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names, old, store = names_of("moving"), OldStore(), tmp_path / "my_sessions"
    (commands,) = (block.splitlines() for block in blocks("moving", "text"))

    assert names["write_out"](old, tmp_path / "old.jsonl") == 3
    for command in commands:
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-m", "fsstore", *shlex.split(command)[1:]], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        if "count" in command:
            assert done.stdout == "3\n"

    assert await asyncio.to_thread(names["different"], old, store) == []
    async with fsstore.open_sessions(store) as sessions:
        assert (await sessions.list_metadata({"session_id": "a"}))[0][
            "created_at"
        ] == "2026-01-31T09:15:00.000000+00:00"
        await sessions.delete_session("a")
        await sessions.update_session("Ü", {"messages": []})
    assert await asyncio.to_thread(names["different"], old, store) == ["a", "Ü"]


class TestBackendOfTheGuide(StorageContract, SessionContract):
    """As its reader tests it."""

    async def open_store(self, path: Path) -> fsstore.IUnifiedStorage:  # noqa: ARG002 - it needs no place
        storage: fsstore.IUnifiedStorage = names_of("backend")["MyStorage"]()
        return storage


def test_the_synchronous_lines_run(tmp_path: Path) -> None:
    (block,) = blocks("sync", "text")
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 sessions" in done.stdout
    assert "'status': 'active'" in done.stdout


def test_every_error_the_guide_names_is_public() -> None:
    named = set(re.findall(r"`(Storage\w*Error)`", (GUIDES / "sessions.md").read_text("utf-8")))
    assert named == {name for name in fsstore.__all__ if name.endswith("Error")}


async def test_the_commands_about_secrets_do_what_the_guide_says(tmp_path: Path) -> None:
    names = names_of("secrets")
    settings = {"api_key": "k-1", "demo_token": "tok-12345"}
    session = {"settings": settings, "messages": [{"ip": "10.0.0.1", "text": "user-7 says password=hunter2"}]}
    async with fsstore.open_sessions(tmp_path / "store", fsync=False) as sessions:
        await sessions.save_session("s-1", session)
        assert await names["secrets_in"](sessions) == ["s-1 $.data.messages[0].text", "s-1 $.data.settings.api_key"]
    (commands,) = (block.splitlines() for block in blocks("secrets", "text"))
    looking, redacting, exporting = (shlex.split(command)[1:] for command in commands)
    environment = {**os.environ, "FSSTORE_STORE": str(tmp_path / "store")}

    def start(arguments: list[str]) -> int:
        command = [sys.executable, "-m", "fsstore", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False).returncode

    assert start(exporting) == 0
    exported = (tmp_path / "fixtures.jsonl").read_text()
    assert not any(hidden in exported for hidden in ("k-1", "tok-12345", "10.0.0.1", "user-7", "hunter2"))
    assert [start(looking), start(redacting), start(looking)] == [1, 0, 0]


async def test_watching_reports_what_the_guide_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = names_of("watching")
    async with fsstore.open_sessions(tmp_path / "store", fsync=False) as sessions:
        following = asyncio.create_task(names["follow"](sessions))
        while not (printed := capsys.readouterr().out):
            # until it has begun
            await sessions.save_session("s-1", {"metadata": {"status": "open"}})
            await asyncio.sleep(0.01)
    await asyncio.wait_for(following, timeout=30)
    assert re.match(r"(created|updated) s-1 \d+ own \{", printed)
