"""The commands that find sessions: ls and count."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fsstore.cli.opening import left_out, with_store
from fsstore.cli.options import Fields, FilterText, ReadBytes, Store, Where
from fsstore.cli.output import Column, cell, list_items, say, show_json_text, show_lines, show_table
from fsstore.cli.where import parse_filter
from fsstore.errors import StorageValidationError

if TYPE_CHECKING:
    from fsstore.model.records import Filters, JsonObject
    from fsstore.sessions.service import SessionService

_PAGE_SESSIONS = 100
_DEFAULT_ORDERS = (None, "-updated_at", "-metadata.updated_at")
_COLUMNS = (
    Column("id", keep=True),
    Column("status", style="cyan", keep=True, widest=16),
    Column("user"),
    Column("tags", style="dim"),
    Column("updated", keep=True),
)


class Form(StrEnum):
    """How a list is printed. The first two are answered by the index alone."""

    table = "table"
    ids = "ids"
    json = "json"
    jsonl = "jsonl"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which sessions, in which order, and how many of them."""

    filters: "Filters | None"
    order_by: str | None
    limit: int | None
    offset: int
    fields: list[str] | None = None
    kind: str | None = None
    """The type of other records that are listed instead."""


def ls(
    *,
    where: Where = None,
    filter_text: FilterText = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="Other records than sessions, such as langgraph.checkpoint; as JSON whole ones.",
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(metavar="[-]KEY", help="Sort by a key; - for descending. Default: -updated_at."),
    ] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=0, help="Maximum number of sessions.")] = None,
    offset: Annotated[int, typer.Option(metavar="N", min=0, help="Number of sessions to skip.")] = 0,
    form: Annotated[Form, typer.Option("--format", help="jsonl is one session a line, as export writes.")] = Form.table,
    fields: Fields = None,
    store: Store = None,
    max_bytes: ReadBytes = None,
) -> None:
    """List sessions, the most recently updated first.

    A table for people (times in UTC), the ids alone, or whole sessions as JSON. What cannot be read is left out, and
    named on standard error.
    """
    if fields and form not in (Form.json, Form.jsonl):
        raise StorageValidationError(
            reason="a table, or a list of ids, has columns of its own", advice="give --format jsonl with --field"
        )
    if fields and kind is not None:
        raise StorageValidationError(
            reason="records of another type than sessions are listed whole", advice="give either --type or --field"
        )
    order_by = None if sort in _DEFAULT_ORDERS else _order(sort)
    wanted = Wanted(parse_filter(where or (), filter_text), order_by, limit, offset, fields, kind)

    async def work(sessions: "SessionService") -> str:
        await _PRINTERS[form](sessions, wanted)
        return await left_out(sessions)

    if missing := with_store(store, work, max_bytes=max_bytes):
        say(missing)


def _order(sort: str | None) -> str | None:
    """Return an order; what is none is refused in the words of the command line."""
    from fsstore.query.operands import meant_order  # noqa: PLC0415 - the same
    from fsstore.query.orders import order_path  # noqa: PLC0415 - only this option needs it

    try:
        order_path(sort)
    except StorageValidationError as error:
        raise StorageValidationError(
            reason=f"must be one key, not {sort!r}",
            path="--sort",
            advice=f"write - before the key for descending: --sort {meant_order(sort)}",
        ) from error
    return sort


def count(where: Where = None, filter_text: FilterText = None, store: Store = None) -> None:
    """Print how many sessions there are, or match.

    What cannot be read is named on standard error.
    """
    filters = parse_filter(where or (), filter_text)

    async def work(sessions: "SessionService") -> tuple[int, str]:
        return await sessions.count_sessions(filters), await left_out(sessions)

    number, missing = with_store(store, work)
    show_lines(str(number))
    if missing:
        say(missing)


async def _print_table(sessions: "SessionService", wanted: Wanted) -> None:
    now = sessions.storage.clock()
    rows = [_row(metadata, now) for metadata in await _metadata(sessions, wanted)]
    # a column in which nothing stands would only take the width from the others
    kept = [at for at, column in enumerate(_COLUMNS) if not rows or any(row[at] for row in rows)]
    show_table([_COLUMNS[at] for at in kept], [[row[at] for at in kept] for row in rows])


