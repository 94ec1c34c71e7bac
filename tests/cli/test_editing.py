import json
import re
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsstore.cli import editing, main
from tests.cli.conftest import Run, Terminal, run_in_shell

Save = Callable[..., None]
Script = Callable[..., None]


@pytest.fixture(autouse=True)
def drafts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the texts under edit lie."""
    (tmp_path / "drafts").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "drafts"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    for variable in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "drafts"


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Let an editor do some Python with the `path` it is given, the `text` there, and the `number` of its run."""

    def editor(*lines: str) -> None:
        script = tmp_path / "an editor.py"
        runs = tmp_path / "runs"
        script.write_text(
            "\n".join(
                [
                    "import json, os, sys, pathlib, subprocess",
                    f"runs = pathlib.Path({str(runs)!r})",
                    "number = len(runs.read_text()) + 1 if runs.exists() else 1",
                    "runs.write_text('x' * number)",
                    "path = pathlib.Path(sys.argv[-1])",
                    "text = path.read_text(encoding='utf-8')",
                    *lines,
                ]
            )
        )
        monkeypatch.setenv("EDITOR", f"{sys.executable} '{script}' --wait")

    return editor


def writes(session: Any) -> str:
    """Return the line of an editor that writes a session."""
    return f"path.write_text({json.dumps(session, ensure_ascii=False)!r}, encoding='utf-8')"


def kept(result_or_text: Any) -> Path:
    """Return the file in which a text was kept."""
    text = result_or_text if isinstance(result_or_text, str) else result_or_text.err
    (path,) = re.findall(r"your text is kept in (\S+\.json)", text)
    return Path(path)


def test_what_the_editor_saves_is_saved(fsstore: Run, save: Save, editor: Script, drafts: Path) -> None:
    save("a", mood="😀", status="new")
    editor("assert sys.argv[1] == '--wait'", "path.write_text(text.replace('new', 'done'), encoding='utf-8')")
    before = fsstore("get", "a", "--record").json()
    assert fsstore("edit", "a") == (0, "a\n", "")
    after = fsstore("get", "a", "--record").json()
    assert (after["version"], after["data"]["metadata"]["status"]) == (2, "done")
    assert after["data"]["metadata"]["mood"] == "😀"
    assert after["created_at"] == before["created_at"]
    assert list(drafts.iterdir()) == []


def test_the_text_is_readable_and_private(fsstore: Run, save: Save, editor: Script, tmp_path: Path) -> None:
    save("a/b ☃", mood="😀")
    editor(
        f"copy = pathlib.Path({str(tmp_path / 'copy')!r})",
        "copy.write_text(json.dumps([text, path.name, path.stat().st_mode, path.parent.stat().st_mode]))",
    )
    fsstore("edit", "a/b ☃")
    text, name, mode, folder_mode = json.loads((tmp_path / "copy").read_text())
    assert text == fsstore("get", "a/b ☃").out
    assert name == "a-b.json"
    assert (stat.S_IMODE(mode), stat.S_IMODE(folder_mode)) == (0o600, 0o700)


@pytest.mark.parametrize(
    "line", ["", "path.write_text(text)", "path.write_text(json.dumps(json.loads(text)))", "os.utime(path)"]
)
def test_a_text_that_says_the_same_is_not_saved(
    fsstore: Run, save: Save, editor: Script, drafts: Path, line: str
) -> None:
    save("a", n=1.0)
    editor(line)
    assert fsstore("edit", "a") == (0, "", "fsstore: nothing was changed\n")
    assert fsstore("get", "a", "--record").json()["version"] == 1
    assert list(drafts.iterdir()) == []


def test_an_editor_may_replace_the_file_and_leave_others_beside_it(
    fsstore: Run, save: Save, editor: Script, drafts: Path
) -> None:
    save("a")
    editor(
        "(path.parent / 'a.json~').write_text(text)",
        "new = path.with_name('.new')",
        'new.write_bytes(b\'\\xef\\xbb\\xbf\' + b\'{"metadata": {"status": "x"}}\\r\\n\')',
        "new.replace(path)",
    )
    assert fsstore("edit", "a").code == 0
    assert fsstore("get", "a").json()["metadata"]["status"] == "x"
    assert list(drafts.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{\n  "a": 1,\n  "b": oops\n}', "line 3, column 8: the text is not JSON: expected value"),
        ("", "the text is not JSON"),
        ('{"a": NaN}', "the text is not JSON"),
        ("[1]", "the text is a JSON list, a session is an object"),
        ('{"settings": "x"}', "$.settings: Input should be an object"),
        ('{"metadata": {"tags": [1]}}', "$.metadata.tags[0]: Input should be a valid string"),
        ('{"metadata": {"session_id": "b"}}', "the id is 'a' and cannot be changed to 'b'"),
        ('{"n": 123456789012345678901234567890}', "64 bits"),
    ],
)
def test_what_is_invalid_is_refused_and_kept(
    fsstore: Run, save: Save, editor: Script, drafts: Path, *, text: str, reason: str
) -> None:
    save("a")
    editor(f"path.write_text({text!r})")
    result = fsstore("edit", "a")
    assert (result.code, result.out) == (2, "")
    assert reason in result.err
    assert kept(result).read_text() == text
    assert kept(result).parent.parent == drafts
    assert fsstore("get", "a", "--record").json()["version"] == 1


