"""Where two pydantic values differ: what proves that a model comes back as it was saved. Pure.

Equal are two values of the same class whose parts are equal: fields and unknown keys of models, fields of dataclasses,
items of lists, sets and dicts. `==` alone is not asked, since it takes 1 for True and a caller's class may define it.

- A number, a string or an enum may come back as the plain type of the field where Python calls them equal, as 1 does
  in a field of `float` and a `StrEnum` in one of `str`; True never comes back as 1.
- Times are equal when they are the same instant with the same offset.
- What fsstore stamps (`metadata.session_id`, `created_at`, `updated_at`) is left out, as are private attributes and
  cached properties, which are no data.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias

from pydantic import BaseModel, RootModel, SecretBytes, SecretStr

from fsstore.model_names import ClassPlaces, Steps, places_of

STAMPED = ("session_id", "created_at", "updated_at")
"""The keys of a session's metadata that fsstore writes."""

_STAMPED_STEPS = frozenset(("metadata", key) for key in STAMPED)
_ATOMS = frozenset({str, int, bool, type(None), bytes})
_Parts: TypeAlias = dict[Any, tuple[Steps, Any]]
"""The parts of a value by what tells them apart, each with its place in JSON below the value."""


class Difference(NamedTuple):
    """Where a value differs from another, and in what words."""

    steps: Steps
    reason: str
    is_secret: bool = False


def difference(saved: Any, loaded: Any, *, by_alias: bool | None = None) -> Difference | None:
    """Return the first place where what was loaded is not what was saved, None when they are equal; O(size).

    With `by_alias` given, a class that does not load by the keys of such a dump is a difference as well: what was
    written under another key would come back by its default alone, as long as that stays the same.
    """
    return _Comparison(by_alias).of(saved, loaded, ())


@dataclasses.dataclass(frozen=True, slots=True)
class _Comparison:
    by_alias: bool | None

    def of(self, saved: Any, loaded: Any, steps: Steps) -> Difference | None:
        kind = type(saved)
        if steps in _STAMPED_STEPS:
            return None
        if kind is type(loaded) and kind in _ATOMS:
            return None if saved == loaded else Difference(steps, "comes back changed")
        if isinstance(saved, SecretStr | SecretBytes):
            return _secret(saved, loaded, steps)
        if kind is not type(loaded):
            return _coerced(saved, loaded, steps)
        return self._of_one_class(saved, loaded, steps)

    def _of_one_class(self, saved: Any, loaded: Any, steps: Steps) -> Difference | None:
        kind: Any = type(saved)
        if isinstance(saved, dict):
            return self._dicts(saved, loaded, steps)
        if isinstance(saved, list | tuple | deque):
            return self._sequences(saved, loaded, steps)
        if (places := places_of(kind)) is not None:
            if self.by_alias is not None and not places.loads(by_alias=self.by_alias):
                return Difference(steps, f"{kind.__name__} loads by other names")
            return self._parts(_fields(saved, places), _fields(loaded, places), steps)
        if dataclasses.is_dataclass(saved):
            return self._parts(_attributes(saved), _attributes(loaded), steps)
        found = None if _equal(saved, loaded) else Difference(steps, _changed(saved))
        return self._members(saved, loaded, steps) if found is None and isinstance(saved, AbstractSet) else found

    def _parts(self, saved: _Parts, loaded: _Parts, steps: Steps) -> Difference | None:
        for key, (below, part) in saved.items():
            at = (*steps, *below)
            if key in loaded:
                found = self.of(part, loaded[key][1], at)
            else:
                found = None if _is_stamped(at, part) else Difference(at, "does not come back")
            if found is not None:
                return found
        return _first(
            Difference((*steps, *below), "was not there and comes back")
            for key, (below, part) in loaded.items()
            if key not in saved and not _is_stamped((*steps, *below), part)
        )

    def _sequences(self, saved: Sequence[Any], loaded: Sequence[Any], steps: Steps) -> Difference | None:
        if len(saved) != len(loaded):
            return Difference(steps, f"{len(saved)} items come back as {len(loaded)}")
        pairs = enumerate(zip(saved, loaded, strict=True))
        return _first(self.of(one, other, (*steps, at)) for at, (one, other) in pairs)

    def _dicts(self, saved: dict[Any, Any], loaded: dict[Any, Any], steps: Steps) -> Difference | None:
        found = self._parts(_items(saved), _items(loaded), steps)
        if found is None and isinstance(saved, OrderedDict) and list(saved) != list(loaded):
            found = Difference(steps, "its order does not come back, since keys are stored in order")
        return found or self._keys(saved, loaded, steps)

    def _keys(self, saved: Iterable[Any], loaded: Iterable[Any], steps: Steps) -> Difference | None:
        """Compare what Python has found equal class by class: to it, 1 and True are one key."""
        odd = [key for key in saved if type(key) is not str]
        partners = {key: key for key in loaded} if odd else {}
        return _first(self.of(key, partners[key], (*steps, str(key))) for key in odd if key in partners)

    def _members(self, saved: AbstractSet[Any], loaded: AbstractSet[Any], steps: Steps) -> Difference | None:
        found = self._keys(saved, loaded, steps)
        return None if found is None else Difference(steps, found.reason)


