"""Power cuts at every call of recorded work: see `power` for what a cut may do, `promises` for what must hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
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


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return interpose.build(tmp_path_factory.mktemp("interpose"))


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Path]:
    """Return a directory in memory where there is one: what a disk would do is the model's business."""
    memory = Path("/dev/shm")  # noqa: S108 - a fresh directory is made in it
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as directory:
        yield Path(directory)


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
