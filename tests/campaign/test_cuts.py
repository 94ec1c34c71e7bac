"""Real power cuts: ext4 on a loop device, shut down under a process that writes to it. See `cutting`."""

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

ROOT = Path(__file__).parents[2]
CYCLES = 50
MOUNTED = {
    "as usual": "",
    "committing often": "commit=1,nodelalloc",
    "data after names": "data=writeback,noauto_da_alloc",
    "data after names, committing often": "data=writeback,noauto_da_alloc,commit=1",
}


@pytest.mark.parametrize(("seed", "name"), list(enumerate(MOUNTED)))
def test_what_is_promised_holds_when_the_power_of_a_file_system_is_cut(
    seed: int, name: str, quick: Path, report: Report
) -> None:
    if reason := why_not(quick):
        pytest.skip(reason)
    command = [sys.executable, "-m", "tests.campaign.cutting", str(quick), f"--options={MOUNTED[name]}"]
    command += [f"--cycles={CYCLES}", f"--seed={seed}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    report(f"real cuts: ext4 {name}", result["cycles"], result["violations"])
