from typing import Any

import pytest

from fsstore.filesystem.index.schema import (
    ENTRY_COLUMNS,
    MOVING_COLUMNS,
    NESTED,
    NULL_SESSION,
    NULL_THREAD,
    OTHER_TIMES,
    SETTLED_COLUMNS,
    TooDeepError,
    record_row,
)
from fsstore.model.records import JsonObject
from fsstore.model.values import MAX_DEPTH
from tests.filesystem.index.test_index import ABSENT, record

PLAIN: JsonObject = {"user_id": "u", "status": "open", "tags": ["a", "b"], "n": 1.5, "deep": {"er": [True, None]}}


def columns(of: JsonObject) -> dict[str, Any]:
    """Return the values of a record's row, by column."""
    row = record_row(of)
    return dict(zip(SETTLED_COLUMNS, row.settled, strict=True)) | dict(zip(ENTRY_COLUMNS[9:], row.moving, strict=False))


def test_an_ordinary_row_has_its_common_fields_as_columns() -> None:
    found = columns(record("a", metadata=PLAIN, session_id="s"))
    assert (found["user_id"], found["status"], found["tags"], found["odd"]) == ("u", "open", '["a","b"]', None)
    assert (found["session_id"], found["thread_id"], found["flags"]) == ("s", None, 0)


@pytest.mark.parametrize("beyond", [0, 2**70], ids=["an ordinary number", "one beyond 64 bits"])
def test_metadata_has_the_order_of_the_document_whoever_has_written_the_row(beyond: int) -> None:
    found = columns(record("a", metadata={"z": 1, "a": {"y": beyond, "b": 3}}))
    assert found["metadata"] == f'{{"a":{{"b":3,"y":{beyond}}},"z":1}}'


def test_every_column_is_given_once() -> None:
    assert sorted(ENTRY_COLUMNS) == sorted({"name", "id", *SETTLED_COLUMNS, *MOVING_COLUMNS})


@pytest.mark.parametrize(
    ("metadata", "flags"),
    [
        ({"a": [1, "b", None, True]}, 0),
        ({"a": [1.5]}, NESTED),
        ({"a": [[1]]}, NESTED),
        ({"a": {"b": [{}]}}, NESTED),
        ({"created_at": "2026-01-31T09:15:00.000000+00:00"}, 0),
        ({"created_at": "2026-01-31T09:15:00Z"}, OTHER_TIMES),
        ({"updated_at": 5}, OTHER_TIMES),
        ({"updated_at": None}, 0),
    ],
)
def test_flags_tell_what_sqlite_cannot_judge(metadata: JsonObject, flags: int) -> None:
    assert columns(record("a", metadata=metadata))["flags"] == flags


def test_a_key_that_is_null_is_told_from_one_that_is_absent() -> None:
    assert columns(record("a", session_id=None, thread_id=None))["flags"] == NULL_SESSION | NULL_THREAD
    assert columns(record("a"))["flags"] == 0


@pytest.mark.parametrize(
    ("metadata", "top", "data"),
    [
        ({"a": "x\0y"}, ABSENT, ABSENT),
        ({"a": 2**63}, ABSENT, ABSENT),
        ({"a": {"b": [-(2**63) - 1]}}, ABSENT, ABSENT),
        ({"a": 1e300}, ABSENT, ABSENT),
        ({"user_id": True}, ABSENT, ABSENT),
        ({"status": ["open"]}, ABSENT, ABSENT),
        ([1], ABSENT, ABSENT),
        (ABSENT, [1], ABSENT),
        (ABSENT, {"a": "\0"}, ABSENT),
        (ABSENT, ABSENT, [{"metadata": 1}]),
    ],
)
def test_what_sqlite_would_see_otherwise_makes_a_row_odd(metadata: Any, top: Any, data: Any) -> None:
    found = columns(record("a", metadata=metadata, top=top, data=data))
    assert found["odd"] is not None
    assert (found["user_id"], found["status"], found["tags"]) == (None, None, None)


def test_integers_beyond_64_bits_keep_every_digit() -> None:
    assert columns(record("a", metadata={"n": 2**70}))["metadata"] == f'{{"n":{2**70}}}'


def test_what_is_nested_too_deep_is_refused() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]
    with pytest.raises(TooDeepError):
        record_row(record("a", metadata={"a": deep}))
