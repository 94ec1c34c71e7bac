"""From a path or URL to an open store.

A plain path or `file:` is a directory on this machine, `memory:` the reference backend. This module knows which scheme
is which backend, and nothing of what a backend does.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from fsstore.errors import StorageValidationError
from fsstore.interfaces import IUnifiedStorage
from fsstore.service import SessionService

SCHEMES = ("file", "memory")


class _Closable(Protocol):
    async def close(self) -> None: ...


T = TypeVar("T", bound=_Closable)


class Opening(Generic[T]):
    """A store about to be opened: `await` it and close it yourself, or use it with `async with`."""

    def __init__(self, opener: Callable[[], Awaitable[T]]) -> None:
        self._opener = opener
        self._opened: T | None = None

    def __await__(self) -> Generator[Any, None, T]:
        return self._opener().__await__()

    async def __aenter__(self) -> T:
        self._opened = await self._opener()
        return self._opened

    async def __aexit__(self, *_: object) -> None:
        if self._opened is not None:
            await self._opened.close()


def open_storage(url: str | os.PathLike[str], **options: Any) -> Opening[IUnifiedStorage]:
    """Open a store of records.

    Options for a directory are those of `FileStorage.open`. Raises StorageValidationError for an unknown scheme or
    option, StorageUnavailableError when the store can not be opened, StorageCorruptedError when its marker is damaged.
    """

    async def opener() -> IUnifiedStorage:
        scheme, path = _split(os.fspath(url))
        # imported here, since a caller of one backend need not load the other
        if scheme == "memory":
            from fsstore.memory import MemoryStorage  # noqa: PLC0415

            # it is always there, always new, and nobody else changes it
            fitting = {name: value for name, value in options.items() if name not in ("create", "live", "polling")}
            memory: IUnifiedStorage = _with_options(MemoryStorage, fitting)
            return memory
        from fsstore.filesystem.storage import FileStorage  # noqa: PLC0415

        storage: IUnifiedStorage = await _with_options(FileStorage.open, {"path": path, **options})
        return storage

    return Opening(opener)


def open_sessions(url: str | os.PathLike[str], **options: Any) -> Opening[SessionService]:
    """Open a store of sessions; see `open_storage` for the options and errors."""

    async def opener() -> SessionService:
        return SessionService(await open_storage(url, **options))

    return Opening(opener)


def _with_options(make: Callable[..., Any], options: dict[str, Any]) -> Any:
    try:
        return make(**options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise StorageValidationError(reason=str(error), path="options", advice="see fsstore.open_storage") from error


def _split(url: str) -> tuple[str, str]:
    """Return scheme and path of a URL or a plain path."""
    scheme, colon, rest = url.partition(":")
    # a single letter before the colon is a drive, and a separator before it belongs to a path
    if not colon or len(scheme) < 2 or not scheme.isalpha():  # noqa: PLR2004
        return "file", _non_empty(url)
    if scheme == "memory" and not rest.strip("/"):
        return scheme, ""
    if scheme == "file":
        return scheme, _non_empty(_file_path(url))
    raise StorageValidationError(
        reason=f"unknown store {url!r}", path="url", advice=f"give a path, or a URL with one of {', '.join(SCHEMES)}"
    )


def _file_path(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise StorageValidationError(
            reason=f"{url!r} names another machine",
            path="url",
            advice="give a path on this machine, as in file:///srv/store",
        )
    if parts.query or parts.fragment:
        raise StorageValidationError(
            reason=f"{url!r} has a query or a fragment",
            path="url",
            advice="give options as keywords, and write ? and # in a path as %3F and %23, or give a plain path",
        )
    return unquote(parts.path)


def _non_empty(path: str) -> str:
    if not path:
        raise StorageValidationError(reason="the path of the store is empty", path="url", advice="give a directory")
    return path
