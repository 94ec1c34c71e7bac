"""`FsstoreStore` with LangGraph at hand."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from langgraph.store.base import GetOp, InvalidNamespaceError, ListNamespacesOp, MatchCondition, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore

import fsstore
import fsstore.sync
from fsstore.errors import StorageUnavailableError, StorageValidationError
from fsstore.integrations.langgraph import FsstoreStore
from fsstore.integrations.langgraph.stores.items import Items
from tests.integrations.checks.interrupted import Interrupted

ROOT = Path(__file__).parents[3]


class Turned:
    """A clock that stands until it is turned."""

    def __init__(self) -> None:
        self.now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

    def __call__(self) -> dt.datetime:
        return self.now

    def turn(self, minutes: float) -> None:
        self.now += dt.timedelta(minutes=minutes)


@pytest.fixture
def store(quick: Path) -> Iterator[FsstoreStore]:
    with FsstoreStore(quick, fsync=False) as opened:
        yield opened


# -- next to the store in memory --------------------------------------------------------------------------------------

labels = st.sampled_from(["a", "b", "ab", "a/b", "A", "ä", "%", "~", "x y", "*"])
namespaces = st.lists(labels, min_size=1, max_size=3).map(tuple)
keys = st.sampled_from(["k", "k/1", "a", "K", "ä"])
leaves = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.sampled_from(["", "x", "yy"])
contents = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("pqr"), inner, max_size=2),
    max_leaves=4,
)
values = st.dictionaries(st.sampled_from(["p", "q", "r"]), contents, max_size=3)
wanted = st.none() | st.dictionaries(
    st.sampled_from(["p", "q"]),
    contents
    | st.fixed_dictionaries({"$eq": contents})
    | st.fixed_dictionaries({"$ne": contents})
    | st.dictionaries(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), st.integers(-2, 2), min_size=1),
    max_size=2,
)
conditions = st.builds(MatchCondition, st.sampled_from(["prefix", "suffix"]), namespaces)
operations = (
    st.builds(PutOp, namespaces, keys, values | st.none(), st.none(), st.none())
    | st.builds(GetOp, namespaces, keys, st.booleans())
    | st.builds(SearchOp, st.just(()) | namespaces, wanted, st.just(100), st.just(0), st.none(), st.booleans())
    | st.builds(
        ListNamespacesOp,
        st.none() | st.lists(conditions, max_size=2).map(tuple),
        st.none() | st.integers(1, 3),
        st.just(100),
        st.just(0),
    )
)


def told(op: Any, result: Any) -> Any:
    """Return what is compared of a result: stores differ in the order of what they find, and in times."""
    if isinstance(op, GetOp):
        return None if result is None else (result.namespace, result.key, result.value)
    if isinstance(op, SearchOp):
        return sorted((item.namespace, item.key, repr(sorted(item.value.items()))) for item in result)
    return result


def in_memory(memory: InMemoryStore, ops: list[Any]) -> list[Any] | None:
    """Return what the store in memory says; None where it cannot compare values, which raises there."""
    try:
        results: list[Any] = memory.batch(ops)
    except (TypeError, ValueError):
        return None
    return results


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(operations, min_size=1, max_size=4), max_size=8))
def test_it_says_what_the_store_in_memory_says(batches: list[list[Any]]) -> None:
    memory, ours = InMemoryStore(), FsstoreStore()
    for ops in batches:
        expected = in_memory(memory, ops)
        if expected is None:
            continue
        for op, result, other in zip(ops, ours.batch(ops), expected, strict=True):
            if isinstance(op, ListNamespacesOp):
                # the store in memory goes on naming namespaces that are empty, and those that were only asked for
                assert set(result) <= set(other)
            else:
                assert told(op, result) == told(op, other)
    ours.close()


# -- items ------------------------------------------------------------------------------------------------------------


def test_an_item_is_a_document_that_people_can_read(store: FsstoreStore, quick: Path) -> None:
    store.put(("users", "u/1"), "likes", {"city": HumanMessage("Lisbon").text, "since": (2025, 2026)})
    with fsstore.sync.open_storage(quick) as storage:
        (record,) = storage.list({"type": "langgraph.item"})
    assert record["id"] == "item/users/u%2F1/likes"
    assert record["data"]["value"] == {"city": "Lisbon", "since": [2025, 2026]}
    found = store.get(("users", "u/1"), "likes")
    assert found is not None
    assert found.namespace == ("users", "u/1")


def test_a_prefix_is_a_range_of_ids(store: FsstoreStore) -> None:
    for namespace in (("foo",), ("foo", "a"), ("foobar",), ("Foo",), ("foo0",), ("foo-",), ("fo",)):
        store.put(namespace, "k", {"n": 1})
    assert {item.namespace for item in store.search(("foo",))} == {("foo",), ("foo", "a")}
    assert len(store.search(())) == 7


def test_a_batch_puts_all_or_nothing(store: FsstoreStore) -> None:
    with pytest.raises(StorageValidationError, match=r"\$\.data\.value\.bad"):
        store.batch([PutOp(("a",), "k", {"good": 1}), PutOp(("a",), "l", {"bad": object()})])
    with pytest.raises(InvalidNamespaceError):
        store.batch([PutOp(("a",), "k", {"good": 1}), GetOp(("a.b",), "l")])
    assert store.search(()) == []


def test_an_item_keeps_the_time_of_its_making(store: FsstoreStore) -> None:
    store.put(("a",), "k", {"n": 1})
    first = store.get(("a",), "k")
    store.put(("a",), "k", {"n": 2})
    second = store.get(("a",), "k")
    assert first is not None
    assert second is not None
    assert (second.created_at, second.value) == (first.created_at, {"n": 2})
    assert second.updated_at > first.updated_at


@pytest.mark.parametrize("refused", [{"index": {"dims": 3, "embed": "x"}}])
def test_search_by_meaning_is_refused(refused: dict[str, Any], store: FsstoreStore) -> None:
    with pytest.raises(StorageValidationError, match="no search by meaning"):
        FsstoreStore(**refused)
    with pytest.raises(StorageValidationError, match="no search by meaning"):
        store.search((), query="what is it like")


@pytest.mark.parametrize("ttl", [1e300, float("nan"), "soon"])
def test_a_lifetime_that_is_none_is_refused(store: FsstoreStore, ttl: Any) -> None:
    with pytest.raises(StorageValidationError, match="ttl: must be a number of minutes"):
        store.put(("a",), "k", {}, ttl=ttl)


@pytest.mark.parametrize("value", [[1], "text", 5])
def test_a_value_that_is_no_mapping_is_refused(store: FsstoreStore, value: Any) -> None:
    with pytest.raises(StorageValidationError, match="value: must be a mapping"):
        store.put(("a",), "k", value)


@pytest.mark.parametrize(
    "wanted",
    [
        {"a": {"$gtt": 1}},
        {"a": {"$regex": 1}},
        {"a": {"$gt": 1, "plain": 2}},
        {"a": {"b": {"$in": [1]}}},
        {"a": [{"$in": [1]}]},
    ],
)
def test_an_operator_that_there_is_not_is_an_error(store: FsstoreStore, wanted: Any) -> None:
    store.put(("a",), "k", {"a": {"b": 1}})
    with pytest.raises(StorageValidationError, match="unknown operator"):
        store.search((), filter=wanted)


@pytest.mark.parametrize(
    "op",
    [
        SearchOp((), limit=None),
        SearchOp((), offset=-1),
        ListNamespacesOp(limit=None),
        ListNamespacesOp((MatchCondition("infix", ("a",)),)),
        GetOp(("a",), 5),
        PutOp(("a",), 5, {}),
    ],
    ids=repr,
)
def test_what_no_operation_means_is_refused(store: FsstoreStore, op: Any) -> None:
    with pytest.raises(StorageValidationError, match=r"must be"):
        store.batch([op])


def test_what_was_put_in_a_lax_form_is_read(store: FsstoreStore) -> None:
    lax: Any = "ab"
    store.put(lax, "k", {"n": 1}, ttl=True)
    found = store.get(("a", "b"), "k")
    assert found is not None
    assert (found.namespace, found.value) == (("a", "b"), {"n": 1})
    key: Any = 5
    assert store.search((), filter={key: 5}) == []


def test_what_is_found_is_the_most_recently_updated_first(store: FsstoreStore) -> None:
    for key in "abc":
        store.put(("n",), key, {})
    store.put(("n",), "a", {})
    assert [item.key for item in store.search(("n",))] == ["a", "c", "b"]
    assert [item.key for item in store.search(("n",), limit=1, offset=1)] == ["c"]


# -- lifetimes --------------------------------------------------------------------------------------------------------


def keys_in(store: FsstoreStore) -> list[str]:
    return sorted(item.key for item in store.search((), refresh_ttl=False))


def test_an_item_lives_from_its_last_use(quick: Path) -> None:
    clock = Turned()
    with FsstoreStore(quick, ttl={"default_ttl": 10, "omit_expired": True}, clock=clock) as store:
        store.put(("a",), "read", {})
        store.put(("a",), "left", {})
        store.put(("a",), "kept", {}, ttl=None)
        written = store.get(("a",), "read", refresh_ttl=False)
        clock.turn(9)
        assert store.get(("a",), "read") == written
        # being read has moved its end, and nothing else
        assert store.get(("a",), "read", refresh_ttl=False) == written
        clock.turn(9)
        assert keys_in(store) == ["kept", "read"]
        # what was read and was over is gone
        with fsstore.sync.open_storage(quick) as storage:
            assert storage.count({"type": "langgraph.item"}) == 2
        clock.turn(2)
        assert store.list_namespaces() == [("a",)]
        assert store.get(("a",), "read") is None
        assert keys_in(store) == ["kept"]


def test_reading_moves_nothing_where_that_was_not_wanted(quick: Path) -> None:
    clock = Turned()
    settings: Any = {"default_ttl": 10, "omit_expired": True, "refresh_on_read": False}
    with FsstoreStore(quick, ttl=settings, clock=clock) as store:
        store.put(("a",), "k", {})
        clock.turn(9)
        assert store.get(("a",), "k", refresh_ttl=True) is not None
        clock.turn(2)
        assert store.get(("a",), "k") is None


def test_without_omit_expired_an_old_item_is_there_until_it_is_swept(quick: Path) -> None:
    clock = Turned()
    with FsstoreStore(quick, ttl={"default_ttl": 10}, clock=clock) as store:
        store.put(("a",), "k", {})
        store.put(("a",), "l", {}, ttl=30)
        clock.turn(11)
        assert keys_in(store) == ["k", "l"]
        assert store.sweep_ttl() == 1
        assert keys_in(store) == ["l"]
        assert asyncio.run(store.asweep_ttl()) == 0


class Full:
    """A storage without room for a commit."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    async def commit(self, changes: Any) -> Any:
        raise StorageUnavailableError(reason=f"no room for {len(changes)} changes")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


