"""Writes the guide of the command line from the commands themselves: `python -m tests.command_guide`."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Any

import typer
import typer.main

import fsstore
from fsstore.cli.app import build

GUIDE = Path(fsstore.__file__).parent / "guides" / "command-line.md"

_HEAD = """# Command line

`--store PATH_OR_URL` names the store, or the variable `FSSTORE_STORE`. Exit codes: 0 done; 1 not found, and the answer
of `scrub` that found a secret, of `git status` that misses something, and of `git merge` that left a conflict; 2 wrong
usage or input; 3 conflict; 4 corrupt (an `export` or `import` too, that had to leave something out); 5 unavailable;
70 an error in fsstore itself; 130 stopped by Ctrl-C; 141 the reader of the output went away, as with `| head`.
`fsstore --install-completion` sets up completion in your shell, of session ids too. Every command has `--help`, and
`--debug` shows the traceback of an error.

`--where` takes `key`, `!key`, `key=value`, `key!=value`, `key>=value` and the like; a bare key means metadata.
`user_id=123` finds the number and the text, `user_id='"123"'` the text alone. So
`fsstore ls --where status=active --where 'updated_at>=2026-01-01' --sort -updated_at` is for people, and
`fsstore ls --where status=failed --format jsonl | jq .metadata.title` for programs. The table has times in UTC: of this
year day and minute, of others the date. In a pipe its columns are separated by tabs.
"""


def command_guide() -> str:
    """Return the guide, in markdown."""
    group: Any = typer.main.get_command(build())
    context = typer.Context(group, info_name="fsstore")
    parts = [_HEAD]
    for name in group.list_commands(context):
        parts += _sections(group.get_command(context, name), f"fsstore {name}")
    return "\n".join(parts)


def _sections(command: Any, name: str) -> list[str]:
    found = [_section(command, name)]
    for inner in getattr(command, "commands", {}):
        found += _sections(command.commands[inner], f"{name} {inner}")
    return found


def _section(command: Any, name: str) -> str:
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    arguments = [parameter for parameter in shown if parameter.param_type_name == "argument"]
    words = " ".join([name, *(_word(argument) for argument in arguments)])
    rows = [_row(parameter) for parameter in shown if parameter.name not in ("help", "store")]
    text = re.sub(r"\s*\n\s*\n\s*", "\n\n", (command.help or "").strip())
    table = ["", "| argument or option | meaning |", "|---|---|", *rows] if rows else []
    return "\n".join([f"## {name}", "", f"`{words}`", "", text, *table, ""])


def _word(argument: Any) -> str:
    word = argument.metavar or str(argument.name).upper()
    word = f"{word}..." if argument.nargs != 1 else word
    return word if argument.required else f"[{word}]"


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        names = _word(parameter)
    else:
        names = " / ".join([*parameter.opts, *parameter.secondary_opts])
        if not parameter.is_flag:
            names += f" {parameter.metavar or _kind(parameter.default) or str(parameter.name).upper()}"
    about = (getattr(parameter, "help", None) or "").replace("|", "\\|")
    return f"| `{names}` | {about} |"


def _kind(default: Any) -> str:
    return "\\|".join(map(str, type(default))) if isinstance(default, Enum) else ""


if __name__ == "__main__":
    GUIDE.write_text(command_guide(), "utf-8")
