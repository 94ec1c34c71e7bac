"""fsstore itself, through its public face."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import fsstore
from tests.benchmarks.documents import Session
from tests.benchmarks.peers.store import Store


class Fsstore(Store):
    name = "fsstore"
    timed = "open_sessions; gets and returns dicts, checks and encodes them, keeps an index, locks other processes out"
    durabilities = (False, True)
    indexed = True

    async def open(self) -> None:
        self._sessions = await fsstore.open_sessions(self.directory, fsync=self.durable)

    async def close(self) -> None:
        await self._sessions.close()

    async def save(self, name: str, session: Session) -> None:
        await self._sessions.save_session(name, session)

    async def save_many(self, sessions: Mapping[str, Session]) -> None:
        await self._sessions.batch_save_sessions(sessions)

    async def get(self, name: str) -> Any:
        return await self._sessions.get_session(name)

    async def exists(self, name: str) -> bool:
        return await self._sessions.session_exists(name)

    async def delete(self, name: str) -> None:
        await self._sessions.delete_session(name)

    async def update(self, name: str, changed: Session) -> None:
        # the time of the update is the store's own
        fields = {key: value for key, value in changed.items() if key != "updated_at"}
        await self._sessions.update_session(name, {"metadata": fields})

    async def list_sessions(self, status: str, user: str, limit: int) -> list[Session]:
        return await self._sessions.list_sessions({"status": status, "user_id": user}, limit)

    async def list_metadata(self, status: str, user: str, limit: int) -> list[Session]:
        return await self._sessions.list_metadata({"status": status, "user_id": user}, limit)

    async def count(self, status: str) -> int:
        return await self._sessions.count_sessions({"status": status})

    async def survey(self) -> int:
        # the first use of the index compares every file with it
        return await self._sessions.count_sessions()

    async def stream(self) -> AsyncIterator[Session]:
        async for batch in self._sessions.stream_sessions():
            for session in batch:
                yield session
