from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.campaign import interpose
from tests.conftest import CAMPAIGN

HERE = Path(__file__).parent

Report = Callable[[str, int, Sequence[str]], None]
"""Called with the name of a scenario, how often it was run, and what was found wrong, a line each."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.campaign)


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Report:
    """Take down what a scenario found, for the table at the end; a violation fails the test."""

    def take_down(scenario: str, runs: int, violations: Sequence[str]) -> None:
        record_property(CAMPAIGN, (scenario, runs, len(violations)))
        assert runs > 0, f"{scenario} tried nothing"
        first = "\n".join(violations[:20])
        assert not violations, f"{scenario}: {len(violations)} violations in {runs} runs:\n{first}"

    return take_down


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interposer, compiled."""
    return interpose.build(tmp_path_factory.mktemp("interpose"))
