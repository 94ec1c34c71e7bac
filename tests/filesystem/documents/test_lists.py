"""A list in the bytes of a document is changed, byte for byte, as `encode` would write it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsstore.filesystem.documents.codec import encode
from fsstore.filesystem.documents.lists import (
    ListText,
    count_items,
    find_list,
    has_item,
    items_between,
    key_of,
    tail_in,
    with_items,
    without_last,
)
from fsstore.filesystem.documents.text import Text
from fsstore.model.lists import tail_of
from fsstore.model.patch import Steps
from fsstore.model.records import JsonObject
from fsstore.model.values import MAX_INT

NOW = "2026-01-31T09:15:00.000000+00:00"
# texts and keys that look like the lines which the bytes are taken apart by
KEYS = st.sampled_from(["data", "messages", "log", "a", "zz", '"messages": [', "\n    ]", "\n      {", "é"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, MAX_INT) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(['\n    "messages": [', "\n    ]", "\n      ", '\n        "k": 1', "x", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
LISTS = st.lists(VALUES, max_size=4)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


def written(data: JsonObject, beside: JsonObject | None = None) -> bytes:
    record = {
        **(beside or {}),
        "id": "a",
        "type": "t",
        "version": 1,
        "created_at": NOW,
        "updated_at": NOW,
        "data": data,
    }
    return encode(record, max_bytes=1 << 20)


def found_in(data: bytes, key: str = "messages") -> ListText:
    found = find_list(Text.of(data), key)
    assert found is not None
    return found


@settings(deadline=None)
@given(data=OBJECTS, beside=OBJECTS, there=LISTS, added=LISTS, key=KEYS)
def test_items_come_to_the_end_as_encode_writes_them(
    data: JsonObject, beside: JsonObject, there: list[Any], added: list[Any], key: str
) -> None:
    before, after = written({**data, key: there}, beside), written({**data, key: [*there, *added]}, beside)
    found = found_in(before, key)
    assert count_items(found) == len(there)
    assert bytes(found.text.edited(with_items(found, added))) == after
    if added:
        back = after
        for item in reversed(added):
            longer = found_in(back, key)
            shorter = without_last(longer, item)
            assert shorter is not None
            back = bytes(longer.text.edited(shorter))
        assert back == before


@settings(deadline=None)
@given(data=OBJECTS, items=LISTS, start=st.integers(0, 5), size=st.integers(0, 5))
def test_items_are_read_from_their_bytes(data: JsonObject, items: list[Any], start: int, size: int) -> None:
    found = found_in(written({**data, "messages": items}))
    read = items_between(found, len(items), start, start + size)
    assert read == items[start : start + size]
    assert list(map(type, read)) == list(map(type, items[start : start + size]))


@settings(deadline=None)
@given(items=LISTS, value=st.none() | st.booleans() | st.integers(-5, MAX_INT) | st.text(max_size=3) | st.floats(-9, 9))
def test_an_item_is_known_by_a_value_of_its_own(items: list[Any], value: Any) -> None:
    deeper = [{"in": {"k": value}}, [{"k": value}], {"text": f'\n        "k": {value}'}, *items]
    assert not has_item(found_in(written({"messages": deeper})), "k", value)
    assert has_item(found_in(written({"messages": [*deeper, {"k": value, "z": 1}]})), "k", value)
    assert has_item(found_in(written({"messages": [{"a": 1, "k": value}, *deeper]})), "k", value)


def test_a_value_that_only_begins_so_is_another() -> None:
    found = found_in(written({"messages": [{"k": 12}, {"k": "ab"}, {"k": 1.5}]}))
    assert not has_item(found, "k", 1)
    assert not has_item(found, "k", "a")
    assert has_item(found, "k", 12)


@pytest.mark.parametrize(
    "data", [{}, {"messages": {}}, {"messages": "["}, {"deeper": {"messages": [1]}}, {"messages": 5}]
)
def test_what_is_no_list_of_the_data_is_not_found(data: JsonObject) -> None:
    assert find_list(Text.of(written(data, {"metadata": {"messages": [1]}})), "messages") is None


@pytest.mark.parametrize("count", [1, 2, 30])
def test_items_longer_than_what_is_looked_at_first_are_read_whole(count: int) -> None:
    items = [{"k": number, "text": "x" * 40_000} for number in range(5)]
    found = found_in(written({"messages": items}))
    assert items_between(found, 5, max(5 - count, 0), 5) == items[-count:]
    assert without_last(found, items[-1]) is not None


def test_another_last_item_is_not_taken_away() -> None:
    found = found_in(written({"messages": [1, {"a": [1]}]}))
    for other in (1, True, {"a": [1.0]}, {"a": [1], "b": 1}, None):
        assert without_last(found, other) is None
    assert without_last(found_in(written({"messages": []})), 1) is None


@settings(deadline=None)
@given(items=LISTS, count=st.integers(0, 6), before=st.none() | st.integers(0, 6))
def test_a_tail_is_that_of_the_parsed_list(items: list[Any], count: int, before: int | None) -> None:
    tail = tail_in(found_in(written({"messages": items})), len(items), count, before)
    assert tail == tail_of(items, count, before)


@pytest.mark.parametrize(
    ("steps", "key"),
    [(("data", "messages"), "messages"), (("data", "a", "b"), None), (("data", "metadata"), None), (("log",), None)],
)
def test_a_list_is_known_by_its_key_only_directly_below_the_data(steps: Steps, key: str | None) -> None:
    assert key_of(steps) == key
