import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsstore.cli import main
from fsstore.filesystem.disk.files import Tree
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
    assert "were imported" not in result.err


def test_an_import_of_an_absent_file_names_it(fsstore: Run) -> None:
    result = fsstore("import", "absent.jsonl")
    assert result.code == 2
    assert "absent.jsonl: there is no such file or folder" in result.err


@pytest.mark.parametrize("text", [None, "no JSON", lines(SESSIONS) + "no JSON", lines([{"metadata": {}}])])
def test_an_import_that_fails_before_anything_is_saved_makes_no_store(
    fsstore: Run, store: Path, tmp_path: Path, text: str | None
) -> None:
    if text is not None:
        (tmp_path / "bad.jsonl").write_text(text)
    result = fsstore("import", tmp_path / "bad.jsonl")
    assert result.code == 2
    assert not store.exists()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("no session")
    assert fsstore("import", tmp_path / "folder").code == 2
    assert not store.exists()


@pytest.mark.parametrize(("name", "code"), [("sessions.jsonl", 5), ("no-scheme://x", 2)])
def test_a_store_that_cannot_be_opened_is_no_fault_of_a_session(source: Path, name: str, code: int) -> None:
    store = name if ":" in name else str(source.parent / name)
    result = run_in_shell("import", str(source), "--skip-invalid", "--store", store)
    assert result.code == code
    assert result.err.startswith("fsstore: error: ")
    assert result.err.count("\n") == 1


