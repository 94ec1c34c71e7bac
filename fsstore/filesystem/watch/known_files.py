"""What is known of each document file: what the ledger has published of it, and the file's mark by its directory.

The only writer of the ledger, so that both always speak of the same documents. A name is the path of the document below
the store; the ledger takes it as a mere key, and only here it has a directory. Memory: one entry of a dict and a number
for each document, beside the ledger's own.

Belongs to the thread of `watcher`.
"""

from __future__ import annotations

from collections.abc import Mapping

from fsstore.filesystem.disk.files import Signature
from fsstore.model.records import JsonObject
from fsstore.watching.changes import Origin
from fsstore.watching.ledger import KnownState, Ledger

UNKNOWN = -1
"""The mark of a file that nothing is known of."""


class KnownFiles:
    """The published documents, by directory, each with the mark of the file that was seen."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        # marks by name, by directory; no directory is empty
        self._marks: dict[str, dict[str, int]] = {}

    def get(self, name: str) -> KnownState | None:
        """Return the last published state of a document."""
        return self._ledger.get(name)

    def mark(self, name: str) -> int:
        """Return the mark of a document's file as it was seen last; `UNKNOWN` for one that was not published."""
        return self._marks.get(_directory(name), {}).get(name, UNKNOWN)

    def within(self, directory: str) -> Mapping[str, int]:
        """Return the marks of one directory's documents, by name."""
        return self._marks.get(directory, {})

    def directories(self) -> list[str]:
        """Return the directories of the published documents."""
        return list(self._marks)

    def adopt(self, name: str, state: KnownState, mark: int) -> None:
        """Take a document as published without publishing it."""
        self._ledger.adopt(name, state)
        self._set_mark(name, mark)

    def publish(self, name: str, state: KnownState, mark: int, origin: Origin, record: JsonObject) -> None:
        """Publish what a document is now."""
        self._set_mark(name, mark)
        self._ledger.publish(name, state, origin, record)

    def publish_deletion(self, name: str, origin: Origin) -> None:
        """Publish that a document is gone; nothing happens where it was not published."""
        directory = _directory(name)
        marks = self._marks.get(directory, {})
        marks.pop(name, None)
        if not marks:
            self._marks.pop(directory, None)
        self._ledger.publish(name, None, origin)

    def _set_mark(self, name: str, mark: int) -> None:
        self._marks.setdefault(_directory(name), {})[name] = mark


def mark_of(signature: Signature | None) -> int:
    """Return a signature in few bytes: a number of 64 bits, 0 for none."""
    return 0 if signature is None else hash(signature)


def _directory(name: str) -> str:
    return name.rpartition("/")[0]
