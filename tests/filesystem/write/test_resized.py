"""What is made of the bytes of a document gives what applying the change to the whole record gives."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsstore.errors import StorageConflictError
from fsstore.filesystem.documents.codec import digest, encode
from fsstore.filesystem.documents.lists import Listed, Places, located
from fsstore.filesystem.documents.sealed import part_of
from fsstore.filesystem.documents.text import Text
from fsstore.filesystem.write.resized import Made, resized
from fsstore.model.expected import Expected
from fsstore.model.mutations import Append, Patch, Pop
from fsstore.model.records import JsonObject
from fsstore.model.successor import Stamp
from tests.filesystem.documents.test_lists import LISTS, OBJECTS

NOW, LATER = "2026-01-31T09:15:00.000000+00:00", "2026-01-31T09:16:00.000000+00:00"
STEPS = ("data", "messages")
LIMIT = 1 << 20


def record_of(data: JsonObject) -> JsonObject:
    return {"id": "a", "type": "session", "version": 3, "created_at": NOW, "updated_at": NOW, "data": data}


def there(record: JsonObject) -> Made:
    return Made(part_of(record), Text.of(encode(record, max_bytes=LIMIT)))


def appending(*items: Any, **facts: Any) -> Append:
    return Append("a", items, STEPS, **facts)


@settings(deadline=None)
@given(
    data=OBJECTS,
    items=LISTS,
    added=LISTS,
    status=st.sampled_from([None, "open"]),
    mirrored=st.booleans(),
    pop=st.booleans(),
)
def test_bytes_and_part_are_those_of_the_whole_record(
    *, data: JsonObject, items: list[Any], added: list[Any], status: str | None, mirrored: bool, pop: bool
) -> None:
    record = record_of({**data, "messages": items, "metadata": {"status": "old", "n": 1}})
    patch = None if status is None else Patch("a", {"data": {"metadata": {"status": status, "n": None}}})
    change: Append | Pop = (
        Pop("a", items[-1], STEPS, stamp=Stamp(is_mirrored=mirrored))
        if pop and items
        else appending(*added, patch=patch, stamp=Stamp(is_mirrored=mirrored))
    )
    before = there(record)
    made, whole = resized(change, before, LATER, max_bytes=LIMIT), change.apply(record, LATER)
    assert made is not None
    if whole is record:
        assert (made.part is before.part, made.text is before.text) == (True, True)
        assert made.places.lists["messages"] == located(before.text or Text.of(b""), "messages", Places())
        return
    assert made.text is not None
    assert bytes(made.text) == encode(whole, max_bytes=LIMIT)
    assert made.part == part_of(whole)
    assert located(made.text, "messages", made.places) == located(made.text, "messages", Places())


@settings(deadline=None)
@given(
    marks=st.lists(st.sampled_from([1, True, 1.0, "a", "b", None]), max_size=4),
    added=st.lists(st.sampled_from([1, True, 1.0, "a", "b", "c", None, ...]), max_size=5),
)
def test_known_items_are_left_out_as_in_the_whole_record(marks: list[Any], added: list[Any]) -> None:
    record = record_of({"messages": [{"id": mark} for mark in marks], "metadata": {}})
    change = appending(*({"n": 1} if mark is ... else {"id": mark} for mark in added), unique_by="id")
    before = there(record)
    made, whole = resized(change, before, LATER, max_bytes=LIMIT), change.apply(record, LATER)
    assert made is not None
    assert made.text is not None
    assert bytes(made.text) == encode(whole, max_bytes=LIMIT)


@settings(deadline=None)
@given(
    data=OBJECTS,
    steps=st.lists(st.tuples(st.sampled_from(["messages", "log", "zz"]), LISTS), max_size=8),
    pops=st.booleans(),
)
def test_what_is_known_of_several_lists_stays_right_from_change_to_change(
    *, data: JsonObject, steps: list[tuple[str, list[Any]]], pops: bool
) -> None:
    record = record_of({**data, "messages": [1], "log": [], "zz": [[]], "metadata": {"n": 1}})
    made = there(record)
    for at, (key, items) in enumerate(steps):
        patch = Patch("a", {"data": {"metadata": {"n": None, f"n{at}": "x" * at}}})
        change: Append | Pop = Append("a", items, ("data", key), patch=patch, stamp=Stamp(is_mirrored=True))
        if pops and not items and record["data"][key]:
            change = Pop("a", record["data"][key][-1], ("data", key))
        found = resized(change, made, LATER, max_bytes=LIMIT)
        record = change.apply(record, LATER)
        assert found is not None
        assert found.text is not None
        made = found._replace(text=found.text.compacted() if at % 2 else found.text)
        assert bytes(made.text or b"") == encode(record, max_bytes=LIMIT)
        assert (made.text or Text.of(b"")).digest == digest(bytes(made.text or b""))
        for known, listed in made.places.lists.items():
            assert listed == located(found.text, known, Places())


def test_what_is_known_of_a_list_is_not_looked_for_again() -> None:
    made = there(record_of({"messages": [1, 2], "metadata": {}}))
    assert made.text is not None
    begin, end, _ = located(made.text, "messages", Places()) or (0, 0, 0)
    known = made._replace(places=Places().knowing("messages", Listed(begin, end, 40)))
    longer = resized(appending(3), known, LATER, max_bytes=LIMIT)
    assert longer is not None
    assert longer.places.lists["messages"].length == 41


@pytest.mark.parametrize(
    ("change", "data"),
    [
        (appending(1), {"metadata": {}}),
        (appending(1), {"messages": {}, "metadata": {}}),
        (Append("a", [1], ("data", "state", "log")), {"state": {"log": []}, "metadata": {}}),
        (Append("a", [1], ("data", "metadata")), {"metadata": []}),
        (appending({"id": [1]}, unique_by="id"), {"messages": [], "metadata": {}}),
        (appending(1, expected=Expected(seen={})), {"messages": [], "metadata": {}}),
        (appending("x" * LIMIT), {"messages": [], "metadata": {}}),
        (Pop("a", 5, STEPS), {"messages": [1], "metadata": {}}),
        (Pop("a", 5, STEPS), {"messages": [], "metadata": {}}),
    ],
)
def test_what_must_be_parsed_is_left_alone(change: Append | Pop, data: JsonObject) -> None:
    assert resized(change, there(record_of(data)), LATER, max_bytes=LIMIT) is None


def test_what_is_not_as_expected_is_refused() -> None:
    with pytest.raises(StorageConflictError):
        resized(appending(1, expected=Expected(version=2)), there(record_of({"messages": []})), LATER, max_bytes=LIMIT)
