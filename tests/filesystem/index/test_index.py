import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.documents.codec import digest
from fsstore.filesystem.index import connection
from fsstore.filesystem.index.connection import IndexDamagedError, IndexUnavailableError
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.rows import Entry, Known
from fsstore.filesystem.index.schema import SCHEMA_NUMBER
from fsstore.filesystem.index.statements import Prepared, Statement, counting, following, selecting
from fsstore.interfaces import summary
from fsstore.model.records import JsonObject
from fsstore.query import sizes
from fsstore.query.conditions import EVERYTHING, Condition
from fsstore.query.fields import parse_fields
from fsstore.query.filters import parse
from fsstore.query.orders import parse_order
from tests.query.drawn import met_path, some_record

ABSENT: Any = object()
SIGNATURE = Signature(1, 2, 3, 4)
RECENT = parse_order(None)


def record(
    record_id: str, *, metadata: Any = ABSENT, data: Any = ABSENT, top: Any = ABSENT, at: int = 0, **envelope: Any
) -> JsonObject:
    """Return a record; `at` is the minute it was updated in."""
    time = f"2026-01-31T{at // 60:02}:{at % 60:02}:00.000000+00:00"
    made: JsonObject = {"id": record_id, "type": "session", "version": 1, "created_at": time, "updated_at": time}
    made |= envelope
    made["data"] = {} if data is ABSENT else data
    if metadata is not ABSENT:
        made["data"] = {"metadata": metadata}
    if top is not ABSENT:
        made["metadata"] = top
    return made


def entry(
    of: JsonObject, *, name: str = "", signature: Signature = SIGNATURE, data: bytes = b"data", recorded_ns: int = 5
) -> Entry:
    return Entry(name or f"{sum(of['id'].encode()) % 256:02x}/{of['id']}.json", of, signature, data, recorded_ns)


def ids(index: Index, filters: JsonObject | None = None, order_by: str | None = None) -> list[str]:
    selection = index.select(parse(filters), parse_order(order_by))
    assert selection.ordered
    assert selection.residue is None
    return [row.id for row in selection.rows]


@pytest.fixture
def index() -> Iterator[Index]:
    opened = Index.open(None)
    yield opened
    opened.close()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "a % b" / "index.sqlite3")


@pytest.fixture
def file(path: str) -> Iterator[Index]:
    Path(path).parent.mkdir()
    opened = Index.open(path)
    yield opened
    opened.close()


# -- what is applied is found ------------------------------------------------------------------------------------------


def test_what_was_applied_is_found_with_its_name_and_signature(index: Index) -> None:
    index.apply([entry(record("a", at=1), name="3f/a.json"), entry(record("b", at=2), name="4e/b.json")])

    (second, first) = index.select(EVERYTHING, RECENT).rows

    assert (first.name, first.id, first.signature, first.digest) == ("3f/a.json", "a", SIGNATURE, digest(b"data"))
    assert second.id == "b"


def test_a_later_state_replaces_the_earlier_one(index: Index) -> None:
    index.apply([entry(record("a", metadata={"status": "open", "tags": ["x"], "n": 1}))])
    index.apply([entry(record("a", metadata={"status": "done", "tags": ["y"], "n": 2}, at=1))])

    assert ids(index) == ["a"]
    for gone in ({"status": "open"}, {"tags": "x"}, {"n": 1}):
        ((key, value),) = gone.items()
        assert ids(index, {f"data.metadata.{key}": value}) == []
    for there in ({"status": "done"}, {"tags": "y"}, {"n": 2}):
        ((key, value),) = there.items()
        assert ids(index, {f"data.metadata.{key}": value}) == ["a"]


def test_a_transaction_is_applied_whole_or_not_at_all(index: Index) -> None:
    broken = entry(record("b"))._replace(record={**record("b"), "version": object()})

    with pytest.raises(sqlite3.ProgrammingError):
        index.apply([entry(record("a")), broken])

    assert ids(index) == []
    index.apply([entry(record("c"))])
    assert ids(index) == ["c"]


