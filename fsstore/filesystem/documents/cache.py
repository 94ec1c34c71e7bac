"""Bytes of documents that this process has placed or read lately: as long as a file is the same, they need not be read.

Owns how much of that is kept, and when it may be believed: 16 MB, of which what was used longest ago goes first, or one
longer document of up to 32 MB while it is the newest, so that a session which grows beyond 16 MB is not read at each
append. Threads may share it. Invariants:
- What is kept is given with the signature that its file had. Whoever asks holds that against the file, by one stat, and
  believes it if it `is_sure`, as `trust` has it.
- What is not sure is kept for comparing: bytes that were read, and are the same, need not be examined or parsed again.
- Nobody waits here: where another thread is busy with it, what is new is not kept. Else a signal handler that comes in
  between might wait for the writer, and the writer for what the handler has interrupted.

A crash loses nothing that is not on disk.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.documents.lists import NO_PLACES, Places
from fsstore.filesystem.documents.text import Text
from fsstore.model.records import JsonObject

_MOST_BYTES = 16 << 20
_ALONE = 2
"""How many times as much one document may take that is kept alone."""


class CachedDocument(NamedTuple):
    """A document's bytes, which `decode_examined` reads, and its signature; of one placed here, its `part_of` too."""

    text: Text
    signature: Signature
    is_sure: bool
    part: JsonObject | None = None
    places: Places = NO_PLACES
    """Where in its bytes that stands which is changed most, where that is known."""

    @property
    def data(self) -> bytes:
        """Its bytes, in one."""
        return bytes(self.text)

    def has(self, data: bytes | bytearray) -> bool:
        """Whether these are its bytes."""
        return len(self.text) == len(data) and self.data == data

    @property
    def digest(self) -> bytes:
        """The hash of its bytes."""
        return self.text.digest


class DocumentCache:
    """What one open store has placed or read lately, by the names of the files."""

    def __init__(self) -> None:
        # what was used longest ago first
        self._kept: OrderedDict[str, CachedDocument] = OrderedDict()
        self._bytes = 0
        # sizes of what was forgotten, not yet taken from the sum; whoever forgets has no part in that
        self._gone: deque[int] = deque()
        # of a thread, not of a call: a signal handler may come in between
        self._guard = threading.RLock()

    @contextmanager
    def _changing(self) -> Iterator[bool]:
        """Give whether this thread is the only one that keeps anything now; it is not waited for."""
        is_alone = self._guard.acquire(blocking=False)
        try:
            yield is_alone
        finally:
            if is_alone:
                self._guard.release()

    def placed(
        self,
        name: str,
        part: JsonObject,
        text: Text,
        signature: Signature,
        *,
        is_sure: bool,
        places: Places = NO_PLACES,
    ) -> None:
        """Keep a document that the writer has placed."""
        self._keep(name, CachedDocument(text, signature, is_sure, part, places))

    def was_read(self, name: str, data: bytes | bytearray, signature: Signature) -> None:
        """Keep a document that was read, found to be what `decode_examined` reads, and is sure."""
        kept = self._kept.get(name)
        if kept is not None and kept.has(data):
            self._keep(name, kept._replace(signature=signature, is_sure=True))
        else:
            self._keep(name, CachedDocument(Text.of(bytes(data)), signature, is_sure=True))

    def _keep(self, name: str, kept: CachedDocument) -> None:
        self.forget(name)
        if len(kept.text) > _ALONE * _MOST_BYTES:
            return
        if self._guard.acquire(blocking=False):
            try:
                self._kept[name] = kept
                self._bytes += len(kept.text)
                self._make_room()
            finally:
                self._guard.release()

    def _make_room(self) -> None:
        while self._gone:
            self._bytes -= self._gone.popleft()
        # another thread may just have forgotten all of it
        with suppress(KeyError):
            while self._bytes > _MOST_BYTES and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1].text)

    def get(self, name: str) -> CachedDocument | None:
        """Return what is kept under a name, None when there is nothing."""
        kept = self._kept.get(name)
        if kept is not None:
            # what is asked for stays longest; another thread may just have forgotten it
            with suppress(KeyError):
                self._kept.move_to_end(name)
        return kept

    def joined(self, name: str, kept: CachedDocument) -> bytes:
        """Return the bytes of what is kept under a name; they stay in one piece."""
        data = kept.data
        if len(kept.text.pieces) > 1:
            with self._changing() as is_alone:
                if is_alone and self._kept.get(name) is kept:
                    self._kept[name] = kept._replace(text=kept.text.joined(data))
        return data

    def knowing(self, name: str, kept: CachedDocument, places: Places) -> None:
        """Keep in mind where something stands in the bytes of what is kept under a name, if it still has these."""
        with self._changing() as is_alone:
            there = self._kept.get(name)
            if is_alone and there is not None and there.text is kept.text:
                self._kept[name] = there._replace(places=places)

    def forget(self, name: str) -> None:
        """Keep it in mind no longer."""
        kept = self._kept.pop(name, None)
        if kept is not None:
            self._gone.append(len(kept.text))
