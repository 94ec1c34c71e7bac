"""The commands that git and fsstore do together: git install, git show, git merge.

`git show` and `git merge` are called by git, in the root of a work tree, on temporary files. What they can not do is
left to what git does without them: a file that is no document is shown as it is, and merged by lines.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fsstore.cli.output import counted, say, show_lines, show_text
from fsstore.errors import StorageUnavailableError, StorageValidationError

if TYPE_CHECKING:
    from fsstore.models import JsonObject

_CONFLICT = 1
_NAMED_PATHS = 3
# git's own files are already in memory when a driver runs, so there is nothing to protect from a large one
_ANY_SIZE = sys.maxsize

commands = typer.Typer(name="git", help="Show and merge sessions in git.", rich_markup_mode=None)
"""The group of commands."""

Version = Annotated[Path, typer.Argument(help="A file that git has made.")]


@commands.command("install")
def install(
    repository: Annotated[
        Path, typer.Argument(metavar="REPOSITORY", help="A directory in the repository.", file_okay=False)
    ] = Path(),
    *,
    uninstall: Annotated[bool, typer.Option("--uninstall", help="Take back what was installed.")] = False,
) -> None:
    """Let git show and merge the sessions of a repository.

    Writes .gitattributes into each of its stores, to be committed, and the configuration of this clone, which each
    clone needs for itself. Prints the files that were changed.
    """
    from fsstore.cli.repository import Repository, set_attributes  # noqa: PLC0415 - only this command needs it

    found = Repository.around(repository)
    stores = found.stores()
    if not stores and not uninstall:
        raise StorageUnavailableError(
            "there is no store in this repository",
            path=os.fspath(found.root),
            advice="make one with `fsstore init PATH`, see that git does not ignore it, and do it again",
        )
    changed = [store.root for store in stores if set_attributes(store, installed=not uninstall)]
    if uninstall:
        found.forget()
    else:
        found.configure()
    show_lines(*(os.fspath(root.relative_to(found.root) / ".gitattributes") for root in changed))
    if uninstall:
        say("git shows and merges sessions by lines again")
    else:
        say(f"git shows and merges the sessions of {counted(len(stores), 'store')}; commit .gitattributes")


@commands.command("show")
def show(file: Annotated[Path, typer.Argument(metavar="FILE", help="A document.")]) -> None:
    """Print a document for people to read in a diff.

    A file that is no document is printed as it is.
    """
    show_text(_shown(file.read_bytes()))


def _shown(data: bytes) -> bytes:
    from orjson import JSONEncodeError  # noqa: PLC0415 - only this command needs it

    from fsstore.cli.transcript import transcript  # noqa: PLC0415 - the same
    from fsstore.filesystem.documents.codec import NotARecordError, decode  # noqa: PLC0415 - the same

    try:
        return transcript(decode(data)).encode()
    except (NotARecordError, JSONEncodeError, RecursionError):
        # no document, or one of those from elsewhere that are read but could not be written
        return data


@commands.command("merge")
def merge(
    base: Version,
    ours: Version,
    theirs: Version,
    path: Annotated[str, typer.Argument(help="The name of the document.")],
    *,
    marker_size: Annotated[int, typer.Option(metavar="N", min=1, help="How long a conflict's markers are.")] = 7,
) -> int:
    """Merge two versions of a document key by key.

    The result is written to OURS. The exit code is 1 when a conflict is left in it.
    """
    from orjson import JSONEncodeError  # noqa: PLC0415 - only this command needs it

    from fsstore.cli.marking import mark  # noqa: PLC0415 - the same
    from fsstore.filesystem.documents.codec import NotARecordError, encode  # noqa: PLC0415 - the same
    from fsstore.merging import merge as merge_records  # noqa: PLC0415 - the same

    try:
        merged = merge_records(_ancestor(base), _document(ours), _document(theirs))
        conflicts = merged.conflicts
        if not conflicts:
            ours.write_bytes(encode(merged.value, max_bytes=_ANY_SIZE))
            return 0
        marked = mark(merged, marker_size=marker_size)
    except (NotARecordError, StorageValidationError, JSONEncodeError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        return _merge_lines((ours, base, theirs), path, reason, marker_size=marker_size)
    ours.write_bytes(marked)
    named = ", ".join(conflict.path for conflict in conflicts[:_NAMED_PATHS])
    more = f" and {len(conflicts) - _NAMED_PATHS} more" if len(conflicts) > _NAMED_PATHS else ""
    say(f"{path}: conflict at {named}{more}; choose a side in an editor, take the marker lines out, and git add it")
    return _CONFLICT


def _document(file: Path) -> "JsonObject":
    from fsstore.filesystem.documents.codec import decode  # noqa: PLC0415 - only these commands need it

    return decode(file.read_bytes())


def _ancestor(file: Path) -> "JsonObject | None":
    """Return the common ancestor; None where both sides have made the document, and git gives an empty file."""
    return _document(file) if file.read_bytes() else None


def _merge_lines(files: tuple[Path, Path, Path], path: str, reason: str, *, marker_size: int) -> int:
    """Let git merge what is no document, as it would have without us."""
    from fsstore.cli.repository import run_git  # noqa: PLC0415 - only this command needs it

    labels = ["-L", "ours", "-L", "base", "-L", "theirs"]
    done = run_git("merge-file", "--quiet", f"--marker-size={marker_size}", *labels, *map(os.fspath, files))
    if done.returncode == 0:
        return 0
    say(f"{path}: merged by lines, since {reason}; solve the conflict in an editor, and git add it")
    return _CONFLICT
