"""The commands that look for damage, and put it right: verify and repair."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fsstore.cli.failures import CORRUPT
from fsstore.cli.opening import with_store
from fsstore.cli.options import Quiet, Store
from fsstore.cli.output import Column, show_json, show_lines, show_table
from fsstore.cli.progress import bar
from fsstore.cli.report import Form, ReportForm, show_pairs
from fsstore.errors import StorageValidationError

if TYPE_CHECKING:
    from fsstore.model.records import JsonObject
    from fsstore.sessions.service import SessionService

_MOVED = (Column("moved", keep=True), Column("to", keep=True), Column("reason"))


def verify(
    *,
    store: Store = None,
    hashed: Annotated[
        bool, typer.Option("--hash", help="Compare contents with the index too: finds silent changes.")
    ] = False,
    form: ReportForm = Form.table,
    quiet: Quiet = False,
) -> int:
    """Compare every document with its name and the index.

    Changes nothing. The exit code is 4 when there is damage; notes, such as an edit by hand that no list has seen yet,
    are shown and do no harm.
    """

    async def work(sessions: "SessionService") -> "JsonObject":
        check = _ability(sessions, "verify")
        with bar("verifying", quiet=quiet) as progress:
            found: JsonObject = (await check(hash=hashed, progress=progress)).as_json()
            return found

    report = with_store(store, work)
    if form is Form.json:
        show_json(report)
    else:
        _show_verified(report)
    return 0 if report["clean"] else CORRUPT


def repair(store: Store = None, form: ReportForm = Form.table, *, quiet: Quiet = False) -> int:
    """Set aside what cannot be read, and rebuild the index.

    Nothing is deleted: what is set aside is in .fsstore/quarantine, and a document in the wrong place moves to its
    right one if that is free. The exit code is 4 when damage is left that can only be put right by hand.
    """

    async def work(sessions: "SessionService") -> "JsonObject":
        put_right = _ability(sessions, "repair")
        with bar("repairing", quiet=quiet) as progress:
            done: JsonObject = (await put_right(progress=progress)).as_json()
            return done

    report = with_store(store, work)
    if form is Form.json:
        show_json(report)
    else:
        _show_repaired(report)
    return CORRUPT if report["left"] else 0


def _ability(sessions: "SessionService", name: str) -> Any:
    """Return a method of the storage that not every backend has."""
    method = getattr(sessions.storage, name, None)
    if method is None:
        raise StorageValidationError(
            reason=f"this store cannot {name}: it keeps no files", path="store", advice="name a directory"
        )
    return method


def _show_verified(report: "JsonObject") -> None:
    findings = report["findings"]
    damage = [finding for finding in findings if finding["damage"]]
    pairs = {key: report[key] for key in ("clean", "documents", "document_bytes", "indexed", "quarantined")}
    show_pairs({**pairs, "damage": len(damage), "notes": len(findings) - len(damage)})
    _show_findings(damage, "damage")
    _show_findings([finding for finding in findings if not finding["damage"]], "note")


def _show_repaired(report: "JsonObject") -> None:
    counts = {key: len(report[key]) for key in ("moved", "altered", "left")}
    show_pairs({**counts, "indexed": report["indexed"]})
    if report["moved"]:
        show_lines("")
        show_table(_MOVED, [(moved["file"], moved["to"], moved["reason"]) for moved in report["moved"]])
    for key in ("altered", "left"):
        _show_findings(report[key], key)


def _show_findings(findings: "list[JsonObject]", title: str) -> None:
    if findings:
        show_lines("")
        columns = (Column(title, style="red", keep=True), Column("file", keep=True), Column("reason"))
        rows = [(finding["kind"].replace("_", " "), finding["file"], finding["reason"]) for finding in findings]
        show_table(columns, rows)
