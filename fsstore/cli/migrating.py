"""The command that moves a whole store into another one."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fsstore.cli.failures import CORRUPT
from fsstore.cli.opening import with_stores
from fsstore.cli.options import Quiet
from fsstore.cli.output import counted, format_bytes, say
from fsstore.cli.progress import bar, is_shown
from fsstore.errors import StorageValidationError
from fsstore.paths import absolute, path_of, split_url

if TYPE_CHECKING:
    from fsstore.interfaces import IUnifiedStorage
    from fsstore.transfer import MigrationReport

_NAMED = 5


def migrate(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The store to read: a directory, or a URL.")],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="The store to fill, which is made where there is none.")
    ],
    *,
    fsync: Annotated[bool, typer.Option(help="Wait for the disk, so that a power cut loses nothing.")] = True,
    quiet: Quiet = False,
) -> int:
    """Copy a whole store into another one, and compare the two.

    One may be a directory, and the other one in PostgreSQL. Versions and times are kept. The source is not changed. If
    it is interrupted, migrate again: it goes on where it was. The target must be empty, or begun from the same source;
    otherwise, and where the source has changed meanwhile, the exit code is 3. What cannot be read is left out and
    named, and the exit code is 4 then.
    """
    _refuse_unfit(source, target)

    async def work(read: "IUnifiedStorage", written: "IUnifiedStorage") -> "MigrationReport":
        from fsstore.transfer import migrate_store  # noqa: PLC0415 - loaded when there is something to move

        total = 2 * await read.count() if is_shown(quiet=quiet) else None
        with bar("migrating", total, quiet=quiet) as move:
            return await migrate_store(read, written, progress=None if move is None else lambda done: move(done, total))

    started = time.perf_counter()
    report = with_stores((source, _reading(source)), (target, {"create": True, _waiting(target): fsync}), work)
    parts = [] if quiet else [_summary(report, time.perf_counter() - started)]
    if report.unreadable:
        named = ", ".join(report.unreadable[:_NAMED])
        parts.append(f"{counted(len(report.unreadable), 'file')} could not be read and did not go over: {named}")
    if parts:
        say("; ".join(parts))
    return CORRUPT if report.unreadable else 0


def _summary(report: "MigrationReport", seconds: float) -> str:
    there = report.records - report.copied
    before = f", {there} were there before" if there else ""
    return (
        f"copied {counted(report.copied, 'record')}{before}; both stores hold the same "
        f"{counted(report.records, 'record')} ({format_bytes(report.bytes)}, SHA-256 {report.digest[:16]}) "
        f"in {seconds:.1f} s"
    )


def _scheme(url: str) -> str:
    found = split_url(url)
    return "file" if found is None else found[0]


def _reading(source: str) -> dict[str, Any]:
    """Return the options by which a store is opened and not changed."""
    return {"create": False, "read_only": True} if _scheme(source) == "file" else {"create": False}


def _waiting(target: str) -> str:
    """Return what the option is called by which a store waits for the disk."""
    return "fsync" if _scheme(target) == "file" else "durable"


def _refuse_unfit(source: str, target: str) -> None:
    for name, url in (("SOURCE", source), ("TARGET", target)):
        if _scheme(url) == "memory":
            raise StorageValidationError(
                reason="a store in memory is empty, and gone when the command ends",
                path=name,
                advice="name another one",
            )
    if source == target or _directory(source) == _directory(target) is not None:
        raise StorageValidationError(reason="both are the same store", path="TARGET", advice="name another one")


def _directory(url: str) -> Path | None:
    return Path(absolute(path_of(url, name="url"))).resolve() if split_url(url) is None else None