def test_numbers_that_sqlite_can_not_hold_are_kept_in_a_signature(index: Index) -> None:
    signature = Signature(2**128 - 1, 2**40, 2**63, -(2**40))
    index.apply([entry(record("a"), name="3f/a.json", signature=signature)])

    assert index.inventory.signatures() == {"3f/a.json": Known(signature, digest(b"data"), 5)}
    assert next(index.select(EVERYTHING, RECENT).rows).signature == signature


def test_integers_beyond_64_bits_from_elsewhere_are_judged_exactly(index: Index) -> None:
    index.apply([entry(record("a", metadata={"n": 2**70})), entry(record("b", metadata={"n": 2**70 + 1}))])
    condition = parse({"data.metadata.n": {"$gt": 2**64 - 1}})

    assert sorted(row.id for row in index.select(condition, RECENT).rows) == ["a", "b"]
    assert index.summaries(parse({"id": "b"}), RECENT) == [summary(record("b", metadata={"n": 2**70 + 1}))]


def test_what_is_nested_too_deep_becomes_a_problem(index: Index) -> None:
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    index.apply([entry(record("a")), entry(record("b", metadata={"x": deep}), name="3f/b.json")])

    assert ids(index) == ["a"]
    (problem,) = index.inventory.problems()
    assert (problem.name, problem.signature) == ("3f/b.json", SIGNATURE)
    assert "nested deeper" in problem.reason


# -- files -------------------------------------------------------------------------------------------------------------


def test_rows_are_confirmed_as_of_a_time_and_not_those_that_came_later(index: Index) -> None:
    times = {"by a commit": 10, "by a reader": 11, "later": 100, "at that time": 50, "not named": 10}
    index.apply([entry(record(name), name=name, recorded_ns=at) for name, at in times.items()])
    index.confirm(["by a commit", "by a reader", "later", "at that time", "unknown"], 51)

    found = {name: known.recorded_ns for name, known in index.inventory.signatures().items()}
    assert found == {"by a commit": 50, "by a reader": 51, "later": 100, "at that time": 50, "not named": 10}


def test_equal_filters_of_other_types_are_planned_each_for_itself(index: Index) -> None:
    index.apply([entry(record(name, metadata={"n": n})) for name, n in (("a", 1), ("b", True), ("c", 1.0))])
    for _ in range(2):
        assert ids(index, {"data.metadata.n": 1}, "id") == ["a", "c"]
        assert ids(index, {"data.metadata.n": True}, "id") == ["b"]
        assert ids(index, {"data.metadata.n": {"$gte": 1.0}}, "id") == ["a", "c"]
        assert ids(index, {"data.metadata.n": {"$gte": True}}, "id") == ["b"]


def test_the_bytes_of_all_documents_are_added_up(index: Index) -> None:
    assert index.total_bytes() == 0
    index.apply([entry(record(name), signature=Signature(1, size, 1, 1)) for name, size in (("a", 10), ("b", 5))])
    assert index.total_bytes() == 15


def test_notes_about_the_index_are_kept(file: Index, path: str) -> None:
    assert file.get_meta("complete") is None
    file.set_meta("complete", "0")
    file.set_meta("complete", "1")

    other = Index.open(path)
    assert other.get_meta("complete") == "1"
    other.close()


# -- answers -----------------------------------------------------------------------------------------------------------

SUMMARISED = [
    record("a", metadata={"status": "open", "n": 0.1}, session_id="s", thread_id=None),
    record("b", metadata=None, top={"own": 1}, session_id=None),
    record("c", data="text", top=[1]),
    record("d", data=[{"metadata": {"x": 1}}], top=None, thread_id="t"),
    record("e", metadata={"status": True, "n": 2**64 - 1, "z": "a\0b"}, session_id=None),
    record("f"),
]


