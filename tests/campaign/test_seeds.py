"""The campaign itself put to the test: of a source with a bug in it, it must find the bug.

The bugs are in `seeds.toml`. Each is a change of the source as text, which must fit in exactly one place: when the
source moves on, the seed has to be written anew, and the test says so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.campaign import interpose
from tests.campaign.conftest import Report

if reason := interpose.why_not():
    pytest.skip(reason, allow_module_level=True)

ROOT = Path(__file__).parents[2]
SEEDS: list[dict[str, Any]] = tomllib.loads(Path(__file__).with_name("seeds.toml").read_text("utf-8"))["seed"]
PLANTED = ("fsstore", "tests", "sample_data", "pyproject.toml", "README.md")
TESTS_FAILED = 1


def plant(seed: dict[str, Any], garden: Path) -> None:
    """Make a copy of the project with that bug in it."""
    for name in PLANTED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, garden / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, garden / name)
    for change in seed["changes"]:
        path = garden / "fsstore" / "filesystem" / change["file"]
        text = path.read_text("utf-8")
        assert text.count(change["before"]) == 1, f"the seed does not fit into {path.name} any more: {change}"
        path.write_text(text.replace(change["before"], change["after"]), "utf-8")


def is_found(seed: dict[str, Any], garden: Path, directory: Path, library: Path) -> bool:
    """Run what must notice, and return whether it did."""
    module, *arguments = seed["search"]
    arguments = [str(directory) if argument == "DIRECTORY" else argument for argument in arguments]
    environment = dict(os.environ) if module == "pytest" else interpose.environment(library)
    # the copy, not what is installed
    environment["PYTHONPATH"] = str(garden)
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        command, cwd=garden, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    if module == "pytest":
        assert done.returncode in (0, TESTS_FAILED), done.stdout + done.stderr
        return done.returncode == TESTS_FAILED
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    return any(each.get("violations") or each.get("wrong") for each in told)


@pytest.mark.parametrize("seed", SEEDS, ids=[seed["bug"] for seed in SEEDS])
def test_a_planted_bug_is_found(
    seed: dict[str, Any], library: Path, tmp_path: Path, quick: Path, report: Report
) -> None:
    plant(seed, tmp_path)
    is_seen = is_found(seed, tmp_path, quick, library)
    report(f"planted: {seed['bug']}", 1, [] if is_seen else [f"promise {seed['promise']} was broken, and nobody saw"])
