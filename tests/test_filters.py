from random import Random
from typing import Any

import pytest

from fsstore.errors import StorageValidationError
from fsstore.filters import matches, parse, parse_order, session_filter, session_path
from fsstore.values import MAX_INT

NESTED = {"a": [{"b": 1}, {"b": [2, 3]}, {"c": None}, 7, [{"b": 9}]]}

MATCHES: list[tuple[str, Any, Any, bool]] = [
    ("no filter wants everything", None, {"a": 1}, True),
    ("an empty filter wants everything", {}, {"a": 1}, True),
    ("a value equals itself", {"a": 1}, {"a": 1}, True),
    ("another value does not", {"a": 1}, {"a": 2}, False),
    ("all paths of a filter must hold", {"a": 1, "b": 2}, {"a": 1, "b": 3}, False),
    ("an integer equals the same float", {"a": 1}, {"a": 1.0}, True),
    ("zero equals minus zero", {"a": 0}, {"a": -0.0}, True),
    ("true is not one", {"a": True}, {"a": 1}, False),
    ("one is not true", {"a": 1}, {"a": True}, False),
    ("true is not one inside an object", {"a": {"b": True}}, {"a": {"b": 1}}, False),
    ("true is not one inside an array", {"a": [True]}, {"a": [1]}, False),
    ("integers are compared exactly with floats", {"a": 2**53 + 1}, {"a": float(2**53)}, False),
    ("the largest integer is itself", {"a": MAX_INT}, {"a": MAX_INT}, True),
    ("the largest integer is not its float", {"a": MAX_INT}, {"a": float(MAX_INT)}, False),
    ("a number is not its text", {"a": 1}, {"a": "1"}, False),
    ("the empty string is not null", {"a": ""}, {"a": None}, False),
    ("text is compared to the last character", {"a": "x\0y"}, {"a": "x\0z"}, False),
    ("None matches null", {"a": None}, {"a": None}, True),
    ("None matches what is missing", {"a": None}, {}, True),
    ("None does not match false", {"a": None}, {"a": False}, False),
    ("None matches what is missing below a scalar", {"a.b": None}, {"a": 1}, True),
    ("a scalar matches an array that holds it", {"a": 2}, {"a": [1, 2]}, True),
    ("a scalar does not match an array within an array", {"a": 2}, {"a": [[2]]}, False),
    ("None matches an array that holds null", {"a": None}, {"a": [None]}, True),
    ("None does not match an empty array", {"a": None}, {"a": []}, False),
    ("an array equals itself in order", {"a": [1, 2]}, {"a": [1, 2]}, True),
    ("an array does not equal another order", {"a": [1, 2]}, {"a": [2, 1]}, False),
    ("an array matches an array that holds it", {"a": [2]}, {"a": [1, [2]]}, True),
    ("an object equals itself whatever the order of its keys", {"a": {"x": 1, "y": 2}}, {"a": {"y": 2, "x": 1}}, True),
    ("an object does not equal a larger one", {"a": {"x": 1}}, {"a": {"x": 1, "y": 2}}, False),
    ("an object matches an array that holds it", {"a": {"x": 1}}, {"a": [{"x": 1}]}, True),
    ("the empty object equals the empty object", {"a": {}}, {"a": {}}, True),
    ("the empty object does not equal the empty array", {"a": {}}, {"a": []}, False),
    (
        "keys that look like operators can be compared as data",
        {"a": {"$eq": {"$ref": "x"}}},
        {"a": {"$ref": "x"}},
        True,
    ),
    ("$eq is equality", {"a": {"$eq": 1}}, {"a": [1]}, True),
    ("$ne is its opposite", {"a": {"$ne": 1}}, {"a": [1]}, False),
    ("$ne holds for what is missing", {"a": {"$ne": 1}}, {}, True),
    ("$in wants one of several", {"a": {"$in": [1, "x"]}}, {"a": "x"}, True),
    ("$in finds null", {"a": {"$in": [1, None]}}, {}, True),
    ("$in keeps true and one apart", {"a": {"$in": [1]}}, {"a": True}, False),
    ("$in finds arrays and objects", {"a": {"$in": [[1], {"b": 1}]}}, {"a": {"b": 1.0}}, True),
    ("$in of nothing never holds", {"a": {"$in": []}}, {"a": None}, False),
    ("$nin is the opposite of $in", {"a": {"$nin": [1, 2]}}, {"a": [2]}, False),
    ("$nin of nothing always holds", {"a": {"$nin": []}}, {}, True),
    ("$all wants every value", {"a": {"$all": [1, 2]}}, {"a": [2, 1, 3]}, True),
    ("$all misses one", {"a": {"$all": [1, 4]}}, {"a": [2, 1, 3]}, False),
    ("$all of one holds for the scalar", {"a": {"$all": [1]}}, {"a": 1}, True),
    ("$all of nothing never holds", {"a": {"$all": []}}, {"a": []}, False),
    ("$gt compares numbers", {"a": {"$gt": 1}}, {"a": 1.5}, True),
    ("$gt is strict", {"a": {"$gt": 1}}, {"a": 1}, False),
    ("$gte is not", {"a": {"$gte": 1}}, {"a": 1.0}, True),
    ("$lt compares strings by code point", {"a": {"$lt": "\U00010000"}}, {"a": "\uffff"}, True),
    ("$lte compares booleans", {"a": {"$lte": True}}, {"a": False}, True),
    ("$gt compares integers exactly with floats", {"a": {"$gt": float(2**53)}}, {"a": 2**53 + 1}, True),
    ("$gt keeps numbers and strings apart", {"a": {"$gt": 0}}, {"a": "1"}, False),
    ("$lt keeps numbers and booleans apart", {"a": {"$lt": 2}}, {"a": True}, False),
    ("$lt does not match null", {"a": {"$lt": 1}}, {"a": None}, False),
    ("$gt holds for one element of an array", {"a": {"$gt": 5}}, {"a": [1, 9]}, True),
    ("two operators may hold for two elements", {"a": {"$gt": 5, "$lt": 2}}, {"a": [1, 9]}, True),
    ("$exists finds null", {"a": {"$exists": True}}, {"a": None}, True),
    ("$exists finds an empty array", {"a": {"$exists": True}}, {"a": []}, True),
    ("$exists misses what is missing", {"a": {"$exists": True}}, {}, False),
    ("$exists false wants it missing", {"a.b": {"$exists": False}}, {"a": {}}, True),
    ("$exists looks through arrays", {"a.c": {"$exists": True}}, NESTED, True),
    ("$regex searches", {"a": {"$regex": "b.d"}}, {"a": "abcde"}, True),
    ("$regex looks into arrays", {"a": {"$regex": "^x$"}}, {"a": ["y", "x"]}, True),
    ("$regex passes over what is no string", {"a": {"$regex": "1"}}, {"a": [1, None]}, False),
    ("$regex takes its flags along", {"a": {"$regex": "(?i)DRAFT"}}, {"a": "a draft"}, True),
    ("$not turns operators round", {"a": {"$not": {"$gt": 1}}}, {"a": 1}, True),
    ("$not holds for what is missing", {"a": {"$not": {"$gt": 1}}}, {}, True),
    ("$not may stand in $not", {"a": {"$not": {"$not": {"$gt": 1}}}}, {"a": 2}, True),
    ("$and wants every part", {"$and": [{"a": 1}, {"b": 2}]}, {"a": 1}, False),
    ("$or wants one part", {"$or": [{"a": 1}, {"b": 2}]}, {"b": 2}, True),
    ("$nor wants no part", {"$nor": [{"a": 1}, {"b": 2}]}, {"a": 3}, True),
    ("$nor is hurt by one part", {"$nor": [{"a": 1}, {"b": 2}]}, {"b": 2}, False),
    ("operators stand beside paths", {"a": 1, "$or": [{"b": 1}, {"b": 2}]}, {"a": 1, "b": 2}, True),
    ("a dotted path steps through objects", {"a.b.c": 1}, {"a": {"b": {"c": 1}}}, True),
    ("a dotted path is no key with dots", {"a.b": 1}, {"a.b": 1}, False),
    ("a path goes into the objects of an array", {"a.b": 1}, NESTED, True),
    ("a path ends in an array of one of them", {"a.b": 3}, NESTED, True),
    ("a path does not go into an array of an array", {"a.b": 9}, NESTED, False),
    ("digits are the place in an array", {"a.0.b": 1}, NESTED, True),
    ("digits reach an array of an array", {"a.4.0.b": 9}, NESTED, True),
    ("digits reach a scalar", {"a.3": 7}, NESTED, True),
    ("digits with a leading zero are no place", {"a.03": 7}, NESTED, False),
    ("digits may be a key", {"a.0": 1}, {"a": {"0": 1}}, True),
    ("digits may be a key in an array", {"a.1": "x"}, {"a": [{"1": "x"}]}, True),
    ("more digits than an array has places lead nowhere", {"a." + "9" * 5000: 1}, NESTED, False),
    ("None matches where an object of an array lacks the key", {"a.b": None}, NESTED, True),
    ("None does not match an empty array on the way", {"a.b": None}, {"a": []}, False),
    ("None does not match scalars in an array on the way", {"a.b": None}, {"a": [1, 2]}, False),
]

