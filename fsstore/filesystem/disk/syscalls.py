"""Two names that change places in one step: renameat2(2) with RENAME_EXCHANGE, which Python does not offer.

Linux has it since 3.15, where the C library has it and the file system can; elsewhere `exchange` returns False.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
# this kernel or file system cannot; the names are not both there
_UNABLE = {errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOENT}


def exchange(first: str, second: str, first_parent: int | None, second_parent: int | None) -> bool:
    """Let two names, each relative to a directory's descriptor, stand for what the other stood for; atomic.

    False, and nothing has changed, where the system cannot or one of them is not there. Raises OSError otherwise.
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


def _function() -> Any:
    """Return the C library's function, None where it has none."""
    try:
        found = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return None
    found.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return found


_RENAMEAT2 = _function()
