from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from fsstore.cli.git import driver
from fsstore.cli.git.attributes import IN_CONFLICT
from fsstore.cli.git.driver import main, shown
from fsstore.cli.git.transcript import FORM
from fsstore.filesystem.documents.codec import encode
from tests.merging.test_merge import histories, session


@settings(deadline=None)
@given(histories())
def test_a_document_is_shown_alike_by_the_quick_and_the_careful_reader(history: tuple[Any, Any, Any]) -> None:
    for version in history:
        data = encode(session(data=version), max_bytes=1 << 20)
        assert shown(data) == driver._shown_with_care(data)
        assert shown(data) != data


DOCUMENT = session(messages=[{"role": "user", "content": "a"}])


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"id": "\n"},
        {"id": 1},
        {"type": None},
        {"version": 0},
        {"version": 2**63},
        {"version": 1.0},
        {"version": True},
        {"session_id": 1},
        {"created_at": "noon"},
        {"created_at": "2026-01-01T01:00:00+01:00"},
        {"updated_at": 5},
        {"x": 10**18},
        {"x": 2**64},
        {"x": float("nan")},
        {"x": float("inf")},
        {"x": "\ud800"},
        {"x": 1e300},
    ],
    ids=str,
)
def test_what_is_nearly_a_document_is_shown_as_the_careful_reader_does(changes: dict[str, Any]) -> None:
    data = json.dumps({**DOCUMENT, **changes}).encode()
    assert shown(data) == driver._shown_with_care(data)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b'{"x": 1e999}', b"[" * 100_000], ids=repr)
def test_what_is_no_document_is_shown_as_it_is(data: bytes) -> None:
    assert shown(data) == data


def test_to_show_a_document_loads_neither_the_store_nor_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(encode(DOCUMENT, max_bytes=1 << 20))
    script = (
        "import sys; from fsstore.cli.git.driver import main\n"
        f"main(['show', '1', {str(tmp_path / 'x')!r}])\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "[user]\n    a\n" in done.stdout
    assert (
        set(done.stderr.split()) & {"typer", "pydantic", "orjson", "asyncio", "inspect", "pathlib", "traceback"}
        == set()
    )


def test_the_form_has_a_new_number_when_it_has_changed() -> None:
    """What git has shown is kept under this number: raise FORM with every change, then put in the new digest."""
    message = {"role": "user", "created_at": "noon", "content": "a\nb", "more": {"list": [1, [2], {}], "x": "\x1b"}}
    document = session(version=3, data={"text": "a\nb", "é": [1.5, None, True, "x" * 80]}, messages=[message, "x", {}])
    text = shown(encode(document, max_bytes=1 << 20))
    assert (FORM, hashlib.sha256(text).hexdigest()[:16]) == (1, "d9d61605b2130016")


def test_a_merge_tells_git_s_shell_whether_its_result_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(tmp_path / name) for name in ("base", "ours", "theirs")]
    for name, status in zip(names, ("open", "done", "failed"), strict=True):
        Path(name).write_bytes(encode(session(metadata={"status": status}), max_bytes=1 << 20))
    assert main(["merge", "7", names[0], names[1], names[0], "x.json"]) == 0
    assert main(["merge", "9", *names, "x.json"]) == IN_CONFLICT
    assert "<" * 9 in Path(names[1]).read_text()
    for wrong in (
        ["merge", "7", names[0], names[0], str(tmp_path / "absent"), "x"],
        ["merge"],
        ["show", "1", "absent"],
        [],
    ):
        capsys.readouterr()
        assert main(wrong) not in (0, 1, IN_CONFLICT)
        assert capsys.readouterr().err.startswith("fsstore: error: ")
