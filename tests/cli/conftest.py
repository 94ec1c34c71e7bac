import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fsstore.cli import main


class Result(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> Iterator[None]:
    """Let commands hear Ctrl-C also where the tests run in the background, where a shell has it ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the store of a test is, or will be; commands find it by the environment."""
    monkeypatch.setenv("FSSTORE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def fsstore(store: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Run:  # noqa: ARG001 - it sets the environment
    """Run a command in this process; standard error must hold one line at most."""

    def run(*arguments: str | os.PathLike[str]) -> Result:
        code = main([os.fspath(argument) for argument in arguments])
        out, err = capsysbinary.readouterr()
        assert err.count(b"\n") <= 1
        return Result(code, out.decode(), err.decode())

    return run


@pytest.fixture
def save(fsstore: Run, tmp_path: Path) -> Callable[..., None]:
    """Save a session with some metadata."""

    def save(session_id: str, /, **metadata: Any) -> None:
        (tmp_path / "session.json").write_text(json.dumps({"metadata": metadata, "messages": []}))
        assert fsstore("put", session_id, tmp_path / "session.json").code == 0

    return save


def command(*arguments: str | os.PathLike[str]) -> list[str]:
    return [sys.executable, "-m", "fsstore", *(os.fspath(argument) for argument in arguments)]


def run_in_shell(*arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Result:
    """Run a command as a process of its own, with its output piped."""
    done = subprocess.run(
        command(*arguments), input=stdin, capture_output=True, check=False, env={**os.environ, **(env or {})}
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


class Terminal:
    """A pseudo terminal, 80 columns wide, with a command in it."""

    def __init__(self, *arguments: str, env: Mapping[str, str] | None = None, **streams: Any) -> None:
        self.screen, inner = pty.openpty()
        outside = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        settings = {**outside, "TERM": "xterm", "COLUMNS": "80", "LINES": "24", **(env or {})}
        self.process = subprocess.Popen(
            command(*arguments), **{"stdin": inner, "stdout": inner, "stderr": inner, **streams}, env=settings
        )
        os.close(inner)

    def read_until(self, text: bytes) -> bytes:
        """Return what is shown up to and including a text; all of it, to the end of the command, for `b""`."""
        shown, end = b"", time.monotonic() + 60
        while not text or text not in shown:
            if not select.select([self.screen], [], [], max(0.0, end - time.monotonic()))[0]:
                self.process.kill()
                pytest.fail(f"the command waits, and shows {shown!r}")
            try:
                chunk = os.read(self.screen, 4096)
            except OSError:
                chunk = b""  # Linux reports the end of the other side as an input/output error
            if not chunk:
                return shown
            shown += chunk
        return shown

    def type(self, text: bytes) -> None:
        os.write(self.screen, text)

    def finish(self) -> tuple[int, str]:
        """Wait for the end, and return the exit code and what was shown until then."""
        shown = self.read_until(b"")
        os.close(self.screen)
        return self.process.wait(), shown.decode(errors="replace")


def lines(sessions: Sequence[Mapping[str, Any]]) -> str:
    """Return sessions as an export writes them."""
    return "".join(
        json.dumps(session, sort_keys=True, ensure_ascii=False, separators=(",", ":")) + "\n" for session in sessions
    )
