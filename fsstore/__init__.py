"""fsstore: an async file-system document store for agent and user sessions.

Every session is one readable JSON file. Start with `open_sessions(path)`.
"""

from __future__ import annotations

TYPE_CHECKING = False
# type checkers take it for true; `typing` would take longer to load than all else here

if TYPE_CHECKING:
    from fsstore import sync as sync
    from fsstore.errors import StorageClosedError as StorageClosedError
    from fsstore.errors import StorageConflictError as StorageConflictError
    from fsstore.errors import StorageCorruptedError as StorageCorruptedError
    from fsstore.errors import StorageError as StorageError
    from fsstore.errors import StorageNotFoundError as StorageNotFoundError
    from fsstore.errors import StorageTimeoutError as StorageTimeoutError
    from fsstore.errors import StorageTooLargeError as StorageTooLargeError
    from fsstore.errors import StorageTransactionError as StorageTransactionError
    from fsstore.errors import StorageUnavailableError as StorageUnavailableError
    from fsstore.errors import StorageValidationError as StorageValidationError
    from fsstore.filesystem.care.report import RepairReport as RepairReport
    from fsstore.filesystem.care.report import VerifyReport as VerifyReport
    from fsstore.filesystem.storage import FileStorage as FileStorage
    from fsstore.interfaces import IUnifiedStorage as IUnifiedStorage
    from fsstore.legacy import LegacySessionStoreAdapter as LegacySessionStoreAdapter
    from fsstore.memory import MemoryStorage as MemoryStorage
    from fsstore.model.mutations import Mutation as Mutation
    from fsstore.model.patch import merge_patch as merge_patch
    from fsstore.model.records import Guarantees as Guarantees
    from fsstore.model.records import Outcome as Outcome
    from fsstore.model.records import Page as Page
    from fsstore.model.records import Record as Record
    from fsstore.opening import open_sessions as open_sessions
    from fsstore.opening import open_storage as open_storage
    from fsstore.postgres.storage import PostgresStorage as PostgresStorage
    from fsstore.query.filters import matches as matches
    from fsstore.redaction.rules import Redaction as Redaction
    from fsstore.redaction.scrub import Exposure as Exposure
    from fsstore.redaction.scrub import find_secrets as find_secrets
    from fsstore.redaction.scrub import redact_secrets as redact_secrets
    from fsstore.sessions.interfaces import ISessionService as ISessionService
    from fsstore.sessions.interfaces import ISessionStore as ISessionStore
    from fsstore.sessions.models import SessionData as SessionData
    from fsstore.sessions.models import SessionMetadata as SessionMetadata
    from fsstore.sessions.service import SessionService as SessionService
    from fsstore.sessions.service import SessionStorageAdapter as SessionStorageAdapter
    from fsstore.sessions.transaction import SessionTransaction as SessionTransaction
    from fsstore.sessions.typed import Session as Session
    from fsstore.sessions.typed import TypedSessions as TypedSessions
    from fsstore.watching.changes import Change as Change
    from fsstore.watching.changes import Gap as Gap
    from fsstore.watching.watch import Watch as Watch

__version__ = "0.1.0"

_HOMES = {
    "Change": "watching.changes",
    "Gap": "watching.changes",
    "StorageClosedError": "errors",
    "StorageConflictError": "errors",
    "StorageCorruptedError": "errors",
    "StorageError": "errors",
    "StorageNotFoundError": "errors",
    "StorageTimeoutError": "errors",
    "StorageTooLargeError": "errors",
    "StorageTransactionError": "errors",
    "StorageUnavailableError": "errors",
    "StorageValidationError": "errors",
    "RepairReport": "filesystem.care.report",
    "VerifyReport": "filesystem.care.report",
    "FileStorage": "filesystem.storage",
    "matches": "query.filters",
    "ISessionService": "sessions.interfaces",
    "ISessionStore": "sessions.interfaces",
    "IUnifiedStorage": "interfaces",
    "LegacySessionStoreAdapter": "legacy",
    "MemoryStorage": "memory",
    "Guarantees": "model.records",
    "Mutation": "model.mutations",
    "Outcome": "model.records",
    "Page": "model.records",
    "PostgresStorage": "postgres.storage",
    "Record": "model.records",
    "open_sessions": "opening",
    "open_storage": "opening",
    "merge_patch": "model.patch",
    "Redaction": "redaction.rules",
    "Exposure": "redaction.scrub",
    "find_secrets": "redaction.scrub",
    "redact_secrets": "redaction.scrub",
    "SessionService": "sessions.service",
    "SessionStorageAdapter": "sessions.service",
    "SessionTransaction": "sessions.transaction",
    "Session": "sessions.typed",
    "TypedSessions": "sessions.typed",
    "SessionData": "sessions.models",
    "SessionMetadata": "sessions.models",
    "Watch": "watching.watch",
    # a module itself
    "sync": "sync",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - the table above is the list


if not TYPE_CHECKING:
    # a type checker would take every name for one that this function finds

    def __getattr__(name: str) -> object:
        """Load a public name on first use: `import fsstore` costs next to nothing, and a command only what it needs."""
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415

        module = import_module(f"{__name__}.{home}")
        value = module if home == name else getattr(module, name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
