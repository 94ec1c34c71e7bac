"""The values and ids that a store is tried with: what must come back exactly, and what must be refused."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from fsstore.model.records import MAX_ID_CHARACTERS
from fsstore.model.values import MAX_DEPTH


def nested(depth: int) -> list[Any]:
    """Return lists in lists: `depth` of them that are not empty, around one that is."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def exact_text(value: Any) -> str:
    """Return a text that two JSON values share only if they are equal and of the same types: 1, 1.0 and true differ."""
    return json.dumps(value, sort_keys=True)


def _objects(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"in": value}
    return value


def _object_cycle() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["in"] = value
    return value


def exact_texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the exact text of each value, by its name."""
    return {name: exact_text(value) for name, value in values.items()}


class _Colour(StrEnum):
    RED = "red"


def _cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


EXACT_VALUES: dict[str, Any] = {
    "null": None,
    "booleans": [True, False],
    "text": "Grüße, 世界, \u05e9\u05dc\u05d5\u05dd",
    "emoji": "\U0001f9d1\u200d\U0001f4bb \U0001f1e8\U0001f1ed",
    "composed and decomposed": ["\u00e9", "e\u0301"],
    "controls": "\x00\x01\b\t\n\r\x1f\x7f\x85",
    "separators": "\u2028\u2029\ufeff\ufffe\uffff",
    "quotes": "\"\\/'</script>&amp;",
    "empty text": "",
    "long text": "é" * 100_000,
    "integers": [0, -1, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1],
    "floats": [0.0, -0.0, 0.1, 1.0, 1e16, 1e308, -1e308, 5e-324, 1.7976931348623157e308, 123456789.123456789],
    "a number is not a boolean": [1, 1.0, True, 0, 0.0, False],
    "empty containers": {"object": {}, "array": [], "inside": [[], {}, [[]], [{}]]},
    "nested": {"a": [{"b": [{"c": {"d": [1, [2, [3]]]}}]}]},
    "odd keys": {
        "": 1,
        " ": 2,
        "a.b": 3,
        "$set": 4,
        "\n": 5,
        "\x00": 6,
        "é": 7,
        "e\u0301": 8,
        "0": 9,
        "__proto__": 10,
    },
    "keys in no order": {"b": 1, "a": 2, "B": 3, "\U0001f600": 4, "\uffee": 5},
    "wide": list(range(5_000)),
    "deepest": nested(MAX_DEPTH - 2),
}
"""Values that come back exactly from `data.value`; the record and its data are the first two of the nested objects."""

REFUSED_VALUES: dict[str, Any] = {
    "not a number": float("nan"),
    "infinity": float("inf"),
    "minus infinity": float("-inf"),
    "lone surrogate": "a\ud800b",
    "lone surrogate in a key": {"\udfff": 1},
    "integer key": {1: "a"},
    "null key": {None: "a"},
    "boolean key": {True: "a"},
    "tuple": (1, 2),
    "set": {1, 2},
    "bytes": b"a",
    "time": datetime(2026, 1, 31, tzinfo=UTC),
    "day": date(2026, 1, 31),
    "decimal": Decimal(1),
    "enum": _Colour.RED,
    "subclass of dict": OrderedDict(a=1),
    "any object": object(),
    "integer above 64 bits": 2**64,
    "integer below 64 bits": -(2**63) - 1,
    "integer of many digits": 10**5_000,
    "too deep": nested(MAX_DEPTH - 2),
    "far too deep": nested(20_000),
    "endless": _cycle(),
}
"""Values that are refused; the one that is too deep is so from `data.list[1]` on."""

ENDLESS_PATCHES: dict[str, dict[str, Any]] = {
    "too deep": _objects(MAX_DEPTH),
    "far too deep": _objects(20_000),
    "endless": _object_cycle(),
}
"""Patches that must be refused before anybody follows them down."""

REFUSED_IDS: dict[str, Any] = {
    "empty": "",
    "line feed": "a\nb",
    "null character": "a\x00b",
    "delete": "\x7f",
    "lone surrogate": "\ud800",
    "too long": "x" * (MAX_ID_CHARACTERS + 1),
    "integer": 5,
    "bytes": b"a",
    "null": None,
}
"""Ids that every operation refuses."""

HOSTILE_IDS = [
    *("../../etc/passwd", "..", ".", "/", "/etc/passwd", "a/b", "a\\b", "C:\\x", "C:", "~", "~root", "-rf"),
    *("CON", "con", "nul", "NUL.json", "com1", "LPT9.txt", "aux."),
    *("UPPER", "upper", "Upper", "uPPER"),
    *("\u00e9", "e\u0301", "\u00df", "ss", "\u0130", "i\u0307", "\u212a", "k", "K", "\ufb01", "fi"),
    *("trailing.", "trailing", "trailing ", "trailing..", " leading", "leading", ".hidden", "hidden"),
    *(
        "a.json",
        "a",
        "fsstore.json",
        ".fsstore",
        ".fsstore/lock",
        "a~0123456789abcdef0123456789abcdef",
        "x.tmp",
    ),
    *("*", "?", "<>", "|", ":", '"', "'", "`", "$HOME", "%2e%2e", "%s", "{}", "; drop table documents", " "),
    *("\U0001f600", "\u202egnp.exe", "\u200b", "\x85", "\ue000", "\uffff", "\U0010ffff"),
    *("x" * 100, "x" * 101, "x" * 255, "x" * MAX_ID_CHARACTERS, "\U0001f600" * MAX_ID_CHARACTERS),
    *("x" * (MAX_ID_CHARACTERS - 1) + "y", "\u00fc" * 200, "\u00dc" * 200),
]
"""Ids that are legal, and that a careless store would confuse with each other or let out of its directory."""
