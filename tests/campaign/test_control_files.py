"""The control directory, or a part of it, removed again and again under processes that work: by `git clean`, say.

What is promised then: no acknowledged write is lost, nobody sees half of a batch that an open store has put in place
whole, and errors are the store's own. A call that is under way may be refused.
"""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fsstore import FileStorage
from tests.campaign.batches import first_batch
from tests.campaign.conftest import Report
from tests.campaign.processes import working
from tests.campaign.worker import COUNTER

PROCESSES, COUNTS, BATCHES = 4, 100, 40
_LONGEST_PAUSE_SECONDS = 0.03
MODES = pytest.mark.parametrize("fsync", [False, True], ids=["quick", "durable"])


def lock(control: Path) -> None:
    (control / "lock").unlink(missing_ok=True)


def counters(control: Path) -> None:
    (control / "seq").unlink(missing_ok=True)


def both(control: Path) -> None:
    lock(control)
    counters(control)


def everything(control: Path) -> None:
    # what is made anew meanwhile stays for the next time
    shutil.rmtree(control, ignore_errors=True)


@MODES
@pytest.mark.parametrize("remove", [lock, counters, both, everything])
async def test_no_count_is_lost_while_control_files_are_removed(
    tmp_path: Path, report: Report, remove: Callable[[Path], None], *, fsync: bool
) -> None:
    with working(tmp_path, *[("count", COUNTS)] * PROCESSES, fsync=fsync) as workers, removing(tmp_path, remove):
        said = [worker.finished()[0] for worker in workers]
    async with await FileStorage.open(tmp_path) as storage:
        record = await storage.load(COUNTER)

    counted = 0 if record is None else int(record["data"])
    applied, unknown = (sum(fates[fate] for fates in said) for fate in ("applied", "unknown"))
    lost = [] if applied <= counted <= applied + unknown else [f"{applied} counts and {unknown} unknown gave {counted}"]
    report(f"counts while {remove.__name__} goes, {_mode(fsync=fsync)}", applied, lost)


@MODES
@pytest.mark.parametrize("remove", [lock, counters, both])
async def test_who_only_reads_sees_whole_batches_while_control_files_are_removed(
    tmp_path: Path, report: Report, remove: Callable[[Path], None], *, fsync: bool
) -> None:
    async with await FileStorage.open(tmp_path, fsync=fsync) as storage:
        await storage.commit(first_batch())
    works: list[tuple[str, object]] = [("count_up", BATCHES)] * 2
    works += [("watch", f"{number} {2 * BATCHES}") for number in range(2)]
    with working(tmp_path, *works, fsync=fsync) as workers, removing(tmp_path, remove):
        looks = [worker.finished()[0] for worker in workers[2:]]
    found = [line for _, wrong, _ in looks for line in wrong]
    report(f"looks while {remove.__name__} goes, {_mode(fsync=fsync)}", sum(number for number, *_ in looks), found)


@contextmanager
def removing(store: Path, remove: Callable[[Path], None]) -> Iterator[None]:
    """Remove something from the control directory at random moments."""
    done, chance = threading.Event(), random.Random(7)

    def go_on() -> None:
        while not done.wait(chance.uniform(0, _LONGEST_PAUSE_SECONDS)):
            with suppress(FileNotFoundError):
                remove(store / ".fsstore")

    remover = threading.Thread(target=go_on)
    remover.start()
    try:
        yield
    finally:
        done.set()
        remover.join()


def _mode(*, fsync: bool) -> str:
    return "durable" if fsync else "not synced"
