"""What is known of each document file: what the ledger has published of it, and the file's mark by its directory.

The only writer of the ledger, so that both always speak of the same documents. A name is the path of the document below
the store; the ledger takes it as a mere key, and only here it has a directory. Memory: one entry of a dict and a number
for each document, beside the ledger's own, and another one while it is doubtful.

A mark stands for a document if it is sure (`trust`). One that was not is doubtful, and due to be read once more as soon
as it can be sure: an edit of which no event came, and which left the same signature, is found then.

Belongs to the thread of `watcher`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile

from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.disk.trust import RACY_NS
from fsstore.model.records import JsonObject
from fsstore.watching.changes import Origin
from fsstore.watching.ledger import KnownState, Ledger, Whole

UNKNOWN = -1
"""The mark of a file that nothing is known of."""

_DOUBTFUL_SECONDS = RACY_NS / 1e9


class KnownFiles:
    """The published documents, by directory, each with the mark of the file that was seen."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        # marks by name, by directory; no directory is empty
        self._marks: dict[str, dict[str, int]] = {}
        # when each is due, in that order
        self._doubtful: dict[str, float] = {}

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

    def is_doubtful(self, name: str) -> bool:
        """Whether a file may be another than the one that was seen, and have the same mark."""
        return name in self._doubtful

    def doubt(self, name: str, now: float) -> None:
        """Note that what was seen of a file is not sure, whether it is published or not."""
        # at the end of the order
        self._doubtful.pop(name, None)
        self._doubtful[name] = now + _DOUBTFUL_SECONDS

    def is_sure(self, name: str) -> None:
        """Note that what was seen of a file is sure."""
        self._doubtful.pop(name, None)

    def due(self) -> float:
        """Return when the next doubtful file is due to be read."""
        return next(iter(self._doubtful.values()), float("inf"))

    def take_due(self, now: float) -> list[str]:
        """Return the doubtful files that are due; each stays doubtful, and is due again, until it is sure."""
        names = list(takewhile(lambda name: self._doubtful[name] <= now, self._doubtful))
        for name in names:
            self.doubt(name, now)
        return names

    def adopt(self, name: str, state: KnownState, mark: int) -> None:
        """Take a document as published without publishing it."""
        self._ledger.adopt(name, state)
        self._set_mark(name, mark)

    def publish(
        self,
        name: str,
        state: KnownState,
        mark: int,
        origin: Origin,
        record: JsonObject,
        *,
        whole: Whole | None = None,
    ) -> None:
        """Publish what a document is now; the record, as the ledger takes it."""
        self._set_mark(name, mark)
        self._ledger.publish(name, state, origin, record, whole=whole)

    def publish_deletion(self, name: str, origin: Origin) -> None:
        """Publish that a document is gone; nothing happens where it was not published."""
        directory = _directory(name)
        marks = self._marks.get(directory, {})
        marks.pop(name, None)
        if not marks:
            self._marks.pop(directory, None)
        self._doubtful.pop(name, None)
        self._ledger.publish(name, None, origin)

    def _set_mark(self, name: str, mark: int) -> None:
        self._marks.setdefault(_directory(name), {})[name] = mark


def mark_of(signature: Signature | None) -> int:
    """Return a signature in few bytes: a number of 64 bits, 0 for none."""
    return 0 if signature is None else hash(signature)


def _directory(name: str) -> str:
    return name.rpartition("/")[0]
