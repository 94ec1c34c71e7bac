import pytest

from fsstore.filesystem.watch import suspects as module
from fsstore.filesystem.watch.suspects import Suspect, Suspects


class Clock:
    """The time, turned by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def suspects(clock: Clock) -> Suspects:
    assert clock.now
    return Suspects()


def test_each_is_taken_once_in_the_order_in_which_it_came(suspects: Suspects) -> None:
    suspects.add(["b", "a"])
    suspects.add(["b"], is_written=True)
    suspects.add(["c"], is_hinted=True)

    assert (suspects.is_idle, suspects.due()) == (False, 0.0)
    assert list(suspects.take().items()) == [
        ("b", Suspect(is_written=True)),
        ("a", Suspect()),
        ("c", Suspect(is_hinted=True)),
    ]
    assert (suspects.is_idle, suspects.due(), suspects.take()) == (True, float("inf"), {})


def test_a_postponed_one_comes_when_its_time_has_come(suspects: Suspects, clock: Clock) -> None:
    suspects.add(["a", "b"])
    taken = suspects.take()
    taken["a"].mark = 7
    suspects.postpone({"a": taken["a"]}, 2.0)
    suspects.postpone({"b": taken["b"]}, 1.0)

    assert (suspects.due(), suspects.take()) == (101.0, {})
    clock.now = 101.0
    assert suspects.take() == {"b": Suspect()}
    clock.now = 102.0
    assert suspects.take() == {"a": Suspect(mark=7)}


def test_without_a_delay_it_is_due_at_once(suspects: Suspects) -> None:
    suspects.add(["a"])
    suspects.postpone(suspects.take(), 0.0)
    assert suspects.take() == {"a": Suspect()}


def test_a_hint_about_a_postponed_one_does_not_hasten_it(suspects: Suspects, clock: Clock) -> None:
    suspects.add(["a"])
    suspects.postpone(suspects.take(), 1.0)
    suspects.add(["a"], is_written=True)

    assert suspects.take() == {}
    clock.now = 101.0
    assert suspects.take() == {"a": Suspect(is_written=True)}
    clock.now = 200.0
    assert suspects.take() == {}


def test_what_was_reported_while_it_was_looked_at_is_due_and_keeps_what_was_seen(
    suspects: Suspects, clock: Clock
) -> None:
    suspects.add(["a"])
    taken = suspects.take()
    taken["a"].missing_since = 99.0
    suspects.add(["a"], is_written=True, is_hinted=True)
    suspects.postpone(taken, 1.0)

    assert suspects.take() == {"a": Suspect(is_written=True, is_hinted=True, missing_since=99.0)}
    clock.now = 200.0
    assert suspects.take() == {}


def test_many_are_taken_in_parts(suspects: Suspects) -> None:
    names = [f"{number}" for number in range(250)]
    suspects.add(names)
    parts = [list(suspects.take()) for _ in range(3)]

    assert [len(part) for part in parts] == [100, 100, 50]
    assert [name for part in parts for name in part] == names
