from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from fsstore.cli import sessions
from fsstore.cli.app import build
from fsstore.cli.getting import Wanted, plainly_asked
from tests.cli.test_main import NO_TEXT, Save

PIECES = (
    ("a",),
    ("b=c",),
    ("",),
    ("-x",),
    ("--",),
    ("--store", "s"),
    ("--store=t",),
    ("--store=",),
    ("--store",),
    ("--record",),
    ("--record=1",),
    ("--no-record",),
    ("--format", "json"),
    ("--format=compact",),
    ("--format", "yaml"),
    ("--max-bytes", "5"),
    ("--help",),
)
"""What may be said after `get`, in pieces."""


def sayings() -> Iterator[list[str]]:
    """Give everything that up to four pieces say."""
    for count in range(5):
        for pieces in itertools.permutations(PIECES, count):
            yield list(itertools.chain.from_iterable(pieces))


def test_what_is_read_without_the_parser_is_what_the_parser_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FSSTORE_STORE", raising=False)
    read: list[tuple[Wanted, int | None]] = []
    monkeypatch.setattr(sessions, "show_session", lambda wanted, *, max_bytes: read.append((wanted, max_bytes)))
    parser = get_command(build())
    plain = [(said, found) for said in sayings() if (found := plainly_asked(said, {})) is not None]
    assert len(plain) > 100
    for said, found in plain[:: len(plain) // 100]:
        parser(args=["get", *said], prog_name="fsstore", standalone_mode=False)
        assert read.pop() == (found, None), said


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (["a", "--store", "s"], Wanted("a", "s")),
        (["--store=s", "--record", "a"], Wanted("a", "s", is_record=True)),
        (["a", "--format", "compact", "--store", "s"], Wanted("a", "s", is_compact=True)),
        (["a"], None),
        ([], None),
        (["a", "b", "--store", "s"], None),
        (["-a", "--store", "s"], None),
        (["--", "-a", "--store", "s"], None),
        (["a", "--store", "s", "--store", "t"], None),
        (["a", "--store", "s", "--format", "yaml"], None),
        (["a", "--store", "s", "--max-bytes", "5"], None),
        (["a", "--store", "s", "--help"], None),
        (["a", "--store", "--record"], None),
        ([NO_TEXT, "--store", "s"], None),
    ],
)
def test_what_is_not_plain_is_left_to_the_parser(said: list[str], wanted: Wanted | None) -> None:
    assert plainly_asked(said, {}) == wanted


def test_the_environment_names_the_store_and_what_else_it_says_is_left_to_the_parser() -> None:
    assert plainly_asked(["a"], {"FSSTORE_STORE": "s"}) == Wanted("a", "s")
    assert plainly_asked(["a", "--store", "t"], {"FSSTORE_STORE": "s"}) == Wanted("a", "t")
    assert plainly_asked(["a"], {"FSSTORE_STORE": "s", "FSSTORE_MAX_BYTES": "5"}) is None


def test_a_plain_get_loads_neither_the_parser_nor_what_only_models_need(save: Save, store: Path) -> None:
    save("a")
    script = "import sys; from fsstore.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script, "get", "a", "--store", str(store)], capture_output=True, text=True, check=True
    )
    assert '"session_id": "a"' in done.stdout
    heavy = {"typer", "rich", "pydantic", "re2", "watchfiles", "aiofiles", "importlib.metadata", "fsstore.cli.sessions"}
    assert heavy & set(done.stderr.split()) == set()
    assert not [name for name in done.stderr.split() if name.startswith(("fsstore.filesystem.care", "fsstore.sync"))]
