"""Where an index keeps what a path leads to, and what it knows of a record."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from fsstore.model.records import JsonObject
from fsstore.query.columns import ENVELOPE, Location, known_part, locate, metadata_of, tags_asked, tags_of
from fsstore.query.conditions import ABSENT, Path, reached
from fsstore.query.filters import parse, parse_path
from tests.query.drawn import met_path, some_path, some_record


@pytest.mark.parametrize(
    ("path", "location"),
    [
        *((key, Location(key, None, ())) for key in ENVELOPE),
        ("data.metadata", Location(None, "metadata", ())),
        ("data.metadata.user_id", Location("user_id", "metadata", ("user_id",))),
        ("data.metadata.status", Location("status", "metadata", ("status",))),
        ("data.metadata.status.a", Location(None, "metadata", ("status", "a"))),
        ("data.metadata.tags", Location(None, "metadata", ("tags",))),
        ("data.metadata.id", Location(None, "metadata", ("id",))),
        ("metadata", Location(None, "top_metadata", ())),
        ("metadata.status", Location(None, "top_metadata", ("status",))),
        ("id.a", None),
        ("data", None),
        ("data.state", None),
        ("status", None),
        (r"data\.metadata", None),
    ],
)
def test_a_path_lies_in_a_column_or_a_document_or_is_not_kept(path: str, location: Location | None) -> None:
    assert locate(parse_path(path)) == location


def values_at(record: JsonObject, path: Path) -> list[str]:
    return [repr(value) for value in reached(record, path) if value is not ABSENT]


def test_what_is_located_is_in_the_known_part_of_a_record_and_nothing_else() -> None:
    rng = Random(20260131)
    located = met = 0
    for at in range(400):
        record = some_record(rng, at)
        for text in (some_path(rng), met_path(rng, record)):
            path = parse_path(text)
            if locate(path) is not None:
                located += 1
                assert values_at(known_part(record), path) == values_at(record, path), (record, path)
                met += bool(values_at(record, path))
    assert met > 100
    assert located > met


def test_the_known_part_holds_nothing_of_the_rest() -> None:
    envelope: JsonObject = {**dict.fromkeys(ENVELOPE, "x"), "metadata": {"own": 1}}
    for data, known in (
        ({"metadata": {"a": 1}, "state": 2}, {"metadata": {"a": 1}}),
        ({"state": 2}, {}),
        ([{"metadata": 1, "state": 2}, "text", [3], {}], [{"metadata": 1}, {}]),
    ):
        assert known_part({**envelope, "other": 1, "data": data}) == {**envelope, "data": known}
    assert known_part({**envelope, "data": "text"}) == envelope


@pytest.mark.parametrize(
    ("operators", "strings"),
    [
        ("a", ["a"]),
        ({"$in": ["a"]}, ["a"]),
        ({"$in": ["a", None]}, []),
        ({"$in": ["a", ["b"]]}, []),
        (1, []),
        ({"$gt": "a"}, []),
        ({"$regex": "a"}, []),
    ],
)
def test_tags_are_asked_for_by_strings_alone(operators: Any, strings: list[str]) -> None:
    assert tags_asked(parse({"data.metadata.tags": operators})) == strings
    assert tags_asked(parse({"data.metadata.other": operators})) == []
    assert tags_asked(parse({"metadata.tags": operators})) == []


@pytest.mark.parametrize("value", ["a", ["a", "b", "a"], ["a", 1, None, ["b"], {"a": "c"}], [], 1, None, {"a": "b"}])
def test_the_tags_of_a_value_are_what_equality_finds_in_it(value: Any) -> None:
    record = {"data": {"metadata": {"tags": value}}}

    found = {text for text in ("a", "b", "c") if parse({"data.metadata.tags": text}).matches(record)}

    assert set(tags_of(value)) == found


def test_the_metadata_is_that_of_the_data_before_that_of_the_record() -> None:
    assert metadata_of({"data": {"metadata": {"a": 1}}, "metadata": 2}) == {"a": 1}
    for data in ({}, {"metadata": None}, "text", [{"metadata": 1}]):
        assert metadata_of({"data": data, "metadata": 2}) == 2
        assert metadata_of({"data": data}) is None
