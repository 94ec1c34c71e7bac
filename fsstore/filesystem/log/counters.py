"""The counters: fourteen 64-bit numbers in the file `seq`, by which the processes of a store tell where they are.

    applying           odd while a batch is being put in place: readers wait for it
    indexing           odd while a commit is under way, from before its first file until the index has it
    lock_requests      grows when a process finds the lock taken: the holder then pauses after its release
    stale              grows when the index can no longer be trusted: whoever uses it reconciles first
    newest             number of the newest segment of the log
    sealed             number of the newest segment that takes no more records
    deleted            number of the newest segment that was deleted: `newest` when the log is empty
    lock_acquisitions  how often the lock was taken to write: a holder who was asked for it waits until this grows
    index_requests     grows when a process waits for what is committed to reach the index: the holder then updates it
    floor              a document that is made anew begins above this version
    unsynced           number of the newest segment of whose documents a sync has failed: these are written anew before
                       it goes, and then it is at most `deleted`
    waiting            odd while documents wait for their places (`waiting`); grows whenever these change
    placed_segment     with `placed_bytes`, where in the log the last record ends of which all was put in place
    placed_bytes       the position in that segment; older segments are in place as a whole

Invariants: only the holder of the store lock writes `applying`, `indexing`, `newest`, `sealed`, `lock_acquisitions`,
`floor`, `waiting` and the two of `placed`; besides, `applying` and `placed` are written by whoever opens the store
alone. Only the holder of the checkpoint lock writes `unsynced`. The others only grow, and losing a race over them does
no harm. A counter is written by one call of eight bytes, the two of `placed` by one of sixteen.

A crash leaves odd counters: whoever holds the lock and finds one knows that the writer died, and recovers. The file is
never synced, and nothing that it says outlives the mount: whoever is alone does not believe that anything was placed.
What a short file lacks reads as zeros.
"""

from __future__ import annotations

import os
import secrets
import struct
import threading
from contextlib import suppress
from typing import NamedTuple

from fsstore.filesystem.disk.files import READ, WRITE, Tree
from fsstore.filesystem.documents.layout import COUNTERS, MOST_SEGMENTS, STAGING

_COUNTER = struct.Struct("<Q")
_ALL, _PLACED = struct.Struct("<14Q"), struct.Struct("<2Q")
# where the system has no pread, threads share a descriptor's position
_POSITION = threading.Lock()


class State(NamedTuple):
    """The counters at one moment."""

    applying: int = 0
    indexing: int = 0
    lock_requests: int = 0
    stale: int = 0
    newest: int = 0
    sealed: int = 0
    deleted: int = 0
    lock_acquisitions: int = 0
    index_requests: int = 0
    floor: int = 0
    unsynced: int = 0
    waiting: int = 0
    placed_segment: int = 0
    placed_bytes: int = 0

    @property
    def unfinished(self) -> bool:
        """Whether a commit is under way, or its writer died."""
        return bool((self.applying | self.indexing) & 1)

    @property
    def is_plausible(self) -> bool:
        """Whether these can be counters: a segment's number has twelve digits."""
        segments = self.newest, self.sealed, self.deleted, self.unsynced, self.placed_segment
        return max(self) < 1 << 62 and max(segments) < MOST_SEGMENTS

    @property
    def log_is_empty(self) -> bool:
        """Whether no segment of the log is left."""
        return self.deleted >= self.newest

    @property
    def is_doubtful(self) -> bool:
        """Whether a sync of documents has failed that the log still holds."""
        return self.unsynced > self.deleted

    @property
    def placed(self) -> tuple[int, int]:
        """Return up to where all records of the log were put in place: a segment, and the position in it."""
        return self.placed_segment, self.placed_bytes


_PLACED_AT = _COUNTER.size * State._fields.index("placed_segment")


