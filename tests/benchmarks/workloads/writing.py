"""Saves, updates and deletes, one after another and together."""

from __future__ import annotations

from collections.abc import Mapping

from tests.benchmarks.documents import Session, session, session_name, sessions
from tests.benchmarks.trial import Trial, Way

_CHANGE: Session = {"status": "archived", "updated_at": "2026-06-01T00:00:00+00:00"}


async def save(trial: Trial) -> float:
    return await _saves(trial, trial.sessions, trial.singly)


async def save_over(trial: Trial) -> float:
    return await _saves(trial, _other_contents(trial), trial.singly)


async def save_in_flight(trial: Trial) -> float:
    return await _saves(trial, trial.sessions, trial.in_flight)


async def save_over_in_flight(trial: Trial) -> float:
    return await _saves(trial, _other_contents(trial), trial.in_flight)


async def batch(trial: Trial) -> float:
    # where a batch is a loop, a part of it shows the rate
    many = trial.amounts.batch if trial.store.batches else min(trial.amounts.batch, trial.calls)
    saved = dict(sessions(range(many), trial.size_kb))
    rate = await trial.rate(len(saved), lambda: trial.store.save_many(saved))
    await trial.check_stored(saved)
    return rate


async def update(trial: Trial) -> float:
    return await _updates(trial, trial.singly)


async def update_in_flight(trial: Trial) -> float:
    return await _updates(trial, trial.in_flight)


async def delete(trial: Trial) -> float:
    names = [(name,) for name in trial.sessions]
    rate = await trial.singly(trial.store.delete, names)
    left = [name for (name,) in names if await trial.store.exists(name)]
    trial.check(not left, f"{len(left)} are still there")
    return rate


async def _saves(trial: Trial, saved: Mapping[str, Session], way: Way) -> float:
    rate = await way(trial.store.save, saved.items())
    await trial.check_stored(saved)
    return rate


async def _updates(trial: Trial, way: Way) -> float:
    names = list(trial.sessions)
    rate = await way(trial.store.update, [(name, _CHANGE) for name in names])
    await trial.check_stored(trial.sessions)
    for name in (names[0], names[-1]):
        found = await trial.store.get(name)
        trial.check(found["metadata"]["status"] == _CHANGE["status"], f"{name} is not updated")
    return rate


def _other_contents(trial: Trial) -> dict[str, Session]:
    return {session_name(number): session(number + trial.calls, trial.size_kb) for number in range(trial.calls)}
