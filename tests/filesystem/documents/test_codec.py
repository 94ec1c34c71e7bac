import json
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum, IntEnum, StrEnum
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsstore.errors import StorageValidationError
from fsstore.filesystem.documents.codec import (
    InConflictError,
    NotARecordError,
    decode,
    decode_marker,
    digest,
    encode,
    encode_marker,
)
from fsstore.model.records import JsonObject
from fsstore.model.values import MAX_DEPTH, MAX_INT, MIN_INT, copy_value
from fsstore.testing.examples import EXACT_VALUES, REFUSED_VALUES, exact_text, nested
from tests.model.test_values import ANYTHING, JSON

TIME = "2026-01-21T09:15:00.000000+00:00"
LIMIT = 16 << 20

# a busy machine is no failure, and large values are slow to make
unhurried = settings(deadline=None, max_examples=60)


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Half(float, Enum):
    HALF = 0.5


class Text(str):
    __slots__ = ()


class Flag(int):
    pass


class Row(list[int]):
    pass


@dataclass
class Data:
    a: int = 1


Pair = namedtuple("Pair", "a b")  # noqa: PYI024 - the untyped kind is a tuple just the same

ODD_VALUES: dict[str, Any] = {
    "text enum": Colour.RED,
    "integer enum": Level.LOW,
    "float enum": Half.HALF,
    "subclass of str": Text("red"),
    "subclass of int": Flag(1),
    "subclass of list": Row([1]),
    "subclass of dict": OrderedDict(a=1),
    "subclass of str as key": {Text("a"): 1},
    "enum as key": {Colour.RED: 1},
    "named tuple": Pair(1, 2),
    "data class": Data(),
    "uuid": UUID(int=1),
    "time": datetime(2026, 1, 31, tzinfo=UTC),
    "day": date(2026, 1, 31),
    "json as it is": orjson.Fragment(b"1"),
    "bytes that can change": bytearray(b"a"),
    "complex": 1j,
}
"""Values that equal what is read back, or that orjson writes without being asked."""


def record(data: Any = None, **parts: Any) -> JsonObject:
    envelope = {"id": "a", "type": "note", "version": 1, "created_at": TIME, "updated_at": TIME}
    return {**envelope, "data": data, **parts}


def written(data: Any = None, **parts: Any) -> bytes:
    return encode(record(data, **parts), max_bytes=LIMIT)


def with_value(token: bytes, *, beside: bytes = b"0") -> bytes:
    """Return a document that holds a piece of JSON, or of what claims to be, and another value beside it."""
    return written("VALUE", beside="BESIDE").replace(b'"VALUE"', token).replace(b'"BESIDE"', beside)


# documents with a long number are read by another reader: both must keep the same rules
both_readers = pytest.mark.parametrize("beside", [b"0", b"1234567890123456789012"], ids=["orjson", "pydantic"])


# -- the form of a document -----------------------------------------------------------------------------------------


def test_a_document_is_readable_and_ends_with_a_newline() -> None:
    data = written({"z": "Gr\u00fc\u00dfe </\u4e16\u754c>", "a": [1, {}], "B": []}, version=7)

    assert data.decode() == (
        "{\n"
        f'  "created_at": "{TIME}",\n'
        '  "data": {\n'
        '    "B": [],\n'
        '    "a": [\n'
        "      1,\n"
        "      {}\n"
        "    ],\n"
        '    "z": "Gr\u00fc\u00dfe </\u4e16\u754c>"\n'
        "  },\n"
        '  "id": "a",\n'
        '  "type": "note",\n'
        f'  "updated_at": "{TIME}",\n'
        '  "version": 7\n'
        "}\n"
    )


def without_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_floats(item) for item in value]
    return str(value) if isinstance(value, float) else value


@unhurried
@given(JSON)
def test_a_document_is_what_the_standard_library_writes_too(value: Any) -> None:
    value = without_floats(value)
    text = json.dumps(record(value), ensure_ascii=False, indent=2, sort_keys=True) + "\n"

    assert written(value) == text.encode()


@unhurried
@given(JSON, st.randoms())
def test_equal_records_give_equal_bytes(value: Any, random: Any) -> None:
    def shuffled(part: Any) -> Any:
        if isinstance(part, list):
            return [shuffled(item) for item in part]
        if not isinstance(part, dict):
            return part
        keys = list(part)
        random.shuffle(keys)
        return {key: shuffled(part[key]) for key in keys}

    assert encode(shuffled(record(value)), max_bytes=LIMIT) == written(value)


# -- what goes in comes out, or does not go in ----------------------------------------------------------------------


