"""Rules about what must not be seen outside, as people write them. Pure: no I/O.

A rule is a place, a pattern, or whatever looks like a secret (`fsstore.redaction.shapes`):

- A place is a path much as in the filters of sessions: `settings.api_key` starts at the session, and `*` is any key or
  element. A list is passed through, so `messages.text` is that of every message, `messages.0.text` of the first. A bare
  key, `status`, is metadata, and here also what stands at the top of the session: to hide too little is worse than to
  hide too much. With `$` before it a path starts at the document, as the paths in errors and reports do:
  `$.data.settings['odd.key']`. What stands at a place is meant whole, whatever it is.
- A pattern is a regular expression; what it finds in a string is meant, or only its group named `secret`, if it has
  one. Keys and numbers are left to the other rules.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from fsstore.errors import StorageValidationError
from fsstore.model.records import JsonObject
from fsstore.query.columns import ENVELOPE

Steps: TypeAlias = tuple[str | int, ...]
Path: TypeAlias = tuple[str | int | None, ...]
Span: TypeAlias = tuple[int, int]

_METADATA = ("data", "metadata")
STAYING = frozenset(
    {
        *((key,) for key in ENVELOPE),
        ("data",),
        _METADATA,
        *((*_METADATA, key) for key in ("session_id", "created_at", "updated_at")),
    }
)
"""The places of what the store lives by, which nothing may hide."""

_STEP = re.compile(
    r"\.(?P<name>[^.\[\]]+)|\[(?:(?P<index>[0-9]{1,18}|\*)|(?P<quoted>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"))\]"
)
_INDEX = re.compile(r"(?:0|[1-9][0-9]{0,17})\Z")


@dataclass(frozen=True, slots=True)
class Place:
    """A rule that names places, by one path or several. A step of None is any key or element."""

    text: str
    paths: tuple[Path, ...]

    @property
    def name(self) -> str:
        """How a report calls it."""
        return self.text

    def found_in(self, record: JsonObject) -> Iterator[tuple[Steps, Any]]:
        """Give the places that are there, with their values."""
        for path in self.paths:
            yield from _reached(record, path, ())


@dataclass(frozen=True, slots=True)
class Pattern:
    """A rule that looks into strings."""

    text: str
    regex: re.Pattern[str]

    @property
    def name(self) -> str:
        """How a report calls it."""
        return f"/{self.text}/"

    def spans(self, text: str) -> Iterator[Span]:
        """Give where something was found."""
        part = "secret" if "secret" in self.regex.groupindex else 0
        spans = (found.span(part) for found in self.regex.finditer(text))
        return ((start, stop) for start, stop in spans if start < stop)


@dataclass(frozen=True, slots=True)
class Redaction:
    """Rules together. `ignored` are places at and below which none of them counts."""

    places: tuple[Place, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    secrets: bool = False
    ignored: tuple[Place, ...] = ()

    @classmethod
    def of(
        cls,
        paths: Iterable[str] = (),
        patterns: Iterable[str] = (),
        *,
        secrets: bool = False,
        ignored: Iterable[str] = (),
    ) -> Self:
        """Understand rules: places, regular expressions, and whether to look for well-known secrets.

        Raises StorageValidationError for what is no path or no pattern, and for a place that cannot be hidden.
        """
        for given in (paths, patterns, ignored):
            if isinstance(given, str):
                raise StorageValidationError(reason=f"{given!r} is one rule, not several", advice="put it into a list")
        return cls(
            tuple(_hidable(_place(path, "redact"), "redact") for path in dict.fromkeys(paths)),
            tuple(_pattern(pattern) for pattern in dict.fromkeys(patterns)),
            secrets=secrets,
            ignored=tuple(_place(path, "ignore") for path in ignored),
        )

    @property
    def named(self) -> list[str]:
        """The rules that somebody wrote, who will want to know of one that found nothing."""
        return [*(place.name for place in self.places), *(pattern.name for pattern in self.patterns)]


def _place(text: str, where: str) -> Place:
    rooted = text.startswith("$")
    rest = text[1:] if rooted else text if text.startswith("[") else f".{text}"
    steps: list[str | int | None] = []
    at = 0
    while at < len(rest):
        found = _STEP.match(rest, at)
        if found is None:
            raise _refusal(text, f"there is no step in {rest[at:]!r}", where)
        try:
            steps.append(_step(found))
        except (SyntaxError, ValueError) as error:
            raise _refusal(text, f"{found['quoted']} is not a quoted key", where) from error
        at = found.end()
    if not steps:
        raise _refusal(text, "it names no place", where)
    if rooted:
        return Place(text, (tuple(steps),))
    within_session = ("data", *steps)
    return Place(text, (within_session,) if len(steps) > 1 else ((*_METADATA, *steps), within_session))


def _step(found: re.Match[str]) -> str | int | None:
    name, index, quoted = found["name"], found["index"], found["quoted"]
    if "*" in (name, index):
        return None
    if index is not None:
        return int(index)
    return str(ast.literal_eval(quoted)) if quoted is not None else name


def _hidable(place: Place, where: str) -> Place:
    if not STAYING.isdisjoint(place.paths):
        raise StorageValidationError(
            reason=f"{place.text!r} cannot be hidden: the store needs that value",
            path=where,
            advice="name what is within it, or export to a file and change that",
        )
    return place


def _pattern(text: str) -> Pattern:
    try:
        regex = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise _refusal(text, f"it is not a regular expression: {error}", "redact-pattern") from error
    if regex.search(""):
        raise _refusal(text, "it finds something in an empty text, and so in every text", "redact-pattern")
    return Pattern(text, regex)


def _refusal(text: str, reason: str, where: str) -> StorageValidationError:
    advice = "write a regular expression, as in 'user-[0-9]+'"
    if where != "redact-pattern":
        advice = "write keys joined by dots, as in settings.api_key or messages.*.text, or $.data['odd.key']"
    return StorageValidationError(reason=f"{text!r}: {reason}", path=where, advice=advice)


def _reached(value: Any, path: Path, steps: Steps) -> Iterator[tuple[Steps, Any]]:
    if not path:
        yield steps, value
        return
    step, rest = path[0], path[1:]
    if type(value) is dict:
        for key in value if step is None else (step,):
            if key in value:
                yield from _reached(value[key], rest, (*steps, key))
    elif type(value) is list:
        at = _index(step)
        for index, item in enumerate(value):
            if step is None or index == at:
                yield from _reached(item, rest, (*steps, index))
            elif at is None and type(item) is dict:
                # as filters do: a name goes on into every object that the list holds
                yield from _reached(item, path, (*steps, index))


def _index(step: str | int | None) -> int | None:
    if isinstance(step, str):
        return int(step) if _INDEX.match(step) else None
    return step
