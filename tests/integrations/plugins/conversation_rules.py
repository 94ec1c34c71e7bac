"""What the documentation of Pydantic AI says of a `ConversationStore`, a test for each rule: it has no tests to run.

They are run with the store in memory that comes with it, and with ours in its place.
"""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic_ai import DeferredToolRequests, conversation_store
from pydantic_ai.conversation import Conversation, ConversationTypeAdapter
from pydantic_ai.conversation_store import (
    ConversationConflict,
    ConversationEntry,
    ConversationRecord,
    ConversationStore,
)
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import (
    BinaryImage,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.usage import RequestUsage, RunUsage


@pytest.fixture
def store() -> ConversationStore:
    return conversation_store.InMemoryConversationStore()


def request(text: str) -> ModelRequest:
    return ModelRequest(parts=[UserPromptPart(text)])


def response(text: str) -> ModelResponse:
    return ModelResponse(parts=[TextPart(text)])


def turns(*texts: str) -> list[ModelMessage]:
    return [request(text) if at % 2 == 0 else response(text) for at, text in enumerate(texts)]


def texts_of(messages: Any) -> list[Any]:
    return [getattr(message, "message", message).parts[0].content for message in messages]


async def saved(store: ConversationStore, name: str = "c-1", *texts: str, **more: Any) -> Conversation:
    conversation = Conversation(messages=turns(*(texts or ("a", "b", "c", "d"))), conversation_id=name)
    await store.save(conversation, **more)
    return conversation


async def loaded(store: ConversationStore, name: str = "c-1", **more: Any) -> Conversation:
    conversation = await store.load(name, **more)
    assert conversation is not None
    return conversation


async def ids_of(store: ConversationStore, name: str = "c-1") -> list[str]:
    entries = await store.load_entries(name)
    assert entries is not None
    return [entry.id for entry in entries]


async def grown(store: ConversationStore, name: str, *texts: str) -> list[ConversationEntry]:
    conversation = await loaded(store, name)
    conversation.messages.extend(turns(*texts))
    entries: list[ConversationEntry] = await store.save(conversation)
    return entries


async def is_there(store: ConversationStore, entry_id: str) -> bool:
    try:
        await store.read_entry(entry_id)
    except LookupError:
        return False
    return True


# -- saving and loading -----------------------------------------------------------------------------------------------


async def test_a_conversation_that_is_not_there_loads_as_none(store: ConversationStore) -> None:
    assert await store.load("c-1") is None
    assert await store.load_entries("c-1") is None
    assert await store.read_record("c-1") is None


async def test_what_is_saved_is_loaded(store: ConversationStore) -> None:
    usage = RunUsage(requests=2, input_tokens=7, details={"a.b": 3, "$c": 1}, cost=Decimal("0.25"), audio_seconds=1.5)
    given = Conversation(messages=turns("a", "b"), usage=usage, conversation_id="c-1")
    await store.save(given)
    found = await loaded(store)
    assert (found.messages, found.usage, found.conversation_id) == (given.messages, usage, "c-1")
    assert found.revision == given.revision is not None
    assert found.new_message_index == given.new_message_index == 2


async def test_every_kind_of_message_comes_back_equal(store: ConversationStore) -> None:
    messages: list[ModelMessage] = [
        ModelRequest(
            parts=[
                SystemPromptPart("be brief"),
                UserPromptPart(
                    ["look", ImageUrl("https://example.org/x.png"), BinaryImage(b"\xff\x00", media_type="image/png")]
                ),
            ],
            instructions="none",
            run_id="r-1",
            metadata={"nothing": None, "deep": {"list": [1, 2.5, None, True, "ä"]}},
        ),
        ModelResponse(
            parts=[
                ThinkingPart("hm", signature="s"),
                TextPart("I look"),
                ToolCallPart("look", {"at": None, "b": [1]}, "t-1"),
            ],
            usage=RequestUsage(input_tokens=3, details={"reasoning": 1}),
            model_name="m",
            timestamp=datetime(2026, 1, 1, tzinfo=UTC),
            provider_details={"x": {"y": None}},
        ),
        ModelRequest(
            parts=[
                ToolReturnPart("look", {"seen": ["tree"]}, "t-1"),
                ToolReturnPart("pay", "no", "t-2", outcome="denied"),
            ]
        ),
    ]
    await store.save(Conversation(messages=list(messages), conversation_id="c-1"))
    assert (await loaded(store)).messages == messages


async def test_what_a_paused_run_waits_for_comes_back_equal(store: ConversationStore) -> None:
    deferred = DeferredToolRequests(
        calls=[ToolCallPart("ask", {"x": None}, "t-1")],
        approvals=[ToolCallPart("pay", '{"y": 1}', "t-2")],
        metadata={"t-1": {"why": None, "deep": {"a": None}}},
    )
    conversation = Conversation(messages=turns("a", "b"), conversation_id="c-1", deferred_tool_requests=deferred)
    await store.save(conversation)
    assert (await loaded(store)).deferred_tool_requests == deferred
    conversation.deferred_tool_requests = dataclasses.replace(deferred, metadata={"t-2": {"b": None}})
    await store.save(conversation)
    assert (await loaded(store)).deferred_tool_requests == conversation.deferred_tool_requests
    conversation.deferred_tool_requests = None
    await store.save(conversation)
    assert (await loaded(store)).deferred_tool_requests is None


async def test_usage_that_lost_a_detail_is_stored_without_it(store: ConversationStore) -> None:
    conversation = await saved(store)
    for usage in (RunUsage(requests=1, details={"a": 1, "b": 2}), RunUsage(details={"b": 3}), RunUsage()):
        conversation.usage = usage
        await store.save(conversation)
        assert (await loaded(store)).usage == usage


async def test_an_empty_conversation_is_one(store: ConversationStore) -> None:
    conversation = Conversation(conversation_id="c-1")
    assert await store.save(conversation) == []
    assert (await loaded(store)).messages == []
    record = await store.read_record("c-1")
    assert record is not None
    assert record.head_id is None


@pytest.mark.parametrize("name", ["a/b", "../x", "ä ö", "a b", ".", "%2F", "x" * 500, "c-1/kept/r"])
async def test_a_conversation_may_have_any_name(store: ConversationStore, name: str) -> None:
    await saved(store, "other", "x")
    await saved(store, name, "a", "b", scope=name)
    assert texts_of((await loaded(store, name)).messages) == ["a", "b"]
    (record,) = await store.list_conversations(scope=name)
    assert (record.conversation_id, record.scope) == (name, name)
    await store.delete(name)
    assert await store.load("other") is not None


async def test_a_save_returns_the_entries_it_stored_in_order(store: ConversationStore) -> None:
    conversation = Conversation(messages=turns("a", "b", "c"), conversation_id="c-1")
    entries = await store.save(conversation)
    assert texts_of(entries) == ["a", "b", "c"]
    assert [entry.parent_id for entry in entries] == [None, entries[0].id, entries[1].id]
    assert await store.load_entries("c-1") == entries
    record = await store.read_record("c-1")
    assert record is not None
    assert record.head_id == entries[-1].id


async def test_a_save_stores_the_messages_alone_that_are_not_there_yet(store: ConversationStore) -> None:
    await saved(store, "c-1", "a", "b")
    before = await ids_of(store)
    added = await grown(store, "c-1", "c", "d")
    assert texts_of(added) == ["c", "d"]
    assert await ids_of(store) == [*before, *(entry.id for entry in added)]


async def test_a_save_without_new_messages_returns_none_and_changes_the_revision(store: ConversationStore) -> None:
    conversation = await saved(store)
    before = conversation.revision
    assert await store.save(conversation) == []
    assert conversation.revision != before
    assert (await loaded(store)).revision == conversation.revision


async def test_a_saved_conversation_can_be_saved_again(store: ConversationStore) -> None:
    conversation = await saved(store, "c-1", "a", "b")
    for text in "cdef":
        conversation.messages.append(request(text))
        assert len(await store.save(conversation)) == 1
    assert texts_of((await loaded(store)).messages) == list("abcdef")


async def test_what_is_changed_after_a_save_or_a_load_is_not_stored(store: ConversationStore) -> None:
    conversation = await saved(store, "c-1", "a", "b")
    changed: Any = conversation.messages[0].parts[0]
    changed.content = "changed"
    conversation.usage.requests = 77
    found = await loaded(store)
    found.messages.clear()
    again = await loaded(store)
    assert (texts_of(again.messages), again.usage.requests) == (["a", "b"], 0)


async def test_the_same_message_may_be_at_two_places(store: ConversationStore) -> None:
    message = request("again")
    await store.save(Conversation(messages=[message, message], conversation_id="c-1"))
    first, second = await ids_of(store)
    assert first != second
    assert (await loaded(store)).messages == [message, message]


# -- who saves what others saved --------------------------------------------------------------------------------------


async def test_a_save_over_what_was_saved_since_is_refused_and_leaves_nothing(store: ConversationStore) -> None:
    await saved(store, "c-1", "a", "b")
    first, second = await loaded(store), await loaded(store)
    first.messages.append(request("first"))
    second.messages.append(request("second"))
    await store.save(first)
    before = await store.read_record("c-1")
    with pytest.raises(ConversationConflict) as caught:
        await store.save(second)
    assert isinstance(caught.value, UserError)
    assert caught.value.conversation_id == "c-1"
    assert texts_of((await loaded(store)).messages) == ["a", "b", "first"]
    assert await store.read_record("c-1") == before


async def test_of_saves_at_once_one_succeeds(store: ConversationStore) -> None:
    await saved(store, "c-1", "a", "b")
    copies = [await loaded(store) for _ in range(5)]
    for at, copy in enumerate(copies):
        copy.messages.append(request(f"n-{at}"))
    results = await asyncio.gather(*map(store.save, copies), return_exceptions=True)
    assert sum(isinstance(result, ConversationConflict) for result in results) == 4
    assert len((await loaded(store)).messages) == 3


async def test_a_conversation_that_was_not_loaded_is_not_saved_over_one_that_is_there(store: ConversationStore) -> None:
    await saved(store)
    with pytest.raises(ConversationConflict):
        await saved(store)


async def test_a_conversation_that_was_deleted_since_is_not_saved(store: ConversationStore) -> None:
    conversation = await saved(store)
    await store.delete("c-1")
    with pytest.raises(ConversationConflict):
        await store.save(conversation)
    assert await store.load("c-1") is None


async def test_a_copy_from_before_a_delete_is_not_saved_over_what_was_created_again(store: ConversationStore) -> None:
    old = await saved(store)
    await store.delete("c-1")
    await saved(store, "c-1", "new")
    with pytest.raises(ConversationConflict):
        await store.save(old)
    assert texts_of((await loaded(store)).messages) == ["new"]


# -- histories that are rewritten, and windows ------------------------------------------------------------------------


async def test_a_rewritten_history_branches_off_the_last_message_that_both_share(store: ConversationStore) -> None:
    old = await saved(store, "c-1", "a", "b", "c", "d")
    before = await ids_of(store)
    stored = await store.save(
        Conversation(messages=[*old.messages[:2], *turns("x", "y")], conversation_id="c-1", revision=old.revision)
    )
    assert texts_of(stored) == ["x", "y"]
    assert stored[0].parent_id == before[1]
    assert await ids_of(store) == [*before[:2], *(entry.id for entry in stored)]
    record = await store.read_record("c-1")
    assert record is not None
    assert record.branches == [before[3]]
    assert texts_of(await store.read_history(before[3])) == ["a", "b", "c", "d"]


async def test_a_history_with_another_beginning_branches_off_nothing(store: ConversationStore) -> None:
    old = await saved(store)
    (entry,) = await store.save(Conversation(messages=turns("new"), conversation_id="c-1", revision=old.revision))
    assert entry.parent_id is None
    assert texts_of((await loaded(store)).messages) == ["new"]


async def test_a_shorter_history_leaves_the_rest_as_a_branch(store: ConversationStore) -> None:
    old = await saved(store)
    before = await ids_of(store)
    short = Conversation(messages=old.messages[:1], conversation_id="c-1", revision=old.revision)
    assert await store.save(short) == []
    assert await ids_of(store) == before[:1]
    record = await store.read_record("c-1")
    assert record is not None
    assert (record.head_id, record.branches) == (before[0], [before[3]])


async def test_a_history_that_was_trimmed_for_a_run_is_stored_whole(store: ConversationStore) -> None:
    await saved(store)
    trimmed = await loaded(store, limit=1)
    trimmed.messages.append(request("e"))
    await store.save(trimmed)
    assert texts_of((await loaded(store)).messages) == list("abcde")


async def test_a_window_that_was_serialized_is_no_rewritten_history(store: ConversationStore) -> None:
    await saved(store)
    window = ConversationTypeAdapter.validate_json(ConversationTypeAdapter.dump_json(await loaded(store, limit=2)))
    window.messages.append(request("e"))
    await store.save(window)
    assert texts_of((await loaded(store)).messages) == list("abcde")


@pytest.mark.parametrize(("limit", "texts"), [(0, ""), (1, "d"), (3, "bcd"), (4, "abcd"), (9, "abcd"), (None, "abcd")])
async def test_a_limit_loads_the_last_messages(store: ConversationStore, limit: int | None, texts: str) -> None:
    await saved(store)
    assert texts_of((await loaded(store, limit=limit)).messages) == list(texts)
    entries = await store.load_entries("c-1", limit=limit)
    assert entries is not None
    assert texts_of(entries) == list(texts)


async def test_a_negative_limit_is_refused(store: ConversationStore) -> None:
    await saved(store)
    for call in (store.load("c-1", limit=-1), store.load_entries("c-1", limit=-1), store.list_conversations(limit=-1)):
        with pytest.raises(UserError, match="limit"):
            await call


# -- scopes and lists -------------------------------------------------------------------------------------------------


async def test_a_conversation_of_another_scope_is_treated_as_one_that_is_not_there(store: ConversationStore) -> None:
    mine = await saved(store, scope="u-1")
    assert await store.load("c-1", scope="u-2") is None
    assert await store.load_entries("c-1", scope="u-2") is None
    await store.delete("c-1", scope="u-2")
    with pytest.raises(ConversationConflict):
        await store.save(mine, scope="u-2")
    with pytest.raises(UserError):
        await store.branch("c-1", at=1, expected_revision=mine.revision, scope="u-2")
    with pytest.raises(UserError):
        await store.fork("c-1", source_scope="u-2")
    assert await store.load("c-1", scope="u-1") is not None
    assert await store.load("c-1") is not None


async def test_a_save_keeps_the_scope(store: ConversationStore) -> None:
    conversation = await saved(store, scope="u-1")
    await store.save(conversation)
    await store.save(conversation, scope="u-1")
    assert (await store.list_conversations())[0].scope == "u-1"


async def test_a_conversation_without_a_scope_has_none_for_those_who_name_one(store: ConversationStore) -> None:
    await saved(store)
    assert await store.load("c-1", scope="") is None
    assert await store.list_conversations(scope="") == []
    await saved(store, "c-2", scope="")
    assert await store.load("c-2", scope="") is not None
    assert [record.conversation_id for record in await store.list_conversations(scope="")] == ["c-2"]


async def test_lists_have_the_last_saved_first(store: ConversationStore) -> None:
    conversations = [await saved(store, f"c-{at}", scope=f"u-{at % 2}") for at in range(4)]
    await store.save(conversations[0])
    listed = await store.list_conversations()
    assert [record.conversation_id for record in listed] == ["c-0", "c-3", "c-2", "c-1"]
    assert [record.conversation_id for record in await store.list_conversations(limit=2)] == ["c-0", "c-3"]
    assert [record.conversation_id for record in await store.list_conversations(scope="u-1")] == ["c-3", "c-1"]
    assert [record.conversation_id for record in await store.list_conversations(scope="u-1", limit=1)] == ["c-3"]
    assert await store.list_conversations(limit=0) == []
    assert listed[0] == await store.read_record("c-0")


async def test_a_fork_does_not_move_what_it_is_forked_from_in_lists(store: ConversationStore) -> None:
    await saved(store, "c-1")
    await saved(store, "c-2")
    await store.fork("c-1", new_conversation_id="f-1")
    listed = await store.list_conversations()
    assert [record.conversation_id for record in listed] == ["f-1", "c-2", "c-1"]


# -- branches ---------------------------------------------------------------------------------------------------------


async def test_a_branch_continues_from_an_earlier_message_and_keeps_what_it_leaves(store: ConversationStore) -> None:
    old = await saved(store)
    before = await ids_of(store)
    branched = await store.branch("c-1", at=2, expected_revision=old.revision)
    assert texts_of(branched.messages) == ["a", "b"]
    assert branched.revision != old.revision
    branched.messages.append(request("x"))
    (entry,) = await store.save(branched)
    assert entry.parent_id == before[1]
    record = await store.read_record("c-1")
    assert record is not None
    assert record.branches == [before[3]]
    assert texts_of(await store.read_history(before[3])) == list("abcd")


async def test_a_branch_can_go_back_to_what_was_left(store: ConversationStore) -> None:
    old = await saved(store)
    before = await ids_of(store)
    branched = await store.branch("c-1", at=1, expected_revision=old.revision)
    branched.messages.append(request("x"))
    (left,) = await store.save(branched)
    back = await store.branch("c-1", from_entry=before[3], expected_revision=branched.revision)
    assert texts_of(back.messages) == list("abcd")
    record = await store.read_record("c-1")
    assert record is not None
    assert (record.head_id, record.branches) == (before[3], [left.id])
    middle = await store.branch("c-1", from_entry=before[1], expected_revision=back.revision)
    assert texts_of(middle.messages) == ["a", "b"]


async def test_a_branch_may_keep_nothing(store: ConversationStore) -> None:
    old = await saved(store)
    branched = await store.branch("c-1", at=0, expected_revision=old.revision)
    assert branched.messages == []
    branched.messages.append(request("x"))
    await store.save(branched)
    assert texts_of((await loaded(store)).messages) == ["x"]


async def test_a_branch_waits_for_no_tool_unless_it_stays_at_the_end(store: ConversationStore) -> None:
    deferred = DeferredToolRequests(calls=[ToolCallPart("ask", {}, "t-1")])
    conversation = Conversation(messages=turns("a", "b"), conversation_id="c-1", deferred_tool_requests=deferred)
    await store.save(conversation)
    same = await store.branch("c-1", at=2, expected_revision=conversation.revision)
    assert same.deferred_tool_requests == deferred
    earlier = await store.branch("c-1", at=1, expected_revision=same.revision)
    assert earlier.deferred_tool_requests is None
    assert (await loaded(store)).deferred_tool_requests is None


async def test_a_branch_of_what_was_saved_since_is_refused(store: ConversationStore) -> None:
    old = await saved(store)
    await grown(store, "c-1", "e")
    with pytest.raises(ConversationConflict):
        await store.branch("c-1", at=1, expected_revision=old.revision)
    assert texts_of((await loaded(store)).messages) == list("abcde")


@pytest.mark.parametrize("where", [{}, {"at": 1, "from_entry": "x"}, {"at": 5}, {"at": -1}, {"from_entry": "nobody"}])
async def test_a_branch_from_nowhere_is_refused(store: ConversationStore, where: Any) -> None:
    conversation = await saved(store)
    with pytest.raises(UserError):
        await store.branch("c-1", **where, expected_revision=conversation.revision)
    assert texts_of((await loaded(store)).messages) == list("abcd")


async def test_a_branch_or_fork_of_what_is_not_there_is_refused(store: ConversationStore) -> None:
    with pytest.raises(UserError):
        await store.branch("c-1", at=0, expected_revision=None)
    with pytest.raises(UserError):
        await store.fork("c-1")


# -- forks ------------------------------------------------------------------------------------------------------------


async def test_a_fork_shares_the_entries_and_goes_its_own_way(store: ConversationStore) -> None:
    await saved(store, scope="u-1")
    before = await ids_of(store)
    fork = await store.fork("c-1", at=2, new_conversation_id="f-1")
    assert (texts_of(fork.messages), fork.conversation_id) == (["a", "b"], "f-1")
    assert await ids_of(store, "f-1") == before[:2]
    await grown(store, "f-1", "x")
    await grown(store, "c-1", "e")
    assert texts_of((await loaded(store, "f-1")).messages) == ["a", "b", "x"]
    assert texts_of((await loaded(store, "f-1", limit=2)).messages) == ["b", "x"]
    assert texts_of((await loaded(store)).messages) == list("abcde")
    record = await store.read_record("f-1")
    assert record is not None
    assert (record.forked_from, record.forked_at, record.scope) == ("c-1", before[1], "u-1")


async def test_a_fork_does_not_change_what_it_is_forked_from(store: ConversationStore) -> None:
    conversation = await saved(store)
    before = await store.read_record("c-1")
    await store.fork("c-1")
    assert await store.read_record("c-1") == before
    conversation.messages.append(request("e"))
    await store.save(conversation)


async def test_a_whole_fork_carries_usage_and_what_is_waited_for(store: ConversationStore) -> None:
    deferred = DeferredToolRequests(calls=[ToolCallPart("ask", {}, "t-1")])
    usage = RunUsage(requests=3)
    await store.save(
        Conversation(messages=turns("a", "b"), usage=usage, conversation_id="c-1", deferred_tool_requests=deferred)
    )
    whole, part = await store.fork("c-1"), await store.fork("c-1", at=1)
    assert (whole.usage, whole.deferred_tool_requests) == (usage, deferred)
    assert (part.usage, part.deferred_tool_requests) == (RunUsage(), None)
    assert whole.conversation_id != part.conversation_id
    assert (await loaded(store, whole.conversation_id)).usage == usage


async def test_a_fork_may_have_a_scope_of_its_own(store: ConversationStore) -> None:
    await saved(store, scope="u-1")
    await store.fork("c-1", new_conversation_id="f-1", scope="u-2", source_scope="u-1")
    assert [record.conversation_id for record in await store.list_conversations(scope="u-2")] == ["f-1"]


async def test_a_fork_over_a_conversation_that_is_there_is_refused(store: ConversationStore) -> None:
    await saved(store)
    await saved(store, "c-2", "x")
    with pytest.raises(ConversationConflict):
        await store.fork("c-1", new_conversation_id="c-2")
    with pytest.raises(ConversationConflict):
        await store.fork("c-1", new_conversation_id="c-1")
    assert texts_of((await loaded(store, "c-2")).messages) == ["x"]


async def test_a_fork_may_begin_in_a_branch_that_was_left(store: ConversationStore) -> None:
    old = await saved(store)
    before = await ids_of(store)
    await store.branch("c-1", at=1, expected_revision=old.revision)
    await store.fork("c-1", from_entry=before[2], new_conversation_id="f-1")
    assert await ids_of(store, "f-1") == before[:3]
    with pytest.raises(UserError):
        await store.fork("c-1", from_entry="nobody")
    with pytest.raises(UserError):
        await store.fork("c-1", at=1, from_entry=before[2])


async def test_a_fork_may_keep_nothing(store: ConversationStore) -> None:
    await saved(store)
    await store.fork("c-1", at=0, new_conversation_id="f-1")
    await grown(store, "f-1", "x")
    assert texts_of((await loaded(store, "f-1")).messages) == ["x"]
    record = await store.read_record("f-1")
    assert record is not None
    assert (record.forked_from, record.forked_at) == ("c-1", None)


async def test_forks_of_forks_have_their_whole_history(store: ConversationStore) -> None:
    await saved(store, "c-1", "a", "b")
    for at in range(4):
        source = "c-1" if at == 0 else f"f-{at - 1}"
        await store.fork(source, new_conversation_id=f"f-{at}")
        await grown(store, f"f-{at}", f"n-{at}")
    assert texts_of((await loaded(store, "f-3")).messages) == ["a", "b", "n-0", "n-1", "n-2", "n-3"]
    assert texts_of((await loaded(store, "f-3", limit=3)).messages) == ["n-1", "n-2", "n-3"]
    await store.fork("f-3", at=1, new_conversation_id="g")
    assert texts_of((await loaded(store, "g")).messages) == ["a"]


async def test_a_fork_branches_within_what_it_shares(store: ConversationStore) -> None:
    await saved(store)
    before = await ids_of(store)
    fork = await store.fork("c-1", new_conversation_id="f-1")
    branched = await store.branch("f-1", at=1, expected_revision=fork.revision)
    branched.messages.append(request("x"))
    await store.save(branched)
    assert texts_of((await loaded(store, "f-1")).messages) == ["a", "x"]
    record = await store.read_record("f-1")
    assert record is not None
    assert record.branches == [before[3]]
    assert texts_of((await loaded(store)).messages) == list("abcd")


# -- deleting ---------------------------------------------------------------------------------------------------------


async def test_a_deleted_conversation_neither_loads_nor_lists(store: ConversationStore) -> None:
    await saved(store)
    await store.delete("c-1")
    assert await store.load("c-1") is None
    assert await store.list_conversations() == []
    await store.delete("c-1")


async def test_deleting_deletes_the_entries_that_no_other_conversation_uses(store: ConversationStore) -> None:
    conversation = await saved(store)
    first = await ids_of(store)
    await store.branch("c-1", at=1, expected_revision=conversation.revision)
    await store.delete("c-1")
    assert not any([await is_there(store, entry) for entry in first])


async def test_deleting_keeps_what_a_fork_uses_and_no_more(store: ConversationStore) -> None:
    await saved(store)
    before = await ids_of(store)
    await store.fork("c-1", at=2, new_conversation_id="f-1")
    await grown(store, "f-1", "x")
    await store.delete("c-1")
    assert texts_of((await loaded(store, "f-1")).messages) == ["a", "b", "x"]
    assert [await is_there(store, entry) for entry in before] == [True, True, False, False]
    await grown(store, "f-1", "y")
    assert texts_of((await loaded(store, "f-1")).messages) == ["a", "b", "x", "y"]
    await store.delete("f-1")
    assert not any([await is_there(store, entry) for entry in before])


async def test_what_is_kept_of_a_deleted_conversation_shrinks_with_its_forks(store: ConversationStore) -> None:
    await saved(store)
    before = await ids_of(store)
    for at in range(1, 4):
        await store.fork("c-1", at=at, new_conversation_id=f"f-{at}")
    await store.delete("c-1")
    for gone, left in ((3, 2), (1, 2), (2, 0)):
        await store.delete(f"f-{gone}")
        assert [await is_there(store, entry) for entry in before] == [at < left for at in range(4)]


async def test_a_fork_outlives_all_it_came_from(store: ConversationStore) -> None:
    await saved(store, "c-1", "a", "b")
    for at in range(3):
        await store.fork("c-1" if at == 0 else f"f-{at - 1}", new_conversation_id=f"f-{at}")
        await grown(store, f"f-{at}", f"n-{at}")
    for name in ("f-0", "c-1", "f-1"):
        await store.delete(name)
        assert texts_of((await loaded(store, "f-2")).messages) == ["a", "b", "n-0", "n-1", "n-2"]
    await store.fork("f-2", at=1, new_conversation_id="g")
    await store.delete("f-2")
    assert texts_of((await loaded(store, "g")).messages) == ["a"]


async def test_a_branch_that_was_left_keeps_what_it_shares(store: ConversationStore) -> None:
    await saved(store)
    fork = await store.fork("c-1", new_conversation_id="f-1")
    await store.branch("f-1", at=0, expected_revision=fork.revision)
    before = await ids_of(store)
    await store.delete("c-1")
    assert texts_of(await store.read_history(before[3])) == list("abcd")


async def test_a_conversation_is_created_again_beside_its_old_forks(store: ConversationStore) -> None:
    for text in ("first", "second"):
        await saved(store, "c-1", text, "b")
        await store.fork("c-1", new_conversation_id=f"f-{text}")
        await store.delete("c-1")
    await saved(store, "c-1", "third")
    assert texts_of((await loaded(store)).messages) == ["third"]
    assert texts_of((await loaded(store, "f-first")).messages) == ["first", "b"]
    assert texts_of((await loaded(store, "f-second")).messages) == ["second", "b"]


async def test_deleting_a_fork_leaves_what_it_came_from(store: ConversationStore) -> None:
    conversation = await saved(store)
    await store.fork("c-1", new_conversation_id="f-1")
    await store.delete("f-1")
    assert texts_of((await loaded(store)).messages) == list("abcd")
    await store.save(conversation)
    before = await ids_of(store)
    await store.delete("c-1")
    assert not any([await is_there(store, entry) for entry in before])


# -- what a backend brings --------------------------------------------------------------------------------------------


def record(name: str = "r-1", head_id: str | None = None, **more: Any) -> ConversationRecord:
    return ConversationRecord(conversation_id=name, head_id=head_id, **more)


async def test_a_record_is_read_as_it_was_written(store: ConversationStore) -> None:
    entry = ConversationEntry(id="e/1", parent_id=None, message=request("a"))
    moment = datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=UTC)
    written = record(
        head_id="e/1", scope="u", forked_from="x", forked_at="y", branches=["b", "a"], revision="r", updated_at=moment
    )
    await store.write_record(written, new_entries=[entry], expected_revision=None)
    assert await store.read_record("r-1") == written
    assert await store.read_entry("e/1") == entry
    changed = record(head_id="e/1", revision="s", updated_at=moment)
    await store.write_record(changed, expected_revision="r")
    assert await store.read_record("r-1") == changed


