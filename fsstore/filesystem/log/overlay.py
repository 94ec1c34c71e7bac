"""A store that is only read, shown as a recovery would leave it: documents that wait in the log are read from there.

For who may not write: a medium that is mounted read-only, a user without the permission. Such an opener cannot recover,
and must neither wait for a recovery that may never come nor show half of a batch. Invariants:
- What is shown in place of a file is decided by its bytes, as in `recovery`: an older value that the log knows, bytes
  that are no document, and nothing at all give way to the log's last value; so does another document that was there
  before that value was logged. What was put there since stays.
- The log is read through only where no living writer vouches for what lies in place. One does while it holds the store
  lock, and, when no commit was left unfinished, while anybody has the store open for writing.
- It is read under a shared lock, which keeps writers out: a record that is not synced yet is never shown.

Nothing is changed on disk, so a crash leaves nothing behind.
"""

from __future__ import annotations

import errno
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, TypeVar

from fsstore.errors import StorageTimeoutError
from fsstore.filesystem.disk.files import TooLargeError, Tree
from fsstore.filesystem.disk.signatures import Signature, Stat, stat_of
from fsstore.filesystem.disk.system import NotAFileError
from fsstore.filesystem.documents.codec import digest, is_whole
from fsstore.filesystem.documents.layout import CONTROL, LOCK, PRESENCE, Layout, directories_of, segment_name, shard_of
from fsstore.filesystem.log.counters import Counters
from fsstore.filesystem.log.log import Log
from fsstore.filesystem.log.records import NO_LIMIT, LoggedChange, Segment
from fsstore.filesystem.log.shared_lock import locked

T = TypeVar("T")

_POLL_SECONDS = 0.0002


class Moment(NamedTuple):
    """What changes when a batch is put in place, or other documents are shown in place of files."""

    applying: int
    segments: tuple[tuple[int, int, int], ...] = ()


class Waiting(NamedTuple):
    """What the log says of a document: its last value, None when it was deleted, and digests of those before."""

    change: LoggedChange
    before: frozenset[bytes]

    @property
    def data(self) -> bytes | None:
        """The last value."""
        return self.change.data

    @property
    def digest(self) -> bytes:
        """The hash of the last value."""
        return self.change.after

    @property
    def signature(self) -> Signature:
        """A signature that no file has, and no other value."""
        return Signature(
            int.from_bytes(self.digest[:7], "big"), len(self.data or b""), self.change.time_ns, self.change.time_ns
        )


class OverlaidTree(Tree):
    """The directory of a store, with documents of the log in place of files; for reading."""

    def __init__(self, tree: Tree) -> None:
        """Show the same directory as that tree."""
        super().__init__(tree.root, file_mode=tree.file_mode, trusted=f"{CONTROL}/")
        self._waiting: dict[str, Waiting] = {}
        self._within: dict[str, list[str]] = {}
        self._directories: dict[str, set[str]] = {}

    def show(self, waiting: dict[str, Waiting]) -> None:
        """Let these documents, by the names of their files, be seen from now on."""
        within: dict[str, list[str]] = {}
        directories: dict[str, set[str]] = {}
        for name, value in waiting.items():
            within.setdefault(shard_of(name), []).append(name)
            for directory in directories_of(name) if value.data is not None else ():
                above, _, base = directory.rpartition("/")
                directories.setdefault(above, set()).add(base)
        self._waiting, self._within, self._directories = waiting, within, directories

    @property
    def is_plain(self) -> bool:
        """Whether nothing is shown in place of anything."""
        return not self._waiting

    def _shown(self, name: str, waiting: Waiting) -> tuple[bytes, Signature] | None:
        """Return what is shown under the name of a document that waits; None when it is shown as absent."""
        try:
            data, signature = super().read(name, max_bytes=NO_LIMIT)
        except (FileNotFoundError, NotAFileError, NotADirectoryError):
            pass
        else:
            found = digest(data)
            is_newer = found not in waiting.before and not waiting.change.is_after(data, signature.ctime_ns)
            if found == waiting.digest or (is_newer and is_whole(data, waiting.change.id)):
                return data, signature
        return None if waiting.data is None else (waiting.data, waiting.signature)

    def read(self, name: str, *, max_bytes: int) -> tuple[bytes, Signature]:
        """Return a file's bytes, or those of the document that waits for its place, and their signature."""
        # asked once: another thread may let other documents be seen at any moment
        waiting = self._waiting.get(name)
        if waiting is None:
            return super().read(name, max_bytes=max_bytes)
        shown = self._shown(name, waiting)
        if shown is None:
            raise FileNotFoundError(errno.ENOENT, "it is deleted in the log", self.path(name))
        if len(shown[0]) > max_bytes:
            raise TooLargeError(errno.EFBIG, f"{len(shown[0])} bytes, more than {max_bytes}", self.path(name))
        return shown

    def read_cached(self, name: str, *, max_bytes: int) -> tuple[bytearray, Signature] | None:
        """Return what `read` does without waiting; None for what waits in the log, which has to be compared."""
        return None if name in self._waiting else super().read_cached(name, max_bytes=max_bytes)

    def signature(self, name: str) -> Signature | None:
        """Return the signature of what is shown under a name."""
        waiting = self._waiting.get(name)
        if waiting is None:
            return super().signature(name)
        shown = self._shown(name, waiting)
        return None if shown is None else shown[1]

    def is_same(self, name: str, signature: Signature) -> bool:
        """Whether what is shown under a name still has that signature."""
        if name not in self._waiting:
            return super().is_same(name, signature)
        with suppress(OSError):
            return self.signature(name) == signature
        return False

    def is_directory(self, name: str) -> bool:
        """Whether the name is a directory, or one that a document of the log lies in."""
        try:
            return stat.S_ISDIR(self._stat(name).st_mode)
        except FileNotFoundError:
            above, _, base = name.rpartition("/")
            return base in self._directories.get(above, ())

    def entries(self, name: str = "") -> list[str]:
        """Return the names in a directory, and those of directories that documents of the log lie in."""
        return list({*super().entries(name), *self._directories.get(name, ())})

    def stats(self, name: str) -> list[tuple[str, Stat | None]]:
        """Return the names that are shown in a directory, each with its stat."""
        found, waiting = dict(super().stats(name)), self._waiting
        for file in self._within.get(name, ()):
            value, base = waiting.get(file), file.rpartition("/")[2]
            shown = None if value is None else self._shown(file, value)
            if shown is None:
                found.pop(base, None)
            elif value is not None and shown[1] == value.signature:
                found[base] = stat_of(shown[1], self.device or self.root.stat().st_dev)
        return list(found.items())


