"""Models of drawn fields come back as they were saved, or are refused for one of the few documented reasons."""

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from itertools import count
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

import pydantic.dataclasses
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    SecretStr,
    computed_field,
    create_model,
)
from pydantic.alias_generators import to_camel

from fsstore.errors import StorageValidationError
from fsstore.sessions.models.dumping import dump_model
from fsstore.sessions.models.loading import load_model

from .test_models import STAMPS, THEN, typed

EXAMPLES = 1200
WANTED = 200
TOP = 2
KINDS = (
    *("union", "discriminated union", "alias", "alias by name", "default", "default factory", "list", "dict", "tuple"),
    *("set", "datetime", "time", "enum", "computed field", "generic", "dataclass", "pydantic dataclass", "root model"),
    *("nested model", "metadata", "strict", "forbid", "allow", "ignore"),
)
REFUSALS = {
    "a union takes the value of another member": r"comes? back|not load again",
    "an alias leads to the place of another field": r"comes back|would not load again|does not come back",
    "a secret": r"is stored as asterisks",
    "a class of Any": r"comes back as",
}
"""The reasons for which a drawn model may be refused: what must have been drawn, and what the error then says."""

T = TypeVar("T")
NUMBERS = count()
NAMES = ("alpha", "beta_two", "gamma", "delta_x")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Word(StrEnum):
    ONE = "1"
    YES = "yes"


class Box(BaseModel, Generic[T]):
    item: T
    more: list[T] = []


class Pair(BaseModel, Generic[T]):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")
    first_item: T
    by_name: dict[str, T] = {}


class Point(NamedTuple):
    x: int
    y: float


class Drawn(NamedTuple):
    """A type, values of it, and what it is made of."""

    type: Any
    values: st.SearchStrategy[Any]
    kinds: frozenset[str] = frozenset()
    doubts: frozenset[str] = frozenset()
    """Why a model with it may be refused."""


offsets = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=9))])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
SCALARS = [
    Drawn(int, st.integers(-(2**63), 2**64 - 1)),
    Drawn(float, st.floats(allow_nan=False, allow_infinity=False)),
    Drawn(str, texts),
    Drawn(bool, st.booleans()),
    Drawn(bytes, texts.map(str.encode)),
    Drawn(UUID, st.uuids()),
    Drawn(Decimal, st.decimals(allow_nan=False, allow_infinity=False, places=3)),
    Drawn(datetime, st.datetimes(timezones=st.none() | offsets), frozenset({"datetime"})),
    Drawn(datetime, st.datetimes(timezones=offsets), frozenset({"datetime"})),
    Drawn(date, st.dates(), frozenset({"time"})),
    Drawn(time, st.times(), frozenset({"time"})),
    Drawn(timedelta, st.timedeltas(timedelta(days=-9999), timedelta(days=9999)), frozenset({"time"})),
    Drawn(Colour, st.sampled_from(Colour), frozenset({"enum"})),
    Drawn(Level, st.sampled_from(Level), frozenset({"enum"})),
    Drawn(Word, st.sampled_from(Word), frozenset({"enum"})),
    Drawn(Literal["a", 2] | None, st.sampled_from(["a", 2, None])),
    Drawn(Any, st.recursive(st.none() | st.booleans() | st.integers(0, 9) | texts, lambda v: st.lists(v, max_size=2))),
    Drawn(frozenset[int], st.frozensets(st.integers(0, 9), max_size=3), frozenset({"set"})),
    Drawn(tuple[str, int], st.tuples(texts, st.integers(0, 9)), frozenset({"tuple"})),
    Drawn(Point, st.builds(Point, st.integers(0, 9), st.floats(0, 1)), frozenset({"tuple"})),
]
KEYS = [one for one in SCALARS if one.type in (int, str, UUID, date, Colour, Level, bool)]
HASHABLE = [one for one in SCALARS if one.type not in (Any, datetime)]


def made(kind: type[BaseModel], values: dict[str, Any]) -> BaseModel:
    """Return a model with these fields, by name and whatever it loads by; the others have their defaults."""
    model = kind.model_construct()
    model.__dict__.update(values)
    model.model_fields_set.update(values)
    return model


def scalar(data: st.DataObject) -> Drawn:
    return data.draw(st.sampled_from(SCALARS))


def union(data: st.DataObject, depth: int) -> Drawn:
    members = [any_type(data, depth - 1) for _ in range(2)]
    kinds = frozenset({"union"}).union(*(one.kinds for one in members))
    joined = members[0].type | members[1].type | None if all(isinstance(one.type, type) for one in members) else None
    if joined is None:
        return Drawn(
            members[0].type | None if members[0].type is not Any else Any, st.none() | members[0].values, kinds
        )
    values = st.one_of(members[0].values, members[1].values, st.none())
    return Drawn(joined, values, kinds, frozenset({"a union takes the value of another member"}))


