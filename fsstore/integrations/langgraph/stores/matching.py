"""What a filter of items means, and which namespaces a condition wants: as LangGraph's stores in memory have it. Pure.

A filter compares values of an item: plainly, or by `$eq`, `$ne`, `$gt`, `$gte`, `$lt`, `$lte`; a mapping without
operators is compared key by key. A key with dots that the value does not have is a path into it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from langgraph.store.base import MatchCondition

from fsstore.errors import StorageValidationError

_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def check_filter(wanted: Any, path: str = "filter") -> None:
    """Raise StorageValidationError for an operator that there is not, wherever it stands."""
    if isinstance(wanted, Mapping):
        operators = path != "filter" and any(str(name).startswith("$") for name in wanted)
        for name, value in wanted.items():
            if operators and name not in (*_ORDERS, "$eq", "$ne"):
                raise StorageValidationError(
                    reason=f"unknown operator {name!r}", path=path, advice=f"known are {_known()}"
                )
            if not operators:
                # an operand is a value, and not a filter
                check_filter(value, f"{path}.{name}")
    elif isinstance(wanted, list | tuple):
        for item in wanted:
            check_filter(item, f"{path}[]")


def check_conditions(conditions: Iterable[MatchCondition]) -> None:
    """Raise StorageValidationError for a condition on namespaces that is neither of the two."""
    for condition in conditions:
        if condition.match_type not in ("prefix", "suffix"):
            raise StorageValidationError(
                reason=f"must be 'prefix' or 'suffix', not {condition.match_type!r}", path="match_conditions"
            )


def fulfils(value: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Whether the value of an item is what a filter wants."""
    return all(_equals(_at(value, key), expected) for key, expected in (wanted or {}).items())


def is_within(namespace: Sequence[str], kind: str, path: Sequence[str]) -> bool:
    """Whether a namespace begins, or ends, with a path, in which `*` is any one label."""
    if len(namespace) < len(path):
        return False
    labels = namespace[: len(path)] if kind == "prefix" else namespace[len(namespace) - len(path) :]
    return all(step in ("*", label) for step, label in zip(path, labels, strict=True))


def _known() -> str:
    return ", ".join(sorted((*_ORDERS, "$eq", "$ne")))


def _at(value: Mapping[str, Any], key: str) -> Any:
    if key in value or "." not in str(key):
        return value.get(key)
    found: Any = value
    for step in key.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def _equals(value: Any, expected: Any) -> bool:
    if isinstance(expected, Mapping):
        if any(str(key).startswith("$") for key in expected):
            return all(_compares(value, name, operand) for name, operand in expected.items())
        return isinstance(value, Mapping) and all(_equals(value.get(key), item) for key, item in expected.items())
    if isinstance(expected, list | tuple):
        return (
            isinstance(value, list | tuple)
            and len(value) == len(expected)
            and all(_equals(item, other) for item, other in zip(value, expected, strict=True))
        )
    return bool(value == expected)


def _compares(value: Any, name: str, operand: Any) -> bool:
    if name in ("$eq", "$ne"):
        return (value == operand) is (name == "$eq")
    if isinstance(value, str) and isinstance(operand, str):
        return _ORDERS[name](value, operand)
    try:
        return _ORDERS[name](float(value), float(operand))
    except (TypeError, ValueError):
        # what cannot be compared does not match
        return False
