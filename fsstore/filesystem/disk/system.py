"""What the system under a store is and says: its boot, its file systems, the flags it takes, the errors it gives.

Owns the translation of the system's errors into the store's. Knows nothing of a store's names or files.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import stat
import sys
from contextlib import suppress
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


class AdvisedError(OSError):
    """An error of the system for which the caller knows what to do."""

    advice = ""


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
    """Say an error of the system in the words of the store; `path` is the file at fault, or the store."""
    reason, named = error.strerror or str(error) or type(error).__name__, os.fspath(error.filename or path)
    if not Path(os.fsdecode(named)).is_absolute():
        # what was opened relative to a descriptor; of a path that is known there is no need to name it
        base = os.fsdecode(named)
        named, reason = path, reason if Path(path).name == Path(base).name else f"{base}: {reason}"
    return StorageUnavailableError(
        reason=reason, path=str(named), errno=error.errno, advice=_advice(error, str(named)), outcome=outcome
    )


def _advice(error: OSError, path: str) -> str | None:
    """Return what to do about a path that this user may not use; None where nothing is known but the error."""
    if isinstance(error, AdvisedError):
        return error.advice
    if error.errno == errno.EPERM and sys.platform == "linux":
        quoted = shlex.quote(path)
        return (
            f"if it is immutable or append-only (lsattr -d {quoted} shows that), let root end it "
            f"(chattr -ia {quoted}); otherwise give this user the permission, or run as one who has it"
        )
    found = _closed(path) if error.errno == errno.EACCES and hasattr(os, "geteuid") else None
    if found is None:
        return None
    closed, seen = found
    quoted, user = shlex.quote(closed), os.geteuid()
    what, mode = ("it" if closed == path else closed), stat.filemode(seen.st_mode)
    needed = stat.S_IRUSR | stat.S_IWUSR | (stat.S_IXUSR if stat.S_ISDIR(seen.st_mode) else 0)
    if seen.st_uid == user and seen.st_mode & needed == needed:
        return None
    if seen.st_uid == user:
        return f"{what} is yours and has the mode {mode}: give this user the permission (chmod u+rwX {quoted})"
    how = f"chown {user} {quoted}, as root" if closed == path else "chmod, chown or setfacl, as its owner or root"
    return (
        f"{what} belongs to {_user(seen.st_uid)} and has the mode {mode}, and this is {_user(user)}: "
        f"give this user the permission ({how}), or run as one who has it"
    )


def _closed(path: str) -> tuple[str, os.stat_result] | None:
    """Return what refuses a path: itself, or the first directory above it that cannot be entered."""
    for each in (path, *map(str, Path(path).parents)):
        with suppress(OSError):
            return each, os.lstat(each)
    return None


def _user(number: int) -> str:
    with suppress(ImportError, KeyError):
        import pwd  # noqa: PLC0415 - not on every system

        return f"{pwd.getpwuid(number).pw_name} ({number})"
    return f"user {number}"


def refuse_file(root: Path) -> None:
    """Raise StorageUnavailableError where a file stands in the place of a store's directory, or of one above it."""
    for path in (root, *root.parents):
        with suppress(OSError):
            if stat.S_ISDIR(path.stat().st_mode):
                return
            raise StorageUnavailableError(
                reason=f"{'it' if path == root else path} is a file, and a store is a directory",
                path=str(root),
                errno=errno.ENOTDIR,
                advice="name a directory: that of the store, or of a new one; sessions of a file are read by `import`",
            )
