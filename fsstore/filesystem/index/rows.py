"""The words between the index and its callers: what is put into it, and what it tells. Pure."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.disk.trust import is_sure
from fsstore.filesystem.documents.text import Text, digest_of
from fsstore.model.records import JsonObject
from fsstore.query.conditions import Condition

NOT_OURS = 1
"""When a row was recorded whose file is not what its commit has placed: at the beginning of time, by no commit."""


class Entry(NamedTuple):
    """A document as it is to be indexed: record and bytes as `codec` gave them.

    `recorded_ns` is when it was seen, before it was read, in the sense of `trust`; the last bit tells a commit's row.
    """

    name: str
    record: JsonObject
    signature: Signature
    data: bytes | Text
    recorded_ns: int

    @property
    def digest(self) -> bytes:
        """The hash of its bytes."""
        return digest_of(self.data)


class Problem(NamedTuple):
    """A file that cannot be read as a document, and why."""

    name: str
    reason: str
    signature: Signature
    digest: bytes = b""
    recorded_ns: int = 0


class Known(NamedTuple):
    """What the index knows of a file, document or problem."""

    signature: Signature
    digest: bytes
    recorded_ns: int

    @property
    def is_by_commit(self) -> bool:
        """Whether a commit has put that file there; else somebody found it and read it."""
        return not self.recorded_ns & 1

    @property
    def is_racy(self) -> bool:
        """Whether the file may have been changed and have the same signature."""
        return not is_sure(self.signature, self.recorded_ns)


class Row(NamedTuple):
    """A document that the index found."""

    name: str
    id: str
    signature: Signature
    digest: bytes


class Selection(NamedTuple):
    """What the index found: rows, given lazily from one state of the index, in order if `ordered`.

    Where there is a residue, a row is wanted only if it holds for the row's document.
    """

    rows: Generator[Row]
    residue: Condition | None
    ordered: bool


def recorded_by_commit(seen_ns: int) -> int:
    """Return when a file was seen that a commit has placed; the last bit tells that it was a commit."""
    return seen_ns + (seen_ns & 1)


def marked_as_read(entry: Entry, before: Known | None) -> Entry:
    """Return the row of a file that was read as one that no commit has made, unless a commit had made it before."""
    is_the_same = before is not None and (before.signature, before.digest) == (entry.signature, entry.digest)
    if before is not None and is_the_same and before.is_by_commit:
        return entry._replace(recorded_ns=entry.recorded_ns & ~1)
    return entry._replace(recorded_ns=entry.recorded_ns | 1)


def signature_values(signature: Signature) -> tuple[Any, ...]:
    """Return the values of SIGNATURE_COLUMNS."""
    if max(signature) >= 2**63:
        # inode numbers of some systems, and times after the year 2262, exceed what SQLite holds as integers
        return tuple(map(str, signature))
    return signature


def signature_of(*values: Any) -> Signature:
    """Return the signature that the values of SIGNATURE_COLUMNS are."""
    return Signature._make(values if type(values[0]) is int else map(int, values))
