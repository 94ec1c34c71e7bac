"""Locks taken by who only reads, through descriptors that cannot write: to keep writers out, or to learn who is there.

flock(2) asks for no permission to write. Where the system has no such locks, or the file cannot be opened, nothing can
be locked, and this is reported to whoever asks. A lock ends with its block, or with its process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fsstore.filesystem.disk.files import READ, Tree

try:
    import fcntl
except ImportError:
    _SHARED = _EXCLUSIVE = _UNLOCK = 0
else:
    _SHARED, _EXCLUSIVE, _UNLOCK = fcntl.LOCK_SH | fcntl.LOCK_NB, fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN


@contextmanager
def locked(tree: Tree, name: str, *, shared: bool) -> Iterator[bool | None]:
    """Lock a file without waiting: False when somebody else's lock is in the way, None where it cannot be locked."""
    descriptor, is_locked = -1, None
    try:
        with suppress(OSError):
            descriptor = tree.open(name, READ)
            is_locked = _lock(descriptor, _SHARED if shared else _EXCLUSIVE)
        yield is_locked
    finally:
        if descriptor >= 0:
            if is_locked:
                # a child that is forked right now inherits the descriptor, and would keep the lock
                fcntl.flock(descriptor, _UNLOCK)
            os.close(descriptor)


def _lock(descriptor: int, kind: int) -> bool | None:
    if not kind:
        return None
    try:
        fcntl.flock(descriptor, kind)
    except BlockingIOError:
        return False
    return True