REFUSALS: list[tuple[Any, str, str]] = [
    ([], "$", "must be a mapping, not list"),
    ("a", "$", "must be a mapping, not str"),
    ({1: 2}, "$", "the key 1 is int"),
    ({"a": float("nan")}, "$.a", "not a JSON number"),
    ({"a": {"$in": ["x", "\ud800"]}}, "$.a['$in'][1]", "lone surrogate"),
    ({"a": b"x"}, "$.a", "bytes is not a JSON value"),
    ({"a": 2**64}, "$.a", "exceeds 64 bits"),
    ({"a": {"$in": ("x",)}}, "$.a['$in']", "tuple is not a JSON value"),
    ({"a": {"$gtt": 1}}, "$.a['$gtt']", "unknown operator $gtt, the nearest is $gt"),
    ({"$ande": []}, "$['$ande']", "the nearest is $and"),
    ({"$or": [{"b": 1}, {"a": {"$exist": True}}]}, "$['$or'][1].a['$exist']", "the nearest is $exists"),
    ({"a": {"$?": 1}}, "$.a['$?']", "unknown operator"),
    ({"$gt": 1}, "$['$gt']", "stands under a path"),
    ({"$not": {"a": 1}}, "$['$not']", "stands under a path"),
    ({"a": {"$or": [{"b": 1}]}}, "$.a['$or']", "stands beside the paths"),
    ({"a": {"$gt": 1, "b": 2}}, "$.a", "mixes operators with the plain key 'b'"),
    ({"a": {"b": {"$gt": 1}}}, "$.a.b", "has the operator"),
    ({"a": [{"b": {"$or": 1}}]}, "$.a[0].b", "has the operator"),
    ({"a": {"$gt": None}}, "$.a['$gt']", "null has no order"),
    ({"a": {"$gte": [1]}}, "$.a['$gte']", "array has no order"),
    ({"a": {"$lt": {}}}, "$.a['$lt']", "object has no order"),
    ({"a": {"$in": "x"}}, "$.a['$in']", "takes a list, not string"),
    ({"a": {"$nin": None}}, "$.a['$nin']", "takes a list, not null"),
    ({"a": {"$all": {}}}, "$.a['$all']", "takes a list, not object"),
    ({"a": {"$exists": 1}}, "$.a['$exists']", "takes true or false, not number"),
    ({"a": {"$regex": 1}}, "$.a['$regex']", "takes a string, not number"),
    ({"a": {"$regex": "("}}, "$.a['$regex']", "is not a regular expression"),
    ({"a": {"$regex": "a{99999999999}"}}, "$.a['$regex']", "is not a regular expression"),
    ({"a": {"$not": 1}}, "$.a['$not']", "takes an object of operators"),
    ({"a": {"$not": {}}}, "$.a['$not']", "takes an object of operators"),
    ({"a": {"$not": {"b": 1}}}, "$.a['$not']", "takes an object of operators"),
    ({"$and": []}, "$['$and']", "at least one filter"),
    ({"$or": {"a": 1}}, "$['$or']", "at least one filter"),
    ({"$nor": [1]}, "$['$nor'][0]", "must be a filter"),
    ({"": 1}, "$['']", "has an empty step"),
    ({"a..b": 1}, "$['a..b']", "has an empty step"),
    ({"a.": 1}, "$['a.']", "has an empty step"),
    ({"a.$b": 1}, "$['a.$b']", "looks like an operator"),
]


