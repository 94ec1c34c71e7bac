"""The files below one root: names, bytes, signatures, syncing. Nobody else calls the operating system about files.

Owns: how a file is opened, written whole, replaced, removed and synced; `directories` is the part about what they lie
in. Knows nothing of documents, JSON or the log.

Invariants:
- A name is relative to the root, with `/`; no component of it is ever followed through a symbolic link (`directories`).
- Only regular files are read. A FIFO, a device, a directory or a link gives NotAFileError and never blocks.
- A new file is made with O_EXCL and written by a loop over short writes; nothing is ever written over in place.
- A document's signature never equals that of a file on another device: where that is not the one of the first file that
  was looked at, the device is part of the inode number.
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

from fsstore.filesystem.disk.descriptors import read_all, write_all
from fsstore.filesystem.disk.directories import COMMON, Directories
from fsstore.filesystem.disk.signatures import INODE_BITS, UNTOLD, Signature, identity_of, signature_in
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
# of which two may lie on both sides of a tick
_LOOKS, _TICK_NS = 4, 500_000
_SHARING_RETRIES, _SHARING_PAUSE_SECONDS = 200, 0.005


class TooLargeError(OSError):
    """The file has more bytes than may be read."""


class Tree(Directories):
    """The directory of a store. Methods take names relative to its root."""

    def __init__(self, root: Path, *, file_mode: int = 0o600, trusted: str = "", keeps: int = 0) -> None:
        """See `Directories`."""
        super().__init__(root, file_mode=file_mode, trusted=trusted, keeps=keeps)
        self.device: int | None = None
        """Where the first file lay that was looked at."""

    def for_one_thread(self, *, keeps: int) -> Tree:
        """Return the same tree for the use of one thread, which keeps so many directories open."""
        tree = Tree(self.root, file_mode=self.file_mode, trusted=self._trusted, keeps=keeps)
        tree.device = self.device
        return tree

    def open(self, name: str, flags: int) -> int:
        """Open a file and return its descriptor, which the caller closes."""
        base, parent = self._enter(name)
        try:
            if not (_REFUSES_LINKS or flags & os.O_EXCL) and Path(base).is_symlink():
                raise NotAFileError(errno.ELOOP, "not a regular file", self.path(name))
            if flags & os.O_CREAT and self._owner is not None:
                return self._open_given(base, flags, parent)
            return os.open(base, flags, self.file_mode, dir_fd=parent)
        except OSError as error:
            if error.errno in _NO_FILE:
                raise NotAFileError(error.errno, "not a regular file", self.path(name)) from error
            raise
        finally:
            self._leave(parent)

    def _open_given(self, base: str, flags: int, parent: int | None) -> int:
        """Open a file which, if it is made here, belongs to the owner of the store."""
        while True:
            try:
                descriptor = os.open(base, flags | os.O_EXCL, self.file_mode, dir_fd=parent)
            except FileExistsError:
                if flags & os.O_EXCL:
                    raise
            else:
                self._give(descriptor)
                return descriptor
            # where it was removed meanwhile, it is made in the next round
            with suppress(FileNotFoundError):
                return os.open(base, flags & ~os.O_CREAT, dir_fd=parent)

    def read(self, name: str, *, max_bytes: int) -> tuple[bytes, Signature]:
        """Return a file's bytes and the signature that belongs to them; OSError for one that never keeps still."""
        descriptor = self.open(name, READ)
        try:
            for _ in range(_READ_TRIES):
                before = self._regular(descriptor, name, max_bytes)
                data = read_all(descriptor, before.size)
                # somebody may write the file in place while we read: only bytes framed by one signature are its own
                if len(data) == before.size and self._signed(os.fstat(descriptor)) == before:
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
            before = self._regular(descriptor, name, max_bytes)
            # one byte more than the size, so that a file that has just grown shows as such
            buffer = bytearray(before.size + 1)
            if os.preadv(descriptor, [buffer], 0, _NOWAIT) != before.size:
                return None
            del buffer[before.size :]
            return (buffer, before) if self._signed(os.fstat(descriptor)) == before else None
        except OSError as error:
            if error.errno in _WOULD_BLOCK and not isinstance(error, NotAFileError | TooLargeError):
                return None
            raise
        finally:
            os.close(descriptor)

    def write_new(self, name: str, *parts: bytes | memoryview) -> Signature:
        """Make a file with these bytes, not synced. On failure nothing of it is left."""
        descriptor = self.open(name, CREATE)
        try:
            for part in parts:
                write_all(descriptor, part)
            return self._signed(os.fstat(descriptor))
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
        """Whether changes of a file show times that lie closer than ticks of a clock; makes a file to see it.

        A tick is a millisecond or more. See `trust` for what that proves.
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
                return self._signature_at(new, new_parent)
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
                    return self._signature_at(new, new_parent) or UNTOLD
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
        if found is None:
            return None
        # those of the control directory are held against open descriptors, which have numbers as the system gives them
        return signature_in(found) if name.startswith(self._trusted) else self._signed(found)

    def moment(self, name: str = "") -> Signature | None:
        """Return the signature of a directory, which changes with the names in it; None when it is not there."""
        try:
            return self._signed(self._stat(name) if name else self.root.stat())
        except FileNotFoundError:
            return None

    def is_same(self, name: str, signature: Signature) -> bool:
        """Whether a file of which a signature is known is still there and has it; links above it do not matter then."""
        try:
            found = os.lstat(self._prefix + name)
        except OSError:
            return False
        return self._signed(found) == signature

    def are_free(self, names: Iterable[str], root: tuple[int, int]) -> bool:
        """Whether nothing has these names in that very root, as far as the system says; a stat for each.

        It is looked for in a descriptor of the root, known by device and inode: somebody may move it away and back at
        any moment.
        """
        if os.stat not in os.supports_dir_fd:
            return all(_is_free(self._prefix + name, None) for name in names)
        try:
            descriptor = self.open_root()
        except FileNotFoundError:
            return False
        try:
            return _is_identity(descriptor, root) and all(_is_free(name or ".", descriptor) for name in names)
        finally:
            os.close(descriptor)

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
        with self._entered(source) as (old, old_parent), self._entered(target) as (new, new_parent):
            try:
                os.link(old, new, src_dir_fd=old_parent, dst_dir_fd=new_parent, follow_symlinks=False)
            except OSError as error:
                if error.errno in _NO_LINK:
                    return False
                raise
        return True

    def signatures(self, name: str) -> Iterator[tuple[str, Signature | None]]:
        """Give each name in a directory with its signature; None for what is no regular file, UNTOLD if not known."""
        for base, found in self.stats(name):
            if found is None:
                yield base, UNTOLD
            else:
                yield base, self._signed(found) if stat.S_ISREG(found.st_mode) else None

    def _signed(self, found: os.stat_result) -> Signature:
        signature = signature_in(found)
        if found.st_dev == self.device:
            return signature
        if self.device is None:
            self.device = found.st_dev
            return signature
        return signature._replace(inode=(found.st_dev + 1 << INODE_BITS) + signature.inode)

    def _signature_at(self, base: str, parent: int | None) -> Signature | None:
        try:
            found = os.stat(base, dir_fd=parent, follow_symlinks=False)
        except OSError:
            return None
        return self._signed(found) if stat.S_ISREG(found.st_mode) else None

    def _regular(self, descriptor: int, name: str, max_bytes: int) -> Signature:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise NotAFileError(errno.EINVAL, "not a regular file", self.path(name))
        if found.st_size > max_bytes:
            raise TooLargeError(errno.EFBIG, f"{found.st_size} bytes, more than {max_bytes}", self.path(name))
        return self._signed(found)

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


def _is_identity(descriptor: int, file: tuple[int, int]) -> bool:
    found = os.fstat(descriptor)
    return (found.st_dev, found.st_ino) == file


def _is_free(name: str, parent: int | None) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except OSError as error:
        return error.errno == errno.ENOENT
    return False


def _is_no_file(base: str, parent: int | None) -> bool:
    """Whether there is something else than a file; what is not there any more was swept away, and was one."""
    try:
        return not stat.S_ISREG(os.stat(base, dir_fd=parent, follow_symlinks=False).st_mode)
    except OSError:
        return False
