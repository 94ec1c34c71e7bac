"""What a stat says of a file: its signature, which changes with its content, and its identity, which does not."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple, TypeAlias

# Windows has numbers of 128 bits
INODE_BITS = 128
"""How many bits an inode number may have; the device of a file that lies elsewhere stands above them."""


class Signature(NamedTuple):
    """What a stat says of a file's content without reading it: size in bytes, times in nanoseconds.

    `trust` says when it stands for the content.
    """

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @property
    def changed_ns(self) -> int:
        """When the file was changed last: the later time, since an old mtime may have been put back."""
        return max(self.mtime_ns, self.ctime_ns)

    @property
    def is_elsewhere(self) -> bool:
        """Whether the file lies on another device than the store did when it was opened."""
        return self.inode >= 1 << INODE_BITS


Stat: TypeAlias = os.stat_result

UNTOLD = Signature(0, 0, 0, 0)
"""Of a file that is there, or was a moment ago."""


def signature_in(found: os.stat_result) -> Signature:
    """Return the signature that a stat shows, whatever device the file lies on."""
    return Signature(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def identity_of(found: os.stat_result) -> int:
    """Return device and inode as one number: what is mounted elsewhere has files of the same inode numbers."""
    return found.st_dev << 64 | found.st_ino


def stat_of(signature: Signature, device: int) -> Stat:
    """Return a stat of a regular file on a device that has that signature."""
    inode, size, mtime_ns, ctime_ns = signature
    fields = (stat.S_IFREG, inode, device, 1, 0, 0, size, 0, mtime_ns // 10**9, ctime_ns // 10**9)
    return os.stat_result(fields, {"st_mtime_ns": mtime_ns, "st_ctime_ns": ctime_ns})
