from typing import Any

import pytest

from fsstore.errors import StorageValidationError
from fsstore.model.lists import Tail, extended, list_at, shortened, tail_of, unknown
from fsstore.model.records import JsonObject

RECORD: JsonObject = {"id": "a", "data": {"messages": [1, [2]], "state": {"log": []}, "none": None, "text": "x"}}


def test_a_list_is_found_by_its_path_or_absent() -> None:
    assert list_at(RECORD, ("data", "messages")) == [1, [2]]
    assert list_at(RECORD, ("data", "state", "log")) == []
    assert list_at(RECORD, ("data", "other", "log")) is None


@pytest.mark.parametrize(
    ("steps", "place"),
    [
        (("none",), "$.data.none"),
        (("text", "x"), "$.data.text"),
        (("messages", "0"), "$.data.messages"),
        ((), "$.data"),
    ],
)
def test_what_is_no_list_is_refused_with_its_path(steps: tuple[str, ...], place: str) -> None:
    with pytest.raises(StorageValidationError) as refused:
        list_at(RECORD, ("data", *steps))
    assert (refused.value.path, refused.value.id) == (place, "a")


def test_a_longer_list_is_a_new_one_and_shares_its_items() -> None:
    longer = extended(RECORD, ("data", "messages"), [3])
    assert longer["data"]["messages"] == [1, [2], 3]
    assert RECORD["data"]["messages"] == [1, [2]]
    assert longer["data"]["messages"][1] is RECORD["data"]["messages"][1]
    assert longer["data"]["state"] is RECORD["data"]["state"]
    made = extended(RECORD, ("data", "new", "way", "log"), [1])
    assert made["data"]["new"] == {"way": {"log": [1]}}


def test_a_list_loses_its_last_item() -> None:
    assert shortened(RECORD, ("data", "messages"))["data"]["messages"] == [1]
    assert RECORD["data"]["messages"] == [1, [2]]


def test_items_are_unknown_by_json_value() -> None:
    there: list[Any] = [{"k": 1}, {"k": [1]}, {"other": 5}, "text"]
    given: list[Any] = [{"k": 1}, {"k": True}, {"k": 1.0}, {"k": [1]}, {"k": None}, {"k": None}, {"other": 5}, "text"]
    assert unknown(given, there, "k") == [{"k": True}, {"k": 1.0}, {"k": None}, {"other": 5}, "text"]


def test_the_end_of_a_list_or_what_lies_before_a_position() -> None:
    items = list("abcde")
    assert tail_of(items, 2) == Tail(["d", "e"], 3, 5)
    assert tail_of(items, 2, before=3) == Tail(["b", "c"], 1, 5)
    assert tail_of(items, 9, before=1) == Tail(["a"], 0, 5)
    assert tail_of(items, 0) == Tail([], 5, 5)
    assert tail_of(items, 1, before=99) == Tail(["e"], 4, 5)
