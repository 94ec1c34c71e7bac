"""By which names a pydantic class loads its fields, and a dump that is written by these names. Pure.

pydantic dumps all models of a tree by name or all by alias, but each class loads as its own configuration says, and an
alias for loading need not be the one for dumping. So the dump is walked beside the model, and each part is written as
its class loads it:

- by the name, where the class loads by name and does not say `serialize_by_alias`; else by the alias it dumps by, if it
  loads by that one, too; else by the first alias that is a string; else at the place that an `AliasPath` names;
- computed fields stay where the class ignores keys that it does not know, and are left out elsewhere;
- what a serializer of the caller's own has made stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from itertools import pairwise
from types import UnionType
from typing import Any, NamedTuple, TypeAlias, Union, get_args, get_origin

from pydantic import AliasChoices, AliasPath, BaseModel, RootModel
from pydantic.fields import FieldInfo

Steps: TypeAlias = tuple[str | int, ...]
"""Where a value lies in JSON: the keys and indexes that lead to it."""

_KEPT_CLASSES = 512
_LONGEST_LIST = 1000


class FieldPlace(NamedTuple):
    """Where a field is found when its class is loaded (`ways`), by which of these it is written, and its dump's key."""

    written: Steps
    ways: tuple[Steps, ...]
    dumped: str
    joins: bool
    """Whether there is a union in its type, of more than one class and None."""


class ClassPlaces(NamedTuple):
    """What is known of a class: its fields, its computed ones with the key of each by alias, who writes its dump."""

    fields: dict[str, FieldPlace]
    computed: dict[str, str]
    ignores_unknown: bool
    dumps_itself: bool
    loads_by_name: bool
    """Whether every field loads by the key that a dump by name has."""
    loads_by_alias: bool
    """The same of a dump by alias."""

    @property
    def prefers_names(self) -> bool:
        """Whether its fields are written by name."""
        return _are_names(self.fields)


@lru_cache(maxsize=_KEPT_CLASSES)
def places_of(kind: Any) -> ClassPlaces | None:
    """Return how a pydantic model or dataclass loads; None for any other class."""
    if issubclass(kind, BaseModel):
        fields, config = kind.model_fields, dict(kind.model_config)
    elif "__pydantic_fields__" in kind.__dict__:
        fields, config = kind.__pydantic_fields__, dict(getattr(kind, "__pydantic_config__", None) or {})
    else:
        return None
    decorators = kind.__pydantic_decorators__
    places = {name: _place(name, field, config) for name, field in fields.items()}
    by_name = _are_names(places)
    computed = {shown.info.alias or name: name for name, shown in decorators.computed_fields.items()}
    dumps_itself = bool(decorators.model_serializers)
    return ClassPlaces(
        places,
        {alias: name if by_name else alias for alias, name in computed.items()},
        config.get("extra") in (None, "ignore"),
        dumps_itself,
        dumps_itself or all((name,) in place.ways for name, place in places.items()),
        dumps_itself or all((place.dumped,) in place.ways for place in places.values()),
    )


def _are_names(places: Mapping[str, FieldPlace]) -> bool:
    return all(place.written == (name,) for name, place in places.items())


def _place(name: str, field: FieldInfo, config: Mapping[str, Any]) -> FieldPlace:
    dumped, joins = field.serialization_alias or name, _has_union(field.annotation)
    if field.validation_alias is None:
        return FieldPlace((name,), ((name,),), dumped, joins)
    by_name = bool(config.get("validate_by_name") or config.get("populate_by_name"))
    by_alias = config.get("validate_by_alias") is not False
    ways = tuple(_aliases(field.validation_alias)) if by_alias else ()
    if by_name:
        ways = (*ways, (name,))
    if by_name and not config.get("serialize_by_alias"):
        written: Steps = (name,)
    elif (dumped,) in ways:
        written = (dumped,)
    else:
        written = next((way for way in ways if len(way) == 1), ways[0])
    return FieldPlace(written, ways, dumped, joins)


