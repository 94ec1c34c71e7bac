"""The words of sessions name paths of records, and what was meant otherwise is refused."""

from collections.abc import Callable
from typing import Any

import pytest

from fsstore.errors import StorageValidationError
from fsstore.query.filters import matches, parse
from fsstore.sessions.mutations import sessions_only
from fsstore.sessions.words import session_filter, session_path
from tests.query.test_filters import Mood


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, {}),
        ({"status": "x"}, {"data.metadata.status": "x"}),
        ({"state.step": 1}, {"data.state.step": 1}),
        ({"metadata.status": "x"}, {"data.metadata.status": "x"}),
        ({"status": {"$in": ["x"]}}, {"data.metadata.status": {"$in": ["x"]}}),
        (
            {"$or": [{"status": "x"}, {"$and": [{"a.b": 1}]}]},
            {"$or": [{"data.metadata.status": "x"}, {"$and": [{"data.a.b": 1}]}]},
        ),
        ({"$nor": [{"status": "x"}]}, {"$nor": [{"data.metadata.status": "x"}]}),
        ({"$oops": 1, "$or": "text"}, {"$oops": 1, "$or": "text"}),
        ({"$or": ["text"]}, {"$or": ["text"]}),
        ({"session_id": "a"}, {"id": "a"}),
        ({"metadata.session_id": "a", "$or": [{"session_id": "a"}]}, {"id": "a", "$or": [{"id": "a"}]}),
        ({"session_id.x": 1, "a.session_id": 1}, {"data.session_id.x": 1, "data.a.session_id": 1}),
        ({r"a\.b": 1}, {r"data.metadata.a\.b": 1}),
        ({r"a\.b.c": 1}, {r"data.a\.b.c": 1}),
        ({r"\$ref": 1}, {r"data.metadata.\$ref": 1}),
        ({"metadata.metadata": 1}, {"data.metadata.metadata": 1}),
        ({"data": 1, "data.x": 2}, {"data.metadata.data": 1, "data.data.x": 2}),
        ({Mood.CALM: 1}, {"data.metadata.calm": 1}),
    ],
)
def test_bare_keys_mean_metadata_and_dotted_ones_start_at_the_session(filters: Any, expected: Any) -> None:
    assert session_filter(filters) == expected


@pytest.mark.parametrize(
    ("filters", "path", "remedy"),
    [
        ([], "$", "{'status': 'done'}"),
        (["status"], "$", "{'status': 'done'}"),
        ("", "$", "{'status': 'done'}"),
        ("status=active", "$", "{'status': 'done'}"),
        (0, "$", "{'status': 'done'}"),
        ({"metadata": {"status": "x"}}, "$.metadata", "name the key itself"),
        ({"$or": [{"a": 1}, {"metadata": {"$exists": True}}]}, "$['$or'][1].metadata", "name the key itself"),
        ({"data.metadata.status": "x"}, "$['data.metadata.status']", "leave 'data.' out"),
    ],
)
def test_a_filter_that_would_find_nothing_or_everything_in_silence_is_refused(
    filters: Any, path: str, remedy: str
) -> None:
    with pytest.raises(StorageValidationError) as refused:
        sessions_only(filters)

    assert refused.value.path == path
    assert remedy in refused.value.advice


def test_a_filter_of_sessions_that_is_nested_too_deep_is_refused() -> None:
    filters: dict[str, Any] = {"a": 1}
    for _ in range(5_000):
        filters = {"$and": [filters]}

    with pytest.raises(StorageValidationError, match="nested deeper"):
        parse(sessions_only(filters))


def test_a_filter_that_contains_itself_is_refused_at_once() -> None:
    logical: list[Any] = []
    logical += [{"$and": logical}]
    value: list[Any] = []
    value += [(value,)]

    for filters in ({"$and": logical}, {"a": value}, {"a": {"$in": value}}):
        for understood in (parse, sessions_only):
            if understood is parse or filters.keys() == {"$and"}:
                with pytest.raises(StorageValidationError, match="nested deeper"):
                    understood(filters)


def test_two_spellings_of_one_path_must_both_hold() -> None:
    wanted = session_filter({"status": {"$gt": "a"}, "metadata.status": {"$lt": "c"}})

    assert matches(wanted, {"data": {"metadata": {"status": "b"}}})
    assert not matches(wanted, {"data": {"metadata": {"status": "c"}}})
    assert not matches(wanted, {"data": {"metadata": {"status": "a"}}})


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        (None, None),
        ("priority", "data.metadata.priority"),
        ("-session_id", "-id"),
        ("-priority", "-data.metadata.priority"),
        ("-state.step", "-data.state.step"),
        (r"-a\.b", r"-data.metadata.a\.b"),
    ],
)
def test_an_order_of_sessions_is_one_of_records(order_by: str | None, expected: str | None) -> None:
    assert session_path(order_by) == expected


def test_a_filter_that_contains_itself_in_places_is_refused_as_one_of_sessions() -> None:
    endless: dict[str, Any] = {}
    endless["$or"] = [endless, {"status": "open"}, endless]

    with pytest.raises(StorageValidationError, match="nested deeper than 200"):
        session_filter(endless)


@pytest.mark.parametrize("ask", [sessions_only, parse])
def test_a_small_filter_that_holds_one_part_over_and_over_is_refused_at_once(ask: Callable[[Any], object]) -> None:
    filters: dict[str, Any] = {"status": 1}
    for _ in range(60):
        filters = {"$and": [filters, filters]}

    with pytest.raises(StorageValidationError, match="too many keys and values"):
        ask(filters)
