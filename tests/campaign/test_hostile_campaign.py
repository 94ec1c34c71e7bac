"""Hostile trees and documents, all of them: each obstacle in each place, and many more documents than a normal run."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fsstore import FileStorage
from fsstore.errors import StorageError
from tests.campaign.conftest import Ground, Report
from tests.filesystem.documents.test_codec import with_value
from tests.filesystem.hostile import (
    OBSTACLES,
    Obstacle,
    cleared,
    expected_after,
    fill,
    full_directory,
    in_time,
    link_to_a_directory,
    ordeal,
    outside_of,
    place,
    planted,
    values_of,
)
from tests.filesystem.test_exactness import EDITS, NUMBERS, WHOLE, assert_as_the_oracle_says, mutated
from tests.filesystem.test_hostile import PLANTED, UNTOLD

DOCUMENTS = 10_000
OPEN_AT_THE_TIME = (False, True)
KNOWN = {(link_to_a_directory, "", True), (link_to_a_directory, "log", True)}
"""What is followed while open, as `test_hostile` expects it to fail."""


async def test_each_obstacle_in_each_place_of_the_control_directory(ground: Ground, report: Report) -> None:
    trials = [trial for trial in itertools.product(OBSTACLES, PLANTED, OPEN_AT_THE_TIME) if trial not in KNOWN]
    violations: list[str] = []
    ground.store.mkdir()
    for number, (obstacle, name, is_open) in enumerate(trials):
        violations += await tried(ground.store / str(number), f".fsstore/{name}", obstacle, is_open=is_open)
    report(f"hostile control directory, {ground.name}", len(trials), violations)


async def test_each_obstacle_in_the_place_of_documents_and_shards(ground: Ground, report: Report) -> None:
    document, *shards = place(Path(), "n1"), place(Path(), "n1").parent, place(Path(), "new").parent
    trials = list(itertools.product(OBSTACLES, [document, *shards], OPEN_AT_THE_TIME))
    # a directory in the place of a shard is a shard
    trials = [trial for trial in trials if trial[0] is not full_directory or trial[1] is document]
    violations: list[str] = []
    ground.store.mkdir()
    for number, (obstacle, name, is_open) in enumerate(trials):
        violations += await tried(ground.store / str(number), str(name), obstacle, is_open=is_open)
    report(f"hostile documents and shards, {ground.name}", len(trials), violations)


async def tried(directory: Path, name: str, obstacle: Obstacle, *, is_open: bool) -> list[str]:
    """Go through the ordeal with one obstacle, and return what went wrong."""
    told = f"{obstacle.__name__} as {name}, planted while {'open' if is_open else 'closed'}"
    outside, store = outside_of(directory), directory / "store"
    async with await FileStorage.open(store) as storage:
        await fill(storage)
        await storage.list()
    shutil.copytree(store, directory / "kept")
    without = UNTOLD.get(Path(name).name, ())
    try:
        came = await suffered(store, store / name, outside, obstacle, without=without, is_open=is_open)
    except Exception as error:  # noqa: BLE001 - whatever is raised here is what the campaign looks for
        return [f"{told}: {error!r}"]
    if name.endswith(".json") and not isinstance(came["save"], StorageError):
        # what stood in the place of a document has given way to it
        cleared(store / ".fsstore")
        return [f"{told}: {difference}" for difference in await differences(store, came)]
    cleared(store / name)
    if not name.startswith(".fsstore") and (directory / "kept" / name).exists():
        (directory / "kept" / name).rename(store / name)
    cleared(store / ".fsstore")
    return [f"{told}: {difference}" for difference in await differences(store, came)]


async def suffered(
    store: Path, path: Path, outside: Path, obstacle: Obstacle, *, without: Any, is_open: bool
) -> dict[str, Any]:
    """Return what came of each call; those of a store that could not be opened were all refused."""
    storage: Any = await FileStorage.open(store) if is_open else None
    try:
        with planted(obstacle, path, outside):
            if storage is None:
                storage = await in_time(FileStorage.open(store))
            if isinstance(storage, StorageError):
                return dict.fromkeys(("save", "save new", "update", "batch", "delete"), storage)
            return await ordeal(storage, store.with_name("export.jsonl"), without=without)
    finally:
        if isinstance(storage, FileStorage):
            await in_time(storage.close())


async def differences(store: Path, came: dict[str, Any]) -> list[str]:
    """Return the documents that are not what the calls have told."""
    expected = expected_after(came)
    async with await FileStorage.open(store) as storage:
        values = await values_of(storage)
    return [f"{key} is {value!r}" for key, value in values.items() if value not in expected[key]]


def test_many_mutated_documents_are_read_exactly_or_refused(report: Report) -> None:
    runs, violations = 0, list[str]()

    @settings(
        max_examples=DOCUMENTS,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(WHOLE), EDITS, NUMBERS)
    def look(data: bytes, edits: list[tuple[int, int, bytes]], number: str) -> None:
        nonlocal runs
        runs += 2
        for text in (mutated(data, edits), with_value(number.encode(), beside=b"18446744073709551616")):
            try:
                assert_as_the_oracle_says(text)
            except Exception as error:  # noqa: BLE001 - the same
                violations.append(f"{text!r}: {error!r}")

    look()
    report("hostile bytes", runs, violations)
