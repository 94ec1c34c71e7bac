import datetime as dt
import re
import sys
import uuid
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from fsstore.errors import StorageValidationError
from fsstore.model.values import MAX_INT
from fsstore.query.filters import matches, parse, parse_path
from fsstore.query.orders import parse_order
from tests.query.drawn import write_path

NESTED = {"a": [{"b": 1}, {"b": [2, 3]}, {"c": None}, 7, [{"b": 9}]]}


class Colour(Enum):
    RED = "red"


class Rank(IntEnum):
    HIGH = 3


class Due(BaseModel):
    day: str


@dataclass
class Place:
    name: str


class Mood(StrEnum):
    CALM = "calm"


ENUMS = {"a": "red", "b": 2, "c": "calm"}

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
    ("a backslash keeps a dot within a key", {r"a\.b": 1}, {"a.b": 1}, True),
    ("and the path within the key's object", {r"a\.b.c": 1}, {"a.b": {"c": 1}}, True),
    ("a backslash makes a key of an operator", {r"\$in": 1}, {"$in": 1}, True),
    ("also within a path", {r"a.\$ref": {"$gt": 1}}, {"a": {"$ref": 2}}, True),
    ("two backslashes are one", {"a\\\\.b": 1}, {"a\\": {"b": 1}}, True),
    ("before anything else a backslash is itself", {r"a\b": 1}, {r"a\b": 1}, True),
    ("a backslash at the end is itself", {"a\\": 1}, {"a\\": 1}, True),
    ("a tuple is a list", {"a": (1, (2,))}, {"a": [1, [2]]}, True),
    ("$in takes a tuple", {"a": {"$in": ("x", "y")}}, {"a": "y"}, True),
    ("$in takes a set", {"a": {"$in": {"x", "y"}}}, {"a": "y"}, True),
    ("$in takes a frozenset of tuples", {"a": {"$in": frozenset({(1, 2)})}}, {"a": [1, 2]}, True),
    ("$nin takes the keys of a dict", {"a": {"$nin": {"x": 1}.keys()}}, {"a": "x"}, False),
    ("$all takes a set", {"a": {"$all": {1, 2}}}, {"a": [1, 2, 3]}, True),
    ("an enum is its value", {"a": Colour.RED, "b": {"$ne": Rank.HIGH}, "c": {"$in": {Mood.CALM}}}, ENUMS, True),
    ("an enum is its value in a key", {Mood.CALM: "x"}, {"calm": "x"}, True),
    ("a mapping of any kind is an object", {"a": MappingProxyType({"b": 1})}, {"a": {"b": 1}}, True),
    ("an object may have a key that could be an operator", {"a": {"$eq": {"gt": 1}}}, {"a": {"gt": 1}}, True),
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
    ({"a": {"$in": ("x", b"y")}}, "$.a['$in'][1]", "bytes is not a JSON value"),
    ({"a": {1, 2}}, "$.a", "a set has no order"),
    ({"a": {"$eq": frozenset({1})}}, "$.a['$eq']", "a frozenset has no order"),
    ({"$or": [{"b": 1}, {"a": {"$in": [1, {2}]}}]}, "$['$or'][1].a['$in'][1]", "a set has no order"),
    ({"a": {"gte": 1, "lt": 5}}, "$.a", "compares with an object that has the key 'gte'"),
    ({"a": {">": 1}}, "$.a", "compares with an object that has the key '>'"),
    ({"a": {"<=": 1, "ne": 5}}, "$.a", "compares with an object that has the key '<='"),
    ({"a": {"$gtt": 1}}, "$.a['$gtt']", "the operator $gtt is not supported"),
    ({"$ande": []}, "$['$ande']", "the operator $ande is not supported"),
    ({"$or": [{"b": 1}, {"a": {"$exist": True}}]}, "$['$or'][1].a['$exist']", "the operator $exist is not supported"),
    ({"a": {"$?": 1}}, "$.a['$?']", "the operator $? is not supported"),
    ({"$gt": 1}, "$['$gt']", "stands under a path"),
    ({"$not": {"a": 1}}, "$['$not']", "stands under a path"),
    ({"a": {"$or": [{"b": 1}]}}, "$.a['$or']", "stands beside the paths"),
    ({"a": {"$gt": 1, "b": 2}}, "$.a", "mixes operators with the plain key 'b'"),
    ({"a": {"b": {"$gt": 1}}}, "$.a.b", "has the operator"),
    ({"a": [{"b": {"$or": 1}}]}, "$.a[0].b", "has the operator"),
    ({"a": {"$ne": {"$in": [1]}}}, "$.a['$ne']", "has the operator '$in' inside a value"),
    ({"a": {"$eq": {"b": [{"$gt": 3}]}}}, "$.a['$eq'].b[0]", "has the operator '$gt'"),
    ({"a": {"$in": [1, {"$gt": 3}]}}, "$.a['$in'][1]", "has the operator '$gt'"),
    ({"a": {"$not": {"$nin": [{"$regex": "x"}]}}}, "$.a['$not']['$nin'][0]", "has the operator '$regex'"),
    ({"a": {"$all": [{"$elemMatch": {"b": 1}}]}}, "$.a['$all'][0]", "has the operator '$elemMatch'"),
    ({"a": {"b": {"$size": 1}}}, "$.a.b", "has the operator '$size'"),
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
    ({"$.a": 1}, "$['$.a']", "begins with '$'"),
    ({"$.a.b": 1}, "$['$.a.b']", "begins with '$'"),
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


