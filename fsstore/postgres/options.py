"""How a store in PostgreSQL is opened, checked before anything is done. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from fsstore.errors import StorageValidationError

MAX_BYTES = 64 << 20
"""The largest document that is written, where the caller does not say."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options; `PostgresStorage.open` documents each. Raises StorageValidationError for one out of range."""

    create: bool
    pool_size: int
    connect_timeout_seconds: float
    timeout_seconds: float
    durable: bool
    max_bytes: int | None

    def __post_init__(self) -> None:
        for name in ("create", "durable"):
            if type(given := getattr(self, name)) is not bool:
                raise StorageValidationError(reason=f"must be True or False, not {given!r}", path=name)
        for name in ("connect_timeout_seconds", "timeout_seconds"):
            given = getattr(self, name)
            if not isinstance(given, int | float) or isinstance(given, bool) or not 0 < given < 1e6:  # noqa: PLR2004
                raise StorageValidationError(reason=f"must be a positive number of seconds, not {given!r}", path=name)
        for name in ("pool_size", "max_bytes"):
            given = getattr(self, name)
            if (type(given) is not int or given < 1) and (name, given) != ("max_bytes", None):
                raise StorageValidationError(reason=f"must be a positive whole number, not {given!r}", path=name)
