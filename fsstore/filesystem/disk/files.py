"""The files below one root: names, bytes, signatures, syncing. Nobody else calls the operating system about files.

Owns: how a file is opened, written whole, replaced, removed and synced; `directories` is the part about what they lie
in. Knows nothing of documents, JSON or the log.

Invariants:
- A name is relative to the root, with `/`; no component of it is ever followed through a symbolic link (`directories`).
- Only regular files are read. A FIFO, a device, a directory or a link gives NotAFileError and never blocks.
- A new file is made with O_EXCL and written by a loop over short writes; nothing is ever written over in place.
- Features are detected, never platforms.

Errors are the system's own OSError; `system.unavailable` turns one into the public StorageUnavailableError.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeAlias

from fsstore.filesystem.disk.directories import COMMON, Directories
from fsstore.filesystem.disk.syscalls import exchange
from fsstore.filesystem.disk.system import NotAFileError, flag

READ = os.O_RDONLY | flag("O_NONBLOCK") | COMMON
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | COMMON
WRITE = os.O_RDWR | COMMON
KEEP = WRITE | os.O_CREAT
"""Flags for a file that is made once and then kept, as the lock is."""

_REFUSES_LINKS = hasattr(os, "O_NOFOLLOW")
_NOWAIT = flag("RWF_NOWAIT") if hasattr(os, "preadv") else 0

_NO_FILE = {errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR}
_WOULD_BLOCK = {errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}
# link(2): the file system has none, or the user may not make one to somebody else's file, or there are too many
_NO_LINK = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_SHARING_VIOLATIONS = {5, 32}
_READ_TRIES = 100
_MILLISECOND_NS = 1_000_000
_PIECE_BYTES = 64 << 10
# of which two may lie on both sides of a tick
_LOOKS, _TICK_NS = 4, 500_000
_SHARING_RETRIES, _SHARING_PAUSE_SECONDS = 200, 0.005


class Signature(NamedTuple):
    """What a stat says of a file's content without reading it: size in bytes, times in nanoseconds."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @property
    def is_fine(self) -> bool:
        """Whether time is counted so finely that the same signature again means the same bytes, but for one tick."""
        return self.mtime_ns % _MILLISECOND_NS > 0 and self.ctime_ns % _MILLISECOND_NS > 0


Stat: TypeAlias = os.stat_result

RACY_NS = 2_000_000_000
"""A file changed so lately may change again and keep its signature where its clock counts coarsely, as in git.

What is remembered of a file stands for it only if its last change lay that far back, or its clock counts finely.
"""

UNTOLD = Signature(0, 0, 0, 0)
"""Of a file that is there, or was a moment ago."""


class TooLargeError(OSError):
    """The file has more bytes than may be read."""


