"""Power cuts at every call of recorded work: see `power` for what a cut may do, `promises` for what must hold.

Each state is looked at after a new start of the system, and as if only the medium had gone and come back.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.campaign import interpose
from tests.campaign.conftest import Report

if reason := interpose.why_not():
    pytest.skip(reason, allow_module_level=True)

from tests.campaign.exploring import WORKS
from tests.campaign.failing import FAILING
from tests.campaign.recorded import SCENARIOS

ROOT = Path(__file__).parents[2]
CUTS = 20
STATES_WHEN_COARSE = 50


class Sizes(NamedTuple):
    """How many states of a piece of work are looked at."""

    plain: int
    failing: int
    """Of work in which a sync fails."""
    recovery: int
    option: str = ""


AFTER = {"a new start": Sizes(260, 90, 300), "the same boot": Sizes(160, 60, 200, "--same-boot")}


def explore(library: Path, directory: Path, scenario: str, *options: str) -> tuple[int, list[str]]:
    """Return how many states were looked at, and what was wrong."""
    command = [sys.executable, "-m", "tests.campaign.exploring", scenario, str(directory), *filter(None, options)]
    environment = interpose.environment(library)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    return result["states"], result["violations"]


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("scenario", WORKS)
def test_what_is_promised_holds_wherever_the_power_is_cut(
    scenario: str, after: str, library: Path, quick: Path, report: Report
) -> None:
    sizes = AFTER[after]
    states = sizes.failing if scenario in FAILING else sizes.plain
    report(f"power: {scenario}, {after}", *explore(library, quick, scenario, f"--states={states}", sizes.option))


@pytest.mark.usefixtures("coarse_clock")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_is_promised_holds_on_a_coarse_clock_wherever_the_power_is_cut(
    scenario: str, library: Path, quick: Path, report: Report
) -> None:
    report(f"power: {scenario}, a coarse clock", *explore(library, quick, scenario, f"--states={STATES_WHEN_COARSE}"))


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("scenario", ["batches", "segments", "edits", "first"])
def test_what_is_promised_holds_when_the_power_is_cut_again_in_a_recovery(
    scenario: str, after: str, library: Path, quick: Path, report: Report
) -> None:
    sizes = AFTER[after]
    found = explore(library, quick, scenario, f"--states={sizes.recovery}", f"--cuts={CUTS}", sizes.option)
    report(f"power: {scenario}, and again in recovery, {after}", *found)
