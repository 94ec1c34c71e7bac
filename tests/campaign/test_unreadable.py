"""One document, shard, segment or index in trouble keeps nobody from any other: see `troubled`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fsstore import FileStorage, SessionService
from tests.campaign import interpose
from tests.campaign.conftest import Report

if reason := interpose.why_not():
    pytest.skip(reason, allow_module_level=True)

from tests.campaign.public_calls import Calls, Model, victims
from tests.campaign.troubled import PLACES

ROOT = Path(__file__).parents[2]
MADE_BY_EACH_TRIAL = {"open", "close"}
READS_NOTHING = {"clock", "watch"}
"""What `watch` gives is tried in `tests/filesystem/watch`."""


@pytest.mark.parametrize("trials", ["errors", pytest.param("users", marks=pytest.mark.needs_root)])
@pytest.mark.parametrize("place", PLACES)
def test_one_thing_in_trouble_keeps_nobody_from_any_other(
    library: Path, quick: Path, report: Report, place: str, trials: str
) -> None:
    if trials == "users" and os.geteuid() != 0:
        pytest.fail("only root can become another user")
    command = [sys.executable, "-m", "tests.campaign.troubled", place, trials, str(quick)]
    done = subprocess.run(
        command, cwd=ROOT, env=interpose.environment(library), capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = [json.loads(line) for line in done.stdout.splitlines()]
    wrong = [f"{found['trial']}: {complaint}" for found in results for complaint in found["wrong"]]
    report(f"{place} in trouble: {trials}", len(results), wrong)


async def test_no_public_call_is_forgotten(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        calls = Calls(storage, Model(), tmp_path)
        made = [*calls.found, *calls.counted, *calls.asked, *calls.written, *victims(storage)]
    known = {name.split(" ")[0] for name in made} | MADE_BY_EACH_TRIAL | READS_NOTHING
    public = {name for face in (FileStorage, SessionService) for name in dir(face) if not name.startswith("_")}
    assert public - known == set()