def test_a_change_by_somebody_else_is_a_conflict(fsstore: Run, save: Save, editor: Script, store: Path) -> None:
    save("a", status="new")
    ours = {"metadata": {"status": "ours"}}
    editor(
        f"subprocess.run([sys.executable, '-m', 'fsstore', 'update', 'a', '--set', 'status=theirs'], check=True, "
        f"env={{**os.environ, 'FSSTORE_STORE': {str(store)!r}}}, stdout=subprocess.DEVNULL)",
        writes(ours),
    )
    result = fsstore("edit", "a")
    assert result.code == 3
    assert json.loads(kept(result).read_text()) == ours
    assert fsstore("get", "a").json()["metadata"]["status"] == "theirs"


def test_an_edit_by_hand_in_between_is_a_conflict_too(fsstore: Run, save: Save, editor: Script, store: Path) -> None:
    save("a", status="new")
    (document,) = store.glob("??/a.json")
    editor(
        f"document = pathlib.Path({str(document)!r})",
        "document.write_text(document.read_text().replace('new', 'theirs'))",
        writes({"metadata": {"status": "ours"}}),
    )
    result = fsstore("edit", "a")
    assert result.code == 3
    assert "its content is not what was read" in result.err
    assert fsstore("get", "a").json()["metadata"]["status"] == "theirs"


def test_a_session_removed_in_between_is_not_made_again(fsstore: Run, save: Save, editor: Script, store: Path) -> None:
    save("a")
    (document,) = store.glob("??/a.json")
    editor(f"os.unlink({str(document)!r})", writes({"metadata": {"status": "x"}}))
    result = fsstore("edit", "a")
    assert result.code == 3
    assert kept(result).exists()
    assert fsstore("get", "a").code == 1


def test_what_the_store_refuses_is_kept(fsstore: Run, save: Save, editor: Script, store: Path) -> None:
    save("a")
    editor(f"os.rename({str(store)!r}, {str(store) + '.gone'!r})", writes({"metadata": {"status": "x"}}))
    result = fsstore("edit", "a")
    assert result.code == 5
    assert json.loads(kept(result).read_text()) == {"metadata": {"status": "x"}}


@pytest.mark.parametrize(("change", "is_kept"), [("", False), ("path.write_text('{}')", True)])
def test_an_editor_that_fails_saves_nothing(
    fsstore: Run,
    save: Save,
    editor: Script,
    drafts: Path,
    *,
    change: str,
    is_kept: bool,
) -> None:
    save("a")
    editor(change, "sys.exit(3)")
    result = fsstore("edit", "a")
    assert result.code == 5
    assert "ended with the exit code 3; nothing was saved" in result.err
    assert ("your text is kept in" in result.err) == is_kept == bool(list(drafts.iterdir()))
    assert fsstore("get", "a", "--record").json()["version"] == 1


def test_an_editor_that_takes_the_file_away_is_told(fsstore: Run, save: Save, editor: Script, drafts: Path) -> None:
    save("a")
    editor("path.unlink()")
    result = fsstore("edit", "a")
    assert result.code == 5
    assert "the editor took it away" in result.err
    assert list(drafts.iterdir()) == []


@pytest.mark.parametrize(
    ("variables", "code", "reason"),
    [
        ({"EDITOR": "no-such-editor --wait"}, 5, "the editor no-such-editor --wait: No such file"),
        ({"VISUAL": "'unclosed"}, 2, 'VISUAL: "\'unclosed": No closing quotation'),
        ({"VISUAL": " ", "EDITOR": "false"}, 5, "the editor false: it ended with the exit code 1"),
        ({"VISUAL": "false", "EDITOR": "true"}, 5, "the editor false"),
        ({"PATH": "/nowhere"}, 5, "an editor: none was found; set VISUAL or EDITOR"),
    ],
)
def test_an_editor_that_can_not_be_had_is_told(
    fsstore: Run,
    save: Save,
    drafts: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    variables: dict[str, str],
    code: int,
    reason: str,
) -> None:
    save("a")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = fsstore("edit", "a")
    assert result.code == code
    assert reason in result.err
    assert list(drafts.iterdir()) == []


def test_without_a_word_of_the_user_an_editor_that_is_there_is_taken(
    fsstore: Run, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("a")
    (tmp_path / "bin").mkdir()
    for name in ("vi", "nano"):
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nprintf \'{{"by": "{name}"}}\' >"$1"\n')
        (tmp_path / "bin" / name).chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert fsstore("edit", "a").code == 0
    assert fsstore("get", "a").json()["by"] == "nano"


