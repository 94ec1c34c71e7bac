"""The command that reports changes: watch."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fsstore.cli.failures import INTERRUPTED
from fsstore.cli.opening import with_store
from fsstore.cli.options import FilterText, Quiet, Store, Where
from fsstore.cli.output import cell, say, show_json, show_lines
from fsstore.cli.where import parse_filter
from fsstore.printing import printable

if TYPE_CHECKING:
    from fsstore.model.records import JsonObject
    from fsstore.sessions.service import SessionService
    from fsstore.watching.changes import Change, Gap


_WIDTHS = (7, 8, 5)


class Form(StrEnum):
    """How changes are printed."""

    table = "table"
    jsonl = "jsonl"


def watch(
    *,
    where: Where = None,
    filter_text: FilterText = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Report first what was updated since then. ISO 8601; local time unless it has an offset.",
        ),
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="jsonl is one change a line, for programs.")] = Form.table,
    polling: Annotated[bool, typer.Option("--polling", help="For mounts where the system reports no changes.")] = False,
    store: Store = None,
    quiet: Quiet = False,
) -> int:
    """Report every change of a session as it happens, until Ctrl-C.

    All changes count: those of fsstore in any process, of an editor, and of git. With --where, a session that begins
    to match is reported as created, and one that no longer matches as deleted.
    """
    filters = parse_filter(where or (), filter_text)
    show = _PRINTERS[form]

    async def work(sessions: "SessionService") -> None:
        async with sessions.watch(filters, since) as changes:
            if not quiet:
                # on standard error: from now on nothing is missed
                say("watching")
            async for change in changes:
                show(change)

    try:
        with_store(store, work, polling=polling)
    except KeyboardInterrupt:
        # how a watch ends: nothing to report
        return INTERRUPTED
    return 0


def _show_line(change: "Change | Gap") -> None:
    shown = _as_json(change)
    if shown["kind"] == "gap":
        _show_cells(("gap", "", "", f"{shown['dropped']} changes were dropped; what is different now follows"))
        return
    status = cell(shown["metadata"].get("status"))
    _show_cells((shown["kind"], shown["origin"], f"v{shown['version']}", shown["id"], status))


def _show_cells(cells: Sequence[str]) -> None:
    """Print one row at once: a table that goes on for ever cannot look ahead for its widths."""
    texts = [printable(text) for text in cells]
    if sys.stdout.isatty():
        widths = (*_WIDTHS, *(0 for _ in texts[len(_WIDTHS) :]))
        show_lines("  ".join(f"{text:{width}}" for text, width in zip(texts, widths, strict=True)).rstrip())
    else:
        show_lines("\t".join(texts))


def _show_json_line(change: "Change | Gap") -> None:
    show_json(_as_json(change), compact=True)


_PRINTERS = {Form.table: _show_line, Form.jsonl: _show_json_line}


def _as_json(change: "Change | Gap") -> "JsonObject":
    from fsstore.watching.changes import Gap  # noqa: PLC0415 - the store is loaded by now, and is not for --help

    if isinstance(change, Gap):
        return {"kind": "gap", "dropped": change.dropped}
    fields: dict[str, Any] = {name: getattr(change, name) for name in ("kind", "id", "version", "origin", "metadata")}
    return fields
