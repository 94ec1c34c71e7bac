import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Run, Terminal, lines, run_in_shell

Save = Callable[..., None]
SESSIONS = [
    {"metadata": {"session_id": f"s{number}", "status": "new", "created_at": time, "updated_at": time}, "text": "é😀"}
    for number, time in enumerate(["2026-01-02T03:04:05.000000+00:00"] * 3)
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "sessions.jsonl").write_text(lines(SESSIONS))
    return tmp_path / "sessions.jsonl"


def test_an_import_ends_with_a_summary(fsstore: Run, source: Path) -> None:
    result = fsstore("import", source)
    assert (result.code, result.out) == (0, "")
    assert result.err.startswith(f"fsstore: imported 3 sessions ({source.stat().st_size} B) in ")
    assert fsstore("import", source, "--quiet") == (0, "", "")
    assert fsstore("count").out == "3\n"


def test_an_export_gives_back_what_was_imported(fsstore: Run, source: Path, tmp_path: Path) -> None:
    fsstore("import", source, "--no-fsync")
    result = fsstore("export")
    assert result.out == source.read_text()
    assert result.err.startswith("fsstore: exported 3 sessions ")
    assert fsstore("export", tmp_path / "out.jsonl", "-q") == (0, "", "")
    assert (tmp_path / "out.jsonl").read_bytes() == source.read_bytes()
    assert fsstore("export", "-", "--where", "session_id=s1", "-q").out == lines(SESSIONS[1:2])


def test_an_export_tells_what_it_has_redacted_and_which_rule_found_nothing(
    fsstore: Run, source: Path, tmp_path: Path
) -> None:
    fsstore("import", source, "-q")
    rules = (
        "--redact",
        "status",
        "--redact",
        "settings.key",
        "--redact-pattern",
        "[é😀]",
        "--redact-pattern",
        "absent",
    )
    result = fsstore("export", tmp_path / "out.jsonl", *rules)
    assert result.code == 0
    assert "; 6 values redacted; nothing matched settings.key, /absent/: check" in result.err
    assert [json.loads(line)["text"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [
        "[redacted][redacted]"
    ] * 3
    quiet = fsstore("export", tmp_path / "out.jsonl", *rules, "-q").err
    assert quiet.startswith("fsstore: nothing matched settings.key, /absent/")
    assert fsstore("export", tmp_path / "out.jsonl", "--redact", "status", "-q").err == ""
    assert "3 findings in ids, times or keys" in fsstore("export", "--redact-pattern", "s[0-9]", "-q").err


def test_an_export_redacts_what_looks_like_a_secret(fsstore: Run, source: Path) -> None:
    source.write_text(lines([{**SESSIONS[0], "settings": {"password": "hunter2"}}]))
    fsstore("import", source, "-q")
    assert fsstore("export", "-q").json()["settings"] == {"password": "hunter2"}
    assert fsstore("export", "-q", "--redact-secrets").json()["settings"] == {"password": "[redacted]"}


@pytest.mark.parametrize(
    "rule",
    [("--redact", "a..b"), ("--redact", "metadata.session_id"), ("--redact-pattern", "("), ("--redact-pattern", "")],
)
def test_a_wrong_rule_is_refused_before_anything_is_written(
    fsstore: Run, save: Save, tmp_path: Path, rule: tuple[str, str]
) -> None:
    save("a")
    (tmp_path / "out.jsonl").write_text("old")
    result = fsstore("export", tmp_path / "out.jsonl", *rule)
    assert result.code == 2
    assert repr(rule[1]) in result.err
    assert (tmp_path / "out.jsonl").read_text() == "old"


def test_several_sources_are_imported_in_order(fsstore: Run, source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    (folder / "one.json").write_text('{"messages": []}')
    (folder / "s1.json").write_text(json.dumps({**SESSIONS[1], "text": "later"}))
    assert "imported 5 sessions" in fsstore("import", source, folder).err
    assert fsstore("ls", "--format", "ids", "--sort", "session_id").out.split() == ["one", "s0", "s1", "s2"]
    assert fsstore("get", "s1").json()["text"] == "later"


def test_a_bad_line_is_named_in_one_line(fsstore: Run, source: Path) -> None:
    source.write_text(source.read_text() + '\n{"metadata": \n')
    result = fsstore("import", source)
    assert result.code == 2
    assert result.err.startswith(f"fsstore: error: {source}, line 5: it is not JSON: EOF while parsing")
    assert "0 sessions were imported" in result.err


def test_an_import_of_an_absent_file_names_it(fsstore: Run) -> None:
    result = fsstore("import", "absent.jsonl")
    assert result.code == 2
    assert "absent.jsonl: there is no such file or folder" in result.err


def test_an_export_to_a_place_that_can_not_be_written_is_unavailable(fsstore: Run, save: Save, tmp_path: Path) -> None:
    save("a")
    result = fsstore("export", tmp_path)
    assert result.code == 5
    assert "Is a directory" in result.err


@pytest.mark.usefixtures("store")
def test_an_import_reads_standard_input_and_an_export_writes_standard_output(source: Path) -> None:
    result = run_in_shell("import", "-", stdin=source.read_bytes())
    assert (result.code, result.out) == (0, "")
    assert "imported 3 sessions" in result.err
    assert run_in_shell("export", "-q") == (0, source.read_text(), "")


@pytest.mark.usefixtures("store")
def test_a_terminal_shows_a_bar_while_sessions_move(source: Path, tmp_path: Path) -> None:
    code, shown = Terminal("import", str(source)).finish()
    assert code == 0
    assert "sessions.jsonl" in shown
    assert "━" in shown
    assert shown.rstrip().splitlines()[-1].endswith(" s")
    code, shown = Terminal("export", str(tmp_path / "out.jsonl")).finish()
    assert code == 0
    assert "3/3" in shown
    code, shown = Terminal("import", str(source), "--quiet").finish()
    assert (code, shown) == (0, "")


@pytest.mark.usefixtures("store")
def test_a_name_with_markup_or_braces_is_shown_as_it_is(tmp_path: Path) -> None:
    source = tmp_path / "[bold]{0}\x1b[31m.jsonl"
    source.write_text(lines(SESSIONS))
    code, shown = Terminal("import", os.fspath(source)).finish()
    assert code == 0
    assert "[bold]{0}\\x1b[31m" in shown
