"""The contract of histories: appending to a session, reading its end, taking the last item away, continuing it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from fsstore.errors import StorageConflictError, StorageNotFoundError, StorageValidationError
from fsstore.model.clock import HandClock
from fsstore.model.records import JsonObject
from fsstore.sessions.service import SessionService
from fsstore.testing.backend import refusal
from fsstore.testing.sessions import SessionFixtures

REFUSED_ITEMS: list[Any] = ["text", b"bytes", {"role": "user"}, 5, None, [float("nan")], [{"a": {1, 2}}], [{1: 2}]]
"""What cannot be appended."""


class Message(BaseModel):
    """An item as programs have it."""

    role: str = "user"
    content: str


def said(*texts: str) -> list[JsonObject]:
    """Return messages."""
    return [{"role": "user", "content": text} for text in texts]


class SessionAppendContract(SessionFixtures):
    """What `append_session` promises."""

    async def test_items_come_to_the_end_and_the_rest_stays(self, sessions: SessionService, clock: HandClock) -> None:
        await sessions.save_session(
            "a", {"metadata": {"status": "open"}, "messages": said("one"), "state": {"messages": [1]}, "zeta": []}
        )
        later = clock.turn()
        assert await sessions.append_session("a", said("two", "three")) == 3
        assert await sessions.append_session("a", said("four")) == 4

        record = await sessions.get_record("a")
        assert record is not None
        assert (record["version"], record["updated_at"]) == (3, later)
        session = record["data"]
        assert session["messages"] == said("one", "two", "three", "four")
        assert (session["state"], session["zeta"]) == ({"messages": [1]}, [])
        assert session["metadata"]["status"] == "open"
        assert session["metadata"]["updated_at"] == later

    async def test_a_session_and_a_list_are_made_unless_they_must_be_there(self, sessions: SessionService) -> None:
        assert await sessions.append_session("new", said("one"), metadata={"user_id": "u"}) == 1
        assert await sessions.append_session("new", [1, 2], path="state.log") == 2
        with pytest.raises(StorageNotFoundError):
            await sessions.append_session("none", said("one"), create=False)

        session = await sessions.get_session("new")
        assert session is not None
        assert session["messages"] == said("one")
        assert session["state"] == {"log": [1, 2]}
        assert (session["metadata"]["user_id"], session["metadata"]["session_id"]) == ("u", "new")
        assert await sessions.count_sessions({"user_id": "u"}) == 1
        assert not await sessions.session_exists("none")

    async def test_metadata_is_patched_in_the_same_commit(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"metadata": {"status": "open", "turns": 1}, "messages": []})
        await sessions.append_session("a", said("one"), metadata={"status": "active", "turns": None, "n": {"x": 1}})

        record = await sessions.get_record("a")
        assert record is not None
        assert record["version"] == 2
        metadata = record["data"]["metadata"]
        assert (metadata["status"], metadata["n"], "turns" in metadata) == ("active", {"x": 1}, False)
        assert await sessions.list_metadata({"status": "active"}) == [metadata]
        with pytest.raises(StorageValidationError, match=r"\$set"):
            await sessions.append_session("a", said("two"), metadata={"$set": {"status": "x"}})
        assert await sessions.read_tail("a", 5) == (said("one"), 0, 1)

    async def test_items_known_by_a_key_are_left_out(self, sessions: SessionService) -> None:
        first: list[Any] = [{"uuid": "a"}, {"uuid": 1}, {"uuid": True}, {"text": "no mark"}, {"uuid": {"x": 1}}]
        assert await sessions.append_session("s", first, unique_by="uuid") == 5
        again = [{"uuid": "a", "n": 2}, {"uuid": 1}, {"uuid": 1.0}, {"uuid": "b"}, {"uuid": "b", "n": 2}]
        assert await sessions.append_session("s", again, unique_by="uuid") == 7
        assert await sessions.append_session("s", [{"uuid": {"x": 1}}, {"text": "no mark"}], unique_by="uuid") == 8
        before = await sessions.get_record("s")
        assert await sessions.append_session("s", [{"uuid": "a"}], unique_by="uuid") == 8
        assert await sessions.get_record("s") == before
        # nested deeper it is not the item's own
        assert await sessions.append_session("s", [{"in": {"uuid": "deep"}, "uuid": "c"}], unique_by="uuid") == 9
        assert await sessions.append_session("s", [{"uuid": "deep"}], unique_by="uuid") == 10

        tail = await sessions.read_tail("s", 10)
        assert tail.items == [*first, {"uuid": 1.0}, {"uuid": "b"}, {"text": "no mark"}, *tail.items[-2:]]

    async def test_the_expected_version_must_be_there(self, sessions: SessionService) -> None:
        assert await sessions.append_session("a", said("one"), expected_version=0) == 1
        assert await sessions.append_session("a", said("two"), expected_version=1) == 2
        for version in (0, 1, 7):
            with pytest.raises(StorageConflictError):
                await sessions.append_session("a", said("three"), expected_version=version)
        assert (await sessions.read_tail("a", 5)).length == 2

    async def test_models_are_appended_as_they_load(self, sessions: SessionService) -> None:
        await sessions.append_session("a", [Message(content="hi"), Message(role="assistant", content="ho")])
        tail = await sessions.read_tail("a", 5)
        assert [Message.model_validate(item) for item in tail.items] == [
            Message(content="hi"),
            Message(role="assistant", content="ho"),
        ]

    async def test_what_cannot_be_appended_is_refused_and_changes_nothing(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"messages": said("one"), "state": 5, "nothing": None})
        before = await sessions.get_record("a")
        for items in REFUSED_ITEMS:
            assert await refusal(sessions.append_session("a", items), StorageValidationError) is not None, items
        for path in ("state", "nothing", "state.deeper", "metadata", "messages.0", "", "a..b", "$x"):
            error = await refusal(sessions.append_session("a", said("x"), path=path), StorageValidationError)
            assert error is not None, path
        for unique_by in ("", 5, ["uuid"]):
            wrong: Any = unique_by
            assert await refusal(sessions.append_session("a", [], unique_by=wrong), StorageValidationError) is not None
        await sessions.storage.save({"id": "other", "type": "note", "data": {"messages": []}})
        with pytest.raises(StorageConflictError):
            await sessions.append_session("other", said("x"))

        assert await sessions.get_record("a") == before

    async def test_what_was_handed_in_may_change_afterwards(self, sessions: SessionService) -> None:
        items: list[JsonObject] = [{"content": "as it was"}]
        appending = asyncio.ensure_future(sessions.append_session("a", items))
        await asyncio.sleep(0)
        items[0]["content"] = "changed"
        items.append({})
        await appending
        assert (await sessions.read_tail("a", 5)).items == [{"content": "as it was"}]

    async def test_appends_of_many_tasks_are_all_there_and_each_task_s_in_order(self, sessions: SessionService) -> None:
        async def append(task: int) -> list[int]:
            return [await sessions.append_session("a", [[task, turn]]) for turn in range(25)]

        lengths = await asyncio.gather(*map(append, range(4)))
        tail = await sessions.read_tail("a", 1000)
        assert sorted(length for each in lengths for length in each) == list(range(1, 101))
        assert sorted(tail.items) == [[task, turn] for task in range(4) for turn in range(25)]
        for task in range(4):
            assert [turn for of, turn in tail.items if of == task] == list(range(25))

    async def test_several_sessions_grow_together_or_not_at_all(self, sessions: SessionService) -> None:
        await sessions.append_session("a", said("one"))
        assert await sessions.batch_append({"a": said("two"), "b": said("three")}) == {"a": 2, "b": 1}
        await sessions.save_session("c", {"messages": "no list"})
        with pytest.raises(StorageValidationError):
            await sessions.batch_append({"a": said("four"), "c": said("five")})
        with pytest.raises(StorageNotFoundError):
            await sessions.batch_append({"a": said("four"), "none": said("five")}, create=False)
        with pytest.raises(StorageValidationError):
            await sessions.batch_append([said("six")])  # type: ignore[arg-type]
        assert [(await sessions.read_tail(name, 9)).length for name in ("a", "b")] == [2, 1]

    async def test_appends_in_a_transaction_are_seen_inside_and_committed_at_its_end(
        self, sessions: SessionService
    ) -> None:
        await sessions.append_session("a", said("one"))
        async with sessions.transaction() as transaction:
            assert await transaction.append_session("a", said("two")) == 2
            assert await transaction.append_session("a", said("three")) == 3
            assert await transaction.append_session("b", [{"uuid": 1}, {"uuid": 1}], unique_by="uuid") == 1
            session = await transaction.get_session("a")
            assert session is not None
            assert session["messages"] == said("one", "two", "three")
            assert (await sessions.read_tail("a", 9)).length == 1
        assert (await sessions.read_tail("a", 9)).items == said("one", "two", "three")

        async def written_in_between() -> None:
            async with sessions.transaction() as transaction:
                await transaction.append_session("a", said("four"))
                await sessions.append_session("a", said("between"))

        with pytest.raises(StorageConflictError):
            await written_in_between()
        assert (await sessions.read_tail("a", 1)).items == said("between")

    async def test_an_edit_that_appends_to_its_own_session_is_refused(self, sessions: SessionService) -> None:
        await sessions.append_session("a", said("one"))

        async def append(_: JsonObject) -> None:
            await sessions.append_session("a", said("inside"))

        async def pop(_: JsonObject) -> None:
            await sessions.pop_last("a")

        for fn in (append, pop):
            with pytest.raises(StorageValidationError, match="inside the fn"):
                await sessions.edit_session("a", fn)
        assert (await sessions.read_tail("a", 9)).length == 1


class SessionTailContract(SessionFixtures):
    """What `read_tail`, `pop_last` and `rotate_session` promise."""

    async def test_the_newest_items_come_in_their_order_with_the_length(self, sessions: SessionService) -> None:
        items: list[Any] = [{"n": 0, "deep": [{"x": []}, "text"]}, 1, "two", None, [], [4, [5]], {}, {"n": 7}]
        await sessions.append_session("a", items)
        for count in range(len(items) + 2):
            tail = await sessions.read_tail("a", count)
            assert tail == (items[len(items) - count :] if count <= 8 else items, max(8 - count, 0), 8), count

    async def test_a_long_list_is_read_page_by_page_backwards(self, sessions: SessionService) -> None:
        await sessions.append_session("a", range(25))
        pages, before = [], None
        while before != 0:
            tail = await sessions.read_tail("a", 10, before=before)
            pages.append(tail.items)
            before = tail.start
        assert pages == [list(range(15, 25)), list(range(5, 15)), list(range(5))]
        assert await sessions.read_tail("a", 10, before=0) == ([], 0, 25)
        assert await sessions.read_tail("a", 3, before=99) == ([22, 23, 24], 22, 25)

    async def test_what_has_no_list_is_empty_absent_or_refused(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"messages": [], "state": {"x": 1}})
        assert await sessions.read_tail("a", 5) == ([], 0, 0)
        assert await sessions.read_tail("a", 5, "other.log") == ([], 0, 0)
        assert await sessions.pop_last("a") is None
        with pytest.raises(StorageNotFoundError):
            await sessions.read_tail("none", 5)
        with pytest.raises(StorageNotFoundError):
            await sessions.pop_last("none")
        with pytest.raises(StorageValidationError):
            await sessions.read_tail("a", 5, "state")
        for count in (-1, 1.5, True, None):
            wrong: Any = count
            with pytest.raises(StorageValidationError):
                await sessions.read_tail("a", wrong)

    async def test_the_last_item_is_taken_away_once(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"messages": [*said("one"), 2, [3]], "zeta": 1})
        assert await sessions.pop_last("a") == [3]
        assert await sessions.pop_last("a") == 2
        assert await sessions.read_tail("a", 5) == (said("one"), 0, 1)
        assert await sessions.pop_last("a") == said("one")[0]
        record = await sessions.get_record("a")
        assert await sessions.pop_last("a") is None
        assert record is not None
        assert record["data"] | {"metadata": {}} == {"messages": [], "zeta": 1, "metadata": {}}
        assert await sessions.get_record("a") == record
        assert await sessions.append_session("a", said("again")) == 1

    async def test_tasks_that_pop_together_each_get_an_item_of_their_own(self, sessions: SessionService) -> None:
        await sessions.append_session("a", range(12))
        popped = await asyncio.gather(*(sessions.pop_last("a") for _ in range(12)))
        assert sorted(popped) == list(range(12))
        assert await sessions.pop_last("a") is None

    async def test_a_large_session_goes_on_in_a_new_one(self, sessions: SessionService) -> None:
        await sessions.save_session(
            "a", {"metadata": {"status": "open", "tags": ["x"]}, "messages": [1, 2, 3], "settings": {"model": "m"}}
        )
        await sessions.rotate_session("a", "b", keep_last=1)

        old, new = await sessions.get_session("a"), await sessions.get_session("b")
        assert old is not None
        assert new is not None
        assert old["messages"] == [1, 2, 3]
        assert old["metadata"]["continued_by"] == "b"
        assert (new["messages"], new["settings"]) == ([3], {"model": "m"})
        metadata = new["metadata"]
        assert (metadata["continues"], metadata["status"], metadata["tags"]) == ("a", "open", ["x"])
        assert (metadata["session_id"], "continued_by" in metadata) == ("b", False)
        with pytest.raises(StorageConflictError):
            await sessions.rotate_session("a", "b")
        with pytest.raises(StorageNotFoundError):
            await sessions.rotate_session("none", "c")

    async def test_a_session_of_another_program_goes_on_in_a_new_one(self, sessions: SessionService) -> None:
        for number, metadata in enumerate(({"status": "open"}, {"session_id": "other"}, {}, None)):
            session_id, new = f"s{number}", f"new{number}"
            own = {} if metadata is None else {"metadata": metadata}
            await sessions.storage.save({"id": session_id, "type": "session", "data": {**own, "messages": [1, 2]}})
            await sessions.rotate_session(session_id, new, keep_last=1)
            assert (await sessions.read_tail(new, 9)).items == [2]

    @pytest.mark.parametrize(
        ("data", "path"),
        [
            ("text", "$"),
            (None, "$"),
            ([], "$"),
            ({"messages": 5}, "$.messages"),
            ({"messages": {}}, "$.messages"),
            ({"messages": None}, "$.messages"),
            ({"metadata": "x"}, "$.metadata"),
            ({"metadata": None}, "$.metadata"),
        ],
    )
    async def test_what_has_no_place_for_a_list_is_not_continued(
        self, sessions: SessionService, data: Any, path: str
    ) -> None:
        await sessions.storage.save({"id": "a", "type": "session", "data": data})
        with pytest.raises(StorageValidationError) as refused:
            await sessions.rotate_session("a", "b")
        assert (refused.value.id, refused.value.path) == ("a", path)
        assert not await sessions.session_exists("b")
