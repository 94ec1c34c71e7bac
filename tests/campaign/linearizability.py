"""Judges a history of operations on single documents: some order of them must explain every answer.

The search is that of Wing and Gong (1993), with the memory of Lowe (2017): an operation takes effect at one moment
between its call and its return, and a set of operations in the same state is tried only once. Pure: no I/O, no clock.

Invariants of what is given to it:
- All times are of one clock. On Linux `time.monotonic_ns` is one clock for all processes.
- Documents are independent of each other, so each one's operations are judged on their own.
- The versions of a document do not repeat, also where it was deleted and made again. Where a new one begins is told by
  the answer; one whose answer is not known is taken to begin with the next.
- An operation that was never answered (its process was killed, or the error said "unknown") has no return. It may take
  effect at any moment after its call, or never.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple


class State(NamedTuple):
    """What a document is: its version, 0 for none, and its value; and the newest of its versions that was deleted."""

    version: int = 0
    value: str | None = None
    deleted: int = 0


ABSENT = State()


class Answer(NamedTuple):
    """What was told: for a load what it found, for a write the versions before and after; None where it tells none."""

    before: int | None = None
    after: int | None = None
    value: str | None = None
    refused: bool = False


_NOTHING_TOLD = Answer()


@dataclass(frozen=True, slots=True)
class Operation:
    """One call, and what became of it. `expected` is the version that a write insists on."""

    key: str
    kind: Literal["load", "save", "delete"]
    called: int
    returned: int | None
    answer: Answer = _NOTHING_TOLD
    value: str | None = None
    expected: int | None = None


def step(state: State, operation: Operation) -> State | None:
    """Return the state after an operation; None when it cannot have got its answer in this one."""
    answer, known = operation.answer, operation.returned is not None
    if operation.kind == "load":
        return state if not known or (answer.after or 0, answer.value) == (state.version, state.value) else None
    refused = operation.expected not in (None, state.version)
    if known and refused != answer.refused:
        return None
    after = state if refused else _deleted(state) if operation.kind == "delete" else _saved(state, operation)
    if known and (answer.before not in (None, state.version) or answer.after not in (None, after.version)):
        return None
    return after


def _deleted(state: State) -> State:
    return State(deleted=max(state.version, state.deleted))


def _saved(state: State, operation: Operation) -> State:
    """Return the next version; a document that is made anew begins above all that it had, and the answer says where."""
    begins = 0 if state.version else operation.answer.after or 0
    return State(max(state.version, state.deleted, begins - 1) + 1, operation.value, state.deleted)


def violations(history: Iterable[Operation], initial: State = ABSENT) -> list[str]:
    """Return a line for each document whose operations no order explains."""
    by_key: dict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        by_key[operation.key].append(operation)
    return [
        f"{key}: no order of its {len(operations)} operations explains the answers; {stuck}"
        for key, operations in sorted(by_key.items())
        if (stuck := _stuck(operations, initial))
    ]


class _Event:
    """The call or the return of an operation, in a list from which both can be taken and put back in O(1)."""

    __slots__ = ("after", "at", "before", "is_call", "operation", "own_return")

    def __init__(self, at: int, operation: Operation, *, is_call: bool) -> None:
        self.at = at
        self.operation = operation
        self.is_call = is_call
        self.own_return: _Event | None = None
        self.before: _Event | None = None
        self.after: _Event | None = None

    def take(self) -> None:
        self._unlink()
        if self.own_return is not None:
            self.own_return._unlink()

    def put_back(self) -> None:
        # the last taken first, since each remembers the neighbours it had when it was taken
        if self.own_return is not None:
            self.own_return._link()
        self._link()

    def _unlink(self) -> None:
        assert self.before is not None
        self.before.after = self.after
        if self.after is not None:
            self.after.before = self.before

    def _link(self) -> None:
        assert self.before is not None
        self.before.after = self
        if self.after is not None:
            self.after.before = self


def _events(operations: Sequence[Operation]) -> _Event:
    """Return the head of the list of calls and returns in the order of time, calls first where they tie."""
    timed: list[tuple[int, bool, int, _Event]] = []
    for at, operation in enumerate(operations):
        call = _Event(at, operation, is_call=True)
        timed.append((operation.called, False, at, call))
        if operation.returned is not None:
            call.own_return = _Event(at, operation, is_call=False)
            timed.append((operation.returned, True, at, call.own_return))
    head = last = _Event(-1, operations[0], is_call=False)
    for *_, event in sorted(timed, key=lambda found: found[:3]):
        last.after, event.before, last = event, last, event
    return head


def _stuck(operations: Sequence[Operation], initial: State) -> str:
    """Search for an order; empty when there is one, else what the longest attempt could not explain."""
    head, state, done = _events(operations), initial, 0
    unexplained = sum(operation.returned is not None for operation in operations)
    tried: set[tuple[int, State]] = set()
    path: list[tuple[_Event, State]] = []
    longest, complaint = -1, ""
    event = head.after
    while unexplained:
        # an unexplained answer has its return in the list, so the end is never reached
        assert event is not None
        if event.is_call:
            after = step(state, event.operation)
            if after is None or (done | 1 << event.at, after) in tried:
                event = event.after
                continue
            path.append((event, state))
            done, state = done | 1 << event.at, after
            tried.add((done, state))
            unexplained -= event.own_return is not None
            event.take()
            event = head.after
            continue
        if len(path) > longest:
            longest, complaint = len(path), f"after {len(path)} of them, in {tuple(state)}, stuck at {event.operation}"
        if not path:
            return complaint
        event, state = path.pop()
        event.put_back()
        done &= ~(1 << event.at)
        unexplained += event.own_return is not None
        event = event.after
    return ""
