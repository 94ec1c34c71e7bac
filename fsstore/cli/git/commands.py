"""The commands that git and fsstore do together: git install, git status, git show, git merge.

git itself starts `driver`, which does the work of the last two without loading what a command line needs.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from fsstore.cli.output import counted, say, show_lines, show_text
from fsstore.errors import StorageUnavailableError, StorageValidationError
from fsstore.paths import path_of

commands = typer.Typer(name="git", help="Show and merge sessions in git.", rich_markup_mode=None)
"""The group of commands."""

Version = Annotated[Path, typer.Argument(help="A file that git wrote.")]


@commands.command("install")
def install(
    repository: Annotated[str, typer.Argument(metavar="REPOSITORY", help="A directory in the repository.")] = ".",
    *,
    uninstall: Annotated[bool, typer.Option("--uninstall", help="Remove what was installed.")] = False,
) -> None:
    """Let git show sessions message by message, and merge them key by key.

    Writes .gitattributes into each store of the repository (commit them) and the configuration of this clone. Each
    clone needs its own; it names the Python that ran this command. Prints the .gitattributes that were changed.
    """
    from fsstore.cli.git.repository import Repository, set_attributes  # noqa: PLC0415 - only this command needs it

    found = Repository.around(Path(path_of(repository, name="REPOSITORY")))
    stores = found.stores()
    if not stores and not uninstall:
        raise StorageUnavailableError(
            reason="there is no store in this repository",
            path=os.fspath(found.root),
            advice="make one with `fsstore init PATH`, see that git does not ignore it, and run this again",
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


@commands.command("status")
def status(
    repository: Annotated[
        Path, typer.Argument(metavar="REPOSITORY", help="A directory in the repository.", file_okay=False)
    ] = Path(),
) -> int:
    """Check that git shows and merges the sessions of a repository.

    Prints what is missing. The exit code is 1 if anything is.
    """
    from fsstore.cli.git.repository import Repository, has_attributes  # noqa: PLC0415 - only these commands need it

    found = Repository.around(repository)
    stores = found.stores()
    missing = [
        f"{os.fspath(store.root.relative_to(found.root) / '.gitattributes')}: does not name fsstore"
        for store in stores
        if not has_attributes(store)
    ]
    if problem := found.configuration_problem():
        missing.append(f"configuration of this clone: {problem}")
    show_lines(*missing)
    if missing:
        say("fsstore does not show and merge all sessions here; run `fsstore git install`")
        return 1
    say(f"git shows and merges the sessions of {counted(len(stores), 'store')}")
    return 0


@commands.command("show")
def show(file: Annotated[Path, typer.Argument(metavar="FILE", help="A document.")]) -> None:
    """Print a document for people to read in a diff.

    A file that is no document is printed as it is.
    """
    from fsstore.cli.git.driver import shown  # noqa: PLC0415 - only this command needs it

    with _files_named():
        data = file.read_bytes()
    show_text(shown(data))


@commands.command("merge")
def merge(
    base: Version,
    ours: Version,
    theirs: Version,
    path: Annotated[str, typer.Argument(help="The name of the document.")],
    *,
    marker_size: Annotated[int, typer.Option(metavar="N", min=1, help="Length of the conflict markers.")] = 7,
) -> int:
    """Merge two versions of a document key by key.

    The result is written to OURS. The exit code is 1 when a conflict is left in it.
    """
    from fsstore.cli.git.driver import merge_files  # noqa: PLC0415 - only this command needs it

    with _files_named():
        return merge_files(base, ours, theirs, path, marker_size=marker_size)


@contextmanager
def _files_named() -> Iterator[None]:
    """Raise StorageValidationError for a file that is not there: its name was given on the command line."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError) as error:
        raise StorageValidationError(reason=f"there is no file {error.filename}", advice="check the path") from error
