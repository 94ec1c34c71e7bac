"""Where two pydantic values differ: what proves that a model comes back as it was saved. Pure.

Equal are two values of the same class whose parts are equal: fields and unknown keys of models, fields of dataclasses,
items of lists, sets and dicts. `==` alone is not asked, since it takes 1 for True and a caller's class may define it.

- What pydantic has not looked at (a default, an item that was appended) may come back as the plain class of its field
  where Python calls them equal: 1 in a field of `float`, a `StrEnum` in one of `str`. In a union only the former may,
  since there the class says which member it is. True never comes back as 1.
- Times are equal when they are the same instant with the same offset.
- What fsstore stamps (`metadata.session_id`, `created_at`, `updated_at`) is left out, as are private attributes and
  cached properties, which are no data.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, deque
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel, RootModel, SecretBytes, SecretStr

from fsstore.sessions.models.names import ClassPlaces, FieldPlace, Steps, places_of

STAMPED = ("session_id", "created_at", "updated_at")
"""The keys of a session's metadata that fsstore writes."""

_STAMPED_STEPS = frozenset(("metadata", key) for key in STAMPED)
_ATOMS = frozenset({str, int, bool, type(None), bytes, date, timedelta, UUID})
"""Classes of which `==` says all; most of what there is to compare is of them, so they are looked at first."""
_ABSENT: Any = object()


class Difference(NamedTuple):
    """Where a value differs from another, and in what words."""

    steps: Steps
    reason: str
    is_secret: bool = False

    def within(self, steps: Steps) -> Difference:
        """Return the same difference, seen from a value in which this one lies at these steps."""
        return self._replace(steps=(*steps, *self.steps))


def difference(saved: Any, loaded: Any, *, by_alias: bool | None = None) -> Difference | None:
    """Return the first place where what was loaded is not what was saved, None when they are equal; O(size).

    With `by_alias` given, a class that does not load by the keys of such a dump is a difference as well: what was
    written under another key would come back by its default alone, as long as that stays the same.
    """
    return _Comparison(by_alias).of(saved, loaded, ())


@dataclasses.dataclass(frozen=True, slots=True)
class _Comparison:
    """Differences have steps below the values compared; `at` is where these lie, None where nothing is stamped."""

    by_alias: bool | None
    in_union: bool = False

    def of(self, saved: Any, loaded: Any, at: Steps | None = None) -> Difference | None:
        kind = type(saved)
        if at in _STAMPED_STEPS or saved is loaded:
            return None
        if kind is not type(loaded):
            return self._coerced(saved, loaded)
        if kind in _ATOMS or kind is datetime:
            is_same = saved == loaded if kind in _ATOMS else _is_same_time(saved, loaded)
            return None if is_same else Difference((), "comes back changed")
        if isinstance(saved, dict):
            return self._dicts(saved, loaded, at)
        if isinstance(saved, list | tuple | deque):
            return self._sequences(saved, loaded)
        return self._objects(kind, saved, loaded, at)

    def _coerced(self, saved: Any, loaded: Any) -> Difference | None:
        """Judge values of different classes."""
        if isinstance(saved, SecretStr | SecretBytes):
            return _secret(saved, loaded)
        is_plain = type(saved) is int and type(loaded) is float
        if isinstance(saved, int | float | str | bytes) and not (self.in_union or isinstance(saved, bool)):
            is_plain |= type(loaded) in type(saved).__mro__
        return None if is_plain and _equal(saved, loaded) else Difference((), _of_other_class(saved, loaded))

    def _objects(self, kind: Any, saved: Any, loaded: Any, at: Steps | None) -> Difference | None:
        if (places := places_of(kind)) is not None:
            if self.by_alias is not None and not (places.loads_by_alias if self.by_alias else places.loads_by_name):
                return Difference((), f"{kind.__name__} loads by other names")
            if isinstance(saved, RootModel):
                return self._within(places.fields["root"]).of(saved.root, loaded.root, at)
            return self._fields(places, saved, loaded, at)
        if dataclasses.is_dataclass(saved):
            exact = _Comparison(self.by_alias, in_union=True)
            return exact._parts(_attributes(saved), _attributes(loaded), at)
        if isinstance(saved, SecretStr | SecretBytes):
            return _secret(saved, loaded)
        found = None if _equal(saved, loaded) else Difference((), _changed(saved))
        return self._members(saved, loaded) if found is None and isinstance(saved, AbstractSet) else found

    def _fields(self, places: ClassPlaces, saved: Any, loaded: Any, at: Steps | None) -> Difference | None:
        try:
            one, other = saved.__dict__, loaded.__dict__
        except AttributeError:
            # a dataclass with slots
            return self._parts(_attributes(saved), _attributes(loaded), at)
        for name, place in places.fields.items():
            part, again = one.get(name, _ABSENT), other.get(name, _ABSENT)
            if type(part) is type(again) and type(part) in _ATOMS and part == again:
                continue
            below = None if at is None else _below(at, place.written)
            if (found := self._within(place).of(part, again, below)) is not None:
                return found.within(place.written)
        extras = _extras(places, saved), _extras(places, loaded)
        return self._parts(*extras, at) if any(extras) else None

    def _within(self, place: FieldPlace) -> _Comparison:
        return self if self.in_union == place.joins else _Comparison(self.by_alias, in_union=place.joins)

    def _parts(self, saved: Mapping[Any, Any], loaded: Mapping[Any, Any], at: Steps | None) -> Difference | None:
        for key, part in saved.items():
            again = loaded.get(key, _ABSENT)
            if type(part) is type(again) and type(part) in _ATOMS and part == again:
                continue
            if again is _ABSENT and _is_stamped(_below(at, (key,)), part):
                continue
            if (found := self.of(part, again, _below(at, (key,)))) is not None:
                return found.within((str(key),))
        if len(saved) == len(loaded) and at is None:
            return None
        added = (key for key in loaded if key not in saved and not _is_stamped(_below(at, (key,)), loaded[key]))
        return next((Difference((str(key),), "was not there and comes back") for key in added), None)

    def _sequences(self, saved: Any, loaded: Any) -> Difference | None:
        if len(saved) != len(loaded):
            return Difference((), f"{len(saved)} items come back as {len(loaded)}")
        if isinstance(saved, deque) and saved.maxlen != loaded.maxlen:
            return Difference((), "its maxlen does not come back")
        for index, (part, again) in enumerate(zip(saved, loaded, strict=True)):
            if type(part) is type(again) and type(part) in _ATOMS and part == again:
                continue
            if (found := self.of(part, again)) is not None:
                return found.within((index,))
        return None

    def _dicts(self, saved: dict[Any, Any], loaded: dict[Any, Any], at: Steps | None) -> Difference | None:
        found = self._parts(saved, loaded, at)
        if found is None and isinstance(saved, OrderedDict) and list(saved) != list(loaded):
            found = Difference((), "its order does not come back, since keys are stored in order")
        return found or self._members(saved, loaded)

    def _members(self, saved: Collection[Any], loaded: Collection[Any]) -> Difference | None:
        """Compare keys, or members of sets, that Python has found equal by class: to it, 1 and True are one."""
        odd = [key for key in saved if type(key) is not str]
        partners = {key: key for key in loaded} if odd else {}
        pairs = ((key, partners[key]) for key in odd if key in partners)
        return next((found._replace(steps=()) for pair in pairs if (found := self.of(*pair)) is not None), None)


