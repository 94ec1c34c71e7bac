"""Whether a filter is within the limits of `limits`. Pure; O(its size), and bounded where a filter has no end."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from fsstore.errors import StorageValidationError
from fsstore.query.conditions import All, Condition, Either, Field, Matches, Not, OneOf
from fsstore.query.limits import (
    MAX_FILTER_CHARACTERS,
    MAX_FILTER_CONDITIONS,
    MAX_FILTER_PATTERNS,
    MAX_FILTER_VALUES,
)
from fsstore.query.operands import LIST_OPERATORS, refusal

_LISTS = LIST_OPERATORS | {"$and", "$or", "$nor"}
_PARTS_A_VALUE = 2
_ADVICE = "ask for less at a time"


def check_size(filters: Any) -> None:
    """Raise StorageValidationError for a filter that is too large, before anything is made of it."""
    characters = values = 0
    waiting = [filters]
    while waiting:
        value = waiting.pop()
        values += 1
        if isinstance(value, str):
            characters += len(value)
        elif isinstance(value, Mapping):
            waiting += value.keys()
            waiting += value.values()
        elif isinstance(value, list | tuple | AbstractSet):
            waiting += value
        if characters > MAX_FILTER_CHARACTERS:
            raise _refusal("characters", f"more than {MAX_FILTER_CHARACTERS}")
        # those that wait too, since what holds much may hold itself
        if values + len(waiting) > _PARTS_A_VALUE * MAX_FILTER_VALUES:
            raise _refusal("keys and values", f"more than {_PARTS_A_VALUE * MAX_FILTER_VALUES}")


def check_work(condition: Condition) -> None:
    """Raise StorageValidationError for a filter that asks for too much of each record."""
    conditions = values = patterns = 0
    waiting = [condition]
    while waiting:
        part = waiting.pop()
        conditions += 1
        if isinstance(part, All | Either):
            waiting += part.parts
        elif isinstance(part, Not):
            waiting.append(part.part)
        elif isinstance(part, Field):
            patterns += isinstance(part.test, Matches)
            if isinstance(part.test, OneOf):
                values += len(part.test.scalars)
                # each may be as large as a whole condition
                conditions += len(part.test.containers)
    for name, count, most in (
        ("conditions", conditions, MAX_FILTER_CONDITIONS),
        ("values", values, MAX_FILTER_VALUES),
        ("patterns", patterns, MAX_FILTER_PATTERNS),
    ):
        if count > most:
            raise _refusal(name, f"{count}, more than {most}")


def without_duplicates(filters: Any) -> Any:
    """Return a filter of JSON without what is written twice beside itself, which each record would be held against.

    The very same object where there is nothing of that.
    """
    if not isinstance(filters, dict):
        return filters
    found = {key: _distinct(value) if key in _LISTS else without_duplicates(value) for key, value in filters.items()}
    return filters if all(found[key] is value for key, value in filters.items()) else found


def _distinct(values: Any) -> Any:
    if not isinstance(values, list):
        return values
    fewer = [without_duplicates(value) for value in values]
    if len(fewer) > 1:
        # this form tells 1 from True and from 1.0
        fewer = list({repr(value): value for value in fewer}.values())
    is_same = len(fewer) == len(values) and all(map(operator.is_, fewer, values))
    return values if is_same else fewer


def _refusal(what: str, how_many: str) -> StorageValidationError:
    return refusal(f"a filter has too many {what}: {how_many}", (), advice=_ADVICE)
