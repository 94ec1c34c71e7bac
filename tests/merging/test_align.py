from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fsstore.merging.align import aligned, crossing, in_time_order

unhurried = settings(deadline=None)
NUMBERS = st.lists(st.integers(0, 4), max_size=8)


@unhurried
@given(NUMBERS, NUMBERS)
def test_what_is_aligned_is_the_same_and_rises_together(one: list[int], other: list[int]) -> None:
    pairs = sorted(aligned(one, other).items())
    assert all(one[at] == other[there] for at, there in pairs)
    assert all(second[1] > first[1] for first, second in pairwise(pairs))


@unhurried
@given(NUMBERS, st.integers(0, 8), st.integers(0, 3))
def test_around_what_was_put_in_or_taken_out_everything_is_aligned(values: list[int], at: int, count: int) -> None:
    longer = [*values[:at], *range(10, 10 + count), *values[at:]]
    shorter = [*values[:at], *values[at + count :]]
    assert len(aligned(values, longer)) == len(aligned(longer, values)) == len(values)
    assert len(aligned(values, shorter)) == len(aligned(shorter, values)) == len(shorter)


@unhurried
@given(st.permutations(range(6)), st.permutations(range(6)))
def test_of_what_stands_once_as_much_as_can_be_is_aligned(one: list[int], other: list[int]) -> None:
    places = [other.index(value) for value in one]
    best = max(length for length in range(7) for run in combinations(places, length) if list(run) == sorted(run))
    found = aligned(one, other)
    assert len(found) == best
    assert sorted({**found, **crossing(one, other, found)}) == list(range(6))


def test_an_element_is_known_by_its_id_while_that_stands_once() -> None:
    old, new = {"id": "a", "x": 1}, {"id": "a", "x": 2}
    assert aligned([0, old], [new]) == {1: 0}
    assert aligned([old], [{"id": 1}, {"id": True}]) == {}
    assert aligned([old, new], [new]) == {1: 0}
    assert aligned([{"id": 1}], [{"id": "1"}]) == {}


def test_a_merge_in_time_order_keeps_each_order() -> None:
    def at(*times: float | None) -> list[Any]:
        return [{"n": number, **({} if time is None else {"ts": time})} for number, time in enumerate(times)]

    def times(values: list[Any]) -> list[float | None]:
        return [value.get("ts") for value in values]

    assert times(in_time_order(at(5, 1, 9), at(3, 7))) == [3, 5, 1, 7, 9]
    assert times(in_time_order(at(1.7e9 + 1, 1.7e9 + 3), at(1.7e12, 1.7e15 + 2e6, 1.7e18 + 4e9))) == [
        *(1.7e12, 1.7e9 + 1, 1.7e15 + 2e6, 1.7e9 + 3, 1.7e18 + 4e9)
    ]
    assert times(in_time_order(at(None, None), at(3))) == [None, None, 3]
    assert times(in_time_order(at(1e30, True, -1e30, 10**400), at(2))) == [1e30, True, -1e30, 10**400, 2]
