"""fsstore: an async file-system document store for agent and user sessions.

Every session is one readable JSON file. Start with `open_sessions(path)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsstore.errors import (
        StorageClosedError,
        StorageConflictError,
        StorageCorruptedError,
        StorageError,
        StorageNotFoundError,
        StorageTimeoutError,
        StorageTransactionError,
        StorageUnavailableError,
        StorageValidationError,
    )
    from fsstore.filesystem.storage import FileStorage
    from fsstore.filters import matches
    from fsstore.interfaces import ISessionService, ISessionStore, IUnifiedStorage
    from fsstore.legacy import LegacySessionStoreAdapter
    from fsstore.memory import MemoryStorage
    from fsstore.models import (
        Change,
        Guarantees,
        Mutation,
        Outcome,
        Page,
        Record,
        SessionData,
        SessionMetadata,
    )
    from fsstore.opening import open_sessions, open_storage
    from fsstore.patch import merge_patch
    from fsstore.service import SessionService, SessionStorageAdapter, SessionTransaction

__version__ = "0.1.0"

_HOMES = {
    "StorageClosedError": "errors",
    "StorageConflictError": "errors",
    "StorageCorruptedError": "errors",
    "StorageError": "errors",
    "StorageNotFoundError": "errors",
    "StorageTimeoutError": "errors",
    "StorageTransactionError": "errors",
    "StorageUnavailableError": "errors",
    "StorageValidationError": "errors",
    "FileStorage": "filesystem.storage",
    "matches": "filters",
    "ISessionService": "interfaces",
    "ISessionStore": "interfaces",
    "IUnifiedStorage": "interfaces",
    "LegacySessionStoreAdapter": "legacy",
    "MemoryStorage": "memory",
    "Change": "models",
    "Guarantees": "models",
    "Mutation": "models",
    "Outcome": "models",
    "Page": "models",
    "Record": "models",
    "SessionData": "models",
    "SessionMetadata": "models",
    "open_sessions": "opening",
    "open_storage": "opening",
    "merge_patch": "patch",
    "SessionService": "service",
    "SessionStorageAdapter": "service",
    "SessionTransaction": "service",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - the table above is the list


def __getattr__(name: str) -> Any:
    """Load a public name on first use: `import fsstore` costs next to nothing, and a command only what it needs."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
