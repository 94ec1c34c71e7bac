"""Documents that this process has placed lately: to change one of them again, it need not be read again.

Owns how much of that is kept: 8 MB of JSON text; what was placed longest ago goes first. Used by the writer thread
alone. Invariants:
- What is kept is given with the signature that it had when it was placed. Whoever asks holds that against the file, by
  one stat: what another process or program has put there since has another inode, or other times.
- Where a file system counts time in whole milliseconds, nothing is kept: an edit in place could go unseen. What remains
  is an edit in place, of the same size, within the clock's tick in which the document was placed (10 ms at most; there
  is no tick on Linux from 6.13): the next change would be made on what was placed.

A crash loses nothing that is not on disk.
"""

from __future__ import annotations

from typing import NamedTuple

from fsstore.filesystem.codec import digest
from fsstore.filesystem.files import Signature
from fsstore.models import JsonObject

_MOST_BYTES = 8 << 20


class Placed(NamedTuple):
    """A document as it was placed: its bytes, its signature then, and the `part_of` its record."""

    part: JsonObject
    data: bytes
    signature: Signature

    @property
    def digest(self) -> bytes:
        """The hash of its bytes."""
        return digest(self.data)


class Recent:
    """What one open store has placed lately, by name."""

    def __init__(self) -> None:
        self._placed: dict[str, Placed] = {}
        self._bytes = 0

    def keep(self, name: str, placed: Placed) -> None:
        """Keep a document in mind, in place of what was kept under its name."""
        self.forget(name)
        if not placed.signature.is_fine:
            return
        self._placed[name] = placed
        self._bytes += placed.signature.size
        while self._bytes > _MOST_BYTES:
            self.forget(next(iter(self._placed)))

    def get(self, name: str) -> Placed | None:
        """Return what was placed under a name, None when that is not known."""
        return self._placed.get(name)

    def forget(self, name: str) -> None:
        """Keep it in mind no longer."""
        placed = self._placed.pop(name, None)
        if placed is not None:
            self._bytes -= placed.signature.size
