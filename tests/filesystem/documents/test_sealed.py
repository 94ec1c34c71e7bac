"""A save is written down once, when it is taken in; over another document only what differs is written anew."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsstore.errors import StorageValidationError
from fsstore.filesystem.documents.codec import decode
from fsstore.filesystem.documents.sealed import SealedSave, is_of_part, part_of, seal
from fsstore.model.mutations import (
    AnyMutation,
    Mutation,
    deleting,
    patching,
    saving,
    unchanged,
)
from fsstore.model.records import JsonObject
from fsstore.sessions.mutations import deleting_session, editing_session, saving_session, updating_session
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
        part, made = taken.over(part_of(current), 0, max_bytes=LIMIT)
        expected = change.apply(current, taken.now)
        assert decode(bytes(made)) == decode(written(expected))
        assert bytes(made) == written(expected)
        assert part == part_of(expected)


def test_a_save_takes_what_its_caller_gives_when_it_is_sealed() -> None:
    session: JsonObject = {"metadata": {"tags": ["a"]}, "messages": [{}]}
    change = saving_session("a", session, NOW)
    taken = sealed(change)
    session["messages"].append("later")
    session["metadata"]["tags"].append("later")
    session["more"] = 1
    for made in (taken.data, taken.over(record_of({}, {}, 1) | {"type": "session"}, 0, max_bytes=LIMIT)[1]):
        assert b"later" not in bytes(made)
        assert b"more" not in bytes(made)
    assert taken.change.record["data"]["metadata"]["tags"] == ["a"]


def test_what_grows_over_the_limit_by_its_version_is_refused() -> None:
    taken = sealed(saving_session("a", {"metadata": {"a": 1}}, NOW))
    current = record_of({}, {}, 10**9) | {"type": "session"}
    with pytest.raises(StorageValidationError, match="bytes are more than"):
        taken.over(current, 0, max_bytes=len(taken.data))


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


SEEN = record_of({"metadata": {"a": 1}, "n": 1}, {"session_id": "a"}, 1) | {"type": "session"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (saving({"id": "a", "type": "session", "data": {}}), True),
        (saving_session("a", {}, NOW, expected_version=1), True),
        (deleting("a", expected_version=1), True),
        (deleting_session("a"), True),
        (patching("a", {"thread_id": None}), True),
        (patching("a", {"data": {"metadata": None}}), True),
        (updating_session("a", {"metadata": {"a": 2}}, NOW), True),
        (updating_session("a", {}, NOW), True),
        (patching("a", {"data": {"metadata": {}, "n": 2}}), False),
        (patching("a", {"data": None}), False),
        (patching("a", {"data": 5}), False),
        (updating_session("a", {"n": 2}, NOW), False),
        (unchanged("a", None), False),
        (editing_session("a", {"n": 1}, NOW, seen=SEEN)[0], False),
        (Mutation("a", lambda current: current), False),
    ],
)
def test_a_part_will_do_for_what_looks_at_metadata_and_envelope_only(change: AnyMutation, *, expected: bool) -> None:
    assert is_of_part(change) is expected
    if expected and not isinstance(change, Mutation):
        whole, part = change.apply(SEEN, LATER), change.apply(part_of(SEEN), LATER)
        assert (whole and part_of(whole)) == (part and part_of(part))


def test_no_mutation_but_a_save_is_written_down() -> None:
    for change in (deleting("a"), patching("a", {}), unchanged("a", None), Mutation("a", lambda _: None)):
        assert seal(change, lambda: NOW, max_bytes=LIMIT) is change
