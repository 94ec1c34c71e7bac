"""Which states of a disk are looked at: where the power is cut, and what of the unsynced is there.

Where few things are uncertain every combination is tried. Where there are many: nothing of it, all of it, only names,
only bytes, each thing alone, each thing missing, and random ones. Things that promise nothing (`is_minor`), such as the
index, are not combined with the others but drawn for each state.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from tests.campaign.interpose import Call
from tests.campaign.power import Disk, File, Names, Tree

_EXHAUSTIVE = 200
_RANDOM = 12
_ALONE, _CONTENTS = 8, 3
Choice = tuple[Names, bool] | tuple[File, bytes]
"""Whether a change of names is there, or what a file holds."""


@dataclass(frozen=True, slots=True)
class CutState:
    """What a cut may leave. `marks` were in the record before it; `made` tells how to find it again."""

    tree: Tree
    marks: Sequence[str]
    made: str

    def key(self) -> int:
        """Return what is equal when the trees and the number of marks are."""
        return hash((len(self.marks), frozenset(self.tree.items())))


def cut_states(
    disk: Disk, calls: Iterable[Call], draws: Random, *, is_minor: Callable[[str], bool], marks: Iterable[str] = ()
) -> Iterator[CutState]:
    """Give the different states of a disk that cuts between recorded calls may leave.

    `marks` were made before. Nothing is looked at after a call that changes only what `is_minor`.
    """
    marks = list(marks)
    seen: set[int] = set()
    for number, call in enumerate(calls):
        disk.apply(call)
        if call.name == "mark":
            marks.append(call.path)
        elif is_minor(disk.inside(call.path)) and (not call.other or is_minor(disk.inside(call.other))):
            continue
        for chosen in _choices(disk, draws, is_minor):
            names = {thing for thing, there in chosen if isinstance(thing, Names) and there}
            contents = {thing: held for thing, held in chosen if isinstance(thing, File) and isinstance(held, bytes)}
            state = CutState(disk.tree(names, contents), tuple(marks), f"after call {number}, {call.name} {call.path}")
            if (key := state.key()) not in seen:
                seen.add(key)
                yield state


def _choices(disk: Disk, draws: Random, is_minor: Callable[[str], bool]) -> Iterator[Sequence[Choice]]:
    names, files = disk.uncertain()
    things: list[list[Choice]] = [[(change, False), (change, True)] for change in names if not _only(change, is_minor)]
    things += [[(file, held) for held in file.possible(draws)] for file in files if not is_minor(file.path)]
    minor: list[list[Choice]] = [[(change, False), (change, True)] for change in names if _only(change, is_minor)]
    minor += [[(file, held) for held in file.possible(draws)] for file in files if is_minor(file.path)]
    # what has one possible content holds that
    things, minor = [thing for thing in things if len(thing) > 1], [thing for thing in minor if len(thing) > 1]
    for chosen in _combined(things, draws):
        yield [*chosen, *_drawn(minor, draws)]


def _only(change: Names, is_minor: Callable[[str], bool]) -> bool:
    return all(is_minor(f"{change.path}/{name}".lstrip("/")) for name in change.entries)


def _combined(things: list[list[Choice]], draws: Random) -> Iterator[Sequence[Choice]]:
    if math.prod(map(len, things)) <= _EXHAUSTIVE:
        yield from itertools.product(*things)
        return
    nothing, everything = [thing[0] for thing in things], [thing[1] for thing in things]
    yield from (nothing, everything)
    yield [thing[isinstance(thing[0][0], Names)] for thing in things]
    yield [thing[isinstance(thing[0][0], File)] for thing in things]
    # the next moments differ little, and have their own draw
    for at in sorted(draws.sample(range(len(things)), min(len(things), _ALONE))):
        for choice in draws.sample(things[at], min(len(things[at]), _CONTENTS)):
            yield [*nothing[:at], choice, *nothing[at + 1 :]]
            yield [*everything[:at], choice, *everything[at + 1 :]]
    for _ in range(_RANDOM):
        yield [draws.choice(thing[:2] if draws.random() < 0.7 else thing) for thing in things]


def _drawn(minor: list[list[Choice]], draws: Random) -> list[Choice]:
    """Draw what promises nothing: often all as it was before or all as it is now, else anything."""
    kind = draws.choice(("before", "now", "any", "any"))
    if kind == "any":
        return [draws.choice(thing) for thing in minor]
    return [thing[kind == "now"] for thing in minor]
