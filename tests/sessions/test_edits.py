import asyncio
from collections.abc import Sequence

import pytest

from fsstore import MemoryStorage, SessionService
from fsstore.errors import StorageConflictError, StorageTimeoutError, StorageUnavailableError, StorageValidationError
from fsstore.model.mutations import AnyMutation
from fsstore.model.records import JsonObject, Outcomes
from fsstore.sessions.edits import _RUNS, refuse_inside_edit

SOON_SECONDS = 0.05
LONG_SECONDS = 20.0


class StuckStorage(MemoryStorage):
    """A memory store whose commits or loads wait for ever once `stuck` says so."""

    stuck = ""

    async def load(self, id: str) -> JsonObject | None:
        if self.stuck == "load":
            await asyncio.Event().wait()
        return await super().load(id)

    async def commit(self, changes: Sequence[AnyMutation]) -> Outcomes:
        if self.stuck == "commit":
            await asyncio.Event().wait()
        if self.stuck == "timeout":
            raise StorageTimeoutError(reason="the lock", path="here", timeout_seconds=1)
        return await super().commit(changes)


@pytest.fixture
def storage() -> StuckStorage:
    return StuckStorage()


@pytest.fixture
def sessions(storage: StuckStorage) -> SessionService:
    return SessionService(storage)


@pytest.mark.parametrize(("stuck", "outcome"), [("load", "not applied"), ("commit", "unknown")])
async def test_the_timeout_bounds_what_the_storage_takes_and_says_what_became_of_the_edit(
    sessions: SessionService, storage: StuckStorage, stuck: str, outcome: str
) -> None:
    await sessions.save_session("a", {"n": 0})
    storage.stuck = stuck

    async with asyncio.timeout(LONG_SECONDS):
        with pytest.raises(StorageTimeoutError) as caught:
            await sessions.edit_session("a", lambda s: s.update(n=1), timeout_seconds=SOON_SECONDS)

    assert (caught.value.outcome, caught.value.timeout_seconds) == (outcome, SOON_SECONDS)
    assert sessions._edits == {}
    storage.stuck = ""
    assert (await sessions.edit_session("a", lambda s: s.update(n=2)))["n"] == 2


async def test_a_timeout_of_the_storages_own_is_its_own(sessions: SessionService, storage: StuckStorage) -> None:
    await sessions.save_session("a", {"n": 0})
    storage.stuck = "timeout"

    with pytest.raises(StorageTimeoutError) as caught:
        await sessions.edit_session("a", lambda s: s.update(n=1))

    assert (caught.value.path, caught.value.outcome) == ("here", "not applied")


@pytest.mark.parametrize("stuck", ["load", "commit"])
async def test_a_cancelled_edit_is_cancelled_and_leaves_nothing_behind(
    sessions: SessionService, storage: StuckStorage, stuck: str
) -> None:
    await sessions.save_session("a", {"n": 0})
    storage.stuck = stuck
    editing = [asyncio.create_task(sessions.edit_session("a", lambda s: s.update(n=1))) for _ in range(3)]
    await asyncio.sleep(0)

    for task in editing:
        task.cancel()
    await asyncio.wait(editing)

    assert all(task.cancelled() for task in editing)
    assert sessions._edits == {}
    assert _RUNS.get() == ()


async def test_an_error_of_the_storage_reaches_the_caller_of_an_edit(sessions: SessionService) -> None:
    await sessions.save_session("a", {"n": 0})

    def fail(_: JsonObject) -> None:
        raise StorageUnavailableError(reason="full", path="disk")

    with pytest.raises(StorageUnavailableError):
        await sessions.edit_session("a", fail)
    refuse_inside_edit(sessions.storage, ["a"], "anything")


async def test_a_session_may_be_edited_through_another_storage_inside_an_edit(sessions: SessionService) -> None:
    other = SessionService(MemoryStorage())
    for service in (sessions, other):
        await service.save_session("a", {"n": 0})

    async def edit(data: JsonObject) -> None:
        await other.edit_session("a", lambda s: s.update(n=1))
        with pytest.raises(StorageValidationError):
            await sessions.update_session("a", {"n": 1})
        data["n"] = 2

    assert (await sessions.edit_session("a", edit))["n"] == 2


@pytest.mark.parametrize("gives_up", ["by the timeout of the edit", "by one around it"])
async def test_a_wait_for_another_edit_that_was_given_up_is_not_what_takes_the_time(
    sessions: SessionService, gives_up: str
) -> None:
    await sessions.batch_save_sessions({"a": {}, "b": {}})
    until = asyncio.Event()

    async def hold(_: JsonObject) -> None:
        await until.wait()

    async def give_up_and_go_on(_: JsonObject) -> None:
        seconds = SOON_SECONDS / 10
        if gives_up == "by one around it":
            waiting = asyncio.wait_for(sessions.edit_session("b", lambda _: None), seconds)
        else:
            waiting = sessions.edit_session("b", lambda _: None, timeout_seconds=seconds)
        with pytest.raises(TimeoutError):
            await waiting
        await until.wait()

    holding = asyncio.create_task(sessions.edit_session("b", hold))
    await asyncio.sleep(0)

    with pytest.raises(StorageTimeoutError) as caught:
        await sessions.edit_session("a", give_up_and_go_on, timeout_seconds=20 * SOON_SECONDS)

    assert "another task" not in str(caught.value)
    assert caught.value.advice == "nothing was written; make fn quicker, or raise timeout_seconds"
    until.set()
    await holding


async def test_an_fn_that_writes_its_session_past_the_service_is_named_as_a_cause(
    sessions: SessionService, storage: StuckStorage
) -> None:
    await sessions.save_session("a", {})

    async def writing(_: JsonObject) -> None:
        await storage.update("a", {"data": {"n": 1}})

    with pytest.raises(StorageConflictError) as lost:
        await sessions.edit_session("a", writing, timeout_seconds=0)

    assert "fn itself" in lost.value.advice
