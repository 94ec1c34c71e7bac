"""What the tables of a store may be called."""

from __future__ import annotations

import pytest

from fsstore import StorageValidationError
from fsstore.postgres.schema.tables import Names
from fsstore.postgres.storage import PostgresStorage


@pytest.mark.parametrize("name", ["a%b", "%s", "a\0", "\ud800"])
def test_a_name_that_no_statement_can_hold_is_refused(name: str) -> None:
    for wrong in ({"schema": name}, {"prefix": name}):
        with pytest.raises(StorageValidationError, match="must be text"):
            Names(**wrong)


async def test_names_are_quoted_wherever_they_stand(postgres_url: str) -> None:
    store = await PostgresStorage.open(postgres_url, create=True, schema='Weird " schema', prefix="It's {a}; -- ")
    async with store as storage, storage.watch() as changes:
        await storage.batch_save([{"id": "a"}, {"id": "b"}])
        await storage.save({"id": "a", "data": {"n": 1}})
        assert {(await anext(changes)).id for _ in range(3)} == {"a", "b"}  # type: ignore[union-attr]
        assert await storage.count() == len(await storage.list()) == 2
        assert await storage.query("SELECT count(*) AS n FROM documents") == [{"n": 2}]
