import logging
from typing import Any

import pytest

from fsstore import MemoryStorage, SessionService
from fsstore.errors import StorageUnavailableError
from fsstore.model.records import Records
from fsstore.sessions.models import SessionData
from fsstore.testing import HandClock


class Counting(MemoryStorage):
    """A storage that counts what is asked of its index, and may refuse to answer."""

    asked, is_down = 0, False

    async def list_metadata(self, *arguments: Any, **options: Any) -> Records:
        self.asked += 1
        if self.is_down:
            raise StorageUnavailableError(reason="it is down")
        return await super().list_metadata(*arguments, **options)


@pytest.fixture
def storage() -> Counting:
    return Counting(clock=HandClock())


@pytest.fixture
async def sessions(storage: Counting) -> SessionService:
    service = SessionService(storage)
    await service.save_session("a", {"metadata": {"status": "open", "owner": "x"}, "state": {"step": 1}})
    return service


CALLS = {
    "list": lambda sessions, filters: sessions.list_sessions(filters),
    "metadata": lambda sessions, filters: sessions.list_metadata(filters),
    "page": lambda sessions, filters: sessions.list_page(filters),
    "count": lambda sessions, filters: sessions.count_sessions(filters),
    "typed list": lambda sessions, filters: sessions.typed(SessionData).list(filters),
    "typed page": lambda sessions, filters: sessions.typed(SessionData).page(filters),
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_key_that_no_session_has_is_named_with_the_nearest(
    sessions: SessionService, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    await CALLS[call](sessions, {"statsu": "open"})

    assert [(record.name, record.levelno) for record in caplog.records] == [("fsstore.filters", logging.WARNING)]
    assert caplog.messages == [
        "nothing found: no session has the filter key 'statsu' in its metadata; did you mean 'status'?"
    ]


@pytest.mark.parametrize("key", ["or", "AND", "nor"])
async def test_an_operator_without_its_dollar_is_named_with_it(
    sessions: SessionService, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    await sessions.list_sessions({key: [{"status": "open"}]})

    assert caplog.messages == [
        f"nothing found: no session has the filter key {key!r} in its metadata; did you mean '${key.lower()}'?"
    ]


@pytest.mark.parametrize(
    ("filters", "named"),
    [
        ({"metadata.statsu": 1}, ["metadata.statsu"]),
        ({"statsu.x": 1}, []),
        ({"$and": [{"status": "open"}, {"$or": [{"onwer": 1}, {"elsewhere": 1}]}]}, ["onwer", "elsewhere"]),
        ({r"a\.b": 1}, [r"a\.b"]),
        ({"state": 1}, ["state"]),
        ({"statsu": {"$gt": 1}}, ["statsu"]),
        # whose absence is not why nothing was found
        ({"statsu": {"$exists": False}, "status": "shut"}, []),
        ({"statsu": None, "status": "shut"}, []),
        ({"statsu": {"$ne": 1}, "status": "shut"}, []),
        ({"$nor": [{"statsu": 1}, {"status": "open"}]}, []),
        # which an index cannot answer, which fsstore stamps, and which are there
        ({"state.stpe": 1}, []),
        ({"session_id": "b"}, []),
        ({"updated_at": {"$gt": "2100"}}, []),
        ({"status": "shut"}, []),
    ],
)
async def test_only_a_key_whose_absence_explains_the_empty_list_is_named(
    sessions: SessionService, caplog: pytest.LogCaptureFixture, filters: Any, named: list[str]
) -> None:
    assert await sessions.list_sessions(filters) == []

    assert [message.split("filter key ")[1].split(" in its")[0] for message in caplog.messages] == list(
        map(repr, named)
    )


async def test_without_a_near_key_the_two_kinds_of_keys_are_explained(
    sessions: SessionService, caplog: pytest.LogCaptureFixture
) -> None:
    await sessions.count_sessions({"zzz": 1})

    assert caplog.messages[0].endswith(
        "; a bare key means metadata, a dotted one starts at the session, as in 'state.step'"
    )


async def test_a_key_is_looked_for_once(
    sessions: SessionService, storage: Counting, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        await sessions.list_sessions({"statsu": "open"})

    assert (storage.asked, len(caplog.messages)) == (2, 1)


async def test_a_list_that_finds_something_asks_nothing_more(sessions: SessionService, storage: Counting) -> None:
    await sessions.list_sessions({"$or": [{"status": "open"}, {"statsu": 1}]})
    await sessions.list_sessions()
    await sessions.list_page({"status": "shut"}, cursor=None)

    # for the page alone, whose key is there
    assert storage.asked == 1


async def test_a_rare_key_that_one_old_session_has_is_known(
    sessions: SessionService, storage: Counting, caplog: pytest.LogCaptureFixture
) -> None:
    await sessions.save_session("rare", {"metadata": {"rare": 1}})
    assert isinstance(storage.clock, HandClock)
    storage.clock.turn(60)
    await sessions.batch_save_sessions({f"s{number}": {} for number in range(150)})

    await sessions.list_sessions({"rare": 2})

    assert caplog.messages == []


async def test_an_empty_store_says_nothing_and_keeps_the_question(
    storage: Counting, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = SessionService(storage)
    await sessions.list_sessions({"statsu": "open"})
    assert caplog.messages == []

    await sessions.save_session("a", {"metadata": {"status": "open"}})
    await sessions.list_sessions({"statsu": "open"})
    assert len(caplog.messages) == 1


async def test_what_cannot_be_looked_for_breaks_no_list(sessions: SessionService, storage: Counting) -> None:
    storage.is_down = True

    assert await sessions.list_sessions({"statsu": "open"}) == []


ORDERED = {
    "list": lambda sessions: sessions.list_sessions(order_by="-onwer"),
    "metadata": lambda sessions: sessions.list_metadata(order_by="metadata.onwer"),
    "parts": lambda sessions: sessions.list_sessions(order_by="onwer", fields=["status"]),
    "typed list": lambda sessions: sessions.typed(SessionData).list(order_by="onwer"),
}


@pytest.mark.parametrize("call", ORDERED)
async def test_a_sort_key_that_no_session_has_is_named_with_the_nearest(
    sessions: SessionService, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    await ORDERED[call](sessions)
    await ORDERED[call](sessions)

    assert caplog.messages == [
        "put in no order: no session has the sort key 'onwer' in its metadata; did you mean 'owner'?"
    ]


WITH_FIELDS = {
    "get": lambda sessions, fields: sessions.get_session("a", fields=fields),
    "list": lambda sessions, fields: sessions.list_sessions(fields=fields),
    "page": lambda sessions, fields: sessions.list_page(fields=fields),
}


@pytest.mark.parametrize("call", WITH_FIELDS)
async def test_a_field_that_no_session_has_is_named_with_the_nearest(
    sessions: SessionService, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    for fields in (["statsu", "owner"], iter(["updatd_at"])):
        await WITH_FIELDS[call](sessions, fields)

    assert caplog.messages == [
        "left out: no session has the field 'statsu' in its metadata; did you mean 'status'?",
        "left out: no session has the field 'updatd_at' in its metadata; did you mean 'updated_at'?",
    ]


async def test_known_sort_keys_and_fields_cost_nothing(
    sessions: SessionService, storage: Counting, caplog: pytest.LogCaptureFixture
) -> None:
    await sessions.save_session("b", {"metadata": {"rare": 1}})
    fields = ["status", "rare", "metadata.owner.x", ".state", "state.nope", "session_id", "updated_at", ".metadata"]
    for order in (None, "-updated_at", "rare", "-status", "session_id", "state.nope"):
        await sessions.list_sessions(order_by=order)
    await sessions.list_sessions(fields=fields)
    await sessions.list_sessions({"status": "shut"}, order_by="onwer", fields=["statsu"])
    assert (storage.asked, caplog.messages) == (1, [])

    # which only the other session has: it is looked for, once
    for _ in range(3):
        await sessions.get_session("a", fields=["rare"])
    assert (storage.asked, caplog.messages) == (2, [])