class Counters:
    """The counters of one open store, through a kept descriptor; about a microsecond a look."""

    def __init__(self, tree: Tree, *, read_only: bool = False) -> None:
        self._tree = tree
        self._read_only = read_only
        self._descriptor = -1
        self._retired: list[int] = []
        # whether this open store has had to make the file: what it has said before is then lost
        self.were_made = False

    def open(self) -> bool:
        """Open the file, made when it is not there; True when it was opened.

        Called again, it is opened anew only if the name now belongs to another file.
        """
        if self._descriptor >= 0:
            named = self._tree.signature(COUNTERS)
            if named is not None and named.inode == os.fstat(self._descriptor).st_ino:
                return False
        try:
            # looked at first, since a FIFO can be opened, and counts nothing
            self._tree.signature(COUNTERS)
            opened = self._opened()
        except OSError:
            if not self._read_only:
                raise
            # a store that cannot be written and has no counters: nobody writes there
            return False
        if self._descriptor >= 0:
            # not closed yet, since another thread may be reading through it at this moment
            self._retired.append(self._descriptor)
        self._descriptor = opened
        return True

    def _opened(self) -> int:
        if self._read_only:
            return self._tree.open(COUNTERS, READ)
        while True:
            with suppress(FileNotFoundError):
                return self._tree.open(COUNTERS, WRITE)
            # made whole and then named, since another process may be making it, or counting in it, at this moment;
            # among the temp files, so that recovery sweeps what a crash leaves, and if it did so just now: once more
            draft = f"{STAGING}/{secrets.token_hex(8)}"
            self._tree.write_new(draft, bytes(_ALL.size))
            self.were_made = True
            try:
                with suppress(FileNotFoundError):
                    self._tree.name_once(draft, COUNTERS)
            finally:
                self._tree.unlink(draft)

    def mend(self) -> bool:
        """Begin anew if the counters are noise, as the holder of the store lock; True when they were."""
        if self.read().is_plausible:
            return False
        # not from zero: nobody may find the number again under which the index was last in order
        self.write(**dict.fromkeys(State._fields, 0) | {"stale": secrets.randbits(32)})
        return True

    def read(self) -> State:
        """Return the counters."""
        data = _read_at(self._descriptor, _ALL.size) if self._descriptor >= 0 else b""
        return State._make(_ALL.unpack(data if len(data) == _ALL.size else data.ljust(_ALL.size, b"\0")))

    def applying(self) -> int:
        """Return the one counter that every read of a document looks at."""
        data = _read_at(self._descriptor, _COUNTER.size) if self._descriptor >= 0 else b""
        return int(_COUNTER.unpack(data.ljust(_COUNTER.size, b"\0"))[0])

    def write(self, **counters: int) -> None:
        """Set counters by name."""
        for name, value in counters.items():
            _write_at(self._descriptor, _COUNTER.pack(value), _COUNTER.size * State._fields.index(name))

    def write_placed(self, segment: int, position: int) -> None:
        """Note that all records up to a position in the log are in place."""
        _write_at(self._descriptor, _PLACED.pack(segment, position), _PLACED_AT)

    def increase(self, name: str) -> int:
        """Count one up and return it; concurrent calls may count once."""
        value = (int(getattr(self.read(), name)) + 1) % (1 << 64)
        self.write(**{name: value})
        return value

    def close(self) -> None:
        """Close the descriptors."""
        descriptors, self._retired = [*self._retired, self._descriptor], []
        self._descriptor = -1
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)


def odd(counter: int) -> int:
    """Return the next odd value: the beginning."""
    return (counter + 1) | 1


def even(counter: int) -> int:
    """Return the next even value: the end."""
    return counter + (counter & 1)


def _read_at(descriptor: int, size: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, 0)
    with _POSITION:
        os.lseek(descriptor, 0, os.SEEK_SET)
        return os.read(descriptor, size)


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    if hasattr(os, "pwrite"):
        os.pwrite(descriptor, data, offset)
        return
    with _POSITION:
        os.lseek(descriptor, offset, os.SEEK_SET)
        os.write(descriptor, data)
