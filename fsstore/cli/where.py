r"""What is written after `--where` and `--set`, turned into filters and patches. Pure: no I/O.

- A condition is `key`, `!key` (it is there, it is not) or `key OPERATOR value` with `=`, `!=`, `>=`, `<=`, `>`, `<` or
  `~` (a regular expression). The key ends at the first operator.
- A value is a JSON number, `true`, `false` or `null` where it reads as one, else a string; quotes, single or double,
  make it a string in any case. After `~` everything is the pattern as it stands. What the service itself stamps (the id
  and the times) is always text, so that `updated_at>=2026` is understood as a time: it begins with that year, local
  time.
- Nobody in a shell means 5 and not the text "5": where `=` and `!=` compare with a number, `true` or `false`, its
  text counts as well. Quotes ask for the text alone. `null` is null, and what is missing.
- A key is a path as the service understands it: bare means metadata, dotted starts at the session. A key that has a dot
  in it, or begins with `$`, is written with a backslash: `a\.b`, `\$ref` (see `fsstore.query.steps`).
- What cannot be understood raises StorageValidationError that shows the expression.
"""

import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from fsstore.errors import StorageValidationError
from fsstore.model.json_text import read_exact
from fsstore.query.steps import read_step, written_steps

if TYPE_CHECKING:
    from fsstore.model.records import Filters, JsonObject

_CONDITION = re.compile(r"(?P<key>[^=!<>~]*?)\s*(?P<operator>!=|>=|<=|=|>|<|~)(?P<value>.*)", re.DOTALL)
_KEY = re.compile(r"[^=!<>~$\s][^=!<>~]*")
_OPERATORS = {"!=": "$ne", ">=": "$gte", "<=": "$lte", ">": "$gt", "<": "$lt"}
_EITHER = {"=": "$in", "!=": "$nin"}
_SCALARS = (int, float, bool, type(None))
_QUOTES = ("'", '"')
_ALWAYS_TEXT = ("session_id", "created_at", "updated_at")


def parse_filter(conditions: Iterable[str], filter_text: str | None = None) -> "Filters | None":
    """Return the filter that all of `--where`, and the JSON of `--filter`, ask for; None when nothing is asked."""
    parts = [parse_condition(text) for text in conditions]
    if filter_text is not None:
        parts.append(parse_object(filter_text, "--filter"))
    return {"$and": parts} if len(parts) > 1 else next(iter(parts), None)


def parse_condition(text: str) -> "Filters":
    """Return one condition as a filter."""
    condition = _CONDITION.fullmatch(text.strip())
    if condition is None:
        return _parse_existence(text)
    key, operator, value = condition["key"], condition["operator"], condition["value"].lstrip()
    _check_key(key, text)
    if operator == "~":
        return {key: {"$regex": value}}
    if value.startswith(("=", "<", ">", "~")):
        raise _refusal(text, f"there is no operator {operator + value[0]!r}", 'quote the value, as in key="=value"')
    found = _parse_value(value, text)
    if isinstance(found, int | float):
        plain = value.rstrip()
        if key.removeprefix("metadata.") in _ALWAYS_TEXT or (operator in _EITHER and not _can_be_stored(found)):
            found = plain
        elif operator in _EITHER:
            return {key: {_EITHER[operator]: [found, plain]}}
    return {key: found} if operator == "=" else {key: {_OPERATORS[operator]: found}}


def parse_settings(settings: Sequence[str], patch: "JsonObject | None" = None) -> "JsonObject":
    """Return a merge patch (RFC 7396) that also sets what `--set key=value` asks for; `null` removes the key.

    Here a value may be any JSON. A bare key means metadata, as in a filter.
    """
    merged = dict(patch or {})
    for text in settings:
        path, equals, value = text.partition("=")
        path = path.strip()
        if not equals:
            raise _refusal(text, "there is no = in it", "write key=value, as in status=done")
        _check_key(path, text)
        steps = [read_step(step) for step in written_steps(path)]
        merged = _with(merged, steps if len(steps) > 1 else ["metadata", *steps], _parse_json(value, text))
    return merged


def parse_object(text: str | bytes, name: str) -> "JsonObject":
    """Return a JSON object, read exactly; `name` names for the user what was read."""
    try:
        found = read_exact(text)
    except ValueError as error:
        raise StorageValidationError(reason=f"{name} {error}") from error
    if type(found) is not dict:
        raise StorageValidationError(reason=f"{name} holds a JSON {type(found).__name__}, not an object")
    return found


def _parse_existence(text: str) -> "Filters":
    key = text.strip()
    negated = key.startswith("!")
    key = key.removeprefix("!").strip()
    _check_key(key, text)
    return {key: {"$exists": not negated}}


def _check_key(key: str, text: str) -> None:
    if not key:
        raise _refusal(text, "it names no key", "write key, !key or key=value, as in status=active")
    if not _KEY.fullmatch(key):
        raise _refusal(text, f"{key!r} is not a key", "for such keys, and for $or and the like, use --filter")
    if not all(written_steps(key)):
        raise _refusal(text, f"the path {key!r} has an empty step", "write it as in state.step")


def _parse_value(value: str, text: str) -> Any:
    if value[:1] in _QUOTES:
        return _unquoted(value.rstrip(), text)
    value = value.rstrip()
    scalar = _json_or_none(value)
    return scalar if isinstance(scalar, _SCALARS) and not _is_plain_none(scalar, value) else value


def _can_be_stored(number: float) -> bool:
    return -(2**63) <= number < 2**64 if isinstance(number, int) else math.isfinite(number)


def _parse_json(value: str, text: str) -> Any:
    value = value.strip()
    if value[:1] in _QUOTES:
        return _unquoted(value, text)
    found = _json_or_none(value)
    return value if _is_plain_none(found, value) else found


def _unquoted(value: str, text: str) -> str:
    """Take the quotes away: within double ones JSON's escapes hold, within single ones nothing is special."""
    quote = value[0]
    if len(value) < 2 or not value.endswith(quote):  # noqa: PLR2004 - an opening and a closing quote
        raise _refusal(text, f"the {quote} is not closed", "close it, or quote the quote with the other kind")
    if quote == "'":
        return value[1:-1]
    try:
        return str(from_json(value))
    except (ValueError, TypeError) as error:
        raise _refusal(
            text, f"{value} is not a JSON string", "use single quotes, in which nothing is special"
        ) from error


def _json_or_none(value: str) -> Any:
    try:
        return from_json(value, allow_inf_nan=False)
    except (ValueError, TypeError):
        # the latter for lone surrogates, which are for the store to refuse, with their place
        return None


def _is_plain_none(found: Any, value: str) -> bool:
    return found is None and value != "null"


def _with(target: Any, steps: Sequence[str], value: Any) -> "JsonObject":
    """Return the patch with one more value in it; a value that is in the way gives way."""
    inner = dict(target) if isinstance(target, dict) else {}
    first, *rest = steps
    inner[first] = _with(inner.get(first), rest, value) if rest else value
    return inner


def _refusal(text: str, reason: str, advice: str) -> StorageValidationError:
    return StorageValidationError(reason=f"{text!r}: {reason}", advice=advice)
