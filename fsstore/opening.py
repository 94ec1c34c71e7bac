"""From a path or URL to an open store.

A plain path or `file:` is a directory on this machine, `memory:` the reference backend, `postgresql:` a database.
`SCHEMES` is the table: which
scheme is which backend, and which options it takes. A further backend adds one row, and nothing else here changes.
This module knows nothing of what a backend does. What a path is, `paths` knows.

What a store is made of takes long to import: that is done when the first one is opened, in another thread than that of
the event loop (`loops`). Importing this module is cheap.

No error holds more of a URL than its scheme: the rest may hold a password.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar, Unpack, cast, overload

from fsstore.errors import StorageUnavailableError, StorageValidationError
from fsstore.loops import check_loop, is_loaded, loaded
from fsstore.options import (
    FileOptions,
    Memory,
    MemoryOptions,
    NotOpened,
    PostgresOptions,
    check_switch,
    showing_options,
)
from fsstore.paths import absolute, foreign_scheme, path_of, split_url, usable

if TYPE_CHECKING:
    from fsstore.interfaces import IUnifiedStorage
    from fsstore.postgres.storage import PostgresStorage
    from fsstore.sessions.service import SessionService

_NAME = "url"


class _Closable(Protocol):
    async def close(self) -> None: ...


T = TypeVar("T", bound=_Closable)

_WITHOUT_LOOP = "in a program without an event loop use fsstore.sync"


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

    if not TYPE_CHECKING:
        # a type checker knows that neither is there

        def __enter__(self) -> NoReturn:
            raise TypeError(f"a store is opened by `async with`; {_WITHOUT_LOOP}")

        def __exit__(self, *_: object) -> None: ...

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(
                f"the store is not open yet, so it has no {name!r}; "
                "write `async with open_sessions(path) as sessions:` "
                f"or `sessions = await open_sessions(path)`; {_WITHOUT_LOOP}"
            )


@overload
def open_storage(  # pyright: ignore[reportOverlappingOverload] # it and the next differ in what they open
    url: Memory, **options: Unpack[MemoryOptions]
) -> Opening[IUnifiedStorage]: ...


@overload
def open_storage(  # type: ignore[overload-overlap] # every URL is text, and this one is special
    url: Memory, **options: Unpack[FileOptions]
) -> NotOpened: ...


@overload
def open_storage(url: str | os.PathLike[str], **options: Unpack[FileOptions]) -> Opening[IUnifiedStorage]: ...


@overload
def open_storage(url: str, **options: Unpack[PostgresOptions]) -> Opening[IUnifiedStorage]: ...


@showing_options("Opening[IUnifiedStorage]")
def open_storage(url: str | os.PathLike[str], **options: Any) -> Opening[IUnifiedStorage] | NotOpened:
    """Open a store of records. `url` is a path, where `~` is the home, or a URL: `file:///srv/store`, `memory:`.

    A path object is always a path. `help(fsstore.FileStorage.open)` says what each option of a directory does; a store
    in memory has fewer. `postgresql://USER@HOST/DATABASE` needs `pip install 'psycopg[binary]>=3.3'`, and has options
    of its own: `help(fsstore.PostgresStorage.open)`.

    Raises StorageValidationError for an unknown scheme or option, StorageUnavailableError when the
    store cannot be opened, StorageCorruptedError when its marker is damaged.
    """

    async def opener() -> IUnifiedStorage:
        check_loop()
        scheme, place = _find(url)
        return await scheme.open(place, scheme.check(options))

    return Opening(opener)


@overload
def open_sessions(  # pyright: ignore[reportOverlappingOverload] # it and the next differ in what they open
    url: Memory, **options: Unpack[MemoryOptions]
) -> Opening[SessionService]: ...


@overload
def open_sessions(  # type: ignore[overload-overlap] # as above
    url: Memory, **options: Unpack[FileOptions]
) -> NotOpened: ...


@overload
def open_sessions(url: str | os.PathLike[str], **options: Unpack[FileOptions]) -> Opening[SessionService]: ...


@overload
def open_sessions(url: str, **options: Unpack[PostgresOptions]) -> Opening[SessionService]: ...


@showing_options("Opening[SessionService]")
def open_sessions(url: str | os.PathLike[str], **options: Any) -> Opening[SessionService] | NotOpened:
    """Open a store of sessions; see `open_storage` for the errors, `help(fsstore.FileStorage.open)` for the options."""

    async def opener() -> SessionService:
        check_loop()
        if is_loaded("pydantic.main"):
            # a program that has models hands them in soon
            await loaded("fsstore.sessions.models.dumping")
        service = await loaded("fsstore.sessions.service")
        opened: SessionService = service.SessionService(await open_storage(url, **options))
        return opened

    return Opening(opener)


def _find(url: str | os.PathLike[str]) -> tuple[Scheme[Any], str]:
    """Return the scheme of a path or URL, and the place that it names. Raises StorageValidationError."""
    found = split_url(url) if isinstance(url, str) else None
    if found is None:
        return SCHEMES["file"], path_of(url, name=_NAME)
    name, rest = found
    if name not in SCHEMES:
        raise _unknown(name)
    return SCHEMES[name], SCHEMES[name].place(rest)


# -- the schemes ------------------------------------------------------------------------------------------------------


Options = TypeVar("Options", bound=Mapping[str, object])


@dataclass(frozen=True, slots=True)
class Scheme(Generic[Options]):
    """One row of the table: a scheme, the options it takes, and how a store of it is opened."""

    name: str
    options: type[Options]
    place: Callable[[str], str]
    """Turns what stands after the colon into a place that `open` takes. Raises StorageValidationError."""
    open: Callable[[str, Options], Awaitable[IUnifiedStorage]]

    def check(self, given: Mapping[str, object]) -> Options:
        """Return the options. Raises StorageValidationError that names the nearest right one for each unknown one."""
        known = sorted(self.options.__annotations__)
        wrong = [name for name in given if name not in known]
        if wrong:
            raise StorageValidationError(
                reason=", and ".join(_unknown_option(name, known) for name in wrong),
                path="options",
                advice=f"options of {self.name}: are {', '.join(known)}",
            )
        return cast("Options", given)


def _unknown_option(name: str, known: list[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only an error needs it

    nearest = get_close_matches(name.lower().replace("-", "_"), known, n=1, cutoff=0.5)
    return f"unknown option {name!r}" + (f", the nearest is {nearest[0]!r}" if nearest else "")


# what a backend needs is imported here, since a caller of one need not load the other


async def _open_file(path: str, options: FileOptions) -> IUnifiedStorage:
    storage = await loaded("fsstore.filesystem.storage")
    # absolute, so that nothing in it means anything but itself
    opened: IUnifiedStorage = await storage.FileStorage.open(absolute(path), **options)
    return opened


async def _open_memory(_place: str, options: MemoryOptions) -> IUnifiedStorage:
    for name in set(options) - {"clock"}:
        check_switch(name, options.get(name))
    memory = await loaded("fsstore.memory")
    opened: IUnifiedStorage = memory.MemoryStorage(**({"clock": options["clock"]} if "clock" in options else {}))
    return opened


async def postgres_storage() -> type[PostgresStorage]:
    """Return the class of stores in PostgreSQL. Raises StorageUnavailableError where psycopg is not installed."""
    try:
        storage = await loaded("fsstore.postgres.storage")
    except ImportError as error:
        raise StorageUnavailableError(
            reason=f"PostgreSQL is reached by psycopg, which cannot be imported here: {error}",
            path="postgresql",
            advice="pip install 'psycopg[binary]>=3.3', or without [binary] where the system's own libpq is to be used",
        ) from error
    found: type[PostgresStorage] = storage.PostgresStorage
    return found


async def _open_postgres(url: str, options: PostgresOptions) -> IUnifiedStorage:
    return await (await postgres_storage()).open(url, **options)


def _path_of_url(rest: str) -> str:
    return usable(_path_in(rest), name=_NAME)


def _nowhere(rest: str) -> str:
    if rest.strip("/"):
        raise StorageValidationError(
            reason="a store in memory has no name", path=_NAME, advice="write memory: and nothing after it"
        )
    return ""


def _url_of_server(rest: str) -> str:
    if not rest.startswith("//"):
        raise StorageValidationError(
            reason="the URL names no server", path=_NAME, advice="write postgresql://USER@HOST:PORT/DATABASE"
        )
    return f"postgresql:{rest}"


SCHEMES: Mapping[str, Scheme[Any]] = {
    scheme.name: scheme
    for scheme in (
        Scheme("file", FileOptions, _path_of_url, _open_file),
        Scheme("memory", MemoryOptions, _nowhere, _open_memory),
        Scheme("postgresql", PostgresOptions, _url_of_server, _open_postgres),
        # as libpq has it
        Scheme("postgres", PostgresOptions, _url_of_server, _open_postgres),
    )
}
"""Every scheme by its name. A path without one is a `file:`."""


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
    from urllib.parse import unquote  # noqa: PLC0415 - nothing else needs it

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
