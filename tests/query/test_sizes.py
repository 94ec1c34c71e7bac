import time
from typing import Any

import pytest

from fsstore.errors import StorageValidationError
from fsstore.query.filters import parse
from fsstore.query.limits import (
    MAX_FILTER_CHARACTERS,
    MAX_FILTER_CONDITIONS,
    MAX_FILTER_PATTERNS,
    MAX_FILTER_VALUES,
    MAX_PATH_STEPS,
    MAX_PATTERN_CHARACTERS,
)
from fsstore.query.orders import parse_order
from fsstore.query.sizes import without_duplicates


def nested(operator: str, levels: int) -> dict[str, Any]:
    filters: dict[str, Any] = {"a": 1}
    for _ in range(levels):
        filters = {operator: [filters]}
    return filters


LARGEST: list[tuple[str, Any]] = [
    ("conditions", {"$or": [{"a": number} for number in range(MAX_FILTER_CONDITIONS - 1)]}),
    ("conditions", {"a": {"$all": list(range(MAX_FILTER_CONDITIONS - 1))}}),
    ("conditions", {"a": {"$in": [{"b": number} for number in range(MAX_FILTER_CONDITIONS - 1)]}}),
    ("values", {"a": {"$in": list(range(MAX_FILTER_VALUES))}}),
    ("characters", {"a": "x" * (MAX_FILTER_CHARACTERS - 1)}),
    ("patterns", {"$or": [{"a": {"$regex": "."}}] * MAX_FILTER_PATTERNS}),
    ("steps", {".".join("a" * MAX_PATH_STEPS): 1}),
    ("characters", {"a": {"$regex": "a" * MAX_PATTERN_CHARACTERS}}),
    ("deeper", nested("$nor", 99)),
]


def larger(filters: Any) -> Any:
    """Return the same with one more of everything."""
    if isinstance(filters, list):
        return [larger(filters[0]), *filters]
    if isinstance(filters, str):
        return f"{filters}x"
    if isinstance(filters, int):
        return filters - 1
    ((key, value),) = filters.items()
    is_path = isinstance(value, int) and "." in key
    return {f"{key}.b" if is_path else key: value if is_path else larger(value)}


@pytest.mark.parametrize(("limit", "filters"), LARGEST)
def test_a_filter_of_the_largest_size_is_understood_and_a_larger_one_names_the_limit(limit: str, filters: Any) -> None:
    parse(filters)
    with pytest.raises(StorageValidationError, match=f"{limit}.* than [0-9]+"):
        parse(nested("$nor", 101) if limit == "deeper" else larger(filters))


HUGE = [
    {"a": {"$in": list(range(10**6))}},
    {"a": {"$in": [{"b": number} for number in range(10**5)]}},
    {"a": {"$all": ["x"] * 10**5}},
    {"a": {"$in": set(range(10**6))}},
    {"a": "x" * 10**7},
    {"a": {"b": {"c": list(range(10**5))}}},
    {f"k{number}": 1 for number in range(10**5)},
]


@pytest.mark.parametrize("filters", HUGE)
def test_a_huge_filter_is_refused_at_once(filters: Any) -> None:
    began = time.thread_time()
    with pytest.raises(StorageValidationError, match="too many"):
        parse(filters)
    assert time.thread_time() - began < 1


def test_an_order_has_no_more_steps_than_a_filter() -> None:
    assert len(parse_order(".".join("a" * MAX_PATH_STEPS)).path) == MAX_PATH_STEPS
    with pytest.raises(StorageValidationError, match=f"more than {MAX_PATH_STEPS}"):
        parse_order(".".join("a" * (MAX_PATH_STEPS + 1)))


def test_the_text_of_a_long_path_is_not_in_the_error() -> None:
    with pytest.raises(StorageValidationError) as refused:
        parse({".".join("a" * 10_000): 1})
    assert len(str(refused.value)) < 200


COPIES = MAX_FILTER_CONDITIONS - 10
REPEATED: list[tuple[Any, Any]] = [
    ({"a": {"$all": ["x"] * COPIES}}, {"a": {"$all": ["x"]}}),
    ({"a": {"$in": [{"b": 1}] * COPIES}}, {"a": {"$in": [{"b": 1}]}}),
    ({"a": {"$nin": [["x"]] * COPIES}}, {"a": {"$nin": [["x"]]}}),
    ({"$and": [{"a": 1}] * COPIES}, {"$and": [{"a": 1}]}),
    ({"$or": [{"a": "y"}] * COPIES}, {"$or": [{"a": "y"}]}),
    ({"$nor": [{"a": {"$gt": 5}}] * COPIES}, {"$nor": [{"a": {"$gt": 5}}]}),
    ({"$or": [{"a": {"$not": {"$all": ["x"] * 100}}}] * 2}, {"$or": [{"a": {"$not": {"$all": ["x"]}}}]}),
    ({"a": {"$all": [1, True, 1.0, 1, True]}}, {"a": {"$all": [1, True, 1.0]}}),
]


@pytest.mark.parametrize(("repeated", "once"), REPEATED)
def test_what_is_written_many_times_is_looked_for_once(repeated: Any, once: Any) -> None:
    assert without_duplicates(repeated) == once
    assert repr(without_duplicates(repeated)) == repr(once)
    assert parse(repeated) == parse(once)


@pytest.mark.parametrize("filters", [{"a": {"$all": [1, True, "1"]}}, {"a": [1, 1]}, {"$or": [{"a": 1}, {"b": 1}]}])
def test_what_is_written_once_stays_as_it_is(filters: Any) -> None:
    assert without_duplicates(filters) is filters


def test_a_filter_that_repeats_itself_takes_no_longer_over_a_thousand_records() -> None:
    records = [{"id": str(number), "a": ["x"] * 50} for number in range(1000)]
    for filters in ({"a": {"$all": ["x"] * COPIES}}, {"$or": [{"a": "y"}] * COPIES}):
        condition, began = parse(filters), time.thread_time()
        for record in records:
            condition.matches(record)
        assert time.thread_time() - began < 1
