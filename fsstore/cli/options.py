"""Options that several commands share, and the one way in which a command opens a store."""

import asyncio
import logging
import os
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from fsstore.cli.output import counted
from fsstore.errors import StorageError, StorageValidationError

if TYPE_CHECKING:
    from fsstore.model.records import Filters
    from fsstore.sessions.service import SessionService

T = TypeVar("T")

_COMPLETED_IDS = 50
_NAMED = 5

Store = Annotated[
    str | None,
    typer.Option("--store", envvar="FSSTORE_STORE", metavar="PATH_OR_URL", help="The store: a directory, or a URL."),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="CONDITION",
        help="Only sessions with key=value; also != >= <= > < and ~ for a regular expression, key and !key for what "
        "exists or does not. A bare key means metadata; a dot within a key is a\\.b. n=5 also finds the text '5', "
        "n='\"5\"' the text alone. May be repeated: all must hold.",
    ),
]
FilterText = Annotated[
    str | None,
    typer.Option("--filter", metavar="JSON", help="Only sessions that match, as in '{\"$or\": [...]}'."),
]
ExpectedVersion = Annotated[
    int | None,
    typer.Option("--expected-version", metavar="N", min=0, help="Only if it has this version; 0: only if it is new."),
]
MaxBytes = Annotated[
    int | None,
    typer.Option(
        "--max-bytes",
        envvar="FSSTORE_MAX_BYTES",
        metavar="N",
        min=1,
        help="The largest session that is written. Default: what the store says, or 64 MiB; up to 256 MiB is read.",
    ),
]
ReadBytes = Annotated[
    int | None,
    typer.Option(
        "--max-bytes",
        envvar="FSSTORE_MAX_BYTES",
        metavar="N",
        min=1,
        help="The largest session that is read, where that is more than 256 MiB; a larger one is left out.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")]


def complete_id(context: typer.Context, incomplete: str) -> list[str]:
    """Return ids that begin so, for the shell; none when the store cannot be opened."""
    beginning: Filters = {"session_id": {"$regex": f"^{re.escape(incomplete)}"}}
    store = context.params.get("store") or os.environ.get("FSSTORE_STORE")
    try:
        found = with_store(store, lambda sessions: sessions.list_metadata(beginning, _COMPLETED_IDS))
    except StorageError:
        return []
    return [metadata["session_id"] for metadata in found]


def with_store(
    store: str | None,
    work: Callable[["SessionService"], Awaitable[T]],
    *,
    create: bool = False,
    max_bytes: int | None = None,
    **options: Any,
) -> T:
    """Open the store, do the work, close the store. `create` makes a store where there is none.

    Raises StorageValidationError when no store is named, and what opening and the work raise.
    """
    if not store:
        raise StorageValidationError(reason="no store is named", advice="give --store PATH, or set FSSTORE_STORE")
    logging.basicConfig(format="fsstore: warning: %(message)s", level=logging.WARNING)
    # it must be there already: only the commands that fill a store may make one
    options = options if create else {"create": False, **options}
    if max_bytes is not None:
        options["max_bytes"] = max_bytes
    with _told_by_commands():
        return asyncio.run(_work(store, work, options))


@contextmanager
def _told_by_commands() -> Iterator[None]:
    """Log no warning of what is left out: the command names it itself, also where the index knows it already."""
    logger = logging.getLogger("fsstore.unreadable")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


async def left_out(sessions: "SessionService") -> str:
    """Return what to say about what an answer leaves out since it cannot be read; nothing where nothing is."""
    found = await sessions.unreadable()
    if not found:
        return ""
    named = ", ".join(problem["file"] for problem in found[:_NAMED])
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    verbs = "cannot be read and is left out" if len(found) == 1 else "cannot be read and are left out"
    return f"{counted(len(found), 'file')} {verbs}: {named}{more}; fsstore health says why"


async def _work(store: str, work: Callable[["SessionService"], Awaitable[T]], options: dict[str, Any]) -> T:
    # imported here, so that --help and a wrong option answer without loading a store
    from fsstore.opening import open_sessions  # noqa: PLC0415

    async with open_sessions(store, **options) as sessions:
        return await work(sessions)
