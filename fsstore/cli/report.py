"""The commands that look at a store as a whole: stats and health."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fsstore.cli.failures import CORRUPT, UNAVAILABLE
from fsstore.cli.opening import left_out, with_store
from fsstore.cli.options import Store
from fsstore.cli.output import Column, cell, format_bytes, say, show_json, show_lines, show_table

if TYPE_CHECKING:
    from fsstore.model.records import JsonObject
    from fsstore.sessions.service import SessionService

_TOP_USERS = 10
_WORDS = {True: "yes", False: "no", None: "none"}
_GROUPED = """
    SELECT json_extract(metadata, '$.{key}') AS {key}, count(*) AS sessions FROM documents WHERE type = 'session'
    GROUP BY 1 ORDER BY sessions DESC, 1 {limit}
"""


class Form(StrEnum):
    """How a report is printed."""

    table = "table"
    json = "json"


ReportForm = Annotated[Form, typer.Option("--format", help="For people, or for programs.")]


def stats(store: Store = None, form: ReportForm = Form.table) -> None:
    """Count sessions by status and by user."""
    report, missing = with_store(store, _gather)
    if form is Form.json:
        show_json(report)
    else:
        _show_stats(report)
    if missing:
        say(missing)


def _show_stats(report: "JsonObject") -> None:
    store = report["store"]
    # as in `_apart`
    show_pairs({**store, "corrupt": store["corrupt"] - store.get("refused", 0)})
    for key, title in (("status", "status"), ("user_id", "user")):
        show_lines("")
        rows = [(cell(row[key]) or "-", str(row["sessions"])) for row in report[key]]
        show_table((Column(title), Column("sessions", right=True)), rows)


def health(store: Store = None, form: ReportForm = Form.table) -> int:
    """Check the store and list what cannot be read.

    The exit code is 4 when there are such documents, damaged, refused by the system or too large, and 5 when the check
    itself failed.
    """
    report = with_store(store, lambda sessions: sessions.health_check())
    if form is Form.json:
        show_json(report)
    else:
        show_pairs(_apart(report))
    if report["documents"] is None:
        return UNAVAILABLE
    return CORRUPT if report["corrupt"] or report.get("too_large") else 0


def _apart(report: "JsonObject") -> "JsonObject":
    """Return a report for people: what the system refuses, which may be whole, is not among what is corrupt."""
    refused = report.get("refused", [])
    names = {problem["file"] for problem in refused}
    shown = [{"file": each["file"], "reason": f"{each['reason']}; {each['advice']}"} for each in refused]
    corrupt = [problem for problem in report["corrupt"] if problem["file"] not in names]
    return {**report, "corrupt": corrupt, **({"refused": shown} if "refused" in report else {})}


async def _gather(sessions: "SessionService") -> "tuple[JsonObject, str]":
    report = await sessions.health_check()
    by_status = await sessions.storage.query(_GROUPED.format(key="status", limit=""))
    by_user = await sessions.storage.query(_GROUPED.format(key="user_id", limit=f"LIMIT {_TOP_USERS}"))
    counts = {key: len(report[key]) for key in ("corrupt", "too_large", "refused") if key in report}
    found: JsonObject = {
        "store": {**report, "sessions": await sessions.count_sessions(), **counts},
        "status": by_status,
        "user_id": by_user,
    }
    return found, await left_out(sessions)


def show_pairs(report: "JsonObject") -> None:
    """Print a report as rows of name and value."""
    show_table((Column("", style="dim"), Column("", keep=True)), _lines(report), heading=False)


def _lines(report: "JsonObject") -> list[tuple[str, str]]:
    """Return a report as rows of name and value; a list takes a row an item."""
    lines = []
    for key, value in report.items():
        name = key.replace("_", " ")
        if isinstance(value, list):
            lines.append((name, str(len(value))))
            lines += [("", _item(item)) for item in value]
        elif key.endswith("_bytes") and value is not None:
            lines.append((name, format_bytes(value)))
        else:
            lines.append((name, _WORDS.get(value, cell(value)) if isinstance(value, bool | None) else cell(value)))
    return lines


def _item(item: Any) -> str:
    return ": ".join(map(cell, item.values())) if isinstance(item, dict) else cell(item)
