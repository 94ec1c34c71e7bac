import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from pydantic import BaseModel

from fsstore import MemoryStorage, SessionService
from fsstore.errors import StorageConflictError, StorageError, StorageNotFoundError, StorageValidationError
from fsstore.model.mutations import AnyMutation
from fsstore.model.records import Outcomes
from fsstore.sessions.mutations import saving_session
from fsstore.sessions.wording import worded_for_sessions
from fsstore.testing import HandClock
from fsstore.testing.backend import refusal

THEN = "2026-01-01T00:00:00.000000+00:00"


class Strict(BaseModel):
    data: dict[str, int]


class Loose(BaseModel):
    part: Any = None


@dataclasses.dataclass
class Chat:
    messages: list[str]


@pytest.fixture
def sessions() -> SessionService:
    return SessionService(MemoryStorage(clock=HandClock()))


async def in_transaction(sessions: SessionService, session: Any) -> None:
    async with sessions.transaction() as transaction:
        await transaction.save_session("a", session)


ABSENT: dict[str, Callable[[SessionService], Awaitable[Any]]] = {
    "update": lambda sessions: sessions.update_session("no", {}),
    "delete": lambda sessions: sessions.delete_session("no"),
    "edit": lambda sessions: sessions.edit_session("no", dict.clear),
    "append": lambda sessions: sessions.append_session("no", [1], create=False),
    "tail": lambda sessions: sessions.read_tail("no", 1),
    "pop": lambda sessions: sessions.pop_last("no"),
    "rotate": lambda sessions: sessions.rotate_session("no", "new"),
    "edit of a model": lambda sessions: sessions.typed(Loose).edit("no", print),
}


@pytest.mark.parametrize("way", ABSENT)
async def test_an_absent_session_is_called_a_session(sessions: SessionService, way: str) -> None:
    error = await refusal(ABSENT[way](sessions), StorageNotFoundError)

    advice = (
        "check the id; there is nothing to remove" if way == "delete" else "check the id, or save the session first"
    )
    assert str(error) == f"there is no session 'no'; {advice}"


async def test_a_conflict_names_the_session(sessions: SessionService) -> None:
    await sessions.save_session("a", {})
    error = await refusal(sessions.save_session("a", {}, expected_version=3), StorageConflictError)

    advice = "read it again and repeat the change, or use edit_session, which does that"
    assert str(error) == f"session 'a' has version 1, expected 3; {advice}"
    assert error is not None
    error.word_for_sessions()
    assert str(error).endswith(advice)


async def test_a_version_of_an_absent_session_is_not_advised_to_be_edited(sessions: SessionService) -> None:
    error = await refusal(sessions.save_session("no", {}, expected_version=3), StorageConflictError)

    advice = "check the id; it may have been deleted since it was read"
    assert str(error) == f"there is no session 'no', expected version 3; {advice}"


async def test_a_session_that_is_there_already_is_called_so(sessions: SessionService) -> None:
    await sessions.save_session("a", {})
    error = await refusal(sessions.save_session("a", {}, expected_version=0), StorageConflictError)

    assert str(error) == (
        "session 'a' exists already, with version 1; "
        "choose another id, or leave out the expected version to change the session that is there"
    )


async def test_a_conflict_of_rotating_says_which_of_both_sessions_is_in_the_way(sessions: SessionService) -> None:
    await sessions.batch_save_sessions({"a": {}, "b": {}})
    error = await refusal(sessions.rotate_session("a", "b"), StorageConflictError)
    assert str(error) == "session 'b' exists already, with version 1; choose another id for the new session"


async def test_a_session_that_changed_while_it_was_rotated_is_to_be_rotated_again() -> None:
    class Changing(MemoryStorage):
        async def commit(self, changes: Sequence[AnyMutation]) -> Outcomes:
            if len(changes) > 1:
                await super().commit([saving_session("a", {"settings": {"n": 1}}, THEN)])
            return await super().commit(changes)

    sessions = SessionService(Changing(clock=HandClock()))
    await sessions.save_session("a", {})
    error = await refusal(sessions.rotate_session("a", "b"), StorageConflictError)
    assert str(error).endswith("(its content is not what was read); rotate it again")


