"""fsstore: an async file-system document store for agent and user sessions.

Every session is one readable JSON file. Start with `open_sessions(path)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsstore.changes import Change as Change
    from fsstore.changes import Gap as Gap
    from fsstore.errors import StorageClosedError as StorageClosedError
    from fsstore.errors import StorageConflictError as StorageConflictError
    from fsstore.errors import StorageCorruptedError as StorageCorruptedError
    from fsstore.errors import StorageError as StorageError
    from fsstore.errors import StorageNotFoundError as StorageNotFoundError
    from fsstore.errors import StorageTimeoutError as StorageTimeoutError
    from fsstore.errors import StorageTransactionError as StorageTransactionError
    from fsstore.errors import StorageUnavailableError as StorageUnavailableError
    from fsstore.errors import StorageValidationError as StorageValidationError
    from fsstore.filesystem.care.report import RepairReport as RepairReport
    from fsstore.filesystem.care.report import VerifyReport as VerifyReport
    from fsstore.filesystem.storage import FileStorage as FileStorage
    from fsstore.filters import matches as matches
    from fsstore.interfaces import ISessionService as ISessionService
    from fsstore.interfaces import ISessionStore as ISessionStore
    from fsstore.interfaces import IUnifiedStorage as IUnifiedStorage
    from fsstore.legacy import LegacySessionStoreAdapter as LegacySessionStoreAdapter
    from fsstore.memory import MemoryStorage as MemoryStorage
    from fsstore.models import Guarantees as Guarantees
    from fsstore.models import Mutation as Mutation
    from fsstore.models import Outcome as Outcome
    from fsstore.models import Page as Page
    from fsstore.models import Record as Record
    from fsstore.opening import open_sessions as open_sessions
    from fsstore.opening import open_storage as open_storage
    from fsstore.patch import merge_patch as merge_patch
    from fsstore.redaction_rules import Redaction as Redaction
    from fsstore.scrubbing import Exposure as Exposure
    from fsstore.scrubbing import find_secrets as find_secrets
    from fsstore.scrubbing import redact_secrets as redact_secrets
    from fsstore.service import SessionService as SessionService
    from fsstore.service import SessionStorageAdapter as SessionStorageAdapter
    from fsstore.service import SessionTransaction as SessionTransaction
    from fsstore.session_models import SessionData as SessionData
    from fsstore.session_models import SessionMetadata as SessionMetadata
    from fsstore.watching import Watch as Watch

__version__ = "0.1.0"

_HOMES = {
    "Change": "changes",
    "Gap": "changes",
    "StorageClosedError": "errors",
    "StorageConflictError": "errors",
    "StorageCorruptedError": "errors",
    "StorageError": "errors",
    "StorageNotFoundError": "errors",
    "StorageTimeoutError": "errors",
    "StorageTransactionError": "errors",
    "StorageUnavailableError": "errors",
    "StorageValidationError": "errors",
    "RepairReport": "filesystem.care.report",
    "VerifyReport": "filesystem.care.report",
    "FileStorage": "filesystem.storage",
    "matches": "filters",
    "ISessionService": "interfaces",
    "ISessionStore": "interfaces",
    "IUnifiedStorage": "interfaces",
    "LegacySessionStoreAdapter": "legacy",
    "MemoryStorage": "memory",
    "Guarantees": "models",
    "Mutation": "models",
    "Outcome": "models",
    "Page": "models",
    "Record": "models",
    "open_sessions": "opening",
    "open_storage": "opening",
    "merge_patch": "patch",
    "Redaction": "redaction_rules",
    "Exposure": "scrubbing",
    "find_secrets": "scrubbing",
    "redact_secrets": "scrubbing",
    "SessionService": "service",
    "SessionStorageAdapter": "service",
    "SessionTransaction": "service",
    "SessionData": "session_models",
    "SessionMetadata": "session_models",
    "Watch": "watching",
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
