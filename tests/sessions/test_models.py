"""Models come back as they were saved, or are refused: each kind of model by name."""

import dataclasses
import math
import re
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic.dataclasses
import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Json,
    PlainSerializer,
    PrivateAttr,
    RootModel,
    SecretBytes,
    SecretStr,
    SerializeAsAny,
    Tag,
    computed_field,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict

import fsstore
from fsstore.errors import StorageValidationError
from fsstore.memory import MemoryStorage
from fsstore.model.clock import HandClock
from fsstore.model.records import JsonObject
from fsstore.sessions.models import SessionData, SessionMetadata
from fsstore.sessions.models.dumping import dump_model
from fsstore.sessions.models.loading import load_model
from fsstore.sessions.mutations import editing_session
from fsstore.sessions.service import SessionService

THEN = "2026-01-01T00:00:00.000000+00:00"
STAMPS = {"session_id": "a", "created_at": THEN, "updated_at": THEN}
BERLIN, PLUS_TWO = ZoneInfo("Europe/Berlin"), timezone(timedelta(hours=2))
T = TypeVar("T")


def stored(model: BaseModel) -> JsonObject:
    """Return what is stored of a model, as JSON text has it."""
    dumped = dump_model("a", model)
    return {**dumped, "metadata": {**dumped.get("metadata", {}), **STAMPS}}


def back(model: BaseModel) -> Any:
    """Save a model and load it again."""
    return load_model(type(model), stored(model), session_id="a", created_at=THEN, updated_at=THEN)


