"""System calls that Python does not offer, for systems whose C library has them; elsewhere the answer is no.

Owns renameat2(2) with RENAME_EXCHANGE, by which two names change places in one step, and syncfs(2) with
sync_file_range(2), by which many files are brought to the disk at once. Linux has them; a file system may still refuse.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any

_AT_FDCWD, _RENAME_EXCHANGE, _WAIT_BEFORE = -100, 2, 1
# this kernel or file system can not; the names are not both there
_UNABLE = {errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOENT}


def exchange(first: str, second: str, first_parent: int | None, second_parent: int | None) -> bool:
    """Let two names, each relative to a directory's descriptor, stand for what the other stood for; atomic.

    False, and nothing has changed, where the system can not or one of them is not there. Raises OSError otherwise.
    """
    if _RENAMEAT2 is None:
        return False
    parents = [_AT_FDCWD if parent is None else parent for parent in (first_parent, second_parent)]
    if not _RENAMEAT2(parents[0], os.fsencode(first), parents[1], os.fsencode(second), _RENAME_EXCHANGE):
        return True
    number = ctypes.get_errno()
    if number in _UNABLE:
        return False
    raise OSError(number, os.strerror(number), first, None, second)


def sync_file_system(descriptor: int) -> bool:
    """Bring all that waits to be written on an open file's file system to the disk, whoever has written it.

    False where it was not done, or not all of it; what a file has lost is told to whoever syncs the file itself.
    """
    return _SYNCFS is not None and _SYNC_FILE_RANGE is not None and not _SYNCFS(descriptor)


def raise_lost(descriptor: int) -> None:
    """Raise OSError where bytes of a file were to be written to the disk and could not be, since somebody last heard.

    Waits for those that are on their way, and syncs nothing itself.
    """
    if _SYNC_FILE_RANGE is not None and _SYNC_FILE_RANGE(descriptor, 0, 0, _WAIT_BEFORE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _function(name: str, *types: Any) -> Any:
    """Return the C library's function, None where it has none."""
    try:
        found = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (OSError, AttributeError, TypeError):
        return None
    found.argtypes = types
    return found


_RENAMEAT2 = _function("renameat2", ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_SYNCFS = _function("syncfs", ctypes.c_int)
_SYNC_FILE_RANGE = _function("sync_file_range", ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