def test_an_import_of_nothing_makes_the_store(fsstore: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    assert fsstore("import", tmp_path / "empty.jsonl").code == 0
    assert fsstore("count").out == "0\n"


def test_an_export_to_a_place_that_can_not_be_written_is_unavailable(fsstore: Run, save: Save, tmp_path: Path) -> None:
    save("a")
    result = fsstore("export", tmp_path)
    assert result.code == 5
    assert "Is a directory; choose a path where there is a file, or nothing" in result.err


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
def test_an_export_to_a_terminal_sends_no_control_sequence_and_one_to_a_pipe_what_is_stored(tmp_path: Path) -> None:
    source, steering = tmp_path / "steering.jsonl", "\x9b31m\u202e\x7f\u2028"
    source.write_text(lines([{"text": steering, "metadata": {"session_id": "s"}}]))
    assert run_in_shell("import", os.fspath(source), "-q").code == 0
    code, shown = Terminal("export", "-q").finish()
    assert code == 0
    assert not set(steering) & set(shown) - set("31m")
    assert r"\u009b31m\u202e\u007f\u2028" in shown
    assert steering in run_in_shell("export", "-q").out


@pytest.mark.usefixtures("store")
def test_a_name_with_markup_or_braces_is_shown_as_it_is(tmp_path: Path) -> None:
    source = tmp_path / "[bold]{0}\x1b[31m.jsonl"
    source.write_text(lines(SESSIONS))
    code, shown = Terminal("import", os.fspath(source)).finish()
    assert code == 0
    assert "[bold]{0}\\x1b[31m" in shown


BAD_LINES = [
    b'{"metadata": {"session_id": "x1"}, "text": "a\\ud800"}',
    b"not json",
    b'{"metadata": {"session_id": "x2"}, "n": 18446744073709551616}',
]


@pytest.mark.usefixtures("store")
def test_what_is_invalid_is_left_out_named_and_told_by_the_exit_code(source: Path, tmp_path: Path) -> None:
    source.write_bytes(b"\n".join([*BAD_LINES, source.read_bytes()]))
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat/x3.json").write_text('{"n": NaN}')
    (tmp_path / "flat/s9.json").write_text("{}")

    for quiet in ([], ["-q"]):
        result = run_in_shell("import", str(source), str(tmp_path / "flat"), "--skip-invalid", *quiet)

        assert (result.code, result.out) == (2, "")
        told = result.err.splitlines()
        places = sorted(line.removeprefix("fsstore: left out: ").partition(": ")[0] for line in told[:4])
        assert places == sorted([*(f"{source}, line {number}" for number in (1, 2, 3)), f"{tmp_path}/flat/x3.json"])
        assert "$.text: the string holds the lone surrogate U+D800 at offset 1" in result.err
        assert quiet or told[4].startswith("fsstore: imported 4 sessions (")
        assert quiet or told[4].endswith(" s; 4 invalid sessions left out")
        assert len(told) == (4 if quiet else 5)
    assert run_in_shell("ls", "--format", "ids", "--sort", "session_id").out.split() == ["s0", "s1", "s2", "s9"]


def test_nothing_left_out_is_the_exit_code_0(fsstore: Run, source: Path) -> None:
    assert fsstore("import", source, "--skip-invalid", "--replace-surrogates", "-q") == (0, "", "")
    assert fsstore("import", source, "--skip-invalid").err.endswith(" s\n")


def test_lone_surrogates_are_replaced_and_counted(fsstore: Run, source: Path) -> None:
    source.write_bytes(BAD_LINES[0])
    refused = fsstore("import", source)
    assert refused.code == 2
    assert "offset 1" in refused.err
    assert "--replace-surrogates" in refused.err
    result = fsstore("import", source, "--replace-surrogates")
    assert result.code == 0
    assert result.err.endswith("; 1 lone surrogate replaced\n")
    assert fsstore("get", "x1").json()["text"] == "a\ufffd"


@pytest.mark.usefixtures("store")
def test_a_terminal_names_what_is_left_out_beside_the_bar(source: Path) -> None:
    source.write_bytes(b"\n".join([BAD_LINES[1], source.read_bytes()]))
    code, shown = Terminal("import", str(source), "--skip-invalid").finish()
    assert code == 2
    assert "left out: " in shown
    assert shown.rstrip().endswith("1 invalid session left out")


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
def test_standard_input_and_files_may_begin_with_a_byte_order_mark(source: Path, tmp_path: Path, mark: bytes) -> None:
    text = mark + source.read_bytes().replace(b"\n", b"\r\n")
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat/f1.json").write_bytes(mark + b"{}\r\n")
    source.write_bytes(text)
    assert run_in_shell("import", "-", "-q", stdin=text) == (0, "", "")
    assert run_in_shell("import", str(source), str(tmp_path / "flat"), "-q") == (0, "", "")
    assert run_in_shell("count").out == "4\n"


# -- what cannot be read ----------------------------------------------------------------------------------------------


def test_an_export_without_what_cannot_be_read_names_it_and_ends_with_4_every_time(
    fsstore: Run, save: Callable[..., None], store: Path, tmp_path: Path
) -> None:
    for session_id in ("a", "b", "c"):
        save(session_id, status="x")
    (path,) = store.glob("??/b.json")
    path.write_text("{")
    for arguments in (["--quiet"], [], ["--where", "status=x"], ["--redact-secrets"]):
        result = fsstore("export", tmp_path / "out.jsonl", *arguments)
        assert result.code == 4
        assert f"1 file cannot be read and is left out: {path.parent.name}/b.json" in result.err
        exported = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert [session["metadata"]["session_id"] for session in exported] == ["a", "c"]
    result = fsstore("export", "-", "--quiet")
    assert (result.code, len(result.out.splitlines())) == (4, 2)
    path.unlink()
    assert fsstore("export", tmp_path / "out.jsonl").code == 0


def test_an_import_goes_on_where_one_document_cannot_be_replaced(
    fsstore: Run,
    source: Path,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    fsstore("import", source, "-q")
    refuse = Tree.refuse_placing

    def refusing(self: Tree, name: str, **options: Any) -> None:
        if name.endswith("/s1.json"):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), self.path(name))
        refuse(self, name, **options)

    monkeypatch.setattr(Tree, "refuse_placing", refusing)
    source.write_text(source.read_text().replace("new", "newer"))

    code = main(["import", str(source)])

    left_out, summary = capsysbinary.readouterr().err.decode().splitlines()
    assert code == 4
    assert left_out.startswith(f"fsstore: left out: {source}, line 2: {store}/")
    assert "/s1.json: Operation not permitted; " in left_out
    assert summary.startswith("fsstore: imported 2 sessions ")
    assert summary.endswith("; 1 session could not be saved")
    monkeypatch.undo()
    found = {path.stem: json.loads(path.read_text())["data"]["metadata"]["status"] for path in store.glob("??/s?.json")}
    assert found == {"s0": "newer", "s1": "new", "s2": "newer"}


def test_an_import_of_which_nothing_can_be_saved_raises_what_the_system_said(
    source: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    def refusing(self: Tree, name: str, **_: Any) -> None:
        raise PermissionError(errno.EACCES, "its directory cannot be written", self.path(name))

    monkeypatch.setattr(Tree, "refuse_placing", refusing)

    code = main(["import", str(source), "--store", str(store)])

    last = capsysbinary.readouterr().err.decode().splitlines()[-1]
    assert code == 5
    assert last.startswith("fsstore: error: ")
    assert "its directory cannot be written" in last
