import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from fsstore.cli import watching
from fsstore.watching.changes import Change, Gap
from fsstore.watching.watch import Watch
from tests.cli.conftest import Run, Terminal, command

Save = Callable[..., None]


class Watching:
    """A `fsstore watch` that has begun."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    @property
    def out(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def line(self) -> list[str]:
        return self.out.readline().decode().rstrip("\n").split("\t")

    def json(self) -> Any:
        return json.loads(self.out.readline())

    def stop(self) -> tuple[int, bytes]:
        self.process.send_signal(signal.SIGINT)
        assert self.process.stderr is not None
        errors = self.process.stderr.read()
        return self.process.wait(20), errors


@contextmanager
def watch(*arguments: str) -> Iterator[Watching]:
    process = subprocess.Popen(command("watch", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == b"fsstore: watching\n"
        yield Watching(process)
    finally:
        process.kill()
        process.communicate()


def test_every_change_is_a_line_until_ctrl_c(save: Save, fsstore: Run, store: Path) -> None:
    save("a", status="new")
    with watch() as told:
        save("b", status="new")
        assert told.line() == ["created", "store", "v1", "b", "new"]
        (path,) = store.glob("??/a.json")
        path.write_text(path.read_text().replace('"new"', '"by hand"'))
        assert told.line() == ["updated", "external", "v1", "a", "by hand"]
        assert fsstore("rm", "b").code == 0
        assert told.line() == ["deleted", "store", "v1", "b", ""]
        assert told.stop() == (130, b"")


def test_json_lines_are_for_programs(save: Save, fsstore: Run) -> None:
    fsstore("init")
    with watch("--format", "jsonl", "--where", "status=open") as told:
        save("a", status="open", user_id="ann")
        change = told.json()
        assert change["metadata"].pop("updated_at") == change["metadata"].pop("created_at")
        metadata = {"session_id": "a", "status": "open", "user_id": "ann"}
        assert change == {"kind": "created", "id": "a", "version": 1, "origin": "store", "metadata": metadata}
        save("b", status="shut")
        save("a", status="shut")
        change = told.json()
        assert (change["kind"], change["id"], change["metadata"]["status"]) == ("deleted", "a", "shut")


def test_since_tells_first_what_was_updated_since_then(save: Save) -> None:
    save("old")
    with watch("--since", "2999-01-01") as told:
        save("new")
        assert told.line()[3] == "new"
    for moment in ("2020-01-01", "2020-01-01T00:00:00+02:00"):
        with watch("--since", moment) as told:
            assert [told.line()[3] for _ in range(2)] == ["old", "new"]


def test_a_closed_pipe_ends_it_quietly(save: Save, fsstore: Run) -> None:
    fsstore("init")
    with watch() as told:
        told.out.close()
        save("a")
        assert told.process.stderr is not None
        assert told.process.stderr.read() == b""
        assert told.process.wait(20) == 141


def test_a_terminal_gets_columns(save: Save, fsstore: Run) -> None:
    fsstore("init")
    terminal = Terminal("watch")
    terminal.read_until(b"watching")
    save("a", status="new\tline")
    assert b"created  store     v1     a  new\\tline" in terminal.read_until(b"line")
    terminal.process.send_signal(signal.SIGINT)
    code, shown = terminal.finish()
    assert code == 130
    assert "Traceback" not in shown


def test_a_gap_is_told(save: Save, fsstore: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    save("a")
    given: list[Change | Gap] = [Gap(12), Change("deleted", "a", 0, "external")]

    async def next_one(_watch: Watch) -> Change | Gap:
        if not given:
            raise StopAsyncIteration
        return given.pop(0)

    monkeypatch.setattr(Watch, "__anext__", next_one)
    assert fsstore("watch", "--quiet", "--polling").out.splitlines() == [
        "gap\t\t\t12 changes were dropped; what is different now follows",
        "deleted\texternal\tv0\ta\t",
    ]
    given[:] = [Gap(3)]
    assert fsstore("watch", "--quiet", "--format", "jsonl").json() == {"kind": "gap", "dropped": 3}


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01"])
def test_a_time_that_is_none_is_refused(save: Save, fsstore: Run, since: str) -> None:
    save("a")
    result = fsstore("watch", "--since", since)
    assert result.code == 2
    assert "since: must be an ISO 8601 time" in result.err


def test_there_is_a_row_for_each_form() -> None:
    assert set(watching._PRINTERS) == set(watching.Form)