async def test_a_record_with_another_revision_is_not_replaced(store: ConversationStore) -> None:
    for expected in ("wrong", ""):
        with pytest.raises(ConversationConflict):
            await store.write_record(record(), expected_revision=expected)
    await store.write_record(record(revision="r"), expected_revision=None)
    entry = ConversationEntry(parent_id=None, message=request("a"))
    for wrong in (None, "wrong", ""):
        with pytest.raises(ConversationConflict):
            await store.write_record(record(head_id=entry.id), new_entries=[entry], expected_revision=wrong)
    assert not await is_there(store, entry.id)
    found = await store.read_record("r-1")
    assert found is not None
    assert found.revision == "r"


async def test_a_record_whose_head_is_nowhere_is_refused(store: ConversationStore) -> None:
    with pytest.raises(ConversationConflict):
        await store.write_record(record(head_id="nobody"), expected_revision=None)
    assert await store.read_record("r-1") is None


async def test_a_record_may_point_at_any_entry_of_the_store(store: ConversationStore) -> None:
    await saved(store)
    before = await ids_of(store)
    await store.write_record(record(head_id=before[1]), expected_revision=None)
    await store.delete("c-1")
    assert texts_of((await loaded(store, "r-1")).messages) == ["a", "b"]


async def test_an_entry_that_is_nowhere_is_a_lookup_error(store: ConversationStore) -> None:
    with pytest.raises(LookupError):
        await store.read_entry("nobody")
    with pytest.raises(LookupError):
        await store.read_history("nobody")