def typed(value: Any) -> Any:
    """Return a value with the classes of all its parts, but for what fsstore stamps; by pydantic's own listing."""
    if isinstance(value, BaseModel):
        value = (
            type(value).__name__,
            {name: getattr(value, name) for name in type(value).model_fields},
            value.model_extra or {},
        )
    elif dataclasses.is_dataclass(value):
        value = (type(value).__name__, {field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, dict):
        items = [(typed(key), typed(item)) for key, item in value.items() if item != STAMPS or key != "metadata"]
        return (type(value).__name__, sorted(items, key=repr))
    if isinstance(value, set | frozenset):
        return (type(value).__name__, sorted(map(typed, value), key=repr))
    if isinstance(value, list | tuple | deque):
        return (type(value).__name__, [typed(item) for item in value])
    if isinstance(value, datetime | time):
        return value.isoformat()
    return (type(value).__name__, repr(value))


def refusal(model: BaseModel) -> StorageValidationError:
    with pytest.raises(StorageValidationError) as caught:
        dump_model("a", model)
    return caught.value


# -- the models of the contract -------------------------------------------------------------------------------------


def test_the_models_have_the_fields_and_defaults_of_the_contract() -> None:
    metadata = SessionMetadata(session_id="a", created_at=datetime(2026, 1, 1), updated_at=datetime(2026, 1, 1))  # noqa: DTZ001 - naive is what datetime.now() gives

    assert list(SessionMetadata.model_fields) == [
        *("session_id", "workflow_config_path", "status", "created_at", "updated_at", "user_id", "tags")
    ]
    assert (metadata.workflow_config_path, metadata.status, metadata.user_id, metadata.tags) == (
        None,
        "unknown",
        None,
        [],
    )
    assert list(SessionData.model_fields) == ["metadata", "thread_configs", "workflow_state", "settings"]
    data = SessionData(metadata=metadata)
    assert (data.thread_configs, data.workflow_state, data.settings) == ({}, {}, {})
    for model in (SessionMetadata, SessionData):
        required = {name for name, field in model.model_fields.items() if field.is_required()}
        assert required == ({"session_id", "created_at", "updated_at"} if model is SessionMetadata else {"metadata"})
    assert (fsstore.SessionMetadata, fsstore.SessionData) == (SessionMetadata, SessionData)


def test_the_models_of_the_contract_keep_what_they_do_not_know() -> None:
    data = {"metadata": {**STAMPS, "mine": {"n": [1]}}, "messages": [{"role": "user"}], "extra": None}

    model = SessionData.model_validate(data)

    assert (model.model_extra, model.metadata.model_extra) == (
        {"messages": [{"role": "user"}], "extra": None},
        {"mine": {"n": [1]}},
    )
    assert stored(model)["metadata"]["mine"] == {"n": [1]}
    assert back(model).model_extra == model.model_extra


def test_models_do_not_share_their_defaults() -> None:
    one, other = (SessionData.model_validate({"metadata": STAMPS}) for _ in range(2))
    one.settings["n"] = 1
    one.metadata.tags.append("x")

    assert (other.settings, other.metadata.tags) == ({}, [])


# -- what comes back ------------------------------------------------------------------------------------------------

NUMBERS = count(1)


def new_id() -> str:
    return f"id-{next(NUMBERS)}"


class Text(BaseModel):
    id: str = Field(default_factory=new_id)
    kind: Literal["text"] = "text"
    text: str
    calls: list[str] = []


class Image(BaseModel):
    kind: Literal["image"] = "image"
    url: str = "x"


class Chat(BaseModel):
    messages: list[Annotated[Text | Image, Field(discriminator="kind")]]


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Status(StrEnum):
    ACTIVE = "active"


class Point(NamedTuple):
    x: int
    y: float


class Place(TypedDict, total=False):
    city: str
    code: Annotated[int, Field(alias="zip")]


@dataclasses.dataclass
class Plain:
    n: int
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    colours: list[Colour] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    n: int
    tags: tuple[str, ...] = ()


@pydantic.dataclasses.dataclass
class Checked:
    n: Annotated[int, Field(alias="number")]
    colour: Colour = Colour.RED


@pydantic.dataclasses.dataclass(config=ConfigDict(populate_by_name=True, extra="forbid"))
class Strict:
    one: Annotated[int, Field(validation_alias="eins", serialization_alias="uno")] = 1

    @computed_field
    @property
    def two(self) -> int:
        return self.one + 1


class Numbers(RootModel[list[int]]):
    pass


class Tree(RootModel["dict[str, Tree | int]"]):
    pass


class Box(BaseModel, Generic[T]):
    item: T
    more: list[T] = []


class ByAlias(BaseModel):
    first: int = Field(alias="one")
    second: int = Field(default=2, validation_alias="two", serialization_alias="zwei")
    third: int = Field(default=3, validation_alias=AliasChoices(AliasPath("deep", 1, "third"), "three", "tres"))
    fourth: int = Field(default=4, validation_alias=AliasPath("deep", 0))
    fifth: int = Field(default=5, serialization_alias="five")


class ByName(BaseModel):
    model_config = ConfigDict(validate_by_name=True, validate_by_alias=False, serialize_by_alias=True)
    inner_name: int = Field(alias="innerName")
    inner: ByAlias


class ByBoth(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")
    inner_name: int = 1
    by_name: ByName
    mixed: list[ByAlias | None] = []


class ByGenerator(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")
    inner_name: int = 1
    by_both: dict[str, ByBoth]


def computing(extra: Literal["allow", "forbid", "ignore"]) -> type[BaseModel]:
    class Computing(BaseModel):
        model_config = ConfigDict(extra=extra)
        n: int

        @computed_field(alias="twofold")
        @property
        def double(self) -> int:
            return 2 * self.n

    return Computing


Forbid, Ignore, Allow = computing("forbid"), computing("ignore"), computing("allow")


class AllComputing(BaseModel):
    forbid: Forbid
    ignore: Ignore
    allow: Allow


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    n: int


class StrictModel(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    at: datetime
    day: date
    colour: Colour
    pair: tuple[int, str]
    tags: frozenset[str]
    raw: bytes
    key: UUID
    price: Decimal
    span: timedelta
    by_day: dict[date, int]
    plain: Plain


class Bytes(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    raw: bytes


class Constants(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="strings")
    n: float


class Spans(BaseModel):
    model_config = ConfigDict(ser_json_timedelta="float")
    span: timedelta


class WithOwnSerializers(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    pattern: re.Pattern[str]
    number: Annotated[complex, BeforeValidator(complex), PlainSerializer(str)]
    secret: SecretStr

    @field_serializer("secret")
    def reveal(self, secret: SecretStr) -> str:
        return secret.get_secret_value()


class Packed(BaseModel):
    x: int = 1
    y: int | None = None

    @model_serializer
    def pack(self) -> dict[str, Any]:
        return {"packed": [self.x, self.y]} if self.y is not None else {"packed": [self.x]}

    @model_validator(mode="before")
    @classmethod
    def unpack(cls, value: Any) -> Any:
        return dict(zip("xy", value["packed"], strict=False)) if "packed" in value else value


class Wrapped(BaseModel):
    name: int = Field(alias="n")
    note: str | None = None

    @model_serializer(mode="wrap")
    def without_none(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None}


class Anything(BaseModel):
    any: Any = None
    numbers: dict[int, Any] = {}
    colours: dict[Colour, int] = {}
    keys: dict[UUID, list[Level]] = {}
    counted: defaultdict[str, list[int]] = defaultdict(list)
    queue: deque[int] = deque()
    optional: int | str | float | bool | None = None
    ordered: OrderedDict[str, int] = OrderedDict()


class Temporal(BaseModel):
    at: datetime
    day: date = date(2026, 2, 3)
    clock: time = time(1, 2, 3, 4)
    span: timedelta = timedelta(days=-2, microseconds=3)


class Named(BaseModel):
    point: Point
    place: Place
    path: Path = Path("a/b")


class Scalars(BaseModel):
    a: Json[list[int]]
    b: Json[dict[str, Any]] = {}
    c: Json[Text] | None = None


class Parsed(BaseModel):
    names: Annotated[list[str], BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value)]
    small: Annotated[int, AfterValidator(abs)]


class Cat(BaseModel):
    lives: int = 9


class Dog(BaseModel):
    bark: str = "wuff"


class Tagged(BaseModel):
    pet: Annotated[
        Annotated[Cat, Tag("cat")] | Annotated[Dog, Tag("dog")],
        Discriminator(lambda value: "cat" if "lives" in (value if isinstance(value, dict) else vars(value)) else "dog"),
    ]


class Kept(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, ByAlias]
    n: int = Field(default=1, alias="number")


class Excluded(BaseModel):
    n: int = Field(default=1, exclude=True)
    parts: list[int] = Field(default_factory=list, exclude=True)


class Private(BaseModel):
    n: int = 1
    _cache: dict[str, int] = PrivateAttr(default_factory=dict)


COMING_BACK: dict[str, Callable[[], BaseModel]] = {
    "default factories and tags": lambda: Chat(messages=[Text(text="hi"), Image(), Text(text="there", id="x")]),
    "aliases of each sort": lambda: ByAlias(one=6, two=7, three=8, deep=[9]),
    "aliases that are defaults": lambda: ByAlias(one=6),
    "by name alone": lambda: ByName(inner_name=1, inner=ByAlias(one=2)),
    "by name and by alias": lambda: ByBoth(
        by_name=ByName(inner_name=5, inner=ByAlias(one=2, two=9)), mixed=[None, ByAlias(one=3)]
    ),
    "an alias generator": lambda: ByGenerator(
        innerName=4, byBoth={"x y": ByBoth(inner_name=7, by_name=ByName(inner_name=5, inner=ByAlias(one=2)))}
    ),
    "computed fields with extra=forbid": lambda: Forbid(n=1),
    "computed fields with extra=ignore": lambda: Ignore(n=1),
    "computed fields with extra=allow": lambda: Allow(n=1),
    "computed fields of each sort": lambda: AllComputing(
        forbid={"n": 1}, ignore={"n": 2}, allow={"n": 3, "other": [4]}
    ),
    "Json": lambda: Scalars(a="[1,2]", b='{"x":[null]}', c='{"text":"hi"}'),
    "naive times": lambda: Temporal(at=datetime(2026, 1, 2, 3, 4, 5, 6)),  # noqa: DTZ001 - that is the point
    "aware times": lambda: Temporal(at=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=PLUS_TWO), clock=time(1, tzinfo=UTC)),
    "the hour that the clock repeats": lambda: Temporal(at=datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN)),
    "strict": lambda: StrictModel(
        at=datetime(2026, 1, 2, tzinfo=UTC),
        day=date(2026, 1, 2),
        colour=Colour.RED,
        pair=(1, "x"),
        tags=frozenset({"x", "y"}),
        raw=b"abc",
        key=UUID(int=5),
        price=Decimal("1.10"),
        span=timedelta(seconds=1.5),
        by_day={date(2026, 1, 2): 1},
        plain=Plain(1),
    ),
    "bytes": lambda: Bytes(raw=b"\xff\x00"),
    "not a number, as text": lambda: Constants(n=math.nan),
    "infinity, as text": lambda: Constants(n=-math.inf),
    "spans as numbers": lambda: Spans(span=timedelta(seconds=1.5)),
    "serializers of fields": lambda: WithOwnSerializers(pattern=re.compile("a+"), number=1 + 2j, secret="s"),  # noqa: S106 - of a test
    "a serializer of the model": lambda: Packed(x=4, y=5),
    "a serializer that leaves out": lambda: Packed(x=4),
    "a serializer around another": lambda: Wrapped(n=4),
    "keys that are no strings": lambda: Anything(
        numbers={1: "x", -2: [1]}, colours={Colour.RED: 1}, keys={UUID(int=1): [Level.LOW]}
    ),
    "containers": lambda: Anything(
        counted={"x": [1]}, queue=[1, 2], ordered={"a": 1, "b": 2}, any={"x": [1, 2.5, None]}
    ),
    "a union of scalars": lambda: Anything(optional="1"),
    "true in a union": lambda: Anything(optional=True),
    "a float in a union": lambda: Anything(optional=1.0),
    "numbers of 64 bits": lambda: Anything(any=[2**64 - 1, -(2**63), 0.1, 1e300, -0.0]),
    "named tuples, typed dicts, paths": lambda: Named(point=Point(1, 2.5), place={"city": "x", "zip": 5}),
    "generics": lambda: Box[Box[int]](item=Box[int](item=1, more=[2]), more=[Box[int](item=3)]),
    "dataclasses": lambda: Box[Plain](item=Plain(1, colours=[Colour.RED])),
    "dataclasses with slots": lambda: Box[Slotted](item=Slotted(1, ("x",))),
    "pydantic dataclasses": lambda: Box[Checked](item=Checked(number=3)),
    "pydantic dataclasses that forbid": lambda: Box[Strict](item=Strict(one=3)),
    "a root model inside": lambda: Box[Numbers](item=Numbers([1, 2]), more=[Numbers([])]),
    "a root model that is an object": lambda: Tree({"x": Tree({"y": 1})}),
    "a root model of a union": lambda: RootModel[Text | Image](Image(url="y")),
    "frozen models in a set": lambda: Box[frozenset[Frozen]](item=frozenset({Frozen(n=1), Frozen(n=2)})),
    "validators that parse": lambda: Parsed(names="a,b", small=-3),
    "a discriminator that is a function": lambda: Tagged(pet=Dog(bark="no")),
    "unknown keys with a type": lambda: Kept(number=5, x=ByAlias(one=1, two=5)),
    "left out, at its default": Excluded,
    "aliases in a generic": lambda: Box[ByAlias | Plain](item=ByAlias(one=1, two=5), more=[Plain(1)]),
}


NEVER_EQUAL = {"computed fields with extra=allow", "not a number, as text", "the hour that the clock repeats"}
"""By Python: one has the stamped metadata as an unknown key, nan is not nan, and PEP 495 compares no repeated hour."""


@pytest.mark.parametrize("name", COMING_BACK)
def test_a_model_comes_back_as_it_was_saved(name: str) -> None:
    model = COMING_BACK[name]()
    before = typed(model)

    loaded = back(model)

    assert typed(loaded) == before
    assert typed(model) == before
    assert loaded == model or name in NEVER_EQUAL
    assert typed(back(loaded)) == before


def test_a_list_that_was_appended_to_is_saved_with_its_item_and_everything_else() -> None:
    message = Text(text="hi")
    message.calls.append("call")
    chat = Chat(messages=[message])

    assert stored(chat)["messages"] == [{"id": message.id, "kind": "text", "text": "hi", "calls": ["call"]}]
    assert back(chat) == chat


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Ignore(n=1), {"n": 1, "double": 2}),
        (Forbid(n=1), {"n": 1}),
        (Allow(n=1), {"n": 1}),
        (ByAlias(one=6), {"one": 6, "two": 2, "three": 3, "deep": [4], "fifth": 5}),
        (ByBoth(by_name=ByName(inner_name=1, inner=ByAlias(one=1))), None),
        (Excluded(), {}),
        (Private(), {"n": 1}),
        (Kept(number=1), {"number": 1}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_class_is_written_by_the_names_that_it_loads_by(model: BaseModel, expected: JsonObject | None) -> None:
    dumped = stored(model)
    del dumped["metadata"]

    if expected is None:
        inner = {"one": 1, "two": 2, "three": 3, "deep": [4], "fifth": 5}
        expected = {"inner_name": 1, "by_name": {"inner_name": 1, "inner": inner}, "mixed": []}
    assert dumped == expected


def test_computed_fields_stay_where_a_class_ignores_them_beside_one_that_forbids_them() -> None:
    dumped = stored(AllComputing(forbid={"n": 1}, ignore={"n": 2}, allow={"n": 3}))

    assert {key: dumped[key] for key in ("forbid", "ignore", "allow")} == {
        "forbid": {"n": 1},
        "ignore": {"n": 2, "double": 4},
        "allow": {"n": 3},
    }


def test_a_plain_default_of_another_class_comes_back_as_the_class_of_the_field() -> None:
    class Loose(BaseModel):
        text: str = Status.ACTIVE
        ratio: float = 1
        count: int = Level.LOW

    loaded = back(Loose())

    assert loaded == Loose()
    assert (type(loaded.text), type(loaded.ratio), type(loaded.count)) == (str, float, int)


def test_private_attributes_are_no_data() -> None:
    model = Private(n=2)
    model._cache["x"] = 1

    loaded = back(model)

    assert (loaded.n, loaded._cache) == (2, {})


# -- what is refused ------------------------------------------------------------------------------------------------


class Base(BaseModel):
    n: int = 1


class Derived(Base):
    m: int = 2


class Holder(BaseModel):
    base: Base = Base()
    bases: list[Base] = []
    shown: SerializeAsAny[Base] = Base()
    number: float = 0.0
    items: list[int] = []
    sequence: Sequence[int] = []
    any: Any = None


class Lazy(BaseModel):
    lazy: Iterable[int]


class Doubling(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def double(cls, n: int) -> int:
        return 2 * n


class Hidden(BaseModel):
    n: int = Field(default=1, exclude=True)
    inner: "Hidden | None" = None


class Raising(BaseModel):
    n: int = 1
    seen: int = 0

    @field_serializer("n")
    def fail(self, n: int) -> int:
        raise RuntimeError(n)


class RaisingLater(BaseModel):
    n: int = 1

    @model_validator(mode="after")
    def fail(self) -> "RaisingLater":
        if self.n != 1:
            raise KeyError("n")
        return self


class Odd(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    thing: Annotated[object, PlainSerializer(lambda _: "thing")]


class Secrets(BaseModel):
    name: str = "x"
    keys: dict[str, SecretStr | SecretBytes] = {}


class Unfinished(BaseModel):
    n: "NoSuchClass"  # noqa: F821 - that is the point


class Joined(BaseModel):
    one: Level | float


class Ambiguous(BaseModel):
    when: list[date | str]


@pydantic.dataclasses.dataclass(config=ConfigDict(extra="allow"))
class Open:
    n: int = 1


def changed(model: BaseModel, **fields: Any) -> BaseModel:
    """Return a model whose fields were set after it was validated, which pydantic does not look at."""
    for name, value in fields.items():
        model.__dict__[name] = value
    return model


def circle() -> BaseModel:
    hidden = Hidden()
    hidden.inner = hidden
    return hidden


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


REFUSED: dict[str, tuple[Callable[[], BaseModel], str, str]] = {
    "a secret": (lambda: Box[SecretStr](item="hush"), "$.data.item", "SecretStr"),
    "a secret below": (lambda: Secrets(keys={"a b": SecretBytes(b"hush")}), "$.data.keys['a b']", "SecretBytes"),
    "a subclass": (lambda: Holder(base=Derived()), "$.data.base", "Derived comes back as its base Base"),
    "a subclass in a list": (lambda: Holder(bases=[Base(), Derived()]), "$.data.bases[1]", "Derived"),
    "a subclass that is dumped as any": (lambda: Holder(shown=Derived()), "$.data.shown", "Derived"),
    "an object in Any": (lambda: Holder(any={"x": [1, object()]}), "$.data.any.x[1]", "object"),
    "a tuple in Any": (lambda: Holder(any={"x": (1, 2)}), "$.data.any.x", "tuple comes back as list"),
    "a set in Any": (lambda: Holder(any={1}), "$.data.any", "set comes back as list"),
    "a time in Any": (lambda: Holder(any=[date(2026, 1, 1)]), "$.data.any[0]", "date comes back as str"),
    "a model in Any": (lambda: Holder(any=Base()), "$.data.any", "Base comes back as dict"),
    "a number as key in Any": (lambda: Holder(any={1: 2}), "$.data.any['1']", "does not come back"),
    "a tuple in a sequence": (lambda: Holder(sequence=(1,)), "$.data.sequence", "tuple comes back as list"),
    "a generator": (lambda: Lazy(lazy=(n for n in (1,))), "$.data.lazy", ""),
    "not a number": (lambda: Holder(number=math.nan), "$.data.number", "nan"),
    "infinity in Any": (lambda: Holder(any=[math.inf]), "$.data.any[0]", "float comes back as NoneType"),
    "bytes that are no text": (lambda: Box[bytes](item=b"\xff"), "$.data.item", "bytes"),
    "a lone surrogate": (lambda: Holder(any=["\ud800"]), "$.data.any[0]", "lone surrogate"),
    "a lone surrogate as key": (lambda: Holder(any={"\ud800": 1}), "$.data.any", "surrogates not allowed"),
    "what is left out": (lambda: Hidden(n=2), "$.data.n", "comes back changed"),
    "what is left out below": (lambda: Hidden(inner=Hidden(n=2)), "$.data.inner.n", "comes back changed"),
    "a validator that is not idempotent": (lambda: Doubling(n=2), "$.data.n", "comes back changed"),
    "a validator that refuses later": (lambda: changed(RaisingLater(), n=2), "$.data", "raised KeyError"),
    "a serializer that raises": (Raising, "$.data.n", "RuntimeError"),
    "an unknown field of a wrong class": (lambda: changed(Holder(), items="text"), "$.data.items", "not load again"),
    "a field of another class": (lambda: changed(Holder(), items=(1, 2)), "$.data.items", "tuple comes back as list"),
    "true for a number": (lambda: changed(Base(), n=True), "$.data.n", "bool"),
    "what cannot be compared": (lambda: Odd(thing=object()), "$.data.thing", ""),
    "a union that takes another": (lambda: Ambiguous(when=["2026-01-01"]), "$.data.when[0]", "str comes back as date"),
    "an enum that another member takes": (lambda: Joined(one=Level.LOW), "$.data.one", "Level comes back as float"),
    "the length of a queue": (lambda: Box[deque[int]](item=deque([1], maxlen=3)), "$.data.item", "maxlen"),
    "a class that is not complete": (lambda: Unfinished.model_construct(n=1), "$.data.n", "not fully defined"),
    "an order": (lambda: Anything(ordered={"b": 1, "a": 2}), "$.data.ordered", "order"),
    "unknown keys of a dataclass": (lambda: Box[Open](item=Open(n=1, m=2)), "$.data.item.m", "does not come back"),
    "a circle": (circle, "$.data", "ircular"),
    "too deep": (lambda: Holder(any=deep(201)), "$.data.any", "nested deeper"),
    "no object": (lambda: Numbers([1]), "$.data", "a session must be an object"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_would_not_come_back_is_refused_with_the_path(name: str) -> None:
    make, path, reason = REFUSED[name]

    error = refusal(make())

    assert str(error.path).startswith(path) if name in ("a circle", "too deep") else error.path == path, str(error)
    assert reason in str(error.reason)
    assert error.id == "a"
    assert error.advice
    assert "hush" not in str(error)


# -- metadata -------------------------------------------------------------------------------------------------------


class Meta(BaseModel):
    model_config = ConfigDict(extra="forbid")
    title: str = "none"


class Typed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    metadata: Meta = Meta()
    n: int = 1


class HalfStamped(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: str = Field(default="", alias="session_id")
    updated_at: datetime | None = None


class Aliased(BaseModel):
    model_config = ConfigDict(extra="forbid")
    about: HalfStamped = Field(default_factory=HalfStamped, alias="metadata")


class ElsewhereAlias(BaseModel):
    model_config = ConfigDict(extra="forbid")
    metadata: Meta = Field(default_factory=Meta, alias="meta")


class WithoutMetadata(BaseModel):
    model_config = ConfigDict(extra="forbid")
    n: int = 1


class OpenWithoutMetadata(BaseModel):
    model_config = ConfigDict(extra="allow")
    n: int = 1


class Optional(BaseModel):
    metadata: SessionMetadata | None = None
    n: int = 1


class RequiredOrNone(BaseModel):
    metadata: Meta | None


class Flat(BaseModel):
    id: str = Field(default="", validation_alias=AliasPath("metadata", "session_id"))
    title: str = Field(default="x", validation_alias=AliasPath("metadata", "title"))


class Dicts(BaseModel):
    metadata: dict[str, Any] = {}


class OtherMeta(BaseModel):
    session_id: UUID = UUID(int=1)
    created_at: float = 1.5


class OtherIds(BaseModel):
    metadata: OtherMeta = OtherMeta()


class UnionMeta(BaseModel):
    metadata: HalfStamped | Meta


@pytest.mark.parametrize(
    "model",
    [
        Typed(metadata=Meta(title="x")),
        Typed(),
        ElsewhereAlias(meta=Meta(title="x")),
        WithoutMetadata(n=2),
        Optional(n=2),
        RequiredOrNone(metadata=Meta()),
        RootModel[Typed](Typed(n=2)),
        UnionMeta(metadata=Meta(title="y")),
    ],
    ids=lambda model: type(model).__name__,
)
def test_metadata_that_has_no_stamped_fields_comes_back(model: BaseModel) -> None:
    assert back(model) == model


def test_stamped_fields_come_back_stamped() -> None:
    aliased = back(Aliased())
    assert (aliased.about.id, aliased.about.updated_at) == ("a", datetime(2026, 1, 1, tzinfo=UTC))
    flat = back(Flat(metadata={"title": "y", "session_id": "b"}))
    assert (flat.id, flat.title) == ("a", "y")
    assert back(Dicts(metadata={"x": 1})).metadata == {"x": 1, **STAMPS}
    assert back(OpenWithoutMetadata(n=2)).model_extra == {"metadata": STAMPS}
    some = Optional(
        metadata=SessionMetadata(session_id="b", created_at=datetime.now(UTC), updated_at=datetime.now(UTC))
    )
    assert back(some).metadata.model_dump(mode="json") == {
        **SessionMetadata.model_validate(STAMPS).model_dump(mode="json")
    }


@dataclasses.dataclass
class DataMeta:
    session_id: str = ""
    title: str = "x"


class TypedDictMeta(TypedDict):
    created_at: datetime
    title: str


class Ended(BaseModel):
    metadata: SessionMetadata
    ended_at: datetime

    @model_validator(mode="after")
    def check(self) -> "Ended":
        if not self.metadata.created_at <= self.metadata.updated_at <= self.ended_at:
            raise ValueError(self.ended_at)
        return self


def test_stamped_parts_of_dataclasses_and_typed_dicts_come_back_stamped() -> None:
    class OfData(BaseModel):
        metadata: DataMeta

    class OfDict(BaseModel):
        metadata: TypedDictMeta

    assert back(OfData(metadata=DataMeta("b", "y"))).metadata == DataMeta("a", "y")
    typed_dict: TypedDictMeta = {"created_at": datetime(2020, 1, 1, tzinfo=UTC), "title": "y"}
    assert back(OfDict(metadata=typed_dict)).metadata == {"created_at": datetime(2026, 1, 1, tzinfo=UTC), "title": "y"}


def test_a_validator_that_compares_times_sees_those_of_the_model() -> None:
    old = datetime(2001, 1, 1, tzinfo=UTC)
    model = Ended(metadata=SessionMetadata(session_id="a", created_at=old, updated_at=old), ended_at=old)

    assert dump_model("a", model)["ended_at"] == "2001-01-01T00:00:00Z"


def test_no_metadata_comes_back_as_none_where_that_is_the_default_and_is_refused_elsewhere() -> None:
    assert "metadata" not in dump_model("a", Optional())
    assert back(Optional()).metadata is None

    error = refusal(RequiredOrNone(metadata=None))

    assert (error.path, "default" in error.advice) == ("$.data.metadata", True)


def test_stamps_that_the_metadata_can_not_hold_are_refused_with_their_path() -> None:
    error = refusal(OtherIds())

    assert error.path == "$.data.metadata.session_id"
    assert "not load again" in str(error.reason)


def test_metadata_that_is_no_object_is_left_to_whoever_stamps_it() -> None:
    class Text(BaseModel):
        metadata: str = "x"

    assert dump_model("a", Text()) == {"metadata": "x"}


@pytest.mark.parametrize("data", [{}, {"metadata": None}, {"metadata": {"created_at": None}}, {"metadata": {}}])
def test_what_a_hand_has_left_out_of_the_metadata_is_filled_from_the_record(data: JsonObject) -> None:
    loaded = load_model(SessionData, data, session_id="a", created_at=THEN, updated_at=THEN)

    assert loaded.metadata == SessionMetadata.model_validate(STAMPS)


def test_stored_stamps_come_before_the_record() -> None:
    data = {"metadata": {"created_at": "2020-01-01T00:00:00Z"}}

    loaded = load_model(SessionData, data, session_id="a", created_at=THEN, updated_at=THEN)

    assert loaded.metadata.created_at == datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "data", "path"),
    [
        (Typed, {"metadata": {**STAMPS, "title": 5}}, "$.metadata.title"),
        (Typed, {"metadata": {**STAMPS, "other": 5}}, "$.metadata.other"),
        (Typed, {"metadata": STAMPS, "n": "x"}, "$.n"),
        (Typed, {"metadata": []}, "$.metadata"),
        (WithoutMetadata, {"metadata": {**STAMPS, "title": "x"}}, "$.metadata"),
        (Chat, {"messages": [{"kind": "text"}]}, "$.messages[0].text"),
        (Chat, {"messages": [{"kind": "image", "url": 5}]}, "$.messages[0].url"),
        (Box[int | str], {"item": []}, "$.item"),
        (RaisingLater, {"n": 2}, "$"),
    ],
)
def test_nothing_but_stamps_is_left_out_and_what_does_not_fit_has_a_path(
    kind: type[BaseModel], data: JsonObject, path: str
) -> None:
    with pytest.raises(StorageValidationError) as caught:
        load_model(kind, data, session_id="a", created_at=THEN, updated_at=THEN)

    # as every path below the classes of sessions, it starts at the record
    assert (caught.value.path, caught.value.id) == (path.replace("$", "$.data"), "a")


# -- the ways in ----------------------------------------------------------------------------------------------------


@pytest.fixture
def sessions() -> SessionService:
    return SessionService(MemoryStorage(clock=HandClock()))


async def test_every_way_in_saves_models_alike(sessions: SessionService) -> None:
    chat = Chat(messages=[Text(text="hi"), Image()])
    await sessions.save_session("saved", chat)
    await sessions.batch_save_sessions({"batch": chat, "times": chat})
    await sessions.batch_save_sessions({"times": chat}, keep_times=True)
    async with sessions.transaction() as transaction:
        await transaction.save_session("transaction", chat)

    for session_id in ("saved", "batch", "times", "transaction"):
        assert await sessions.get_model(session_id, Chat) == chat, session_id


async def test_every_way_in_refuses_what_would_not_come_back_and_saves_nothing(sessions: SessionService) -> None:
    secret = Secrets(keys={"x": SecretStr("hush")})

    async def in_a_transaction() -> None:
        async with sessions.transaction() as transaction:
            await transaction.save_session("a", secret)

    for way in (
        lambda: sessions.save_session("a", secret),
        lambda: sessions.batch_save_sessions({"b": {}, "a": secret}),
        in_a_transaction,
    ):
        with pytest.raises(StorageValidationError) as caught:
            await way()
        assert (caught.value.path, caught.value.id) == ("$.keys.x", "a")

    assert await sessions.count_sessions() == 0


async def test_an_edit_that_makes_a_model_saves_it_alike(sessions: SessionService) -> None:
    await sessions.save_session("a", {})
    seen = await sessions.get_record("a")
    assert seen is not None
    chat = Chat(messages=[Text(text="hi"), Image()])

    mutation, saved = editing_session("a", chat, THEN, seen=seen)
    await sessions.storage.commit([mutation])

    assert await sessions.get_model("a", Chat) == chat
    assert saved["messages"][1] == {"kind": "image", "url": "x"}
    with pytest.raises(StorageValidationError, match=r"\$\.data\.item"):
        editing_session("a", Box[SecretStr](item="hush"), THEN, seen=seen)


async def test_a_filter_by_a_default_finds_the_model(sessions: SessionService) -> None:
    now = datetime.now(UTC)
    await sessions.save_session(
        "a", SessionData(metadata=SessionMetadata(session_id="a", created_at=now, updated_at=now))
    )

    assert await sessions.count_sessions({"status": "unknown", "user_id": None}) == 1


async def test_a_model_is_no_patch(sessions: SessionService) -> None:
    await sessions.save_session("a", {"n": 5, "m": 6})

    with pytest.raises(StorageValidationError, match="exclude_unset"):
        await sessions.update_session("a", Base(n=1))

    assert (await sessions.get_session("a") or {})["n"] == 5


async def test_there_is_no_model_of_what_is_not_there(sessions: SessionService) -> None:
    await sessions.storage.save({"id": "note", "type": "note", "data": {}})

    assert await sessions.get_model("a") is None
    assert await sessions.get_model("note") is None


async def test_the_code_of_the_guide_runs(sessions: SessionService) -> None:
    guide = (Path(fsstore.__file__).parent / "guides" / "models.md").read_text("utf-8")
    code = "".join(re.findall(r"```python\n(.*?)```", guide, re.DOTALL))
    names: dict[str, Any] = {}
    exec(compile(code, "models.md", "exec"), names)  # noqa: S102 - the guide's own code

    await names["tour"](sessions)

    assert await sessions.count_sessions({"status": "active"}) == 1
    stored_text = (await sessions.get_session("s-1") or {})["messages"][0]
    assert stored_text.keys() == {"id", "kind", "text", "calls"}
    await names["typed"](sessions)
    assert [len((await sessions.get_session(name) or {})["messages"]) for name in ("s-1", "s-2")] == [2, 2]


@pytest.mark.parametrize(
    "kind",
    [None, dict, list[int], Text | None, Text(text="hi"), pydantic.TypeAdapter(int), "Text"],
    ids=lambda kind: str(kind)[:20],
)
async def test_what_is_no_class_of_models_is_refused_as_such(kind: Any) -> None:
    sessions = fsstore.SessionService(MemoryStorage())
    await sessions.save_session("a", {})

    with pytest.raises(StorageValidationError, match="must be a class of pydantic models") as caught:
        await sessions.get_model("a", kind)

    assert caught.value.path == "model"
