import ast
import inspect
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fsstore as package
from fsstore.cli.failures import explain, for_commands
from fsstore.errors import StorageConflictError, StorageTimeoutError, StorageTooLargeError
from fsstore.sessions.service import SessionService
from tests.cli.conftest import Run

REACHED = ("errors.py", "filesystem", "model", "postgres", "query", "redaction", "transfer")
"""Where the errors arise that a command may end with."""

FOR_PROGRAMS = (
    # of what only a program passes, or asks for
    "open it without read_only",
    "pass get_record(...)['version']",
)

OF_PYTHON = {
    *(name for name in inspect.signature(package.open_sessions).parameters if "_" in name),
    *(name for name, _ in inspect.getmembers(SessionService, callable) if "_" in name.strip("_")),
    "open_sessions",
    "create=True",
    "replace_surrogates",
    "urllib",
    ".encode(",
}


def advice_in(file: Path) -> Iterator[str]:
    """Give the texts of a module that advise what to do."""
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.keyword(arg="advice", value=value):
                pass
            case ast.Assign(targets=[target], value=value) if re.search(r"(?i)advice|_how_to", ast.unparse(target)):
                pass
            case _:
                continue
        for part in ast.walk(value):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.value


def test_no_advice_on_the_command_line_names_a_call_of_python() -> None:
    root = Path(package.__file__).parent
    files = [
        file for name in REACHED for file in ([root / name] if "." in name else sorted((root / name).rglob("*.py")))
    ]
    texts = [text for file in files for text in advice_in(file)]
    assert len(texts) > 100
    for text in texts:
        named = [name for name in OF_PYTHON if name in for_commands(text)]
        assert not named or text in FOR_PROGRAMS or "allow_network" in named, text


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (StorageConflictError(id="a", expected=1, actual=2), "read it again and repeat the change"),
        (
            StorageTooLargeError(id="a"),
            "give get, ls or export a larger --max-bytes, delete the session, or save another one in its place",
        ),
        (StorageTimeoutError(reason="the lock"), "try again, or see which process holds the store"),
    ],
)
def test_advice_is_for_the_reader_of_a_terminal(error: Exception, advice: str) -> None:
    assert explain(error)[1].endswith(f"; {advice}")


def test_a_text_that_a_caller_has_given_stays_as_it_is() -> None:
    text = "it is; read it again and repeat the change, or use edit_session, which does that"
    assert explain(StorageConflictError(text)) == (3, text)


def test_advice_names_the_commands_and_options_that_help(
    fsstore: Run, save: Callable[..., None], tmp_path: Path
) -> None:
    assert fsstore("ls").err.endswith("there is no store here; check the path, or make one with `fsstore init`\n")
    save("a", title="text")
    (tmp_path / "item.json").write_text("{}")
    wrong = fsstore("append", "a", tmp_path / "item.json", "--path", "metadata.title")
    assert wrong.err.endswith("; name another path, or change that value with `fsstore update` first\n")
    (tmp_path / "lone.jsonl").write_text(json.dumps({"metadata": {"session_id": "b", "title": "\ud800"}}))
    lone = fsstore("import", tmp_path / "lone.jsonl")
    assert lone.err.endswith("; correct it there, or import with --replace-surrogates\n")
    large = fsstore("put", "a", tmp_path / "item.json", "--max-bytes", "5")
    assert large.err.endswith(
        "; go on in a new session, or give a larger --max-bytes, which put, update and import take\n"
    )
    assert "; give ISO 8601 text, as in " in fsstore("watch", "--since", "noon").err
