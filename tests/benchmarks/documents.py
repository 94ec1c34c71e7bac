"""The sessions that are stored: shaped like an agent's, and the same in every run."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeAlias

import orjson

Session: TypeAlias = dict[str, Any]

STATUSES = ("active", "waiting", "done", "failed")
USERS = 5
"""Four statuses for each of five users: one in twenty sessions is what a list asks for, fifty of a thousand."""

_WORDS = (
    *("the", "order", "was", "shipped", "on", "monday", "please", "check", "status", "refund", "invoice", "customer"),
    *("account", "Zürich", "naïve", "tool", "result", "error", "retry", "summary", "plan", "step", "search", "found"),
)
_BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


def _paragraph(seed: int) -> str:
    words = random.Random(seed)
    return " ".join(words.choice(_WORDS) for _ in range(55))


_PARAGRAPHS = tuple(_paragraph(seed) for seed in range(64))


def session_name(number: int) -> str:
    """Return the id of a session."""
    return f"s-{number:07}"


def belongs_to(number: int) -> tuple[str, str]:
    """Return status and user of a session."""
    return STATUSES[number % len(STATUSES)], f"user-{number // len(STATUSES) % USERS}"


def session(number: int, size_kb: int) -> Session:
    """Return a session of so many KB as compact JSON: the last message is cut to fit."""
    status, user = belongs_to(number)
    at = _BEGINNING + timedelta(seconds=number)
    made: Session = {
        "metadata": {
            "status": status,
            "user_id": user,
            "tags": ["bench", f"topic-{number % 7}"],
            "title": f"Session {number}",
            "created_at": _BEGINNING.isoformat(),
            "updated_at": at.isoformat(),
        },
        "messages": [],
        "state": {"step": number, "plan": ["search", "answer"], "done": False},
    }
    room = (size_kb << 10) - len(orjson.dumps(made))
    for turn in count():
        message = _message(number, turn, at)
        cost = len(orjson.dumps(message)) + 1
        if cost > room:
            break
        made["messages"].append(message)
        room -= cost
    return made


def sessions(numbers: Iterable[int], size_kb: int) -> Iterator[tuple[str, Session]]:
    """Give sessions with their ids."""
    for number in numbers:
        yield session_name(number), session(number, size_kb)


def _message(number: int, turn: int, at: datetime) -> dict[str, Any]:
    return {
        "id": f"{number}-{turn}",
        "role": ("user", "assistant", "tool")[turn % 3],
        "content": _PARAGRAPHS[(number + turn) % len(_PARAGRAPHS)],
        "created_at": at.isoformat(),
    }
