r"""The words of filters, turned into conditions. Pure: no I/O.

`matches` is the definition of what a filter means. The vocabulary is MongoDB's, with its meaning, a strict
subset of it (https://www.mongodb.com/docs/manual/reference/operator/query/):

- `{"status": "open"}` is equality, and so are `$eq`, `$ne`, `$in`, `$nin` and `$all`. A scalar also matches
  an array that holds it; None matches null and what is missing; objects and arrays must be equal, key order
  aside.
- `$gt $gte $lt $lte` take a number, a string or a boolean and match within that type only. Null, objects and
  arrays have no order and are refused.
- `$regex` takes a regular expression, which may be found anywhere in a string, also in arrays; flags are written into
  it, as in `(?i)draft`. It is RE2's, as `fsstore.query.patterns` describes.
- `$exists` takes a boolean; null is there. `$not` stands under a path and takes operators. `$and $or $nor`
  stand beside the paths and take at least one filter.
- At `created_at` and `updated_at` (of a record, and of the metadata of its data) instants are compared: operands are
  datetimes or ISO 8601 text, and None; see `fsstore.model.times`. `$regex` and `$exists` see what is written there.
- A path is keys joined by dots; a key with a dot in it, or one that begins with `$`, is written with a backslash, as in
  `a\.b` and `\$ref` (see `fsstore.query.steps`). How a path passes through arrays is described in
  `fsstore.query.conditions`.
- Values are JSON, and what reads as such: see `fsstore.query.operands`.
- What cannot be understood raises StorageValidationError, which names the place in the filter.
"""

from __future__ import annotations

import difflib
import marshal
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from fsstore.errors import StorageValidationError
from fsstore.model.records import Filters, JsonObject
from fsstore.model.times import TIME_PATHS
from fsstore.model.values import MAX_DEPTH, copy_value
from fsstore.query.conditions import (
    COMPARISONS,
    EVERYTHING,
    All,
    Compares,
    Condition,
    Either,
    Field,
    Matches,
    Not,
    OneOf,
    Path,
    Present,
    TimeField,
    kind_of,
)
from fsstore.query.limits import MAX_PATH_STEPS
from fsstore.query.operands import (
    FOREIGN_OPERATORS,
    LIST_OPERATORS,
    SLIPS,
    Steps,
    plain,
    refusal,
    refuse_bare_operators,
    refuse_operators,
    time_text,
    with_times_as_text,
)
from fsstore.query.patterns import Pattern, PatternError
from fsstore.query.sizes import check_size, check_work, without_duplicates
from fsstore.query.steps import read_step, written_steps

_CONTAINERS = frozenset({dict, list, tuple})
_PATTERN_ADVICE = "correct it there, without look-around and back-references, or make it shorter"
_MOST_PARSED, _LARGE_BYTES = 512, 64 << 10


def matches(filters: Filters | None, record: JsonObject) -> bool:
    """Whether a record is wanted: the definition of what filters mean. Raises what `parse` raises."""
    return parse(filters).matches(record)


def parse(filters: Filters | None) -> Condition:
    """Understand a filter; None and `{}` want everything. O(its size).

    Raises StorageValidationError, with the place in the filter as its `path`, for what is no filter.
    """
    if filters is None:
        return EVERYTHING
    given = as_mapping(filters)
    if is_deep(given):
        # maybe without end: what marshal does about that takes for ever where a filter contains itself twice
        return _parse_object(with_times_as_text(given))
    check_size(given)
    try:
        # the same filters come again and again; in this form 1 differs from True and from 1.0, and no subclass is taken
        written = marshal.dumps(given, 2)
    except ValueError:
        return _parse_object(with_times_as_text(given))
    parse = _parse_marshalled if len(written) <= _LARGE_BYTES else _parse_marshalled.__wrapped__
    try:
        return parse(written, time.timezone, time.tzname)
    except StorageValidationError:
        # marshal makes bytes of whatever has a buffer, such as numbers of numpy: what was given is named below
        pass
    return _parse_object(with_times_as_text(given))


