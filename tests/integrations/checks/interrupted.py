"""A storage for tests of what happens between a look and the commit that rests on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any


class Interrupted:
    """A storage in which something else happens right before the first commit."""

    def __init__(self, storage: Any, between: Callable[[], Awaitable[Any]]) -> None:
        self._storage = storage
        self._between: Callable[[], Awaitable[Any]] | None = between

    async def commit(self, changes: Any) -> Any:
        between, self._between = self._between, None
        if between is not None:
            await between()
        return await self._storage.commit(changes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)