def container(data: st.DataObject, depth: int) -> Drawn:
    inner = any_type(data, depth - 1)
    item, key = data.draw(st.sampled_from(HASHABLE)), data.draw(st.sampled_from(KEYS))
    shapes = {
        "list": Drawn(list[inner.type], st.lists(inner.values, max_size=2)),
        "dict": Drawn(dict[key.type, inner.type], st.dictionaries(key.values, inner.values, max_size=2)),
        "tuple": Drawn(tuple[inner.type, int], st.tuples(inner.values, st.integers(0, 9))),
        "set": Drawn(frozenset[item.type], st.frozensets(item.values, max_size=3)),
    }
    shape = data.draw(st.sampled_from([*shapes, *["dict"] * 4, *["set"] * 4]))
    parts = {"set": [item], "dict": [inner, key]}.get(shape, [inner])
    return shapes[shape]._replace(
        kinds=frozenset({shape}).union(*(part.kinds for part in parts)),
        doubts=frozenset[str]().union(*(part.doubts for part in parts)),
    )


def generic(data: st.DataObject, depth: int) -> Drawn:
    inner = any_type(data, depth - 1)
    kind: Any = data.draw(st.sampled_from([Box, Pair]))
    typed_kind = kind[inner.type]
    first, more = list(kind.model_fields)
    rest = st.lists(inner.values, max_size=1) if kind is Box else st.dictionaries(texts, inner.values, max_size=1)
    values = st.fixed_dictionaries({first: inner.values}, optional={more: rest}).map(lambda got: made(typed_kind, got))
    return Drawn(typed_kind, values, inner.kinds | {"generic"}, inner.doubts)


def dataclass(data: st.DataObject, depth: int) -> Drawn:
    inner, other = any_type(data, depth - 1), scalar(data)
    name, is_checked = f"Data{next(NUMBERS)}", data.draw(st.booleans())
    fields: list[Any] = [("one", inner.type), ("two", list[other.type], dataclasses.field(default_factory=list))]
    kind = dataclasses.make_dataclass(name, fields, frozen=not is_checked)
    if is_checked:
        kind = pydantic.dataclasses.dataclass(kind, config=data.draw(st.sampled_from([{}, {"extra": "forbid"}])))
    values = st.builds(kind, inner.values, st.lists(other.values, max_size=2))
    kinds = {"pydantic dataclass" if is_checked else "dataclass"}
    return Drawn(kind, values, inner.kinds | other.kinds | kinds, inner.doubts)


def discriminated(data: st.DataObject, depth: int) -> Drawn:
    members = [model(data, depth - 1, {"kind": (Literal[tag], tag)}) for tag in ("cat", "dog")]
    kinds = members[0].kinds | members[1].kinds | {"discriminated union"}
    tagged = Annotated[members[0].type | members[1].type, Field(discriminator="kind")]
    return Drawn(tagged, members[0].values | members[1].values, kinds, members[0].doubts | members[1].doubts)


def root(data: st.DataObject, depth: int) -> Drawn:
    inner = any_type(data, depth - 1)
    kind = RootModel[inner.type]
    return Drawn(kind, inner.values.map(kind.model_construct), inner.kinds | {"root model"}, inner.doubts)


def secret(data: st.DataObject, depth: int) -> Drawn:
    del data, depth
    return Drawn(SecretStr, texts.map(SecretStr), frozenset(), frozenset({"a secret"}))


def no_json(data: st.DataObject, depth: int) -> Drawn:
    del data, depth
    return Drawn(Any, st.tuples(texts), frozenset(), frozenset({"a class of Any"}))


def any_type(data: st.DataObject, depth: int) -> Drawn:
    if depth <= 0:
        return scalar(data)
    return data.draw(st.sampled_from(MAKERS))(data, depth)


def field(data: st.DataObject, name: str, depth: int) -> tuple[Any, Any, st.SearchStrategy[Any], Drawn]:
    """Return the annotation, the definition, and the values of a drawn field."""
    rare = data.draw(st.sampled_from([any_type] * 80 + [secret, no_json]))
    drawn = rare(data, depth)
    options: dict[str, Any] = {}
    kinds, doubts = set(drawn.kinds), set(drawn.doubts)
    if data.draw(st.booleans()):
        default = data.draw(drawn.values)
        is_made = data.draw(st.booleans())
        options |= {"default_factory": lambda: default} if is_made else {"default": default}
        kinds.add("default factory" if is_made else "default")
    sort = data.draw(
        st.sampled_from(["", "", "alias", "validation", "serialization", "both", "choices", "path", "inside"])
    )
    options |= {
        "alias": {"alias": f"{name}Alias"},
        "validation": {"validation_alias": f"{name}In"},
        "serialization": {"serialization_alias": f"{name}Out"},
        "both": {"validation_alias": f"{name}In", "serialization_alias": f"{name}Out"},
        "choices": {"validation_alias": AliasChoices(AliasPath("deep", name), f"{name}In", "other")},
        "path": {"validation_alias": AliasPath("deep", name)},
        "inside": {"validation_alias": AliasPath("many", NAMES.index(name))},
    }.get(sort, {})
    if sort:
        kinds.add("alias")
    if sort == "inside":
        doubts.add("an alias leads to the place of another field")
    return (
        drawn.type,
        Field(**options),
        drawn.values,
        Drawn(drawn.type, drawn.values, frozenset(kinds), frozenset(doubts)),
    )