@pytest.mark.parametrize(
    ("filters", "remedy"),
    [
        ({"a": {"$ne": {"$in": [1]}}}, "use {'a': {'$nin': [...]}}"),
        ({"a.b": {"$ne": {"$gt": 1}}}, "use {'a.b': {'$not': {'$gt': ...}}}"),
        ({"a": {"$in": [{"$gt": 1}]}}, "use $or: {'$or': [{'a': {'$gt': ...}}, ...]}"),
        ({"a": {"$nin": ({"$gt": 1},)}}, "use $nor: {'$nor': [{'a': {'$gt': ...}}, ...]}"),
        ({"a": {"$all": [{"$gt": 1}]}}, "use $and: {'$and': [{'a': {'$gt': ...}}, ...]}"),
        ({"a": {"$eq": {"$in": [1]}}}, "leave $eq out: {'a': {'$in': ...}}"),
        ({"a": {"$eq": {"b": {"$in": [1]}}}}, r"put it into the path: a.b.\$in"),
        ({"a": {"b": {"$gt": 1}}}, "write the whole path before the operator"),
        ({"a": {"in": [1]}}, "write '$in' for the operator, or {'$eq': {'in': ...}} for the object"),
        ({"a": {"all": [1], "ne": 2}}, "write '$all' for the operator"),
        ({"a": {"gt": 1}}, "write '$gt' for the operator, or {'$eq': {'gt': ...}} for the object"),
        ({"a.$ref": 1}, r"put a backslash before the $ if it is a key: \$ref"),
        ({"$.a.b": 1}, "leave out '$.': write it as in state.step"),
        ({"a": {"$contains": "x"}}, "equality finds an element of an array"),
        ({"a": {"$options": "i"}}, "write flags into the pattern"),
        ({"a": {1}}, "use {'$in': ...} for one of several"),
        ({"a": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}, "compare with text, as in value.isoformat()"),
        ({"a": dt.date(2026, 1, 1)}, "compare with text, as in value.isoformat()"),
        ({"a": uuid.UUID(int=1)}, "str(value)"),
        ({"a": {"$gt": Decimal(1)}}, "float(value)"),
        ({"a": bytearray(b"x")}, "value.decode()"),
        ({"a": {"$regex": re.compile("x")}}, "{'$regex': pattern.pattern}"),
        ({"a": {"$in": range(3)}}, "list(value)"),
        ({"a": {"$in": (item for item in "ab")}}, "list(value)"),
        ({"a": 1j}, "[value.real, value.imag]"),
        ({"a": Fraction(1, 2)}, "float(value)"),
        ({"a": dt.time(9)}, "value.isoformat()"),
        ({"a": dt.timedelta(hours=1)}, "value.total_seconds()"),
        ({"a": PurePath("x")}, "str(value)"),
        ({"a": Place("x")}, "dataclasses.asdict(value)"),
        ({"a": array("i", [1])}, "value.tolist()"),
        ({"a": Due(day="1")}, "one field of the model, or with all of it: value.model_dump(mode='json')"),
        ({"a": {"$in": [Due(day="1")]}}, "one field of the model"),
        ({"a": object()}, "compare with a JSON value"),
    ],
)
def test_a_refusal_says_what_to_write_instead(filters: Any, remedy: str) -> None:
    with pytest.raises(StorageValidationError) as refused:
        parse(filters)

    assert remedy in refused.value.advice
    path = str(refused.value.path)
    assert path.startswith("$.a") or path == "$['a.$ref']" or "a.b" in path


@pytest.mark.parametrize("value", [array("i", [1]), memoryview(b"x"), bytearray(b"x")])
def test_a_value_that_has_a_buffer_is_called_by_its_own_name(value: Any) -> None:
    with pytest.raises(StorageValidationError) as refused:
        parse({"a": {"$in": [value]}})

    assert refused.value.reason == f"{type(value).__name__} is not a JSON value"


def test_a_tuple_and_a_set_are_told_apart_from_what_was_parsed_before() -> None:
    same: list[tuple[Any, Any]] = [([1], True), ((1,), True), ({1}, True), (frozenset({1}), True), ([True], False)]

    for _ in range(2):
        assert [matches({"a": {"$in": operand}}, {"a": 1}) for operand, _ in same] == [wanted for _, wanted in same]
        assert [matches({"a": operand}, {"a": [1]}) for operand in ([1], (1,))] == [True, True]
        with pytest.raises(StorageValidationError):
            parse({"a": {1}})


KEYS = st.lists(st.sampled_from(["a", "b", *".$\\-0,+ ", " desc"]), min_size=1, max_size=5).map("".join)