async def test_a_history_is_read_up_to_its_head_or_the_last_of_it(store: ConversationStore) -> None:
    await saved(store)
    before = await ids_of(store)
    assert await store.read_history(None) == []
    assert texts_of(await store.read_history(before[2])) == ["a", "b", "c"]
    assert texts_of(await store.read_history(before[2], limit=2)) == ["b", "c"]
    assert await store.read_history(before[2], limit=0) == []
    assert [(await store.read_entry(entry)).id for entry in before] == before


async def test_a_record_with_another_revision_is_not_deleted(store: ConversationStore) -> None:
    with pytest.raises(ConversationConflict):
        await store.delete_record("r-1", expected_revision="r")
    await store.write_record(record(revision="r"), expected_revision=None)
    with pytest.raises(ConversationConflict):
        await store.delete_record("r-1", expected_revision="wrong")
    assert await store.read_record("r-1") is not None
    await store.delete_record("r-1", expected_revision="r")
    assert await store.read_record("r-1") is None


async def test_records_are_ordered_by_their_own_times(store: ConversationStore) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    for at in (2, 0, 3, 1):
        moment = begin + timedelta(microseconds=at * 500_000)
        await store.write_record(record(f"r-{at}", updated_at=moment), expected_revision=None)
    found = await store.read_records()
    assert [each.conversation_id for each in found] == ["r-3", "r-2", "r-1", "r-0"]
