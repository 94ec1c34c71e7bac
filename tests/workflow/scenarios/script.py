"""How a conversation is written down: a generator that yields what the user says and what the model replies.

A talk yields a `UserLine` or a `Reply`; after a reply that calls tools it is sent their results, so what is said
next depends on what really happened. `Screenplay` hands the lines out to the driver (the user's) and to the
scripted model (the replies).
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, TypeVar

Choice = TypeVar("Choice")
Wordings = Mapping[str, Sequence[str]]

_USER_EMOJI = ["🙏", "😅", "👍", "🤔", "🎉", "😬", "☕", "🚲"]
_REPLY_EMOJI = ["✅", "📌", "🧮", "🌊", "📦", "✨", "🗓️", "🔍"]
_MUSINGS: Wordings = {
    "en": ["Let me check.", "One moment.", "Checking with the tool first.", "Give me a second."],
    "zh": ["我先查一下。", "稍等。", "我来核对一下。"],
    "ja": ["確認します。", "少々お待ちください。", "お調べします。"],
}
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_WEEKDAYS_IN = {
    "zh": ("周一", "周二", "周三", "周四", "周五", "周六", "周日"),
    "ja": ("月曜日", "火曜日", "水曜日", "木曜日", "金曜日", "土曜日", "日曜日"),
}


@dataclass(frozen=True)
class UserLine:
    """What the user says."""

    text: str


@dataclass(frozen=True)
class Call:
    """One call of a tool; `args` are JSON values."""

    name: str
    args: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What the model says; with calls the turn goes on, without it ends."""

    text: str
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True)
class Result:
    """What became of one call: the tool's value, or the error's text."""

    ok: bool
    value: Any
    text: str


Talk = Generator[UserLine | Reply, list[Result], None]


def call(name: str, **args: Any) -> Call:
    """Write a call of a tool."""
    return Call(name, args)


class Draw:
    """Chance, locale and date of one conversation: what makes one telling of a scenario differ from another."""

    def __init__(self, chance: Random, locale: str, now: datetime, length: str) -> None:
        """Draw from `chance`; `length` is short, normal, long or huge."""
        self.chance = chance
        self.locale = locale
        self.now = now
        self.length = length

    def pick(self, options: Sequence[Choice]) -> Choice:
        """Return one of the options."""
        return self.chance.choice(options)

    def number(self, low: int, high: int) -> int:
        """Return a whole number, both ends included."""
        return self.chance.randint(low, high)

    def often(self, share: float) -> bool:
        """Tell true in that share of the cases."""
        return self.chance.random() < share

    def rounds(self, short: int, normal: int, long: int, huge: int) -> int:
        """Return how often to repeat something, about the given number for the conversation's length."""
        middle = {"short": short, "normal": normal, "long": long, "huge": huge}[self.length]
        return max(1, self.number(middle - middle // 4, middle + middle // 4)) if middle else 0

    def day(self, offset: int = 0) -> str:
        """Return the day that many days from now, YYYY-MM-DD."""
        return (self.now + timedelta(days=offset)).date().isoformat()

    def weekday(self, english: str) -> str:
        """Name a weekday in the conversation's language."""
        return _WEEKDAYS_IN.get(self.locale, _WEEKDAYS)[_WEEKDAYS.index(english)]

    def words(self, wordings: Wordings, **values: object) -> str:
        """Pick a wording in the conversation's language, or in English, and fill it in."""
        return self.pick(wordings.get(self.locale) or wordings["en"]).format(**values)

    def user(self, wordings: Wordings, **values: object) -> UserLine:
        """Let the user say it, now and then with an emoji."""
        return UserLine(self.words(wordings, **values) + (f" {self.pick(_USER_EMOJI)}" if self.often(0.1) else ""))

    def answer(self, wordings: Wordings, **values: object) -> Reply:
        """Let the model end its turn with it."""
        return Reply(self.words(wordings, **values) + (f" {self.pick(_REPLY_EMOJI)}" if self.often(0.12) else ""))

    def use(self, *calls: Call) -> Reply:
        """Let the model call tools, now and then with a word to the user."""
        return Reply(self.words(_MUSINGS) if self.often(0.3) else "", calls)


class Screenplay:
    """Hands out the lines of a talk, one at a time and each once."""

    def __init__(self, talk: Talk) -> None:
        """Nothing is run until the first line is asked for."""
        self._talk = talk
        self._last: Reply | None = None
        self.insists = False
        """Whether the model repeats a call that failed, for ever."""

    def cue(self) -> str | None:
        """Return the user's next line, None when the talk is over."""
        line = next(self._talk, None)
        if isinstance(line, Reply):
            message = f"a reply where the user should speak: {line.text!r}"
            raise TypeError(message)
        return None if line is None else line.text

    def reply(self, results: list[Result]) -> Reply:
        """Return the model's next reply, given the results of the calls in its last one."""
        if self.insists and self._last is not None and any(not result.ok for result in results):
            return self._last
        # a generator that has just spoken for the user takes nothing
        line = self._talk.send(results) if results else next(self._talk)
        if isinstance(line, UserLine):
            message = f"a user's line where the model should reply: {line.text!r}"
            raise TypeError(message)
        self._last = line
        return line