@pytest.mark.parametrize("name", EXACT_VALUES)
def test_every_example_of_a_json_value_comes_back_exactly(name: str) -> None:
    value = EXACT_VALUES[name][0] if name == "deepest" else EXACT_VALUES[name]

    assert exact_text(decode(written({"value": value}))) == exact_text(record({"value": value}))


@pytest.mark.parametrize(
    "value",
    [
        *(1e18, 1e22, 0.1234567890123456789, 12345678901234567.0, 1e-320, -0.0),
        *(MAX_INT, MIN_INT, 10**18, 2**63),
        *("1234567890123456789", "0" * 400, "1e400", {"1" * 25: "9" * 19}),
    ],
)
@both_readers
def test_long_numbers_survive_as_what_they_are(value: Any, beside: bytes) -> None:
    data = with_value(orjson.dumps(value), beside=beside)

    assert exact_text(decode(data)["data"]) == exact_text(value)


def outcome(work: Callable[[], Any]) -> tuple[str | None, ...]:
    """Return the exact value that comes of something, or why and where it is refused."""
    try:
        return (exact_text(work()),)
    except StorageValidationError as error:
        return error.reason, error.path


@unhurried
@given(st.recursive(ANYTHING | st.sampled_from(list(ODD_VALUES.values())), st.lists, max_leaves=5), st.text())
def test_a_record_comes_back_exactly_or_is_refused_as_the_rule_says(value: Any, key: str) -> None:
    given_record = record(value, **{f"x{key}": value})
    assert outcome(lambda: decode(encode(given_record, max_bytes=LIMIT))) == outcome(lambda: copy_value(given_record))


@pytest.mark.parametrize("name", [*REFUSED_VALUES, *ODD_VALUES])
def test_what_is_not_json_is_refused_with_its_path(name: str) -> None:
    with pytest.raises(StorageValidationError) as caught:
        written({"list": [0, (REFUSED_VALUES | ODD_VALUES)[name]]})

    assert str(caught.value.path).startswith("$.data.list[1]")
    assert caught.value.id == "a"


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**400])
def test_an_integer_beyond_64_bits_is_refused(number: int) -> None:
    with pytest.raises(StorageValidationError, match=r"\$\.data\[0\]: the integer .*exceeds 64 bits"):
        written([number])


def test_a_record_may_be_nested_as_deep_as_the_limit_and_no_deeper() -> None:
    # the record itself is the first of the nested values
    deepest, leaf = nested(MAX_DEPTH - 1), [2**64 - 1]
    for _ in range(MAX_DEPTH - 2):
        leaf = [leaf]  # type: ignore[list-item]  # lists in lists have no type of their own

    for value in (deepest, leaf):
        assert decode(written(value, beside=MAX_INT))["data"] == value
        with pytest.raises(StorageValidationError, match="nested deeper than 200") as caught:
            written([value])
        assert caught.value.path == "$.data" + "[0]" * (MAX_DEPTH - 1)


def test_text_with_the_indent_of_a_value_too_deep_is_no_such_value() -> None:
    value = "\n" + " " * 1000

    assert decode(written(value))["data"] == value


def test_a_document_may_have_as_many_bytes_as_the_limit_and_no_more() -> None:
    data = written("x" * 1000)

    assert encode(record("x" * 1000), max_bytes=len(data)) == data
    with pytest.raises(StorageValidationError, match=r"bytes are more than the .* allowed.*max_bytes") as caught:
        encode(record("x" * 1000), max_bytes=len(data) - 1)
    assert (caught.value.path, caught.value.id) == ("$", "a")


def test_equal_bytes_have_equal_digests() -> None:
    assert digest(b"a").hex() == "86f7e437faa5a7fce15d1ddcb9eaeaea"
    assert digest(bytearray(b"a")) == digest(b"a")


# -- reading what others wrote --------------------------------------------------------------------------------------


def test_what_the_caller_put_at_the_top_level_is_kept() -> None:
    parts = {"session_id": "s", "thread_id": None, "metadata": {"n": 1}, "colour": ["red"]}

    assert decode(bytearray(written(**parts)), "a") == record(**parts)


@pytest.mark.parametrize("beside", [0, 2**64 - 1])
def test_a_document_cut_off_anywhere_is_no_record(beside: int) -> None:
    data = written({"text": "Gr\u00fc\u00dfe", "n": [1.5, None, True]}, beside=beside)

    for size in range(len(data) - 1):
        with pytest.raises(NotARecordError):
            decode(data[:size])
    # an editor may drop the last newline: nothing of the value is lost with it
    assert decode(data[:-1]) == decode(data)


