from __future__ import annotations

from collections import OrderedDict
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import pytest

from fsstore.errors import StorageValidationError
from fsstore.integrations.plain import plain


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Number(int):
    pass


class Kind(StrEnum):
    a = "a"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Text("a"), "a"),
        (Number(3), 3),
        (True, True),
        (None, None),
        ((1, (2,)), [1, [2]]),
        (OrderedDict(a=MappingProxyType({Text("b"): Text("c")})), {"a": {"b": "c"}}),
    ],
)
def test_subclasses_become_what_a_store_takes(value: Any, expected: Any) -> None:
    assert repr(plain(value)) == repr(expected)
    assert type(plain(value)) is type(expected)


def test_what_is_nested_without_end_is_refused() -> None:
    endless: list[Any] = []
    endless.append({"a": endless})
    deep: Any = {}
    for _ in range(5_000):
        deep = {"a": deep}
    for value in (endless, deep):
        with pytest.raises(StorageValidationError, match="deep"):
            plain(value)


@pytest.mark.parametrize("value", [object(), {1}, b"", Kind.a])
def test_what_is_no_json_stays_what_it_is_and_is_refused_by_the_store(value: Any) -> None:
    assert plain([value])[0] is value
