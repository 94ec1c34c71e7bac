"""What a process that will be killed writes: each of its tasks does one turn after the other, known beforehand.

So what must be found afterwards is known too: of each task the state after its last acknowledged turn, or after the
next one, which may have been under way. Nothing else.
"""

from __future__ import annotations

import random

from fsstore.model.records import JsonObject

TASKS = 3
_NAMES = 5

Contents = dict[str, str]


def document(name: str, value: str) -> JsonObject:
    return {"id": name, "type": "note", "data": {"text": "x" * 300, "metadata": {"status": value}}}


def turn_of(life: str, task: int, turn: int) -> dict[str, str | None]:
    """Return what a turn sets documents to; None deletes one. A third are batches."""
    chance = random.Random(f"{life} {task} {turn}")
    names = [f"{life}-{task}-{number}" for number in range(_NAMES)]
    chosen = chance.sample(names, chance.choice((1, 1, 3)))
    return {name: f"{turn}" if chance.random() < 0.8 else None for name in chosen}


def states(life: str, task: int, acknowledged: int) -> tuple[Contents, Contents]:
    """Return the documents of a task after its last acknowledged turn, and after the one that follows."""
    found: Contents = {}
    before: Contents = {}
    for turn in range(1, acknowledged + 2):
        before = dict(found)
        for name, value in turn_of(life, task, turn).items():
            if value is None:
                found.pop(name, None)
            else:
                found[name] = value
    return before, found
