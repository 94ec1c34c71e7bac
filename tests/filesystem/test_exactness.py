"""The name codec and the document codec against what they must never do; the standard library is the oracle."""

import codecs
import json
import math
import os
import sys
import unicodedata
from typing import Any

import orjson
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fsstore.errors import StorageValidationError
from fsstore.filesystem.documents.codec import NotARecordError, decode, encode
from fsstore.filesystem.documents.layout import Layout
from fsstore.model.records import MAX_ID_CHARACTERS, JsonObject, check_id
from fsstore.testing.examples import exact_text
from tests.filesystem.documents.test_codec import record, with_value, written
from tests.filesystem.documents.test_layout import IDS, as_other_systems_see, assert_safe, base_of, lookalikes
from tests.filesystem.test_corpus import CORPUS

# a busy machine is no failure
unhurried = settings(deadline=None)

# -- names ----------------------------------------------------------------------------------------------------------

LETTERS = st.sampled_from(
    "aAzZ09.-_~ /\\:*?\"<>|$%'\u00e9\u0301\u00df\u1e9e\u017f\u0130\u0131\ufb01\uff21\u2024\u200b\ufeff\u202e"
)
WORDS = st.sampled_from(["con", "aux", "nul", "com1", "lpt9", "conin$", ".json", "..", ".fsstore", "fsstore", "~", "/"])
AWKWARD = st.lists(LETTERS | WORDS | st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30).map(
    "".join
)
LONG = st.builds(lambda text, size: (text * size)[:MAX_ID_CHARACTERS], AWKWARD, st.integers(1, 400))


def assert_names_are_apart(ids: set[str]) -> None:
    """See that no system takes the name of one id for that of another."""
    names = [as_other_systems_see(Layout(1).name(record_id)) for record_id in ids]
    assert len(set().union(*names)) == sum(map(len, names)) == len(ids)


@unhurried
@given(AWKWARD | LONG)
def test_an_awkward_id_has_one_safe_name_and_so_have_its_lookalikes(record_id: str) -> None:
    ids = {text for text in lookalikes(record_id) if text.isprintable() or not any(map(is_control, text))}
    for text in ids:
        assert_safe(Layout(2).name(check_id(text)), 2)
        assert len(os.fsencode(base_of(Layout(1).name(text)))) <= 255
    assert_names_are_apart(ids)


def is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs")


@unhurried
@given(IDS, st.data())
def test_a_name_given_as_an_id_is_not_that_name(record_id: str, data: st.DataObject) -> None:
    """Whoever makes ids of names, of shards, or of parts of names, meets no document but their own."""
    name = Layout(1).name(record_id)
    base = base_of(name).removesuffix(".json")
    assume(base != record_id)
    ids = {
        record_id,
        base,
        name,
        base_of(name),
        base.partition("~")[0] or "~",
        data.draw(st.sampled_from([f"./{name}", f"../{name}"])),
    }
    assert_names_are_apart(ids)


@pytest.mark.parametrize("size", [MAX_ID_CHARACTERS + 1, 10_000, 1_000_000])
@pytest.mark.parametrize("character", ["a", "/", "\U0001f600"])
def test_an_id_of_any_length_beyond_the_limit_is_refused(character: str, size: int) -> None:
    with pytest.raises(StorageValidationError, match="1 to 1024 characters"):
        check_id(character * size)


# -- bytes to values --------------------------------------------------------------------------------------------------


class Refused(ValueError):  # noqa: N818 - it is an answer of the oracle
    """The text has no JSON value that Python can hold exactly."""


def oracle(data: bytes) -> Any:
    """Return the exact JSON meaning of bytes by the standard library alone; raise ValueError where there is none."""

    def whole(text: str) -> int:
        # the interpreter limits the digits it turns into an integer, unless they come in pieces
        digits = text.lstrip("-")
        value: int = sum(
            int(digits[max(0, end - 4000) : end]) * 10 ** (len(digits) - end) for end in range(len(digits), 0, -4000)
        )
        float(value)  # beyond the largest float nothing reads it
        return -value if text.startswith("-") else value

    def real(text: str) -> float:
        if not math.isfinite(value := float(text)):
            raise Refused
        return value

    def constant(_: str) -> Any:
        raise Refused

    try:
        # a byte order mark at the very beginning is passed over
        value = json.loads(data.decode("utf-8-sig"), parse_int=whole, parse_float=real, parse_constant=constant)
        # a lone surrogate is text to Python, and nothing that can be stored
        json.dumps(value, ensure_ascii=False).encode()
    except OverflowError as error:
        raise Refused from error
    return value


def meaning(data: bytes) -> tuple[str, ...]:
    """Return the exact text of what `decode` reads, its times in the store's form; nothing where it refuses."""
    try:
        return (exact_text(decode(data)),)
    except NotARecordError:
        return ()


def assert_as_the_oracle_says(data: bytes) -> None:
    """See that a document is read exactly or refused, and refused only where the oracle or the envelope does."""
    try:
        # a byte order mark, as some editors write it, means nothing
        value = oracle(data.removeprefix(codecs.BOM_UTF8))
    except ValueError:
        assert meaning(data) == ()
        return
    if found := meaning(data):
        read = json.loads(found[0])
        times = {key: read[key] for key in ("created_at", "updated_at")}
        assert found == (exact_text(value | times),)
    elif type(value) is dict:
        # whole JSON: then it is the envelope that is at fault, whatever reads it
        with pytest.raises((NotARecordError, StorageValidationError)):
            decode(json.dumps({**value, "data": None}).encode() if "data" in value else data)


NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.integers(-(10**320), 10**320).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.from_regex(r"\A-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?\Z"),
    st.builds("{}{}e{}".format, st.sampled_from(["", "-"]), st.integers(0, 10**20), st.integers(-345, 310)),
)


@unhurried
@given(NUMBERS, st.sampled_from(["0", str(2**64)]))
@example("-0", "0")
@example("-0", str(2**64))
@example("1e400", str(2**64))
@example("1E-400", str(2**64))
@example("-0.0", str(2**64))
@example("9" * 308, "0")
@example("2" + "0" * 308, "0")
@example(
    "179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017977587207096330286416692887910946555547851940402630657488671505820681908902000708383676273854845817711531764475730270069855571366959622842914819860834936475292719074168444365510704342711559699508093042880",
    "0",
)
@example("0." + "1" * 5000, "0")
@example("1" * 5000, "0")
def test_a_number_is_read_exactly_or_refused(number: str, beside: str) -> None:
    assert_as_the_oracle_says(with_value(number.encode(), beside=beside.encode()))


ESCAPES = st.sampled_from(
    [
        r"\u0000",
        r"\ud83d\ude00",
        r"\ud83d",
        r"\ude00",
        r"\uD83D\uDE00",
        r"\/",
        r"\"",
        r"\\",
        r"\u00E9",
        "\u00e9",
        "\u2028",
        "\x7f",
    ]
) | st.characters(exclude_categories=["Cs"])


@unhurried
@given(st.lists(ESCAPES, max_size=6).map("".join), st.sampled_from(["0", str(2**64)]))
def test_a_string_and_a_key_are_read_exactly_or_refused(text: str, beside: str) -> None:
    value = f'{{"{text}": "{text}", "k": 1, "{text}": 2}}'
    assert_as_the_oracle_says(with_value(value.encode(), beside=beside.encode()))


WHOLE = [
    written({"text": "Gr\u00fc\u00dfe", "n": [1.5, None, True, -1, 2**64 - 1]}, metadata={"a": {}}),
    with_value(b"[1, 18446744073709551616]", beside=b'{"a": -0.0, "a": 1e5}'),
    *(path.read_bytes() for path in sorted(CORPUS.glob("*.json")) if path.stat().st_size < 400),
]
PIECES = st.binary(max_size=4) | st.sampled_from(
    [
        b'"',
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"e",
        b"-",
        b"0",
        b"999999999999999999999",
        b"\xef\xbb\xbf",
        b"\\ud800",
        b"NaN",
    ]
)
EDITS = st.lists(st.tuples(st.integers(0, 250), st.integers(0, 8), PIECES), max_size=4)


def mutated(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """Return bytes with parts replaced: where, how many bytes, and by what."""
    for at, removed, inserted in edits:
        data = data[:at] + inserted + data[at + removed :]
    return data


@settings(unhurried, max_examples=200)
@given(st.sampled_from(WHOLE), EDITS)
def test_whatever_becomes_of_the_bytes_their_exact_meaning_is_read_or_none(
    data: bytes, edits: list[tuple[int, int, bytes]]
) -> None:
    assert_as_the_oracle_says(mutated(data, edits))


@pytest.mark.parametrize("digits", [640, 0])
def test_the_interpreters_limit_of_digits_changes_nothing(digits: int) -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(digits)
    try:
        for number in (10**300, -(2**64)):
            assert decode(with_value(b"%d" % number))["data"] == number
        for text in (b"1" * 700, b"1" * 5000):
            with pytest.raises(NotARecordError):
                decode(with_value(text))
        for huge in (10**700, -(10**5000), {"in": [10**5000]}):
            with pytest.raises(StorageValidationError, match="exceeds 64 bits"):
                written(huge)
    finally:
        sys.set_int_max_str_digits(before)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
@pytest.mark.parametrize("depth", [150, 201, 254, 255, 1000, 1023, 1024, 5_000, 100_000])
@pytest.mark.parametrize("beside", [b"0", b"18446744073709551616"])
def test_a_document_of_any_depth_is_read_or_refused(opening: bytes, depth: int, beside: bytes) -> None:
    closing = bytes(reversed(opening.translate(bytes.maketrans(b"[{", b"]}"), b'"a:')))
    data = with_value(opening * depth + b"1" + closing * depth, beside=beside)
    try:
        found = decode(data)
    except NotARecordError:
        assert depth > 98
        return
    again = written_or_refused(found)
    assert isinstance(again, StorageValidationError) or decode(again) == found


# -- values to bytes --------------------------------------------------------------------------------------------------


def written_or_refused(record: JsonObject) -> bytes | StorageValidationError:
    """Return what is written of a record, or the refusal, which must tell where."""
    try:
        return encode(record, max_bytes=1 << 20)
    except StorageValidationError as error:
        refusal = error
    assert str(refusal.path).startswith(("$.beside", "$.data"))
    return refusal


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**4000, -(10**400)])
    | st.floats()
    | st.sampled_from([-0.0, 5e-324, 1.7976931348623157e308])
    | st.text(st.characters(), max_size=6)
    | st.binary(max_size=2)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(), max_size=3) | st.integers(0, 2) | st.none(), inner, max_size=3)
        | st.tuples(inner)
    ),
    max_leaves=8,
)


@settings(unhurried, max_examples=200)
@given(VALUES, st.integers(0, 3))
def test_any_value_comes_back_exactly_and_as_json_means_it_or_is_refused(value: Any, depth: int) -> None:
    for _ in range(depth * 70):
        value = [value]
    given_record = record(value, beside=value)
    data = written_or_refused(given_record)
    if isinstance(data, StorageValidationError):
        return
    assert exact_text(decode(data)) == exact_text(given_record) == exact_text(oracle(data))
    assert orjson.loads(data) == given_record
