"""What needs no framework: the modules without it, the versions, the exclusions, the scores, and the README."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.integrations.scores import Score, outcomes_of, table
from tests.integrations.suites import FRAMEWORKS, ROOT, Expected, expected, versions_of

SUITES = [suite for framework in FRAMEWORKS.values() for suite in framework.suites]
HIDDEN = {
    "claude-agent": ("claude_agent", "claude_agent_sdk"),
    "google-adk": ("google_adk", "google.adk"),
    "key-value": ("key_value", "key_value"),
    "langgraph": ("langgraph", "langgraph"),
    "openai-agents": ("openai_agents", "agents"),
    "pydantic-ai": ("pydantic_ai", "pydantic_ai"),
    "strands": ("strands", "strands"),
}
"""The module of each extra, and the package that it needs."""


@pytest.mark.parametrize("extra", HIDDEN)
def test_a_framework_that_is_not_installed_is_named_with_what_its_extra_asks_for(extra: str) -> None:
    module, package = HIDDEN[extra]
    script = f"import sys; sys.modules[{package!r}] = None; import fsstore.integrations.{module}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: ")
    ((name, bound),) = versions_of(extra).items()
    assert last.endswith(f"install it by: pip install '{name}>={bound}'")


def test_nothing_else_imports_a_framework() -> None:
    assert HIDDEN.keys() == FRAMEWORKS.keys()
    packages = {package for _, package in HIDDEN.values()}
    script = "import fsstore.sync, fsstore.integrations.open_stores, fsstore.cli, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert set(loaded.split()) & packages == set()


@pytest.mark.parametrize("extra", FRAMEWORKS)
def test_every_extra_names_the_versions_that_are_tested(extra: str) -> None:
    versions = {**versions_of(extra), **FRAMEWORKS[extra].also}
    assert {suite.source for suite in FRAMEWORKS[extra].suites} - {""} <= versions.keys()


def test_every_suite_has_its_exclusions_and_each_has_a_reason() -> None:
    assert expected().keys() == {suite.name for suite in SUITES}
    for suite in expected().values():
        assert 0 < suite.passed <= suite.collected
        assert all(len(reason) > 20 for reason in suite.excluded.values())


def test_the_readme_tells_the_scores() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for suite in SUITES:
        score = expected()[suite.name]
        assert re.search(rf"{score.passed} of {score.collected}\b", readme), suite.name


def test_ci_runs_the_integrations() -> None:
    assert "\npython -m tests.integrations\n" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_every_example_is_short_and_run_by_a_check() -> None:
    checks = "".join(path.read_text("utf-8") for path in (ROOT / "tests/integrations/checks").glob("*_checks.py"))
    examples = [
        example
        for framework in FRAMEWORKS
        for example in (ROOT / "tests" / "examples").glob(f"{framework.replace('-', '_')}_*.py")
    ]
    assert len(examples) >= len(FRAMEWORKS)
    for example in examples:
        assert len(example.read_text("utf-8").splitlines()) <= 80
        assert f'"tests.examples.{example.stem}"' in checks


def test_every_check_is_run() -> None:
    there = {path.name for path in (ROOT / "tests/integrations/checks").glob("*_checks.py")}
    assert there == {name for framework in FRAMEWORKS.values() for name in framework.checks}


# -- what counts as passed --------------------------------------------------------------------------------------------


def score(ours: dict[str, str], excluded: dict[str, str]) -> Score:
    return Score("suite", "Ours", "Theirs", ours, dict.fromkeys(ours, "passed"), Expected(3, excluded))


@pytest.mark.parametrize(
    ("ours", "excluded", "problem"),
    [
        ({"a": "passed", "b": "passed", "c": "failed"}, {}, "suite: c: failed"),
        ({"a": "passed", "b": "passed", "c": "skipped"}, {}, "suite: c: skipped"),
        ({"a": "passed", "b": "passed", "c": "passed"}, {"c": "why"}, "suite: c is excluded (why), and passed"),
        ({"a": "passed", "b": "passed"}, {}, "suite: 2 tests were collected, and there must be 3"),
    ],
)
def test_a_suite_counts_as_passed_only_if_all_that_is_not_excluded_passes(
    ours: dict[str, str], excluded: dict[str, str], problem: str
) -> None:
    assert score(ours, excluded).problems == [problem]


def test_an_exclusion_of_a_test_that_is_not_there_is_found() -> None:
    found = score({"a": "passed", "b": "passed", "c": "failed"}, {"c": "why", "d": "why"})
    assert found.problems == ["suite: d is excluded (why), and not there"]


def test_what_fails_and_is_excluded_does_not_count() -> None:
    found = score({"a": "passed", "b": "passed", "c": "failed"}, {"c": "why"})
    assert found.problems == []
    assert table([found]).splitlines()[-1] == "| suite | `Ours` | 2 of 3 | 1 | `Theirs`: 3 of 3 |"


def test_outcomes_are_read_from_the_report_of_pytest() -> None:
    report = (
        "<testsuites><testsuite>"
        "<testcase classname='tests.memory.test_a' name='test_b[c]'/>"
        "<testcase classname='tests.memory.test_a' name='test_d'><failure>no</failure></testcase>"
        "<testcase classname='tests.memory.test_a' name='test_e'><error>no</error></testcase>"
        "<testcase classname='tests.memory.test_a' name='test_f'><skipped/></testcase>"
        "</testsuite></testsuites>"
    )
    assert outcomes_of(report) == {
        "test_a::test_b[c]": "passed",
        "test_a::test_d": "failed",
        "test_a::test_e": "failed",
        "test_a::test_f": "skipped",
    }
