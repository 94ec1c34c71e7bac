from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.campaign import clocks, images, interpose
from tests.campaign.images import Image
from tests.conftest import CAMPAIGN

HERE = Path(__file__).parent
GROUNDS = [
    "a fine clock",
    "a coarse clock",
    *(pytest.param(form, marks=pytest.mark.needs_root) for form in ("ext2", "ext4 with small inodes")),
]

_LOOKS = 20

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


class Ground(NamedTuple):
    """Where a store is made; there is nothing yet."""

    name: str
    store: Path


@pytest.fixture(params=GROUNDS)
def ground(
    request: pytest.FixtureRequest, tmp_path: Path, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ground]:
    """Give places whose files have a fine clock, one that was made coarse (`clocks`), and that of old file systems."""
    if request.param in images.FORMATS:
        if reason := images.why_not(quick):
            pytest.fail(reason)
        with Image(quick, request.param).mounted() as mount:
            # another file system that is busy moves its clock on, now and then
            assert any(clocks.is_coarse(mount) for _ in range(_LOOKS)), (
                f"{request.param} has a fine clock here, and shows nothing"
            )
            yield Ground(request.param, mount / "store")
        return
    if request.param == "a coarse clock":
        clocks.count_coarsely(monkeypatch)
        assert clocks.is_coarse(tmp_path)
    yield Ground(request.param, tmp_path / "store")


@pytest.fixture
def coarse_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process, and those it starts, have a coarse clock of files."""
    clocks.count_coarsely(monkeypatch)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interposer, compiled."""
    return interpose.build(tmp_path_factory.mktemp("interpose"))
