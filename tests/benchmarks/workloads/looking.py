"""Lists and counts by status and user, in stores that grow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.benchmarks.documents import STATUSES, USERS, Session, belongs_to
from tests.benchmarks.trial import Trial

_KINDS = len(STATUSES) * USERS


async def list_metadata(trial: Trial) -> float:
    return await _lists(trial, trial.store.list_metadata, lambda metadata: metadata)


async def list_sessions(trial: Trial) -> float:
    return await _lists(trial, trial.store.list_sessions, lambda session: session["metadata"])


async def count(trial: Trial) -> float:
    counted: list[int] = []

    async def count_one(number: int) -> None:
        counted.append(await trial.store.count(STATUSES[number % len(STATUSES)]))

    rate = await trial.singly(count_one, ((number,) for number in range(_times(trial))))
    for number, many in enumerate(counted):
        status = number % len(STATUSES)
        expected = len(range(status, trial.documents, len(STATUSES)))
        trial.check(many == expected, f"counted {many} of {expected}")
    return rate


async def _lists(
    trial: Trial,
    lists: Callable[[str, str, int], Awaitable[list[Session]]],
    metadata_of: Callable[[Session], Session],
) -> float:
    found: list[list[Session]] = []

    async def list_one(number: int) -> None:
        found.append(await lists(*belongs_to(number), trial.amounts.page))

    rate = await trial.singly(list_one, ((number,) for number in range(_times(trial))))
    for number, page in enumerate(found):
        _check_page(trial, number, [metadata_of(session) for session in page])
    return rate


def _times(trial: Trial) -> int:
    # who reads everything for each list has shown what it costs after one
    return trial.amounts.lists if trial.store.indexed else 1


def _check_page(trial: Trial, number: int, page: list[Any]) -> None:
    there = len(range(number % _KINDS, trial.documents, _KINDS))
    trial.check(len(page) == min(there, trial.amounts.page), f"listed {len(page)}")
    kinds = {(metadata["status"], metadata["user_id"]) for metadata in page}
    trial.check(kinds <= {belongs_to(number)}, f"listed {kinds}")
    times = [metadata["updated_at"] for metadata in page]
    trial.check(times == sorted(times, reverse=True), "listed in a wrong order")
