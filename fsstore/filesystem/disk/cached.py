"""Opening a file without asking the disk: openat2(2) with RESOLVE_CACHED, which Python does not offer.

Linux has it since 5.12; elsewhere `can_open` is False. A name that was looked up before is in the system's memory; any
other is refused at once with BlockingIOError, and is for a thread that may wait. What a file system does itself when a
file is opened (FUSE, NFS) may wait all the same.

The call goes by its number, and what that means to another system, or to a filter of calls, may end the process. So it
is made only where Linux says that nothing filters them; in a container, as a rule, it is not.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any

from fsstore.filesystem.disk.system import flag, is_filtered

_AT_FDCWD, _NUMBER, _CACHED = -100, 437, 0x20


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_cached(path: str, flags: int, parent: int | None = None) -> int:
    """Open a file or directory that is there, and return its descriptor.

    The path is relative to a directory's descriptor, or else a full one. Raises BlockingIOError where the disk would
    have to be asked, and what the system else says.
    """
    above = _AT_FDCWD if parent is None else parent
    descriptor = int(_SYSCALL(_NUMBER, above, os.fsencode(path), *_how(flags)))
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return descriptor


@cache
def _how(flags: int) -> tuple[Any, int]:
    """Return the last two arguments; the system only reads what they point to."""
    how = _How(flags, 0, _CACHED)
    return ctypes.byref(how), ctypes.sizeof(how)


def _function() -> Any:
    """Return the C library's `syscall`, None where it has none, or must not be asked."""
    if is_filtered():
        return None
    try:
        found = ctypes.CDLL(None, use_errno=True).syscall
    except (OSError, AttributeError, TypeError):
        return None
    found.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
    found.restype = ctypes.c_long
    return found


def _is_known() -> bool:
    """Whether the call opens the directory that is always there, and that one."""
    if _SYSCALL is None:
        return False
    try:
        descriptor = open_cached(os.sep, os.O_RDONLY | flag("O_PATH"))
    except OSError:
        return False
    try:
        return os.path.samestat(os.fstat(descriptor), Path(os.sep).stat())
    finally:
        os.close(descriptor)


_SYSCALL = _function()
can_open = _is_known()
