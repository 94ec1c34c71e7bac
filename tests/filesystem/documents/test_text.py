"""Pieces of a document give its bytes, its hash, and what is new in it."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fsstore.filesystem.documents import text as text_module
from fsstore.filesystem.documents.codec import digest
from fsstore.filesystem.documents.text import Edit, Text, moved

BYTES = st.binary(max_size=9)


@st.composite
def edits(draw: st.DrawFn, size: int) -> list[Edit]:
    """Draw some edits of a text of that many bytes, in order."""
    cuts = sorted(draw(st.lists(st.integers(0, size), max_size=4)))
    pairs = zip(cuts[::2], cuts[1::2], strict=False)
    return [Edit(begin, end - begin, draw(BYTES)) for begin, end in pairs]


def edited(data: bytes, changes: list[Edit]) -> bytes:
    for edit in reversed(changes):
        data = data[: edit.at] + edit.data + data[edit.at + edit.removed :]
    return data


@settings(deadline=None, max_examples=300)
@given(data=BYTES, drawn=st.data())
def test_a_text_is_its_bytes_whatever_it_was_made_of(data: bytes, drawn: Any) -> None:
    text, whole = Text.of(data), data
    for _ in range(5):
        changes = drawn.draw(edits(len(whole)))
        before = text
        text, whole = text.edited(changes, stays_to=drawn.draw(st.integers(0, len(whole)))), edited(whole, changes)
        assert (bytes(text), len(text)) == (whole, len(whole))
        assert edited(bytes(before), text.edits_of(before)) == whole
        begin, end = sorted(drawn.draw(st.tuples(st.integers(0, len(whole)), st.integers(0, len(whole)))))
        assert text.part(begin, end) == whole[begin:end]
        if drawn.draw(st.booleans()):
            assert text.digest == digest(whole)
        other = drawn.draw(st.sampled_from([text, text.compacted(), text.joined(bytes(text))]))
        assert other == text
        assert other.digest == digest(whole)
        text = other


def test_what_is_new_is_told_and_nothing_else() -> None:
    old = Text.of(bytes(1000)).edited([Edit(500, 0, b"first")])
    new = old.edited([Edit(505, 0, b"second"), Edit(900, 5, b"third")]).edited([Edit(511, 0, b"more")])
    assert new.edits_of(old) == [Edit(505, 0, b"secondmore"), Edit(900, 5, b"third")]
    assert old.edits_of(old) == []


def test_what_was_hashed_is_not_hashed_again(monkeypatch: Any) -> None:
    hashed: list[int] = []

    class Counting:
        def __init__(self, data: bytes = b"") -> None:
            self.data = data

        def copy(self) -> Counting:
            return Counting(self.data)

        def update(self, data: memoryview) -> None:
            hashed.append(len(data))
            self.data += data

        def digest(self) -> bytes:
            return digest(self.data)

    monkeypatch.setattr(text_module, "_UNHASHED", (0, Counting()))
    text = Text.of(bytes(1000)).edited([Edit(900, 0, b"abc")], stays_to=903)
    assert text.digest == digest(bytes(text))
    hashed.clear()
    longer = text.compacted().edited([Edit(903, 0, b"de")], stays_to=905)
    assert longer.digest == digest(bytes(longer))
    assert sum(hashed) == len(longer) - 903
    shorter = longer.edited([Edit(899, 4, b"")])
    assert shorter.digest == digest(bytes(shorter))


def test_compacted_pieces_are_few_and_keep_nothing_else_alive() -> None:
    text = Text.of(bytes(1 << 20))
    for _ in range(300):
        text = text.edited([Edit(len(text) - 10, 0, b"x" * 1000)]).compacted()
    assert len(text.pieces) <= 6
    sliver = Text.of(bytes(1 << 20)).edited([Edit(10, (1 << 20) - 20, b"")]).compacted()
    assert [len(piece.data) for piece in sliver.pieces] == [20]


def test_a_long_rest_of_something_longer_keeps_only_itself_alive() -> None:
    whole = Text.of(bytes(4 << 20))
    for cut in Edit(1 << 20, 3 << 20, b""), Edit(1 << 19, 3 << 20, b""), Edit(1 << 20, (3 << 20) - 9, b"ab"):
        text = whole.edited([cut])
        compacted = text.compacted()
        alive = {id(piece.data): len(piece.data) for piece in compacted.pieces}
        assert compacted == text
        assert sum(alive.values()) <= 2 * len(text)


def test_a_long_part_that_shows_most_is_not_copied() -> None:
    text = Text.of(bytes(1 << 20)).edited([Edit(1 << 19, 0, b"a" * 9), Edit(1 << 20, 0, b"b")])
    assert text.compacted().pieces[0].data is text.pieces[0].data


def test_a_place_moves_with_what_comes_before_it() -> None:
    assert moved(10, [Edit(2, 3, b"12345"), Edit(10, 0, b"z"), Edit(11, 1, b"xx")]) == 12