async def _print_ids(sessions: "SessionService", wanted: Wanted) -> None:
    show_lines(*(metadata["session_id"] for metadata in await _metadata(sessions, wanted)))


async def _print_json(sessions: "SessionService", wanted: Wanted) -> None:
    before = b"[\n"
    async with aclosing(_pages(sessions, wanted)) as pages:
        async for page in pages:
            if page:
                show_json_text(before + list_items(page))
                before = b",\n"
    show_json_text(b"\n]\n" if before == b",\n" else b"[]\n")


async def _print_json_lines(sessions: "SessionService", wanted: Wanted) -> None:
    from fsstore.transfer import session_line  # noqa: PLC0415 - only this form needs it

    async with aclosing(_pages(sessions, wanted)) as pages:
        async for page in pages:
            show_json_text(b"".join(map(session_line, page)))


_PRINTERS = {
    Form.table: _print_table,
    Form.ids: _print_ids,
    Form.json: _print_json,
    Form.jsonl: _print_json_lines,
}


async def _metadata(sessions: "SessionService", wanted: Wanted) -> "list[JsonObject]":
    if wanted.kind is not None:
        summaries = await sessions.storage.list_metadata(
            *_records(wanted), order_by=_record_order(wanted), offset=wanted.offset
        )
        return [_named(summary) for summary in summaries]
    return await sessions.list_metadata(wanted.filters, wanted.limit, order_by=wanted.order_by, offset=wanted.offset)


async def _pages(sessions: "SessionService", wanted: Wanted) -> "AsyncGenerator[list[JsonObject]]":
    """Give the sessions page by page where the order permits, so that memory does not grow with the store."""
    if wanted.kind is not None:
        yield await sessions.storage.list(*_records(wanted), order_by=_record_order(wanted), offset=wanted.offset)
        return
    if wanted.order_by is not None or wanted.offset:
        yield await sessions.list_sessions(
            wanted.filters, wanted.limit, order_by=wanted.order_by, offset=wanted.offset, fields=wanted.fields
        )
        return
    cursor, left = None, wanted.limit
    while left is None or left > 0:
        size = _PAGE_SESSIONS if left is None else min(left, _PAGE_SESSIONS)
        page = await sessions.list_page(wanted.filters, size, cursor, fields=wanted.fields)
        yield page.items
        cursor, left = page.cursor, None if left is None else left - len(page.items)
        if cursor is None:
            return


def _records(wanted: Wanted) -> "tuple[Filters, int | None]":
    from fsstore.sessions.mutations import sessions_only  # noqa: PLC0415 - only other types than sessions need it

    return sessions_only(wanted.filters, str(wanted.kind)), wanted.limit


def _record_order(wanted: Wanted) -> str | None:
    from fsstore.sessions.mutations import session_order  # noqa: PLC0415 - as above

    return session_order(wanted.order_by)


def _named(summary: "JsonObject") -> "JsonObject":
    """Return the metadata of a record that is no session, with what the columns show of its envelope."""
    metadata = summary["metadata"] if isinstance(summary["metadata"], dict) else {}
    return {**metadata, "session_id": summary["id"], "updated_at": summary["updated_at"]}


def _row(metadata: "JsonObject", now: datetime) -> Sequence[str]:
    tags = metadata.get("tags")
    return (
        metadata["session_id"],
        cell(metadata.get("status")),
        cell(metadata.get("user_id")),
        ", ".join(map(cell, tags)) if isinstance(tags, list) else cell(tags),
        _short_time(metadata.get("updated_at"), now),
    )


def _short_time(value: Any, now: datetime) -> str:
    """Return the time of day for this year, and the year for others, as `ls -l` does: the width is for the ids."""
    try:
        moment = datetime.fromisoformat(value).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return cell(value)
    return moment.strftime("%m-%d %H:%M" if moment.year == now.year else "%Y-%m-%d")
