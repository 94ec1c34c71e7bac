"""What a fork does to stores that are open: SQLite is quiet at that moment, and the child is notified.

A child of fork has one thread. What the others were doing stands still in it for ever: a lock that one of them held is
never released, and a call of SQLite never ends. SQLite also remembers, for a whole process, which locks it has on which
file, and in a child takes those of its parent for its own. Invariants:
- SQLite is used inside `using_sqlite` only. A fork waits until nobody is inside, 50 ms at most, lets nobody in until it
  is over, and closes the connections to files before it: so the child inherits none, and both open their own again.
- Who has waited 5 s for the end of a fork goes on: the thread that forks may be waiting for it, as in a signal handler
  that has interrupted the closing of connections. For the child SQLite was not quiet then.
- Where SQLite was not quiet by then, it may never be used in the child: `check_sqlite` and `using_sqlite` raise
  StorageClosedError there. So they do in a process that was forked past the interpreter, which then notified nobody.
- An object with descriptors or locks that a child must not share is notified there, before anything else runs.

The rule for callers: a child opens a store again at its first use; what was under way at the fork stays the parent's.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import suppress
from typing import Protocol

from fsstore.errors import StorageClosedError

_WAIT_SECONDS = 0.05
# another hook of the program may use a store in the middle of a fork, and would wait for itself
_LONGEST_FORK_SECONDS = 5.0


class Connected(Protocol):
    """Who has connections to files that must be closed at a fork."""

    def disconnect(self) -> None:
        """Close them; called while nobody uses SQLite. Who needs one opens it again."""


class Inheriting(Protocol):
    """Who has something that a child of fork must not share with its parent."""

    def in_child(self) -> None:
        """Let go of it; called in the child, which has no other thread, before anything else runs there."""


class _Depth(threading.local):
    """How often this thread has begun to use SQLite and has not ended."""

    value = 0


class _Sqlite:
    """Who uses SQLite in this process, and who forks it."""

    def __init__(self, *, is_lost: bool = False) -> None:
        self.process = os.getpid()
        self.is_lost = is_lost
        self.is_disconnected = False
        self._changed = threading.Condition()
        # by which one fork at a time closes connections; who uses SQLite does not take it
        self._disconnecting = threading.RLock()
        self._users = self._forks = 0
        # whether somebody could not wait for the end of the forks that are under way
        self._is_open = False
        self._depth = _Depth()

    def check(self, path: str | None = None) -> None:
        if self.is_lost or self.process != os.getpid():
            raise StorageClosedError(
                path=path,
                reason="this process was forked while its parent was using SQLite, which cannot be used here any more",
                advice="fork while no call is under way, or start the process anew (multiprocessing: spawn)",
            )

    def __enter__(self) -> None:
        self.check()
        depth = self._depth
        if not depth.value:
            with self._changed:
                if not self._changed.wait_for(lambda: self._is_open or not self._forks, _LONGEST_FORK_SECONDS):
                    # the others need not wait either: no child may use the connections that are opened now
                    self._is_open = True
                    self._changed.notify_all()
                self._users += 1
        depth.value += 1

    def __exit__(self, *_: object) -> None:
        depth = self._depth
        depth.value -= 1
        if not depth.value:
            with self._changed:
                self._users -= 1
                if self._forks:
                    self._changed.notify_all()

    def before_fork(self) -> None:
        with self._disconnecting:
            with self._changed:
                self._forks += 1
                # who forks in the middle of a call of its own would wait for itself
                wait_seconds = 0.0 if self._depth.value else _WAIT_SECONDS
                self.is_disconnected = self._changed.wait_for(lambda: not self._users, wait_seconds)
                connected = list(_CONNECTED) if self.is_disconnected else []
            # a signal handler may come in between, and wait for a thread that uses SQLite
            for each in connected:
                each.disconnect()

    def after_fork(self) -> None:
        with self._changed:
            self._forks -= 1
            if not self._forks:
                self.is_disconnected = self._is_open = False
                self._changed.notify_all()

    def in_child(self) -> _Sqlite:
        """Return what takes its place in the child."""
        is_quiet = self.is_disconnected and not self._users and not self._is_open
        return _Sqlite(is_lost=self.is_lost or not is_quiet)


_CONNECTED: weakref.WeakSet[Connected] = weakref.WeakSet()
_INHERITING: weakref.WeakSet[Inheriting] = weakref.WeakSet()
_sqlite = _Sqlite()


def using_sqlite() -> _Sqlite:
    """Return the context in which SQLite is used; a thread may enter it again. Raises what `check_sqlite` raises."""
    return _sqlite


def check_sqlite(path: str) -> None:
    """Raise StorageClosedError if SQLite can never be used in this process, on behalf of the store there."""
    _sqlite.check(path)


def disconnect_at_fork(who: Connected) -> None:
    """Have the connections of an object closed before each fork, for as long as it lives."""
    with _sqlite._changed:  # noqa: SLF001 - a fork goes through them under it
        _CONNECTED.add(who)


def tell_child(who: Inheriting) -> None:
    """Have an object notified in each child of fork, for as long as it lives."""
    _INHERITING.add(who)


def _in_child() -> None:
    global _sqlite  # noqa: PLW0603 - there is one for the process
    _sqlite = _sqlite.in_child()
    if _sqlite.is_lost:
        for connected in list(_CONNECTED):
            _keep_for_ever(connected)
    for inheriting in list(_INHERITING):
        inheriting.in_child()


def _keep_for_ever(connected: Connected) -> None:
    """Keep connections open that nobody may close: their end would wait for a thread that is not here."""
    with suppress(ImportError, AttributeError):
        import ctypes  # noqa: PLC0415 - only such a child needs it

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connected))


def _before() -> None:
    # the one of this process, which a child of fork replaces
    _sqlite.before_fork()


def _in_parent() -> None:
    _sqlite.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
