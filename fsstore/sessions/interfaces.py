"""The contracts of sessions: what the callers of a session store rely on, and what they ask of one that is theirs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol, runtime_checkable

from fsstore.model.records import JsonObject


class ISessionStore(ABC):
    """What the callers of a session store rely on; a session is a `dict` with a `metadata` object."""

    @abstractmethod
    async def save_session(self, session_id: str, session_data: dict[str, Any]) -> None:
        """Insert or replace a session. Raises StorageError when it cannot be saved."""

    @abstractmethod
    async def get_session(self, session_id: str) -> JsonObject | None:
        """Return the session, None when there is none."""

    @abstractmethod
    async def delete_session(self, session_id: str) -> None:
        """Remove a session. Raises StorageNotFoundError when it is absent."""

    @abstractmethod
    async def list_sessions(self, filters: dict[str, Any] | None = None, limit: int | None = None) -> list[JsonObject]:
        """Return the matching sessions, the most recently updated first."""

    @abstractmethod
    async def session_exists(self, session_id: str) -> bool:
        """Whether there is a document with that id, of whatever type."""

    @abstractmethod
    async def update_session(self, session_id: str, updates: dict[str, Any]) -> None:
        """Apply an RFC 7396 merge patch to a session. Raises StorageNotFoundError when it is absent."""

    @abstractmethod
    async def batch_save_sessions(self, sessions: dict[str, dict[str, Any]]) -> None:
        """Insert or replace sessions, all or nothing. Raises StorageError when they cannot be saved."""

    @abstractmethod
    async def batch_delete_sessions(self, session_ids: list[str]) -> None:
        """Remove sessions, all or nothing; absent ones are passed over."""


@runtime_checkable
class ISessionService(Protocol):
    """The first six methods of `ISessionStore`, for callers that take anything of that shape.

    The types are those that the calling system's own classes have, so that these fit, too: `SessionService` takes more.
    """

    async def save_session(self, session_id: str, session_data: dict[str, Any]) -> None:
        """See `ISessionStore.save_session`."""
        ...

    async def get_session(self, session_id: str) -> JsonObject | None:
        """See `ISessionStore.get_session`."""
        ...

    async def delete_session(self, session_id: str) -> None:
        """See `ISessionStore.delete_session`."""
        ...

    async def list_sessions(self, filters: dict[str, Any] | None = None, limit: int | None = None) -> list[JsonObject]:
        """See `ISessionStore.list_sessions`."""
        ...

    async def session_exists(self, session_id: str) -> bool:
        """See `ISessionStore.session_exists`."""
        ...

    async def update_session(self, session_id: str, updates: dict[str, Any]) -> None:
        """See `ISessionStore.update_session`."""
        ...
