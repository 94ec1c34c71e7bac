"""The kept corpus of hostile documents: what becomes of each. A document that once broke something comes here."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageCorruptedError, StorageError, StorageValidationError
from fsstore.filesystem.documents.codec import NotARecordError, decode
from fsstore.testing.examples import exact_text, nested
from tests.filesystem.hostile import in_time, place

CORPUS = Path(__file__).with_name("corpus")
LONG_AGO = 1_000_000_000


def around(value: Any, depth: int) -> Any:
    """Return a value in that many lists."""
    for _ in range(depth):
        value = [value]
    return value


def objects(value: Any, depth: int) -> Any:
    """Return a value in that many objects."""
    for _ in range(depth):
        value = {"a": value}
    return value


EXACT: dict[str, Any] = {
    "plain": {"x": [1, 2.5, None, True, ""]},
    "compact": {"x": 1},
    "crlf": {"x": 1},
    "tabs-and-blanks": {"x": 1},
    "no-newline-at-the-end": 1,
    "keys-in-another-order": 0,
    "duplicate-keys": {"a": {"c": 4}, "b": 2},
    "duplicate-envelope": 2,
    "duplicate-keys-by-escape": {"a": 2},
    "integers-at-the-limits": [2**63 - 1, -(2**63), 2**63, 2**64 - 1],
    "integers-beyond-the-limits": [2**64, -(2**63) - 1, 10**41 + 1],
    "integer-of-308-digits": (10**308 - 1) // 9,
    "digits-in-a-string": {"1" * 22: "2" * 23, "n": 2**53 + 1},
    "minus-zero": [0, -0.0, 0.0, -0.0],
    "far-below-one": [0.0, 5e-324, 0.0, -0.0, 2.225073858507201e-308],
    "floats": [
        100000.0,
        1e22,
        0.1,
        1.7976931348623157e308,
        9007199254740992.0,
        0.30000000000000004,
        1.2345678901234568e29,
    ],
    "float-of-5000-digits": 1 / 3,
    "exponent-of-many-zeros": 10.0,
    "escapes": '"\\/\b\f\n\r\t\x00\x1f\x7f\u00e9\U0001f600\u2028',
    "nul-in-a-key": {"\x00": 1, "a\x00b": 2, "": 3},
    "noncharacters": "\ufffe\uffff\U0010ffff\u2028\ufeff",
    "composed-and-decomposed-keys": {"\u00e9": 1, "e\u0301": 2},
    "prototype": {"__proto__": 1, "constructor": 2, "$where": 3},
    "200-deep": nested(198),
    "201-deep": around(1, 200),
    "500-deep": around(1, 499),
    "deep-objects": objects(1, 300),
    "time-in-another-form": 1,
    "byte-order-mark": 1,
    "time-without-an-offset": 1,
}
"""The `data` of documents that are read exactly."""

NOT_WRITTEN_AGAIN = {
    "integers-beyond-the-limits": "exceeds 64 bits",
    "integer-of-308-digits": "exceeds 64 bits",
    "201-deep": "nested deeper than 200",
    "500-deep": "nested deeper than 200",
    "deep-objects": "nested deeper than 200",
}
"""Those that the store reads and would not write: an update is refused, and why."""

UNLISTED = {"201-deep", "500-deep"}
"""Those whose metadata, or data that may hold some, is nested too deep to be indexed."""

NOT_JSON = (
    *("empty", "nulls", "half", "never-closed", "nulls-at-the-end", "two-documents", "merge-conflict"),
    *("latin-1", "overlong", "surrogate-in-utf-8"),
    *("beyond-unicode", "other-digits", "other-blanks", "not-a-number", "infinity", "leading-zero", "trailing-comma"),
    *("comment", "raw-newline-in-a-string", "raw-null-in-a-string"),
    *("high-surrogate", "low-surrogate", "surrogate-in-a-key", "surrogates-the-wrong-way-round"),
    *("beyond-a-float", "far-below-zero", "beyond-a-float-beside-a-long-number", "exponent-beyond-all"),
    *("integer-of-310-digits", "integer-of-5000-digits", "1100-deep", "300-deep-beside-a-long-number"),
)
"""Those that are no JSON text, or none that can be read exactly: the reason is in the words of the reader."""

NOT_THE_DOCUMENT = {
    **dict.fromkeys(("another-id", "duplicate-id"), "it is the document 'b'"),
    **dict.fromkeys(("version-zero", "version-beyond", "version-is-a-float"), r"\$\.version"),
    **dict.fromkeys(("time-beyond-all", "time-that-is-none"), r"\$\.created_at"),
    "id-in-another-normal-form": "it is the document 'a\u0300'",
    "id-that-is-no-text": r"\$\.id",
    "no-data": r"\$\.data",
    "a-list": "a JSON list, not an object",
    "null": "a JSON NoneType, not an object",
    **dict.fromkeys(("utf-16-le", "utf-16-be", "utf-32"), "UTF-16 or UTF-32: save it as UTF-8"),
}
"""Those that are JSON and not the document `a`, and what the reason says."""

REFUSED = {**dict.fromkeys(NOT_JSON, "."), **NOT_THE_DOCUMENT}


def data_of(name: str) -> bytes:
    return (CORPUS / f"{name}.json").read_bytes()


def test_every_document_of_the_corpus_has_its_fate() -> None:
    assert {path.stem for path in CORPUS.glob("*.json")} == {*EXACT, *REFUSED}
    assert not EXACT.keys() & REFUSED.keys()


@pytest.mark.parametrize("name", EXACT)
def test_a_document_of_the_corpus_is_read_exactly(name: str) -> None:
    assert exact_text(decode(data_of(name), "a")["data"]) == exact_text(EXACT[name])


@pytest.mark.parametrize("name", REFUSED)
def test_a_document_of_the_corpus_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(NotARecordError, match=REFUSED[name]):
        decode(data_of(name), "a")


@pytest.fixture
def corpus(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Give each document of the corpus, put in the place of the document `a` long ago."""
    path = place(tmp_path, "a")

    def give() -> Iterator[tuple[str, Path]]:
        path.parent.mkdir(exist_ok=True)
        for name in (*EXACT, *REFUSED):
            path.write_bytes(data_of(name))
            # what was changed a moment ago may be under somebody's hands, and is waited for
            os.utime(path, (LONG_AGO, LONG_AGO))
            yield name, path

    return give()


