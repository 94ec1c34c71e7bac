"""What the tests of the engine share: the clock of the files, and file systems whose clock is coarse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.filesystem import images
from tests.filesystem.clocks import count_coarsely


@pytest.fixture(params=["as it is", "coarse"])
def file_clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with the clock of files as it is, and with one that counts in seconds."""
    if request.param == "coarse":
        count_coarsely(monkeypatch.setattr)


@pytest.fixture
def coarse_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the times of files count in seconds."""
    count_coarsely(monkeypatch.setattr)


@pytest.fixture(params=images.COARSE)
def coarse_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Return a directory on a file system whose clock is coarse; only root may mount one."""
    with images.mounted(tmp_path, images.COARSE[request.param]) as directory:
        yield directory