def with_computed(data: st.DataObject, config: dict[str, Any]) -> tuple[type[BaseModel], set[str]]:
    if not data.draw(st.booleans()):
        return create_model("Plain", __config__=ConfigDict(**config)), set()

    class Computing(BaseModel):
        model_config = ConfigDict(**config)

        @computed_field
        @property
        def shown(self) -> str:
            return type(self).__name__

    return Computing, {"computed field"}


def model(data: st.DataObject, depth: int, more: dict[str, Any] | None = None) -> Drawn:
    """Return a model of one to four drawn fields, with a drawn configuration."""
    extra = data.draw(st.sampled_from(["ignore", "forbid", "allow"]))
    config: dict[str, Any] = {"extra": extra}
    kinds = {extra, "nested model"}
    names = data.draw(st.sampled_from(["", "populate", "by name alone", "both, by alias"]))
    config |= {
        "populate": {"populate_by_name": True},
        "by name alone": {"validate_by_name": True, "validate_by_alias": False},
        "both, by alias": {"validate_by_name": True, "validate_by_alias": True, "serialize_by_alias": True},
    }.get(names, {})
    if data.draw(st.integers(0, 2)) == 0:
        config["strict"] = True
        kinds.add("strict")
    base, computed = with_computed(data, config)
    fields = {
        name: field(data, name, depth - 1)
        for name in data.draw(st.sets(st.sampled_from(NAMES), min_size=1 if depth < TOP else 3, max_size=3))
    }
    for _, _, _, drawn in fields.values():
        kinds |= drawn.kinds
    if names and "alias" in kinds:
        kinds.add("alias by name")
    kind: type[BaseModel] = create_model(
        f"Model{next(NUMBERS)}",
        __base__=base,
        **{name: (annotation, definition) for name, (annotation, definition, _, _) in fields.items()},
        **(more or {}),
    )
    values = st.fixed_dictionaries({name: parts[2] for name, parts in fields.items()})
    doubts = frozenset[str]().union(*(drawn.doubts for *_, drawn in fields.values()))
    return Drawn(kind, values.map(lambda got: made(kind, got)), frozenset(kinds | computed), doubts)


MAKERS: list[Callable[[st.DataObject, int], Drawn]] = [
    *[container] * 4,
    *[union] * 3,
    *[generic] * 4,
    *[dataclass] * 8,
    *[discriminated] * 5,
    *[root] * 4,
    model,
]


class Meta(BaseModel):
    model_config = ConfigDict(extra="forbid")
    status: str = "active"
    user_id: str | None = None


def session(data: st.DataObject) -> Drawn:
    """Return the model of a session, which may have typed metadata."""
    has_metadata = data.draw(st.booleans())
    more = {"metadata": (Meta, Meta(status=data.draw(texts)))} if has_metadata else {}
    drawn = model(data, TOP, more)
    return drawn._replace(kinds=drawn.kinds | {"metadata"} if has_metadata else drawn.kinds)


def is_documented(drawn: Drawn, error: StorageValidationError) -> bool:
    has_path = str(error.path).startswith("$.data")
    return has_path and any(re.search(REFUSALS[doubt], error.reason) for doubt in drawn.doubts)


def test_generated_models_come_back_as_they_were_saved_or_are_refused_for_a_documented_reason(
    record_property: Callable[[str, object], None],
) -> None:
    accepted, refused = Counter[str](), Counter[str]()

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def check(data: st.DataObject) -> None:
        drawn = session(data)
        given_model = data.draw(drawn.values)
        before = typed(given_model)
        try:
            dumped = dump_model("a", given_model)
        except StorageValidationError as error:
            if not is_documented(drawn, error):
                raise
            refused[str(error.reason)] += 1
            return
        text = json.dumps({**dumped, "metadata": {**dumped.get("metadata", {}), **STAMPS}}, sort_keys=True)
        loaded = load_model(drawn.type, json.loads(text), session_id="a", created_at=THEN, updated_at=THEN)
        assert typed(loaded) == before
        assert typed(given_model) == before
        accepted.update(drawn.kinds)
        accepted["all"] += 1

    check()

    counts = {kind: accepted[kind] for kind in ("all", *KINDS)}
    record_property("accepted", counts)
    print("accepted:", counts, "refused:", refused.total(), refused.most_common(8))  # noqa: T201 - what was covered, with -s
    assert min(counts.values()) >= WANTED, counts
    assert refused.total() < accepted["all"] / 3


def test_the_documented_reasons_are_all_met() -> None:
    """Each of them is one that a model can be refused for, so that none hides a fault."""
    with pytest.raises(StorageValidationError, match=REFUSALS["a secret"]):
        dump_model("a", Box[SecretStr](item=SecretStr("x")))
    with pytest.raises(StorageValidationError, match=REFUSALS["a class of Any"]):
        dump_model("a", Box[Any](item=(1,)))
    with pytest.raises(StorageValidationError, match=REFUSALS["a union takes the value of another member"]):
        dump_model("a", Box[date | str](item="2026-01-01"))
