"""The directories below one root: how they are made, listed, looked at, removed and synced.

Owns the root, and the way from a name to what a system call takes; `files` builds on it. No component of a name is ever
followed through a symbolic link: see `parents`. Features are detected, never platforms.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsstore.filesystem.disk.parents import Parents
from fsstore.filesystem.disk.system import flag

COMMON = flag("O_CLOEXEC") | flag("O_NOFOLLOW") | flag("O_BINARY") | flag("O_NOCTTY")
"""Flags for whatever is opened below the root."""

_SYNCS_DIRECTORIES = hasattr(os, "O_DIRECTORY")
_LISTS_DESCRIPTORS = _SYNCS_DIRECTORIES and os.scandir in os.supports_fd


class Directories:
    """The directory of a store, and those in it. Methods take names relative to its root, with `/`."""

    def __init__(self, root: Path, *, file_mode: int = 0o600, trusted: str = "", keeps: int = 0) -> None:
        """Names that begin with `trusted` lie in directories that were looked at before, and only once.

        `keeps` is for a tree of one thread's own: see `Parents`.
        """
        self.root = root
        self.trusted = trusted
        self.file_mode = file_mode
        # a directory may be entered by whoever may read its files
        self.directory_mode = file_mode | (file_mode & 0o444) >> 2
        self._prefix = f"{root}{os.sep}"
        self.parents = Parents(self._prefix, trusted=trusted, keeps=keeps)

    def path(self, name: str) -> str:
        """Return the full path, for messages and for libraries that want one."""
        return self._prefix + name

    def is_writable(self, name: str) -> bool:
        """Whether files can be made in a directory, as far as the system tells beforehand."""
        return os.access(self.path(name), os.W_OK)

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
        except FileExistsError:
            if self.is_directory(name):
                return False
            raise
        return True

    def remove_directory(self, name: str) -> None:
        """Remove an empty directory."""
        with self._entered(name) as (base, parent):
            os.rmdir(base, dir_fd=parent)

    def is_directory(self, name: str) -> bool:
        """Whether the name is a directory itself, not a link to one."""
        try:
            with self._entered(name) as (base, parent):
                return stat.S_ISDIR(os.stat(base, dir_fd=parent, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return False

    def moment(self, name: str = "") -> tuple[int, int] | None:
        """Return inode and mtime_ns of a directory, which change with the names in it; None when it is not there."""
        try:
            if not name:
                found = self.root.stat()
            else:
                with self._entered(name) as (base, parent):
                    found = os.stat(base, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    def entries(self, name: str = "") -> list[str]:
        """Return the names in a directory, in no order; empty when it is not there. Links are not entered."""
        try:
            with self._opened_directory(name) as where:
                return os.listdir(where)  # noqa: PTH208 - of a descriptor, which a path can not do
        except FileNotFoundError:
            return []

    def stats(self, name: str) -> list[tuple[str, os.stat_result]]:
        """Return the names in a directory, in no order, each with what the system tells of it."""
        found: list[tuple[str, os.stat_result]] = []
        try:
            with self._opened_directory(name) as where, os.scandir(where) as listing:
                for entry in listing:
                    try:
                        found.append((entry.name, entry.stat(follow_symlinks=False)))
                    except FileNotFoundError:
                        continue
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
            self.parents.refuse_links(name)
            yield self.path(name)

    def sync_directory(self, name: str = "") -> None:
        """Bring the names in a directory to the disk, where the system can do that."""
        if name:
            with self._entered(name) as (base, parent):
                _sync_directory(base, COMMON, parent)
        else:
            # the root may be a link: where a store lies is its user's business
            _sync_directory(str(self.root), 0)

    @contextmanager
    def _entered(self, name: str) -> Iterator[tuple[str, int | None]]:
        base, parent = self.parents.enter(name)
        try:
            yield base, parent
        finally:
            self.parents.leave(parent)


def _sync_directory(path: str, flags: int, parent: int | None = None) -> None:
    if not _SYNCS_DIRECTORIES:
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | flags, dir_fd=parent)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
