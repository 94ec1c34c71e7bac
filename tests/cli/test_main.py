import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

import fsstore as package
from fsstore.cli import app, failures, main
from fsstore.errors import (
    StorageClosedError,
    StorageConflictError,
    StorageCorruptedError,
    StorageError,
    StorageNotFoundError,
    StorageTimeoutError,
    StorageTransactionError,
    StorageUnavailableError,
    StorageValidationError,
)
from tests.cli.conftest import Run, Terminal, command, run_in_shell

Save = Callable[..., None]
OLD_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StorageNotFoundError(id="a"), 1),
        (StorageValidationError(reason="bad"), 2),
        (StorageConflictError(id="a", expected=1, actual=2), 3),
        (StorageTransactionError(reason="no"), 3),
        (StorageCorruptedError(id="a", path="a.json", reason="torn"), 4),
        (StorageUnavailableError(reason="full", path="/store"), 5),
        (StorageTimeoutError(reason="the lock", path="/store", timeout_seconds=1), 5),
        (StorageClosedError(path="/store"), 5),
        (StorageError("other"), 5),
        (PermissionError(13, "Permission denied", "/store"), 5),
        (MemoryError(), 70),
        (ValueError("a\nb"), 70),
    ],
)
def test_each_error_has_its_exit_code_and_is_told_in_one_line(
    fsstore: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("fsstore.cli.listing.with_store", fail)
    result = fsstore("count")
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith("fsstore: error: ")
    assert failures.explain(error)[0] == code


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["bogus"], "No such command 'bogus'; see 'fsstore --help'"),
        (["--bogus"], "No such option"),
        (["--store", "x", "ls"], "No such option: --store: the options of a command stand behind its name"),
        (["lss"], "No such command 'lss'; did you mean 'ls'? see 'fsstore --help'"),
        (["ls", "--fromat", "ids"], "No such option: --fromat; did you mean --format? see 'fsstore ls --help'"),
        (["rm", "--yes=3", "a"], "does not take a value; see 'fsstore rm --help'"),
        (["get"], "Missing argument 'ID'; see 'fsstore get --help'"),
        (["get", "a", "b"], "unexpected extra argument"),
        (["get", "a", "--format", "yaml"], "'yaml' is not one of 'json', 'compact'"),
        (["count", "--where"], "requires an argument; see 'fsstore count --help'"),
    ],
)
def test_wrong_usage_is_told_in_one_line(fsstore: Run, arguments: list[str], reason: str) -> None:
    result = fsstore(*arguments)
    assert (result.code, result.out) == (2, "")
    assert reason in result.err


