"""The commands that move sessions in and out: import and export."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fsstore.cli.failures import CORRUPT, USAGE
from fsstore.cli.opening import left_out, with_store, with_store_at_need
from fsstore.cli.options import FilterText, MaxBytes, Quiet, ReadBytes, Store, Where
from fsstore.cli.output import counted, format_bytes, say
from fsstore.cli.progress import bar, is_shown
from fsstore.cli.where import parse_filter

if TYPE_CHECKING:
    from fsstore.cli.opening import Opening
    from fsstore.sessions.service import SessionService
    from fsstore.transfer import Progress, TransferReport

STANDARD_STREAM = "-"

RedactedPaths = Annotated[
    list[str] | None,
    typer.Option(
        "--redact",
        metavar="PATH",
        help="Replace the value there with [redacted]: settings.api_key, messages.*.text; a bare key is in the "
        "metadata or at the top of the session. May be repeated.",
    ),
]
RedactedPatterns = Annotated[
    list[str] | None,
    typer.Option(
        "--redact-pattern",
        metavar="REGEX",
        help="Replace what the pattern finds in strings, or only its group `secret`, if it has one.",
    ),
]
RedactsSecrets = Annotated[
    bool, typer.Option("--redact-secrets", help="Replace what looks like a secret, as scrub finds it.")
]


def import_(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE", help="JSON lines, - for standard input, or a folder of <id>.json files."),
    ],
    *,
    store: Store = None,
    skip_invalid: Annotated[
        bool,
        typer.Option("--skip-invalid", help="Skip what is not a valid session, name each, and exit with 2."),
    ] = False,
    replace_surrogates: Annotated[
        bool,
        typer.Option("--replace-surrogates", help="Replace lone surrogates, which are not valid text, with U+FFFD."),
    ] = False,
    fsync: Annotated[bool, typer.Option(help="Wait for the disk, so that a power cut loses nothing.")] = True,
    max_bytes: MaxBytes = None,
    quiet: Quiet = False,
) -> int:
    """Save sessions from JSON lines, or from a folder of JSON files.

    A session of the same id is replaced. Times in the metadata are kept. If it is interrupted, import again. Where a
    document cannot be replaced (permission, chattr +i, a conflict of git), it is left out and named, and the exit code
    is 4. A store that is not there is made once there is something to save.
    """

    async def work(opening: "Opening") -> "list[TransferReport]":
        from fsstore.transfer import import_sessions  # noqa: PLC0415 - loaded when there is something to move

        reports = []
        for source in sources:
            with _bar(source, _size(source), counts_bytes=True, quiet=quiet) as progress:
                reports.append(
                    await import_sessions(
                        opening,
                        source,
                        skip_invalid=skip_invalid,
                        skip_refused=True,
                        replace_surrogates=replace_surrogates,
                        progress=progress,
                        on_skip=_name_skipped,
                    )
                )
        return reports

    started = time.perf_counter()
    reports = with_store_at_need(store, work, max_bytes=max_bytes, fsync=fsync)
    if not quiet:
        say("; ".join([_summary("imported", reports, time.perf_counter() - started), *_mended(reports)]))
    if any(report.refused for report in reports):
        return CORRUPT
    return USAGE if any(report.skipped for report in reports) else 0


def export(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="The file to write; - for standard output.")
    ] = STANDARD_STREAM,
    *,
    where: Where = None,
    filter_text: FilterText = None,
    redact: RedactedPaths = None,
    redact_pattern: RedactedPatterns = None,
    redact_secrets: RedactsSecrets = False,
    store: Store = None,
    max_bytes: ReadBytes = None,
    quiet: Quiet = False,
) -> int:
    """Write sessions as JSON lines, in the order of their ids.

    A file is replaced as a whole or not at all. A redaction that matches nothing causes a warning. What cannot be read
    is left out and named, and the exit code is 4 then, whatever the filter: what cannot be read may match.
    """
    from fsstore.redaction.rules import Redaction  # noqa: PLC0415 - only this command needs it

    filters = parse_filter(where or (), filter_text)
    rules = Redaction.of(redact or (), redact_pattern or (), secrets=redact_secrets)

    async def work(sessions: "SessionService") -> "tuple[TransferReport, str]":
        from fsstore.transfer import export_sessions  # noqa: PLC0415 - loaded when there is something to move

        total = await sessions.count_sessions(filters) if is_shown(quiet=quiet) else None
        with _bar(target, total, counts_bytes=False, quiet=quiet) as progress:
            report = await export_sessions(sessions, target, filters, redact=rules, progress=progress)
        return report, await left_out(sessions)

    started = time.perf_counter()
    report, missing = with_store(store, work, max_bytes=max_bytes)
    parts = [] if quiet else [_summary("exported", [report], time.perf_counter() - started)]
    parts += _redacted(report, quiet=quiet) if rules != Redaction() else []
    parts += [missing] if missing else []
    if parts:
        say("; ".join(parts))
    return CORRUPT if missing else 0


def _summary(what: str, reports: "list[TransferReport]", seconds: float) -> str:
    sessions, size = sum(report.sessions for report in reports), sum(report.bytes for report in reports)
    return f"{what} {counted(sessions, 'session')} ({format_bytes(size)}) in {seconds:.1f} s"


def _name_skipped(text: str) -> None:
    say(f"left out: {text}")


def _mended(reports: "list[TransferReport]") -> Iterator[str]:
    """Give what an import was asked to do about sessions that are invalid."""
    if skipped := sum(report.skipped for report in reports):
        yield f"{counted(skipped, 'invalid session')} left out"
    if refused := sum(report.refused for report in reports):
        yield f"{counted(refused, 'session')} could not be saved"
    if replaced := sum(report.replaced for report in reports):
        yield f"{counted(replaced, 'lone surrogate')} replaced"


def _redacted(report: "TransferReport", *, quiet: bool) -> Iterator[str]:
    """Give what to say about a redaction: a quiet export, too, names what it has not hidden."""
    if not quiet:
        yield f"{counted(report.redacted, 'value')} redacted"
    if report.unredacted:
        yield f"{counted(report.unredacted, 'finding')} in ids, times or keys cannot be redacted and stayed"
    if report.unmatched:
        yield f"nothing matched {', '.join(report.unmatched)}: check that nothing is left that should be hidden"


def _size(source: str) -> int | None:
    """Return how many bytes an import will read; None when that is not known, or is the import's to complain about."""
    path = Path(source)
    try:
        if path.is_dir():
            return sum(file.stat().st_size for file in path.glob("*.json"))
        return path.stat().st_size or None
    except OSError:
        return None


@contextmanager
def _bar(name: str, total: int | None, *, counts_bytes: bool, quiet: bool) -> Iterator["Progress | None"]:
    stream = "standard input" if counts_bytes else "standard output"
    label = stream if name == STANDARD_STREAM else Path(name).name
    with bar(label, total, counts_bytes=counts_bytes, quiet=quiet) as move:
        yield None if move is None else lambda size, sessions: move(size if counts_bytes else sessions, total)