def _has_union(annotation: Any) -> bool:
    members = [member for member in get_args(annotation) if member is not type(None)]
    is_union = get_origin(annotation) in (Union, UnionType) and len(members) > 1
    return is_union or any(_has_union(member) for member in members)


def _aliases(alias: str | AliasPath | AliasChoices) -> list[Steps]:
    if isinstance(alias, str):
        return [(alias,)]
    if isinstance(alias, AliasPath):
        return [tuple(alias.path)]
    return [steps for choice in alias.choices for steps in _aliases(choice)]


def written_to_load(value: Any, dumped: Any, shown: Any, *, computed: bool) -> Any:
    """Return a dump of a value, written by the names that its models load by; O(size).

    `dumped` was made by alias and for a round trip; `shown`, the same without the latter, has the computed fields that
    are taken over with `computed`.
    """

    def parts(values: Any, shown_values: Any) -> list[Any]:
        given = list(shown_values) if len(shown_values) == len(dumped) else [None] * len(dumped)
        items = dumped.values() if type(dumped) is dict else dumped
        return [
            written_to_load(part, item, seen, computed=computed)
            for part, item, seen in zip(values, items, given, strict=True)
        ]

    kind: Any = type(value)
    if isinstance(value, RootModel):
        known = places_of(kind)
        own = known is not None and known.dumps_itself
        return dumped if own else written_to_load(value.root, dumped, shown, computed=computed)
    if type(dumped) is dict:
        if (places := places_of(kind)) is not None:
            return dumped if places.dumps_itself else _written_object(value, dumped, shown, places, computed=computed)
        if isinstance(value, Mapping) and len(value) == len(dumped):
            items = parts(value.values(), shown.values() if type(shown) is dict else ())
            return dict(zip(dumped, items, strict=True))
    elif type(dumped) is list and _is_many(value) and len(value) == len(dumped):
        return parts(value, shown if type(shown) is list else ())
    return dumped


def _is_many(value: Any) -> bool:
    return isinstance(value, Sequence | AbstractSet) and not isinstance(value, str | bytes)


def _written_object(
    value: Any, dumped: dict[str, Any], shown: Any, places: ClassPlaces, *, computed: bool
) -> dict[str, Any]:
    shown = shown if type(shown) is dict else {}
    written: dict[str, Any] = {}
    taken: set[str] = set()
    for name, place in places.fields.items():
        if place.dumped in dumped and place.dumped not in taken:
            taken.add(place.dumped)
            part = getattr(value, "__dict__", {}).get(name)
            item = written_to_load(part, dumped[place.dumped], shown.get(place.dumped), computed=computed)
            _put(written, place.written, item)
    extras = getattr(value, "__pydantic_extra__", None) or {}
    for key in dumped.keys() - taken:
        written[key] = written_to_load(extras.get(key), dumped[key], shown.get(key), computed=computed)
    if computed and places.ignores_unknown:
        read = {way[0] for place in places.fields.values() for way in place.ways}
        keys = places.computed.items()
        written.update({key: shown[alias] for alias, key in keys if alias in shown and key not in read})
    return written


def _put(tree: dict[str, Any], steps: Steps, item: Any) -> None:
    """Put an item where an alias looks for it; what is in its way is replaced, which the round trip will show."""
    node: Any = tree
    path: list[Any] = [*steps, None]
    for step, following in pairwise(path):
        if type(node) is list:
            if type(step) is not int or not -_LONGEST_LIST <= step < _LONGEST_LIST:
                return
            node.extend([None] * (step + 1 - len(node) if step >= 0 else -step - len(node)))
        elif type(step) is not str:
            return
        if following is None:
            node[step] = item
            return
        wanted = list if type(following) is int else dict
        below = node[step] if type(node) is list else node.get(step)
        if type(below) is not wanted:
            below = node[step] = wanted()
        node = below
