"""The directories that names lie in: opened without following a link, and given to whoever uses a name in one.

Where the system can (`os.open in os.supports_dir_fd`) a parent is pinned by a descriptor, elsewhere it is looked at
first. Names in the store's own control directory are trusted: that it is a directory was seen before. Features are
detected, never platforms.
"""

from __future__ import annotations

import errno
import os
import stat

from fsstore.filesystem.disk.system import NotAFileError, flag

_PINS = os.open in os.supports_dir_fd and hasattr(os, "O_DIRECTORY")
_PARENT = os.O_RDONLY | flag("O_DIRECTORY") | flag("O_PATH") | flag("O_CLOEXEC") | flag("O_NOFOLLOW")


class Parents:
    """Gives what an `*at` call needs: the last component of a name, and a descriptor of its directory.

    With `keeps` that many descriptors stay open until `forget`; then only one thread may use it, and a directory that
    somebody removes and makes anew meanwhile is not noticed.
    """

    def __init__(self, prefix: str, *, trusted: str, keeps: int = 0) -> None:
        self._prefix = prefix
        # without one nothing is trusted: no name begins with a separator
        self._trusted = trusted or "/"
        self._keeps = keeps
        self._kept: dict[str, int] = {}

    def enter(self, name: str) -> tuple[str, int | None]:
        """Return what to call the name by, and the descriptor that this is relative to; `leave` is due afterwards."""
        if name.startswith(self._trusted):
            return self._prefix + name, None
        directory, _, base = name.rpartition("/")
        if not directory:
            return self._prefix + name, None
        if not _PINS:
            self.refuse_links(directory)
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

    def leave(self, descriptor: int | None) -> None:
        """End the use of a name."""
        if descriptor is not None and not self._keeps:
            os.close(descriptor)

    def forget(self, directory: str = "") -> None:
        """Close what is kept, or the one directory."""
        for each in [directory] if directory else list(self._kept):
            descriptor = self._kept.pop(each, None)
            if descriptor is not None:
                os.close(descriptor)

    def refuse_links(self, directory: str) -> None:
        """Raise NotAFileError if a component is no directory itself."""
        path = self._prefix
        for part in directory.split("/"):
            path = os.path.join(path, part)  # noqa: PTH118 - strings are what the system takes, and this is a hot path
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                raise NotAFileError(errno.ENOTDIR, "not a directory", path)


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
