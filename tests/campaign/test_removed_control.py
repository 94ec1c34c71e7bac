"""Somebody removes the control files under four processes, again and again, as cleaners and `git clean` do."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fsstore import FileStorage
from tests.campaign.batches import first_batch
from tests.campaign.conftest import Report
from tests.campaign.processes import side_by_side
from tests.campaign.worker import KEYS

PROCESSES, TURNS = 4, 300
# to make all of it anew takes several syncs
_PAUSE_SECONDS = {"lock and counters": 0.01, "all of it": 0.15}
MODES = pytest.mark.parametrize("fsync", [False, True], ids=["quick", "durable"])


def _remove_lock_and_counters(store: Path) -> None:
    for name in ("lock", "seq"):
        (store / ".fsstore" / name).unlink(missing_ok=True)


def _remove_everything(store: Path) -> None:
    shutil.rmtree(store / ".fsstore", ignore_errors=True)


REMOVING: dict[str, Callable[[Path], None]] = {
    "lock and counters": _remove_lock_and_counters,
    "all of it": _remove_everything,
}
REMOVED = pytest.mark.parametrize("what", REMOVING)


@contextmanager
def removing(store: Path, what: str) -> Iterator[Counter[str]]:
    """Remove it again and again until the block ends; tell how often."""
    ended, times = threading.Event(), Counter[str]()

    def remove() -> None:
        while not ended.wait(_PAUSE_SECONDS[what]):
            REMOVING[what](store)
            times[what] += 1

    thread = threading.Thread(target=remove)
    thread.start()
    try:
        yield times
    finally:
        ended.set()
        thread.join()


@MODES
@REMOVED
async def test_no_increment_is_lost(tmp_path: Path, report: Report, what: str, *, fsync: bool) -> None:
    with removing(tmp_path, what) as times:
        said = side_by_side(tmp_path, *(("increment", TURNS) for _ in range(PROCESSES)), fsync=fsync)

    done = Counter[str]()
    for ((counted, _),) in said:
        done.update(counted)
    assert times[what] > 5
    async with await FileStorage.open(tmp_path, fsync=fsync) as storage:
        found = {key: (await storage.load(key) or {"data": 0})["data"] for key in KEYS}
    lost = [
        f"{what}: {key} is {found[key]} after {done[key]} acknowledged increments, {done[f'{key} unknown']} unknown"
        for key in KEYS
        if not done[key] <= found[key] <= done[key] + done[f"{key} unknown"]
    ]
    report(f"increments while {what} are removed, {'durable' if fsync else 'not synced'}", done.total(), lost)


@MODES
@REMOVED
async def test_no_reader_sees_half_of_a_batch(tmp_path: Path, report: Report, what: str, *, fsync: bool) -> None:
    turns = 100
    async with await FileStorage.open(tmp_path, fsync=fsync) as storage:
        await storage.commit(first_batch())
    readers = [("watch", f"{number} {2 * turns}") for number in range(2)]
    with removing(tmp_path, what) as times:
        said = side_by_side(tmp_path, ("count_up", turns), ("count_up", turns), *readers, fsync=fsync)

    looks = [lines[0] for lines in said[2:]]
    found = [line for _, lines in looks for line in lines]
    assert times[what] > 5
    report(f"looks at batches while {what} are removed", sum(number for number, _ in looks), found)
