"""Busy processes share one lock: nobody waits long, and nobody gets little.

The machine is not the subject: a process that does not use the store measures, at the same time and on the same disk,
how long the machine kept it from working, and what of a wait falls into such a stall is not counted. Every promise may
take three runs: another program can spoil one of them, a lock that is unfair spoils all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.campaign.conftest import Report
from tests.campaign.processes import side_by_side

SECONDS = 3.0
LONGEST_SECONDS = 0.25
RUNS = 3

Span = tuple[float, float]


@pytest.mark.parametrize("fsync", [False, True], ids=["quick", "durable"])
@pytest.mark.parametrize(
    "tasks",
    [(1, 1, 1, 1), (64, 64, 64, 64), (600, 600, 1, 1), (600, 1)],
    ids=["four", "four with many tasks", "two with many tasks and two", "one with many tasks and another"],
)
def test_busy_processes_each_get_their_share_in_time(
    tmp_path: Path, report: Report, tasks: tuple[int, ...], *, fsync: bool
) -> None:
    saves = 0
    found: list[str] = []
    for run in range(RUNS):
        waits = _waits(tmp_path / str(run), tasks, fsync=fsync)
        saves += sum(map(len, waits))
        # where many tasks queue up, they wait for each other
        found = _too_long([some for some, number in zip(waits, tasks, strict=True) if number == 1])
        found += _too_little(waits) if len(set(tasks)) == 1 else []
        if not found:
            break
    report("waits of busy processes, " + ("durable" if fsync else "not synced"), saves, found)


def _waits(store: Path, tasks: Sequence[int], *, fsync: bool) -> list[list[float]]:
    """Return, of each process, how long each save took in seconds, without the stalls of the machine."""
    works = [("hurry", f"{number} {SECONDS}") for number in tasks]
    *said, (stalls,) = side_by_side(store, *works, ("stall", SECONDS), fsync=fsync)
    return [[_own((begin, end), stalls) for begin, end in spans] for (spans,) in said]


def _own(wait: Span, stalls: Sequence[Span]) -> float:
    begin, end = wait
    if end - begin < LONGEST_SECONDS:
        # nothing is judged by so short a wait
        return end - begin
    return end - begin - sum(max(0.0, min(end, until) - max(begin, since)) for since, until in stalls)


def _too_long(waits: Sequence[Sequence[float]]) -> list[str]:
    return [f"a save waited {wait:.3f} s" for some in waits for wait in some if wait > LONGEST_SECONDS]


def _too_little(waits: Sequence[Sequence[float]]) -> list[str]:
    shares = [len(some) for some in waits]
    is_fair = min(shares) >= sum(shares) / len(shares) / 2
    return [] if is_fair else [f"the saves of each process are {shares}"]
