"""The judge of the fault campaign is judged here: what it must accept, and what it must refuse."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from tests.campaign.linearizability import ABSENT, Answer, Operation, State, step, violations


def load(called: int, returned: int | None, version: int, value: str | None = None) -> Operation:
    return Operation("a", "load", called, returned, Answer(after=version, value=value))


def save(called: int, returned: int | None, value: str, **facts: Any) -> Operation:
    expected = facts.pop("expected", None)
    return Operation("a", "save", called, returned, Answer(**facts), value, expected)


def delete(called: int, returned: int | None, **facts: Any) -> Operation:
    return Operation("a", "delete", called, returned, Answer(**facts))


GOOD = {
    "one after the other": [save(0, 1, "x", before=0, after=1), load(2, 3, 1, "x"), delete(4, 5, before=1, after=0)],
    "a load during a save may find the old": [save(0, 1, "x"), save(2, 9, "y"), load(3, 4, 1, "x")],
    "a load during a save may find the new": [save(0, 1, "x"), save(2, 9, "y"), load(3, 4, 2, "y")],
    "two saves at once, the later called first": [save(0, 9, "x"), save(1, 8, "y"), load(10, 11, 2, "x")],
    "of two swaps one is refused": [
        save(0, 9, "x", expected=0, before=0, after=1),
        save(1, 8, "y", expected=0, before=1, refused=True),
        load(10, 11, 1, "x"),
    ],
    "a killed save that took effect late": [
        save(0, None, "x"),
        load(1, 2, 0),
        save(3, 4, "y"),
        load(5, 6, 2, "x"),
    ],
    "a killed save that never took effect": [save(0, None, "x"), save(1, 2, "y"), load(3, 4, 1, "y")],
    "a killed delete between two loads": [save(0, 1, "x"), delete(2, None), load(3, 4, 1, "x"), load(5, 6, 0)],
    "a killed swap whose version never came": [save(0, None, "x", expected=7), load(1, 2, 0)],
    "a document made anew begins above all that it had": [
        save(0, 1, "x", after=1),
        delete(2, 3, before=1),
        save(4, 5, "y", after=7),
        save(6, 7, "z", expected=1, before=7, refused=True),
        delete(8, 9, before=7),
        save(10, 11, "x", after=8),
    ],
    "a killed load": [load(0, None, 0), save(1, 2, "x")],
}

BAD = {
    "a stale read": [save(0, 1, "x"), save(2, 3, "y"), load(4, 5, 1, "x")],
    "a read from the future": [load(0, 1, 1, "x"), save(2, 3, "x")],
    "two loads that go back": [save(0, 1, "x"), save(2, 9, "y"), load(3, 4, 2, "y"), load(5, 6, 1, "x")],
    "a lost update": [
        save(0, 1, "x", after=1),
        save(2, 6, "y", expected=1, before=1, after=2),
        save(3, 7, "z", expected=1, before=1, after=2),
    ],
    "an acknowledged save that is gone": [save(0, 1, "x"), load(2, 3, 0)],
    "a resurrected document": [save(0, 1, "x"), delete(2, 3, before=1, after=0), load(4, 5, 1, "x")],
    "a delete that found nothing where there was something": [save(0, 1, "x"), delete(2, 3, before=0, after=0)],
    "a swap that was refused without a reason": [save(0, 1, "x"), save(2, 3, "y", expected=1, before=2, refused=True)],
    "a swap that was let through": [save(0, 1, "x"), save(2, 3, "y", expected=0)],
    "a document made anew begins at 1": [save(0, 1, "x"), delete(2, 3, before=1), save(4, 5, "y", after=1)],
    "a document made anew begins above the last deletion alone": [
        save(0, 1, "x", after=5),
        delete(2, 3, before=5),
        save(4, 5, "y", after=6),
        delete(6, 7, before=6),
        save(8, 9, "z", after=6),
    ],
    "a save applied twice": [save(0, 1, "x"), save(2, 3, "y"), load(4, 5, 3, "y")],
    "a killed save that took effect and was undone": [
        save(0, None, "x"),
        load(1, 2, 1, "x"),
        load(3, 4, 0),
    ],
    "a refused save that took effect": [
        save(0, 1, "x"),
        save(2, 3, "y", expected=9, before=1, refused=True),
        load(4, 5, 2, "y"),
    ],
}


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD.keys())
def test_a_history_that_some_order_explains_is_accepted(history: list[Operation]) -> None:
    for order in itertools.permutations(history):
        assert violations(order) == []


@pytest.mark.parametrize("history", BAD.values(), ids=BAD.keys())
def test_a_history_that_no_order_explains_is_refused(history: list[Operation]) -> None:
    for order in itertools.permutations(history):
        assert len(violations(order)) == 1


def test_documents_are_judged_each_on_its_own() -> None:
    first = [save(0, 1, "x"), load(2, 3, 0)]
    second = [Operation("b", "save", 0, 1, Answer(after=1), "y"), Operation("b", "load", 2, 3, Answer(None, 1, "y"))]

    (found,) = violations([*first, *second])

    assert found.startswith("a: no order of its 2 operations explains the answers; after 1 of them")


def test_a_history_may_begin_with_a_document() -> None:
    assert violations([load(0, 1, 3, "x")], State(3, "x")) == []
    assert violations([load(0, 1, 3, "x")], ABSENT) != []
    assert violations([]) == []


def explained(history: list[Operation]) -> bool:
    """Answer the same question by trying every order: the definition, for what is small."""
    return any(
        _explains(order)
        for size in range(len(history) + 1)
        for chosen in itertools.combinations(history, size)
        if all(operation in chosen for operation in history if operation.returned is not None)
        for order in itertools.permutations(chosen)
    )


def _explains(order: tuple[Operation, ...]) -> bool:
    for earlier, later in itertools.combinations(order, 2):
        if later.returned is not None and later.returned < earlier.called:
            return False
    state: State | None = ABSENT
    for operation in order:
        state = None if state is None else step(state, operation)
    return state is not None


@pytest.mark.parametrize("seed", range(300))
def test_the_search_finds_what_trying_every_order_finds(seed: int) -> None:
    chance = random.Random(seed)
    moments = iter(chance.sample(range(100), 12))

    def some() -> Operation:
        called, returned = sorted((next(moments), next(moments)))
        answered = returned if chance.random() < 0.8 else None
        version = chance.randrange(3)
        kind = chance.randrange(3)
        if kind == 0:
            return load(called, answered, version, chance.choice("xy") if version else None)
        if kind == 1:
            return delete(called, answered, before=version, after=0)
        expected = chance.choice([None, version])
        return save(called, answered, chance.choice("xy"), expected=expected)

    history = [some() for _ in range(5)]

    assert (violations(history) == []) == explained(history)


def test_a_long_history_is_judged_in_time() -> None:
    chance = random.Random(7)
    state, history = ABSENT, []
    for turn in range(3000):
        # each overlaps with its six neighbours on both sides
        called, returned = 10 * turn - chance.randrange(60), 10 * turn + chance.randrange(60)
        if chance.random() < 0.5:
            history.append(load(called, returned, state.version, state.value))
        else:
            state = State(state.version + 1, f"v{turn}")
            history.append(save(called, returned if turn % 50 else None, f"v{turn}"))
    chance.shuffle(history)

    assert violations(history) == []
    assert len(violations([*history, load(40_000, 40_001, 1, "v0")])) == 1