def _below(at: Steps | None, below: Steps) -> Steps | None:
    """Return where a part lies, None if neither it nor a part of it can have been stamped."""
    return (*at, *below) if at is not None and (at or below)[0] == "metadata" else None


def _extras(places: ClassPlaces, value: Any) -> dict[str, Any]:
    """Return what a model or a pydantic dataclass has taken without a field for it."""
    if isinstance(value, BaseModel):
        return value.__pydantic_extra__ or {}
    if places.ignores_unknown:
        return {}
    return {key: part for key, part in vars(value).items() if key not in places.fields}


def _secret(saved: SecretStr | SecretBytes, loaded: Any) -> Difference | None:
    if isinstance(loaded, type(saved)) and saved.get_secret_value() == loaded.get_secret_value():
        return None
    return Difference((), f"a {type(saved).__name__} is stored as asterisks and does not come back", is_secret=True)


def _of_other_class(saved: Any, loaded: Any) -> str:
    name, again = type(saved).__name__, type(loaded).__name__
    if loaded is _ABSENT:
        return "does not come back"
    if saved is _ABSENT:
        return "was not there and comes back"
    if isinstance(saved, BaseModel) and isinstance(saved, type(loaded)):
        return f"{name} comes back as its base {again}, without its own fields"
    return f"{name} comes back as {again}"


def _attributes(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if hasattr(value, field.name)}


def _is_stamped(steps: Steps | None, value: Any) -> bool:
    """Whether all that is there was stamped."""
    return steps in _STAMPED_STEPS or (
        steps == ("metadata",) and isinstance(value, dict) and value.keys() <= {*STAMPED}
    )


def _equal(saved: Any, loaded: Any) -> bool:
    try:
        are_none = bool(saved != saved and loaded != loaded)  # noqa: PLR0124 - not a number
        return True if are_none else bool(saved == loaded)
    except Exception:  # noqa: BLE001 - the classes are the caller's: what cannot be compared is not proved
        return False


def _is_same_time(saved: datetime, loaded: datetime) -> bool:
    if saved.utcoffset() != loaded.utcoffset():
        return False
    # with the zone of a place Python takes no instants for equal in the hour that the clock repeats
    return saved == loaded or (saved.tzinfo is not None and saved.astimezone(UTC) == loaded.astimezone(UTC))


def _changed(saved: Any) -> str:
    kind: Any = type(saved)
    if kind.__eq__ is object.__eq__:
        return f"two {kind.__name__} cannot be compared, so nothing shows that it comes back"
    return f"{kind.__name__} comes back changed"