def test_a_summary_is_that_of_the_document(index: Index) -> None:
    index.apply(map(entry, SUMMARISED))

    assert index.summaries(EVERYTHING, parse_order("id")) == [summary(record) for record in SUMMARISED]


def test_parts_are_those_of_the_document_wherever_the_index_has_them(index: Index) -> None:
    rng = Random(22)
    records = [some_record(rng, at) for at in range(300)]
    index.apply(map(entry, records))
    whole = {found["id"]: found for found in records}
    asked = [parse_fields({met_path(rng, rng.choice(records)) for _ in range(3)}) for _ in range(300)]
    indexed = [fields for fields in asked if fields.is_indexed]

    assert len(indexed) > 30
    for known in index.parts(EVERYTHING, parse_order("id")) or []:
        row = index.part_of(known["id"])
        assert row is not None
        assert row == (Known(SIGNATURE, digest(b"data"), 5), known)
        for fields in indexed:
            assert fields.of(known) == fields.of(whole[known["id"]]), (fields, known["id"])
    assert index.part_of("nobody") is None


def test_limit_and_offset_cut_the_answer(index: Index) -> None:
    index.apply([entry(record(f"{at}", at=at)) for at in range(9)])

    assert [row.id for row in index.select(EVERYTHING, RECENT, limit=2, offset=3).rows] == ["5", "4"]
    assert [row.id for row in index.select(EVERYTHING, RECENT, offset=7).rows] == ["1", "0"]
    assert [found["id"] for found in index.summaries(EVERYTHING, RECENT, limit=1) or []] == ["8"]
    assert list(index.select(EVERYTHING, RECENT, limit=0).rows) == []


def test_what_only_documents_tell_is_left_to_the_caller(index: Index) -> None:
    index.apply([entry(record(f"{at}", metadata={"n": at % 2}, at=at)) for at in range(6)])
    condition = parse({"data.metadata.n": 1, "data.state.step": 3})

    selection = index.select(condition, RECENT, limit=1, offset=1)

    # neither limit nor offset may count rows that the residue would refuse
    assert [row.id for row in selection.rows] == ["5", "3", "1"]
    assert selection.residue == parse({"data.state.step": 3})
    assert index.count(condition) is None
    assert index.summaries(condition, RECENT) is None


def test_an_order_that_only_documents_tell_is_left_to_the_caller(index: Index) -> None:
    index.apply([entry(record(f"{at}", at=at)) for at in range(6)])

    selection = index.select(EVERYTHING, parse_order("data.state.step"), limit=1)

    assert not selection.ordered
    assert len(list(selection.rows)) == 6
    assert index.summaries(EVERYTHING, parse_order("data.state.step")) is None


def test_rows_come_from_one_state_of_the_index(file: Index, path: str) -> None:
    writer = Index.open(path)
    writer.apply([entry(record(f"{at}", at=at)) for at in range(300)])
    rows = file.select(EVERYTHING, RECENT).rows
    first = next(rows)

    writer.apply([entry(record("new", at=500))], [first.name, "33/3.json"])

    assert first.id == "299"
    assert [row.id for row in rows] == [str(at) for at in range(298, -1, -1)]
    assert file.count(EVERYTHING) == 299
    writer.close()


def test_following_gives_every_row_once_in_the_order_of_ids(index: Index) -> None:
    index.apply([entry(record(f"{at:03}", metadata={"status": ["a", "b", True][at % 3]})) for at in range(90)])

    found, after = [], ""
    while batch := index.following(parse({"data.metadata.status": {"$ne": "a"}}), after, 7):
        found += [row.id for row in batch]
        after = batch[-1].id

    assert found == [f"{at:03}" for at in range(90) if at % 3]


