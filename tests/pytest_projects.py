"""Small projects with tests of their own, whose fixtures lie at `tests/sessions`, for the tests of the plugin.

Each runs pytest with this plugin named and no other looked for: it is there however fsstore was installed, and a run
does not load in seconds what it does not use.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fsstore import FileStorage, LegacySessionStoreAdapter
from fsstore.model.clock import HandClock

# imported here already, since a run in this process forgets what it was the first to import
ENGINE = FileStorage
WITH_PLUGIN = (
    *("-p", "fsstore.pytest_plugin", "-p", "no:cacheprovider"),
    *("-W", "error"),
    # pytest-asyncio wants to be told what is its default; asserts of plugins that this process has loaded stay as are
    *("-W", "ignore::pytest.PytestDeprecationWarning", "-W", "ignore::pytest.PytestAssertRewriteWarning"),
)
ASYNCIO, ANYIO = ("-p", "pytest_asyncio.plugin"), ("-p", "anyio.pytest_plugin")
TWO_WORKERS = ("-p", "xdist", "-n", "2")
FIXTURES = "tests/sessions"


def make_store(path: Path, *session_ids: str) -> Path:
    """Make a store of sessions with one message each, and nothing in it that belongs to this machine."""
    with LegacySessionStoreAdapter(path, fsync=False, clock=HandClock()) as store:
        store.batch_save_sessions(
            {name: {"metadata": {"status": "open"}, "messages": [{"content": name}]} for name in session_ids}
        )
    return path


def session_in(path: Path, session_id: str) -> dict[str, object] | None:
    """Return what a store says of a session, read with a handle of its own."""
    with LegacySessionStoreAdapter(path, create=False) as store:
        return store.get_session(session_id)


class Project:
    """A directory with `tests/test_it.py` and, beside that, its fixtures."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, *session_ids: str) -> None:
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        self.pytester = pytester
        self.root = pytester.path
        (self.root / "tests").mkdir()
        self.fixtures = make_store(self.root / FIXTURES, *session_ids)
        self.write(pytest_ini="[pytest]\n")

    def write(self, tests: str = "", *, pytest_ini: str = "") -> None:
        if tests:
            (self.root / "tests" / "test_it.py").write_text(tests, "utf-8")
        if pytest_ini:
            (self.root / "pytest.ini").write_text(pytest_ini, "utf-8")

    def run(self, *arguments: str) -> pytest.RunResult:
        """Run its tests in this process."""
        return self.pytester.runpytest_inprocess(*WITH_PLUGIN, *arguments)

    def run_apart(self, *arguments: str) -> pytest.RunResult:
        """Run its tests in a process of their own, or in several."""
        return self.pytester.runpytest_subprocess(*WITH_PLUGIN, *arguments)

    def bytes(self) -> dict[str, bytes]:
        """Return the files of the fixtures, but for what belongs to this machine."""
        return {
            path.relative_to(self.fixtures).as_posix(): path.read_bytes()
            for path in self.fixtures.rglob("*")
            if path.is_file() and ".fsstore" not in path.parts
        }

    git_command = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")

    @property
    def git_environment(self) -> dict[str, str]:
        """Return what git runs with, so that what this machine's users have told it does not count."""
        return {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}

    def git(self, *arguments: str) -> str:
        """Run git in it."""
        done = subprocess.run(
            [*self.git_command, *arguments],
            cwd=self.root,
            env=self.git_environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout
