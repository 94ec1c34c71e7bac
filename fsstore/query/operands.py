"""What callers compare with in filters, turned into JSON values; what would silently find nothing is refused. Pure.

- Tuples are lists, mappings are objects, an enum is its value. A set stands for a list in `$in`, `$nin` and `$all`; as
  a value it is refused, since it has no order.
- Other types (Decimal, UUID, bytes, dates) are never equal to what a store holds: refused, with what to write instead.
- An operator inside a value would be compared as data: refused, with the operator that says the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from numbers import Real
from pathlib import PurePath
from types import NoneType
from typing import Any, TypeAlias
from uuid import UUID

from fsstore.errors import StorageValidationError
from fsstore.model.times import TIME_PATHS, canonical_time
from fsstore.model.values import MAX_DEPTH, format_path

Steps: TypeAlias = tuple[str | int, ...]

LOGICAL_OPERATORS = frozenset({"$and", "$or", "$nor"})
LIST_OPERATORS = frozenset({"$in", "$nin", "$all"})
FOREIGN_OPERATORS = {
    "$contains": "equality finds an element of an array, as in {'tags': 'x'}",
    "$elemMatch": "a dotted path goes into the objects of an array, as in {'messages.role': 'user'}",
    "$size": "store the length beside the list, and filter by that",
    "$type": "comparisons match within one JSON type",
    "$mod": "list the sessions, and filter them in Python",
    "$options": "write flags into the pattern, as in {'$regex': '(?i)draft'}",
    "$like": "use $regex",
    "$ilike": "use $regex with (?i)",
    "$between": "use $gte and $lte together",
    "$expr": "compare with a value",
    "$where": "list the sessions, and filter them in Python",
    "$text": "use $regex",
}
"""Operators of other systems that are not known here, and what to use instead."""
SLIPS = {
    **dict.fromkeys(("$notin", "$isnotin", "$noneof", "$notanyof"), "use $nin"),
    **dict.fromkeys(("$anyof", "$any", "$oneof", "$isin"), "use $in"),
    **dict.fromkeys(("$allof", "$containsall"), "use $all"),
    **dict.fromkeys(("$noteq", "$notequal", "$notequals", "$isnot"), "use $ne"),
    **dict.fromkeys(("$null", "$isnull", "$isnone"), "compare with None, as in {'status': None}"),
    **dict.fromkeys(("$notnull", "$isnotnull"), "use {'$ne': None}"),
    **dict.fromkeys(("$startswith", "$beginswith", "$prefix"), "use $regex with ^ before the text"),
    **dict.fromkeys(("$endswith", "$suffix"), "use $regex with $ behind the text"),
    **dict.fromkeys(("$iregex", "$icontains", "$istartswith", "$iendswith", "$iexact"), "use $regex with (?i)"),
    **dict.fromkeys(("$search", "$match", "$matches", "$glob"), "use $regex"),
    **dict.fromkeys(("$has", "$include", "$includes"), FOREIGN_OPERATORS["$contains"]),
    "$slice": "ask for parts of sessions with fields=, and for the end of a list with read_tail",
    "$xor": "use $or and $nor together",
}
"""Further words for what a filter can say, in small letters and without underscores, and what is written here.

