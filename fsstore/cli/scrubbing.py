"""The command that keeps secrets out of git: scrub."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from fsstore.cli.asking import confirm
from fsstore.cli.failures import CORRUPT, EXPOSED, UNAVAILABLE
from fsstore.cli.opening import with_store
from fsstore.cli.options import Quiet, Store
from fsstore.cli.output import Column, counted, say, show_json, show_table
from fsstore.cli.progress import bar, is_shown

if TYPE_CHECKING:
    from fsstore.model.records import JsonObject
    from fsstore.redaction.rules import Redaction
    from fsstore.redaction.scrub import Exposure
    from fsstore.sessions.service import SessionService

_EXPOSED = (Column("id", keep=True), Column("path", keep=True), Column("looks like", style="red"), Column("hint"))
_UNREADABLE = (Column("unreadable", style="red", keep=True), Column("reason"))


class Form(StrEnum):
    """How what was found is printed. `jsonl` prints it as it is found."""

    table = "table"
    json = "json"
    jsonl = "jsonl"


@dataclass(slots=True)
class Report:
    """What was found in a store, and what was done about it."""

    exposures: "list[Exposure]" = field(default_factory=list)
    unreadable: "list[JsonObject]" = field(default_factory=list)
    documents: int | None = 0
    replaced: int = 0
    left: int = 0
    """Findings that are still there."""
    failures: "list[JsonObject]" = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        """The documents in which something can be replaced."""
        return list(dict.fromkeys(found.id for found in self.exposures if not found.stays))

    @property
    def code(self) -> int:
        """The exit code: what was found weighs more than what could not be looked at."""
        if self.left:
            return EXPOSED
        return CORRUPT if self.unreadable else UNAVAILABLE if self.documents is None else 0

    def as_json(self) -> "JsonObject":
        """Return it as a JSON object."""
        return {
            "clean": not self.code,
            "documents": self.documents,
            "secrets": [found.as_json() for found in self.exposures],
            "unreadable": self.unreadable,
            "replaced": self.replaced,
            "failures": self.failures,
        }


def scrub(
    location: Annotated[str | None, typer.Argument(metavar="STORE", help="Directory or URL of the store.")] = None,
    store: Store = None,
    *,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Ignore what is at or below that path: settings.api_key, or as in the report. Repeatable.",
        ),
    ] = None,
    redact: Annotated[bool, typer.Option("--redact", help="Replace what is found with [redacted].")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Replace without asking.")] = False,
    form: Annotated[Form, typer.Option("--format", help="For people, or for programs.")] = Form.table,
    quiet: Quiet = False,
) -> int:
    """Find what looks like a secret, before it gets into git.

    Reports documents and places, never the secret. The exit code is 1 when there is one, 4 when a document cannot be
    read: fit for a pre-commit hook.
    """
    from fsstore.redaction.rules import Redaction  # noqa: PLC0415 - only this command needs it

    rules, report = Redaction.of(secrets=True, ignored=ignore or ()), Report()
    with_store(location or store, lambda sessions: _look(sessions, rules, report, form=form, quiet=quiet))
    if form is Form.table:
        _show_table(report)
    if redact and report.ids:
        # the store is closed while the question waits for its answer
        what = f"{counted(sum(not found.stays for found in report.exposures), 'value')} in "
        what += counted(len(report.ids), "document")
        if not yes:
            confirm(f"Replace {what}?", unasked=f"{what} would be replaced")
        with_store(location or store, lambda sessions: _replace(sessions, rules, report, form=form, quiet=quiet))
    if form is Form.json:
        show_json(report.as_json())
    if not quiet:
        say(_summary(report, redact=redact))
    return report.code


async def _look(sessions: "SessionService", rules: "Redaction", report: Report, *, form: Form, quiet: bool) -> None:
    from fsstore.redaction.scrub import find_secrets  # noqa: PLC0415 - loaded when there is something to look at

    total = await sessions.storage.count() if is_shown(quiet=quiet) else None
    with bar("scrubbing", total, quiet=quiet) as move:
        progress = None if move is None else lambda done: move(done, total)
        async with aclosing(find_secrets(sessions, rules, progress=progress)) as batches:
            async for batch in batches:
                report.exposures += batch
                if form is Form.jsonl:
                    _show_lines("secret", [found.as_json() for found in batch])
    report.documents = (await sessions.health_check())["documents"]
    report.unreadable = await sessions.unreadable() if report.documents is not None else []
    report.left = len(report.exposures)
    if form is Form.jsonl:
        _show_lines("unreadable", report.unreadable)


async def _replace(sessions: "SessionService", rules: "Redaction", report: Report, *, form: Form, quiet: bool) -> None:
    from fsstore.redaction.scrub import redact_secrets  # noqa: PLC0415 - the same

    ids = report.ids
    with bar("replacing", len(ids), quiet=quiet) as move:
        progress = None if move is None else lambda done: move(done, len(ids))
        async with aclosing(redact_secrets(sessions, ids, rules, progress=progress)) as all_scrubbed:
            async for scrubbed in all_scrubbed:
                report.replaced += scrubbed.replaced
                if scrubbed.error is not None:
                    report.failures.append({"id": scrubbed.id, "reason": str(scrubbed.error)})
                elif form is Form.jsonl:
                    _show_lines("replaced", [{"id": scrubbed.id, "values": scrubbed.replaced}])
    failed = {failure["id"] for failure in report.failures}
    report.left = sum(found.stays or found.id in failed for found in report.exposures)
    if form is Form.jsonl:
        _show_lines("failure", report.failures)


def _show_lines(kind: str, found: "Sequence[JsonObject]") -> None:
    for one in found:
        show_json({"kind": kind, **one}, compact=True)


def _show_table(report: Report) -> None:
    if report.exposures:
        show_table(_EXPOSED, [(found.id, found.path, found.rule, found.hint) for found in report.exposures])
    if report.unreadable:
        show_table(_UNREADABLE, [(found["file"], found["reason"]) for found in report.unreadable])


def _summary(report: Report, *, redact: bool) -> str:
    looked_at = "documents" if report.documents is None else counted(report.documents, "document")
    parts = [f"{looked_at} checked"]
    parts.append(f"{counted(len(report.exposures), 'value')} found" if report.exposures else "no secret found")
    if redact and report.exposures:
        parts.append(f"{report.replaced} replaced")
    if report.unreadable:
        parts.append(f"{len(report.unreadable)} unreadable")
    if report.failures:
        first = report.failures[0]["reason"]
        parts.append(f"{counted(len(report.failures), 'document')} could not be changed, the first because {first}")
    elif report.left and redact:
        parts.append(f"{report.left} left: what stands in keys, ids, times and quarantine must be removed by hand")
    if report.left and not redact:
        parts.append("remove them, replace them with --redact, or --ignore what is no secret")
    return "; ".join(parts)
