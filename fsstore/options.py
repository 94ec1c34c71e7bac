"""The options of each kind of store: names, types, defaults, the checks they share, how `help` shows them. Pure.

The defaults here are for readers alone: an option that is not given is not handed on, and the backend's own default
counts. A test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar

from fsstore.errors import StorageValidationError
from fsstore.model.records import Clock, FileMode

Opener = TypeVar("Opener", bound=Callable[..., object])

Memory: TypeAlias = Literal["memory:", "memory://"]
"""The URLs by which a type checker knows that a store is in memory, and takes no options of files."""


class FileOptions(TypedDict, total=False):
    """The options of `file:` and of plain paths; `FileStorage.open` documents each."""

    create: bool
    fsync: bool
    file_mode: int
    max_bytes: int | None
    lock_timeout_seconds: float
    reconcile: Literal["first-use", "off"]
    shard_depth: int
    allow_network: bool
    live: bool
    polling: bool
    read_only: bool
    clock: Clock


class MemoryOptions(TypedDict, total=False):
    """The options of `memory:`; all but the clock have no effect: it is always there, always new, and nobody's else."""

    clock: Clock
    create: bool
    live: bool
    polling: bool


class PostgresOptions(TypedDict, total=False):
    """The options of `postgresql:`; `fsstore.postgres.storage.PostgresStorage.open` documents each."""

    create: bool
    schema: str | None
    prefix: str | None
    pool_size: int
    connect_timeout_seconds: float
    timeout_seconds: float
    durable: bool
    max_bytes: int | None
    clock: Clock


class NotOpened:
    """What a type checker sees where a store in memory is given options of files: nothing that can be used.

    Without it `open_storage("memory:", fsync=False)` would be taken for the opening of a path.
    """


def check_switch(name: str, given: object) -> None:
    """Raise StorageValidationError for an option that is neither True nor False."""
    if type(given) is not bool:
        raise StorageValidationError(reason=f"must be True or False, not {given!r}", path=name)


def check_clock(clock: object) -> None:
    """Raise StorageValidationError for a clock that cannot be called."""
    if not callable(clock):
        raise StorageValidationError(reason=f"must be a function, not {clock!r}", path="clock")


class _Written(str):
    """A part of a signature that is shown as it is written in the source, without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


_DEFAULTS: dict[str, Any] = {
    "create": True,
    "fsync": True,
    "file_mode": FileMode(0o600),
    "max_bytes": None,
    "lock_timeout_seconds": 10.0,
    "reconcile": "first-use",
    "shard_depth": 1,
    "allow_network": False,
    "live": False,
    "polling": False,
    "read_only": False,
    "clock": _Written("utc_now"),
}


def showing_options(returned: str) -> Callable[[Opener], Opener]:
    """Give a function that opens stores the signature that it would have if each option were written out."""

    def shown(function: Opener) -> Opener:
        url = Parameter("url", Parameter.POSITIONAL_OR_KEYWORD, annotation=_Written("str | os.PathLike[str]"))
        options = [
            Parameter(
                name,
                Parameter.KEYWORD_ONLY,
                default=_DEFAULTS[name],
                annotation=_Written(getattr(annotation, "__forward_arg__", annotation)),
            )
            for name, annotation in FileOptions.__annotations__.items()
        ]
        vars(function)["__signature__"] = Signature([url, *options], return_annotation=_Written(returned))
        return function

    return shown
