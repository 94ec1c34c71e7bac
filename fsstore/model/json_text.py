r"""JSON text from elsewhere, read exactly: with a byte order mark or not, and what becomes of lone surrogates. Pure.

- The byte order mark that editors on Windows put before UTF-8 is passed over; UTF-16 and UTF-32 are refused as such.
- Integers beyond 64 bits are read as they are, so that the store sees and refuses them; NaN and infinity are no JSON.
- A lone surrogate (`\ud800` without its other half, or the bytes of one) is no text. It is refused with its JSON path
  and its offset, unless the caller wants U+FFFD in its place.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import Any, NoReturn

from pydantic_core import from_json

from fsstore.errors import StorageValidationError
from fsstore.model.values import MAX_DEPTH, copy_value, format_path, is_text

BYTE_ORDER_MARK = codecs.BOM_UTF8
REPLACEMENT = "\ufffd"

_OTHER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_WIDEST = 4
_SURROGATES = re.compile("[\ud800-\udfff]")


class LoneSurrogateError(ValueError):
    """It would be JSON, but for lone surrogates. The text says where the first one is."""


def utf8_of(data: bytes | bytearray) -> bytes | bytearray:
    """Return text without its byte order mark.

    Raises ValueError, which says what to do, for UTF-16 and UTF-32, which editors on Windows call Unicode.
    """
    # JSON begins with a character of ASCII and holds no NUL; nothing but NULs is what a power cut leaves
    if data.startswith(_OTHER_MARKS) or (b"\0" in data[:2] and data[:_WIDEST].strip(b"\0")):
        raise ValueError("it is not UTF-8 but UTF-16 or UTF-32: save it as UTF-8")
    return data.removeprefix(BYTE_ORDER_MARK)


def read_exact(text: str | bytes) -> Any:
    """Return the value that JSON text is. Raises ValueError with the reason, which goes on from `it` or a name.

    That is LoneSurrogateError where `read_lenient` gives a value all the same.
    """
    try:
        # text may hold lone surrogates as they are, and the reader takes none
        data = utf8_of(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    except ValueError as error:
        raise ValueError(str(error).removeprefix("it ")) from error
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError as error:
        if where := _first_surrogate(data):
            raise LoneSurrogateError(f"holds what is no text: {where}") from error
        raise ValueError(f"is not JSON: {error}") from error


def read_lenient(text: bytes | bytearray) -> Any:
    """Return the value that JSON text is, with its lone surrogates. Raises ValueError."""
    # bytes of surrogates, as old databases write them, are taken for what they stand for
    decoded = utf8_of(text).decode("utf-8", "surrogatepass")
    try:
        return json.loads(decoded, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("is nested too deep") from error


def replaced(value: Any, steps: tuple[str | int, ...] = ()) -> tuple[Any, int]:
    """Return a JSON value with U+FFFD for each lone surrogate in its strings and keys, and how many there were.

    Halves that stand side by side are joined. Raises ValueError with the path of an object of which two keys would
    become one.
    """
    if type(value) is str:
        return replaced_text(value)
    if type(value) is dict and len(steps) <= MAX_DEPTH:
        return _replaced_object(value, steps)
    if type(value) is list and len(steps) <= MAX_DEPTH:
        items = [replaced(item, (*steps, at)) for at, item in enumerate(value)]
        return [item for item, _ in items], sum(count for _, count in items)
    return value, 0


def replaced_text(value: str) -> tuple[str, int]:
    """Do the same with one string."""
    if is_text(value):
        return value, 0
    joined = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return _SURROGATES.subn(REPLACEMENT, joined)


def _replaced_object(value: dict[str, Any], steps: tuple[str | int, ...]) -> tuple[dict[str, Any], int]:
    made: dict[str, Any] = {}
    total = 0
    for key, item in value.items():
        new_key, in_key = replaced_text(key)
        if new_key in made:
            raise ValueError(f"has two keys that would both become {new_key!r}, in the object at {format_path(steps)}")
        made[new_key], in_item = replaced(item, (*steps, new_key))
        total += in_key + in_item
    return made, total


def _first_surrogate(text: bytes | bytearray) -> str:
    """Return where the first lone surrogate of JSON text is; empty when it is something else that is wrong."""
    try:
        copy_value(read_lenient(text))
    except StorageValidationError as error:
        return f"{error.path}: {error.reason}" if "surrogate" in str(error.reason) else ""
    except ValueError:
        pass
    return ""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"is not JSON: {name} is no number")