@pytest.fixture
def without_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a filter be of any size: what an index can do does not depend on what callers may ask for."""
    monkeypatch.setattr(sizes, "MAX_FILTER_CONDITIONS", 1_000_000)
    monkeypatch.setattr(sizes, "MAX_FILTER_VALUES", 1_000_000)


@pytest.mark.parametrize(
    "filters",
    [
        {"$or": [{"data.metadata.n": at} for at in range(1, 3_000)]},
        {"$and": [{"data.metadata.n": {"$ne": at}} for at in (0, *range(3, 3_000))]},
        {"data.metadata.n": {"$in": list(range(1, 50_000))}},
        {"id": {"$in": [f"{at}" for at in range(1, 50_000)]}, "type": {"$nin": [f"{at}" for at in range(50_000)]}},
    ],
    ids=["$or", "$and", "$in", "$nin"],
)
@pytest.mark.usefixtures("without_limits")
def test_a_filter_of_any_size_is_answered(index: Index, filters: JsonObject) -> None:
    index.apply([entry(record(f"{at}", metadata={"n": at}, at=at)) for at in range(3)])

    assert matching(index, parse(filters)) == ["2", "1"]


@pytest.mark.usefixtures("without_limits")
def test_a_part_too_large_for_a_statement_leaves_the_others_to_it(index: Index) -> None:
    index.apply([entry(record(f"{at}", metadata={"n": at}, at=at, type=f"{at}")) for at in range(3)])
    large = {"$or": [{"data.metadata.n": at} for at in range(3_000)]}

    selection = index.select(parse({"$and": [large, {"type": "1"}]}), RECENT)

    assert [row.id for row in selection.rows] == ["1"]
    assert selection.residue == parse(large)


def test_a_filter_of_any_depth_is_answered(index: Index) -> None:
    index.apply([entry(record(f"{at}", metadata={"n": at}, at=at)) for at in range(3)])
    nested: JsonObject = {"data.metadata.n.a.b": {"$ne": [1]}, "data.metadata.n": {"$gt": 0, "$ne": [7]}}
    for _ in range(32):
        assert matching(index, parse(nested)) == ["2", "1"]
        nested = {"$or": [{"type": "note"}, {"$nor": [{"$nor": [nested]}, {"type": "note"}]}]}


def matching(index: Index, condition: Condition) -> list[str]:
    """Return the ids that match, the residue judged on what the tests above put into their records."""
    selection = index.select(condition, RECENT)
    found = [(row.id, record(row.id, metadata={"n": int(row.id)}, at=int(row.id))) for row in selection.rows]
    return [record_id for record_id, of in found if selection.residue is None or selection.residue.matches(of)]


# -- how the answers are found -----------------------------------------------------------------------------------------


def steps(index: Index, statement: Statement) -> list[str]:
    """Return SQLite's plan for the ordinary rows of a statement."""
    rows = index._connection.execute(f"EXPLAIN QUERY PLAN {statement.text}", statement.values)
    lines = [str(row[3]) for row in rows]
    return lines[: lines.index("RIGHT")] if "RIGHT" in lines else lines


def list_steps(index: Index, filters: JsonObject, order_by: str | None = None) -> list[str]:
    known, order = Prepared(parse(filters)).plan, parse_order(order_by)
    return steps(index, selecting(["name", "id", "size"], known, index._start(known, order), order, limit=50)[0])


@pytest.fixture(scope="module")
def large() -> Iterator[Index]:
    """Give an index of 3 000 rows: half have the common values, two have the rare ones."""
    index = Index.open(None)
    for at in range(3_000):
        rare = "rare" if at < 2 else "common" if at % 2 else "other"
        metadata = {"status": rare, "user_id": rare, "tags": [rare, "all"], "n": at}
        made = record(f"{at:04}", metadata=metadata, at=at % 1_000, session_id=rare, thread_id=rare, type=f"{rare}")
        index.apply([entry(made)])
    yield index
    index.close()


