"""Opening a store that has many documents, and its first look at all of them."""

from __future__ import annotations

from tests.benchmarks.caches import drop_caches
from tests.benchmarks.documents import session_name
from tests.benchmarks.trial import Trial
from tests.benchmarks.workloads.processes import child


async def reopen(trial: Trial) -> float:
    async def work() -> None:
        await trial.store.open()
        trial.check(await trial.store.get(session_name(0)), "opened without its sessions")

    await trial.store.close()
    return 1000 * await trial.seconds(work)


async def in_process(trial: Trial) -> float:
    return await _in_child(trial, "open")


async def resume(trial: Trial) -> float:
    return await _in_child(trial, "resume")


async def cold(trial: Trial) -> float:
    return await _in_child(trial, "open", cools=True)


async def resume_cold(trial: Trial) -> float:
    return await _in_child(trial, "resume", cools=True)


async def _in_child(trial: Trial, do: str, *, cools: bool = False) -> float:
    await trial.store.close()
    try:
        async with child(trial, do) as process:
            if cools:
                # its modules are loaded by now
                drop_caches(allowed=trial.amounts.drop_caches)
            return 1000 * float(await process.result())
    finally:
        await trial.store.open()


async def survey(trial: Trial) -> float:
    """Return what it costs to see that no file has changed: the first use of an index, or scandir and stat."""
    found = 0

    async def work() -> None:
        nonlocal found
        found = await trial.store.survey()

    await trial.store.close()
    await trial.store.open()
    seconds = await trial.seconds(work)
    trial.check(found == trial.documents, f"saw {found} of {trial.documents}")
    return 1000 * seconds
