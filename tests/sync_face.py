"""Writes the synchronous faces from the asynchronous classes: `python -m tests.sync_face`.

Each public method becomes one of the same name, arguments, defaults and docstring that runs the other one to its end.
So there is no second copy of any policy, and a test holds the written file against this.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import TypeGuard

import fsstore

PACKAGE = Path(fsstore.__file__).parent
FACE = PACKAGE / "sync" / "faces.py"

_READS = {"get_session", "get_record", "get_model", "session_exists", "load", "load_fields", "exists", "get"}
"""What mostly need not wait."""
_TYPES = {
    "Edit": "Callable[[JsonObject], SessionInput | None]",
    "SessionTransaction": "SessionTransaction",
    "Watch": "Watch",
    "Self": "Self",
}
_WORDS = {"for `async with`": "for `with`", "for `async for`": "for `for`"}
_LEFT_OUT = {"close"}

_HEAD = '''"""The synchronous faces of sessions, of a storage, and of a transaction.

Written by `python -m tests.sync_face` from the asynchronous classes, whose methods they run: change those, and write
this anew. `calls` says how a coroutine runs without an event loop; what is written by hand is in `opening`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from fsstore.interfaces import IUnifiedStorage, Progress, TailRecord
from fsstore.model.lists import Tail
from fsstore.model.mutations import AnyMutation
from fsstore.model.patch import Steps
from fsstore.model.records import Filters, Ids, JsonObject, Outcomes, Page, Records
from fsstore.sessions import service, transaction, typed
from fsstore.sessions.appending import MESSAGES
from fsstore.sessions.inputs import SESSION_DATA, SessionInput
from fsstore.sessions.typed import Batch, ModelEdit, Session, SessionPage
from fsstore.sync.calls import Calls
from fsstore.watching.changes import Absorbed
from fsstore.watching.watch import MAX_QUEUED

if TYPE_CHECKING:
    from pydantic import BaseModel

    from fsstore.sessions.models import SessionData

M = TypeVar("M", bound="BaseModel")
'''

_CLASSES = (
    ("SessionMethods", "service.SessionService", "sessions/service.py"),
    ("StorageMethods", "IUnifiedStorage", "interfaces.py"),
    ("TransactionMethods", "transaction.SessionTransaction", "sessions/transaction.py"),
    ("TypedMethods", "typed.TypedSessions[M]", "sessions/typed.py"),
    ("TypedTransactionMethods", "typed.TypedTransaction[M]", "sessions/typed.py"),
)
"""What is written: its name, the type of what it runs, and where that is."""


def faces() -> str:
    """Return the text of the module."""
    parts = [_HEAD, *(_class(*each) for each in _CLASSES)]
    return _formatted("\n\n".join(parts))


def _class(name: str, inner: str, file: str) -> str:
    of, is_generic, _ = inner.rpartition(".")[2].partition("[")
    tree = ast.parse((PACKAGE / file).read_text("utf-8"))
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == of)
    methods = [_method(node) for node in found.body if _is_face(node)]
    about = f"The methods of `{of}`, for programs without an event loop."
    bases = "(Generic[M])" if is_generic else ""
    head = f'class {name}{bases}:\n    """{about}"""\n\n    _inner: {inner}\n    _calls: Calls\n'
    return "\n".join([head, *methods])


def _is_face(node: ast.stmt) -> TypeGuard[ast.AsyncFunctionDef | ast.FunctionDef]:
    if not isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
        return False
    is_async = isinstance(node, ast.AsyncFunctionDef) or "AsyncGenerator" in ast.unparse(node.returns or ast.Name(""))
    return is_async and not node.name.startswith("_") and node.name not in _LEFT_OUT


def _method(node: ast.AsyncFunctionDef | ast.FunctionDef) -> str:
    returns = ast.unparse(node.returns) if node.returns is not None else "None"
    given = re.match(r"AsyncGenerator\[(.*)\]$", returns)
    overloaded = any(ast.unparse(decorator) == "overload" for decorator in node.decorator_list)
    head = f"def {node.name}({_arguments(node.args)}) -> {f'Iterator[{given[1]}]' if given else returns}:"
    if overloaded:
        return _indented(f"@overload\n{head} ...\n")
    passed = ", ".join(_passed(node.args))
    call = f"self._inner.{node.name}({passed})"
    if given:
        body = f"return self._calls.iterate({call})"
    else:
        waits = f"lambda: {call}" if passed else f"self._inner.{node.name}"
        body = f"return self._calls.{'read' if node.name in _READS else 'run'}({waits})"
    if returns == "None":
        body = body.removeprefix("return ")
    text = (ast.get_docstring(node) or "").strip()
    for before, after in _WORDS.items():
        text = text.replace(before, after)
    lines = text.splitlines()
    quoted = f'"""{text}"""' if len(lines) == 1 else f'"""{text}\n"""'
    return _indented(f"{head}\n" + _indented(f"{quoted}\n{body}\n"))


def _arguments(arguments: ast.arguments) -> str:
    text = ast.unparse(arguments)
    for before, after in _TYPES.items():
        text = re.sub(rf": {before}\b", f": {after}", text)
    return text


def _passed(arguments: ast.arguments) -> list[str]:
    names = [argument.arg for argument in arguments.args if argument.arg != "self"]
    return [*names, *(f"{argument.arg}={argument.arg}" for argument in arguments.kwonlyargs)]


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" if line.strip() else "\n" for line in text.splitlines())


def _formatted(text: str) -> str:
    for command in (["check", "--fix", "-q", "--select", "F401,I"], ["format", "-q"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(FACE), "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            cwd=PACKAGE.parent,
        )
        text = done.stdout
    return text


if __name__ == "__main__":
    FACE.write_text(faces(), "utf-8")
