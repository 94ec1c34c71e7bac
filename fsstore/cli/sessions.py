"""The commands about single sessions: init, put, get, update, rm."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from fsstore.cli.asking import confirm
from fsstore.cli.databases import is_database, rights_of, shown, upgrade
from fsstore.cli.failures import explain
from fsstore.cli.getting import Wanted, show_session
from fsstore.cli.opening import left_out, with_store
from fsstore.cli.options import ExpectedVersion, Fields, FilterText, MaxBytes, ReadBytes, Store, Where, complete_id
from fsstore.cli.output import counted, say, show_lines
from fsstore.cli.where import parse_filter, parse_object, parse_settings
from fsstore.errors import (
    StorageCorruptedError,
    StorageError,
    StorageUnavailableError,
    StorageValidationError,
)
from fsstore.paths import path_of

if TYPE_CHECKING:
    from fsstore.model.mutations import Mutation
    from fsstore.model.records import Filters, JsonObject
    from fsstore.query.conditions import Condition
    from fsstore.sessions.service import SessionService

STANDARD_INPUT = "-"
_MAX_INPUT_BYTES = 64 * 1024 * 1024
_PART_BYTES = 1 << 20
_REMOVED_AT_ONCE = 1000

SessionId = Annotated[str, typer.Argument(metavar="ID", help="The id of the session.", autocompletion=complete_id)]


class Shape(StrEnum):
    """How one session is printed."""

    json = "json"
    compact = "compact"


def init(
    location: Annotated[str | None, typer.Argument(metavar="STORE", help="Directory or URL of the store.")] = None,
    store: Store = None,
    shard_depth: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=2, help="Directory levels: 1, or 2 for millions of sessions."),
    ] = None,
    grants: Annotated[
        str | None,
        typer.Option(metavar="ROLE", help="Of a database: print the statements that let this role use the store."),
    ] = None,
) -> None:
    """Make a store; an existing one stays as it is.

    Tables of an older format, in a database, are upgraded; no program may use them meanwhile.
    """
    place = location or store
    if place and is_database(place):
        upgrade(place)
    options = {} if shard_depth is None else {"shard_depth": shard_depth}
    with_store(place, lambda sessions: _check_depth(sessions, shard_depth), create=True, **options)
    if grants is not None:
        show_lines(*(f"{line};" for line in with_store(place, lambda sessions: rights_of(sessions, grants))))
    say(f"the store {shown(place)} is ready")


async def _check_depth(sessions: "SessionService", wanted: int | None) -> None:
    # only if it was asked for: the report looks at every document
    found = wanted if wanted is None else (await sessions.health_check()).get("shard_depth")
    if found != wanted:
        raise StorageValidationError(
            reason=f"the store has the shard depth {found}, which cannot be changed",
            advice="make a new store and import",
        )


def put(
    session_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="The id; without it, or with -, metadata.session_id is used.")
    ] = None,
    source: Annotated[str, typer.Argument(metavar="FILE", help="File with the session; - for standard input.")] = "-",
    store: Store = None,
    expected_version: ExpectedVersion = None,
    max_bytes: MaxBytes = None,
) -> None:
    """Save a session, given as JSON, and print its id.

    One that is damaged or too large to be read is replaced; what is there goes to .fsstore/quarantine first.
    """
    session = parse_object(read_input(source, max_bytes), "standard input" if source == STANDARD_INPUT else source)
    target = _named(session) if session_id in (None, STANDARD_INPUT) else session_id
    with_store(
        store,
        lambda sessions: sessions.save_session(target, session, expected_version=expected_version),
        create=True,
        max_bytes=max_bytes,
    )
    show_lines(target)


def get(
    session_id: SessionId,
    *,
    store: Store = None,
    record: Annotated[bool, typer.Option("--record", help="The whole record: version and times too.")] = False,
    fields: Fields = None,
    shape: Annotated[Shape, typer.Option("--format", help="Indented, or on one line.")] = Shape.json,
    max_bytes: ReadBytes = None,
) -> None:
    """Print a session as JSON."""
    if record and fields:
        raise StorageValidationError(
            reason="a whole record and a part of a session cannot be one", advice="give either --record or --field"
        )
    show_session(Wanted(session_id, store, record, shape is Shape.compact, fields), max_bytes=max_bytes)


def update(
    session_id: SessionId,
    patch: Annotated[
        str | None, typer.Argument(metavar="PATCH", help="A JSON merge patch of the session; - for standard input.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set one value: a bare key is in the metadata, as in status=done, a dotted one starts at the session. "
            "null removes it.",
        ),
    ] = None,
    *,
    store: Store = None,
    expected_version: ExpectedVersion = None,
    max_bytes: MaxBytes = None,
) -> None:
    """Change parts of a session by a JSON merge patch (RFC 7396).

    PATCH starts at the session, as in '{"metadata": {"status": "done"}}'. Prints the id. Both PATCH and --set may be
    given; --set wins.
    """
    if patch is None and not settings:
        raise StorageValidationError(reason="there is nothing to change", advice="give a PATCH, or --set KEY=VALUE")
    text = read_input(STANDARD_INPUT, max_bytes) if patch == STANDARD_INPUT else patch
    changes = parse_settings(settings or (), None if text is None else parse_object(text, "PATCH"))
    with_store(
        store,
        lambda sessions: sessions.update_session(session_id, changes, expected_version=expected_version),
        max_bytes=max_bytes,
    )
    show_lines(session_id)


def rm(
    session_ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="The ids of the sessions.", autocompletion=complete_id)
    ] = None,
    *,
    where: Where = None,
    filter_text: FilterText = None,
    store: Store = None,
    missing_ok: Annotated[bool, typer.Option("--missing-ok", help="Ids that do not exist are no error.")] = False,
    keep_damaged: Annotated[
        bool, typer.Option("--keep-damaged", help="Move what cannot be read to .fsstore/quarantine instead.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove what matches without asking.")] = False,
) -> int:
    """Remove sessions for good, by their ids or by a filter.

    Of the ids named, all are removed or none, also those that are damaged or too large to be read. What matches a
    filter is removed if it still matches at that moment.
    """
    filters = parse_filter(where or (), filter_text)
    if bool(session_ids) == (filters is not None):
        raise StorageValidationError(reason="it is not clear what to remove", advice="give either ids or --where")
    if filters is None:
        ids = session_ids or []
        with_store(store, lambda sessions: _remove(sessions, ids, missing_ok=missing_ok, keep_damaged=keep_damaged))
        return 0

    async def find(sessions: "SessionService") -> "tuple[list[JsonObject], str]":
        return await sessions.list_metadata(filters), await left_out(sessions)

    # the store is closed while the question waits for its answer
    found, missing = with_store(store, find)
    if found and not yes:
        which = counted(len(found), "session")
        confirm(f"Remove {which} for good?", unasked=f"{which} would be removed")
    ids = [metadata["session_id"] for metadata in found]
    removed, errors = with_store(store, lambda sessions: _remove_matching(sessions, ids, filters)) if ids else (0, [])
    failed = f"{counted(len(errors), 'session')} could not be removed, the first because {errors[0]}" if errors else ""
    say("; ".join(filter(None, [f"{counted(removed, 'session')} removed", failed, missing])))
    return explain(errors[0])[0] if errors else 0


async def _remove(sessions: "SessionService", ids: list[str], *, missing_ok: bool, keep_damaged: bool) -> None:
    from fsstore.sessions.mutations import deleting_session  # noqa: PLC0415 - only this command needs it

    await sessions.storage.commit(
        [
            deleting_session(session_id, missing_ok=missing_ok, keep_damaged=keep_damaged)
            for session_id in dict.fromkeys(ids)
        ]
    )


async def _remove_matching(
    sessions: "SessionService", ids: list[str], filters: "Filters"
) -> "tuple[int, list[StorageError]]":
    """Return how many were removed, and the errors of those that could not be read."""
    from fsstore.query.filters import parse  # noqa: PLC0415 - only this command needs it
    from fsstore.sessions.words import session_filter  # noqa: PLC0415 - the same

    wanted, removed, errors = parse({"$and": [{"type": "session"}, session_filter(filters)]}), 0, list[StorageError]()
    for at in range(0, len(ids), _REMOVED_AT_ONCE):
        batch = [_removing(session_id, wanted) for session_id in ids[at : at + _REMOVED_AT_ONCE]]
        done, refused = await _removed(sessions, batch)
        removed, errors = removed + done, errors + refused
    return removed, errors


async def _removed(sessions: "SessionService", batch: "list[Mutation]") -> "tuple[int, list[StorageError]]":
    """Commit removals; where one of them is refused, each half on its own, so that it keeps no other from it."""
    try:
        outcomes = await sessions.storage.commit(batch)
    except (StorageCorruptedError, StorageUnavailableError) as error:
        if len(batch) == 1:
            return 0, [error]
        first, first_errors = await _removed(sessions, batch[: len(batch) // 2])
        second, second_errors = await _removed(sessions, batch[len(batch) // 2 :])
        return first + second, first_errors + second_errors
    return sum(outcome.before > 0 and outcome.after == 0 for outcome in outcomes), []


def _removing(session_id: str, wanted: "Condition") -> "Mutation":
    """Remove a session if it still matches at that moment: it may have changed since it was listed."""
    from fsstore.model.mutations import Mutation  # noqa: PLC0415 - only this command needs it

    def rule(current: "JsonObject | None") -> "JsonObject | None":
        return None if current is not None and wanted.matches(current) else current

    return Mutation(session_id, rule)


def _named(session: "JsonObject") -> str:
    metadata = session.get("metadata")
    session_id: Any = metadata.get("session_id") if isinstance(metadata, dict) else None
    if type(session_id) is not str or not session_id:
        raise StorageValidationError(
            reason="the session has no id", advice="give the ID, or put it into metadata.session_id"
        )
    return session_id


def read_input(source: str, max_bytes: int | None = None) -> bytes:
    """Return what a file, or standard input, holds. Raises StorageValidationError, StorageUnavailableError."""
    # what is longer than the session that it becomes may still be written in another form
    most = max(_MAX_INPUT_BYTES, max_bytes or 0)
    if source == STANDARD_INPUT:
        data = _read_standard_input(most + 1)
    else:
        try:
            with Path(path_of(source, name="FILE")).open("rb") as file:
                data = _read(file, most + 1)
        except FileNotFoundError as error:
            raise StorageValidationError(reason=f"there is no file {source}", advice="check the path") from error
    if len(data) > most:
        raise StorageValidationError(
            reason=f"the input is longer than {most} bytes", advice="split the session, or raise --max-bytes"
        )
    return data


def _read_standard_input(most: int) -> bytes:
    if sys.stdin is None:
        raise StorageUnavailableError(
            reason="it is closed", path="standard input", advice="name a file, or pipe one in"
        )
    if sys.stdin.isatty():
        say("reading a session as JSON from the terminal; end it with Ctrl-D")
    return _read(sys.stdin.buffer, most)


def _read(file: BinaryIO, most: int) -> bytes:
    """Read at most that many bytes; memory is taken for what comes, not for what may."""
    data = bytearray()
    while part := file.read(min(most - len(data), _PART_BYTES)):
        data += part
    return bytes(data)