Beside those of `FOREIGN_OPERATORS` these may be keys of data, and are not refused within a value.
"""

_SCALARS = frozenset({str, int, float, bool, NoneType})
_PAIR = 2
_DOWNWARD = (-1, "-1", "desc", "DESC", "descending")
_DIRECTION = re.compile(r"(?<!\\)\s+(asc|desc)(ending)?\Z", re.IGNORECASE)
_COMMA = re.compile(r"(?<!\\),\s*")
_BARE_OPERATORS = frozenset({"eq", "ne", "gt", "gte", "lt", "lte", "nin", "regex", "exists"})
_BARE_LIST_OPERATORS = frozenset({"in", "all"})
"""Words that are operators where a list follows: `in` may be the name of an input."""
_SYMBOLS = {">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte", "=": "$eq", "==": "$eq", "!=": "$ne", "<>": "$ne"}
_INSTEAD = {
    "$eq": "leave $eq out: {%(key)r: {%(name)r: ...}}",
    "$ne": "use {%(key)r: {'$not': {%(name)r: ...}}}",
    "$in": "use $or: {'$or': [{%(key)r: {%(name)r: ...}}, ...]}",
    "$nin": "use $nor: {'$nor': [{%(key)r: {%(name)r: ...}}, ...]}",
    "$all": "use $and: {'$and': [{%(key)r: {%(name)r: ...}}, ...]}",
}
_REMEDIES: tuple[tuple[Any, str], ...] = (
    (time, "compare with the text that is stored, as in value.isoformat()"),
    (timedelta, "compare with the number that is stored, as in value.total_seconds()"),
    (UUID | PurePath, "compare with its text: str(value)"),
    (Decimal | Fraction, "compare with float(value), or with str(value) if text is stored"),
    (bytes | bytearray | memoryview, "compare with text, as in value.decode()"),
    (re.Pattern, "write {'$regex': pattern.pattern}, with flags in it, as in (?i)"),
    (str, "compare with str(value)"),
    (Real, "compare with int(value) or float(value)"),
    (complex, "compare with both parts, if they are stored: [value.real, value.imag]"),
    (Iterable, "make it a list: list(value)"),
    (object, "compare with a JSON value: text, a number, a list or an object"),
)
_MODEL_REMEDY = "compare with one field of the model, or with all of it: value.model_dump(mode='json')"
_DATACLASS_REMEDY = "compare with one of its fields, or with all: dataclasses.asdict(value)"
_ARRAY_REMEDY = "compare with a plain value: value.tolist()"


def plain(value: Any, steps: Steps) -> Any:
    """Return a value of a filter as JSON, on a copy; raise StorageValidationError for what is never found.

    `steps` are its place in the filter. What is no JSON for other reasons is left for `copy_value` to refuse.
    """
    if type(value) in _SCALARS:
        return value
    check_depth(steps)
    if isinstance(value, Enum):
        return plain(value.value, steps)
    if isinstance(value, Mapping):
        return dict(_plain_item(key, item, steps) for key, item in value.items())
    if isinstance(value, list | tuple) or (isinstance(value, AbstractSet) and steps and steps[-1] in LIST_OPERATORS):
        return [plain(item, (*steps, at)) for at, item in enumerate(value)]
    raise _foreign(value, steps)


def check_depth(steps: Steps) -> None:
    """Raise StorageValidationError for a place so deep that nothing may stand there; a filter may contain itself."""
    if len(steps) > MAX_DEPTH:
        raise refusal(f"nested deeper than {MAX_DEPTH}", steps[:MAX_DEPTH])


def _plain_item(key: Any, value: Any, steps: Steps) -> tuple[Any, Any]:
    if isinstance(key, Enum):
        key = key.value
    # a key that is no text is refused with its object, whatever it holds
    return key, plain(value, (*steps, key)) if isinstance(key, str) else value


def _foreign(value: Any, steps: Steps) -> StorageValidationError:
    if isinstance(value, date):
        return moment_refusal(value, steps)
    kind = type(value).__name__
    if isinstance(value, AbstractSet):
        return refusal(f"a {kind} has no order", steps, advice="use {'$in': ...} for one of several, or a list")
    return refusal(f"{kind} is not a JSON value", steps, advice=_remedy(value))


def _remedy(value: Any) -> str:
    # known by its method, so that pydantic is not imported here; and first, since a model can be iterated
    if callable(getattr(type(value), "model_dump", None)):
        return _MODEL_REMEDY
    if is_dataclass(value) and not isinstance(value, type):
        return _DATACLASS_REMEDY
    # numbers and arrays of numpy, and array.array
    if callable(getattr(type(value), "tolist", None)) and not isinstance(value, memoryview):
        return _ARRAY_REMEDY
    return next(advice for types, advice in _REMEDIES if isinstance(value, types))


def moment_refusal(value: date, steps: Steps) -> StorageValidationError:
    """Return the error for a time where no time is compared: metadata is stored as it was given."""
    return refusal(
        f"{type(value).__name__} is compared at created_at and updated_at only",
        steps,
        advice="other metadata is stored as it was given: compare with text, as in value.isoformat()",
    )


def time_text(value: Any, steps: Steps) -> str:
    """Return a time in the store's form; raises StorageValidationError for what is none."""
    return canonical_time(value, format_path(steps), None)


def with_times_as_text(filters: Any, steps: Steps = ()) -> Any:
    """Return a filter in which the dates and times that stand under `created_at` and `updated_at` are text."""
    check_depth(steps)
    if not isinstance(filters, Mapping):
        return filters
    return {key: _item_with_text(key, value, (*steps, key)) for key, value in filters.items()}


def _item_with_text(key: Any, value: Any, steps: Steps) -> Any:
    if not isinstance(key, str):
        # the copy refuses it
        return value
    if key in LOGICAL_OPERATORS and isinstance(value, list | tuple):
        return [with_times_as_text(part, (*steps, at)) for at, part in enumerate(value)]
    return _operand_with_text(value, steps) if tuple(key.split(".")) in TIME_PATHS else value


