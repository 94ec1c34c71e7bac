"""What a JSON value is: the rule that makes a round trip exact or refused; and how one is written for people.

A value is allowed when writing it as JSON and reading it back gives an equal value of the same types: `None`, `bool`,
`int` within 64 bits, finite `float`, `str` without lone surrogates, `list`, and `dict` with `str` keys, nested at most
`MAX_DEPTH` deep. Subclasses (an enum, a named tuple) do not come back as themselves, so they are refused. Pure: no I/O.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

from fsstore.errors import StorageValidationError
from fsstore.model.remedies import contains_itself, remedy

MAX_DEPTH = 200
MIN_INT, MAX_INT = -(2**63), 2**64 - 1

PLAIN_TYPES = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS
"""Options of orjson by which it refuses what would come back as something else."""

SURROGATE_ADVICE = (
    "correct the input, as by text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace'); "
    "`fsstore import --replace-surrogates` does that"
)

_ONE_LINE = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
_INDENTED = _ONE_LINE | orjson.OPT_INDENT_2
_SCALARS = frozenset({str, int, bool, type(None)})
_READABLE_BITS = 128
_BARE_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def copy_value(value: Any, *, record_id: str | None = None) -> Any:
    """Return a deep copy of a JSON value; O(size).

    Raises StorageValidationError with the JSON path of the first part that is not one.
    """
    return _copy(value, (), record_id)


def snapshot(value: Any, *, record_id: str | None = None) -> Any:
    """Return what `copy_value` returns, several times faster: strings are shared, and what a codec refuses is not seen.

    That is integers beyond 64 bits, lone surrogates, and keys that are no strings. Raises StorageValidationError with
    the JSON path of what else is no JSON value.
    """
    try:
        return _plain(value)
    except (TypeError, RecursionError):
        # the rule names what is wrong, and where
        return copy_value(value, record_id=record_id)


def check_value(value: Any, *, record_id: str | None = None) -> None:
    """Raise StorageValidationError where `snapshot` does; nothing is copied."""
    try:
        is_plain = _is_plain(value)
    except RecursionError:
        is_plain = False
    if not is_plain:
        copy_value(value, record_id=record_id)


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        if _SCALARS.issuperset(map(type, value.values())):
            return value.copy()
        return {key: item if type(item) in _SCALARS else _plain(item) for key, item in value.items()}
    if kind is list:
        return [item if type(item) in _SCALARS else _plain(item) for item in value]
    if kind is float and math.isfinite(value):
        return value
    raise TypeError


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind is float:
        return math.isfinite(value)
    if kind is dict:
        value = value.values()
    elif kind is not list:
        return False
    return _SCALARS.issuperset(map(type, value)) or all(type(item) in _SCALARS or _is_plain(item) for item in value)


def write_json(value: Any, *, indent: bool = False, record_id: str | None = None) -> bytes:
    """Return a JSON value as text, on one line or indented by two: keys sorted, UTF-8 unescaped, a newline at its end.

    A document from elsewhere may hold integers beyond 64 bits, and be nested deeper than a saved one: these are written
    as they are, by a slower writer. Raises StorageValidationError for what even that one cannot follow down.
    """
    try:
        return orjson.dumps(value, option=_INDENTED if indent else _ONE_LINE)
    except TypeError:
        pass
    try:
        separators = (",", ": ") if indent else (",", ":")
        text = json.dumps(
            value, sort_keys=True, ensure_ascii=False, indent=2 if indent else None, separators=separators
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise StorageValidationError(
            reason=f"it cannot be written as JSON: {error}",
            path="$",
            id=record_id,
            advice="make it flatter, by hand",
        ) from error
    # what no document can hold, such as the name of a file that is no text, is written by JSON's own escapes
    return text.encode(errors="backslashreplace") + b"\n"


def format_path(steps: tuple[str | int, ...]) -> str:
    """Write steps as a JSON path (RFC 9535 notation): `("a", 0, "b c")` is `$.a[0]['b c']`."""
    return "$" + "".join(_format_step(step) for step in steps)


def _format_step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _BARE_KEY.match(step) else f"[{step!r}]"


def _copy(value: Any, steps: tuple[str | int, ...], record_id: str | None) -> Any:
    if reason := _refusal(value, len(steps)):
        raise StorageValidationError(reason=reason, path=format_path(steps), id=record_id, advice=remedy(value))
    if type(value) is str and (reason := lone_surrogate(value)):
        raise StorageValidationError(
            reason=f"the string holds {reason}", path=format_path(steps), id=record_id, advice=SURROGATE_ADVICE
        )
    if type(value) is dict:
        return {_key(key, steps, record_id): _copy(item, (*steps, key), record_id) for key, item in value.items()}
    if type(value) is list:
        return [_copy(item, (*steps, at), record_id) for at, item in enumerate(value)]
    return value


def _key(key: Any, steps: tuple[str | int, ...], record_id: str | None) -> str:
    if type(key) is not str:
        raise StorageValidationError(
            reason=f"the key {key!r} is {type(key).__name__}, not str",
            path=format_path(steps),
            id=record_id,
            advice="write the key as text, as in str(key)",
        )
    if reason := lone_surrogate(key):
        raise StorageValidationError(
            reason=f"the key {key!r} holds {reason}", path=format_path(steps), id=record_id, advice=SURROGATE_ADVICE
        )
    return key


def is_text(value: str) -> bool:
    """Whether a string is Unicode text, that is, can be written as UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def lone_surrogate(value: str) -> str:
    """Return which lone surrogate keeps a string from being text, and its offset in code points; empty for text."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return f"the lone surrogate U+{ord(value[error.start]):04X} at offset {error.start}, which UTF-8 cannot hold"
    return ""


def _refusal(value: Any, depth: int) -> str:
    """Why a value itself (not its parts) cannot be stored; empty when it can."""
    kind = type(value)
    if kind in (dict, list):
        return _depth_refusal(value) if value and depth >= MAX_DEPTH else ""
    if kind is int:
        return "" if MIN_INT <= value <= MAX_INT else f"the integer {_shortened(value)} exceeds 64 bits"
    if kind is float:
        return "" if math.isfinite(value) else f"{value} is not a JSON number"
    if value is None or kind is bool or kind is str:
        return ""
    return f"{kind.__name__} is not a JSON value"


def _depth_refusal(value: Any) -> str:
    """Why a value that lies too deep cannot be stored: one that contains itself is met there again, and has no end."""
    return f"nested deeper than {MAX_DEPTH}" + (", since it contains itself" if contains_itself(value) else "")


def _shortened(number: int) -> str:
    # str() of an integer of more than 4300 digits raises, so of a huge one only the size is shown
    return str(number) if number.bit_length() < _READABLE_BITS else f"of {number.bit_length()} bits"