@pytest.mark.parametrize("after", [b"x", b"{}", b"\x00", b"]", b",", b"\n0"])
@both_readers
def test_a_document_with_something_behind_it_is_no_record(after: bytes, beside: bytes) -> None:
    with pytest.raises(NotARecordError):
        decode(with_value(b"0", beside=beside) + after)


HOSTILE_TOKENS: dict[str, bytes] = {
    "not a number": b"NaN",
    "infinity": b"Infinity",
    "minus infinity": b"-Infinity",
    "beyond a float": b"1e400",
    "far below zero": b"-1e400",
    "an integer of 5000 digits": b"1" * 5000,
    "a float of 400 digits": b"1" * 400 + b".0",
    "leading zero": b"01",
    "leading plus": b"+1",
    "no digit after the point": b"1.",
    "no digit before the point": b".5",
    "hexadecimal": b"0x10",
    "high surrogate alone": rb'"\ud800"',
    "low surrogate alone": rb'"\udc00"',
    "surrogates the wrong way round": rb'"\udc00\ud800"',
    "surrogate in a key": rb'{"\ud800": 1}',
    "surrogate in utf-8": b'"\xed\xa0\x80"',
    "latin-1": b'"\xe9"',
    "overlong utf-8": b'"\xc0\xaf"',
    "raw tab": b'"\t"',
    "raw newline": b'"\n"',
    "raw null": b'"\x00"',
    "unknown escape": rb'"\x41"',
    "single quotes": b"'a'",
    "trailing comma": b"[1,]",
    "comment": b"1 // one",
    "bare word": b"undefined",
    "python's null": b"None",
    "nothing": b"",
    "key without quotes": b"{a: 1}",
    "integer as key": b"{1: 1}",
    "two values": b"1 2",
    "a merge conflict": b"\n<<<<<<< HEAD\n1\n=======\n2\n>>>>>>> theirs\n",
    "lists 100 000 deep": b"[" * 100_000 + b"]" * 100_000,
    "objects 100 000 deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "never closed": b"[" * 100_000,
}


@pytest.mark.parametrize("name", HOSTILE_TOKENS)
@both_readers
def test_a_document_with_something_that_is_not_json_is_no_record(name: str, beside: bytes) -> None:
    with pytest.raises(NotARecordError):
        decode(with_value(HOSTILE_TOKENS[name], beside=beside))


def test_what_git_has_left_in_conflict_is_known_by_its_markers() -> None:
    both = b'{\n<<<<<<< HEAD\n  "id": "a"\n=======\n  "id": "b"\n>>>>>>> other\n}\n'
    for text in (both, both.replace(b"\n", b"\r\n"), both.replace(b"=======", b"||||||| base\n=======")):
        with pytest.raises(InConflictError, match="take the marker lines out"):
            decode(text)
    for text in (both.replace(b"=======", b""), both.replace(b"<<<<<<<", b" <<<<<<<"), b"<<<<<<<"):
        with pytest.raises(NotARecordError) as caught:
            decode(text)
        assert not isinstance(caught.value, InConflictError)


def test_a_text_about_conflicts_is_a_text() -> None:
    text = "<<<<<<< HEAD\n=======\n>>>>>>> other\n"
    assert decode(written(text))["data"] == text


WHOLE = written("Gr\u00fc\u00dfe")
HOSTILE_FILES: dict[str, bytes] = {
    "empty": b"",
    "a newline": b"\n",
    "nulls": bytes(len(WHOLE)),
    "nulls at the end": WHOLE[:-20] + bytes(20),
    "utf-16": WHOLE.decode().encode("utf-16"),
    "utf-16 without a mark": WHOLE.decode().encode("utf-16-le"),
    "utf-32": WHOLE.decode().encode("utf-32"),
    "latin-1": WHOLE.decode().encode("latin-1"),
    "a picture": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    "compressed": b"\x1f\x8b\x08\x00" + WHOLE,
    "a list": b"[" + WHOLE + b"]",
    "text": b'"a"',
    "a number": b"1",
    "null": b"null",
    "an empty object": b"{}",
    "two documents": WHOLE + WHOLE,
    "the wrong end of a longer one": WHOLE + WHOLE[-30:],
}


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_a_file_that_is_something_else_is_no_record(name: str) -> None:
    with pytest.raises(NotARecordError):
        decode(HOSTILE_FILES[name])


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**40, -(10**300)])
def test_an_integer_that_another_program_wrote_is_read_exactly(number: int) -> None:
    read = decode(with_value(str(number).encode()))["data"]

    assert type(read) is int
    assert read == number


@both_readers
def test_of_a_key_that_is_there_twice_the_last_one_counts(beside: bytes) -> None:
    assert decode(with_value(b'{"a": 1, "b": 2, "a": 3}', beside=beside))["data"] == {"a": 3, "b": 2}