def as_mapping(filters: Any) -> JsonObject:
    """Return a filter as an object; raises StorageValidationError for what is none."""
    if not isinstance(filters, Mapping):
        raise refusal(
            f"a filter must be a mapping, not {type(filters).__name__}", (), advice="write it as in {'status': 'done'}"
        )
    return dict(filters)


def is_deep(value: Any) -> bool:
    """Whether a value is nested deeper than a filter may be; goes down first, so that it ends in one within itself."""
    return _is_deeper(value, MAX_DEPTH, {})


def _is_deeper(value: Any, most: int, seen: dict[int, int]) -> bool:
    if most < 0:
        return True
    # what is small may hold one part over and over
    if seen.get(id(value), MAX_DEPTH + 1) <= most:
        return False
    items = value.values() if type(value) is dict else value
    is_deeper = any(type(item) in _CONTAINERS and _is_deeper(item, most - 1, seen) for item in items)
    seen[id(value)] = most
    return is_deeper


@lru_cache(maxsize=_MOST_PARSED)
def _parse_marshalled(filters: bytes, *_local_zone: object) -> Condition:
    # the zone decides what a time without an offset means
    return _parse_object(marshal.loads(filters))  # noqa: S302 - written a moment ago


def _parse_object(filters: JsonObject) -> Condition:
    # a filter is JSON itself: the copy refuses what is not, and later changes by the caller do not reach it
    words = copy_value(plain(filters, ()))
    condition = _parse_filter(words, ())
    check_work(condition)
    # what is written twice counts twice, and is looked for once
    fewer = without_duplicates(words)
    return condition if fewer is words else _parse_filter(fewer, ())


def _parse_filter(filters: Any, steps: Steps) -> Condition:
    if not isinstance(filters, dict):
        raise refusal(f"must be a filter (an object), not {kind_of(filters)}", steps)
    return _joined([_parse_item(key, value, (*steps, key)) for key, value in filters.items()])


def _joined(parts: Sequence[Condition]) -> Condition:
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _parse_item(key: str, value: Any, steps: Steps) -> Condition:
    if not key.startswith("$") or key.startswith("$."):
        return _parse_field(parse_path(key, steps), value, steps)
    if key not in _LOGICAL:
        raise _unknown(key, steps, misplaced="it stands under a path, as in {'status': {'$ne': 'done'}}")
    if not isinstance(value, list) or not value:
        raise refusal("takes a list of at least one filter", steps)
    return _LOGICAL[key](tuple(_parse_filter(part, (*steps, at)) for at, part in enumerate(value)))


def parse_path(text: str, steps: Steps = ()) -> Path:
    """Split a dotted path; raises StorageValidationError for an empty step or one that begins with `$`."""
    path = written_steps(text)
    if len(path) > MAX_PATH_STEPS:
        raise refusal(f"a path has {len(path)} steps, more than {MAX_PATH_STEPS}", (), advice="ask for less")
    if path[0] == "$":
        # JSON paths begin so, in the messages of fsstore too
        raise refusal(f"the path {text!r} begins with '$'", steps, advice="leave out '$.': write it as in state.step")
    for step in path:
        if not step:
            raise refusal(f"the path {text!r} has an empty step", steps, advice="write it as in state.step")
        if step.startswith("$"):
            raise refusal(
                f"the path {text!r} has the step {step!r}, which looks like an operator",
                steps,
                advice=f"put a backslash before the $ if it is a key: \\{step}",
            )
    return tuple(map(read_step, path))


def parse_argument(text: str, name: str) -> Path:
    """Split a dotted path that is an argument. Raises StorageValidationError, with the name of that as its path."""
    try:
        return parse_path(text)
    except StorageValidationError as error:
        raise StorageValidationError(reason=error.reason, path=name, advice=error.advice) from error


def _parse_field(path: Path, value: Any, steps: Steps) -> Condition:
    if not isinstance(value, dict) or not any(key.startswith("$") for key in value):
        refuse_operators(value, steps, _KNOWN)
        if isinstance(value, dict):
            refuse_bare_operators(value, steps)
        return _equal(path, value, steps)
    for key in value:
        if not key.startswith("$"):
            raise refusal(f"mixes operators with the plain key {key!r}", steps)
    return _joined([_parse_operator(path, key, operand, (*steps, key)) for key, operand in value.items()])


