"""The bytes of a document in pieces, which its versions share: what is new is put between what stays, and not copied.

A version of a long document is made of the one before by a few `Edit`s, at the cost of the pieces and of what is new;
so is its hash, where nothing before the place up to which the older one is hashed has changed. Nothing of a text ever
changes but for what is remembered of its hash. Knows nothing of JSON or of files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from fsstore.filesystem.documents.codec import DIGEST_BYTES, digest, new_hash

if TYPE_CHECKING:
    from hashlib import _Hash

# neighbours that are no longer together become one piece: a document of 10 MB then has 80
_PIECE_BYTES = 128 << 10
# always copied, and so the same for all
_UNHASHED = 0, new_hash()


class Edit(NamedTuple):
    """Some bytes of a text, from a position on, give way to others."""

    at: int
    removed: int
    data: bytes


class Piece(NamedTuple):
    """A part of bytes."""

    data: bytes
    begin: int
    end: int

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self.end - self.begin

    @property
    def view(self) -> memoryview:
        """Its bytes, not copied."""
        return memoryview(self.data)[self.begin : self.end]


class _Hashing:
    """What is known of the hash of a text: that of all of it, and that of its beginning."""

    __slots__ = ("begun", "digest", "next_at")

    def __init__(self, begun: tuple[int, _Hash], next_at: int) -> None:
        self.digest = b""
        # of so many bytes; in one, since threads share it
        self.begun = begun
        # at how many bytes the next one is due
        self.next_at = next_at


class Text:
    """The bytes of one version of a document. Two are equal if their bytes are."""

    __slots__ = ("_hashing", "pieces", "size")

    def __init__(self, pieces: tuple[Piece, ...], hashing: _Hashing | None = None) -> None:
        self.pieces = pieces
        self.size = sum([piece.end - piece.begin for piece in pieces])
        self._hashing = hashing or _Hashing(_UNHASHED, 0)

    @classmethod
    def of(cls, data: bytes) -> Text:
        """Return the text that has these bytes."""
        return cls((Piece(data, 0, len(data)),))

    def __len__(self) -> int:
        return self.size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Text) and self.size == other.size and bytes(self) == bytes(other)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __bytes__(self) -> bytes:
        first = self.pieces[0] if self.pieces else Piece(b"", 0, 0)
        return first.data if first.size == self.size == len(first.data) else b"".join(self.views())

    def views(self, begin: int = 0, end: int | None = None) -> Iterator[memoryview]:
        """Give the bytes from one position up to another, piece by piece, not copied."""
        for piece in self.between(begin, self.size if end is None else end):
            yield piece.view

    def part(self, begin: int, end: int) -> bytes:
        """Return the bytes from one position up to another."""
        if len(self.pieces) == 1:
            data, first, last = self.pieces[0]
            return data[first + begin : min(first + end, last)]
        return b"".join(self.views(begin, end))

    def edited(self, edits: Sequence[Edit], *, stays_to: int = 0) -> Text:
        """Return the text after some edits, in the order of their places, each behind the one before.

        `stays_to` is up to where of the new text the next edit will probably change nothing.
        """
        pieces: list[Piece] = []
        at = 0
        for edit in edits:
            pieces += self.between(at, edit.at)
            if edit.data:
                pieces.append(Piece(edit.data, 0, len(edit.data)))
            at = edit.at + edit.removed
        pieces += self.between(at, self.size)
        known = self._hashing.begun
        stays = not edits or known[0] <= edits[0].at
        made = Text(tuple(pieces), _Hashing(known if stays else _UNHASHED, stays_to))
        made._hashing.next_at = min(stays_to, made.size)
        return made

    def between(self, begin: int, end: int) -> list[Piece]:
        """Return the bytes from one position up to another as pieces."""
        pieces: list[Piece] = []
        at = 0
        for piece in self.pieces:
            size = piece.end - piece.begin
            if at >= end:
                break
            if at + size > begin:
                cut = piece.begin + max(begin - at, 0), piece.end - max(at + size - end, 0)
                pieces.append(piece if cut == piece[1:] else Piece(piece.data, *cut))
            at += size
        return pieces

    def compacted(self) -> Text:
        """Return the same bytes in few pieces, which together keep at most as much alive that they do not show.

        A piece is copied when more than half of what it is part of is shown no longer: seldom, however long it is.
        """
        if self.size <= _PIECE_BYTES:
            return self.joined(bytes(self))
        pieces: list[Piece] = []
        small: list[Piece] = []
        size = 0
        for piece in self._without_remains():
            if size + piece.size > _PIECE_BYTES:
                pieces += _joined(small)
                small, size = [], 0
            small.append(piece)
            size += piece.size
        return Text((*pieces, *_joined(small)), self._hashing)

    def _without_remains(self) -> list[Piece]:
        """Return the pieces, and copies of those that keep more alive than all pieces of the same bytes show."""
        shown: dict[int, int] = {}
        for piece in self.pieces:
            shown[id(piece.data)] = shown.get(id(piece.data), 0) + piece.size
        return [
            piece if 2 * shown[id(piece.data)] >= len(piece.data) else Piece(bytes(piece.view), 0, piece.size)
            for piece in self.pieces
        ]

    def joined(self, data: bytes) -> Text:
        """Return the same bytes, which are given, in one piece."""
        return Text((Piece(data, 0, len(data)),), self._hashing)

    def edits_of(self, before: Text) -> list[Edit]:
        """Return edits that make this text of the one before: what the two share as pieces stays.

        Of a text that was made by `edited` they hold what was new, and hardly more.
        """
        edits: list[Edit] = []
        fresh: list[Piece] = []
        at = 0
        places = before._places()
        for piece in self.pieces:
            found = _found(places.get(id(piece.data), ()), piece, at)
            if found < 0:
                fresh.append(piece)
                continue
            if fresh or found > at:
                edits.append(Edit(at, found - at, _bytes_of(fresh)))
                fresh = []
            at = found + piece.size
        if fresh or at < before.size:
            edits.append(Edit(at, before.size - at, _bytes_of(fresh)))
        return edits

    def _places(self) -> dict[int, list[tuple[Piece, int]]]:
        """Return the pieces by what they are parts of, each with its position."""
        places: dict[int, list[tuple[Piece, int]]] = {}
        at = 0
        for piece in self.pieces:
            places.setdefault(id(piece.data), []).append((piece, at))
            at += piece.size
        return places

    @property
    def digest(self) -> bytes:
        """The hash of its bytes, as `codec.digest` gives it; O(what no older version was hashed with)."""
        hashing = self._hashing
        if not hashing.digest:
            at, begun = hashing.begun
            hashed = begun.copy()
            if hashing.next_at > at:
                for view in self.views(at, hashing.next_at):
                    hashed.update(view)
                at, hashing.begun = hashing.next_at, (hashing.next_at, hashed.copy())
            for view in self.views(at):
                hashed.update(view)
            hashing.digest = hashed.digest()[:DIGEST_BYTES]
        return hashing.digest


def digest_of(data: bytes | Text) -> bytes:
    """Return the hash of bytes, or of a text, which remembers it."""
    return data.digest if isinstance(data, Text) else digest(data)


def moved(position: int, edits: Sequence[Edit]) -> int:
    """Return where a position is after some edits, none of which is about what stands there."""
    return position + sum(
        len(edit.data) - edit.removed for edit in edits if edit.at < position and edit.at + edit.removed <= position
    )


def _found(places: Sequence[tuple[Piece, int]], piece: Piece, after: int) -> int:
    """Return the first place behind a position at which a piece stands; -1 where it stands nowhere."""
    for there, at in places:
        if there.begin <= piece.begin and piece.end <= there.end and at + piece.begin - there.begin >= after:
            return at + piece.begin - there.begin
    return -1


def _joined(pieces: list[Piece]) -> list[Piece]:
    if len(pieces) <= 1:
        return pieces
    data = _bytes_of(pieces)
    return [Piece(data, 0, len(data))]


def _bytes_of(pieces: list[Piece]) -> bytes:
    return b"".join([piece.view for piece in pieces])
