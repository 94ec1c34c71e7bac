"""Every order of three and four items on both sides, with edits, deletions and insertions, against an oracle.

The oracle knows nothing of how a merge is done: it says which items must be there and with which contents, which pairs
have an order, and looks through all orders for one that satisfies them.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice, permutations, product
from typing import Any, TypeAlias

import pytest

from fsstore.cli.git.marking import mark
from fsstore.merging.merge import Conflict, Merged, merge, same

Item: TypeAlias = Any
Edit: TypeAlias = tuple[str, int]
Pair: TypeAlias = tuple[str, str]
REGION = re.compile(r"^<{7} ours (.*)\n((?:.*\n)*?)={7}\n((?:.*\n)*?)>{7} theirs \1\n", re.MULTILINE)
TALLY: Counter[str] = Counter()


# -- cases ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    base: list[Item]
    ours: list[Item]
    theirs: list[Item]

    @property
    def swapped(self) -> Case:
        return Case(self.base, self.theirs, self.ours)

    def merged(self) -> Merged:
        return merged(self.base, self.ours, self.theirs)


def merged(base: list[Item], ours: list[Item], theirs: list[Item]) -> Merged:
    return merge(*({"id": "d", "version": 1, "items": items} for items in (base, ours, theirs)))


def items_of(document: Any) -> list[Item]:
    found: list[Item] = document["items"]
    return found


def id_of(item: Item) -> str:
    return str(item["id"] if isinstance(item, dict) else item)


def item(name: str) -> Item:
    return {"id": name, "text": "as it was"}


def edits(count: int, *kinds: str) -> Iterator[tuple[Edit, ...]]:
    """Give no edit, and every single one of some kinds, of a list of so many items."""
    yield ()
    for kind in kinds:
        for at in range(count + (kind in ("add", "share"))):
            yield ((kind, at),)


def version(items: list[Item], done: Iterable[Edit], side: str) -> list[Item]:
    """Return what a side has made of some items; what it adds has a time, which is not that of the other side."""
    items = list(items)
    for number, (kind, place) in enumerate(done):
        at = place % (len(items) + 1) if kind in ("add", "share") else place % max(1, len(items))
        if kind in ("add", "share"):
            name = f"{side} {number}" if kind == "add" else f"both {number}"
            second = 2 * ((5 * number + 3 * place) % 9) + (side == "theirs") if kind == "add" else 30 + number
            new = {"id": name, "created_at": f"2026-01-01T00:00:{second:02d}Z"}
            items.insert(at, new if all(isinstance(known, dict) for known in items) else name)
        elif items and kind == "drop":
            del items[at]
        elif items:
            items[at] = {**items[at], ("text" if kind == "edit" else f"note of {side}"): side}
    return items


def single_edits(count: int, make: Callable[[str], Item], *kinds: str) -> Iterator[Case]:
    """Give all orders of both sides, each with every single edit."""
    base = [make(name) for name in "abcd"[:count]]
    sides = [
        [version(list(order), done, side) for order in permutations(base) for done in edits(count, *kinds)]
        for side in ("ours", "theirs")
    ]
    for ours, theirs in product(*sides):
        yield Case(base, ours, theirs)


def many_edits(seed: int, count: int) -> Iterator[Case]:
    """Give cases with up to three edits on each side, of three to five items that are moved by little or by much."""
    chance = random.Random(seed)
    for _ in range(count):
        base = [item(name) for name in "abcde"[: chance.randint(3, 5)]]
        sides = []
        for side in ("ours", "theirs"):
            order = chance.choice([list, lambda items: chance.sample(items, len(items))])(base)
            kinds = chance.choices(("add", "share", "drop", "edit", "note"), k=chance.randint(0, 3))
            sides.append(version(order, [(kind, chance.randrange(6)) for kind in kinds], side))
        yield Case(base, *sides)


# -- the oracle -------------------------------------------------------------------------------------------------------


def contents(case: Case) -> tuple[dict[str, Item | None], set[str]]:
    """Return what each item of the result is (None: to be looked for by hand), and which are in conflict."""
    base, ours, theirs = ({id_of(found): found for found in items} for items in (case.base, case.ours, case.theirs))
    there: dict[str, Item | None] = {}
    contested: set[str] = set()
    for name in {*ours, *theirs}:
        if name in ours and name in theirs:
            changed = [side[name] for side in (ours, theirs) if side[name] != base.get(name)]
            there[name] = changed[0] if len(changed) == 1 else None
            if not changed or ours[name] == theirs[name]:
                there[name] = ours[name]
            elif len({found.get("text") for found in (base.get(name, {}), ours[name], theirs[name])}) > 2:
                contested.add(name)
        elif name not in base:
            there[name] = ours.get(name, theirs.get(name))
        elif (kept := ours.get(name, theirs.get(name))) != base[name]:
            contested.add(name)
            there[name] = kept
    return there, contested


def ordered(items: Iterable[str]) -> set[Pair]:
    names = list(items)
    return {(one, other) for at, one in enumerate(names) for other in names[at + 1 :]}


def demands(case: Case, names: set[str]) -> tuple[set[Pair], set[Pair], set[Pair], bool]:
    """Return the pairs both sides agree on, those one has changed, those of one side alone, and if some are free."""
    base, ours, theirs = (ordered(map(id_of, items)) for items in (case.base, case.ours, case.theirs))
    old = {id_of(found) for found in case.base}
    agreed = ours & theirs
    differing = {pair for pair in ours if pair[::-1] in theirs}
    changed: set[Pair] = set()
    is_free = False
    for one, other in differing:
        if one in old and other in old:
            changed.add((other, one) if (one, other) in base else (one, other))
        elif one in old or other in old:
            # both have put a new one beside it, on different sides: no order is right
            changed |= {(one, other), (other, one)}
        else:
            is_free = True
    shared = {id_of(found) for found in case.ours} & {id_of(found) for found in case.theirs}
    alone = {pair for pair in ours | theirs if set(pair) <= names and not set(pair) <= shared}
    return agreed, changed, alone, is_free


@cache
def has_order(pairs: frozenset[Pair]) -> bool:
    """Whether some order of the items has all pairs in it: there is always one that nothing left must be before."""
    while pairs:
        held_back = {later for _, later in pairs}
        if not (free := {first for first, _ in pairs} - held_back):
            return False
        pairs = frozenset(pair for pair in pairs if pair[0] not in free)
    return True


# -- what must hold ---------------------------------------------------------------------------------------------------


def check(case: Case) -> None:
    result = case.merged()
    there, contested = contents(case)
    agreed, changed, alone, is_free = demands(case, set(there))
    of_order = [conflict for conflict in result.conflicts if conflict.is_order]
    of_contents = [conflict for conflict in result.conflicts if not conflict.is_order]

    assert bool(of_order) is not has_order(frozenset(agreed | changed))
    inside = {id_of(found) for conflict in of_order for found in (*conflict.ours, *conflict.theirs)}
    assert {name for name in contested if name not in inside} == {named(conflict) for conflict in of_contents}
    for conflict in of_order:
        assert Counter(map(id_of, conflict.ours)) == Counter(map(id_of, conflict.theirs))
        # the smallest part: each of those that both have is held there by others
        assert not has_order(frozenset(pair for pair in agreed | changed if set(pair) <= inside))

    optional = {name for name in contested if not (in_list(name, case.ours) and in_list(name, case.theirs))}
    for chosen in solutions(result):
        names = [id_of(found) for found in chosen]
        assert len(names) == len(set(names))
        assert set(there) - optional <= set(names) <= set(there)
        assert {pair for pair in agreed if set(pair) <= set(names)} <= ordered(names)
        for found in chosen:
            if id_of(found) not in contested and (expected := there[id_of(found)]) is not None:
                assert found == expected
    if not result.conflicts:
        (chosen,) = [items_of(result.value)]
        assert changed <= ordered(map(id_of, chosen))
        if not is_free and has_order(frozenset(agreed | changed | alone)):
            assert alone <= ordered(map(id_of, chosen))
            # what is merged already is merged again to the same
            assert same(merged(case.base, chosen, case.theirs).value["items"], chosen)
    else:
        check_text(result)
    check_symmetry(case, result, is_free=is_free)
    tally(of_order, of_contents)


def in_list(name: str, items: list[Item]) -> bool:
    return any(id_of(found) == name for found in items)


def named(conflict: Conflict) -> str:
    (name,) = re.findall(r"@\.id=='([^']*)'", conflict.path)
    return str(name)


def check_text(result: Merged) -> None:
    """See that whoever keeps one side of each conflict in the marked file has what the merge says."""
    text = mark(result).decode()
    found = REGION.findall(text)
    assert {label for label, *_ in found} == {", ".join(labels) for labels in grouped(result, found)}
    for sides in islice(product((2, 3), repeat=len(found)), 16):
        left = iter(sides)
        chosen = json.loads(REGION.sub(lambda region: region[next(left)], text))  # noqa: B023 - used up before the next
        names = [id_of(value) for value in items_of(chosen)]
        assert len(names) == len(set(names))
        for side, number in (("ours", 2), ("theirs", 3)):
            if set(sides) == {number}:
                assert same(chosen, result.taking("ours" if side == "ours" else "theirs"))


def grouped(result: Merged, found: list[tuple[str, str, str]]) -> list[list[str]]:
    """Return the labels of the conflicts, together where the text has one region for all."""
    labels = [conflict.label for conflict in result.conflicts]
    return [labels] if len(found) == 1 else [[label] for label in labels]


def solutions(result: Merged) -> Iterator[list[Item]]:
    """Give the list after either side was taken for all conflicts."""
    yield items_of(result.taking("ours"))
    if result.conflicts:
        yield items_of(result.taking("theirs"))


def check_symmetry(case: Case, result: Merged, *, is_free: bool) -> None:
    back = case.swapped.merged()
    assert sorted(told(found) for found in result.conflicts) == sorted(
        told(Conflict(found.path, found.base, found.theirs, found.ours, found.is_order)) for found in back.conflicts
    )
    if not is_free and not result.conflicts:
        # each time is there once, so nothing is left to which side is called ours
        assert same(result.value, back.value) or not all(isinstance(found, dict) for found in case.ours + case.theirs)
        assert Counter(map(id_of, items_of(result.value))) == Counter(map(id_of, items_of(back.value)))


def told(conflict: Conflict) -> str:
    sides = (conflict.base, conflict.ours, conflict.theirs)
    return json.dumps([conflict.path, conflict.is_order, *sides], sort_keys=True)


def tally(of_order: list[Conflict], of_contents: list[Conflict]) -> None:
    TALLY["cases"] += 1
    TALLY["order conflicts"] += bool(of_order)
    TALLY["content conflicts"] += bool(of_contents)
    TALLY["clean"] += not (of_order or of_contents)


def every(step: int, cases: Iterator[Case]) -> Iterator[Case]:
    return islice(cases, 0, None, step)


KINDS = ("edit", "note", "drop", "add", "share")
TABLE: dict[str, tuple[Callable[[], Iterator[Case]], int]] = {
    "three items, every order, every single edit": (lambda: single_edits(3, item, *KINDS), 11_664),
    "four items, every order": (lambda: single_edits(4, item), 576),
    "four items, every order, single edits": (lambda: every(17, single_edits(4, item, *KINDS)), 17_924),
    "three tags, every order, every single edit": (lambda: single_edits(3, str, "drop", "add", "share"), 5_184),
    "four tags, every order, single edits": (lambda: every(29, single_edits(4, str, "drop", "add", "share")), 4_469),
    "numbers, every order": (lambda: single_edits(4, ord), 576),
    "up to three edits a side": (lambda: many_edits(7, 6_000), 6_000),
}


@pytest.mark.parametrize("name", TABLE)
def test_a_merge_satisfies_the_oracle(name: str) -> None:
    cases, count = TABLE[name]
    TALLY.clear()
    for case in cases():
        try:
            check(case)
        except AssertionError as error:
            raise AssertionError(f"{case}: {case.merged().value['items']}") from error
    print(f"{name}: {dict(TALLY)}")  # noqa: T201 - the table, with -rP
    assert TALLY["cases"] == count
    assert TALLY["clean"] > TALLY["order conflicts"] > 0
