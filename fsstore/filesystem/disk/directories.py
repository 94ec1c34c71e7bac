"""The directories below one root: how they are made, listed, looked at, removed and synced.

Owns the root, and the way from a name to what a system call takes; `files` builds on it. No component of a name is ever
followed through a symbolic link: where the system can (`os.open in os.supports_dir_fd`) a parent is pinned by a
descriptor, elsewhere it is looked at first. Names in the store's own control directory are trusted: that it is a
directory was seen before. Features are detected, never platforms.

What root makes in a store of somebody else belongs to the owner of the store, who could neither read nor replace it
otherwise. Only what was made by this very call is given away, by its descriptor: what has the name already may be
another name of a file elsewhere. A crash between the two leaves it root's, as the error of its owner says.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from fsstore.filesystem.disk.system import NotAFileError, flag

COMMON = flag("O_CLOEXEC") | flag("O_NOFOLLOW") | flag("O_BINARY") | flag("O_NOCTTY")
"""Flags for whatever is opened below the root."""

_PINS = os.open in os.supports_dir_fd and hasattr(os, "O_DIRECTORY")
_PARENT = os.O_RDONLY | flag("O_DIRECTORY") | flag("O_PATH") | flag("O_CLOEXEC") | flag("O_NOFOLLOW")
_ASKS_EFFECTIVE_IDS = os.access in os.supports_effective_ids
_SYNCS_DIRECTORIES = hasattr(os, "O_DIRECTORY")
_LISTS_DESCRIPTORS = _SYNCS_DIRECTORIES and os.scandir in os.supports_fd

_ROOT = 0


def _user() -> int:
    """Return who this process is to the system; nobody in particular where there are no users."""
    return os.geteuid() if hasattr(os, "geteuid") else -1


class Directories:
    """The directory of a store, and those in it. Methods take names relative to its root, with `/`."""

    def __init__(self, root: Path, *, file_mode: int = 0o600, trusted: str = "", keeps: int = 0) -> None:
        """Names that begin with `trusted` lie in directories that were looked at before, and only once.

        With `keeps` that many parents stay open until `forget_parents`; then only one thread may use the tree, and a
        directory that somebody removes and makes anew meanwhile is not noticed.
        """
        self.root = root
        self.file_mode = file_mode
        # a directory may be entered by whoever may read its files
        self.directory_mode = file_mode | (file_mode & 0o444) >> 2
        self._prefix = f"{root}{os.sep}"
        # without one nothing is trusted: no name begins with a separator
        self._trusted = trusted or "/"
        self._keeps = keeps
        self._kept: dict[str, int] = {}
        self._on_one_device: set[str] = set()

    def path(self, name: str) -> str:
        """Return the full path, for messages and for libraries that want one."""
        return self._prefix + name

    def is_writable(self, name: str) -> bool:
        """Whether files can be made in a directory, as far as the system says beforehand."""
        return os.access(self.path(name), os.W_OK)

    def root_identity(self) -> tuple[int, int]:
        """Return device and inode of what lies at the root's path now. Raises OSError."""
        found = self.root.stat()
        return found.st_dev, found.st_ino

    def open_root(self) -> int:
        """Open the directory itself and return its descriptor, which the caller closes."""
        return os.open(self.root, os.O_RDONLY | flag("O_DIRECTORY") | flag("O_CLOEXEC"))

    def is_root(self, descriptor: int) -> bool:
        """Whether a descriptor is that of the directory which has the root's name now."""
        return os.path.samestat(self.root.stat(), os.fstat(descriptor))

    def refuse_placing(self, name: str, *, is_there: bool, knows_directory: bool = False) -> bool:
        """Raise OSError where the system says beforehand that a file cannot be given that name, or taken from it.

        Returns whether its directory is there.

        It says so of a directory that cannot be written or lies on another file system (one call, left out if that is
        known), and of a file that is immutable (one, if it `is_there`). It does not say so of every cause: of a file
        that can only be appended to, a mount on it, or a directory where only owners may remove files.
        """
        directory_is_there = knows_directory or self._refuse_directory(name.rpartition("/")[0])
        if is_there and not os.access(self._prefix + name, os.W_OK, effective_ids=_ASKS_EFFECTIVE_IDS):
            try:
                # the bits that forbid writing do not keep a file from being replaced
                os.close(os.open(self._prefix + name, os.O_WRONLY | COMMON))
            except OSError as error:
                if error.errno == errno.EPERM:
                    raise OSError(error.errno, error.strerror, self.path(name)) from error
        return directory_is_there

    def _refuse_directory(self, name: str) -> bool:
        """Raise OSError where nothing can be put into a directory, or into the one in which it is missing."""
        path = self._prefix + name
        if os.access(path, os.W_OK | os.X_OK, effective_ids=_ASKS_EFFECTIVE_IDS):
            if name not in self._on_one_device:
                # asked once for each: mounts do not come and go within a store
                if os.lstat(path).st_dev != os.lstat(self._prefix).st_dev:
                    raise OSError(errno.EXDEV, "its directory lies on another file system than the store", path)
                self._on_one_device.add(name)
            return True
        if not name or os.path.lexists(path):
            raise PermissionError(errno.EACCES, "its directory cannot be written", path.removesuffix(os.sep))
        # it will be made, in the root or in the one above
        self._refuse_directory(name.rpartition("/")[0])
        return False

    def is_name_of(self, name: str, file: tuple[int, int]) -> bool:
        """Whether a name in the control directory is that of a file, known by device and inode; one stat."""
        try:
            found = os.lstat(self._prefix + name)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == file

    def make_root(self) -> None:
        """Make the root itself, and what is missing above it, durably."""
        missing = [path for path in (self.root, *self.root.parents) if not path.exists()]
        for path in reversed(missing[1:]):
            # one by one, since for parents mkdir knows no mode but the system's
            path.mkdir(self.directory_mode, exist_ok=True)
        self.root.mkdir(self.directory_mode, exist_ok=True)
        for path in missing:
            _sync_directory(str(path.parent), 0)

    def make_directory(self, name: str) -> bool:
        """Make a directory; False when it was there already."""
        try:
            with self._entered(name) as (base, parent):
                os.mkdir(base, self.directory_mode, dir_fd=parent)
                if self._owner is not None:
                    self._give_directory(base, parent)
        except FileExistsError:
            # one that is gone again by now raises FileNotFoundError, which says that
            if stat.S_ISDIR(self._stat(name).st_mode):
                return False
            raise
        return True

    @cached_property
    def _owner(self) -> tuple[int, int] | None:
        """User and group of the store, where root makes files for them; else None."""
        if _user() != _ROOT:
            return None
        found = self.root.stat()
        return (found.st_uid, found.st_gid) if found.st_uid != _ROOT else None

    def _give(self, descriptor: int) -> None:
        """Give what was made just now to the owner of the store, where root may do that."""
        if self._owner is not None:
            # a root without that capability, or a file system without owners: it stays as it is
            with suppress(OSError):
                os.fchown(descriptor, *self._owner)

    def _give_directory(self, base: str, parent: int | None) -> None:
        with suppress(OSError):
            descriptor = os.open(base, os.O_RDONLY | os.O_DIRECTORY | COMMON, dir_fd=parent)
            try:
                self._give(descriptor)
            finally:
                os.close(descriptor)

    def remove_directory(self, name: str) -> None:
        """Remove an empty directory."""
        with self._entered(name) as (base, parent):
            os.rmdir(base, dir_fd=parent)

    def is_directory(self, name: str) -> bool:
        """Whether the name is a directory itself, not a link to one."""
        try:
            return stat.S_ISDIR(self._stat(name).st_mode)
        except FileNotFoundError:
            return False

    def entries(self, name: str = "") -> list[str]:
        """Return the names in a directory, in no order; empty when it is not there. Links are not entered.

        Raises FileNotFoundError where the root itself is gone: that is no empty store.
        """
        try:
            with self._opened_directory(name) as where:
                return os.listdir(where)  # noqa: PTH208 - of a descriptor, which a path cannot do
        except FileNotFoundError:
            if not name:
                raise
            return []

    def sure_entries(self, name: str) -> list[str]:
        """Return the names in a directory of the control directory, in no order; empty when it is not there.

        Raises FileNotFoundError where the control directory itself is not there: the store is away, or somebody has
        removed that, and what it held is not known. Where the system can, the directory is looked for in a descriptor
        of that one, since the store may go and come back at any moment.
        """
        above, _, base = name.rpartition("/")
        if not _LISTS_DESCRIPTORS:
            found = self.entries(name)
            os.lstat(self.path(above))
            return found
        # whoever may only search it can do this, too
        outer = _open_directory(self.path(above), None)
        try:
            inner = os.open(base, os.O_RDONLY | os.O_DIRECTORY | COMMON, dir_fd=outer)
        except FileNotFoundError:
            return []
        finally:
            os.close(outer)
        try:
            return os.listdir(inner)  # noqa: PTH208 - of a descriptor, which a path cannot do
        finally:
            os.close(inner)

    def stats(self, name: str) -> list[tuple[str, os.stat_result | None]]:
        """Return the names in a directory, in no order, each with its stat; None where the system refuses that."""
        found: list[tuple[str, os.stat_result | None]] = []
        try:
            with self._opened_directory(name) as where, os.scandir(where) as listing:
                for entry in listing:
                    try:
                        found.append((entry.name, entry.stat(follow_symlinks=False)))
                    except FileNotFoundError:
                        continue
                    except OSError:
                        found.append((entry.name, None))
        except FileNotFoundError:
            pass
        return found

    @contextmanager
    def _opened_directory(self, name: str) -> Iterator[Any]:
        if not name:
            yield self.root
        elif _LISTS_DESCRIPTORS:
            with self._entered(name) as (base, parent):
                descriptor = os.open(base, os.O_RDONLY | os.O_DIRECTORY | COMMON, dir_fd=parent)
            try:
                yield descriptor
            finally:
                os.close(descriptor)
        else:
            self._refuse_links(name)
            yield self.path(name)

    def sync_directory(self, name: str = "") -> None:
        """Bring the names in a directory to the disk, where the system can do that."""
        if name:
            with self._entered(name) as (base, parent):
                _sync_directory(base, COMMON, parent)
        else:
            # the root may be a link: where a store lies is its user's business
            _sync_directory(str(self.root), 0)

    # -- the directories that names lie in ----------------------------------------------------------------------------

    def _stat(self, name: str) -> os.stat_result:
        base, parent = self._enter(name)
        if parent is None:
            # so of most names that are looked at: they lie in the control directory
            return os.lstat(base)
        try:
            return os.stat(base, dir_fd=parent, follow_symlinks=False)
        finally:
            self._leave(parent)

    @contextmanager
    def _entered(self, name: str) -> Iterator[tuple[str, int | None]]:
        base, parent = self._enter(name)
        try:
            yield base, parent
        finally:
            self._leave(parent)

    def _enter(self, name: str) -> tuple[str, int | None]:
        """Return what to call the name by, and the descriptor that this is relative to; `_leave` is due afterwards."""
        if name.startswith(self._trusted):
            return self._prefix + name, None
        directory, _, base = name.rpartition("/")
        if not directory:
            return self._prefix + name, None
        if not _PINS:
            self._refuse_links(directory)
            return self._prefix + name, None
        if not self._keeps:
            return base, _open_parent(self._prefix, directory)
        descriptor = self._kept.pop(directory, None)
        if descriptor is None:
            if len(self._kept) >= self._keeps:
                # the one that was not used for longest: two names may be entered at a time
                os.close(self._kept.pop(next(iter(self._kept))))
            descriptor = _open_parent(self._prefix, directory)
        self._kept[directory] = descriptor
        return base, descriptor

    def _leave(self, descriptor: int | None) -> None:
        """End the use of a name."""
        if descriptor is not None and not self._keeps:
            os.close(descriptor)

    def forget_parents(self, directory: str = "") -> None:
        """Close the directories that are kept open, or that one."""
        for each in [directory] if directory else list(self._kept):
            descriptor = self._kept.pop(each, None)
            if descriptor is not None:
                os.close(descriptor)

    def _refuse_links(self, directory: str) -> None:
        """Raise NotAFileError if a component is no directory itself."""
        path = self._prefix
        for part in directory.split("/"):
            path = os.path.join(path, part)  # noqa: PTH118 - strings are what the system takes, and this is a hot path
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                raise NotAFileError(errno.ENOTDIR, "not a directory", path)


def _sync_directory(path: str, flags: int, parent: int | None = None) -> None:
    if not _SYNCS_DIRECTORIES:
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | flags, dir_fd=parent)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_parent(prefix: str, directory: str) -> int:
    first, _, rest = directory.partition("/")
    descriptor = _open_directory(prefix + first, None)
    while rest:
        first, _, rest = rest.partition("/")
        try:
            inner = _open_directory(first, descriptor)
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor


def _open_directory(path: str, parent: int | None) -> int:
    try:
        return os.open(path, _PARENT, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.EMLINK):
            raise NotAFileError(errno.ENOTDIR, "not a directory, or a link to one", path) from error
        raise