def _first(differences: Iterable[Difference | None]) -> Difference | None:
    return next((found for found in differences if found is not None), None)


def _secret(saved: SecretStr | SecretBytes, loaded: Any, steps: Steps) -> Difference | None:
    if type(saved) is type(loaded) and saved.get_secret_value() == loaded.get_secret_value():
        return None
    return Difference(steps, f"a {type(saved).__name__} is stored as asterisks and does not come back", is_secret=True)


def _coerced(saved: Any, loaded: Any, steps: Steps) -> Difference | None:
    """Judge values of different classes."""
    are_numbers = isinstance(saved, int | float) and isinstance(loaded, int | float)
    if bool not in (type(saved), type(loaded)) and (are_numbers or isinstance(saved, str | bytes)):
        is_plain = are_numbers or type(loaded) in type(saved).__mro__
        if is_plain and _equal(saved, loaded):
            return None
    if isinstance(saved, BaseModel) and isinstance(saved, type(loaded)):
        reason = f"{type(saved).__name__} comes back as its base {type(loaded).__name__}, without its own fields"
    else:
        reason = f"{type(saved).__name__} comes back as {type(loaded).__name__}"
    return Difference(steps, reason)


def _fields(value: Any, places: ClassPlaces) -> _Parts:
    """Return the parts of a model or a pydantic dataclass, each with its place in JSON."""
    if isinstance(value, RootModel):
        return {"root": ((), value.root)}
    given = vars(value) if hasattr(value, "__dict__") else _of_slots(value)
    parts: _Parts = {name: (place.written, given[name]) for name, place in places.fields.items() if name in given}
    extras = getattr(value, "__pydantic_extra__", None)
    if extras is None and not isinstance(value, BaseModel) and not places.ignores_unknown:
        # where a dataclass takes unknown keys, they become attributes
        extras = {key: given[key] for key in given.keys() - places.fields.keys()}
    return parts | {("unknown", key): ((key,), part) for key, part in (extras or {}).items()}


def _attributes(value: Any) -> _Parts:
    return {key: ((key,), part) for key, part in _of_slots(value).items()}


def _of_slots(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if hasattr(value, field.name)}


def _items(value: dict[Any, Any]) -> _Parts:
    return {key: ((str(key),), part) for key, part in value.items()}


def _is_stamped(steps: Steps, value: Any) -> bool:
    """Whether all that is there was stamped."""
    return steps in _STAMPED_STEPS or (
        steps == ("metadata",) and isinstance(value, dict) and value.keys() <= {*STAMPED}
    )


def _equal(saved: Any, loaded: Any) -> bool:
    try:
        if isinstance(saved, datetime) and saved.tzinfo is not None and loaded.tzinfo is not None:
            # with the zone of a place Python compares no instants in the hour that the clock repeats
            return bool(saved.astimezone(UTC) == loaded.astimezone(UTC) and saved.utcoffset() == loaded.utcoffset())
        are_none = bool(saved != saved and loaded != loaded)  # noqa: PLR0124 - not a number
        return True if are_none else bool(saved == loaded)
    except Exception:  # noqa: BLE001 - the classes are the caller's: what can not be compared is not proved
        return False


def _changed(saved: Any) -> str:
    kind: Any = type(saved)
    if kind.__eq__ is object.__eq__:
        return f"two {kind.__name__} can not be compared, so nothing shows that it comes back"
    return f"{kind.__name__} comes back changed"