def _operand_with_text(value: Any, steps: Steps) -> Any:
    if isinstance(value, date):
        return time_text(value, steps)
    check_depth(steps)
    if isinstance(value, Mapping):
        return {
            key: _operand_with_text(item, (*steps, key)) if isinstance(key, str) else item
            for key, item in value.items()
        }
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_operand_with_text(item, (*steps, at)) for at, item in enumerate(value))
    return value


def refuse_operators(value: Any, steps: Steps, known: Iterable[str], *, under: str = "") -> None:
    """Raise StorageValidationError for an operator anywhere in a value that is compared as data.

    `under` is the operator whose operand the value is.
    """
    names = {*known, *FOREIGN_OPERATORS}
    waiting: list[tuple[Any, Steps]] = [(value, steps)]
    while waiting:
        item, place = waiting.pop()
        if isinstance(item, dict):
            if name := next((key for key in item if key in names), None):
                raise refusal(
                    f"has the operator {name!r} inside a value", place, advice=_without(name, place, steps, under)
                )
            waiting += [(inner, (*place, key)) for key, inner in item.items()]
        elif isinstance(item, list):
            waiting += [(inner, (*place, at)) for at, inner in enumerate(item)]


def _without(name: str, place: Steps, steps: Steps, under: str) -> str:
    """Return what to write instead of an operator inside a value."""
    keys = [step for step in place if isinstance(step, str) and not step.startswith("$")]
    as_data = f"if it is a key of the data, put it into the path: {'.'.join([*keys, '']) or 'a.'}\\{name}"
    is_direct = len(place) - len(steps) <= (under in LIST_OPERATORS)
    if is_direct and under == "$ne" and name == "$in":
        return f"use {{{keys[-1]!r}: {{'$nin': [...]}}}}; {as_data}"
    if is_direct and under in _INSTEAD:
        return f"{_INSTEAD[under] % {'key': keys[-1], 'name': name}}; {as_data}"
    return f"write the whole path before the operator; {as_data}"


def refuse_bare_operators(value: Mapping[str, Any], steps: Steps) -> None:
    """Raise StorageValidationError for an object whose keys are all operators that lack their `$`, or symbols."""
    if value and all(_is_bare_operator(key, operand) for key, operand in value.items()):
        name = next(iter(value))
        operator = _SYMBOLS.get(name, f"${name}")
        raise refusal(
            f"compares with an object that has the key {name!r}",
            steps,
            advice=f"write '{operator}' for the operator, or {{'$eq': {{{name!r}: ...}}}} for the object",
        )


def _is_bare_operator(key: str, operand: Any) -> bool:
    return key in _BARE_OPERATORS or key in _SYMBOLS or (key in _BARE_LIST_OPERATORS and isinstance(operand, list))


def order_in_words(order_by: str) -> str:
    """Return an order as text: one that is written as other systems do it, in our words; any other as it is.

    `created_at desc` is SQL's, `+created_at` and several paths with commas between them are those of web interfaces: as
    the name of a key each would put nothing in order. A key of such a name is written with a backslash.
    """
    first = _COMMA.split(order_by)[0]
    is_down = (found := _DIRECTION.search(first)) is not None and found[1].lower() == "desc"
    path = _DIRECTION.sub("", first).removeprefix("+")
    return f"-{path}" if is_down and not path.startswith("-") else path


def meant_order(order_by: Any) -> str:
    """Return the order that was meant by a pair, a list of pairs or an object, or by text of other systems."""
    if isinstance(order_by, str):
        path = order_in_words(order_by)
        return path if path.strip("-") else "-updated_at"
    if isinstance(order_by, Mapping):
        order_by = list(order_by.items())
    if isinstance(order_by, list | tuple) and order_by and not isinstance(order_by[0], str):
        order_by = order_by[0]
    if not isinstance(order_by, list | tuple) or not order_by or not isinstance(order_by[0], str) or not order_by[0]:
        return "-updated_at"
    path, direction = order_by[0].removeprefix("-"), order_by[1] if len(order_by) == _PAIR else 1
    is_down = direction in _DOWNWARD or order_by[0].startswith("-")
    return f"-{path}" if is_down else path


def refusal(reason: str, steps: Steps, *, advice: str = "correct the filter") -> StorageValidationError:
    """Return the error of a filter, with the place that it is about."""
    return StorageValidationError(reason=reason, path=format_path(steps), advice=advice)
