"""The contract of storages and sessions over PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsstore.postgres.storage import PostgresStorage
from fsstore.testing import SessionContract, StorageContract, WatchContract
from tests.postgres.stores import shared_prefix


class TestPostgresStorage(StorageContract, SessionContract, WatchContract):
    @pytest.fixture(autouse=True)
    def _server(self, postgres_url: str) -> None:
        self.url = postgres_url

    async def open_store(self, path: Path) -> PostgresStorage:
        return await PostgresStorage.open(self.url, create=True, prefix=shared_prefix(self.url, path))
