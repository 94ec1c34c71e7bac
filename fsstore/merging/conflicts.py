"""What a merge leaves to people: conflicts that stand in a value, and the paths that name them. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from fsstore.merging.align import name_of
from fsstore.model.values import format_path

Part: TypeAlias = tuple[Any, ...]
"""What a version has in one place: a value or nothing; in a list any number of elements."""

Side: TypeAlias = Literal["ours", "theirs"]


@dataclass(frozen=True, slots=True)
class Conflict:
    """What both sides have changed in different ways; stands in the merged value where they would.

    With `is_order` both sides hold the same elements, each in an order of its own.
    """

    path: str
    base: Part
    ours: Part
    theirs: Part
    is_order: bool = False

    @property
    def label(self) -> str:
        """The path, and whether it is only about an order."""
        return f"{self.path} (order)" if self.is_order else self.path


@dataclass(frozen=True, slots=True)
class Merged:
    """A merged document: a JSON value in which conflicts may stand."""

    value: Any

    @property
    def conflicts(self) -> list[Conflict]:
        """The conflicts, in the order of the document; O(its size)."""
        return list(_conflicts(self.value))

    def taking(self, side: Side) -> Any:
        """Return the value with every conflict solved for one side; O(its size)."""
        return solved((self.value,), side)[0]


def _conflicts(value: Any) -> Iterator[Conflict]:
    if isinstance(value, Conflict):
        yield value
    elif type(value) in (dict, list):
        for item in value.values() if type(value) is dict else value:
            yield from _conflicts(item)


def solved(part: Part, side: Side) -> Part:
    """Return a part with every conflict in it solved for one side; O(its size)."""
    found: list[Any] = []
    for value in part:
        if isinstance(value, Conflict):
            found += value.ours if side == "ours" else value.theirs
        elif type(value) is dict:
            found.append({key: inner[0] for key, item in value.items() if (inner := solved((item,), side))})
        else:
            found.append(list(solved(tuple(value), side)) if type(value) is list else value)
    return tuple(found)


# -- paths ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Named:
    """A step to the element of a list that has that id."""

    id: Any


def step_to(value: Any, at: int) -> Any:
    """Return the step to an element of a list: by its id, or else by its place."""
    return _Named(value["id"]) if name_of(value) else at


def path_of(steps: tuple[Any, ...]) -> str:
    """Return the path (RFC 9535) of keys, places, slices and steps to elements."""
    return "$" + "".join(map(_format_step, steps))


def _format_step(step: Any) -> str:
    if isinstance(step, _Named):
        return f"[?@.id=={step.id!r}]"
    if isinstance(step, slice):
        return f"[{step.start}:{step.stop}]"
    return format_path((step,))[1:]
