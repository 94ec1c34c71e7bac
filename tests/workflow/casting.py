"""Who talks to which agent, when, in which language, and how it is going to end: all drawn from a seed."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Literal, TypeVar

from tests.workflow import names
from tests.workflow.model import PRICES
from tests.workflow.scenarios import FAMILIES, Family

Ending = Literal["completed", "archived", "open", "cancelled", "failed"]
Key = TypeVar("Key")
Origin = Literal["no", "same thread", "fork"]
Failure = Literal["model", "remote", "stuck", "budget"]

FIRST_DAY = datetime(2025, 6, 1, tzinfo=UTC)
LAST_DAY = datetime(2026, 10, 31, tzinfo=UTC)
_OLD_LAYOUT_ENDED = datetime(2025, 12, 1, tzinfo=UTC)
# time for a long conversation, and for one that is archived to be archived
_WINDING_UP, _ARCHIVING = timedelta(days=2), timedelta(days=45)

# user -> home language
_USERS = {
    "user-amber": "en", "user-basalt": "en", "user-cedar": "en", "user-dune": "en", "user-ember": "ja",
    "user-fjord": "en", "user-ginkgo": "zh", "user-hazel": "en", "user-indigo": "ja", "user-juniper": "zh",
    "user-松石": "zh", "user-kelp": "en",
}  # fmt: skip
_LENGTHS = {"short": 26, "normal": 53, "long": 16, "huge": 5}
_ENDINGS: dict[Ending, int] = {"completed": 50, "archived": 12, "open": 14, "cancelled": 11, "failed": 13}
_FROM_EARLIER: dict[Origin, int] = {"no": 60, "same thread": 25, "fork": 15}
_PLATFORMS = ["ios", "android", "web", "desktop", "edge"]
_REGIONS = {"en": ["en-US", "en-GB", "en-AU"], "zh": ["zh-CN", "zh-TW", "zh-SG"], "ja": ["ja-JP"]}
_EXTRA_TAGS = ["urgent", "follow-up", "demo", "shared", "vip"]


@dataclass(frozen=True)
class Casting:
    """Everything about a conversation that is settled before it begins."""

    seed: str
    session_id: str
    thread_id: str
    user_id: str
    locale: str
    family: Family
    length: str
    ending: Ending
    failure: Failure
    ends_in_turn: int
    """The turn in which a conversation that does not complete comes to its end, from 1."""
    created_at: datetime
    model: str
    tags: tuple[str, ...]
    client: dict[str, Any] | None
    from_earlier: Origin
    """Whether it goes on from an earlier conversation of the same user, if there is one."""


def cast(seed: str, count: int, *, old_layout: bool = False) -> list[Casting]:
    """Cast that many conversations, oldest first; with `old_layout`, early ones with old ids."""
    chance = Random(f"{seed} dates")
    last = _OLD_LAYOUT_ENDED if old_layout else LAST_DAY - _WINDING_UP
    span = last - FIRST_DAY
    begins = sorted(FIRST_DAY + span * chance.random() for _ in range(count))
    awkward = {} if old_layout else names.awkward_places(count, chance)
    castings = [_one(f"{seed} {at}", begin, awkward.get(at)) for at, begin in enumerate(begins)]
    return [_with_old_id(casting) for casting in castings] if old_layout else castings


def _one(seed: str, created_at: datetime, awkward_id: str | None) -> Casting:
    chance = Random(seed)
    family = chance.choices(FAMILIES, [one.weight for one in FAMILIES])[0]
    user = chance.choices(list(_USERS), range(len(_USERS) + 4, 4, -1))[0]
    locale = _USERS[user] if chance.random() < 0.85 else chance.choice(["en", "zh", "ja"])
    ending = _weighted(chance, _ENDINGS)
    if ending == "archived" and created_at > LAST_DAY - _ARCHIVING:
        ending = "completed"
    plain_id = names.session_id(chance)
    return Casting(
        seed=seed,
        session_id=awkward_id or plain_id,
        thread_id=f"thread-{chance.getrandbits(40):010x}",
        user_id=user,
        locale=locale,
        family=family,
        length=_length(chance, family),
        ending=ending,
        failure=_failure(chance, family),
        ends_in_turn=chance.choices([1, 2, 3], [5, 3, 2])[0],
        created_at=created_at,
        model=chance.choices(list(PRICES), [4, 4, 2])[0],
        tags=_tags(chance, family),
        client=_client(chance, locale),
        from_earlier=_weighted(chance, _FROM_EARLIER),
    )


def _with_old_id(casting: Casting) -> Casting:
    old_id = names.old_session_id(Random(f"{casting.seed} id"), casting.created_at.date().isoformat())
    return Casting(**{**vars(casting), "session_id": old_id, "from_earlier": "no"})


def _length(chance: Random, family: Family) -> str:
    length = _weighted(chance, _LENGTHS)
    return "long" if length == "huge" and not family.grows else length


def _failure(chance: Random, family: Family) -> Failure:
    if family.remote and chance.random() < 0.6:
        return "remote"
    kinds: list[Failure] = ["model", "stuck", "budget"]
    return chance.choice(kinds)


def _tags(chance: Random, family: Family) -> tuple[str, ...]:
    extra = chance.sample(_EXTRA_TAGS, k=chance.choice([0, 0, 1, 1, 2]))
    return tuple(dict.fromkeys([*family.tags, *extra]))


def _client(chance: Random, locale: str) -> dict[str, Any] | None:
    if chance.random() < 0.3:
        return None
    version = f"{chance.randint(1, 4)}.{chance.randint(0, 18)}.{chance.randint(0, 9)}"
    return {
        "platform": chance.choice(_PLATFORMS),
        "version": version,
        "locale": chance.choice(_REGIONS[locale]),
    }


def _weighted(chance: Random, weights: dict[Key, int]) -> Key:
    return chance.choices(list(weights), list(weights.values()))[0]
