"""Which parts of a record are wanted, and a record reduced to them. Pure.

- Fields are paths, written as in filters. What is left has the record's own shape.
- A path goes on into objects, and into every object of an array, which stays as long as it has objects: what else an
  array holds is left out. A step of digits is a key like any other.
- What is not there is left out, and so is an object, outside of arrays, in which nothing wanted is.
- Where paths overlap, the shorter one counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from fsstore.errors import StorageValidationError
from fsstore.model.records import JsonObject
from fsstore.model.values import is_text
from fsstore.query.columns import locate
from fsstore.query.conditions import ABSENT, Path
from fsstore.query.filters import parse_path
from fsstore.query.limits import MAX_FIELD_CHARACTERS, MAX_FIELDS

_Tree: TypeAlias = dict[str, Any]
"""By key: what is wanted below it, or None where all of it is."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Parts of a record."""

    tree: _Tree
    is_indexed: bool
    """Whether an index keeps all of them: see `columns`."""

    def of(self, record: Mapping[str, Any]) -> JsonObject:
        """Return these parts of a record, which share what they hold with it."""
        found: JsonObject = _of_object(record, self.tree)
        return found


def parse_fields(fields: Iterable[str]) -> Fields:
    """Understand fields. Raises StorageValidationError for what is no list of paths, or too long a one."""
    paths = [parse_field(field, at) for at, field in enumerate(check_fields(fields))]
    tree: _Tree = {}
    for path in paths:
        _add(tree, path)
    return Fields(tree, all(locate(path) is not None for path in paths))


def check_fields(fields: Any) -> list[str]:
    """Return fields as a list; raise StorageValidationError unless they are texts, and not too many."""
    if isinstance(fields, str | bytes | Mapping) or not isinstance(fields, Iterable):
        kind = f"{fields!r} is one path, not several" if isinstance(fields, str) else _kind(fields)
        raise StorageValidationError(reason=kind, path="fields", advice='write them as in ["status", "user_id"]')
    listed = list(fields)
    if len(listed) > MAX_FIELDS:
        raise StorageValidationError(
            reason=f"there are {len(listed)}, more than {MAX_FIELDS}", path="fields", advice="ask for what holds them"
        )
    for at, field in enumerate(listed):
        if not isinstance(field, str) or not is_text(field) or not 0 < len(field) <= MAX_FIELD_CHARACTERS:
            shown = repr(field)[:60] if isinstance(field, str) else type(field).__name__
            raise field_refusal(
                f"must be a path, as text of at most {MAX_FIELD_CHARACTERS} characters, not {shown}", at
            )
    return listed


def field_refusal(reason: str, at: int, *, advice: str = "write it as in state.step") -> StorageValidationError:
    """Return the error of the field of that number."""
    return StorageValidationError(reason=reason, path=f"fields[{at}]", advice=advice)


def _kind(fields: Any) -> str:
    return f"must be a list of paths, not {type(fields).__name__}"


def parse_field(field: str, at: int) -> Path:
    """Return the path that the field of that number is. Raises StorageValidationError."""
    try:
        return parse_path(field)
    except StorageValidationError as error:
        raise field_refusal(error.reason or "", at, advice=error.advice) from error


def _add(tree: _Tree, path: Path) -> None:
    for step in path[:-1]:
        if step in tree and tree[step] is None:
            return
        tree = tree.setdefault(step, {})
    tree[path[-1]] = None


def _of_object(value: Mapping[str, Any], tree: _Tree) -> JsonObject:
    found = {}
    for key, below in tree.items():
        if key in value and (part := _of(value[key], below)) is not ABSENT:
            found[key] = part
    return found


def _of(value: Any, tree: _Tree | None) -> Any:
    if tree is None:
        return value
    if type(value) is dict:
        return _of_object(value, tree) or ABSENT
    if type(value) is list:
        return [_of_object(item, tree) for item in value if type(item) is dict]
    return ABSENT