@pytest.mark.parametrize(
    ("filters", "walk"),
    [
        ({}, "recent"),
        ({"type": "common"}, "recent"),
        ({"data.metadata.status": "common"}, "status"),
        ({"data.metadata.user_id": "common"}, "user_id"),
        ({"data.metadata.status": "common", "data.metadata.user_id": "common"}, "user_id"),
        ({"data.metadata.tags": "common"}, "recent"),
        ({"data.metadata.tags": {"$all": ["common", "all"]}}, "recent"),
        ({"data.metadata.status": {"$in": ["common", "other"]}}, "recent"),
        ({"$and": [{"type": "common"}, {"data.metadata.status": "common", "data.metadata.n": {"$gt": 5}}]}, "status"),
        ({"$nor": [{"data.metadata.n": 3}]}, "recent"),
        (
            {
                "$and": [
                    {"updated_at": {"$lte": "2026"}},
                    {"$or": [{"updated_at": {"$lt": "2026"}}, {"id": {"$gt": "1"}}]},
                ]
            },
            "recent",
        ),
    ],
)
def test_common_values_are_met_on_a_walk_in_order_without_sorting(large: Index, filters: JsonObject, walk: str) -> None:
    plan_of_it = list_steps(large, filters)

    assert any(f"entry USING INDEX entry_{walk}" in step for step in plan_of_it)
    assert not any("TEMP B-TREE" in step for step in plan_of_it)


@pytest.mark.parametrize(
    ("filters", "way"),
    [
        ({"id": "0001"}, "SEARCH entry USING INDEX entry_id (id=?)"),
        ({"session_id": "common"}, "SEARCH entry USING INDEX entry_session_id (session_id=?"),
        ({"thread_id": "common"}, "SEARCH entry USING INDEX entry_thread_id (thread_id=?"),
        ({"type": "rare"}, "SEARCH entry USING INDEX entry_type (type=?"),
        ({"data.metadata.status": "rare"}, "SEARCH entry USING INDEX entry_status (status=?"),
        ({"data.metadata.user_id": "rare"}, "SEARCH entry USING INDEX entry_user_id (user_id=?"),
        ({"data.metadata.tags": "rare"}, "SEARCH tag USING PRIMARY KEY (tag=?)"),
        (
            {"type": "common", "data.metadata.status": "common", "data.metadata.user_id": "rare"},
            "SEARCH entry USING INDEX entry_user_id (user_id=?",
        ),
        ({"data.metadata.status": "nobody"}, "SEARCH entry USING INDEX entry_status (status=?"),
    ],
)
def test_rare_values_are_looked_up_and_sorted(large: Index, filters: JsonObject, way: str) -> None:
    assert [step for step in list_steps(large, filters) if step.startswith(way)]


def test_that_rows_are_many_is_believed_for_a_hundred_lists(large: Index) -> None:
    common, rare = {"type": "common"}, {"type": "rare"}
    counted: list[str] = []
    large._many.clear()
    large._connection.set_trace_callback(lambda text: counted.append(text) if text.startswith("SELECT count") else None)
    for _ in range(101):
        assert "SCAN entry USING INDEX entry_recent" in list_steps(large, common)
    assert len(counted) == 1
    list_steps(large, common)
    assert len(counted) == 2
    for _ in range(3):
        list_steps(large, rare)
    assert len(counted) == 5
    large._connection.set_trace_callback(None)


def test_a_later_page_begins_where_it_begins(large: Index) -> None:
    page = {"$and": [{"type": "common"}, {"updated_at": {"$lte": "2026-01-31T00:05"}}]}

    assert "SEARCH entry USING INDEX entry_recent (updated_at<?)" in list_steps(large, page)


def test_counts_of_indexed_values_do_not_read_rows(large: Index) -> None:
    for filters in ({"type": "common"}, {"type": "common", "data.metadata.status": "common"}):
        text = steps(large, counting(Prepared(parse(filters)).plan))
        assert any("COVERING INDEX" in step for step in text)
    assert large.count(parse({"type": "common", "data.metadata.status": "common"})) == 1_499