class Tree(Directories):
    """The directory of a store. Methods take names relative to its root."""

    def for_one_thread(self, *, keeps: int) -> Tree:
        """Return the same tree for the use of one thread, which keeps so many directories open."""
        return Tree(self.root, file_mode=self.file_mode, trusted=self._trusted, keeps=keeps)

    def open(self, name: str, flags: int) -> int:
        """Open a file and return its descriptor, which the caller closes."""
        base, parent = self._enter(name)
        try:
            if not (_REFUSES_LINKS or flags & os.O_EXCL) and Path(base).is_symlink():
                raise NotAFileError(errno.ELOOP, "not a regular file", self.path(name))
            return os.open(base, flags, self.file_mode, dir_fd=parent)
        except OSError as error:
            if error.errno in _NO_FILE:
                raise NotAFileError(error.errno, "not a regular file", self.path(name)) from error
            raise
        finally:
            self._leave(parent)

    def read(self, name: str, *, max_bytes: int) -> tuple[bytes, Signature]:
        """Return a file's bytes and the signature that belongs to them; OSError for one that never keeps still."""
        descriptor = self.open(name, READ)
        try:
            for _ in range(_READ_TRIES):
                before = _regular(descriptor, self.path(name), max_bytes)
                data = _read_all(descriptor, before.size)
                # somebody may write the file in place while we read: only bytes framed by one signature are its own
                if len(data) == before.size and _signature(os.fstat(descriptor)) == before:
                    return data, before
            raise OSError(errno.EBUSY, "it is being written all the time", self.path(name))
        except MemoryError as error:
            raise OSError(errno.ENOMEM, "more bytes than memory holds now", self.path(name)) from error
        finally:
            os.close(descriptor)

    def read_cached(self, name: str, *, max_bytes: int) -> tuple[bytearray, Signature] | None:
        """Return what `read` does without waiting for the file's bytes, or None where they cannot be had at once.

        RWF_NOWAIT (preadv2(2)) reads only what lies in the page cache; a short read means that some of it does not. To
        open a file whose name the system has forgotten may wait for the disk all the same.
        """
        if not _NOWAIT:
            return None
        descriptor = self.open(name, READ)
        try:
            before = _regular(descriptor, self.path(name), max_bytes)
            # one byte more than the size, so that a file that has just grown shows as such
            buffer = bytearray(before.size + 1)
            if os.preadv(descriptor, [buffer], 0, _NOWAIT) != before.size:
                return None
            del buffer[before.size :]
            return (buffer, before) if _signature(os.fstat(descriptor)) == before else None
        except OSError as error:
            if error.errno in _WOULD_BLOCK and not isinstance(error, NotAFileError | TooLargeError):
                return None
            raise
        finally:
            os.close(descriptor)

    def write_new(self, name: str, data: bytes) -> Signature:
        """Make a file with these bytes, not synced. On failure nothing of it is left."""
        descriptor = self.open(name, CREATE)
        try:
            write_all(descriptor, data)
            return _signature(os.fstat(descriptor))
        except BaseException:
            with suppress(OSError):
                self.unlink(name)
            raise
        finally:
            os.close(descriptor)

    def append(self, name: str, data: bytes) -> int:
        """Write bytes behind those of a file, made when it is not there, not synced; return how many it then has."""
        descriptor = self.open(name, KEEP | os.O_APPEND)
        try:
            write_all(descriptor, data)
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def counts_finely(self, name: str) -> bool:
        """Whether each change of a file that was looked at shows another time; makes a file to see it.

        A tick of a clock that counts coarsely is a millisecond or more.
        """
        descriptor = self.open(name, CREATE)
        try:
            times = []
            for _ in range(_LOOKS):
                os.write(descriptor, b".")
                times.append(os.fstat(descriptor).st_ctime_ns)
        finally:
            os.close(descriptor)
        return any(0 < after - before < _TICK_NS for before, after in pairwise(times))

    def replace(self, source: str, target: str) -> Signature | None:
        """Give the file `source` the name `target`, in place of what was there; atomic.

        Returns the signature that it has under that name; None when it is not known any more.
        """
        for attempt in range(_SHARING_RETRIES):
            try:
                return self._replace(source, target)
            except PermissionError as error:
                # where an open file cannot be replaced, a reader has it: it will be done in a moment
                violation = getattr(error, "winerror", None) in _SHARING_VIOLATIONS
                if not violation or attempt == _SHARING_RETRIES - 1:
                    raise
                time.sleep(_SHARING_PAUSE_SECONDS)
        return None

    def _replace(self, source: str, target: str) -> Signature | None:
        old, old_parent = self._enter(source)
        try:
            new, new_parent = self._enter(target)
            try:
                os.replace(old, new, src_dir_fd=old_parent, dst_dir_fd=new_parent)
                return _signature_at(new, new_parent)
            finally:
                self._leave(new_parent)
        finally:
            self._leave(old_parent)

    def exchange(self, source: str, target: str) -> Signature | None:
        """Let two files, both there, have each other's name; atomic. Returns the signature of `target`.

        A replace over a file makes some file systems write the new one out at once (ext4: `auto_da_alloc`, ext4(5)),
        which this does not. Returns None, and has done nothing, where the system cannot do it or `target` is no file.
        """
        old, old_parent = self._enter(source)
        try:
            new, new_parent = self._enter(target)
            try:
                if not exchange(old, new, old_parent, new_parent):
                    return None
                if not _is_no_file(old, old_parent):
                    return _signature_at(new, new_parent) or UNTOLD
                # what lay there was no file, and is not ours to take away
                if not exchange(old, new, old_parent, new_parent):
                    # to go on as if nothing had been done would put what lay there in place once more
                    raise OSError(errno.EBUSY, "it is being changed by somebody else", self.path(target))
                return None
            finally:
                self._leave(new_parent)
        finally:
            self._leave(old_parent)

    def unlink(self, name: str) -> bool:
        """Remove a file; False when it was not there."""
        try:
            base, parent = self._enter(name)
            try:
                os.unlink(base, dir_fd=parent)
            finally:
                self._leave(parent)
        except FileNotFoundError:
            return False
        return True

    def signature(self, name: str) -> Signature | None:
        """Return the signature of a regular file, None when there is nothing of that name."""
        found = self._look(name)
        return None if found is None else _signature(found)

    def is_same(self, name: str, signature: Signature) -> bool:
        """Whether a file of which a signature is known is still there and has it; links above it do not matter then."""
        try:
            found = os.lstat(self._prefix + name)
        except OSError:
            return False
        return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns) == signature

    def inode(self, name: str) -> int:
        """Return the inode number of a regular file, 0 when there is nothing of that name."""
        found = self._look(name)
        return 0 if found is None else found.st_ino

    def identity(self, name: str) -> int:
        """Return what tells a regular file from all others that there are now, 0 when there is nothing of that name."""
        found = self._look(name)
        return 0 if found is None else identity_of(found)

    def _look(self, name: str) -> os.stat_result | None:
        try:
            found = self._stat(name)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode):
            raise NotAFileError(errno.EINVAL, "not a regular file", self.path(name))
        return found

    def name_once(self, source: str, target: str) -> None:
        """Give a file a second name, unless that name is taken; where there are no links, rename it."""
        try:
            os.link(self.path(source), self.path(target))
        except FileExistsError:
            return
        except OSError:
            if self.signature(target) is None:
                self.replace(source, target)

    def link(self, source: str, target: str) -> bool:
        """Give a file a second name, which must be free; False where there are no links, or not of this file."""
        old, old_parent = self._enter(source)
        try:
            new, new_parent = self._enter(target)
            try:
                os.link(old, new, src_dir_fd=old_parent, dst_dir_fd=new_parent, follow_symlinks=False)
            except OSError as error:
                if error.errno in _NO_LINK:
                    return False
                raise
            finally:
                self._leave(new_parent)
        finally:
            self._leave(old_parent)
        return True

    def signatures(self, name: str) -> Iterator[tuple[str, Signature | None]]:
        """Give each name in a directory with its signature; None for what is no regular file, UNTOLD if not known."""
        for base, found in self.stats(name):
            if found is None:
                yield base, UNTOLD
            else:
                yield base, _signature(found) if stat.S_ISREG(found.st_mode) else None

    def sync(self, name: str) -> None:
        """Bring a file's bytes to the disk."""
        try:
            # a descriptor that may write: some systems refuse to flush one that may only read
            descriptor = self.open(name, WRITE)
        except PermissionError:
            descriptor = self.open(name, READ)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def identity_of(found: os.stat_result) -> int:
    """Return device and inode as one number: what is mounted elsewhere has files of the same inode numbers."""
    return found.st_dev << 64 | found.st_ino


