"""Who has the store open: a shared lock on the file `open`, kept by every open writer.

Owns: whether somebody is alone. Invariants:
- Whoever has the file locked exclusively is the only one who has the store open, and nobody else comes in meanwhile.
- As long as anybody is present, the file system that holds the store was not unmounted: what one process has placed,
  the others find. Whoever comes in alone knows nothing of the kind.
- The lock counts only if the file locked is still the one that the name belongs to.
- A child of fork is not present by its parent's descriptor; it comes in by itself.

A crash leaves nothing behind: the system releases the lock of a dead process. Where the system has no shared locks
(fcntl(3) is missing, or the file system refuses them) nobody is known to be alone, and nobody is known not to be.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress

from fsstore.errors import StorageTimeoutError
from fsstore.filesystem.disk.files import KEEP, Tree
from fsstore.filesystem.disk.signatures import identity_of
from fsstore.filesystem.documents.layout import PRESENCE
from fsstore.forking import tell_child

try:
    import fcntl
except ImportError:
    _SHARED = _EXCLUSIVE = 0
else:
    _SHARED, _EXCLUSIVE = fcntl.LOCK_SH | fcntl.LOCK_NB, fcntl.LOCK_EX | fcntl.LOCK_NB

_POLL_SECONDS = 0.001
_NOT_LOCKABLE = {errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


class Presence:
    """The presence of one open store; used by one thread at a time."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._descriptor = -1
        tell_child(self)

    def enter(self, when_alone: Callable[[], None], *, timeout_seconds: float) -> bool:
        """Be present from now on. Who comes in alone first does `when_alone`, and nobody else comes in meanwhile.

        Returns False where the system has no shared locks; then `when_alone` was not called. Raises StorageTimeoutError
        when others do not come in in time, and OSError when the file cannot be opened.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            self.leave()
            self._descriptor = self._tree.open(PRESENCE, KEEP)
            try:
                if self._is_alone() and self.is_named:
                    when_alone()
                # from exclusive to shared is two steps (flock(2)): between them somebody else may come in
                if self._lock(_SHARED) and self.is_named:
                    return True
            except _UnlockableError:
                return False
            except BaseException:
                self.leave()
                raise
            if time.monotonic() >= deadline:
                self.leave()
                raise StorageTimeoutError(
                    reason="another process to open the store",
                    path=self._tree.path(PRESENCE),
                    timeout_seconds=timeout_seconds,
                )
            time.sleep(_POLL_SECONDS)

    def _is_alone(self) -> bool:
        if self._lock(_EXCLUSIVE):
            return True
        # who only reads has it for microseconds, to find out whether anybody is present
        time.sleep(_POLL_SECONDS)
        return self._lock(_EXCLUSIVE)

    def renew(self, *, timeout_seconds: float) -> None:
        """Be present in the file that has the name now, if somebody has removed it; as `enter`, and never alone."""
        if self._descriptor >= 0 and not self.is_named:
            self.enter(lambda: None, timeout_seconds=timeout_seconds)

    @property
    def is_named(self) -> bool:
        """Whether the file that is locked is still the one of that name; else others do not see who is present."""
        return self._descriptor >= 0 and identity_of(os.fstat(self._descriptor)) == self._tree.identity(PRESENCE)

    def leave(self) -> None:
        """Be present no more."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with suppress(OSError):
                os.close(descriptor)

    def in_child(self) -> None:
        """Be present no more by the descriptor of the parent, whose lock it shares."""
        self.leave()

    def _lock(self, kind: int) -> bool:
        """Lock the file, or turn one lock into the other; False when somebody else's lock is in the way."""
        if not kind:
            raise _UnlockableError
        try:
            fcntl.flock(self._descriptor, kind)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _NOT_LOCKABLE:
                raise _UnlockableError from error
            raise
        return True


class _UnlockableError(Exception):
    """There are no shared locks here."""
