"""The counters: fifteen 64-bit numbers in the file `seq`, by which the processes of a store tell where they are.

    applying           odd while a batch is being put in place: readers wait for it
    indexing           odd while a commit is under way, from before its first file until the index has it
    lock_requests      grows when a process finds the lock taken: the holder then pauses after its release
    stale              grows when the index can no longer be trusted: whoever uses it reconciles first
    newest             number of the newest segment of the log
    sealed             number of the newest segment that takes no more records
    deleted            number of the newest segment that was deleted: `newest` when the log is empty
    lock_acquisitions  how often the lock was taken to write: a holder who was asked for it waits until this grows
    index_requests     grows when a process waits for what is committed to reach the index: the holder then updates it
    floor              the highest version that was deleted in this store: a document that is made begins above it
    unsynced           number of the newest segment of whose documents a sync has failed: these are written anew before
                       it goes, and then it is at most `deleted`
    waiting            odd while documents wait for their places (`waiting`); grows whenever these change
    placed_segment     with `placed_bytes`, where in the log the last record ends of which all was put in place
    placed_bytes       the position in that segment; older segments are in place as a whole
    syncing            number of the newest segment of whose documents a sync has begun that has not ended well; above
                       `deleted` it means, to the next one who syncs, that nobody knows what became of that one

Invariants: only the holder of the store lock writes `applying`, `indexing`, `newest`, `sealed`, `lock_acquisitions`,
`floor`, `waiting` and the two of `placed`; besides, `applying` and `placed` are written by whoever opens the store
alone. Only the holder of the checkpoint lock writes `unsynced` and `syncing`. The others only grow, and losing a race
over them does no harm. A counter is written by one call of eight bytes, the two of `placed` by one of sixteen.

A crash leaves odd counters: whoever holds the lock and finds one knows that the writer died, and recovers. The file is
never synced, and nothing that it says outlives the mount: whoever is alone does not believe that anything was placed.
What a short file lacks reads as zeros.

The name may go too, by other hands. So whoever reads looks whether the file still has it (`applying`, `look`), and gets
`UNNAMED`, which is odd, where it has not: to take the lock then opens the file anew. One that is made anew begins with
odd counters: a batch may be under way of a writer who counts in the file that was there before.

The floor must outlive the file. The record of a deletion tells it, and before that record goes, the floor is written to
a file of its own, `floor`, which is synced (`keep_floor`): twenty decimal digits. Who takes the lock raises a
counter that is below (`mend`), and an open store that finds the counters made anew remembers what it has seen.
"""

from __future__ import annotations

import os
import secrets
import struct
import threading
from contextlib import suppress
from typing import NamedTuple

from fsstore.filesystem.disk.files import KEEP, READ, WRITE, Tree
from fsstore.filesystem.documents.layout import CONTROL, COUNTERS, FLOOR, MOST_SEGMENTS, STAGING
from fsstore.model.successor import floor_above

