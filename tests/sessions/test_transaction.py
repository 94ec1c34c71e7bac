import pytest

from fsstore import MemoryStorage, SessionService
from fsstore.errors import StorageClosedError, StorageConflictError, StorageValidationError
from fsstore.model.records import JsonObject
from fsstore.testing import HandClock


class CountingStorage(MemoryStorage):
    """A memory store that remembers what was loaded."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__(clock=clock)
        self.loaded: list[str] = []

    async def load(self, id: str) -> JsonObject | None:
        self.loaded.append(id)
        return await super().load(id)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def storage(clock: HandClock) -> CountingStorage:
    return CountingStorage(clock)


@pytest.fixture
def sessions(storage: CountingStorage) -> SessionService:
    return SessionService(storage)


async def test_a_transaction_loads_each_session_once(sessions: SessionService, storage: CountingStorage) -> None:
    await sessions.save_session("a", {"n": 0})
    storage.loaded.clear()

    async with sessions.transaction() as transaction:
        await transaction.get_session("a")
        await transaction.update_session("a", {"n": 1})
        await transaction.get_session("a")

    assert storage.loaded == ["a"]


async def test_a_transaction_does_not_touch_a_record_of_another_type(
    sessions: SessionService, storage: CountingStorage
) -> None:
    await storage.save({"id": "a", "type": "note"})

    async with sessions.transaction() as transaction:
        assert await transaction.get_session("a") is None
        with pytest.raises(StorageConflictError, match="note"):
            await transaction.save_session("a", {})
        with pytest.raises(StorageConflictError, match="note"):
            await transaction.delete_session("a")

    assert (await storage.load("a") or {})["version"] == 1


async def test_a_transaction_on_a_closed_store_raises_at_its_end(sessions: SessionService) -> None:
    async def close_inside() -> None:
        async with sessions.transaction() as transaction:
            await transaction.save_session("a", {})
            await sessions.close()

    with pytest.raises(StorageClosedError):
        await close_inside()


async def test_each_write_has_the_time_of_its_statement(sessions: SessionService, clock: HandClock) -> None:
    async with sessions.transaction() as transaction:
        await transaction.save_session("a", {})
        first = clock.text
        clock.turn(60)
        await transaction.save_session("b", {})
        second = clock.text
        clock.turn(60)

    records = [await sessions.get_record(session_id) for session_id in "ab"]
    assert [record and record["updated_at"] for record in records] == [first, second]


async def test_a_write_that_can_not_be_stored_is_refused_by_its_statement(sessions: SessionService) -> None:
    async with sessions.transaction() as transaction:
        await transaction.save_session("a", {"n": 1})
        with pytest.raises(StorageValidationError) as caught:
            await transaction.update_session("a", {"metadata": "text"})
        assert (caught.value.path, caught.value.id) == ("$.metadata", "a")
        assert await transaction.get_session("a") == await transaction.get_session("a")

    assert (await sessions.get_session("a") or {})["n"] == 1
