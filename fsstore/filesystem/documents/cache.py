"""Bytes of documents that this process has placed or read lately: as long as a file is the same, they need not be read.

Owns how much of that is kept, 16 MB, and when it may be believed; what was used longest ago goes first. Threads may
share it. Invariants:
- What is kept is given with the signature that its file had. Whoever asks holds that against the file, by one stat:
  what another process or program has put there since has another inode, or other times.
- Times tell two states of a file apart only if the clock has moved between them. Where it counts finely, as on Linux
  from 6.13, it has, if the first was looked at (`files.Tree.counts_finely`). Elsewhere nothing is `is_sure` but what
  was read two seconds or more after it had changed, and only that is given to readers. The writer, who holds the lock,
  also believes what it has placed itself: what can go unseen is an edit by hand, in place and of the same size, within
  one tick of the clock (10 ms at most).
- Where a file system counts time in whole milliseconds, what was placed is not kept at all.

A crash loses nothing that is not on disk.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

from fsstore.filesystem.disk.files import RACY_NS, Signature
from fsstore.filesystem.documents.codec import digest
from fsstore.model.records import JsonObject

_MOST_BYTES, _LARGE_BYTES = 16 << 20, 1 << 20


class CachedDocument(NamedTuple):
    """A document's bytes, which `decode_examined` reads, and its signature; of one placed here, its `part_of` too."""

    data: bytes
    signature: Signature
    is_sure: bool
    part: JsonObject | None = None
    lengths: Mapping[str, int] = {}
    """How many items lists of its data have, by key, where that is known."""

    @property
    def digest(self) -> bytes:
        """The hash of its bytes."""
        return digest(self.data)


class DocumentCache:
    """What one open store has placed or read lately, by the names of the files."""

    def __init__(self) -> None:
        self._kept: dict[str, CachedDocument] = {}
        self._bytes = 0
        self._guard = threading.Lock()
        # as long as nobody knows better
        self.clock_is_fine = False

    def placed(
        self, name: str, part: JsonObject, data: bytes, signature: Signature, lengths: Mapping[str, int] = {}
    ) -> None:
        """Keep a document that the writer has placed."""
        if signature.is_fine:
            self._keep(name, CachedDocument(data, signature, self.clock_is_fine, part, lengths))

    def was_read(self, name: str, data: bytes | bytearray, signature: Signature) -> None:
        """Keep a document that was read, and found to be what `decode_examined` reads, if that may be believed."""
        changed_ns = max(signature.mtime_ns, signature.ctime_ns)
        if self.clock_is_fine or time.time_ns() - changed_ns > RACY_NS:
            self._keep(name, CachedDocument(bytes(data), signature, is_sure=True))

    def _keep(self, name: str, kept: CachedDocument) -> None:
        if len(kept.data) > _LARGE_BYTES:
            return
        with self._guard:
            self._forget(name)
            self._kept[name] = kept
            self._bytes += len(kept.data)
            while self._bytes > _MOST_BYTES:
                self._forget(next(iter(self._kept)))

    def get(self, name: str) -> CachedDocument | None:
        """Return what is kept under a name, None when there is nothing."""
        kept = self._kept.get(name)
        if kept is not None:
            with self._guard:
                # what is asked for stays longest
                if self._kept.pop(name, None) is not None:
                    self._kept[name] = kept
        return kept

    def forget(self, name: str) -> None:
        """Keep it in mind no longer."""
        with self._guard:
            self._forget(name)

    def _forget(self, name: str) -> None:
        kept = self._kept.pop(name, None)
        if kept is not None:
            self._bytes -= len(kept.data)