_COUNTER = struct.Struct("<Q")
_ALL, _PLACED = struct.Struct("<15Q"), struct.Struct("<2Q")
_FLOOR_MAX_BYTES = 32
UNNAMED = 2**64 - 1
"""What `applying` and `indexing` are to readers while the counters that they know have lost their name."""
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
    syncing: int = 0

    @property
    def unfinished(self) -> bool:
        """Whether a commit is under way, or its writer died."""
        return bool((self.applying | self.indexing) & 1)

    @property
    def is_plausible(self) -> bool:
        """Whether these can be counters: a segment's number has twelve digits."""
        segments = self.newest, self.sealed, self.deleted, self.unsynced, self.syncing, self.placed_segment
        is_floor = floor_above(0, self.floor) == self.floor
        return is_floor and max(self) < 1 << 62 and max(segments) < MOST_SEGMENTS

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
        # device and inode of the file that is open
        self.file = (0, 0)
        self._retired: list[int] = []
        # the highest floor that was seen here, and what the file of its own holds
        self._seen_floor = self._kept_floor = 0
        # whether this open store has had to make the file: what it has said before is then lost
        self.were_made = False

    def open(self) -> bool:
        """Open the file, made when it is not there; True when it was opened.

        Called again, it is opened anew only if the name now belongs to another file.
        """
        if self._descriptor >= 0 and self.are_named():
            return False
        try:
            # looked at first, since a FIFO can be opened, and counts nothing
            self._tree.signature(COUNTERS)
            opened = self._opened()
        except OSError:
            if not self._read_only:
                raise
            # a store that cannot be written and has no counters: nobody writes there
            self._retired.append(self._descriptor)
            self._descriptor = -1
            return False
        self._kept_floor = self._read_floor()
        self._seen_floor = max(self._seen_floor, self._kept_floor)
        if self._descriptor >= 0:
            with suppress(OSError):
                # nothing more can be read where the medium has died and was mounted again; then the log tells it
                self._seen_floor = max(self._seen_floor, self.read().floor)
            # not closed yet, since another thread may be reading through it at this moment
            self._retired.append(self._descriptor)
        there = os.fstat(opened)
        self._descriptor, self.file = opened, (there.st_dev, there.st_ino)
        return True

    def changed_ns(self) -> int:
        """When one was last written, by the clock of files, in nanoseconds since 1970; one fstat. Raises OSError."""
        return os.fstat(self._descriptor).st_ctime_ns

    def are_named(self) -> bool:
        """Whether the file that is open still has its name; one stat."""
        return self._tree.is_name_of(COUNTERS, self.file)

    def _opened(self) -> int:
        if self._read_only:
            return self._tree.open(COUNTERS, READ)
        while True:
            with suppress(FileNotFoundError):
                return self._tree.open(COUNTERS, WRITE)
            # made whole and then named, since another process may be making it, or counting in it, at this moment;
            # among the temp files, so that recovery sweeps what a crash leaves, and if it did so just now: once more
            draft = f"{STAGING}/{secrets.token_hex(8)}"
            self._tree.write_new(draft, _ALL.pack(*self._renewed()))
            self.were_made = True
            try:
                with suppress(FileNotFoundError):
                    self._tree.name_once(draft, COUNTERS)
            finally:
                self._tree.unlink(draft)

    def _renewed(self) -> State:
        """Return counters to begin anew with: whoever reads waits until somebody has recovered.

        Not from zero: nobody may find the number again under which the index was last in order.
        """
        return State(applying=1, indexing=1, stale=secrets.randbits(32), floor=self._seen_floor)

    def mend(self) -> bool:
        """Begin anew if the counters are noise, as the holder of the store lock; True when they were."""
        state = self.read()
        if state.is_plausible:
            if state.floor < self._seen_floor:
                # a power cut, or whoever has removed them, has taken it away
                self.write(floor=self._seen_floor)
            return False
        self.write(**self._renewed()._asdict())
        return True

    def keep_floor(self, floor: int = 0) -> None:
        """Bring the floor to the disk, raised to that, before what tells it in the log is deleted; mostly nothing.

        Only the holder of the store lock may raise it. Raises OSError.
        """
        if floor > self.read().floor:
            self.write(floor=floor)
        # more than once if another process has kept a higher one meanwhile
        while self._kept_floor < (floor := self.read().floor):
            # until it is synced the log tells it too
            self.note_floor(floor)
            self._tree.sync(FLOOR)
            self._tree.sync_directory(CONTROL)
            self._kept_floor = floor

    def note_floor(self, floor: int) -> None:
        """Write the floor down, in place as the counters are, without a sync: for deletions that no log tells."""
        descriptor = self._tree.open(FLOOR, KEEP)
        try:
            _write_at(descriptor, b"%020d\n" % floor, 0)
        finally:
            os.close(descriptor)

    def floor(self) -> int:
        """Return the highest version that was ever deleted here, as far as the counters or the file of its own tell."""
        return max(floor_above(0, self.read().floor), self._seen_floor, self._read_floor())

    def _read_floor(self) -> int:
        try:
            data, _ = self._tree.read(FLOOR, max_bytes=_FLOOR_MAX_BYTES)
            floor = int(data)
        except (OSError, ValueError):
            # there is none, or it is not ours
            return 0
        return floor_above(0, floor)

    def look(self) -> State:
        """Return the counters as a reader may believe them."""
        state = self.read()
        if self._descriptor < 0 or self.are_named():
            return state
        return state._replace(applying=UNNAMED, indexing=UNNAMED)

    def read(self) -> State:
        """Return the counters, whether they have their name or not."""
        data = _read_at(self._descriptor, _ALL.size) if self._descriptor >= 0 else b""
        return State._make(_ALL.unpack(data if len(data) == _ALL.size else data.ljust(_ALL.size, b"\0")))

    def applying(self) -> int:
        """Return the one counter that every read of a document looks at."""
        if self._descriptor < 0:
            return 0
        if not self.are_named():
            return UNNAMED
        data = _read_at(self._descriptor, _COUNTER.size)
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
