"""The measurement of watching works, and finds every save told. Times are not looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.watching import main


def test_it_measures_latency_refresh_and_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--saves", "2", "--documents", "30", "--idle-seconds", "0.01", "--directory", str(tmp_path)])

    printed = capsys.readouterr().out
    for row in ("in place", "replaced", "watchfiles", "refresh, 1 % changed", "bytes a document"):
        assert row in printed
