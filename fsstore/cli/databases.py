"""What commands do otherwise where the store is a database: its options, its upgrades, the rights of other roles."""

from typing import TYPE_CHECKING, Any

from fsstore.errors import StorageValidationError
from fsstore.paths import split_url

if TYPE_CHECKING:
    from fsstore.sessions.service import SessionService

_SCHEMES = ("postgresql", "postgres")


def is_database(store: str | None) -> bool:
    """Whether a store is named by the URL of a database."""
    found = split_url(store) if store else None
    return found is not None and found[0] in _SCHEMES


def shown(store: str | None) -> str:
    """Return a store as it may be printed: of the URL of a database no user, and no password."""
    if not store or not is_database(store):
        return str(store)
    scheme, _, rest = store.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


def fitting(store: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a command as the store that is named has them."""
    if not is_database(store):
        return options
    # it has no files, and another name for what a crash must not take away
    others = {name: value for name, value in options.items() if name != "fsync" and (name, value) != ("polling", False)}
    return others | ({"durable": options["fsync"]} if "fsync" in options else {})


def upgrade(store: str) -> None:
    """Make of tables of an older format those of this one; nothing where they are not there yet."""
    # not above, so that --help and a wrong option answer without it
    import asyncio  # noqa: PLC0415

    from fsstore.opening import postgres_storage  # noqa: PLC0415

    async def work() -> None:
        await (await postgres_storage()).upgrade(store)

    asyncio.run(work())


async def rights_of(sessions: "SessionService", role: str) -> list[str]:
    """Return the statements that let another role use the store."""
    rights = getattr(sessions.storage, "rights_of", None)
    if rights is None:
        raise StorageValidationError(
            reason="only a store in a database has rights to grant", path="--grants", advice="name one by its URL"
        )
    statements: list[str] = await rights(role)
    return statements
