"""The one way in which a command opens a store. Knows nothing of how arguments are read."""

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from fsstore.cli.databases import fitting
from fsstore.cli.output import counted
from fsstore.errors import StorageValidationError

if TYPE_CHECKING:
    from fsstore.interfaces import IUnifiedStorage
    from fsstore.sessions.service import SessionService

T = TypeVar("T")

Opening: TypeAlias = Callable[[], Awaitable["SessionService"]]
"""Opens the store when it is called first; gives the same one ever after."""

_NAMED = 5


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
    # it must be there already: only the commands that fill a store may make one
    named, options = _named(store, {"create": create, **options}, max_bytes)
    # not above, so that --help and a wrong option answer without it
    import asyncio  # noqa: PLC0415

    with _told_by_commands():
        return asyncio.run(_work(named, work, options))


def with_store_at_need(
    store: str | None,
    work: Callable[["Opening"], Awaitable[T]],
    *,
    max_bytes: int | None = None,
    **options: Any,
) -> T:
    """Do work that opens the store, or makes it, when it needs it: what fails before that leaves no store behind.

    Raises StorageValidationError when no store is named, and what opening and the work raise.
    """
    named, options = _named(store, {"create": True, **options}, max_bytes)
    import asyncio  # noqa: PLC0415 - as above

    with _told_by_commands():
        return asyncio.run(_work_at_need(named, work, options))


def _named(store: str | None, options: dict[str, Any], max_bytes: int | None) -> tuple[str, dict[str, Any]]:
    if not store:
        raise StorageValidationError(reason="no store is named", advice="give --store PATH, or set FSSTORE_STORE")
    logging.basicConfig(format="fsstore: warning: %(message)s", level=logging.WARNING)
    if max_bytes is not None:
        options["max_bytes"] = max_bytes
    return store, fitting(store, options)


def with_stores(
    source: tuple[str, dict[str, Any]],
    target: tuple[str, dict[str, Any]],
    work: Callable[["IUnifiedStorage", "IUnifiedStorage"], Awaitable[T]],
) -> T:
    """Open two stores, each with its options, do the work, close them. Raises what opening and the work raise."""
    logging.basicConfig(format="fsstore: warning: %(message)s", level=logging.WARNING)
    import asyncio  # noqa: PLC0415 - as above

    with _told_by_commands():
        return asyncio.run(_work_on_two(source, target, work))


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


async def _work_at_need(store: str, work: Callable[["Opening"], Awaitable[T]], options: dict[str, Any]) -> T:
    from fsstore.opening import open_sessions  # noqa: PLC0415 - as above

    async with AsyncExitStack() as opened:
        sessions: SessionService | None = None

        async def opening() -> "SessionService":
            nonlocal sessions
            if sessions is None:
                sessions = await opened.enter_async_context(open_sessions(store, **options))
            return sessions

        return await work(opening)


async def _work_on_two(
    source: tuple[str, dict[str, Any]],
    target: tuple[str, dict[str, Any]],
    work: Callable[["IUnifiedStorage", "IUnifiedStorage"], Awaitable[T]],
) -> T:
    from fsstore.opening import open_storage  # noqa: PLC0415 - as above

    async with open_storage(source[0], **source[1]) as read, open_storage(target[0], **target[1]) as written:
        return await work(read, written)
