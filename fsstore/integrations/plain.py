"""Values of frameworks as a store takes them. Pure.

A store takes JSON alone, by its exact types, and refuses all else. Frameworks hand over subclasses of them, such as the
text of a message, and tuples.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from fsstore.errors import StorageValidationError


def plain(value: Any) -> Any:
    """Return a value with exact types where it has subclasses of them, and lists for tuples; all else as it is.

    Raises StorageValidationError for what is nested too deep, or contains itself.
    """
    try:
        return _plain(value)
    except RecursionError as error:
        raise StorageValidationError(reason="it is nested too deep, or contains itself") from error


def _plain(value: Any) -> Any:
    kind = type(value)
    if value is None or kind in (str, int, float, bool) or isinstance(value, Enum):
        return value
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    for base in (str, int, float):
        if isinstance(value, base):
            # not by its own __str__, which may say something else
            return base.__str__(value) if base is str else base(value)
    return value
