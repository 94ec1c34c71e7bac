"""What the documentation of py-key-value says of a store, a test for each rule: its sources bring no tests to run.

They are run with the store of files that comes with it, and with ours in its place.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from key_value.aio.errors import InvalidTTLError, SerializationError
from key_value.aio.protocols.key_value import AsyncCullProtocol, AsyncKeyValueProtocol
from key_value.aio.stores import filetree
from key_value.aio.stores.base import ManagedEntry
from key_value.aio.wrappers.prefix_collections import PrefixCollectionsWrapper
from key_value.aio.wrappers.single_collection import SingleCollectionWrapper
from key_value.aio.wrappers.ttl_clamp import TTLClampWrapper


@pytest.fixture
def store(tmp_path: Path) -> Any:
    return filetree.FileTreeStore(
        data_directory=tmp_path,
        key_sanitization_strategy=filetree.FileTreeV1KeySanitizationStrategy(directory=tmp_path),
        collection_sanitization_strategy=filetree.FileTreeV1CollectionSanitizationStrategy(directory=tmp_path),
    )


async def put_expired(store: Any, key: str, **value: Any) -> None:
    await store.setup_collection(collection="c")
    past = datetime.now(UTC) - timedelta(seconds=1)
    await store._put_managed_entry(collection="c", key=key, managed_entry=ManagedEntry(value=value, expires_at=past))


def test_it_is_a_store_as_the_protocols_have_them(store: Any) -> None:
    assert isinstance(store, AsyncKeyValueProtocol)
    assert isinstance(store, AsyncCullProtocol)


# -- one entry --------------------------------------------------------------------------------------------------------


async def test_what_is_not_there_is_none(store: Any) -> None:
    assert await store.get("k", collection="c") is None
    assert await store.ttl("k", collection="c") == (None, None)
    assert await store.delete("k", collection="c") is False


async def test_what_is_put_is_got_until_it_is_deleted(store: Any) -> None:
    await store.put("k", {"a": 1}, collection="c")
    assert await store.get("k", collection="c") == {"a": 1}
    assert await store.delete("k", collection="c") is True
    assert await store.get("k", collection="c") is None
    assert await store.delete("k", collection="c") is False


async def test_a_put_replaces_the_value_as_a_whole(store: Any) -> None:
    await store.put("k", {"a": 1, "b": 2}, collection="c", ttl=100)
    await store.put("k", {"b": 3}, collection="c")
    assert await store.ttl("k", collection="c") == ({"b": 3}, None)


async def test_without_a_collection_it_is_the_default_one(store: Any) -> None:
    await store.put("k", {"a": 1})
    assert await store.get("k") == {"a": 1}
    assert await store.get("k", collection="default_collection") == {"a": 1}
    assert await store.get("k", collection="c") is None
    assert await store.delete("k")


async def test_collections_have_keys_of_their_own(store: Any) -> None:
    for at in ("a", "b", "A"):
        await store.put("k", {"at": at}, collection=at)
    assert await store.delete("k", collection="a")
    assert await store.get("k", collection="b") == {"at": "b"}
    assert await store.get("k", collection="A") == {"at": "A"}


@pytest.mark.parametrize(
    "name", ["a/b", "../../x", "a b", "ä\N{SNOWMAN}", "!@#$%^&*()", "x" * 800, ".", "info", "%2F", "~"]
)
async def test_keys_and_collections_may_be_any_text(store: Any, name: str) -> None:
    await store.put(name, {"a": name}, collection=name)
    await store.put("k", {"a": "k"}, collection=name)
    await store.put(name, {"a": "c"}, collection="c")
    assert await store.get(name, collection=name) == {"a": name}
    assert await store.get(name, collection="c") == {"a": "c"}
    assert await store.delete(name, collection=name)
    assert await store.get("k", collection=name) == {"a": "k"}


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"none": None, "list": [None, {"deep": None}]},
        {"true": True, "false": [False]},
        {"int": -42, "large": 10**18},
        {"float": 1.0, "small": 1.5e-300},
        {"text": "line\n\ttab \N{SNOWMAN} \x00", "": "empty"},
        {"1": "one", "null": "null", "a.b": {"$set": 1}},
        {"large": "x" * 200_000},
        {"metadata": {"expires_at": "2001-01-01"}, "value": 1},
    ],
)
async def test_values_that_are_json_come_back_equal(store: Any, value: Any) -> None:
    await store.put("k", value, collection="c")
    found = await store.get("k", collection="c")
    assert found == value
    assert [type(each) for _, each in sorted(found.items())] == [type(each) for _, each in sorted(value.items())]


async def test_integers_of_any_size_come_back_equal(store: Any) -> None:
    await store.put("k", {"a": 2**70}, collection="c")
    assert await store.get("k", collection="c") == {"a": 2**70}


async def test_tuples_come_back_as_lists(store: Any) -> None:
    await store.put("k", {"a": (1, ("b",))}, collection="c")
    assert await store.get("k", collection="c") == {"a": [1, ["b"]]}


@pytest.mark.parametrize(
    "value", [datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 1), UUID(int=1), b"bytes", {1, 2}, object(), [object()]]
)
async def test_values_that_are_not_json_are_refused(store: Any, value: Any) -> None:
    await store.put("k", {"a": 1}, collection="c")
    with pytest.raises(SerializationError):
        await store.put("k", {"a": value}, collection="c")
    assert await store.get("k", collection="c") == {"a": 1}


async def test_what_is_changed_after_it_was_put_or_got_is_not_stored(store: Any) -> None:
    value = {"a": [1]}
    await store.put("k", value, collection="c")
    value["a"].append(2)
    found = await store.get("k", collection="c")
    found["a"].append(3)
    assert await store.get("k", collection="c") == {"a": [1]}


# -- lifetimes --------------------------------------------------------------------------------------------------------


async def test_a_lifetime_is_told_in_seconds(store: Any) -> None:
    await store.put("k", {"a": 1}, collection="c", ttl=100)
    value, ttl = await store.ttl("k", collection="c")
    assert value == {"a": 1}
    assert 98 < ttl <= 100
    await store.put("k", {"a": 1}, collection="c")
    assert await store.ttl("k", collection="c") == ({"a": 1}, None)


@pytest.mark.parametrize("ttl", [0, -1, -0.5, True])
async def test_a_lifetime_that_is_none_is_refused(store: Any, ttl: Any) -> None:
    with pytest.raises(InvalidTTLError):
        await store.put("k", {"a": 1}, collection="c", ttl=ttl)
    with pytest.raises(InvalidTTLError):
        await store.put_many(["k"], [{"a": 1}], collection="c", ttl=ttl)
    assert await store.get("k", collection="c") is None


async def test_what_has_expired_is_not_there(store: Any) -> None:
    await put_expired(store, "k", a=1)
    assert await store.get("k", collection="c") is None
    assert await store.ttl("k", collection="c") == (None, None)
    assert await store.get_many(["k"], collection="c") == [None]
    assert await store.ttl_many(["k"], collection="c") == [(None, None)]
    await store.put("k", {"a": 2}, collection="c")
    assert await store.get("k", collection="c") == {"a": 2}


async def test_an_entry_expires_while_it_is_stored(store: Any) -> None:
    await store.put("k", {"a": 1}, collection="c", ttl=0.3)
    _, ttl = await store.ttl("k", collection="c")
    assert 0 < ttl <= 0.3
    await asyncio.sleep(ttl + 0.01)
    assert await store.get("k", collection="c") is None


async def test_culling_removes_what_has_expired_and_nothing_else(store: Any) -> None:
    for key in ("old", "older"):
        await put_expired(store, key, a=1)
    await store.put("new", {"a": 1}, collection="c", ttl=100)
    await store.put("always", {"a": 1}, collection="c")
    await store.cull()
    # an entry that is there can be deleted, whether it has expired or not
    assert await store.delete_many(["old", "older"], collection="c") == 0
    assert await store.delete_many(["new", "always"], collection="c") == 2


# -- many entries -----------------------------------------------------------------------------------------------------


async def test_many_are_put_got_and_deleted_in_their_order(store: Any) -> None:
    keys = [f"k-{at}" for at in range(20)]
    values = [{"at": at} for at in range(20)]
    await store.put_many(keys, values, collection="c")
    assert await store.get_many(keys[::-1], collection="c") == values[::-1]
    assert await store.get_many(["k-1", "nobody", "k-1"], collection="c") == [{"at": 1}, None, {"at": 1}]
    assert await store.delete_many([*keys[:5], "nobody"], collection="c") == 5
    assert await store.delete_many(keys, collection="c") == 15
    assert await store.delete_many(keys, collection="c") == 0


async def test_many_have_one_lifetime(store: Any) -> None:
    await store.put_many(["a", "b"], ({"x": 1}, {"x": 2}), collection="c", ttl=100)
    found = await store.ttl_many(["a", "nobody", "b"], collection="c")
    assert [value for value, _ in found] == [{"x": 1}, None, {"x": 2}]
    assert found[1] == (None, None)
    assert 98 < found[0][1] <= 100
    assert 98 < found[2][1] <= 100


async def test_as_many_values_as_keys_are_wanted(store: Any) -> None:
    with pytest.raises(ValueError, match="different number"):
        await store.put_many(["a", "b"], [{"x": 1}], collection="c")


async def test_no_keys_are_nothing(store: Any) -> None:
    await store.put_many([], [], collection="c")
    assert await store.get_many([], collection="c") == []
    assert await store.ttl_many([], collection="c") == []
    assert await store.delete_many([], collection="c") == 0


async def test_tasks_do_not_disturb_each_other(store: Any) -> None:
    async def work(name: str) -> None:
        for at in range(5):
            await store.put(f"{name}-{at}", {"at": at}, collection="c")
            assert await store.get(f"{name}-{at}", collection="c") == {"at": at}
            assert await store.delete(f"{name}-{at}", collection="c")
            assert await store.get(f"{name}-{at}", collection="c") is None

    await asyncio.gather(*(work(f"{name}") for name in range(4)))


# -- below the wrappers -----------------------------------------------------------------------------------------------


async def test_the_wrappers_stand_on_it(store: Any) -> None:
    single = SingleCollectionWrapper(key_value=store, single_collection="one")
    await single.put("k", {"a": 1}, collection="x")
    assert await single.get("k", collection="x") == {"a": 1}
    prefixed = PrefixCollectionsWrapper(key_value=store, prefix="p")
    await prefixed.put("k", {"a": 2}, collection="x")
    assert await prefixed.get("k", collection="x") == {"a": 2}
    assert await store.get("k", collection="x") is None
    clamped = TTLClampWrapper(key_value=store, min_ttl=1, max_ttl=50)
    await clamped.put("k", {"a": 3}, collection="x", ttl=1000)
    _, ttl = await store.ttl("k", collection="x")
    assert 48 < ttl <= 50