WAYS: dict[str, Callable[[SessionService, Any], Awaitable[Any]]] = {
    "save": lambda sessions, session: sessions.save_session("a", session),
    "update": lambda sessions, session: sessions.update_session("a", session),
    "edit": lambda sessions, session: sessions.edit_session("a", lambda draft: draft.update(session)),
    "batch": lambda sessions, session: sessions.batch_save_sessions({"a": session}),
    "transaction": in_transaction,
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_path_is_the_one_that_the_caller_wrote(sessions: SessionService, way: str) -> None:
    await sessions.save_session("a", {})

    # a key of that name is no sign of a path that starts at the record
    for session, path in (({"state": {"n": b""}}, "$.state.n"), ({"data": {"data": b""}}, "$.data.data")):
        error = await refusal(WAYS[way](sessions, session), StorageValidationError)
        assert error is not None
        assert str(error).startswith(f"session 'a': {path}: bytes is not a JSON value; store it as text: base64.")


async def test_an_item_that_is_appended_is_named_by_its_position(sessions: SessionService) -> None:
    for item in ({"part": object()}, Loose(part=object())):
        error = await refusal(sessions.append_session("a", [1, item]), StorageValidationError)
        assert error is not None
        assert error.path == "$.items[1].part"


async def test_what_does_not_fit_a_model_is_named_where_it_stands(sessions: SessionService) -> None:
    await sessions.save_session("a", {"data": {"n": "many"}})

    typed = sessions.typed(Strict)
    for call in (sessions.get_model("a", Strict), typed.get("a"), typed.list(), typed.edit("a", print)):
        error = await refusal(call, StorageValidationError)
        assert error is not None
        assert (error.path, error.message.split(":")[0]) == ("$.data.n", "session 'a'")


async def test_a_stream_names_the_session_too(sessions: SessionService) -> None:
    await sessions.save_session("a", {"data": {"n": "many"}})

    error = await refusal(anext(sessions.typed(Strict).stream()), StorageValidationError)
    assert error is not None
    assert (error.path, error.message.split(":")[0]) == ("$.data.n", "session 'a'")


async def test_a_class_words_all_that_it_offers_and_nothing_of_its_own() -> None:
    @worded_for_sessions
    class Offering:
        def call(self) -> None:
            raise StorageNotFoundError(id="a")

        async def wait(self) -> None:
            self.call()

        async def stream(self) -> AsyncGenerator[int]:
            yield 1
            self.call()

        async def __aenter__(self) -> None:
            self.call()

        async def __aexit__(self, *_: object) -> None:
            self.call()

        async def _own(self) -> None:
            raise StorageNotFoundError(id="a")

    offering = Offering()
    with pytest.raises(StorageNotFoundError, match="no session 'a'"):
        offering.call()
    for call in (offering.wait(), offering.__aenter__(), offering.__aexit__()):
        assert str(await refusal(call, StorageNotFoundError)).startswith("there is no session 'a'")
    items = offering.stream()
    assert await anext(items) == 1
    assert str(await refusal(anext(items), StorageNotFoundError)).startswith("there is no session 'a'")
    assert str(await refusal(offering._own(), StorageNotFoundError)).startswith("there is no document 'a'")


async def test_a_stream_that_is_closed_ends_at_once() -> None:
    ended = list[str]()

    @worded_for_sessions
    class Offering:
        async def stream(self) -> AsyncGenerator[int]:
            try:
                yield 1
            finally:
                ended.append("stream")

    async with aclosing(Offering().stream()) as items:
        assert await anext(items) == 1
    assert ended == ["stream"]


async def test_what_is_no_session_is_answered_with_what_is(sessions: SessionService) -> None:
    cases: list[tuple[Any, str]] = [
        ('{"metadata": {}}', "json.loads(value)"),
        (Chat([]), "dataclasses.asdict(value)"),
        ([], "{'metadata': {'status': 'open'}, 'messages': []}"),
        ({"metadata": Loose()}, 'model_dump(mode="json")'),
    ]
    for session, advice in cases:
        error = await refusal(sessions.save_session("a", session), StorageValidationError)
        assert error is not None
        assert advice in error.advice


async def test_records_stay_documents_to_those_who_use_a_storage(sessions: SessionService) -> None:
    error = await refusal(sessions.storage.update("no", {}), StorageNotFoundError)

    assert str(error) == "there is no document 'no'; check the id, or save the document first"


async def test_an_error_of_the_callers_own_stays_as_it_is(sessions: SessionService) -> None:
    await sessions.save_session("a", {})
    mine = StorageError("the document is mine", path="$.data.n", id="a")

    def fail(_: object) -> None:
        raise mine

    with pytest.raises(StorageError) as caught:
        await sessions.edit_session("a", fail)

    assert caught.value is mine
    assert (str(mine), mine.path) == ("the document is mine", "$.data.n")
