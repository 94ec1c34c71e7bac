"""An index that was made aside is the one that rows put into it one by one would have made."""

from pathlib import Path
from typing import Any

import pytest

from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.index.building import IndexBuild
from fsstore.filesystem.index.connection import IndexUnavailableError
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.rows import Entry, Problem
from tests.filesystem.index.test_index import SIGNATURE, entry, ids, record


def dump(index: Index) -> list[str]:
    """Return all that lies in the tables."""
    return sorted(line for line in index._connection.iterdump() if line.startswith("INSERT"))


METADATA: tuple[Any, ...] = (
    {"status": "open", "tags": ["x", "y", "x"]},
    {"status": "open", "user_id": "u", "tags": "x"},
    {"status": ["odd"], "tags": ["z"]},
    [{"status": "list"}],
    "text",
    None,
)


@pytest.fixture
def entries() -> list[Entry]:
    return [entry(record(f"n{at}", metadata=metadata)) for at, metadata in enumerate(METADATA)]


@pytest.fixture
def build(tmp_path: Path) -> IndexBuild:
    (tmp_path / "new").touch()
    return IndexBuild(Tree(tmp_path), "new")


def test_what_is_made_aside_holds_what_was_put_in_one_by_one(
    tmp_path: Path, build: IndexBuild, entries: list[Entry]
) -> None:
    used, expected = Index.open(str(tmp_path / "used")), Index.open(None)
    build.add(entries[:4])
    build.add(entries[4:])
    build.finish()
    build.take_over(str(tmp_path / "used"))
    made = Index.open(str(tmp_path / "new"))
    expected.apply(entries)
    assert dump(made) == dump(expected)
    assert made.check(thorough=True) == ""
    for index in (made, used, expected):
        index.close()


def test_rows_and_problems_of_the_index_in_use_win(tmp_path: Path, build: IndexBuild, entries: list[Entry]) -> None:
    used = Index.open(str(tmp_path / "used"))
    newer = entry(record("n0", metadata={"tags": ["newer"]}), recorded_ns=1_000)
    used.apply([newer], [], [Problem("00/problem.json", "torn", SIGNATURE)])
    build.add(entries)
    build.finish()
    build.take_over(str(tmp_path / "used"))
    made = Index.open(str(tmp_path / "new"))
    assert made.inventory.known([newer.name])[newer.name].recorded_ns == 1_000
    assert ids(made, {"data.metadata.tags": "newer"}) == ["n0"]
    assert ids(made, {"data.metadata.tags": "y"}) == []
    assert [problem.name for problem in made.inventory.problems()] == ["00/problem.json"]
    made.close()
    used.close()


def test_what_is_given_up_leaves_no_file(tmp_path: Path, build: IndexBuild, entries: list[Entry]) -> None:
    build.add(entries)
    build.drop()
    assert list(tmp_path.iterdir()) == []
    # in a thread that comes too late
    build.add(entries)
    build.drop()


def test_what_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(IndexUnavailableError):
        IndexBuild(Tree(tmp_path / "nowhere"), "new")
