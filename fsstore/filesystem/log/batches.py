"""The batches that were put in place lately: which documents each of them has touched.

Owns the file `batches`, one line a batch: the value of the counter `applying` while it was put in place, the names of
its documents, and a full stop. Whoever reads many documents learns from it which of them to read again. Invariants:
- The line of a batch is in the file before `applying` is odd, so whoever sees the number finds the names.
- `since` gives all names, or None where it cannot know: every number from one to the other must be there.
- What cannot be written is nobody's harm: who reads then begins anew. The file is kept below 1 MB, and is never synced.

A crash may leave half a line, which has no full stop, or the line of a batch that was never put in place: its documents
are then read once more than necessary.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress

from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents.layout import BATCHES, STAGING

_MOST_BYTES, _KEPT_BYTES = 1 << 20, 1 << 19
_READ_BYTES = 64 << 20
_END = b"."


class Batches:
    """The latest batches of one store; the holder of the store lock notes them, anybody may ask."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def note(self, number: int, names: Iterable[str]) -> None:
        """Note a batch that is about to be put in place; about 20 microseconds."""
        # the line before may have no end
        line = b"\n%d %s %s" % (number, " ".join(names).encode(), _END)
        try:
            if self._tree.append(BATCHES, line) > _MOST_BYTES:
                self._shorten()
        except OSError:
            # half a line, or an old one of the same number, must not pass for this one
            with suppress(OSError):
                self._tree.unlink(BATCHES)

    def _shorten(self) -> None:
        data, _ = self._tree.read(BATCHES, max_bytes=_READ_BYTES)
        kept = data[-_KEPT_BYTES:]
        draft = f"{STAGING}/{secrets.token_hex(8)}"
        self._tree.write_new(draft, kept[kept.find(b"\n") :] if b"\n" in kept else b"")
        try:
            self._tree.replace(draft, BATCHES)
        finally:
            self._tree.unlink(draft)

    def since(self, before: int, last: int) -> set[str] | None:
        """Return the names that batches after the even number `before`, up to the even number `last`, have touched.

        None where that is not known.
        """
        if last < before:
            # the counters have begun anew
            return None
        missing = set(range(before + 1, last, 2))
        names: set[str] = set()
        for number, touched in self._backwards():
            if number <= before:
                break
            missing.discard(number)
            names.update(touched)
        return None if missing else names

    def _backwards(self) -> Iterator[tuple[int, list[str]]]:
        try:
            data, _ = self._tree.read(BATCHES, max_bytes=_READ_BYTES)
        except OSError:
            return
        for line in reversed(data.split(b"\n")):
            number, *names = line.split(b" ")
            if number.isdigit() and names and names.pop() == _END:
                yield int(number), [name.decode() for name in names]
