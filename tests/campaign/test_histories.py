"""What several processes see of each other: single documents in an order that makes sense, batches only whole."""

from __future__ import annotations

from typing import Any

import pytest

from fsstore import FileStorage
from tests.campaign.batches import first_batch
from tests.campaign.conftest import Ground, Report
from tests.campaign.linearizability import Answer, Operation, violations
from tests.campaign.processes import side_by_side

PROCESSES = 4
MODES = pytest.mark.parametrize("fsync", [False, True], ids=["quick", "durable"])


@MODES
@pytest.mark.parametrize("seed", range(9))
def test_single_documents_of_four_processes_are_linearizable(
    ground: Ground, report: Report, seed: int, *, fsync: bool
) -> None:
    said = side_by_side(ground.store, *(("history", f"{seed}-{number}") for number in range(PROCESSES)), fsync=fsync)

    history = [_operation(line) for lines in said for line in lines]

    # a history without conflicts and without anything at the same time would show nothing
    assert sum(operation.answer.refused for operation in history) > len(history) / 50
    assert (
        sum(operation.kind == "delete" and bool(operation.answer.before) for operation in history) > len(history) / 20
    )
    found = [f"seed {seed}: {line}" for line in violations(history)]
    report(f"histories of single documents, {_mode(fsync=fsync)}, {ground.name}", len(history), found)


@MODES
async def test_no_reader_sees_half_of_a_batch_and_none_goes_back(
    ground: Ground, report: Report, *, fsync: bool
) -> None:
    turns = 120 if fsync else 200
    async with await FileStorage.open(ground.store, fsync=fsync) as storage:
        await storage.commit(first_batch())
    seed = 3

    readers = [("watch", f"{seed + number} {2 * turns}") for number in range(2)]
    said = side_by_side(ground.store, ("count_up", turns), ("count_up", turns), *readers, fsync=fsync)

    looks = [lines[0] for lines in said[2:]]
    found = [f"seed {seed}: {line}" for (errors,) in said[:2] for line in errors]
    found += [f"seed {seed}: {line}" for _, wrong, errors in looks for line in (*wrong, *errors)]
    report(f"looks at batches, {_mode(fsync=fsync)}, {ground.name}", sum(number for number, *_ in looks), found)


def _operation(line: list[Any]) -> Operation:
    key, kind, called, returned, answer, value, expected, seen = line
    return Operation(key, kind, called, returned, Answer(*answer), value, expected, seen)


def _mode(*, fsync: bool) -> str:
    return "durable" if fsync else "not synced"