def test_a_stream_walks_through_the_ids_without_sorting(large: Index) -> None:
    known = Prepared(parse({"data.metadata.status": "common"})).plan

    walked = steps(large, following(["id"], known, None, "0500", 100))

    assert walked[-1] == "SEARCH entry USING INDEX entry_id (id>?)"


def test_a_stream_of_few_does_not_walk_through_all(large: Index) -> None:
    asked: list[str] = []
    large._connection.set_trace_callback(asked.append)

    assert [row.id for row in large.following(parse({"data.metadata.status": "rare"}), "", 10)] == ["0000", "0001"]
    assert large.following(parse({"updated_at": {"$lt": "2026"}}), "", 10) == []

    large._connection.set_trace_callback(None)
    assert [("entry_status" in text, "entry_recent" in text) for text in asked if " UNION ALL " in text] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize("filters", [{}, {"type": "common"}, {"data.metadata.status": "common"}])
def test_odd_rows_have_a_half_of_their_own_in_order(index: Index, filters: JsonObject) -> None:
    known = Prepared(parse(filters)).plan
    statement, _ = selecting(["id"], known, None, RECENT, limit=50)

    rows = index._connection.execute(f"EXPLAIN QUERY PLAN {statement.text}", statement.values)

    lines = [str(row[3]) for row in rows]
    assert lines[0] == "MERGE (UNION ALL)"
    assert lines[lines.index("RIGHT") :] == ["RIGHT", "SCAN entry USING INDEX entry_odd"]


# -- files of the index ------------------------------------------------------------------------------------------------


def test_an_index_is_found_again(file: Index, path: str) -> None:
    file.apply([entry(record("a"))])
    file.close()

    again = Index.open(path)
    assert ids(again) == ["a"]
    again.close()


def test_readers_and_the_writer_do_not_wait_for_each_other(file: Index, path: str) -> None:
    file.apply([entry(record("a"))])
    reader = Index.open(path)
    with file._transaction() as cursor:
        cursor.execute("DELETE FROM entry")
        assert ids(reader) == ["a"]
    assert ids(reader) == []
    reader.close()


