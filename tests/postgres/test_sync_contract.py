"""The contract over PostgreSQL through the synchronous faces."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fsstore import sync
from fsstore.interfaces import IUnifiedStorage
from fsstore.postgres.queries.relation import queried
from tests.postgres.stores import shared_prefix
from tests.sync.test_contract import Contract
from tests.sync.turned import TurnedStorage


class TestSyncPostgresStorage(Contract):
    @pytest.fixture(autouse=True)
    def _server(self, postgres_url: str) -> None:
        self.url = postgres_url

    async def open_store(self, path: Path) -> IUnifiedStorage:
        opening = partial(sync.open_storage, self.url, create=True, prefix=shared_prefix(self.url, path))
        opened: Any = TurnedStorage(await asyncio.to_thread(opening))
        return opened  # type: ignore[no-any-return]

    async def test_a_query_without_end_keeps_nobody_waiting(self, storage: IUnifiedStorage) -> None:
        """At a lower limit of time, which it waits for."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fsstore.postgres.storage.queried", partial(queried, timeout_seconds=2.0))
            await super().test_a_query_without_end_keeps_nobody_waiting(storage)
