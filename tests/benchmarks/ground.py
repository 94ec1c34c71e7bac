"""Where on the disk the stores lie: each in a part of its own, where the file system lets us choose.

ext4 makes the files of neighbouring directories in one block group, and for minutes passes over each inode that was
deleted there, one by one (without a journal: `recently_deleted` in fs/ext4/ialloc.c). So what one store has deleted
makes the next one's files up to twenty times as dear. Directories below one that is marked as the top of a hierarchy
are spread over the groups (`T` in chattr(1)).
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

_TOP = 0x20000
_LONG = struct.calcsize("l")
_GET_FLAGS, _SET_FLAGS = 2 << 30 | _LONG << 16 | 0x6601, 1 << 30 | _LONG << 16 | 0x6602


def spread(directory: Path) -> bool:
    """Have the directories made in this one from now on lie far from each other; False where that cannot be had."""
    if find_spec("fcntl") is None:
        return False
    from fcntl import ioctl  # noqa: PLC0415 - not every system has it

    flags = struct.Struct("l")
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):
            found = flags.unpack(ioctl(descriptor, _GET_FLAGS, flags.pack(0)))[0]
            ioctl(descriptor, _SET_FLAGS, flags.pack(found | _TOP))
            return bool(flags.unpack(ioctl(descriptor, _GET_FLAGS, flags.pack(0)))[0] & _TOP)
        return False
    finally:
        os.close(descriptor)
