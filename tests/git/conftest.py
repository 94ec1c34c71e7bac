"""Real repositories of git with stores in them, and what the files say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage, SessionService
from fsstore.filesystem.documents.layout import Layout
from fsstore.model.records import JsonObject
from fsstore.sessions.words import session_filter
from tests.filesystem.rescan import contradictions, found, records

GIT = shutil.which("git") or ""
SHELL_TOOLS = ("git", "sh", "cat", "env", "sed", "less")


@dataclass(frozen=True)
class Repository:
    """A work tree, and the environment in which commands run there."""

    root: Path
    environment: Mapping[str, str]

    @property
    def store(self) -> Path:
        return self.root / "store"

    def git(self, *arguments: str, code: int = 0) -> str:
        """Run git and return what it prints; it must end with the code."""
        done = subprocess.run(
            [GIT, *arguments], cwd=self.root, env=dict(self.environment), capture_output=True, check=False
        )
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout.decode(errors="surrogateescape")

    def fsstore(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """Run fsstore and return what it prints, and what it says; it must end with the code."""
        done = subprocess.run(
            [sys.executable, "-m", "fsstore", *arguments],
            cwd=self.root,
            env=dict(self.environment),
            capture_output=True,
            check=False,
        )
        assert done.returncode == code, (arguments, done.returncode, done.stderr)
        return done.stdout.decode(), done.stderr.decode()

    def commit(self, message: str = "more") -> None:
        self.git("add", "-A")
        self.git("commit", "-qm", message)

    def status(self) -> str:
        return self.git("status", "--porcelain", "--untracked-files=all")

    def clone(self, target: Path) -> Repository:
        self.git("clone", "-q", os.fspath(self.root), os.fspath(target))
        return replace(self, root=target)

    def place(self, session_id: str) -> Path:
        return self.store / Layout(1).name(session_id)

    async def save(self, session_id: str, **data: Any) -> None:
        """Save a session by a store that is opened for it."""
        async with await open_store(self.store) as storage:
            await SessionService(storage).save_session(session_id, data)

    async def append(self, session_id: str, *contents: str) -> None:
        """Append messages to a session, and nothing else."""
        async with await open_store(self.store) as storage:
            messages = [{"role": "user", "content": content} for content in contents]
            await SessionService(storage).edit_session(session_id, lambda data: data["messages"].extend(messages))


def open_store(path: Path, **options: Any) -> Any:
    return FileStorage.open(path, fsync=False, **options)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return an environment in which git has no settings but those of the repository, and `fsstore` is on PATH."""
    (tmp_path / "home").mkdir()
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in SHELL_TOOLS:
        if found_at := shutil.which(tool):
            (tools / tool).symlink_to(found_at)
    command = tmp_path / "bin" / "fsstore"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m fsstore "$@"\n')
    command.chmod(0o755)
    monkeypatch.delenv("FSSTORE_STORE", raising=False)
    return {
        "HOME": os.fspath(tmp_path / "home"),
        "PATH": f"{command.parent}{os.pathsep}{tools}",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CEILING_DIRECTORIES": os.fspath(tmp_path),
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@example.org",
        "GIT_EDITOR": "true",
        "LC_ALL": "C",
    }


@pytest.fixture
def repository(tmp_path: Path, environment: Mapping[str, str]) -> Repository:
    """Return an empty repository, on the branch main."""
    if not GIT:
        pytest.skip("there is no git here")
    made = Repository(tmp_path / "project", environment)
    made.root.mkdir()
    made.git("init", "-q", "-b", "main")
    return made


FILTERS: tuple[JsonObject, ...] = ({}, {"status": "open"}, {"tags": "red"}, {"state.step": {"$gte": 2}})


async def wrong_answers(storage: FileStorage, store: Path) -> list[str]:
    """Return which answers of a store, and of its sessions, are not what its files say."""
    wrong = await contradictions(storage, store)
    sessions = SessionService(storage)
    there = [record for record in records(store) if record["type"] == "session"]
    for filters in FILTERS:
        truth = [record["data"] for record in found(there, session_filter(filters))]
        if await sessions.list_sessions(filters) != truth:
            wrong.append(f"list_sessions {filters}")
        if await sessions.count_sessions(filters) != len(truth):
            wrong.append(f"count_sessions {filters}")
        if await sessions.list_metadata(filters) != [data["metadata"] for data in truth]:
            wrong.append(f"list_metadata {filters}")
    return wrong


async def assert_right(storage: FileStorage, store: Path) -> None:
    """See that an open store, after a refresh, and one that is opened now, say what the files say."""
    await storage.refresh()
    assert await wrong_answers(storage, store) == []
    async with await open_store(store) as reopened:
        assert await wrong_answers(reopened, store) == []
