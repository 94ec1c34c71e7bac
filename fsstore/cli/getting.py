"""The command `get`; where it is plainly written, it is answered without the parser of all commands.

That parser takes longer to load than opening a store and reading a session take together. So what is written as most
programs and people write it (`get ID --store PATH`) is read here; whatever else may be said is left to the parser, and
so is the refusal of what is wrong. A test holds the two together.
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from fsstore.cli.opening import with_store
from fsstore.cli.output import show_json
from fsstore.errors import StorageNotFoundError
from fsstore.model.values import is_text

if TYPE_CHECKING:
    from fsstore.model.records import JsonObject
    from fsstore.sessions.service import SessionService

_SHAPES = {"json": False, "compact": True}


class Wanted(NamedTuple):
    """What a `get` asks for."""

    session_id: str
    store: str | None
    is_record: bool = False
    is_compact: bool = False
    fields: list[str] | None = None


def plainly_asked(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Wanted | None:
    """Return what is asked for after a plainly written `get`; None for whatever the parser must read."""
    if {"FSSTORE_MAX_BYTES", "_FSSTORE_COMPLETE"} & environment.keys():
        return None
    ids, given, rest = list[str](), dict[str, str](), iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if not argument.startswith("-"):
            ids.append(argument)
        elif name in ("--store", "--format") and name not in given:
            given[name] = value if equals else next(rest, "")
        elif argument == "--record":
            given[name] = ""
        else:
            return None
    store, shape = given.get("--store", environment.get("FSSTORE_STORE", "")), given.get("--format", "json")
    if len(ids) != 1 or not is_text(ids[0]) or not store or store.startswith("-") or shape not in _SHAPES:
        return None
    return Wanted(ids[0], store, "--record" in given, _SHAPES[shape])


def show_session(wanted: Wanted, *, max_bytes: int | None = None) -> None:
    """Print a session as JSON. Raises StorageNotFoundError."""

    async def get(sessions: "SessionService") -> "JsonObject | None":
        if wanted.is_record:
            return await sessions.get_record(wanted.session_id)
        return await sessions.get_session(wanted.session_id, fields=wanted.fields)

    found = with_store(wanted.store, get, max_bytes=max_bytes)
    if found is None:
        raise StorageNotFoundError(id=wanted.session_id)
    show_json(found, compact=wanted.is_compact)