async def test_the_store_reads_the_corpus_or_tells_why_not_and_breaks_nothing(
    corpus: Iterator[tuple[str, Path]], tmp_path: Path
) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.save({"id": "beside"})
        for name, path in corpus:
            found = await in_time(storage.load("a"))
            reported = [problem["file"] for problem in (await storage.health_check())["corrupt"]]
            listed = {record["id"]: record for record in await storage.list()}
            assert "beside" in listed, name
            if name in EXACT:
                assert exact_text(found["data"]) == exact_text(EXACT[name]), name
                # what is too deep to be indexed is loaded, and reported instead of listed
                assert reported == ([str(path.relative_to(tmp_path))] if name in UNLISTED else []), name
                assert name in UNLISTED or listed["a"] == found, name
            else:
                assert isinstance(found, StorageCorruptedError), name
                assert (set(listed), reported) == ({"beside"}, [str(path.relative_to(tmp_path))]), name


async def test_no_document_of_the_corpus_is_written_over_blindly(
    corpus: Iterator[tuple[str, Path]], tmp_path: Path
) -> None:
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        for name, path in corpus:
            before = path.read_bytes()
            came = await in_time(storage.update("a", {"seen": True}))
            if name in REFUSED:
                assert isinstance(came, StorageCorruptedError), name
                assert path.read_bytes() == before, name
                saved = await in_time(storage.save({"id": "a"}))
                if name == "merge-conflict":
                    # both sides are whole, and whoever solves it chooses
                    assert isinstance(saved, StorageCorruptedError), name
                    assert path.read_bytes() == before, name
                    continue
                # what does not depend on it replaces it, and keeps its bytes
                assert saved == "a", name
                kept = [file.read_bytes() for file in (tmp_path / ".fsstore/quarantine").iterdir()]
                assert before in kept, name
                continue
            if name in NOT_WRITTEN_AGAIN:
                assert isinstance(came, StorageValidationError), name
                assert NOT_WRITTEN_AGAIN[name] in str(came.reason), name
                assert str(came.path).startswith("$.data"), name
            else:
                after = await storage.load("a") or {}
                assert (exact_text(after["data"]), after["seen"]) == (exact_text(EXACT[name]), True), name
            assert (path.read_bytes() == before) is isinstance(came, StorageError), name