@unhurried
@given(
    st.sampled_from([0, MAX_INT]),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), st.binary(max_size=4)), max_size=3),
)
def test_whatever_is_done_to_the_bytes_they_are_a_record_or_are_none(
    beside: int, edits: list[tuple[int, int, bytes]]
) -> None:
    data = written({"text": "Gr\u00fc\u00dfe", "n": [1.5, None, True, -1]}, beside=beside)
    for at, removed, inserted in edits:
        data = data[:at] + inserted + data[at + removed :]
    try:
        found = decode(data)
    except NotARecordError:
        return
    assert decode(encode(found, max_bytes=LIMIT)) == found


# -- the envelope ---------------------------------------------------------------------------------------------------


def test_a_document_of_another_id_is_not_the_one_asked_for() -> None:
    assert decode(WHOLE, "a") == decode(WHOLE)
    with pytest.raises(NotARecordError, match="it is the document 'a'"):
        decode(WHOLE, "A")


@pytest.mark.parametrize("key", ["id", "type", "data", "version", "created_at", "updated_at"])
def test_a_document_without_a_part_of_its_envelope_is_no_record(key: str) -> None:
    parts = record()
    del parts[key]

    with pytest.raises(NotARecordError, match=rf"\$\.{key}"):
        decode(orjson.dumps(parts))


MALFORMED: dict[str, list[Any]] = {
    "id": ["", 5, None, "a\nb", "x" * 1025],
    "type": [5, None, []],
    "version": [0, -1, 1.0, "1", True, None, 2**63],
    "session_id": [5, []],
    "thread_id": [5, []],
    "created_at": [5],
    "updated_at": ["", "yesterday", 5, None, "2026-01-32", "2026-01-31T09.5", "0001-01-01T00:00+01:00", []],
}


@pytest.mark.parametrize(("key", "bad"), [(key, bad) for key, values in MALFORMED.items() for bad in values])
def test_a_document_with_a_malformed_envelope_is_no_record(key: str, bad: Any) -> None:
    with pytest.raises(NotARecordError, match=rf"\$\.{key}"):
        decode(orjson.dumps(record(**{key: bad})))


@pytest.mark.parametrize(
    "text",
    [
        "2026-13-31T09:15:00.000000+00:00",
        "2026-02-30T09:15:00.000000+00:00",
        "0000-01-01T00:00:00.000000+00:00",
        "2026-01-31T25:15:00.000000+00:00",
        "2026-01-31T09:15:00.00000x+00:00",
        "the 31st..T of January 202+00:00",
    ],
)
def test_what_only_has_the_shape_of_a_time_is_none(text: str) -> None:
    assert len(text) == len(TIME)
    with pytest.raises(NotARecordError, match=r"\$\.created_at: must be an ISO 8601 time"):
        decode(orjson.dumps(record(created_at=text)))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (TIME, TIME),
        ("2026-01-31T09:15:00.000000+00:00", "2026-01-31T09:15:00.000000+00:00"),
        ("2026-01-21T09:15:00Z", TIME),
        ("2026-01-21T10:15:00+01:00", TIME),
        ("2026-01-21 09:15:00+00:00", TIME),
        ("20260121T091500Z", TIME),
        ("2026-01-21T09:15:00,000000+00:00", TIME),
        ("2026-01-21T09:15:00.123+00:00", "2026-01-21T09:15:00.123000+00:00"),
        ("2026-01-31T23:15:00.000000-11:00", "2026-02-01T10:15:00.000000+00:00"),
        ("2026-W04-3T09:15:00.0000000+00:00", TIME),
        ("2026-021T09:15:00Z", TIME),
        (datetime(2026, 1, 21, 9, 15, tzinfo=UTC).astimezone().replace(tzinfo=None).isoformat(), TIME),
    ],
)
def test_a_time_in_another_form_is_read_in_the_form_of_the_store(text: str, canonical: str) -> None:
    found = decode(orjson.dumps(record(created_at=text, updated_at=text)))

    assert (found["created_at"], found["updated_at"]) == (canonical, canonical)


# -- the marker of a store ------------------------------------------------------------------------------------------


def test_a_marker_is_readable_and_comes_back() -> None:
    marker = {"shard_depth": 1, "format": 1}

    data = encode_marker(marker)

    assert data == b'{\n  "format": 1,\n  "shard_depth": 1\n}\n'
    assert decode_marker(data) == marker


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"1", b"{", b'{"format": NaN}', b"{}x"])
def test_what_is_no_object_is_no_marker(data: bytes) -> None:
    with pytest.raises(NotARecordError):
        decode_marker(data)
