from collections.abc import Callable, Iterator

import pytest

from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.disk.trust import RACY_NS
from fsstore.filesystem.index.connection import IndexDamagedError
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.inventory import Inventory
from fsstore.filesystem.index.rows import Known, Problem
from tests.filesystem.index.test_index import SIGNATURE, entry, record


@pytest.fixture
def index() -> Iterator[Index]:
    opened = Index.open(None)
    yield opened
    opened.close()


def test_signatures_are_those_of_one_directory(index: Index) -> None:
    names = ["3e/z.json", "3f/a.json", "3f/~.json", "3f/00/deep.json", "3f0/b.json", "40/a.json"]
    index.apply([entry(record(name), name=name) for name in names])

    assert index.inventory.signatures("3f/").keys() == {"3f/a.json", "3f/~.json", "3f/00/deep.json"}
    assert index.inventory.signatures().keys() == set(names)


def test_the_inventory_of_a_shard_names_its_rows_in_order_with_their_signatures(index: Index) -> None:
    assert index.inventory.text("3f") == ""
    names = ["3f/b.json", "3f/a.json.json", "3f/a.json", "3f0/c.json", "40/a.json"]
    sure = 100 + RACY_NS
    index.apply([entry(record(name), name=name, signature=Signature(1, 2, 3, 100), recorded_ns=sure) for name in names])
    ordered = ("3f/a.json", "3f/a.json.json", "3f/b.json")
    lines = [f"{name}/1/2/3/100/\n" for name in ordered]
    assert index.inventory.text("3f") == "".join(lines)
    index.apply([entry(record("x"), name="3f/x.json", signature=Signature(1, 2, 3, 100), recorded_ns=sure - 1)])
    assert index.inventory.text("3f") == "".join([*lines, "3f/x.json/1/2/3/100/?\n"])


def test_the_inventory_of_an_outer_shard_has_the_rows_of_all_shards_in_it(index: Index) -> None:
    names = ["3e/ff/z.json", "3f/00/b.json", "3f/0a/a.json", "40/00/a.json"]
    index.apply([entry(record(name), name=name) for name in names])
    assert [line.rsplit("/", 5)[0] for line in index.inventory.text("3f").splitlines()] == names[1:3]


def test_shards_are_told_once_each_problems_included(index: Index) -> None:
    names = ["00/a.json", "00/b.json", "3f/0a/c.json", "3f/0a/d.json", "3f/0b/e.json", "ff/z.json"]
    index.apply([entry(record(name), name=name) for name in names], [], [Problem("7f/x.json", "", SIGNATURE)])

    assert index.inventory.shards() == ["00", "3f/0a", "3f/0b", "7f", "ff"]
    assert index.inventory.outer_shards() == ["00", "3f", "7f", "ff"]


def test_known_documents_are_found_by_name_and_problems_are_none(index: Index) -> None:
    placed = entry(record("a"), name="3f/a.json", recorded_ns=7)
    index.apply([placed], [], [Problem("3f/b.json", "torn", SIGNATURE)])

    assert index.inventory.known(["3f/a.json", "3f/b.json", "none"]) == {
        "3f/a.json": Known(SIGNATURE, placed.digest, 7)
    }
    assert [(problem.name, problem.reason) for problem in index.inventory.problems()] == [("3f/b.json", "torn")]
    assert index.inventory.signatures().keys() == {"3f/a.json", "3f/b.json"}


def test_a_row_agrees_with_its_record_and_with_no_other(index: Index) -> None:
    said = record("a", metadata={"status": "open", "n": 1}, session_id="s")
    index.apply([entry(said, name="3f/a.json")])

    assert index.inventory.agrees("3f/a.json", said)
    assert not index.inventory.agrees("3f/none.json", said)
    for other in (
        {**said, "version": 2},
        {**said, "session_id": None},
        {**said, "data": {"metadata": {"status": "shut", "n": 1}}},
        {**said, "data": {"metadata": {"status": "open", "n": 2}}},
    ):
        assert not index.inventory.agrees("3f/a.json", other), other


def test_entries_are_all_documents_with_what_their_files_look_like(index: Index) -> None:
    rows = [entry(record(name, version=at), name=f"3f/{name}.json") for at, name in enumerate("abc", 1)]
    index.apply(rows)
    found = sorted(index.inventory.entries())
    known = [Known(SIGNATURE, row.digest, row.recorded_ns) for row in rows]
    assert found == [
        (row.name, row.record["id"], row.record["version"], each) for row, each in zip(rows, known, strict=True)
    ]


@pytest.mark.parametrize("values", ["recorded_ns = 'x'", "inode = '1', size = 'x'", "inode = NULL"])
@pytest.mark.parametrize("ask", [lambda files: files.signatures("3f/"), lambda files: files.known(["3f/a.json"])])
def test_a_value_that_no_file_has_is_damage(index: Index, values: str, ask: Callable[[Inventory], object]) -> None:
    index.apply([entry(record("a"), name="3f/a.json")])
    index.inventory._connection.execute(f"UPDATE entry SET {values}")  # noqa: S608 - constants
    with pytest.raises(IndexDamagedError):
        ask(index.inventory)
