"""Options that several commands share."""

import os
import re
from typing import TYPE_CHECKING, Annotated

import typer

from fsstore.cli.opening import with_store
from fsstore.errors import StorageError

if TYPE_CHECKING:
    from fsstore.model.records import Filters

_COMPLETED_IDS = 50

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
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        metavar="KEY",
        help="Only this part; a bare key means metadata, as in --where, and .messages a whole part of the session. "
        "May be repeated.",
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
