"""What every test run has: a directory in memory, and the summary of the fault campaign when it was part of the run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# on a slow or busy machine an example takes as long as it takes: the tests that are about time measure it themselves
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

CAMPAIGN = "campaign"
_LINE = "{:{widest}}  {:>7}  {:>10}  {:>7.1f}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a table: each scenario of the campaign, its runs, the violations found, and its time."""
    rows = [
        (scenario, runs, violations, report.duration)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call"
        for scenario, runs, violations in _told(report)
    ]
    if not rows:
        return
    terminalreporter.section("fault campaign")
    widest = max(len(scenario) for scenario, *_ in rows)
    terminalreporter.write_line(f"{'scenario':{widest}}  {'runs':>7}  violations  seconds")
    for scenario, runs, violations, seconds in sorted(rows):
        terminalreporter.write_line(_LINE.format(scenario, runs, violations, seconds, widest=widest))
    total = sum(runs for _, runs, _, _ in rows), sum(found for _, _, found, _ in rows), sum(row[-1] for row in rows)
    terminalreporter.write_line(_LINE.format("in all", *total, widest=widest))


def _told(report: Any) -> list[tuple[str, int, int]]:
    return [tuple(value) for name, value in report.user_properties if name == CAMPAIGN]


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Path]:
    """Return a directory in memory where there is one: what a disk would do is no matter here."""
    memory = Path("/dev/shm")  # noqa: S108 - a fresh directory is made in it
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as directory:
        yield Path(directory)