@pytest.mark.parametrize(
    ("filters", "record", "expected"), [row[1:] for row in MATCHES], ids=[row[0] for row in MATCHES]
)
def test_a_filter_means_what_mongodb_says(filters: Any, record: Any, expected: bool) -> None:  # noqa: FBT001 - a table
    assert matches(filters, record) is expected


@pytest.mark.parametrize(("filters", "path", "reason"), REFUSALS)
def test_what_is_no_filter_is_refused_with_its_place(filters: Any, path: str, reason: str) -> None:
    with pytest.raises(StorageValidationError) as refused:
        parse(filters)

    assert refused.value.path == path
    assert reason in str(refused.value.reason)


def test_an_unknown_operator_is_answered_with_all_that_are_known() -> None:
    with pytest.raises(StorageValidationError, match=r"known are \$all \$and .* \$regex"):
        parse({"a": {"$options": "i"}})


def test_a_filter_nested_too_deep_is_refused_and_not_a_recursion() -> None:
    filters: dict[str, Any] = {"a": 1}
    for _ in range(5_000):
        filters = {"$and": [filters]}

    with pytest.raises(StorageValidationError, match="nested deeper"):
        parse(filters)


def test_later_changes_by_the_caller_do_not_reach_a_filter() -> None:
    wanted = {"a": {"$in": [{"b": 1}]}}
    condition = parse(wanted)
    wanted["a"]["$in"][0]["b"] = 2

    assert condition.matches({"a": {"b": 1}})


