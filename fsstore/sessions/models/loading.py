"""How a session is loaded as a pydantic model. Pure.

- Loading reads JSON text, not Python values: a strict model takes a date, an enum or a tuple from JSON only.
- Metadata is there in every session. A model that has no place for it, or whose metadata refuses the stamped keys as
  unknown, gets the session without what was stamped; nothing else is ever left out.
- A model that says `metadata: … | None = None` gets None where nothing is there but what was stamped.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from fsstore.errors import StorageValidationError
from fsstore.model.values import format_path, write_json
from fsstore.sessions.models.equality import STAMPED
from fsstore.sessions.models.names import Steps, places_of

JsonObject: TypeAlias = dict[str, Any]
M = TypeVar("M", bound=BaseModel)

_UNKNOWN_KEY = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
"""What pydantic calls the refusal of a key: in models and typed dicts, in dataclasses."""


def load_model(kind: type[M], data: JsonObject, *, session_id: str, created_at: str, updated_at: str) -> M:
    """Return a session as a model; O(size), one validation where the model takes the metadata as it is stored.

    Stamped keys that are missing (a file written by hand) are filled from the arguments. Raises StorageValidationError
    with the JSON path of what does not fit, and where `kind` is no such class.
    """
    if not isinstance(kind, type) or not hasattr(kind, "__pydantic_validator__"):
        name = kind.__name__ if isinstance(kind, type) else repr(kind) if kind is None else type(kind).__name__
        raise StorageValidationError(
            reason=f"must be a class of pydantic models, not {name}",
            path="model",
            id=session_id,
            advice="give the class itself; for a union, or any other type, make a RootModel of it",
        )
    stamps = {"session_id": session_id, "created_at": created_at, "updated_at": updated_at}
    view = _stamped_view(kind, data, stamps)
    try:
        return _validated(kind, view, session_id)
    except ValidationError as error:
        first = fewest = error
    for other in _smaller_views(kind, view, first):
        try:
            return _validated(kind, other, session_id)
        except ValidationError as error:
            fewest = min(fewest, error, key=ValidationError.error_count)
    found = _errors(fewest)[0]
    raise StorageValidationError(
        reason=found["msg"],
        path=format_path(("data", *_place(view, found))),
        id=session_id,
        advice="correct the session, or load it as the model that it was saved as",
    ) from fewest


def _validated(kind: type[M], view: JsonObject, session_id: str) -> M:
    text = write_json(view)
    try:
        return kind.__pydantic_validator__.validate_json(text)  # type: ignore[no-any-return]  # it is Any there
    except ValidationError:
        raise
    except Exception as error:
        # validators are the caller's, and may raise anything
        reason = f"a validator of {kind.__name__} raised {type(error).__name__}: {error}"
        raise StorageValidationError(
            reason=reason, path="$.data", id=session_id, advice="correct the validator, or read the session as a dict"
        ) from error


# -- metadata ---------------------------------------------------------------------------------------------------------


def _stamped_view(kind: type[BaseModel], data: JsonObject, stamps: dict[str, str]) -> JsonObject:
    if type(data) is not dict:
        # written by hand, or as a record; the model says whether it takes that
        return data
    metadata = data.get("metadata")
    if metadata is not None and type(metadata) is not dict:
        return data
    given = {key: value for key, value in (metadata or {}).items() if key not in stamps or value is not None}
    if given.keys() <= stamps.keys() and _has_none_by_default(kind):
        return {key: value for key, value in data.items() if key != "metadata"}
    return {**data, "metadata": stamps | given}


def _smaller_views(kind: type[BaseModel], view: JsonObject, error: ValidationError) -> Iterator[JsonObject]:
    """Give a session with ever less of what was stamped, if that may be why it was refused."""
    fields = _metadata_fields(kind)
    errors = [one for one in _errors(error) if not one["loc"] or not {"metadata", *fields}.isdisjoint(one["loc"])]
    metadata = view.get("metadata") if type(view) is dict else None
    if not errors or type(metadata) is not dict:
        return
    if not fields and metadata.keys() <= {*STAMPED}:
        yield {key: value for key, value in view.items() if key != "metadata"}
    refused = {one["loc"][-1] for one in errors if one["loc"] and one["type"] in _UNKNOWN_KEY}
    misfits = {one["loc"][-1] for one in errors if one["loc"]} - refused
    # a time that a field of that name does not take is an error, not something to be left out
    candidates = [key for key in STAMPED if key not in misfits]
    for count in range(1, len(candidates) + 1):
        for left_out in combinations(candidates, count):
            yield {**view, "metadata": {key: value for key, value in metadata.items() if key not in left_out}}


def _metadata_fields(kind: type[BaseModel]) -> list[str]:
    """Return the names of the fields that load from the metadata of a session."""
    places = places_of(kind)
    fields = places.fields.items() if places else ()
    return [name for name, place in fields if any(way[0] == "metadata" for way in place.ways)]


def _has_none_by_default(kind: type[BaseModel]) -> bool:
    """Whether the model says by `metadata: … | None = None` that there need be none."""
    places = places_of(kind)
    names = [name for name, place in places.fields.items() if ("metadata",) in place.ways] if places else []
    fields = [kind.model_fields[name] for name in names]
    return any(not field.is_required() and field.default_factory is None and field.default is None for field in fields)


# -- errors -----------------------------------------------------------------------------------------------------------


def _errors(error: ValidationError) -> list[Any]:
    return list(error.errors(include_url=False, include_context=False, include_input=False))


def _place(data: Any, error: Any) -> Steps:
    """Return where in the JSON an error lies: pydantic's own steps name members of unions, too."""
    steps: list[str | int] = []
    for at, step in enumerate(error["loc"]):
        is_there = step in data if type(data) is dict else type(data) is list and step in range(len(data))
        if is_there:
            data = data[step]
        elif error["type"] != "missing" or at + 1 < len(error["loc"]):
            continue
        steps.append(step)
    return tuple(steps)
