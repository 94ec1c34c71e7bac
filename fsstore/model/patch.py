"""JSON Merge Patch, RFC 7396, and what looks like a patch of another kind. Pure: nothing that is given is changed.

A merge patch writes the fields themselves, so `{"$set": {...}}` and `{"metadata.status": "done"}` would make keys of
these names, where somebody meant an operator or a path. `misread_keys` finds them in a patch, `refuse_misread` refuses
those that the document does not have:

- at the top of a patch every key that begins with `$`; the update operators of MongoDB also in `metadata`, and in
  objects that hold nothing else;
- at the top every key with dots between its parts; elsewhere those whose first part stands there as a key, too.

What stands in arrays is data.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from fsstore.errors import StorageValidationError
from fsstore.model.values import format_path

Steps: TypeAlias = tuple[str, ...]

TOP: frozenset[Steps] = frozenset({()})
"""The top of a patch of a session."""
RECORD_TOPS: frozenset[Steps] = frozenset({(), ("data",), ("data", "metadata")})
"""What counts as the top in a patch of a record."""

_IN_PLACE = "change it in place with edit_session"
_OPERATORS: Mapping[str, str] = {
    "$set": "",
    "$setOnInsert": "",
    "$unset": "null removes a key, as in {'key': None}",
    "$currentDate": "updated_at is stamped anyway",
    **dict.fromkeys(("$inc", "$mul", "$min", "$max", "$bit", "$rename"), _IN_PLACE),
    **dict.fromkeys(("$push", "$pull", "$pullAll", "$addToSet", "$pop", "$each"), f"for a list, {_IN_PLACE}"),
}


def merge_patch(target: Any, patch: Any) -> Any:
    """Return the target with the patch applied: null removes a key, an object merges, anything else replaces.

    The result shares its unchanged parts with the target and its new parts with the patch. O(keys touched).
    """
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def misread_keys(patch: Mapping[str, Any], tops: Container[Steps]) -> list[Steps]:
    """Return the places of the keys that may have been meant as operators or paths; O(keys of the patch)."""
    return list(_misread(patch, (), tops))


def _misread(patch: Mapping[str, Any], steps: Steps, tops: Container[Steps]) -> Iterator[Steps]:
    # an object that holds other keys as well is data, whatever its keys look like
    may_operate = steps[-1:] == ("metadata",) or _OPERATORS.keys() >= patch.keys()
    for key, value in patch.items():
        is_operator = (key in _OPERATORS and may_operate) or (key.startswith("$") and steps in tops)
        if is_operator or ("." in key and all(key.split("."))):
            yield (*steps, key)
        if type(value) is dict:
            yield from _misread(value, (*steps, key), tops)


def refuse_misread(
    target: Any,
    patch: Mapping[str, Any],
    keys: Sequence[Steps],
    tops: Container[Steps],
    *,
    record_id: str,
    within: Steps = (),
) -> None:
    """Raise StorageValidationError for the first of the keys that the target does not have; O(their number).

    `keys` come from `misread_keys`, and of the target nothing is looked at but the objects that the patch touches.
    `within` is where the target stands in its record.
    """
    for *above, key in keys:
        steps = tuple(above)
        there = _object_at(target, steps)
        if key in there:
            continue
        is_dotted = key not in _OPERATORS and not (key.startswith("$") and steps in tops)
        if is_dotted and steps not in tops and key.partition(".")[0] not in there:
            continue
        given = _object_at(patch, steps)[key]
        raise StorageValidationError(
            reason=f"a merge patch would make a key named {key!r}",
            path=format_path((*within, *steps, key)),
            id=record_id,
            advice=_path_advice(target, steps, key) if is_dotted else _operator_advice(steps, key, given),
        )


def _object_at(value: Any, steps: Steps) -> Mapping[str, Any]:
    for step in steps:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _path_advice(target: Any, steps: Steps, key: str) -> str:
    if found := _list_on_the_way(target, (*steps, *key.split("."))):
        return f"{'.'.join(found)!r} is a list, which a merge patch replaces as a whole: {_IN_PLACE}"
    return (
        f"write {_nested((*steps, *key.split('.')))} to reach into an object; "
        f"if the key has dots in it, set it in edit_session"
    )


def _list_on_the_way(target: Any, steps: Steps) -> Steps:
    """Return the first steps of a path, which lead to a list that it goes into; else none."""
    for at, step in enumerate(steps):
        if isinstance(target, list):
            return steps[:at]
        target = target.get(step) if isinstance(target, Mapping) else None
    return ()


def _operator_advice(steps: Steps, key: str, given: Any) -> str:
    if advice := _OPERATORS.get(key):
        return f"leave {key} out: {advice}; a merge patch writes the fields themselves"
    field = next(iter(given), "") if isinstance(given, Mapping) else ""
    meant = (*steps, *field.split(".")) if field else ("metadata", "status")
    return f"write the fields themselves: {_nested(meant)}; lists are changed with edit_session"


def _nested(steps: Sequence[str]) -> str:
    """Return the patch that reaches one field."""
    text = "..."
    for step in reversed(steps):
        text = f"{{{step!r}: {text}}}"
    return text
