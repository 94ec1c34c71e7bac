"""Whatever was there before, the tables hold what was put last, and nothing else of its name or its id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.rows import Entry, Known, Problem
from tests.filesystem.index.test_index import SIGNATURE, entry, ids, record


@pytest.fixture
def index() -> Iterator[Index]:
    opened = Index.open(None)
    yield opened
    opened.close()


def dump(index: Index) -> list[str]:
    """Return all that lies in the tables."""
    return sorted(line for line in index._connection.iterdump() if line.startswith("INSERT"))


@pytest.mark.parametrize("before", [{"status": "open", "tags": ["x"]}, {"status": True}, [{"status": "list"}], "text"])
@pytest.mark.parametrize("after", [{"status": "open", "tags": ["x"]}, {"status": ["s"], "tags": ["x"]}, None])
def test_a_row_becomes_odd_and_ordinary_again(index: Index, before: Any, after: Any) -> None:
    index.apply([entry(record("a", metadata=before))])
    index.apply([entry(record("a", metadata=after))])

    fresh = Index.open(None)
    fresh.apply([entry(record("a", metadata=after))])

    assert dump(index) == dump(fresh)
    fresh.close()


def test_a_removed_name_is_gone_with_its_tags(index: Index) -> None:
    index.apply([entry(record("a", metadata={"tags": ["x"]}), name="3f/a.json")])
    index.apply([], ["3f/a.json", "3f/never.json"])

    assert ids(index) == []
    assert dump(index) == []


def test_an_id_that_is_there_under_another_name_moves(index: Index) -> None:
    index.apply([entry(record("a", metadata={"tags": ["x"]}), name="3f/a.json")])
    index.apply([entry(record("a"), name="3f/00/a.json"), entry(record("b"))])

    assert index.inventory.signatures().keys() == {"3f/00/a.json", "62/b.json"}
    assert ids(index, {"data.metadata.tags": "x"}) == []


def test_a_name_with_another_id_takes_its_place(index: Index) -> None:
    index.apply([entry(record("a"), name="3f/x.json"), entry(record("b"), name="3f/y.json")])
    index.apply([entry(record("b"), name="3f/x.json")])

    assert ids(index) == ["b"]
    assert index.inventory.signatures().keys() == {"3f/x.json"}


def test_many_rows_at_once_give_what_they_give_one_by_one(index: Index) -> None:
    """New rows, rows of which only what moves has changed, others, and names and ids that have changed places."""

    def rows(at: int) -> list[Entry]:
        return [
            entry(record(f"{number}", metadata={"status": at * (number % 17 == 3), "tags": [f"{number % 9}"]}, at=at))
            for number in range(700)
        ]

    first, second = rows(1), rows(2)
    second[10] = second[10]._replace(name=first[11].name)
    second[11] = second[11]._replace(name=first[10].name)
    second[600] = entry(record("600", data=[{"metadata": 2**70}], at=2), name="00/elsewhere.json")
    one_by_one = Index.open(None)
    for each in (*first, *second):
        one_by_one.apply([each])
    index.apply(first)
    index.apply(second)

    def everything(of: Index) -> list[Any]:
        rows = "SELECT name, id, status, tags, odd, updated_at, metadata FROM entry ORDER BY name"
        tags = "SELECT name, tag FROM tag JOIN entry USING (entry) ORDER BY name, tag"
        return [of._connection.execute(statement).fetchall() for statement in (rows, tags)]

    assert everything(index) == everything(one_by_one)
    assert len(everything(index)[0]) == 700
    one_by_one.close()


def test_a_problem_takes_the_place_of_an_entry_and_an_entry_solves_it(index: Index) -> None:
    problem = Problem("3f/a.json", "it is no JSON", SIGNATURE, b"other", 7)
    index.apply([entry(record("a"), name="3f/a.json")])
    index.apply([], [], [problem])

    assert index.inventory.problems() == [problem]
    assert ids(index) == []
    assert index.inventory.signatures("3f/") == {"3f/a.json": Known(SIGNATURE, b"other", 7)}

    index.apply([entry(record("a"), name="3f/a.json")])

    assert index.inventory.problems() == []
    assert ids(index) == ["a"]


def test_a_problem_goes_when_its_file_does(index: Index) -> None:
    index.apply([], [], [Problem("3f/a.json", "x", SIGNATURE), Problem("3f/b.json", "y", SIGNATURE)])
    index.apply([], ["3f/a.json"])

    assert [problem.name for problem in index.inventory.problems()] == ["3f/b.json"]
