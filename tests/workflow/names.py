"""Session ids: plain ones, old ones, and thirty that a file system would rather not see."""

from random import Random

_LONG = "a-session-whose-id-was-built-from-every-step-of-its-path_"

AWKWARD = (
    "SESS-0F3A9C77",
    "Q3 planning notes",
    "会话-预算-2026",
    "team/alpha/042",
    "🚀-launch-check",
    "CON",
    "user:42:chat",
    (_LONG * 4)[:200],
    # these two differ only by case
    "Review-Board-7A",
    "review-board-7a",
    # these two look alike: é in one code point, and as e with a combining accent
    "caf\u00e9-notes",
    "cafe\u0301-notes",
    ".hidden-draft",
    "trailing.dot.",
    " leading space",
    "../escape/attempt",
    "desk\\north\\7",
    "100%-done",
    "セッション・夏休み",
    "aux.json",
    'what?*<now>|"quoted"',
    "~tilde~home",
    "LPT1.log",
    "a+b=c&d#e",
    "한국어-세션",
    "Straße 12",
    "-rf",
    "\u0130stanbul-\u0131l\u0131k",
    "会议/纪要/🗓️",
    "two  spaces inside",
)


def session_id(chance: Random) -> str:
    """Draw an id that is its own file name on every system."""
    return f"sess-{chance.getrandbits(64):016x}"


def old_session_id(chance: Random, day: str) -> str:
    """Draw an id as the old layout had them: half carry the day."""
    return f"{day.replace('-', '')}_{chance.getrandbits(32):08x}" if chance.random() < 0.5 else session_id(chance)


def awkward_places(sessions: int, chance: Random) -> dict[int, str]:
    """Spread the awkward ids over that many sessions, as many as fit; returns position to id."""
    ids = AWKWARD[:sessions]
    return dict(zip(sorted(chance.sample(range(sessions), k=len(ids))), ids, strict=True))
