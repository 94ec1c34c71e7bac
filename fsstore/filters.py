"""The words of filters and orders, turned into conditions. Pure: no I/O.

`matches` is the definition of what a filter means. The vocabulary is MongoDB's, with its meaning, a strict
subset of it (https://www.mongodb.com/docs/manual/reference/operator/query/):

- `{"status": "open"}` is equality, and so are `$eq`, `$ne`, `$in`, `$nin` and `$all`. A scalar also matches
  an array that holds it; None matches null and what is missing; objects and arrays must be equal, key order
  aside.
- `$gt $gte $lt $lte` take a number, a string or a boolean and match within that type only. Null, objects and
  arrays have no order and are refused.
- `$regex` takes a string for `re.search`; flags are written into it, as in `(?i)draft`. It matches strings,
  also in arrays.
- `$exists` takes a boolean; null is there. `$not` stands under a path and takes operators. `$and $or $nor`
  stand beside the paths and take at least one filter.
- A path is keys joined by dots. How it passes through arrays is told in `fsstore.conditions`.
- What can not be understood raises StorageValidationError, which names the place in the filter.
"""

from __future__ import annotations

import difflib
import marshal
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from fsstore.conditions import (
    COMPARISONS,
    All,
    Compares,
    Condition,
    Either,
    Field,
    Matches,
    Not,
    OneOf,
    Order,
    Path,
    Present,
    kind_of,
)
from fsstore.errors import StorageValidationError
from fsstore.models import Filters, JsonObject
from fsstore.values import copy_value, format_path, is_text

Steps: TypeAlias = tuple[str | int, ...]

EVERYTHING = All(())
RECENT_FIRST = Order(("updated_at",), descending=True)


def matches(filters: Filters | None, record: JsonObject) -> bool:
    """Whether a record is wanted: the definition of what filters mean. Raises what `parse` raises."""
    return parse(filters).matches(record)


def parse(filters: Filters | None) -> Condition:
    """Understand a filter; None and `{}` want everything. O(its size).

    Raises StorageValidationError, with the place in the filter as its `path`, for what is no filter.
    """
    if filters is None:
        return EVERYTHING
    if not isinstance(filters, Mapping):
        raise _refusal(f"a filter must be a mapping, not {type(filters).__name__}", ())
    given = dict(filters)
    try:
        # the same filters come again and again; this form tells 1 from True and from 1.0, and takes no subclasses
        return _parse_marshalled(marshal.dumps(given, 2))
    except ValueError:
        return _parse_object(given)


@lru_cache(maxsize=512)
def _parse_marshalled(filters: bytes) -> Condition:
    return _parse_object(marshal.loads(filters))  # noqa: S302 - written a moment ago


def _parse_object(filters: JsonObject) -> Condition:
    # a filter is JSON itself: the copy refuses what is not, and later changes by the caller do not reach it
    return _parse_filter(copy_value(filters), ())


def _parse_filter(filters: Any, steps: Steps) -> Condition:
    if not isinstance(filters, dict):
        raise _refusal(f"must be a filter (an object), not {kind_of(filters)}", steps)
    return _joined([_parse_item(key, value, (*steps, key)) for key, value in filters.items()])


def _joined(parts: Sequence[Condition]) -> Condition:
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _parse_item(key: str, value: Any, steps: Steps) -> Condition:
    if not key.startswith("$"):
        return _parse_field(parse_path(key, steps), value, steps)
    if key not in _LOGICAL:
        raise _unknown(key, steps, misplaced="it stands under a path, as in {'status': {'$ne': 'done'}}")
    if not isinstance(value, list) or not value:
        raise _refusal("takes a list of at least one filter", steps)
    return _LOGICAL[key](tuple(_parse_filter(part, (*steps, at)) for at, part in enumerate(value)))


def parse_path(text: str, steps: Steps = ()) -> Path:
    """Split a dotted path; raises StorageValidationError for an empty step or one that begins with `$`."""
    path = tuple(text.split("."))
    for step in path:
        if not step:
            raise _refusal(f"the path {text!r} has an empty step", steps)
        if step.startswith("$"):
            raise _refusal(f"the path {text!r} has the step {step!r}, which looks like an operator", steps)
    return path


def _parse_field(path: Path, value: Any, steps: Steps) -> Condition:
    if not isinstance(value, dict) or not any(key.startswith("$") for key in value):
        _refuse_operators(value, steps)
        return Field(path, _one_of([value]))
    for key in value:
        if not key.startswith("$"):
            raise _refusal(f"mixes operators with the plain key {key!r}", steps)
    return _joined([_parse_operator(path, key, operand, (*steps, key)) for key, operand in value.items()])


def _refuse_operators(value: Any, steps: Steps) -> None:
    # an operator deep inside a plain value would be compared as data and silently find nothing
    if isinstance(value, dict):
        for key, item in value.items():
            if key in _OPERATORS or key in _LOGICAL:
                raise _refusal(
                    f"has the operator {key!r} inside a value",
                    steps,
                    advice="write the whole path before the operator, or {'$eq': value} if it is data",
                )
            _refuse_operators(item, (*steps, key))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            _refuse_operators(item, (*steps, at))


def _parse_operator(path: Path, name: str, operand: Any, steps: Steps) -> Condition:
    if name not in _OPERATORS:
        raise _unknown(name, steps, misplaced="it stands beside the paths and takes a list of filters")
    return _OPERATORS[name](path, operand, steps)