def _parse_operator(path: Path, name: str, operand: Any, steps: Steps) -> Condition:
    if name not in _OPERATORS:
        raise _unknown(name, steps, misplaced="it stands beside the paths and takes a list of filters")
    if name in _COMPARED_AS_DATA:
        refuse_operators(operand, steps, _KNOWN, under=name)
    return _OPERATORS[name](path, operand, steps)


def _one_of(values: Sequence[Any]) -> OneOf:
    scalars = frozenset((kind_of(value), value) for value in values if not isinstance(value, dict | list))
    return OneOf(scalars, tuple(value for value in values if isinstance(value, dict | list)))


def _equal(path: Path, operand: Any, steps: Steps) -> Condition:
    return _found_in(path, [operand], steps)


def _in(path: Path, operand: Any, steps: Steps) -> Condition:
    return _found_in(path, _list(operand, steps), steps)


def _all(path: Path, operand: Any, steps: Steps) -> Condition:
    parts = [_equal(path, value, steps) for value in _list(operand, steps)]
    return _joined(parts) if parts else Either(())


def _found_in(path: Path, operands: Sequence[Any], steps: Steps) -> Condition:
    if path not in TIME_PATHS:
        return Field(path, _one_of(operands))
    return TimeField(path, _one_of([None if operand is None else time_text(operand, steps) for operand in operands]))


def _list(operand: Any, steps: Steps) -> list[Any]:
    if not isinstance(operand, list):
        raise refusal(f"takes a list, not {kind_of(operand)}", steps)
    return operand


def _compares(path: Path, operand: Any, steps: Steps) -> Condition:
    comparison: Any = steps[-1]
    if path in TIME_PATHS:
        return TimeField(path, Compares(comparison, time_text(operand, steps)))
    if kind_of(operand) not in ("number", "string", "boolean"):
        raise refusal(f"takes a number, a string or a boolean; {kind_of(operand)} has no order", steps)
    return Field(path, Compares(comparison, operand))


def _exists(path: Path, operand: Any, steps: Steps) -> Condition:
    if not isinstance(operand, bool):
        raise refusal(f"takes true or false, not {kind_of(operand)}", steps)
    return Present(path) if operand else Not(Present(path))


def _regex(path: Path, operand: Any, steps: Steps) -> Condition:
    if not isinstance(operand, str):
        raise refusal(f"takes a string, not {kind_of(operand)}", steps)
    try:
        return Field(path, Matches(Pattern(operand)))
    except PatternError as error:
        raise refusal(f"the pattern {error}", steps, advice=_PATTERN_ADVICE) from error


def _not(path: Path, operand: Any, steps: Steps) -> Condition:
    if not isinstance(operand, dict) or not operand or not all(key.startswith("$") for key in operand):
        raise refusal("takes an object of operators, as in {'$not': {'$gt': 3}}", steps)
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
_KNOWN = (*_OPERATORS, *_LOGICAL)
_COMPARED_AS_DATA = LIST_OPERATORS | {"$eq", "$ne"}


def _unknown(name: str, steps: Steps, *, misplaced: str) -> StorageValidationError:
    if name in _KNOWN:
        return refusal(f"the operator {name} cannot stand here; {misplaced}", steps)
    # case first: to difflib $In is as near to $ne as to $in
    same = {each.lower(): each for each in (*FOREIGN_OPERATORS, *_KNOWN)}.get(name.lower(), name)
    nearest = [same] if same in _KNOWN else difflib.get_close_matches(name.lower(), _KNOWN, n=1)
    meant = f"did you mean {nearest[0]}? " if nearest else ""
    said = FOREIGN_OPERATORS.get(same) or SLIPS.get(name.lower().replace("_", ""))
    instead = f"{said}; " if said else meant
    return refusal(
        f"the operator {name} is not supported",
        steps,
        advice=f"{instead}supported are {' '.join(sorted(_KNOWN))}",
    )
