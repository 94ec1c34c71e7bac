"""The command that lets a session grow: append."""

from typing import Annotated, Any

import typer

from fsstore.cli.opening import with_store
from fsstore.cli.options import ExpectedVersion, Store
from fsstore.cli.output import show_lines
from fsstore.cli.sessions import STANDARD_INPUT, SessionId, read_input
from fsstore.cli.where import parse_settings
from fsstore.errors import StorageValidationError
from fsstore.model.json_text import read_exact


def append(
    session_id: SessionId,
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="File with the items; - for standard input.")
    ] = STANDARD_INPUT,
    *,
    path: Annotated[
        str, typer.Option(metavar="PATH", help="The list in the session, as in messages or state.log.")
    ] = "messages",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a value of the metadata too, as in status=active."),
    ] = None,
    create: Annotated[bool, typer.Option(help="Make the session if there is none.")] = True,
    unique_by: Annotated[
        str | None, typer.Option(metavar="KEY", help="Leave out items whose KEY is in the list already, as in uuid.")
    ] = None,
    store: Store = None,
    expected_version: ExpectedVersion = None,
) -> None:
    """Put items at the end of a list, and print its length.

    The items are a JSON array, or JSON lines with an item each.
    """
    items = parse_items(read_input(source), "standard input" if source == STANDARD_INPUT else source)
    metadata = _metadata(settings or [])
    length = with_store(
        store,
        lambda sessions: sessions.append_session(
            session_id,
            items,
            path=path,
            metadata=metadata,
            create=create,
            unique_by=unique_by,
            expected_version=expected_version,
        ),
        create=create,
    )
    show_lines(str(length))


def parse_items(text: bytes, name: str) -> list[Any]:
    """Return the items that a JSON array holds, or JSON lines; raise StorageValidationError that names the line."""
    try:
        found = read_exact(text)
    except ValueError:
        return [_item(line, f"{name}, line {at}") for at, line in enumerate(text.splitlines(), 1) if line.strip()]
    return found if isinstance(found, list) else [found]


def _item(line: bytes, name: str) -> Any:
    try:
        return read_exact(line)
    except ValueError as error:
        raise StorageValidationError(
            reason=f"{name} {error}", advice="give a JSON array, or one JSON value a line"
        ) from error


def _metadata(settings: list[str]) -> dict[str, Any] | None:
    patch = parse_settings(settings)
    if beside := patch.keys() - {"metadata"}:
        raise StorageValidationError(
            reason=f"--set {min(beside)}… is not in the metadata",
            advice="set what is elsewhere with `fsstore update`",
        )
    return patch.get("metadata")
