from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.campaign import interpose
from tests.campaign.conftest import Report
from tests.campaign.modes import FAMILIES
from tests.campaign.works import WORKS

if interpose.why_not():
    pytest.skip(interpose.why_not(), allow_module_level=True)

ROOT = Path(__file__).parents[2]
# where it makes a difference whether commits are synced
BOTH = ("put, update, delete", "batch", "group", "close")
# a store that syncs nothing opens no file as it is closed
EVERY = 7
"""On a coarse clock one step of so many is tried."""
TRIALS = {name: (name,) for name in WORKS} | {f"{name}, no fsync": (name, "--no-fsync") for name in BOTH}


def run(library: Path, *arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=interpose.environment(library), capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def violations(results: list[dict[str, Any]]) -> list[str]:
    return [
        f"{found['mode']} at {found['step']}, {found['call']}: {found['wrong']}" for found in results if found["wrong"]
    ]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("trial", TRIALS)
def test_whatever_call_of_the_system_goes_wrong_every_answer_is_true_and_the_store_goes_on(
    library: Path, quick: Path, report: Report, trial: str, family: str
) -> None:
    work, *options = TRIALS[trial]
    results = run(library, "tests.campaign.calls", work, family, str(quick), *options)
    # each way has found its calls
    assert Counter(found["mode"] for found in results).keys() <= {mode.name for mode in FAMILIES[family]}
    report(f"calls: {trial}: {family}", len(results), violations(results))


@pytest.mark.usefixtures("coarse_clock")
@pytest.mark.parametrize("family", ["killed", "once", "for a while"])
@pytest.mark.parametrize("work", WORKS)
def test_on_a_coarse_clock_every_answer_is_true_and_the_store_goes_on_too(
    library: Path, quick: Path, report: Report, work: str, family: str
) -> None:
    results = run(library, "tests.campaign.calls", work, family, str(quick), f"--every={EVERY}")
    report(f"calls: {work}: {family}, a coarse clock", len(results), violations(results))


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace to compare with")
def test_strace_sees_the_calls_that_the_library_sees_and_its_kills_find_nothing_else(
    library: Path, quick: Path, report: Report
) -> None:
    compared, *killed = run(library, "tests.campaign.straced", "batch", str(quick))
    assert not compared["wrong"], compared
    assert len(killed) >= 20, "the kills of strace did not land"
    report("calls: batch: killed by strace", len(killed), violations(killed))
