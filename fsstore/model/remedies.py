"""What to write instead of a value that JSON does not have, by the kind of the value. Pure.

The remedy is an expression of Python in which `value` is what was given. Classes of other packages are known by their
methods, so that none of them is imported here.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any
from uuid import UUID

_USUAL = "store what it stands for as text, a number, a list or an object"
_PLAIN = "store a plain value: "


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


def _has(method: str) -> Callable[[Any], bool]:
    return lambda value: callable(getattr(value, method, None))


_REMEDIES: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (_is(type), "store its name: value.__name__"),
    (inspect.isawaitable, "await it, and store what it returns"),
    (_has("get_secret_value"), "leave the secret out; value.get_secret_value() would store it as readable text"),
    (_has("model_dump"), 'store what the model dumps: value.model_dump(mode="json")'),
    (is_dataclass, "store its fields: dataclasses.asdict(value)"),
    # before the types that an enum may be besides
    (_is(Enum), "store its value: value.value"),
    (_is(date, time), "store it as text: value.isoformat()"),
    (_is(timedelta), "store it in seconds: value.total_seconds()"),
    (
        _is(bytes, bytearray, memoryview),
        "store it as text: base64.b64encode(value).decode(), or value.decode() of UTF-8",
    ),
    (_is(Decimal, Fraction), "store str(value), which is exact, or float(value)"),
    (_is(UUID, PurePath, BaseException), "store it as text: str(value)"),
    (_has("_asdict"), "store its fields: value._asdict(), or list(value)"),
    # what tolist() makes of times of numpy is no JSON, or a number of some unit
    (lambda value: value.dtype.kind in "mM", "store it as text: str(value)"),
    (_has("tolist"), "store plain values: value.tolist()"),
    (_is(AbstractSet), "store a list: list(value), or sorted(value) for a stable order"),
    (_is(str), _PLAIN + "str(value)"),
    (_is(Integral), _PLAIN + "int(value)"),
    (_is(Real), _PLAIN + "float(value)"),
    (_is(complex), "store both parts: [value.real, value.imag]"),
    (_is(Mapping), "store a plain object: dict(value)"),
    # a module may have a function of that name
    (
        lambda value: callable(getattr(type(value), "read", None)),
        "store what it holds as text: value.read(), with base64.b64encode for bytes",
    ),
    (_is(Iterable), "store a list: list(value)"),
    (callable, "store what it returns, or its name"),
    # addresses, URLs, time zones: what is written as text by its own class
    (lambda value: any("__str__" in vars(kind) for kind in type(value).__mro__[:-1]), "store it as text: str(value)"),
    (lambda value: hasattr(value, "__dict__"), "store its attributes: vars(value)"),
)


def remedy(value: Any) -> str:
    """Return what to write instead of a value that is refused; never raises, and shows nothing of the value."""
    if type(value) is float and not math.isfinite(value):
        return "store None where there is no number"
    if type(value) is int:
        return "store it as text: str(value)"
    if type(value) in (dict, list):
        if contains_itself(value):
            return "store a name or an id of the outer part in its place"
        return "make it flatter, or store the deeper part as text: json.dumps(value)"
    for applies, advice in _REMEDIES:
        try:
            if applies(value):
                return advice
        except Exception:  # noqa: BLE001, S112 - a class of the caller's may raise anything from an attribute
            continue
    return _USUAL


def contains_itself(value: Any) -> bool:
    """Whether a list or an object is found within itself, at any depth; O(its size)."""
    seen, waiting = set[int](), [value]
    while waiting:
        part = waiting.pop()
        for item in part.values() if type(part) is dict else part:
            if item is value:
                return True
            if type(item) in (dict, list) and id(item) not in seen:
                seen.add(id(item))
                waiting.append(item)
    return False
