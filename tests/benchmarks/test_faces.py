from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.benchmarks import faces
from tests.benchmarks.documents import sessions


def test_each_peer_does_the_work_in_every_round(capsys: pytest.CaptureFixture[str]) -> None:
    faces.main(["--rounds", "2", "--documents", "3", "--size", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line[:20].strip() for line in lines[1:]] == ["fsstore.sync", "fsstore", "plain files", "sqlite3"]
    assert "(1.00)" in lines[3]


def test_work_that_was_not_done_is_no_figure(tmp_path: Path) -> None:
    class Forgetful(faces.PlainFiles):
        def append(self, names: Sequence[str], item: object) -> None:
            """Do nothing."""

    documents = dict(sessions(range(2), 1))
    with pytest.raises(AssertionError, match="not in the list"):
        faces.measure(Forgetful(tmp_path), documents, lists=1)
