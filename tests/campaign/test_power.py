"""Power cuts at every call of recorded work: see `power` for what a cut may do, `promises` for what must hold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaign import interpose
from tests.campaign.conftest import Report

if reason := interpose.why_not():
    pytest.skip(reason, allow_module_level=True)

from tests.campaign.recorded import SCENARIOS

ROOT = Path(__file__).parents[2]
STATES, STATES_WHEN_FAILING = 260, 90
STATES_OF_RECOVERY, CUTS = 300, 20


def explore(library: Path, directory: Path, scenario: str, *options: str) -> tuple[int, list[str]]:
    """Return how many states were looked at, and what was wrong."""
    command = [sys.executable, "-m", "tests.campaign.exploring", scenario, str(directory), *options]
    environment = interpose.environment(library)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    return result["states"], result["violations"]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_is_promised_holds_wherever_the_power_is_cut(
    scenario: str, library: Path, quick: Path, report: Report
) -> None:
    states = STATES_WHEN_FAILING if "fails" in scenario else STATES
    report(f"power: {scenario}", *explore(library, quick, scenario, f"--states={states}"))


@pytest.mark.parametrize("scenario", ["batches", "segments", "edits", "first"])
def test_what_is_promised_holds_when_the_power_is_cut_again_in_a_recovery(
    scenario: str, library: Path, quick: Path, report: Report
) -> None:
    found = explore(library, quick, scenario, f"--states={STATES_OF_RECOVERY}", f"--cuts={CUTS}")
    report(f"power: {scenario}, and again in recovery", *found)
