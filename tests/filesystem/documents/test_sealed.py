"""A save is written down once, when it is taken in; over another document only what differs is written anew."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsstore.errors import StorageValidationError
from fsstore.filesystem.documents.codec import decode
from fsstore.filesystem.documents.sealed import SealedSave, part_of, seal
from fsstore.model.records import JsonObject, saving, successor
from fsstore.sessions.mutations import saving_session
from tests.filesystem.documents.test_splice import LIMIT, NOW, OBJECTS, record_of, written

LATER = "2026-02-01T00:00:00.000000+00:00"


def sealed(change: Any) -> SealedSave:
    taken = seal(change, lambda: NOW, max_bytes=LIMIT)
    assert isinstance(taken, SealedSave)
    return taken


@settings(deadline=None)
@given(data=OBJECTS, metadata=OBJECTS, beside=OBJECTS, keep_times=st.booleans())
def test_a_save_over_another_document_is_what_its_rule_makes_of_it(
    data: JsonObject, metadata: JsonObject, beside: JsonObject, *, keep_times: bool
) -> None:
    metadata.pop("created_at", None)
    session = {**data, "metadata": metadata}
    current = record_of({"metadata": {"old": 1}, "gone": True}, {"kept": 1, **beside}, 7) | {"type": "session"}
    for change in (
        saving_session("a", session, LATER, keep_times=keep_times),
        saving({"id": "a", "type": "session", "data": session, "metadata": metadata}, keep_times=keep_times),
    ):
        taken = sealed(change)
        part, made = taken.over(part_of(current), max_bytes=LIMIT)
        expected = successor(change, current, taken.part["updated_at"])
        assert expected is not None
        assert decode(made) == decode(written(expected))
        assert made == written(expected)
        assert part == part_of(expected)


def test_a_save_takes_what_its_caller_gives_when_it_is_sealed() -> None:
    session: JsonObject = {"metadata": {"tags": ["a"]}, "messages": [{}]}
    change = saving_session("a", session, NOW)
    taken = sealed(change)
    session["messages"].append("later")
    session["metadata"]["tags"].append("later")
    session["more"] = 1
    for made in (taken.data, taken.over(record_of({}, {}, 1) | {"type": "session"}, max_bytes=LIMIT)[1]):
        assert b"later" not in made
        assert b"more" not in made
    assert taken.part["data"]["metadata"]["tags"] == ["a"]


def test_what_grows_over_the_limit_by_its_version_is_refused() -> None:
    taken = sealed(saving_session("a", {"metadata": {"a": 1}}, NOW))
    current = record_of({}, {}, 10**9) | {"type": "session"}
    with pytest.raises(StorageValidationError, match="bytes are more than"):
        taken.over(current, max_bytes=len(taken.data))


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": (1,)}, "$.data.a"),
        ({"a": [float("nan")]}, "$.data.a[0]"),
        ({"a": {1: 2}}, "$.data.a"),
        ({"a": "\ud800"}, "$.data.a"),
        ({"a": 2**64}, "$.data.a"),
        ({"metadata": {"a": {2}}}, "$.data.metadata.a"),
    ],
)
def test_what_can_not_be_kept_exactly_is_refused_when_it_is_sealed(value: JsonObject, path: str) -> None:
    with pytest.raises(StorageValidationError) as refused:
        seal(saving_session("a", value, NOW), lambda: NOW, max_bytes=LIMIT)
    assert refused.value.path == path