def test_a_store_must_be_named(fsstore: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FSSTORE_STORE")
    for arguments in (["ls"], ["init"], ["put", "a", os.devnull]):
        result = fsstore(*arguments)
        assert result.code == 2
    assert fsstore("ls").err == "fsstore: error: no store is named; give --store PATH, or set FSSTORE_STORE\n"


def test_a_store_of_an_unknown_scheme_is_wrong_usage(fsstore: Run) -> None:
    for named in (["ls", "--store", "mysql://u:hunter2@host/db"], ["init", "s3+x://u:hunter2@host/db"]):
        result = fsstore(*named)
        assert result.code == 2
        assert "there is no store of the scheme '" in result.err
        assert "hunter2" not in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["import", "{}"],
        ["export", "{}"],
        ["put", "a", "{}"],
        ["git", "install", "{}"],
        ["export", "{}", "--store", "memory:"],
    ],
)
def test_a_url_in_the_place_of_a_path_is_wrong_usage_and_makes_nothing(
    fsstore: Run, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    save("a")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    result = fsstore(*(text.format("postgresql+x://u:hunter2@host") for text in arguments))
    assert result.code == 2
    assert "a URL of the scheme 'postgresql+x'" in result.err
    assert "hunter2" not in result.err
    assert list(Path().iterdir()) == []


def test_a_tilde_is_the_home_also_where_no_shell_has_seen_it(
    fsstore: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fsstore("init", "~/other").code == 0
    assert (tmp_path / "other/fsstore.json").exists()
    monkeypatch.setenv("FSSTORE_STORE", "~/other")
    (tmp_path / "session.json").write_text("{}")
    assert fsstore("put", "a", "~/session.json").code == 0
    assert fsstore("export", "~/out.jsonl", "-q").code == 0
    assert fsstore("import", "--store=~/other", "~/out.jsonl", "-q").code == 0
    assert fsstore("count").out == "1\n"
    assert fsstore("count", "--store", "~nobody-of-that-name/x").code == 2


def test_an_option_wins_over_the_environment(fsstore: Run, save: Save, tmp_path: Path) -> None:
    save("a")
    assert fsstore("init", tmp_path / "other").code == 0
    assert fsstore("count", "--store", tmp_path / "other").out == "0\n"
    assert fsstore("count", "--store", f"file:{tmp_path}/store").out == "1\n"


@pytest.mark.parametrize(
    "arguments", [["--debug", "get", "absent"], ["get", "absent", "--debug"], ["get", "--debug", "absent"]]
)
def test_debug_shows_the_traceback_wherever_it_stands(
    store: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(["init", str(store)]) == 0
    assert main(arguments) == 1
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown
    assert shown.splitlines()[-1].startswith("fsstore: error: there is no session 'absent'")


def test_debug_after_two_dashes_is_an_id(fsstore: Run) -> None:
    fsstore("init")
    assert "there is no session '--debug'" in fsstore("get", "--", "--debug").err


def test_help_and_version_are_plain_text(fsstore: Run) -> None:
    assert fsstore("--version").out == f"fsstore {package.__version__}\n"
    assert fsstore() == fsstore("--help")
    commands = "init put get edit ls count update rm watch import export stats health verify repair scrub"
    for name in commands.split():
        assert f"\n  {name} " in fsstore().out
        result = fsstore(name, "-h")
        assert (result.code, result.err) == (0, "")
        assert "--store PATH_OR_URL" in result.out
        assert "FSSTORE_STORE" in result.out


def test_help_fits_a_terminal_without_cutting_what_a_command_does(fsstore: Run) -> None:
    commands = fsstore("--help").out.partition("Commands:")[2]
    assert "..." not in commands


@pytest.mark.usefixtures("store")
def test_the_shell_can_be_taught_to_complete() -> None:
    shown = run_in_shell("--show-completion", "bash").out
    assert shown == "" or "_FSSTORE_COMPLETE" in shown  # an old typer takes the shell's name, a new one finds it
    completed = run_in_shell(env={"_FSSTORE_COMPLETE": "complete_bash", "COMP_WORDS": "fsstore he", "COMP_CWORD": "1"})
    assert completed.out.split() == ["health"]


def test_the_shell_completes_ids(save: Save, store: Path) -> None:
    for session_id in ("abc", "abd", "b.c"):
        save(session_id)

    def completed(words: str) -> list[str]:
        env = {"_FSSTORE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        return sorted(run_in_shell(env=env).out.split())

    assert completed("fsstore get ab") == ["abc", "abd"]
    assert completed("fsstore rm abc b.") == ["b.c"]
    assert completed(f"fsstore get --store {store}/absent a") == []


def test_a_command_loads_rich_for_a_terminal_only(save: Save) -> None:
    save("a")
    script = "import sys; from fsstore.cli import main; main(sys.argv[1:]); sys.exit('rich' in sys.modules)"
    for arguments in (["get", "a"], ["ls"], ["stats"], ["export"], ["get", "absent"]):
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, check=False)
        assert done.returncode == 0, arguments


def test_a_command_loads_no_other(save: Save) -> None:
    save("a")
    script = "import sys; from fsstore.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    commands = {f"fsstore.cli.{name}" for name in ("checking", "editing", "listing", "moving", "report", "scrubbing")}
    for arguments, needed in ((["get", "a"], set()), (["count"], {"listing"}), (["--version"], set())):
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, check=True)
        assert commands & set(done.stderr.decode().split()) == {f"fsstore.cli.{name}" for name in needed}


def test_a_command_that_is_none_is_told_with_the_one_that_was_meant(fsstore: Run) -> None:
    assert "No such command 'exprot'; did you mean 'export'? see" in fsstore("exprot").err


def test_an_application_of_several_commands_may_be_one_of_them(fsstore: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    several = typer.Typer(help="Several commands.", rich_markup_mode=None)
    several.command("one")(lambda: typer.echo("first"))
    several.command("two")(lambda: typer.echo("second"))
    monkeypatch.setitem(app._COMMANDS, "several", "app:several")
    monkeypatch.setattr(app, "several", several, raising=False)
    assert fsstore("several", "two").out == "second\n"
    assert "\n  several  Several commands." in fsstore("--help").out
    assert "\n  one" in fsstore("several", "--help").out


def test_loading_the_package_of_the_command_loads_little() -> None:
    heavy = "{'typer', 'rich', 'asyncio', 'pydantic', 'sqlite3'}"
    script = f"import sys, fsstore.cli; sys.exit(not {heavy}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# -- processes of their own -------------------------------------------------------------------------------------------


def test_a_process_reports_its_exit_code(save: Save) -> None:
    save("a")
    assert run_in_shell("get", "a").json()["metadata"]["session_id"] == "a"
    assert run_in_shell("get", "absent") == (
        1,
        "",
        "fsstore: error: there is no session 'absent'; check the id, or save the session first\n",
    )
    assert run_in_shell("put", stdin=b'{"metadata": {"session_id": "piped"}}').out == "piped\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["ls", "--format", "jsonl"], ["get", "a"], ["export", "-q"]])
def test_a_closed_pipe_ends_a_command_quietly(save: Save, arguments: list[str], unbuffered: str) -> None:
    save("a", text="x" * 500_000)
    process = subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    assert process.stdout is not None
    assert process.stdout.read(1) == b"{"
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


def test_a_full_disk_behind_the_output_is_told(save: Save) -> None:
    save("a")
    for arguments in (["get", "a"], ["ls"], ["count"], ["export", "-q"], ["--help"]):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(command(*arguments), stdout=full, stderr=subprocess.PIPE, check=False)
        assert done.returncode == 5, arguments
        assert done.stderr.startswith(b"fsstore: error: ")
        assert b"No space left on device" in done.stderr
        assert done.stderr.count(b"\n") == 1


def test_closed_output_harms_nobody(save: Save) -> None:
    save("a")
    line = f"{sys.executable} -m fsstore get a >&-; echo $?; {sys.executable} -m fsstore get absent 2>&-; echo $?"
    assert subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=False).stdout == b"0\n1\n"


def test_piped_output_is_utf8_whatever_the_locale(save: Save) -> None:
    save("é😀", status="é😀")
    for env in (OLD_LOCALE, {"PYTHONIOENCODING": "latin-1"}):
        assert run_in_shell("ls", "--format", "ids", env=env).out == "é😀\n"
        assert '"status": "é😀"' in run_in_shell("ls", "--format", "json", env=env).out
        assert "é😀\té😀" in run_in_shell("ls", env=env).out


def test_a_terminal_without_utf8_gets_escapes(save: Save) -> None:
    save("a", status="é😀")
    for arguments in (["ls"], ["get", "a"], ["ls", "--format", "ids", "--where", "status~😀"]):
        code, shown = Terminal(*arguments, env=OLD_LOCALE).finish()
        assert code in (0, 2)  # what was typed in another encoding may not be text at all
        assert "Traceback" not in shown
    assert "\\xe9\\U0001f600" in Terminal("ls", env=OLD_LOCALE).finish()[1]


def test_bytes_that_are_no_text_are_refused_as_an_id(save: Save) -> None:
    save("a")
    done = subprocess.run([*command("get"), b"\xff\xfe"], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"'\\udcff\\udcfe' is not UTF-8" in done.stderr


def test_a_terminal_gets_a_table_in_which_ids_stay_whole(save: Save) -> None:
    uuid = "0b2311ef-8bcd-3c5e-2cf3-f01827b62461"
    save(uuid, status="active", user_id="somebody.with.a.long.name@example.org", tags=["production", "billing"])
    code, shown = Terminal("ls").finish()
    assert code == 0
    header, row = shown.splitlines()
    assert header.startswith("\x1b[1mid")
    assert row.startswith(f"{uuid}  \x1b[36mactive")
    assert "…" in row


def test_a_terminal_gets_colours_unless_it_wants_none(save: Save) -> None:
    save("a", count=5)
    plain = run_in_shell("get", "a").out.replace("\n", "\r\n")
    assert '\x1b[1;34m"count"\x1b[0m: \x1b[1;36m5\x1b[0m' in Terminal("get", "a").finish()[1]
    assert Terminal("get", "a", env={"NO_COLOR": "1"}).finish() == (0, plain)
    assert Terminal("get", "a", env={"TERM": "dumb"}).finish() == (0, plain)


def test_a_terminal_is_not_steered_by_what_a_store_holds(save: Save) -> None:
    save("x\x9b31m", status="\x1b[31m\x07", tags=["\u202e"])
    for arguments in (["ls"], ["ls", "--format", "ids"], ["ls", "--format", "jsonl"], ["get", "absent\x9b31m"]):
        shown = Terminal(*arguments, env={"NO_COLOR": "1"}).finish()[1]
        assert not set(shown) & set("\x9b\x07\u202e")
        assert "\x1b[31m" not in shown


def test_a_terminal_is_asked_before_sessions_are_removed_by_a_filter(save: Save) -> None:
    save("a", status="old")
    for answer, code in ((b"n\n", 130), (b"\x04", 130), (b"y\n", 0)):
        terminal = Terminal("rm", "--where", "status=old", stdout=subprocess.DEVNULL)
        assert b"Remove 1 session for good? [y/N] " in terminal.read_until(b"[y/N] ")
        terminal.type(answer)
        assert terminal.finish()[0] == code
    assert run_in_shell("count").out == "0\n"


def test_ctrl_c_ends_an_import_that_waits_for_more(store: Path) -> None:
    process = Terminal("import", "-", stdin=subprocess.PIPE)
    # the bar appears just before the first read
    process.read_until(b"standard input")
    process.process.send_signal(signal.SIGINT)
    code, shown = process.finish()
    assert process.process.stdin is not None
    process.process.stdin.close()
    assert code == 130
    assert "Traceback" not in shown
    assert not store.exists()


# -- bytes that are no text -------------------------------------------------------------------------------------------

NO_TEXT = os.fsdecode(b"caf\xe9")
WITH_NO_TEXT = [
    ["get", NO_TEXT],
    ["put", NO_TEXT, os.devnull],
    ["put", NO_TEXT],
    ["edit", NO_TEXT],
    ["edit", "--create", NO_TEXT],
    ["update", NO_TEXT, "{}"],
    ["update", "a", f'{{"x": "{NO_TEXT}"}}'],
    ["update", "a", "--set", f"x={NO_TEXT}"],
    ["update", "a", "--set", f"{NO_TEXT}=1"],
    ["rm", "a", NO_TEXT],
    ["rm", "--missing-ok", NO_TEXT],
    ["rm", "--where", f"x={NO_TEXT}", "--yes"],
    ["ls", "--where", f"x={NO_TEXT}"],
    ["ls", "--where", f"{NO_TEXT}=1"],
    ["ls", "--where", f"x~{NO_TEXT}"],
    ["ls", "--where", f"!{NO_TEXT}"],
    ["ls", "--where", f'x="{NO_TEXT}"'],
    ["ls", "--filter", f'{{"x": "{NO_TEXT}"}}'],
    ["ls", "--sort", NO_TEXT],
    ["ls", "--format", NO_TEXT],
    ["ls", "--limit", NO_TEXT],
    ["ls", f"--{NO_TEXT}"],
    ["ls", NO_TEXT],
    ["count", "--where", f"x={NO_TEXT}"],
    ["count", "--filter", NO_TEXT],
    ["watch", "--where", f"x={NO_TEXT}"],
    ["watch", "--since", NO_TEXT],
    ["export", "--where", f"x={NO_TEXT}"],
    ["export", "--redact", NO_TEXT],
    ["export", "--redact-pattern", NO_TEXT],
    ["scrub", "--ignore", NO_TEXT],
    ["init", "--shard-depth", NO_TEXT],
    ["git", NO_TEXT],
    [NO_TEXT],
    [f"--{NO_TEXT}"],
]


@pytest.mark.parametrize("arguments", WITH_NO_TEXT)
def test_an_argument_that_is_no_utf_8_is_wrong_usage(fsstore: Run, save: Save, arguments: list[str]) -> None:
    save("a")

    result = fsstore(*arguments)

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("fsstore: error: ")
    assert "internal" not in result.err


def test_the_error_says_which_argument_it_is(fsstore: Run) -> None:
    assert (
        "'--where': 'x=caf\\udce9' is not UTF-8; see 'fsstore ls --help'"
        in fsstore("ls", "--where", f"x={NO_TEXT}").err
    )
    assert "'ID': 'caf\\udce9' is not UTF-8; see 'fsstore get --help'" in fsstore("get", NO_TEXT).err


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_a_store_and_files_may_have_names_that_are_no_text(
    fsstore: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSSTORE_STORE", f"{tmp_path}/{NO_TEXT}")
    (tmp_path / f"{NO_TEXT}.json").write_text('{"metadata": {"session_id": "a"}}')
    assert fsstore("init", f"{tmp_path}/{NO_TEXT}").code == 0
    assert fsstore("put", "a", tmp_path / f"{NO_TEXT}.json").code == 0
    assert fsstore("get", "a").code == 0
    assert fsstore("export", tmp_path / f"{NO_TEXT}.jsonl", "-q").code == 0
    assert fsstore("import", tmp_path / f"{NO_TEXT}.jsonl", "-q").code == 0
    for name in ("ls", "count", "stats", "health", "verify", "repair", "scrub"):
        assert (name, fsstore(name, "--store", f"{tmp_path}/{NO_TEXT}").code) == (name, 0)
    assert fsstore("get", "absent").code == 1
    assert fsstore("ls", "--store", f"{tmp_path}/absent-{NO_TEXT}").code == 5


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("encoding", ["ascii", "ascii:strict", "latin-1", "cp1252:strict"])
def test_a_name_that_the_output_can_not_encode_is_escaped(tmp_path: Path, encoding: str) -> None:
    source = tmp_path / "größe-日本-😀.jsonl"
    source.write_text('{"metadata": {"session_id": "日本😀", "status": "größe"}}\nnot json\n')
    env = {**OLD_LOCALE, "PYTHONIOENCODING": encoding, "TERM": "xterm"}
    commands: list[tuple[int, list[str]]] = [
        (2, ["import", os.fspath(source), "--skip-invalid"]),
        (0, ["ls"]),
        (0, ["get", "日本😀"]),
        (1, ["get", "größe😀"]),
        (0, ["ls", "--where", "größe😀"]),
    ]
    for code, arguments in commands:
        assert (arguments, Terminal(*arguments, env={"PYTHONIOENCODING": encoding}).finish()[0]) == (arguments, code)
        with (tmp_path / "err").open("wb") as err:
            piped = subprocess.run(
                command(*arguments),
                env={**os.environ, "PYTHONIOENCODING": encoding},
                stdout=subprocess.PIPE,
                stderr=err,
                check=False,
            )
        assert (arguments, piped.returncode) == (arguments, code)
        assert b"internal error" not in (tmp_path / "err").read_bytes()
    # what the locale cannot decode reaches the command as bytes that are no text
    assert Terminal("ls", env=env).finish()[0] == 0
    assert Terminal("get", "größe😀", env=env).finish()[0] == 2


@pytest.mark.parametrize("marked", [("ours",), ("base",), ("theirs",), ("base", "ours", "theirs")])
def test_git_shows_and_merges_documents_with_a_byte_order_mark(
    fsstore: Run, save: Save, store: Path, tmp_path: Path, marked: tuple[str, ...]
) -> None:
    save("a", status="new", step=1)
    (document,) = store.glob("[0-9a-f][0-9a-f]/a.json")
    text = document.read_text()
    versions = {"base": text, "ours": text.replace("new", "done"), "theirs": text.replace('"step": 1', '"step": 2')}
    for name, version in versions.items():
        (tmp_path / name).write_text(version, encoding="utf-8-sig" if name in marked else "utf-8")
    shown = fsstore("git", "show", tmp_path / marked[0])
    assert shown.out == fsstore("git", "show", document).out.replace(
        "new", "done" if marked == ("ours",) else "new"
    ).replace("step: 1", "step: 2" if marked == ("theirs",) else "step: 1")

    assert fsstore("git", "merge", tmp_path / "base", tmp_path / "ours", tmp_path / "theirs", "a.json").code == 0

    merged = (tmp_path / "ours").read_bytes()
    assert merged.startswith(b"{\n")
    metadata = json.loads(merged)["data"]["metadata"]
    assert (metadata["status"], metadata["step"]) == ("done", 2)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Input should be greater than or equal to 0", "must be 0 or more"),
        ("Input should be less than or equal to 2", "must be 2 or less"),
        ("Input should be a valid integer, unable to parse string as an integer", "must be a whole number"),
        ("Value error, it is no key", "it is no key"),
    ],
)
def test_a_value_of_an_option_is_refused_in_our_words(theirs: str, ours: str) -> None:
    class RefusedError(Exception):
        def format_message(self) -> str:
            return f"Invalid value for '--limit': {theirs}."

    assert failures.explain(RefusedError()) == (2, f"Invalid value for '--limit': {ours}; see 'fsstore --help'")


@pytest.mark.parametrize("limit", ["-1", "x"])
def test_a_limit_that_is_none_is_wrong_usage_in_our_words(fsstore: Run, limit: str) -> None:
    result = fsstore("ls", "--limit", limit)
    assert (result.code, "--limit" in result.err, "Input should" in result.err) == (2, True, False)