def _one_of(values: Sequence[Any]) -> OneOf:
    scalars = frozenset((kind_of(value), value) for value in values if not isinstance(value, dict | list))
    return OneOf(scalars, tuple(value for value in values if isinstance(value, dict | list)))


def _equal(path: Path, operand: Any, _steps: Steps) -> Condition:
    return Field(path, _one_of([operand]))


def _in(path: Path, operand: Any, steps: Steps) -> Condition:
    return Field(path, _one_of(_list(operand, steps)))


def _all(path: Path, operand: Any, steps: Steps) -> Condition:
    parts = [Field(path, _one_of([value])) for value in _list(operand, steps)]
    return _joined(parts) if parts else Either(())


def _list(operand: Any, steps: Steps) -> list[Any]:
    if not isinstance(operand, list):
        raise _refusal(f"takes a list, not {kind_of(operand)}", steps)
    return operand


def _compares(path: Path, operand: Any, steps: Steps) -> Condition:
    if kind_of(operand) not in ("number", "string", "boolean"):
        raise _refusal(f"takes a number, a string or a boolean; {kind_of(operand)} has no order", steps)
    comparison: Any = steps[-1]
    return Field(path, Compares(comparison, operand))


def _exists(path: Path, operand: Any, steps: Steps) -> Condition:
    if not isinstance(operand, bool):
        raise _refusal(f"takes true or false, not {kind_of(operand)}", steps)
    return Present(path) if operand else Not(Present(path))


def _regex(path: Path, operand: Any, steps: Steps) -> Condition:
    if not isinstance(operand, str):
        raise _refusal(f"takes a string, not {kind_of(operand)}", steps)
    try:
        return Field(path, Matches(re.compile(operand)))
    except (re.error, OverflowError, RecursionError) as error:
        raise _refusal(f"{operand!r} is not a regular expression: {error}", steps) from error


def _not(path: Path, operand: Any, steps: Steps) -> Condition:
    if not isinstance(operand, dict) or not operand or not all(key.startswith("$") for key in operand):
        raise _refusal("takes an object of operators, as in {'$not': {'$gt': 3}}", steps)
    return Not(_parse_field(path, operand, steps))


_LOGICAL: Mapping[str, Callable[[tuple[Condition, ...]], Condition]] = {
    "$and": All,
    "$or": Either,
    "$nor": lambda parts: Not(Either(parts)),
}
_OPERATORS: Mapping[str, Callable[[Path, Any, Steps], Condition]] = {
    "$eq": _equal,
    "$ne": lambda path, operand, steps: Not(_equal(path, operand, steps)),
    "$in": _in,
    "$nin": lambda path, operand, steps: Not(_in(path, operand, steps)),
    "$all": _all,
    "$exists": _exists,
    "$regex": _regex,
    "$not": _not,
    **dict.fromkeys(COMPARISONS, _compares),
}


def _unknown(name: str, steps: Steps, *, misplaced: str) -> StorageValidationError:
    known = [*_OPERATORS, *_LOGICAL]
    if name in known:
        return _refusal(f"the operator {name} can not stand here; {misplaced}", steps)
    (nearest,) = difflib.get_close_matches(name, known, n=1, cutoff=0)
    return _refusal(
        f"unknown operator {name}, the nearest is {nearest}",
        steps,
        advice=f"known are {' '.join(sorted(known))}",
    )


def _refusal(reason: str, steps: Steps, *, advice: str = "correct the filter") -> StorageValidationError:
    return StorageValidationError(reason=reason, path=format_path(steps), advice=advice)


# -- the words of sessions -----------------------------------------------------------------------------------


def session_filter(filters: Filters) -> Filters:
    """Turn a filter of sessions into one of records; changes paths only.

    A bare key means metadata (`status` is `data.metadata.status`), a dotted key starts at the session's data
    (`state.step` is `data.state.step`). Whatever is wrong with the filter is left for `parse` to refuse.
    """
    items = [_session_item(key, value) for key, value in filters.items()]
    mapped = dict(items)
    # `status` and `metadata.status` are the same path: both must hold
    return mapped if len(mapped) == len(items) else {"$and": [{key: value} for key, value in items]}


def _session_item(key: Any, value: Any) -> tuple[Any, Any]:
    if key in _LOGICAL and isinstance(value, list):
        return key, [session_filter(part) if isinstance(part, Mapping) else part for part in value]
    if not isinstance(key, str) or key.startswith("$"):
        return key, value
    return _session_path(key), value


def session_path(order_by: str | None) -> str | None:
    """Turn an `order_by` of sessions into one of records, as `session_filter` does with paths."""
    if order_by is None:
        return None
    sign = "-" if order_by.startswith("-") else ""
    return sign + _session_path(order_by.removeprefix("-"))


def _session_path(path: str) -> str:
    return f"data.{path}" if "." in path else f"data.metadata.{path}"


# -- orders --------------------------------------------------------------------------------------------------


def parse_order(order_by: str | None) -> Order:
    """Understand `order_by`: a path, `-` before it for descending; None is the most recently updated first.

    Raises StorageValidationError for what is no path.
    """
    if order_by is None:
        return RECENT_FIRST
    if not isinstance(order_by, str) or not is_text(order_by):
        raise StorageValidationError(reason=f"must be a path, not {order_by!r}", path="order_by")
    return Order(parse_path(order_by.removeprefix("-"), ("order_by",)), descending=order_by.startswith("-"))
