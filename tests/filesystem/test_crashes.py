from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

if not hasattr(os, "fork"):
    pytest.skip("a process is killed in a child of fork, which this system has not", allow_module_level=True)

ROOT = Path(__file__).parents[2]


def crash(scenario: str, directory: Path, *options: str, documents: int = 10) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.filesystem.crashing", scenario, str(directory), *options]
    environment = {**os.environ, "FSSTORE_CRASHING_DOCUMENTS": str(documents)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("options", [(), ("--no-fsync",)], ids=["durable", "no fsync"])
@pytest.mark.parametrize("documents", [6, pytest.param(50, marks=pytest.mark.campaign)])
def test_a_batch_killed_at_any_step_is_there_whole_or_not_at_all(
    quick: Path, options: tuple[str, ...], documents: int
) -> None:
    results = crash("batch", quick, *options, documents=documents)
    assert Counter(result["state"] for result in results).keys() == {"old", "new"}
    calls = Counter(result["call"] for result in results)
    # the kills fell on each kind of step: staging, logging, placing
    assert calls["open"] >= documents * 4 // 5
    assert calls["replace"] >= documents * 4 // 5
    assert calls["unlink"] >= documents // 5
    states = [result["state"] for result in results]
    assert states == sorted(states, key=["old", "new"].index), "a later step knows less than an earlier one"


@pytest.mark.parametrize("options", [(), ("--no-fsync",)], ids=["durable", "no fsync"])
@pytest.mark.parametrize("scenario", ["save", "insert", "delete"])
def test_a_single_change_killed_at_any_step_is_old_or_new(quick: Path, scenario: str, options: tuple[str, ...]) -> None:
    results = crash(scenario, quick, *options)
    assert len(results) >= 4
    assert {result["state"] for result in results} == {"old", "new"}