def stat_of(signature: Signature) -> Stat:
    """Return a stat of a regular file that has that signature."""
    inode, size, mtime_ns, ctime_ns = signature
    fields = (stat.S_IFREG, inode, 0, 1, 0, 0, size, 0, mtime_ns // 10**9, ctime_ns // 10**9)
    return os.stat_result(fields, {"st_mtime_ns": mtime_ns, "st_ctime_ns": ctime_ns})


def _signature_at(base: str, parent: int | None) -> Signature | None:
    try:
        found = os.stat(base, dir_fd=parent, follow_symlinks=False)
    except OSError:
        return None
    return _signature(found) if stat.S_ISREG(found.st_mode) else None


def _is_no_file(base: str, parent: int | None) -> bool:
    """Whether there is something else than a file; what is not there any more was swept away, and was one."""
    try:
        return not stat.S_ISREG(os.stat(base, dir_fd=parent, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _signature(found: os.stat_result) -> Signature:
    return Signature(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _regular(descriptor: int, path: str, max_bytes: int) -> Signature:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise NotAFileError(errno.EINVAL, "not a regular file", path)
    if found.st_size > max_bytes:
        raise TooLargeError(errno.EFBIG, f"{found.st_size} bytes, more than {max_bytes}", path)
    return _signature(found)


def _read_all(descriptor: int, size: int) -> bytes:
    if hasattr(os, "pread"):
        # one byte more than the size, so that a file that has just grown shows as such
        data = os.pread(descriptor, size + 1, 0)
        if len(data) == size:
            return data
    os.lseek(descriptor, 0, os.SEEK_SET)
    parts = []
    wanted = size + 1
    while wanted > 0 and (part := os.read(descriptor, wanted)):
        parts.append(part)
        wanted -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of the bytes, however many calls that takes."""
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


def write_parts(descriptor: int, parts: Iterable[bytes]) -> None:
    """Write all of the parts, one after another, in pieces that need no fresh memory."""
    piece: list[bytes] = []
    size = 0
    for part in parts:
        piece.append(part)
        size += len(part)
        if size >= _PIECE_BYTES:
            write_all(descriptor, b"".join(piece))
            piece, size = [], 0
    if piece:
        write_all(descriptor, b"".join(piece))


def sync_data(descriptor: int) -> None:
    """Bring a file's bytes to the disk, and of its metadata only what reading them needs."""
    getattr(os, "fdatasync", os.fsync)(descriptor)
