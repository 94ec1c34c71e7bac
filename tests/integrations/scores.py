"""What a suite gave, held against what it must give; and the table of the scores. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from xml.etree import ElementTree as ET

from tests.integrations.suites import Expected

Outcomes: TypeAlias = Mapping[str, str]
"""What became of each test by its name: passed, failed, or skipped."""


@dataclass(frozen=True)
class Score:
    """A suite that was run for fsstore, and for the framework's own store."""

    name: str
    stands_for: str
    upstream: str
    ours: Outcomes
    theirs: Outcomes
    expected: Expected

    @property
    def problems(self) -> list[str]:
        """What is not as it must be; nothing where the suite counts as passed."""
        excluded, ours = self.expected.excluded, self.ours
        failed = [f"{test}: {became}" for test, became in ours.items() if became != "passed" and test not in excluded]
        found = [f"{self.name}: {text}" for text in failed]
        found += [
            f"{self.name}: {test} is excluded ({reason}), and {ours.get(test, 'not there')}"
            for test, reason in excluded.items()
            if ours.get(test, "not there") in ("passed", "not there")
        ]
        if len(ours) != self.expected.collected:
            found.append(f"{self.name}: {len(ours)} tests were collected, and there must be {self.expected.collected}")
        return found


def passed(outcomes: Outcomes) -> int:
    """Return how many tests passed."""
    return sum(became == "passed" for became in outcomes.values())


def outcomes_of(report: str) -> dict[str, str]:
    """Return what became of each test, from a report in JUnit's XML.

    A test is named by its file without the directories, and its own name. Raises ValueError where two have one name.
    """
    found: dict[str, str] = {}
    for case in ET.fromstring(report).iter("testcase"):  # noqa: S314 - it was written a moment ago, by pytest
        module = (case.get("classname") or "").rpartition(".")[2]
        name = f"{module}::{case.get('name')}"
        if name in found:
            raise ValueError(f"two tests are called {name}")
        tags = {child.tag for child in case}
        found[name] = "failed" if tags & {"failure", "error"} else "skipped" if "skipped" in tags else "passed"
    return found


def table(scores: Sequence[Score]) -> str:
    """Return the table of the scores, in markdown."""
    rows = ["| suite | class | passed | excluded | the framework's own store |", "|---|---|---|---|---|"]
    for score in scores:
        ours, excluded = f"{passed(score.ours)} of {len(score.ours)}", len(score.expected.excluded)
        theirs = f"{passed(score.theirs)} of {len(score.theirs)}" if score.theirs else "not run"
        rows.append(f"| {score.name} | `{score.stands_for}` | {ours} | {excluded} | `{score.upstream}`: {theirs} |")
    return "\n".join(rows)