@given(st.lists(KEYS, min_size=1, max_size=3))
def test_every_key_has_a_path(steps: list[str]) -> None:
    assert parse_path(write_path(steps)) == tuple(steps)
    assert parse_order("-" + write_path(steps)).path == tuple(steps)
    record: Any = 1
    for step in reversed(steps):
        record = {step: record}
    assert matches({write_path(steps): 1}, record)


def test_an_unknown_operator_is_answered_with_all_that_are_known() -> None:
    with pytest.raises(StorageValidationError, match=r"is not supported; .*; supported are \$all \$and .* \$regex"):
        parse({"a": {"$options": "i"}})
    with pytest.raises(StorageValidationError, match=r"did you mean \$exists\? supported are \$all"):
        parse({"a": {"$exist": True}})


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        ({"a": {"$In": [1]}}, "did you mean $in?"),
        ({"a": {"$NIN": [1]}}, "did you mean $nin?"),
        ({"a": {"$Exist": True}}, "did you mean $exists?"),
        ({"$OR": [{"a": 1}]}, "did you mean $or?"),
        ({"a": {"$Contains": "x"}}, "equality finds an element"),
        ({"a": {"$elemmatch": {}}}, "a dotted path goes into the objects"),
        ({"a": {"$not_in": [1]}}, "use $nin"),
        ({"a": {"$notIn": [1]}}, "use $nin"),
        ({"a": {"$noteq": 1}}, "use $ne"),
        ({"a": {"$anyOf": [1]}}, "use $in"),
        ({"a": {"$isNull": True}}, "compare with None"),
        ({"a": {"$startswith": "x"}}, "use $regex with ^"),
        ({"a": {"$iregex": "x"}}, "use $regex with (?i)"),
        ({"$xor": [{"a": 1}]}, "use $or and $nor"),
    ],
)
def test_an_operator_of_another_spelling_is_answered_with_what_was_meant(written: Any, advice: str) -> None:
    with pytest.raises(StorageValidationError) as refused:
        parse(written)
    assert refused.value.advice.startswith(advice)


@pytest.mark.parametrize(
    ("written", "meant"), [(">", "$gt"), ("<=", "$lte"), ("==", "$eq"), ("!=", "$ne"), ("gte", "$gte")]
)
def test_an_operator_of_another_form_is_answered_with_ours(written: str, meant: str) -> None:
    with pytest.raises(StorageValidationError) as refused:
        parse({"a": {written: 1}})

    assert refused.value.advice.startswith(f"write '{meant}' for the operator")
    assert matches({"a": {"$eq": {written: 1}}}, {"a": {written: 1}})


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


_VALUES = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 1.0, -0.0, 2**53, float(2**53), 2**53 + 1, "", "1", "a"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


@given(st.lists(_VALUES, max_size=4), _VALUES)
@example([[1], [2]], [True])
@example([[1], [2]], [1.0])
@example([{"a": []}, {"a": [0]}], {"a": {}})
@example([{"a": 1}, {"b": 1}], {"a": 1})
def test_one_of_several_is_any_of_them_alone(wanted: list[Any], value: Any) -> None:
    alone = any(matches({"a": {"$eq": each}}, {"a": value}) for each in wanted)

    assert matches({"a": {"$in": wanted}}, {"a": value}) is alone


def test_a_value_is_not_held_against_each_of_many_objects() -> None:
    def calls(wanted: int) -> int:
        condition = parse({"a": {"$in": [{"k": [number, "x"], "n": {"m": number}} for number in range(wanted)]}})
        made = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal made
            made += event == "call"

        sys.setprofile(count)
        try:
            assert not condition.matches({"a": {"k": [-1, "x"], "n": {"m": -1}}})
        finally:
            sys.setprofile(None)
        return made

    assert calls(240) == calls(2)


def _containing_itself(value: Any, twice: Any) -> Any:
    twice(value)
    return value


MOMENT = dt.datetime(2026, 1, 31, tzinfo=dt.UTC)
_ENDLESS: dict[str, Callable[[], Any]] = {
    "list": lambda: {"a": _containing_itself([], lambda value: value.extend([value, value]))},
    "object": lambda: {"a": _containing_itself({}, lambda value: value.update(b=value, c=value))},
    "filter": lambda: _containing_itself({}, lambda value: value.update({"$and": [value, value]})),
    "times": lambda: {"created_at": {"$in": _containing_itself([MOMENT], lambda value: value.extend([value, value]))}},
    "filter with times": lambda: _containing_itself(
        {"created_at": MOMENT}, lambda value: value.update({"$or": [value, value]})
    ),
    "tuple": lambda: {"a": _containing_itself([], lambda value: value.extend([(value,), (value,)]))},
}


@pytest.mark.parametrize("kind", _ENDLESS)
def test_a_filter_that_contains_itself_more_than_once_is_refused_and_not_followed_for_ever(kind: str) -> None:
    with pytest.raises(StorageValidationError, match="nested deeper than 200"):
        parse(_ENDLESS[kind]())
