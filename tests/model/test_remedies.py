import base64
import dataclasses
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from io import StringIO
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from pydantic import BaseModel, SecretStr

from fsstore.errors import StorageValidationError
from fsstore.model.remedies import remedy
from fsstore.model.values import copy_value


class Point(NamedTuple):
    x: int = 1


class Inner(BaseModel):
    n: int = 1


@dataclasses.dataclass
class Box:
    n: int = 1


class Colour(Enum):
    RED = "red"


class Word(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Text(str):
    __slots__ = ()


class Small(float):
    pass


class Array:
    def tolist(self) -> list[int]:
        return [1, 2]


class Instant:
    """As numpy's datetime64, whose list is no JSON."""

    dtype = SimpleNamespace(kind="M")

    def tolist(self) -> date:
        return date(2026, 1, 1)

    def __str__(self) -> str:
        return "2026-01-01"


class Hostile:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


def numbers() -> Iterator[int]:
    yield 1


async def answer() -> int:
    return 1


BY_KIND: dict[str, tuple[Callable[[], Any], str]] = {
    "datetime": (lambda: datetime(2026, 1, 1, tzinfo=UTC), "value.isoformat()"),
    "date": (lambda: date(2026, 1, 1), "value.isoformat()"),
    "time": (lambda: time(9), "value.isoformat()"),
    "timedelta": (lambda: timedelta(hours=1), "value.total_seconds()"),
    "bytes": (lambda: b"\xff", "base64.b64encode(value).decode()"),
    "bytearray": (lambda: bytearray(b"\xff"), "base64.b64encode(value).decode()"),
    "memoryview": (lambda: memoryview(b"\xff"), "base64.b64encode(value).decode()"),
    "set": (lambda: {1}, "list(value)"),
    "frozenset": (lambda: frozenset({1}), "list(value)"),
    "tuple": (lambda: (1, 2), "list(value)"),
    "named tuple": (Point, "value._asdict()"),
    "queue": (lambda: deque([1]), "list(value)"),
    "range": (lambda: range(3), "list(value)"),
    "generator": (numbers, "list(value)"),
    "keys of an object": ({"a": 1}.keys, "list(value)"),
    "ordered dictionary": (lambda: OrderedDict(a=1), "dict(value)"),
    "read-only mapping": (lambda: MappingProxyType({"a": 1}), "dict(value)"),
    "nested model": (Inner, 'value.model_dump(mode="json")'),
    "dataclass": (Box, "dataclasses.asdict(value)"),
    "enum": (lambda: Colour.RED, "value.value"),
    "enum of texts": (lambda: Word.RED, "value.value"),
    "enum of numbers": (lambda: Level.LOW, "value.value"),
    "decimal": (lambda: Decimal("1.5"), "str(value)"),
    "fraction": (lambda: Fraction(1, 3), "str(value)"),
    "UUID": (lambda: UUID(int=1), "str(value)"),
    "path": (lambda: Path("a"), "str(value)"),
    "exception": (lambda: ValueError("no"), "str(value)"),
    "subclass of str": (lambda: Text("a"), "str(value)"),
    "subclass of float": (lambda: Small(1.5), "float(value)"),
    "complex number": (lambda: 1j, "[value.real, value.imag]"),
    "array": (Array, "value.tolist()"),
    "time of numpy": (Instant, "str(value)"),
    "address": (lambda: ip_address("127.0.0.1"), "str(value)"),
    "time zone": (lambda: UTC, "str(value)"),
    "open text": (lambda: StringIO("a"), "value.read()"),
    "class": (lambda: Box, "value.__name__"),
    "namespace": (lambda: SimpleNamespace(n=1), "vars(value)"),
    "too large an integer": (lambda: 2**70, "str(value)"),
    "not a number": (lambda: float("nan"), "None"),
}


@pytest.mark.parametrize("kind", BY_KIND)
def test_what_a_value_of_each_kind_is_answered_with_can_be_stored(kind: str) -> None:
    make, instead = BY_KIND[kind]

    with pytest.raises(StorageValidationError) as caught:
        copy_value({"a": [make()]})

    assert instead in caught.value.advice
    made = eval(instead, {"base64": base64, "dataclasses": dataclasses, "value": make()})  # noqa: S307 - our own advice
    assert copy_value({"a": made}) == {"a": made}


def test_a_key_that_is_no_text_is_answered_with_one_that_is() -> None:
    with pytest.raises(StorageValidationError, match=r"str\(key\)"):
        copy_value({1: 2})


def test_what_was_not_awaited_is_to_be_awaited() -> None:
    waiting = answer()
    assert "await it" in remedy(waiting)
    waiting.close()


def test_a_secret_is_left_out_rather_than_stored() -> None:
    assert remedy(SecretStr("hush")).startswith("leave the secret out")


def test_what_has_no_form_of_its_own_is_described() -> None:
    for value in (object(), Hostile()):
        assert remedy(value) == "store what it stands for as text, a number, a list or an object"
    assert "flatter" in remedy([])
    assert "value.read()" not in remedy(SimpleNamespace(read=len))


def test_a_value_that_contains_itself_is_not_advised_to_be_written_as_text() -> None:
    parent: dict[str, Any] = {"children": []}
    parent["children"].append({"parent": parent})

    with pytest.raises(StorageValidationError, match="since it contains itself; store a name or an id") as caught:
        copy_value({"tree": [1, parent]})

    assert "json.dumps" not in caught.value.advice
