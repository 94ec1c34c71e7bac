"""Real power cuts: ext4 on a loop device, shut down under a process that writes to it. See `cutting`.

Each cycle is looked at after a new start of the system, or as if only the medium had gone and come back.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("images are mounted on Linux alone", allow_module_level=True)

from tests.campaign.conftest import Report
from tests.campaign.cutting import why_not

pytestmark = pytest.mark.needs_root

ROOT = Path(__file__).parents[2]
AFTER = {"a new start": (50, ""), "the same boot": (30, "--same-boot")}
"""How many cycles, and the option."""
TIMES = 12
MOUNTED = {
    "as usual": "",
    "committing often": "commit=1,nodelalloc",
    "data after names": "data=writeback,noauto_da_alloc",
    "data after names, committing often": "data=writeback,noauto_da_alloc,commit=1",
}


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize(("seed", "name"), list(enumerate(MOUNTED)))
def test_what_is_promised_holds_when_the_power_of_a_file_system_is_cut(
    seed: int, name: str, after: str, quick: Path, report: Report
) -> None:
    if reason := why_not(quick):
        pytest.fail(reason)
    cycles, option = AFTER[after]
    options = [f"--options={MOUNTED[name]}", f"--cycles={cycles}", f"--seed={seed}", option]
    report(f"real cuts: ext4 {name}, {after}", *run("tests.campaign.cutting", quick, *options))


def test_what_was_acknowledged_is_there_when_the_medium_goes_and_comes_back(quick: Path, report: Report) -> None:
    if reason := why_not(quick):
        pytest.fail(reason)
    report("real cuts: the medium goes", *run("tests.campaign.going", quick, f"--times={TIMES}"))


def run(module: str, *arguments: object) -> tuple[int, list[str]]:
    """Return how often the power was cut, and what was wrong."""
    command = [sys.executable, "-m", module, *filter(None, map(str, arguments))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    return result["cycles"], result["violations"]
