"""The classes of the system that fsstore was made for, as its interface document has them.

That document is not part of this repository. Where it lies beside a checkout (`shared/contract/session-interface.md`),
the classes are also taken from its own code, and must then have the signatures of these. The names are the document's;
so is what looks odd: that absence is wrapped, errors are swallowed, and a caller's dict is changed.
"""

import asyncio
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from fsstore.errors import StorageError, StorageNotFoundError
from fsstore.interfaces import IUnifiedStorage

Json = dict[str, Any]


class OldSessionStore(ABC):
    """The synchronous `ISessionStore` that is there today."""

    @abstractmethod
    def save_session(self, session_id: str, session_data: Json) -> bool: ...

    @abstractmethod
    def get_session(self, session_id: str) -> Json | None: ...

    @abstractmethod
    def delete_session(self, session_id: str) -> bool: ...

    @abstractmethod
    def list_sessions(self) -> list[Json]: ...

    @abstractmethod
    def session_exists(self, session_id: str) -> bool: ...


class ISessionStore(ABC):
    """The asynchronous one of option one."""

    @abstractmethod
    async def save_session(self, session_id: str, session_data: Json) -> None: ...

    @abstractmethod
    async def get_session(self, session_id: str) -> Json | None: ...

    @abstractmethod
    async def delete_session(self, session_id: str) -> None: ...

    @abstractmethod
    async def list_sessions(self, filters: Json | None = None, limit: int | None = None) -> list[Json]: ...

    @abstractmethod
    async def session_exists(self, session_id: str) -> bool: ...

    @abstractmethod
    async def update_session(self, session_id: str, updates: Json) -> None: ...

    @abstractmethod
    async def batch_save_sessions(self, sessions: dict[str, Json]) -> None: ...

    @abstractmethod
    async def batch_delete_sessions(self, session_ids: list[str]) -> None: ...


class ISessionService(Protocol):
    """The protocol of option two."""

    async def save_session(self, session_id: str, session_data: Json) -> None: ...

    async def get_session(self, session_id: str) -> Json | None: ...

    async def delete_session(self, session_id: str) -> None: ...

    async def list_sessions(self, filters: Json | None = None, limit: int | None = None) -> list[Json]: ...

    async def session_exists(self, session_id: str) -> bool: ...

    async def update_session(self, session_id: str, updates: Json) -> None: ...


class SessionService:
    """Option two: a thin service over a storage of records."""

    def __init__(self, storage: IUnifiedStorage) -> None:
        self._storage = storage

    async def save_session(self, session_id: str, session_data: Json) -> None:
        metadata = session_data.get("metadata", {})
        await self._storage.save({"id": session_id, "type": "session", "data": session_data, "metadata": metadata})

    async def get_session(self, session_id: str) -> Json | None:
        record = await self._storage.load(session_id)
        return record.get("data") if record and record.get("type") == "session" else None

    async def delete_session(self, session_id: str) -> None:
        if not await self._storage.delete(session_id):
            raise StorageNotFoundError(f"Session not found: {session_id}")

    async def list_sessions(self, filters: Json | None = None, limit: int | None = None) -> list[Json]:
        records = await self._storage.list({"type": "session", **(filters or {})}, limit)
        return [record["data"] for record in records]

    async def session_exists(self, session_id: str) -> bool:
        return await self._storage.exists(session_id)

    async def update_session(self, session_id: str, updates: Json) -> None:
        await self._storage.update(session_id, {"data": updates})


class SessionMetadata(BaseModel):
    """What a session is found by."""

    session_id: str
    workflow_config_path: str | None = None
    status: str = "unknown"
    created_at: datetime
    updated_at: datetime
    user_id: str | None = None
    tags: list[str] = []


class SessionData(BaseModel):
    """A session."""

    metadata: SessionMetadata
    thread_configs: Json = {}
    workflow_state: Json = {}
    settings: Json = {}


