"""How a contract class gets a store: the one method a backend's tests bring, and the fixtures made of it.

No test of a contract sleeps: each turns a clock by hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextvars import Context
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pytest
import pytest_asyncio

from fsstore.errors import StorageError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.clock import HandClock

E = TypeVar("E", bound=StorageError)
OpenAgain: TypeAlias = Callable[[], Awaitable[IUnifiedStorage]]

DAY_SECONDS = 86_400.0


class BackendFixtures:
    """What every contract class starts from. A backend's test class brings `open_store` and nothing else."""

    pytestmark = pytest.mark.asyncio

    async def open_store(self, path: Path) -> IUnifiedStorage:
        """Open the store at a path, and make it when it is not there; a backend without files ignores the path."""
        raise NotImplementedError("a contract class needs `async def open_store(self, path)`")

    @pytest.fixture
    def clock(self) -> HandClock:
        """Return the clock of all stores of a test."""
        return HandClock()

    @pytest_asyncio.fixture
    async def open_again(self, tmp_path: Path, clock: HandClock) -> AsyncGenerator[OpenAgain]:
        """Give a function that opens one more handle on the store of this test; all are closed at its end."""
        opened: list[IUnifiedStorage] = []

        async def open_again() -> IUnifiedStorage:
            storage = await self.open_store(tmp_path / "store")
            storage.clock = clock
            opened.append(storage)
            return storage

        yield open_again
        for storage in reversed(opened):
            await storage.close()

    @pytest_asyncio.fixture
    async def storage(self, open_again: OpenAgain) -> IUnifiedStorage:
        """Return an open, empty store."""
        return await open_again()


async def refusal(call: Awaitable[object], kind: type[E]) -> E | None:
    """Return the error of that kind that a call ends with, None when it ends well."""
    try:
        await call
    except kind as error:
        return error
    return None


async def elsewhere(call: Coroutine[Any, Any, object]) -> None:
    """Make a call as another program would: outside whatever the caller is inside of."""
    await asyncio.create_task(call, context=Context())


def outlives_its_handle(storage: IUnifiedStorage) -> bool:
    """Whether a store is still there when its last handle is closed: what is durable or shared lies outside."""
    return storage.guarantees.durable or storage.guarantees.cross_process
