import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fsstore.errors import StorageValidationError
from fsstore.model.values import MAX_DEPTH, MAX_INT, MIN_INT, copy_value, format_path, is_text, write_json
from fsstore.testing.examples import EXACT_VALUES, REFUSED_VALUES, exact_text, nested

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ANY_TEXTS = st.text(st.characters(), max_size=4)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(MIN_INT, MAX_INT)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
NO_JSON = (
    st.integers(MAX_INT + 1)
    | st.integers(max_value=MIN_INT - 1)
    | st.just(float("nan"))
    | st.just(float("inf"))
    | ANY_TEXTS
    | st.binary(max_size=4)
    | st.tuples(st.integers())
    | st.sets(st.integers(), max_size=2)
    | st.decimals()
)
ANYTHING = st.recursive(
    JSON | NO_JSON,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXTS | st.integers() | st.none(), inner, max_size=3)
    ),
    max_leaves=5,
)


def comes_back(value: Any) -> bool:
    """Whether the standard library's JSON, strictly, gives the value back, types included; integers to 64 bits."""
    if isinstance(value, int) and not MIN_INT <= value <= MAX_INT:
        return False
    if isinstance(value, dict):
        return all(isinstance(key, str) and comes_back(key) and comes_back(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(comes_back, value))
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError):
        return False
    again = json.loads(text)
    return type(again) is type(value) and repr(again) == repr(value)


def containers(value: Any) -> list[int]:
    """Return the identities of all lists and dicts within a value."""
    if isinstance(value, dict):
        return [id(value), *(found for item in value.values() for found in containers(item))]
    if isinstance(value, list):
        return [id(value), *(found for item in value for found in containers(item))]
    return []


@given(JSON)
@example(list(EXACT_VALUES.values()))
def test_a_copy_equals_its_original_types_included(value: Any) -> None:
    copied = copy_value(value)

    assert exact_text(copied) == exact_text(value)
    assert not set(containers(copied)) & set(containers(value))


@given(ANYTHING)
def test_a_value_is_refused_exactly_when_json_would_change_it(value: Any) -> None:
    if comes_back(value):
        assert exact_text(copy_value(value)) == exact_text(value)
    else:
        with pytest.raises(StorageValidationError):
            copy_value(value)


@pytest.mark.parametrize("name", EXACT_VALUES)
def test_every_example_of_a_json_value_is_allowed(name: str) -> None:
    assert exact_text(copy_value(EXACT_VALUES[name])) == exact_text(EXACT_VALUES[name])


@pytest.mark.parametrize("name", REFUSED_VALUES)
def test_every_example_of_another_value_is_refused_with_its_path_and_id(name: str) -> None:
    value = {"data": {"list": [0, REFUSED_VALUES[name]]}}

    with pytest.raises(StorageValidationError) as caught:
        copy_value(value, record_id="a")

    assert str(caught.value.path).startswith("$.data.list[1]")
    assert caught.value.id == "a"


def test_the_first_value_at_fault_is_named() -> None:
    value = {"good": 1, "bad keys": [{"ok": 1}, {"x.y": [1, math.nan, math.inf]}]}

    with pytest.raises(StorageValidationError) as caught:
        copy_value(value)

    assert caught.value.path == "$['bad keys'][1]['x.y'][1]"


def test_a_value_may_be_nested_as_deep_as_the_limit_and_no_deeper() -> None:
    assert copy_value(nested(MAX_DEPTH)) == nested(MAX_DEPTH)
    with pytest.raises(StorageValidationError, match="nested deeper than 200"):
        copy_value(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize("number", [MIN_INT, MAX_INT])
def test_integers_are_allowed_to_their_limits(number: int) -> None:
    assert copy_value(number) == number
    with pytest.raises(StorageValidationError, match="exceeds 64 bits"):
        copy_value(number + (1 if number > 0 else -1))


def test_a_huge_integer_is_told_by_its_size() -> None:
    with pytest.raises(StorageValidationError, match="of 33220 bits"):
        copy_value(10**10_000)


def test_negative_zero_keeps_its_sign() -> None:
    assert math.copysign(1, copy_value([-0.0])[0]) == -1


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ((), "$"),
        (("a", "b_1"), "$.a.b_1"),
        (("a", 0, 12), "$.a[0][12]"),
        (("b c", "", "1st"), "$['b c']['']['1st']"),
        (("it's",), '$["it\'s"]'),
        (("é",), "$['é']"),
    ],
)
def test_paths_are_written_as_in_rfc_9535(steps: tuple[str | int, ...], text: str) -> None:
    assert format_path(steps) == text


def test_text_is_what_utf8_can_hold() -> None:
    assert is_text("\x00 é \U0001f600 \uffff")
    assert not is_text("a\udc80")


# -- written for people -----------------------------------------------------------------------------------------------


@given(JSON)
@example(1e-7)
@example([])
@example({})
@example({"a": [[], {}]})
def test_both_writers_write_the_same_values(value: Any) -> None:
    beyond = 2**64
    for indent in (False, True):
        text = write_json({"value": value}, indent=indent)
        slowly = write_json({"value": value, "~": beyond}, indent=indent)
        assert json.loads(text) == {"value": value}
        assert json.loads(slowly) == {"value": value, "~": beyond}
        assert text.endswith(b"\n")
        assert text.count(b"\n") == slowly.count(b"\n") - indent


def test_what_is_written_has_its_keys_sorted_and_its_text_unescaped() -> None:
    assert write_json({"b": "é😀", "a": 1}) == '{"a":1,"b":"é😀"}\n'.encode()
    assert write_json({"b": 2**64, "a": "é"}, indent=True) == b'{\n  "a": "\xc3\xa9",\n  "b": 18446744073709551616\n}\n'