class SessionStorageAdapter:
    """Option one over a storage of records: it stamps naive local times, and turns errors into StorageError."""

    def __init__(self, storage: IUnifiedStorage) -> None:
        self._storage = storage

    @staticmethod
    def _record(session_id: str, session_data: Json, now: datetime) -> Json:
        metadata = session_data.setdefault("metadata", {})
        metadata["updated_at"] = now.isoformat()
        metadata.setdefault("created_at", now.isoformat())
        return {"id": session_id, "type": "session", "data": session_data, "created_at": now, "updated_at": now}

    async def save_session(self, session_id: str, session_data: Json) -> None:
        try:
            await self._storage.save(self._record(session_id, session_data, datetime.now()))
        except Exception as e:
            raise StorageError(f"Failed to save session {session_id}: {e}")

    async def get_session(self, session_id: str) -> Json | None:
        try:
            record = await self._storage.load(session_id)
            return record.get("data") if record and record.get("type") == "session" else None
        except Exception:
            return None

    async def delete_session(self, session_id: str) -> None:
        try:
            success = await self._storage.delete(session_id)
        except Exception as e:
            raise StorageError(f"Failed to delete session {session_id}: {e}")
        if not success:
            raise StorageNotFoundError(f"Session not found: {session_id}")

    async def list_sessions(self, filters: Json | None = None, limit: int | None = None) -> list[Json]:
        try:
            wanted = {"type": "session"} | {f"data.metadata.{key}": value for key, value in (filters or {}).items()}
            return [record["data"] for record in await self._storage.list(wanted, limit)]
        except Exception as e:
            raise StorageError(f"Failed to list sessions: {e}")

    async def session_exists(self, session_id: str) -> bool:
        try:
            return await self._storage.exists(session_id)
        except Exception:
            return False

    async def update_session(self, session_id: str, updates: Json) -> None:
        try:
            updates.setdefault("metadata", {})["updated_at"] = datetime.now().isoformat()
            await self._storage.update(session_id, {"data": updates})
        except Exception as e:
            raise StorageError(f"Failed to update session {session_id}: {e}")

    async def batch_save_sessions(self, sessions: dict[str, Json]) -> None:
        try:
            now = datetime.now()
            records = [self._record(session_id, session, now) for session_id, session in sessions.items()]
            await self._storage.transaction([{"type": "save", "data": record} for record in records])
        except Exception as e:
            raise StorageError(f"Failed to batch save sessions: {e}")

    async def batch_delete_sessions(self, session_ids: list[str]) -> None:
        try:
            await self._storage.transaction([{"type": "delete", "id": session_id} for session_id in session_ids])
        except Exception as e:
            raise StorageError(f"Failed to batch delete sessions: {e}")


class LegacySessionStoreAdapter(OldSessionStore):
    """The old interface over a service; the document writes down one method, and says that the others are like it."""

    def __init__(self, session_service: ISessionService) -> None:
        self._session_service = session_service

    def save_session(self, session_id: str, session_data: Json) -> bool:
        try:
            asyncio.run(self._session_service.save_session(session_id, session_data))
            return True
        except Exception:
            return False


@dataclass(frozen=True)
class CallingSystem:
    """The classes of the document, from wherever they were taken."""

    old_store: Any
    store: Any
    protocol: Any
    service: Any
    metadata: type[BaseModel]
    data: type[BaseModel]
    adapter: Any
    legacy: Any

    def classes(self) -> dict[str, Any]:
        """Return all classes by the names that they have here."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


COPY = CallingSystem(
    old_store=OldSessionStore,
    store=ISessionStore,
    protocol=ISessionService,
    service=SessionService,
    metadata=SessionMetadata,
    data=SessionData,
    adapter=SessionStorageAdapter,
    legacy=LegacySessionStoreAdapter,
)


def document() -> Path | None:
    """Return where the document lies, when it lies beside a checkout."""
    root = Path(__file__).parents[1]
    places = (above / "shared" / "contract" / "session-interface.md" for above in root.parents)
    return next((place for place in places if place.is_file()), None)


def executed(path: Path) -> CallingSystem:
    """Execute the code of the document, block by block; a block that cannot be executed is an error."""
    blocks = re.findall(r"^```python\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: Json = {
        "__name__": "calling_system_document",
        **{name: globals()[name] for name in ("ABC", "abstractmethod", "Any", "Protocol", "datetime")},
        **{name: globals()[name] for name in ("IUnifiedStorage", "StorageError", "StorageNotFoundError")},
    }
    # what the first block takes for granted
    exec("from typing import Dict, List, Optional", names)
    blocks = [re.sub(r"^from \.\.\..*$", "", block, flags=re.MULTILINE) for block in blocks]
    old, *between, legacy = (compile(block, path, "exec", dont_inherit=True) for block in blocks)
    exec(old, names)
    old_store = names["ISessionStore"]
    for block in between:
        exec(block, names)
    store = names["ISessionStore"]
    # the two interfaces have one name there, and the adapter for old callers speaks of the old one
    names["ISessionStore"] = old_store
    exec(legacy, names)
    return CallingSystem(
        old_store=old_store,
        store=store,
        protocol=names["ISessionService"],
        service=names["SessionService"],
        metadata=names["SessionMetadata"],
        data=names["SessionData"],
        adapter=names["SessionStorageAdapter"],
        legacy=names["LegacySessionStoreAdapter"],
    )


SYSTEMS = {"copy": COPY}
if (_found := document()) is not None:
    SYSTEMS["document"] = executed(_found)
