"""What the tests of the engine share: the clock of the files, and file systems whose clock is coarse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.filesystem import images
from tests.filesystem.clocks import CLOCKS, count_coarsely, count_finely


@pytest.fixture(params=CLOCKS)
def file_clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test under both clocks of files."""
    name = str(request.param)
    CLOCKS[name](monkeypatch.setattr)
    return name


@pytest.fixture
def coarse_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the times of files count in seconds."""
    count_coarsely(monkeypatch.setattr)


@pytest.fixture
def fine_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the engine believe that the clock shows every change of a file."""
    count_finely(monkeypatch.setattr)


@pytest.fixture(params=images.COARSE)
def coarse_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Return a directory on a file system whose clock is coarse; only root may mount one."""
    with images.mounted(tmp_path, images.COARSE[request.param]) as directory:
        yield directory
