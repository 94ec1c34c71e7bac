"""Three orders of the same things made one, and where what only one side has is put in. Pure: no I/O.

A thing is a token: equal tokens are the same thing, and a list holds each of them once.

Invariants:
- Two tokens whose order both sides agree on keep it, in a group as well, whichever side's order is taken for it.
- Where one side alone has changed the order of two tokens, its order counts.
- A group of more than one token is where no order does all of that, and holds nothing else; no group depends on which
  side is called ours. But for the bound, which makes a group of what takes too long to look through.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

Token: TypeAlias = str

MOST_RUNS = 400
"""How many runs of tokens that both sides have moved are looked through, pair by pair: about 50 ms."""


@dataclass(frozen=True, slots=True)
class Order:
    """What both sides have, in groups that follow each other; in each the tokens in the order of ours.

    More than one token in a group is a conflict.
    """

    groups: list[list[Token]]
    theirs: dict[Token, int]

    def as_theirs(self, group: Sequence[Token]) -> list[Token]:
        """Return a group's tokens in the order of theirs."""
        return sorted(group, key=self.theirs.__getitem__)


def merged_order(base: Sequence[Token], ours: Sequence[Token], theirs: Sequence[Token]) -> Order:
    """Merge the orders of what both sides have; `base` may lack some of it, and no more.

    About O(n); where both sides have moved something in one part, quadratic in what they moved, up to a bound.
    """
    there = {token: at for at, token in enumerate(theirs)}
    before = {token: at for at, token in enumerate(base)}
    groups: list[list[Token]] = []
    start, furthest = 0, -1
    for at, token in enumerate(ours):
        furthest = max(furthest, there[token])
        # the first tokens of both sides are the same, so everything before here is before everything after
        if furthest == at:
            groups += _block(before, ours[start : at + 1], there)
            start = at + 1
    return Order(groups, there)


def _block(before: dict[Token, int], ours: Sequence[Token], there: dict[Token, int]) -> list[list[Token]]:
    """Merge a part that both sides have in different orders, or one token."""
    if len(ours) == 1:
        return [[*ours]]
    theirs = sorted(ours, key=there.__getitem__)
    if all(token in before for token in ours):
        old = sorted(ours, key=before.__getitem__)
        if old in (ours, theirs):
            return [[token] for token in (theirs if old == ours else ours)]
    runs = _runs(before, ours, theirs)
    if len(runs) > MOST_RUNS:
        return [[*ours]]
    return _split(before, runs, there)


def _runs(before: dict[Token, int], ours: Sequence[Token], theirs: Sequence[Token]) -> list[list[Token]]:
    """Return what stands together in all three, so that it is moved as one."""
    following = dict(pairwise(theirs))
    old = sorted((token for token in ours if token in before), key=before.__getitem__)
    next_before = dict(pairwise(old))
    runs = [[ours[0]]]
    for last, token in pairwise(ours):
        is_new = last not in before and token not in before
        if following.get(last) == token and (is_new or next_before.get(last) == token):
            runs[-1].append(token)
        else:
            runs.append([token])
    return runs


def _split(before: dict[Token, int], runs: list[list[Token]], there: dict[Token, int]) -> list[list[Token]]:
    """Put the runs in order; those that no order does right make one group."""
    after = _everything_after(before, [run[0] for run in runs], there)
    # of each, what must be before it, and itself
    until = [sum(1 << other for other, found in enumerate(after) if found >> at & 1) for at in range(len(runs))]
    left = (1 << len(runs)) - 1
    groups: list[list[Token]] = []
    while left:
        # the first that nothing else that is left must be before, or only what must be after it, too
        together = next(found for at in _bits(left) if not (found := until[at] & left) & ~after[at])
        tokens = [token for at in _bits(together) for token in runs[at]]
        is_conflict = together.bit_count() > 1
        groups += [tokens] if is_conflict else [[token] for token in tokens]
        left &= ~together
    return groups


def _everything_after(before: dict[Token, int], heads: list[Token], there: dict[Token, int]) -> list[int]:
    """Return for each token, as bits, itself and what must come after it, by way of others too."""
    after = [1 << at for at in range(len(heads))]
    for at, token in enumerate(heads):
        for other in range(at + 1, len(heads)):
            forth, back = _must(before, token, heads[other], agreed=there[token] < there[heads[other]])
            after[at] |= forth << other
            after[other] |= back << at
    for middle, beyond in enumerate(after):
        for at, found in enumerate(after):
            if found >> middle & 1:
                after[at] |= beyond
    return after


def _must(before: dict[Token, int], one: Token, other: Token, *, agreed: bool) -> tuple[bool, bool]:
    """Whether `one`, which ours has before `other`, must be before it, and whether it must be after it."""
    if agreed:
        return True, False
    if one in before and other in before:
        is_changed_by_theirs = before[one] < before[other]
        return not is_changed_by_theirs, is_changed_by_theirs
    # both new: nothing is lost with either order; one new: both sides have said where, and not the same
    is_contradiction = one in before or other in before
    return is_contradiction, is_contradiction


def _bits(mask: int) -> Iterator[int]:
    while mask:
        yield (mask & -mask).bit_length() - 1
        mask &= mask - 1


# -- what only one side has -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Additions:
    """What one side alone has: before which group (their number: at the end), or behind which token of a conflict."""

    before: dict[int, list[Token]] = field(default_factory=dict)
    behind: dict[Token, list[Token]] = field(default_factory=dict)


def placed(order: Order, side: Sequence[Token], *, outside: set[Token]) -> Additions:
    """Return where what one side alone has belongs: between what is before it and what is after it there.

    Where the merged order has no such place, it stays behind the one that it is behind; `outside` are those that are
    put behind a conflict instead of into it. O(n).
    """
    group_of = {token: at for at, group in enumerate(order.groups) for token in group}
    found = Additions()
    rest = [len(group) for group in order.groups]
    # how many groups are through, and the furthest that was met: the same if what is before fills the first ones
    finished, furthest = 0, -1
    last = ""
    for token in side:
        at = group_of.get(token)
        if at is not None:
            last, furthest = token, max(furthest, at)
            rest[at] -= 1
            finished += rest[at] == 0
        elif finished == furthest + 1:
            found.before.setdefault(finished, []).append(token)
        elif rest[group_of[last]] and token not in outside:
            found.behind.setdefault(last, []).append(token)
        else:
            found.before.setdefault(group_of[last] + 1, []).append(token)
    return found