def test_a_new_session_begins_empty_and_must_not_be_there(
    fsstore: Run, editor: Script, tmp_path: Path, save: Save
) -> None:
    editor(f"pathlib.Path({str(tmp_path / 'copy')!r}).write_text(text)", "path.write_text(text)")
    assert fsstore("edit", "--create", "new").err == "fsstore: nothing was changed\n"
    assert json.loads((tmp_path / "copy").read_text()) == {
        "metadata": {},
        "settings": {},
        "thread_configs": {},
        "workflow_state": {},
    }
    assert fsstore("get", "new").code == 1
    editor(writes({"messages": [], "metadata": {"status": "x"}}))
    assert fsstore("edit", "new", "--create") == (0, "new\n", "")
    assert fsstore("get", "new", "--record").json()["version"] == 1
    save("a")
    editor("raise SystemExit('it must not be started')")
    assert fsstore("edit", "--create", "a").code == 3
    assert fsstore("edit", "absent").code == 1
    assert fsstore("edit", "a\nb", "--create").code == 2


def test_a_new_session_that_came_into_being_meanwhile_is_not_lost(fsstore: Run, editor: Script, store: Path) -> None:
    fsstore("init")
    editor(
        "subprocess.run([sys.executable, '-m', 'fsstore', 'put', 'new'], input=b'{}', check=True, "
        f"env={{**os.environ, 'FSSTORE_STORE': {str(store)!r}}}, stdout=subprocess.DEVNULL)",
        writes({"metadata": {"status": "ours"}}),
    )
    result = fsstore("edit", "--create", "new")
    assert result.code == 3
    assert kept(result).exists()


def test_an_unforeseen_end_keeps_the_text(
    save: Save, editor: Script, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    save("a")
    editor(writes({"metadata": {"status": "x"}}))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(editing, "_save_edited", stop)
    assert main(["edit", "a"]) == 130
    assert kept(capsysbinary.readouterr().err.decode()).exists()


# -- at a terminal ----------------------------------------------------------------------------------------------------


def test_at_a_terminal_an_invalid_text_can_be_edited_again(save: Save, editor: Script, drafts: Path) -> None:
    save("a")
    editor(
        "path.write_text('{\\n  oops' if number == 1 else text.replace('oops', '\"n\": 5}'))",
    )
    terminal = Terminal("edit", "a")
    shown = terminal.read_until(b"[Y/n] ").decode()
    assert "this cannot be saved: line 2, column 3: the text is not JSON" in shown
    terminal.type(b"\n")
    assert terminal.finish()[0] == 0
    assert run_in_shell("get", "a").json()["n"] == 5
    assert list(drafts.iterdir()) == []


def test_at_a_terminal_one_may_stop_and_the_text_is_kept(save: Save, editor: Script) -> None:
    save("a")
    editor("path.write_text('{')")
    for answer in (b"n\n", b"\x04"):
        terminal = Terminal("edit", "a")
        terminal.read_until(b"[Y/n] ")
        terminal.type(answer)
        code, shown = terminal.finish()
        assert code == 2
        assert kept(shown).read_text() == "{"
    terminal = Terminal("edit", "a")
    terminal.read_until(b"[Y/n] ")
    terminal.process.send_signal(signal.SIGINT)
    code, shown = terminal.finish()
    assert code == 130
    assert kept(shown).read_text() == "{"
    assert run_in_shell("get", "a", "--record").json()["version"] == 1


def test_ctrl_c_belongs_to_the_editor_while_it_is_open(save: Save, editor: Script, drafts: Path) -> None:
    save("a")
    editor(
        "import signal",
        "caught = []",
        "signal.signal(signal.SIGINT, lambda *_: caught.append(1))",
        "os.kill(os.getppid(), signal.SIGINT)",
        "os.kill(os.getpid(), signal.SIGINT)",
        "path.write_text(json.dumps({'caught': len(caught)}))",
    )
    code, shown = Terminal("edit", "a", stdin=subprocess.DEVNULL).finish()
    assert code == 0, shown
    assert run_in_shell("get", "a").json()["caught"] == 1
    assert list(drafts.iterdir()) == []


@pytest.mark.parametrize("stale", [{"session_id": "other"}, {}])
def test_a_session_with_a_stale_id_in_its_metadata_is_edited_under_its_own(
    fsstore: Run, save: Save, editor: Script, store: Path, stale: dict[str, str]
) -> None:
    save("a", status="new")
    (path,) = store.glob("??/a.json")
    record = json.loads(path.read_text())
    del record["data"]["metadata"]["session_id"]
    record["data"]["metadata"] |= stale
    path.write_text(json.dumps(record))
    editor(
        "session = json.loads(text)",
        "assert session['metadata']['session_id'] == 'a'",
        "path.write_text(json.dumps({**session, 'n': 1}))",
    )
    assert fsstore("edit", "a") == (0, "a\n", "")
    saved = json.loads(path.read_text())
    assert (saved["data"]["n"], saved["data"]["metadata"]["session_id"]) == (1, "a")