# -- the words of sessions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, {}),
        ({"status": "x"}, {"data.metadata.status": "x"}),
        ({"state.step": 1}, {"data.state.step": 1}),
        ({"metadata.status": "x"}, {"data.metadata.status": "x"}),
        ({"status": {"$in": ["x"]}}, {"data.metadata.status": {"$in": ["x"]}}),
        (
            {"$or": [{"status": "x"}, {"$and": [{"a.b": 1}]}]},
            {"$or": [{"data.metadata.status": "x"}, {"$and": [{"data.a.b": 1}]}]},
        ),
        ({"$nor": [{"status": "x"}]}, {"$nor": [{"data.metadata.status": "x"}]}),
        ({"$oops": 1, "$or": "text"}, {"$oops": 1, "$or": "text"}),
        ({"$or": ["text"]}, {"$or": ["text"]}),
    ],
)
def test_bare_keys_mean_metadata_and_dotted_ones_start_at_the_session(filters: Any, expected: Any) -> None:
    assert session_filter(filters) == expected


def test_two_spellings_of_one_path_must_both_hold() -> None:
    wanted = session_filter({"status": {"$gt": "a"}, "metadata.status": {"$lt": "c"}})

    assert matches(wanted, {"data": {"metadata": {"status": "b"}}})
    assert not matches(wanted, {"data": {"metadata": {"status": "c"}}})
    assert not matches(wanted, {"data": {"metadata": {"status": "a"}}})


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        (None, None),
        ("priority", "data.metadata.priority"),
        ("-priority", "-data.metadata.priority"),
        ("-state.step", "-data.state.step"),
    ],
)
def test_an_order_of_sessions_is_one_of_records(order_by: str | None, expected: str | None) -> None:
    assert session_path(order_by) == expected


# -- orders ------------------------------------------------------------------------------------------------------------

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


@pytest.mark.parametrize("order_by", ["", "-", "a..b", "a.$b", "--a.", "\ud800", 3])
def test_what_is_no_path_is_no_order(order_by: Any) -> None:
    with pytest.raises(StorageValidationError) as refused:
        parse_order(order_by)

    assert "order_by" in str(refused.value.path)