def test_many_may_make_the_index_at_once(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # each waits for the syncs of all before it
    monkeypatch.setattr(connection, "_BUSY_TIMEOUT_SECONDS", 60.0)
    Path(path).parent.mkdir()
    gate, opened, failed = threading.Barrier(8), [], []

    def make() -> None:
        gate.wait()
        try:
            opened.append(Index.open(path))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told below
            failed.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in opened:
        index.apply([entry(record("a"))])
        assert ids(index) == ["a"]
        index.close()
    assert failed == []


@pytest.mark.parametrize("content", [b"this is no index" * 100, b"SQLite format 3\0" + b"\xff" * 4_000])
def test_a_file_that_is_none_is_told_as_damaged(path: str, content: bytes) -> None:
    Path(path).parent.mkdir()
    Path(path).write_bytes(content)

    with pytest.raises(IndexDamagedError):
        Index.open(path)


def test_another_schema_is_told_as_damaged(file: Index, path: str) -> None:
    file._connection.execute(f"PRAGMA user_version = {SCHEMA_NUMBER + 1}")

    with pytest.raises(IndexDamagedError, match=f"schema {SCHEMA_NUMBER + 1}, not {SCHEMA_NUMBER}"):
        Index.open(path)


def test_tables_of_somebody_else_are_told_as_damaged(path: str) -> None:
    Path(path).parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE entry (theirs)")
    connection.close()

    with pytest.raises(IndexDamagedError, match="holds something else"):
        Index.open(path)


def test_damage_within_the_file_is_told_wherever_it_is_met(file: Index, path: str) -> None:
    file.apply([entry(record(f"{at:04}", metadata={"n": "x" * 300}, at=at)) for at in range(1_000)])
    file.close()
    content = bytearray(Path(path).read_bytes())
    content[8192:-4096] = b"\xff" * (len(content) - 12288)
    Path(path).write_bytes(content)
    damaged = Index.open(path)

    for work in (
        lambda: list(damaged.select(EVERYTHING, RECENT).rows),
        lambda: damaged.count(parse({"data.metadata.n": 1})),
        lambda: damaged.apply([entry(record("a"))]),
        lambda: damaged.inventory.signatures("3"),
    ):
        with pytest.raises(IndexDamagedError):
            work()
    damaged.close()


def test_a_missing_table_is_damage(index: Index) -> None:
    index._connection.execute("DROP TABLE meta")

    with pytest.raises(IndexDamagedError, match="no such table"):
        index.get_meta("complete")


def test_a_full_disk_is_no_damage_and_nothing_is_applied(file: Index) -> None:
    file.apply([entry(record("a"))])
    pages = file._connection.execute("PRAGMA page_count").fetchone()[0]
    file._connection.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(IndexUnavailableError, match="full"):
        file.apply([entry(record(f"{at}", metadata={"n": "x" * 5_000})) for at in range(50)])

    file._connection.execute("PRAGMA max_page_count = 1000000")
    assert ids(file) == ["a"]
    file.apply([entry(record("b", at=1))])
    assert ids(file) == ["b", "a"]


def test_a_locked_index_is_no_damage(file: Index, path: str) -> None:
    other = Index.open(path)
    other._connection.execute("PRAGMA busy_timeout = 0")

    with file._transaction(), pytest.raises(IndexUnavailableError, match="locked"):
        other.apply([entry(record("a"))])

    other.close()


def test_a_closed_index_says_so() -> None:
    index = Index.open(None)
    index.close()

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        index.count(EVERYTHING)


def test_a_query_is_answered_over_the_relation(index: Index) -> None:
    index.apply([entry(record("a", metadata={"status": "open"})), entry(record("b"))])

    assert index.query("SELECT id, metadata FROM documents WHERE id < :id", {"id": "b"}) == [
        {"id": "a", "metadata": '{"status":"open"}'}
    ]


def test_after_many_deletions_the_file_is_as_small_as_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "index"
    index = Index.open(str(path))
    entries = [entry(record(f"n{number:05}", metadata={"title": "x" * 900})) for number in range(4_000)]
    index.apply(entries)
    index.truncate_log()
    full = path.stat().st_size
    # a few free pages are used again sooner than they are worth the trouble
    index.apply([], [each.name for each in entries[:200]])
    index.truncate_log()
    assert path.stat().st_size == full
    index.apply([], [each.name for each in entries[:3_600]])
    index.truncate_log()
    assert path.stat().st_size < full / 4
    assert index.check(thorough=True) == ""
    assert len(ids(index)) == 400
    index.close()


def test_to_give_pages_back_keeps_nobody_waiting_for_long(tmp_path: Path) -> None:
    """Each transaction moves a bounded number of pages, and ends where somebody else is writing."""
    index, other = Index.open(str(tmp_path / "index")), Index.open(str(tmp_path / "index"))
    entries = [entry(record(f"n{number:05}", metadata={"title": "x" * 900})) for number in range(4_000)]
    index.apply(entries)
    index.apply([], [each.name for each in entries])
    statements: list[str] = []
    index._connection.set_trace_callback(statements.append)
    with other._transaction(), pytest.raises(IndexUnavailableError):
        index.truncate_log()
    index.truncate_log()
    vacuums = [statement for statement in statements if "incremental_vacuum" in statement]
    assert len(vacuums) > 2
    assert all(0 < int(statement.partition("(")[2].rstrip(")")) <= 500 for statement in vacuums)
    index.close()
    other.close()
