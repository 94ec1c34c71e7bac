"""What the system under a store is and says: its boot, its file systems, the flags it takes, the errors it gives.

Owns the translation of the system's errors into the store's. Knows nothing of a store's names or files.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from fsstore.errors import Outcome, StorageUnavailableError

NO_BOOT_ID = "none"

NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.sshfs", "gfs2", "glusterfs", "fuse.glusterfs", "gpfs", "lustre",
    "ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs",
}  # fmt: skip
"""Types of file systems, by the names of proc(5), that other machines change as well."""

SHARED_WITH_HOST = {
    "9p", "drvfs", "fakeowner", "fuse.grpcfuse", "fuse.osxfs", "osxfs", "prl_fs", "vboxsf", "virtiofs",
}  # fmt: skip
"""The same of those that the host of a container or a virtual machine changes as well.

Of what the other side changes no event is reported on this side, on these and on network file systems.
"""

# proc(5): how the table of mounts writes a space and the like
_ESCAPED = re.compile(r"\\([0-7]{3})")


class NotAFileError(OSError):
    """The name is there and is not a regular file."""


def flag(name: str) -> int:
    """Return a flag for opening a file, 0 where the system has none of that name."""
    return int(getattr(os, name, 0))


def refuses_writing(error: OSError) -> bool:
    """Whether an error means that this medium cannot be written at all."""
    return isinstance(error, PermissionError) or error.errno == errno.EROFS


def filesystem_type(path: Path) -> str:
    """Return the type of the file system that holds a path, as proc(5) lists it; empty where it does not say."""
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8", "surrogateescape").splitlines()
        resolved = path.resolve()
    except OSError:
        return ""
    kind, longest = "", -1
    for line in mounts:
        _, point, found, *_ = line.split(" ")
        # the last of several mounts on one point is the one that is seen
        if len(point) >= longest and resolved.is_relative_to(_ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), point)):
            kind, longest = found, len(point)
    return kind


def boot_id() -> str:
    """Return what names this run of the system, as Linux documents it in random(4); "none" where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return NO_BOOT_ID


def unavailable(error: OSError, path: str, *, outcome: Outcome | None = None) -> StorageUnavailableError:
    """Say an error of the system in the words of the store."""
    return StorageUnavailableError(
        reason=error.strerror or str(error) or type(error).__name__,
        path=str(error.filename or path),
        errno=error.errno,
        outcome=outcome,
    )
