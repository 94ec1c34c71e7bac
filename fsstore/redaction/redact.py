"""What must not be seen outside: finding it in a document, and the document without it. Pure: no I/O.

`fsstore.redaction.rules` says what rules there are.

Invariants:
- What the store lives by is never hidden: the id, the type, the version, the times, and that a session has metadata. A
  rule that finds something there is marked (`Match.stays`), and so is one that finds something in a key.
- Hiding changes nothing but the values found, and never the document given. To hide again changes nothing.
- What a match shows of itself is never what it has found: a hint says how long that is, and keys are masked in a path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fsstore.model.records import JsonObject
from fsstore.model.values import format_path
from fsstore.query.columns import ENVELOPE
from fsstore.redaction.rules import STAYING, Redaction, Span, Steps
from fsstore.redaction.shapes import PLACEHOLDER, WEAK, Suspicion, hint, shapes_in, shapes_in_key, suspicion_of


@dataclass(frozen=True, slots=True)
class Match:
    """What a rule has found, without what it is: where, for which rule, and what may be shown of it.

    `span` is the part of a string that is meant, None for the whole value.
    """

    steps: Steps = field(repr=False)
    rule: str
    hint: str
    span: Span | None = None
    in_key: bool = False
    """It is the last key of the path itself."""

    @property
    def stays(self) -> bool:
        """Whether it cannot be hidden: the store lives by it, or it is a key."""
        return self.in_key or self.steps in STAYING

    @property
    def path(self) -> str:
        """Its JSON path, from the document on; what looks like a secret in a key is masked."""
        return format_path(tuple(_masked(step) for step in self.steps))


def find(rules: Redaction, record: JsonObject) -> list[Match]:
    """Return what the rules find in a record; O(its size), and O(path) for rules that are all places."""
    found = [Match(steps, place.name, hint(value)) for place in rules.places for steps, value in place.found_in(record)]
    if rules.patterns or rules.secrets:
        found += _found_by_looking(rules, record)
    if not (found and rules.ignored):
        return found
    ignored = {steps for place in rules.ignored for steps, _ in place.found_in(record)}
    return [match for match in found if not any(match.steps[:at] in ignored for at in range(len(match.steps) + 1))]


def hide(record: JsonObject, matches: Iterable[Match]) -> tuple[JsonObject, int]:
    """Return the record with a placeholder for all that was found in it, and how many values that changed.

    The record stays as it is; what is not changed is shared with it.
    """
    parts: dict[Steps, list[Span] | None] = {}
    for match in matches:
        if not match.stays:
            spans = parts.setdefault(match.steps, [])
            if match.span is None:
                parts[match.steps] = None
            elif spans is not None:
                spans.append(match.span)
    copies: dict[Steps, Any] = {(): dict(record)}
    # the outer places first: what was within one of them is gone then
    hidden = sum(_put(copies, steps, parts[steps]) for steps in sorted(parts, key=len))
    return copies[()], hidden


# -- finding ----------------------------------------------------------------------------------------------------------


def _found_by_looking(rules: Redaction, record: JsonObject) -> Iterator[Match]:
    for steps, value, suspicion in _leaves(record):
        if rules.secrets and steps and type(steps[-1]) is str:
            yield from _secret_in_key(steps)
        if type(value) is str:
            for pattern in rules.patterns:
                for start, stop in pattern.spans(value):
                    yield Match(steps, pattern.name, hint(value[start:stop]), (start, stop))
        if rules.secrets and type(value) not in (dict, list):
            yield from _secrets_at(steps, value, suspicion)


def _secrets_at(steps: Steps, value: Any, suspicion: Suspicion | None) -> Iterator[Match]:
    if suspicion is not None and suspicion.holds(value):
        yield Match(steps, "name of the key", hint(value))
    elif type(value) is str:
        for shape, start, stop in shapes_in(value):
            yield Match(steps, shape, hint(value[start:stop]), (start, stop))


def _secret_in_key(steps: Steps) -> Iterator[Match]:
    key = str(steps[-1])
    for shape, start, stop in shapes_in_key(key):
        yield Match(steps, shape, hint(key[start:stop]), in_key=True)


def _leaves(record: JsonObject) -> Iterator[tuple[Steps, Any, Suspicion | None]]:
    """Give every value but the envelope's, in order, with what its name, or that of the list it is in, lets expect.

    With a stack of its own: a document from elsewhere may be nested deeper than Python calls.
    """
    waiting: list[tuple[Steps, Any, Suspicion | None]] = [
        ((key,), value, suspicion_of(key)) for key, value in reversed(record.items()) if key not in ENVELOPE
    ]
    while waiting:
        steps, value, suspicion = waiting.pop()
        yield steps, value, suspicion
        if type(value) is dict:
            # what a suspicious object holds is a description as often as a secret, so its looks must decide
            inherited = None if suspicion is None else WEAK
            waiting += [((*steps, key), item, suspicion_of(key) or inherited) for key, item in reversed(value.items())]
        elif type(value) is list:
            waiting += [((*steps, at), value[at], suspicion) for at in reversed(range(len(value)))]


def _masked(step: str | int) -> str | int:
    if type(step) is not str:
        return step
    for _, start, stop in reversed(shapes_in_key(step)):
        step = step[:start] + PLACEHOLDER + step[stop:]
    return step


# -- hiding -----------------------------------------------------------------------------------------------------------


def _put(copies: dict[Steps, Any], steps: Steps, spans: list[Span] | None) -> bool:
    """Put the placeholder at one place, in copies made along its path; whether that changed something."""
    parent = _copied(copies, steps[:-1])
    if not isinstance(parent, dict | list):
        return False
    before: Any = parent[steps[-1]]  # type: ignore[index]
    after = PLACEHOLDER if spans is None else _without(before, spans)
    parent[steps[-1]] = after  # type: ignore[index]
    return bool(after != before)


def _copied(copies: dict[Steps, Any], steps: Steps) -> Any:
    """Return the copy of what stands there; what is hidden already is a string, and holds nothing."""
    for at in range(1, len(steps) + 1):
        if steps[:at] not in copies:
            parent = copies[steps[: at - 1]]
            if not isinstance(parent, dict | list):
                return None
            inner: Any = parent[steps[at - 1]]  # type: ignore[index]
            if isinstance(inner, dict | list):
                inner = inner.copy()
                parent[steps[at - 1]] = inner  # type: ignore[index]
            copies[steps[:at]] = inner
    return copies[steps]


def _without(text: str, spans: list[Span]) -> str:
    kept, end = [], 0
    for start, stop in sorted(spans):
        if start >= end:
            kept += [text[end:start], PLACEHOLDER]
        end = max(end, stop)
    return "".join((*kept, text[end:]))
