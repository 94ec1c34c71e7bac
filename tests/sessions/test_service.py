import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

import pytest
from pydantic import BaseModel

import fsstore
from fsstore import MemoryStorage, SessionService
from fsstore.errors import StorageValidationError
from fsstore.model.records import Filters, JsonObject, Records
from fsstore.sessions.interfaces import ISessionService, ISessionStore
from fsstore.testing import HandClock
from fsstore.watching.changes import Change


class WatchedStorage(MemoryStorage):
    """A memory store that remembers which of its methods were used, and whether streams were closed."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__(clock=clock)
        self.calls: list[str] = []
        self.open_streams = 0

    async def load(self, id: str) -> JsonObject | None:
        self.calls.append("load")
        return await super().load(id)

    async def list_metadata(self, *arguments: Any, **options: Any) -> Records:
        self.calls.append("list_metadata")
        return await super().list_metadata(*arguments, **options)

    async def stream_list(self, filters: Filters | None = None, batch_size: int = 100) -> AsyncGenerator[Records]:
        self.open_streams += 1
        try:
            async with aclosing(super().stream_list(filters, batch_size)) as batches:
                async for batch in batches:
                    yield batch
        finally:
            self.open_streams -= 1


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def storage(clock: HandClock) -> WatchedStorage:
    return WatchedStorage(clock)


@pytest.fixture
def sessions(storage: WatchedStorage) -> SessionService:
    return SessionService(storage)


def test_the_service_is_what_callers_of_either_contract_expect(sessions: SessionService) -> None:
    assert isinstance(sessions, ISessionStore)
    assert isinstance(sessions, ISessionService)
    assert fsstore.SessionStorageAdapter is fsstore.SessionService


async def test_metadata_is_listed_through_the_storages_own_listing(
    sessions: SessionService, storage: WatchedStorage
) -> None:
    await sessions.save_session("a", {"metadata": {"status": "open"}})
    storage.calls.clear()

    await sessions.list_metadata({"status": "open"})

    assert storage.calls == ["list_metadata"]


async def test_a_stream_left_early_closes_the_storages_stream(
    sessions: SessionService, storage: WatchedStorage
) -> None:
    await sessions.batch_save_sessions({str(number): {} for number in range(5)})

    async with aclosing(sessions.stream_sessions(batch_size=2)) as batches:
        async for _ in batches:
            assert storage.open_streams == 1
            break

    assert storage.open_streams == 0


# -- edits ----------------------------------------------------------------------------------------------------------


async def test_edits_of_one_process_wait_for_each_other_instead_of_trying_in_vain(
    sessions: SessionService, storage: WatchedStorage
) -> None:
    await sessions.save_session("a", {"n": 0})
    storage.calls.clear()

    async def edit(data: JsonObject) -> None:
        await asyncio.sleep(0)
        data["n"] += 1

    await asyncio.gather(*(sessions.edit_session("a", edit) for _ in range(10)))

    assert storage.calls == ["load"] * 10


async def test_edits_of_different_sessions_do_not_wait_for_each_other(sessions: SessionService) -> None:
    await sessions.batch_save_sessions({"a": {}, "b": {}})
    other_edited = asyncio.Event()

    async def wait(data: JsonObject) -> None:
        await other_edited.wait()
        data["n"] = 1

    waiting = asyncio.create_task(sessions.edit_session("a", wait))
    await asyncio.sleep(0)
    await sessions.edit_session("b", lambda data: data.update(n=2))
    other_edited.set()

    assert (await waiting)["n"] == 1


async def test_an_edit_that_is_over_or_cancelled_leaves_nothing_behind(sessions: SessionService) -> None:
    await sessions.save_session("a", {"n": 0})
    started = asyncio.Event()

    async def hang(_: JsonObject) -> None:
        started.set()
        await asyncio.Event().wait()

    hanging = asyncio.create_task(sessions.edit_session("a", hang))
    await started.wait()
    queued = asyncio.create_task(sessions.edit_session("a", hang))
    last = asyncio.create_task(sessions.edit_session("a", lambda data: data.update(n=1)))
    await asyncio.sleep(0)
    for task in (queued, hanging):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    assert (await last)["n"] == 1
    assert sessions._edits == {}


async def test_an_edit_may_return_any_awaitable(sessions: SessionService) -> None:
    await sessions.save_session("a", {"n": 0})
    future: asyncio.Future[JsonObject | None] = asyncio.get_running_loop().create_future()
    future.set_result({"n": 1})

    assert (await sessions.edit_session("a", lambda _: future, replace=True))["n"] == 1


async def test_an_edit_that_returns_no_session_is_refused(sessions: SessionService) -> None:
    await sessions.save_session("a", {"n": 0})
    not_a_session: Any = "text"

    with pytest.raises(StorageValidationError):
        await sessions.edit_session("a", lambda _: not_a_session)

    assert (await sessions.get_record("a") or {})["version"] == 1


# -- models ---------------------------------------------------------------------------------------------------------


class Chat(BaseModel):
    messages: list[dict[str, str]]


async def test_the_place_where_a_session_does_not_fit_its_model_is_a_json_path(sessions: SessionService) -> None:
    await sessions.save_session("a", {"messages": [{"role": "user"}, {"role": 5}]})

    with pytest.raises(StorageValidationError) as caught:
        await sessions.get_model("a", Chat)

    assert caught.value.path == "$.messages[1].role"
    # nothing was put in here that could be corrected
    assert str(caught.value).endswith("; correct the session, or load it as the model that it was saved as")


async def test_an_odd_key_is_quoted_in_the_path(sessions: SessionService) -> None:
    await sessions.save_session("a", {"messages": [{"the role": 5}]})

    with pytest.raises(StorageValidationError) as caught:
        await sessions.get_model("a", Chat)

    assert caught.value.path == "$.messages[0]['the role']"


# -- cursors --------------------------------------------------------------------------------------------------------


async def test_a_page_reads_one_session_more_than_it_gives(
    sessions: SessionService, storage: WatchedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sessions.batch_save_sessions({str(number): {} for number in range(9)})
    limits: list[Any] = []
    listed = storage.list

    async def recording(filters: Filters | None = None, limit: int | None = None, **options: Any) -> Records:
        limits.append(limit)
        return await listed(filters, limit, **options)

    monkeypatch.setattr(storage, "list", recording)
    page = await sessions.list_page(limit=4)
    await sessions.list_page(limit=4, cursor=page.cursor)

    assert limits == [5, 5]


async def test_a_cursor_survives_a_url(sessions: SessionService, clock: HandClock) -> None:
    for name in ("\U0001f600 ?&=#/+%", "b"):
        clock.turn(-1)
        await sessions.save_session(name, {})

    page = await sessions.list_page(limit=1)

    assert page.cursor is not None
    assert page.cursor.rstrip("=").replace("-", "").replace("_", "").isalnum()
    assert page.cursor.isascii()
    rest = await sessions.list_page(limit=1, cursor=page.cursor)
    assert [session["metadata"]["session_id"] for session in rest.items] == ["b"]


async def test_a_watch_gives_the_id_of_the_record_whatever_the_metadata_says(
    sessions: SessionService, storage: WatchedStorage
) -> None:
    strange = {"a": {"metadata": {"session_id": "z"}}, "b": {"metadata": {"status": "x"}}, "c": {}}
    async with sessions.watch() as changes:
        for record_id, data in strange.items():
            await storage.save({"id": record_id, "type": "session", "data": data})
        await storage.delete("a")
        found = [await asyncio.wait_for(anext(changes), 20) for _ in range(4)]
    assert [change.metadata for change in found if isinstance(change, Change)] == [
        {"session_id": "a"},
        {"session_id": "b", "status": "x"},
        {"session_id": "c"},
        {},
    ]


async def test_an_error_in_a_filter_by_the_id_of_a_session_is_told_in_its_words(sessions: SessionService) -> None:
    refusals: dict[str, Filters] = {
        "$.session_id": {"session_id": {"$lik": 1}},
        "$['metadata.session_id']": {"metadata.session_id": {"$lik": 1}},
        "$.idle": {"session_id": "a", "idle": {"$lik": 1}},
        "$.id": {"session_id": "a", "id": {"$lik": 1}},
        "$['state.id']": {"session_id": "a", "state.id": {"$lik": 1}},
    }
    for path, filters in refusals.items():
        with pytest.raises(StorageValidationError) as refused:
            await sessions.list_sessions(filters)
        assert (refused.value.path or "").startswith(path)
        assert "session_idle" not in str(refused.value)
