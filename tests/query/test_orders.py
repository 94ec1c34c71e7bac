from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from fsstore.errors import StorageValidationError
from fsstore.query.orders import parse_order
from fsstore.sessions.words import session_path

ASCENDING: list[Any] = [None, -1e308, -(2**63), -1, 0, 0.5, 1, 2**53, 2**53 + 1, 2**63 - 1, 2**64 - 1, 1e308]
ASCENDING += ["", "a", "a\0", "b", "\uffff", "\U00010000", {"x": 1}, False, True]


def ordered(records: list[dict[str, Any]], order_by: str | None) -> list[str]:
    return [record["id"] for record in sorted(records, key=parse_order(order_by).key)]


def test_values_of_all_types_have_one_order_and_it_can_be_turned_round() -> None:
    records = [{"id": f"{at:02}", "a": value} for at, value in enumerate(ASCENDING)]
    expected = [record["id"] for record in records]
    Random(1).shuffle(records)

    assert ordered(records, "a") == expected
    assert ordered(records, "-a") == expected[::-1]


@pytest.mark.parametrize("order_by", ["a.b", "-a.b"])
def test_ties_go_by_id_in_either_direction(order_by: str) -> None:
    ties: list[Any] = [{}, {"a": None}, {"a": {"b": None}}, {"a": 1}, {"a": [{"b": 1}]}, {"a": {"c": 1}}]
    records = [{"id": f"{len(ties) - at}", **value} for at, value in enumerate(ties)]

    assert ordered(records, order_by) == sorted(record["id"] for record in records)


def test_objects_and_arrays_are_all_equal_and_so_are_equal_numbers() -> None:
    records: list[dict[str, Any]] = [{"id": "c", "a": [1]}, {"id": "a", "a": {"b": 1}}, {"id": "b", "a": []}]
    records += [{"id": "z", "a": 1}, {"id": "y", "a": 1.0}]

    assert ordered(records, "a") == ["y", "z", "a", "b", "c"]


def test_integers_beyond_64_bits_count_as_their_nearest_float() -> None:
    records = [
        {"id": "c", "a": 10**400},
        {"id": "b", "a": 2**64 - 1},
        {"id": "a", "a": 2**64 - 2},
        {"id": "d", "a": -(10**400)},
    ]

    assert ordered(records, "a") == ["d", "a", "b", "c"]


def test_by_default_the_most_recently_updated_comes_first() -> None:
    records = [{"id": "b", "updated_at": "1"}, {"id": "c", "updated_at": "2"}, {"id": "a", "updated_at": "1"}]

    assert ordered(records, None) == ["c", "a", "b"]


@pytest.mark.parametrize("order_by", ["", "-", "a..b", "a.$b", "--a.", "$.a", "-$.a", "\ud800", 3])
def test_what_is_no_path_is_no_order(order_by: Any) -> None:
    with pytest.raises(StorageValidationError) as refused:
        parse_order(order_by)

    assert refused.value.path == "order_by"


def test_a_key_with_blanks_in_it_is_an_order() -> None:
    assert parse_order("-state.due date").path == ("state", "due date")
    assert parse_order(r"state.due\ desc").path == ("state", "due desc")


@pytest.mark.parametrize("parsed", [parse_order, session_path])
@pytest.mark.parametrize(
    ("order_by", "meant"),
    [
        ([("created_at", -1)], "-created_at"),
        (("created_at", "desc"), "-created_at"),
        ([["rank", 1]], "rank"),
        ({"state.step": -1}, "-state.step"),
        (["-rank"], "-rank"),
        ("", "-updated_at"),
        ("-", "-updated_at"),
        (5, "-updated_at"),
        ([], "-updated_at"),
        (True, "-updated_at"),
        (b"rank", "-updated_at"),
        ("created_at desc", "-created_at"),
        ("state.step DESC", "-state.step"),
        ("rank asc", "rank"),
        ("-rank descending", "-rank"),
        ("+rank", "rank"),
        ("rank,-created_at", "rank"),
        ("rank desc, created_at", "-rank"),
    ],
)
def test_orders_of_other_systems_are_answered_with_what_was_meant(
    parsed: Callable[[Any], object], order_by: Any, meant: str
) -> None:
    with pytest.raises(StorageValidationError) as refused:
        parsed(order_by)

    assert refused.value.path == "order_by"
    assert f'order_by="{meant}"' in refused.value.advice
