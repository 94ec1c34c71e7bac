"""From a path or URL to an open store.

A plain path or `file:` is a directory on this machine, `memory:` the reference backend. This module knows which scheme
is which backend, and nothing of what a backend does. What a path is, `paths` knows.

No error holds more of a URL than its scheme: the rest may hold a password.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any, Generic, Protocol, TypeAlias, TypeVar
from urllib.parse import unquote

from fsstore.errors import StorageValidationError
from fsstore.interfaces import IUnifiedStorage
from fsstore.paths import absolute, foreign_scheme, path_of, split_url, usable
from fsstore.sessions.service import SessionService

_NAME = "url"


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
    """Open a store of records. `url` is a path, where `~` is the home, or a URL: `file:///srv/store`, `memory:`.

    A path object is always a path. Options for a directory are those of `FileStorage.open`. Raises
    StorageValidationError for an unknown scheme or option, StorageUnavailableError when the store can not be opened,
    StorageCorruptedError when its marker is damaged.
    """

    async def opener() -> IUnifiedStorage:
        found = split_url(url) if isinstance(url, str) else None
        if found is None:
            return await _open_directory(path_of(url, name=_NAME), options)
        scheme, rest = found
        if scheme not in _OPENERS:
            raise _unknown(scheme)
        return await _OPENERS[scheme](rest, options)

    return Opening(opener)


def open_sessions(url: str | os.PathLike[str], **options: Any) -> Opening[SessionService]:
    """Open a store of sessions; see `open_storage` for the options and errors."""

    async def opener() -> SessionService:
        return SessionService(await open_storage(url, **options))

    return Opening(opener)


# -- the schemes ------------------------------------------------------------------------------------------------------

# what a backend needs is imported here, since a caller of one need not load the other


async def _open_file(rest: str, options: dict[str, Any]) -> IUnifiedStorage:
    return await _open_directory(usable(_path_in(rest), name=_NAME), options)


async def _open_directory(path: str, options: dict[str, Any]) -> IUnifiedStorage:
    from fsstore.filesystem.storage import FileStorage  # noqa: PLC0415

    # absolute, so that nothing in it means anything but itself
    storage: IUnifiedStorage = await _with_options(FileStorage.open, absolute(path), **options)
    return storage


async def _open_memory(rest: str, options: dict[str, Any]) -> IUnifiedStorage:
    from fsstore.memory import MemoryStorage  # noqa: PLC0415

    if rest.strip("/"):
        raise StorageValidationError(
            reason="a store in memory has no name", path=_NAME, advice="write memory: and nothing after it"
        )
    # it is always there, always new, and nobody else changes it
    fitting = {name: value for name, value in options.items() if name not in ("create", "live", "polling")}
    storage: IUnifiedStorage = _with_options(MemoryStorage, **fitting)
    return storage


_Opener: TypeAlias = Callable[[str, dict[str, Any]], Awaitable[IUnifiedStorage]]
_OPENERS: Mapping[str, _Opener] = {"file": _open_file, "memory": _open_memory}
"""What opens each scheme, given what stands after its colon, and the options."""

SCHEMES = tuple(_OPENERS)


def _with_options(make: Callable[..., Any], *given: str, **options: Any) -> Any:
    try:
        return make(*given, **options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error) and "multiple values for argument" not in str(error):
            raise
        raise StorageValidationError(reason=str(error), path="options", advice="see fsstore.open_storage") from error


def _unknown(scheme: str) -> StorageValidationError:
    which = (
        f"there is no store of the scheme {scheme!r}" if scheme else "it looks like a URL, and begins with no scheme"
    )
    known = " or ".join(f"{known}:" for known in SCHEMES)
    return StorageValidationError(
        reason=which,
        path=_NAME,
        advice=f"give a path, or a URL with {known}; write ./ before a path that looks like a URL",
    )


def _path_in(rest: str) -> str:
    """Return the path of a `file:` URL, given without its scheme. Raises StorageValidationError."""
    host, path = "", rest
    if rest.startswith("//"):
        host, slash, below = rest[2:].partition("/")
        path = slash + below
    if "?" in rest or "#" in rest:
        raise StorageValidationError(
            reason="the file: URL has a query or a fragment",
            path=_NAME,
            advice="give options as keywords, and write ? and # in a path as %3F and %23, or give a plain path",
        )
    if host.startswith("~"):
        # no machine is called so: it is a home that was written like one
        return unquote(host + path, errors="surrogateescape")
    if host.lower() not in ("", "localhost"):
        raise StorageValidationError(
            reason="the file: URL names another machine",
            path=_NAME,
            advice="give a path on this machine, as in file:///srv/store",
        )
    if foreign_scheme(path) is not None:
        raise StorageValidationError(reason="the file: URL holds another URL", path=_NAME, advice="give the path alone")
    if path.startswith("/~"):
        raise StorageValidationError(
            reason="a ~ at the beginning of an absolute path is not the home",
            path=_NAME,
            advice="write file:~/store for one in the home, or the plain path for a directory of that name",
        )
    # as Path.as_uri writes bytes that are no text
    return unquote(path, errors="surrogateescape")
