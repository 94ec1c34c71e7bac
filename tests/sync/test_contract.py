"""The contract of storages and sessions over the synchronous faces, on both backends."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fsstore import sync
from fsstore.errors import StorageTimeoutError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.clock import HandClock
from fsstore.testing import StorageContract
from fsstore.testing.finding import ENDLESS_QUERY
from fsstore.testing.patches import SessionPatchContract
from fsstore.testing.session_appends import SessionAppendContract, SessionTailContract
from fsstore.testing.session_changes import SessionEditContract
from fsstore.testing.session_edits import SessionEditReturnContract
from fsstore.testing.session_lists import SessionListContract
from fsstore.testing.session_models import SessionModelContract
from fsstore.testing.session_refusals import SessionRefusalContract
from fsstore.testing.session_times import SessionTimeContract
from fsstore.testing.session_transactions import SessionTransactionContract
from fsstore.testing.session_typed import SessionTypedContract
from fsstore.testing.session_versions import SessionVersionContract
from fsstore.testing.sessions import SessionRecordContract
from tests.sync.turned import TurnedSessions, TurnedStorage


class Contract(
    StorageContract,
    SessionRecordContract,
    SessionVersionContract,
    SessionModelContract,
    SessionTypedContract,
    SessionListContract,
    SessionRefusalContract,
    SessionPatchContract,
    SessionAppendContract,
    SessionTailContract,
    SessionEditContract,
    SessionEditReturnContract,
    SessionTransactionContract,
    SessionTimeContract,
):
    """All but what is about event loops: the timeouts of functions that await, and what runs inside them."""

    url = ""

    async def open_store(self, path: Path) -> IUnifiedStorage:
        options = {"fsync": False} if self.url == "" else {}
        opened: Any = TurnedStorage(await asyncio.to_thread(partial(sync.open_storage, self.url or path, **options)))
        return opened  # type: ignore[no-any-return]

    @pytest_asyncio.fixture
    async def sessions(self, storage: IUnifiedStorage) -> Any:
        return TurnedSessions(storage)

    async def test_what_was_handed_in_may_change_afterwards(self, sessions: Any) -> None:
        """A call has ended when it returns, so it is then that what was handed in may change."""
        items = [{"content": "as it was"}]
        await sessions.append_session("a", items)
        items[0]["content"] = "changed"
        assert (await sessions.read_tail("a", 5)).items == [{"content": "as it was"}]

    async def test_a_change_is_saved_as_it_was_when_the_call_began(self, storage: IUnifiedStorage) -> None:
        """The same of records."""
        data = {"list": [0], "inner": {"n": 0}}
        await storage.save({"id": "a", "data": data})
        data["inner"] = {"n": 1}
        record = await storage.load("a")
        assert record is not None
        assert record["data"] == {"list": [0], "inner": {"n": 0}}

    async def test_a_query_without_end_keeps_nobody_waiting(self, storage: IUnifiedStorage) -> None:
        """It keeps the thread that asked, until it is ended at its limit of time."""
        await storage.save({"id": "a"})
        query = asyncio.ensure_future(storage.query(ENDLESS_QUERY))
        async with asyncio.timeout(5):
            assert await storage.query("SELECT count(*) AS n FROM documents") == [{"n": 1}]
        assert not query.done()
        with pytest.raises(StorageTimeoutError):
            await query

    async def test_a_record_updated_while_cleanup_runs_stays(
        self, storage: Any, clock: HandClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The commit that comes between is one of the storage below the face."""
        inner = storage._face._inner

        class Below:
            """Takes the place of the turned storage for what is patched."""

            def __getattr__(self, name: str) -> Any:
                return getattr(inner if name == "commit" else storage, name)

            def __setattr__(self, name: str, value: Any) -> None:
                setattr(inner, name, value)

            def __delattr__(self, name: str) -> None:
                delattr(inner, name)

        below: Any = Below()
        await super().test_a_record_updated_while_cleanup_runs_stays(below, clock, monkeypatch)


class TestSyncFileStorage(Contract):
    pass


class TestSyncMemoryStorage(Contract):
    url = "memory:"