async def test_items_are_read_where_their_end_cannot_be_moved(quick: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Turned()
    with FsstoreStore(quick, ttl={"default_ttl": 10}, clock=clock) as store:
        store.put(("a",), "old", {}, ttl=1)
        store.put(("a",), "young", {"n": 1})
        clock.turn(5)
        items = Items(Full(store._store.storage), refreshes=True, omits_expired=True)  # type: ignore[arg-type] # as one
        got, gone, found = await items.batch(
            [GetOp(("a",), "young"), GetOp(("a",), "old"), SearchOp(("a",), limit=5)],
        )
        assert (got.value, gone, [item.key for item in found]) == ({"n": 1}, None, ["young"])
        assert "no room" in caplog.text
        with pytest.raises(StorageUnavailableError):
            await items.batch([PutOp(("a",), "young", {"n": 2})])


async def test_an_item_that_is_put_again_meanwhile_is_not_swept(quick: Path) -> None:
    clock = Turned()
    with FsstoreStore(quick, ttl={"default_ttl": 10}, clock=clock) as store:
        store.put(("a",), "again", {})
        store.put(("a",), "left", {})
        clock.turn(11)
        storage: Any = Interrupted(store._store.storage, lambda: store.aput(("a",), "again", {"n": 2}))
        assert await Items(storage).sweep() == 1
        assert [(item.key, item.value) for item in store.search(())] == [("again", {"n": 2})]


def test_the_thread_that_sweeps_ends_with_the_store(quick: Path) -> None:
    store = FsstoreStore(quick, ttl={"default_ttl": 1, "sweep_interval_minutes": 1})
    store.start_ttl_sweeper()
    store.start_ttl_sweeper()
    (sweeper,) = [thread for thread in threading.enumerate() if thread.name == "fsstore-sweeper"]
    del store
    gc.collect()
    sweeper.join(timeout=30)
    assert not sweeper.is_alive()


def test_the_sweeper_sweeps(quick: Path) -> None:
    clock = Turned()
    with FsstoreStore(quick, ttl={"default_ttl": 1}, clock=clock) as store:
        store.put(("a",), "k", {})
        clock.turn(2)
        store.start_ttl_sweeper(0.0005)
        while store.get(("a",), "k", refresh_ttl=False) is not None:
            pass
        assert store.stop_ttl_sweeper(30)


async def test_plain_calls_and_coroutines_see_the_same(store: FsstoreStore) -> None:
    await store.aput(("a",), "k", {"n": 1})
    assert store.get(("a",), "k") == await store.aget(("a",), "k")
    assert await store.asearch((), filter={"n": {"$gte": 1}}) == store.search(())
    await store.adelete(("a",), "k")
    assert await store.alist_namespaces() == []


def test_the_code_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (ROOT / "fsstore" / "guides" / "langgraph.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in re.findall(r"^```text\n(.*?)^```", guide, re.DOTALL | re.MULTILINE):
        exec(compile(block, "langgraph.md", "exec"), names)  # noqa: S102 - the guide's own code
    assert names["found"] == [("u-1", "likes")]
    assert names["moved"] == 1
