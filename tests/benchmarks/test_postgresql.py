"""The measurement of PostgreSQL works, and does everything on both sides. Times are not looked at."""

from __future__ import annotations

import pytest

from tests.benchmarks.postgresql import main


def test_it_measures_each_operation_and_what_is_taken_of_the_disk(capsys: pytest.CaptureFixture[str]) -> None:
    # not in a directory of pytest's, which only this user can enter
    main(["--sessions", "30", "--rounds", "1", "--calls", "3"])

    printed = capsys.readouterr().out
    for row in ("migrate:", "save", "get", "update", "append", "list 50", "count", "fsstore_documents_pkey"):
        assert row in printed
