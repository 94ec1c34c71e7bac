from __future__ import annotations

from random import Random
from typing import Any

import pytest

from fsstore.interfaces import summary
from fsstore.model.records import JsonObject
from fsstore.postgres.schema.rows import NULL_SESSION, ODD, OTHER_TIMES, PART_COLUMNS, part_of, row_of
from tests.query.drawn import TIMES, some_record

RECORDS = 500


def record(metadata: Any, /, **more: Any) -> JsonObject:
    envelope = {"id": "a", "type": "session", "version": 1, "created_at": TIMES[0], "updated_at": TIMES[0]}
    return {**envelope, "data": {"metadata": metadata}, **more}


@pytest.mark.parametrize(
    "found",
    [
        record({"a": "x\0y"}),
        record({"x\0y": 1}),
        record({"a": [{"b": "\0"}]}),
        record({"a": 2**63}),
        record({"a": float(2**53)}),
        record({"a": -1e300}),
        record({"a": -0.0}),
        record({"status": ["open"]}),
        record({"user_id": {"a": 1}}),
        record({"tags": ["t" * 257]}),
        record({"status": "s" * 257}),
        record({}, type="t" * 257),
        record({}, session_id="中" * 257),
        record([{"a": 1}]),
        record({}, data=[{"metadata": {}}]),
        record({}, metadata=[1]),
        record({}, metadata={"a": "\0"}),
        record({}, type="a\0"),
        record({}, session_id="\0"),
        record({}, thread_id="a\0b"),
    ],
)
def test_a_record_that_postgresql_would_see_otherwise_is_odd_and_nothing_of_it_stands_in_the_documents(
    found: JsonObject,
) -> None:
    row = row_of(found)

    assert row.marks >= ODD
    assert (row.metadata, row.top_metadata, row.tags, row.status, row.user_id) == (None,) * 5
    assert not any("\0" in value for value in row if isinstance(value, str))


@pytest.mark.parametrize(
    "metadata",
    [{"a": 2**63 - 1}, {"a": -(2**63)}, {"a": 2.0**53 - 1}, {"a": 0.0}, {"a": 5e-324}, {"status": 5}, None, "text", {}],
)
def test_a_record_that_postgresql_sees_as_python_does_is_ordinary(metadata: Any) -> None:
    assert row_of(record(metadata)).marks == 0


def test_a_row_tells_times_in_another_form_and_keys_that_are_null() -> None:
    assert row_of(record({"created_at": "2026-01-02"})).marks == OTHER_TIMES
    assert row_of(record({"created_at": TIMES[1], "updated_at": None})).marks == 0
    assert row_of(record({}, session_id=None)).marks == NULL_SESSION


def test_the_part_of_an_ordinary_row_has_the_summary_of_its_record() -> None:
    rng = Random(20260131)
    ordinary = 0
    for at in range(RECORDS):
        found = some_record(rng, at)
        row = row_of(found)
        if not row.marks >= ODD:
            ordinary += 1
            part = part_of([getattr(row, column) for column in PART_COLUMNS])
            assert summary({"data": None, **part}) == summary(found)
    assert ordinary > RECORDS / 10
