"""What is spliced into the bytes of a document gives, byte for byte, what `encode` gives."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsstore.filesystem.documents.codec import encode
from fsstore.filesystem.documents.sealed import part_of
from fsstore.filesystem.documents.splice import spliced
from fsstore.filesystem.documents.text import Text
from fsstore.model.records import JsonObject
from fsstore.model.values import MAX_INT

NOW = "2026-01-31T09:15:00.000000+00:00"
LIMIT = 1 << 20

# keys and texts that look like the lines which the splice goes by
KEYS = st.sampled_from(["data", "metadata", "created_at", "a", "zz", "messages", "state", '"data": {\n', "\n  }", "é"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, MAX_INT) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(['\n  "data": {\n', '\n    "metadata": {', "\n  }", "x", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=5)


def record_of(data: Any, beside: JsonObject, version: int) -> JsonObject:
    return {**beside, "id": "a", "type": "t", "version": version, "created_at": NOW, "updated_at": NOW, "data": data}


def written(record: JsonObject) -> bytes:
    return encode(record, max_bytes=LIMIT)


def made_of(data: bytes, before: JsonObject, after: JsonObject) -> bytes | None:
    text = Text.of(data)
    edits = spliced(text, before, after)
    return None if edits is None else bytes(text.edited(edits))


@settings(deadline=None)
@given(data=OBJECTS, metadata=VALUES, other=VALUES, beside=OBJECTS, later=OBJECTS)
def test_what_is_spliced_is_what_would_have_been_encoded(
    data: JsonObject, metadata: Any, other: Any, beside: JsonObject, later: JsonObject
) -> None:
    before = record_of({**data, "metadata": metadata}, beside, 1)
    after = record_of({**data, "metadata": other}, later, 12)
    made = made_of(written(before), part_of(before), part_of(after))
    assert made is None or made == written(after)
    if metadata == {"x": 1}:
        assert made is not None


@pytest.mark.parametrize("metadata", [{"x": 1}, {}, None, [], "text", [1, {"a": 2}]])
def test_metadata_of_any_kind_gives_way_to_any_other(metadata: Any) -> None:
    before = record_of({"metadata": metadata, "a": 1, "z": [{}]}, {"thread_id": None}, 9)
    others: tuple[Any, ...] = ({"y": {"deep": []}}, {}, None, 5)
    for other in others:
        after = record_of({"metadata": other, "a": 1, "z": [{}]}, {}, 10)
        assert made_of(written(before), part_of(before), part_of(after)) == written(after)


@pytest.mark.parametrize("data", [{}, {"a": 1}, [], [{"metadata": {}}], None, "text"])
def test_without_metadata_in_its_data_a_record_is_encoded_anew(data: Any) -> None:
    before, after = record_of(data, {}, 1), record_of({"metadata": {}}, {}, 2)
    assert made_of(written(before), part_of(before), part_of(after)) is None
    assert made_of(written(after), part_of(after), part_of(before)) is None


def test_bytes_in_another_form_are_never_spliced() -> None:
    before = record_of({"metadata": {"x": 1}, "a": [1, 2]}, {}, 1)
    for data in (b"{}", b"", written(before).replace(b"  ", b"\t"), written(before)[1:], written(before)[:-1]):
        assert made_of(data, part_of(before), part_of(before)) is None
    assert made_of(written(before), part_of(before), {**before, "x": object()}) is None
    before = record_of({"metadata": 1, "n": 2}, {}, 1)
    longer = written(before).replace(b'"metadata": 1', b'"metadata": 1.50')
    assert made_of(longer, part_of(before), part_of(before)) is None
