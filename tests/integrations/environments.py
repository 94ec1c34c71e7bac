"""An environment for each framework, made anew from the package index: some frameworks cannot live together.

Owns what is installed, and where the sources with the frameworks' tests lie. Everything is below a directory of the
caller's, who removes it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.integrations.suites import ROOT, Framework, versions_of

_BUILDING = ("editables", "hatchling")
_TOOLS = ("hypothesis", "mypy", "psycopg[binary]", "pytest", "pytest-asyncio", "pytest-xdist")
_PLUGINS = Path(__file__).parent / "plugins"
_TRIES = 3


class Environment:
    """A virtual environment with a framework, its sources, and fsstore from this checkout."""

    def __init__(self, framework: Framework, room: Path) -> None:
        self._framework = framework
        self.room = room
        self._python = room / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
        self._versions = {**versions_of(framework.extra), **framework.also}

    def make(self) -> None:
        """Install everything and unpack the sources. Raises RuntimeError with what was printed."""
        self.room.mkdir(parents=True)
        run([sys.executable, "-m", "venv", str(self.room / "venv")], self.room)
        exact = [f"{name}=={version}" for name, version in self._versions.items()]
        # everything is built with these, and not each in an environment of its own
        self._pip("install", *_BUILDING)
        ours = f"{ROOT}[{self._framework.extra},postgres]"
        built = ["--no-build-isolation", *(f"--no-binary={name}" for name in self._framework.from_source)]
        self._pip("install", *built, "-e", ours, *exact, *_TOOLS, *self._framework.needs)
        for name in sorted({suite.source for suite in self._framework.suites} - {""}):
            self._fetch(name)

    def python(
        self, arguments: Sequence[str], directory: Path, *, environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run Python in this environment, with the plugins at hand, and return what it printed."""
        return subprocess.run(
            [str(self._python), *arguments],
            cwd=directory,
            env={**_own_environment(), "PYTHONPATH": str(_PLUGINS), **(environ or {})},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )

    def source(self, name: str) -> Path:
        """Return where the source of a distribution was unpacked; without a name, where the plugins are."""
        if not name:
            return _PLUGINS
        (found,) = (self.room / "sources" / name).iterdir()
        return found

    def _fetch(self, name: str) -> None:
        fetched, unpacked = self.room / "fetched" / name, self.room / "sources" / name
        wanted = f"{name}=={self._versions[name]}"
        self._pip("download", "--no-deps", "--no-build-isolation", f"--no-binary={name}", "-d", str(fetched), wanted)
        (archive,) = fetched.iterdir()
        with tarfile.open(archive) as packed:
            packed.extractall(unpacked, filter="data")

    def _pip(self, command: str, *arguments: str) -> None:
        quiet = ["-m", "pip", command, "--quiet", "--disable-pip-version-check"]
        for attempt in range(1, _TRIES + 1):
            try:
                run([str(self._python), *quiet, *arguments], ROOT)
                return
            except RuntimeError:
                # an index may be away for a moment
                if attempt == _TRIES:
                    raise
                time.sleep(attempt)


def run(command: Sequence[str], directory: Path) -> None:
    """Run a command; raise RuntimeError with what it printed when it fails."""
    done = subprocess.run(
        command, cwd=directory, env=_own_environment(), capture_output=True, text=True, encoding="utf-8", check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def _own_environment() -> dict[str, str]:
    """Return the environment without what belongs to the one that this runs in; nothing is sent to anybody."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {**kept, "LANGSMITH_TRACING": "false", "OPENAI_AGENTS_DISABLE_TRACING": "1"}