class Overlay:
    """What an opener that may not write sees of one store; used by its reader thread, and by who watches."""

    def __init__(self, tree: OverlaidTree, layout: Layout, log: Log, counters: Counters) -> None:
        self._tree = tree
        self._layout = layout
        self._log = log
        self._counters = counters
        self._segments: tuple[tuple[int, int, int], ...] = ()
        self._guard = threading.Lock()
        # whether no living writer vouches for what lies in place
        self.is_abandoned = False

    @property
    def is_quiet(self) -> bool:
        """Whether nothing waits in the log, so that what lies in place is what there is; one list of a directory."""
        return self._tree.is_plain and not self._counters.applying() & 1 and not self._log.numbers()

    @property
    def segments(self) -> object:
        """Which state of the log is shown in place of files; empty when none is."""
        return self._segments

    def look(self) -> Moment | None:
        """Show what there is to be seen now; None while a living writer is putting something in place.

        A list of a directory where the log is empty; else some system calls more, and after a crash the whole log is
        read, once. Raises OSError.
        """
        with self._guard:
            with suppress(OSError):
                # made, or made anew, since
                self._counters.open()
            applying = self._counters.applying()
            if not applying & 1 and not self._log.numbers():
                return self._show_places(applying)
            with self._keeping_writers_out() as is_kept:
                return self._look_at_log() if is_kept else self._look_at_writer()

    def _look_at_writer(self) -> Moment | None:
        applying = self._counters.applying()
        if self._segments and self._segments == self._segments_now():
            # it has done nothing yet but to begin to recover
            return Moment(applying, self._segments)
        # who has just taken the lock of a store that was left may not even have begun
        return None if applying & 1 or self._is_left() else self._show_places(applying)

    def _look_at_log(self) -> Moment:
        state, numbers = self._counters.read(), self._log.numbers()
        if not state.unfinished and not self._is_left() and self._somebody_is_present():
            return self._show_places(state.applying)
        segments = self._segments_now()
        if segments != self._segments:
            self._tree.show(self._waiting(self._log.read(numbers)))
            self._segments = segments
        self.is_abandoned = True
        return Moment(state.applying, segments)

    def _segments_now(self) -> tuple[tuple[int, int, int], ...]:
        signatures = ((number, self._tree.signature(segment_name(number))) for number in self._log.numbers())
        return tuple((number, found.size, found.mtime_ns) for number, found in signatures if found is not None)

    def _show_places(self, applying: int) -> Moment:
        if not self._tree.is_plain:
            self._tree.show({})
        self._segments, self.is_abandoned = (), False
        return Moment(applying)

    def _waiting(self, segments: list[Segment]) -> dict[str, Waiting]:
        last: dict[str, LoggedChange] = {}
        before: dict[str, set[bytes]] = {}
        for change in (change for segment in segments for change in segment.changes):
            known = before.setdefault(change.id, set())
            known.add(change.before)
            if change.id in last:
                known.add(last[change.id].after)
            last[change.id] = change
        return {
            self._layout.name(record_id): Waiting(change, frozenset(before[record_id]))
            for record_id, change in last.items()
        }

    def _is_left(self) -> bool:
        """Whether there is a log that the counters do not know of."""
        numbers = self._log.numbers()
        return bool(numbers) and numbers[-1] > self._counters.read().newest

    def floor(self) -> int:
        """Return the highest version that was ever deleted, also by what waits in the log; O(bytes of the log)."""
        segments = self._log.read(self._log.numbers())
        return max(self._counters.floor(), *(change.floor for segment in segments for change in segment.changes), 0)

    # -- locks --------------------------------------------------------------------------------------------------------

    def while_nobody_writes(self, run: Callable[[], T], *, timeout_seconds: float) -> T:
        """Look, and do something, while writers wait. Raises StorageTimeoutError when one does not let go in time."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            with self._keeping_writers_out() as is_kept:
                if is_kept:
                    self.look()
                    return run()
            if time.monotonic() >= deadline:
                raise StorageTimeoutError(
                    reason="the writer lock", path=self._tree.path(LOCK), timeout_seconds=timeout_seconds
                )
            time.sleep(_POLL_SECONDS)

    @contextmanager
    def _keeping_writers_out(self) -> Iterator[bool]:
        """Take the store lock, shared with others who only read; False when somebody is writing.

        Where nothing can be locked nobody writes either, or nobody can know.
        """
        with locked(self._tree, LOCK, shared=True) as is_locked:
            yield is_locked is not False

    def _somebody_is_present(self) -> bool:
        """Whether anybody has the store open for writing."""
        with locked(self._tree, PRESENCE, shared=False) as is_locked:
            return is_locked is False
