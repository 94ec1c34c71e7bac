"""What this open store cannot read now: documents and shards that the system refuses, and documents that are too large.

Owns the list of them, in memory. Invariants:
- It is shared with nobody, and nothing of it is recorded in the index: another user, another process, or the same one a
  moment later may be able to read what this one cannot.
- A name stays until the document is read, is gone, or turns out to be damaged: whoever reads documents says so. What is
  listed is looked at again by the next list, at most once a second and for a twentieth of the time.
- The reason is logged when a name comes, and when it is another one, not for each read that fails.

A crash loses nothing that is not on disk.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from fsstore.errors import StorageTooLargeError, StorageUnavailableError

_logger = logging.getLogger("fsstore.unreadable")

_PAUSE_SECONDS, _PAUSE_COSTS = 1.0, 20.0
_OF_THE_PROCESS = frozenset({errno.EMFILE, errno.ENFILE})
"""Errors that say nothing of a document: this process, or the system, has no descriptors left."""


class Refusal(NamedTuple):
    """A document, or a shard (its name ends in `/`), that cannot be read, and why."""

    name: str
    reason: str
    is_too_large: bool
    advice: str = ""


class Unreadable:
    """What one open store cannot read. Threads may share it: each step is one act, and none needs another one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refusals: dict[str, Refusal] = {}
        self._next_look = self._looked = 0.0

    def __bool__(self) -> bool:
        return bool(self._refusals)

    def note(self, name: str, error: StorageUnavailableError) -> None:
        """Note that a document or a shard could not be read, unless the error is not its own."""
        if not is_its_own(error):
            return
        refusal = Refusal(name, error.reason or error.message, isinstance(error, StorageTooLargeError), error.advice)
        if not self._refusals:
            self._next_look = self._clock() + _PAUSE_SECONDS
        is_news = self._refusals.get(name) != refusal
        self._refusals[name] = refusal
        if is_news:
            what = "what is in %s may be left out of lists: %s" if name.endswith("/") else "%s is left out of lists: %s"
            _logger.warning(what, name, refusal.reason)

    def forget(self, name: str) -> None:
        """Note that nothing refuses it any more."""
        self._refusals.pop(name, None)

    def all(self) -> list[Refusal]:
        """Return everything that cannot be read, by name."""
        return sorted(self._refusals.values())

    def documents(self) -> list[str]:
        """Return the names of the documents among it."""
        return [refusal.name for refusal in self.all() if not refusal.name.endswith("/")] if self._refusals else []

    def is_due(self) -> bool:
        """Whether it is time to look again; the caller then does it, and calls `looked`."""
        if not self._refusals:
            return False
        now = self._clock()
        if now < self._next_look:
            return False
        self._looked, self._next_look = now, now + _PAUSE_SECONDS
        return True

    def looked(self) -> None:
        """Note that everything was looked at again; the longer it took, the later is the next time."""
        now = self._clock()
        self._next_look = now + max(_PAUSE_SECONDS, _PAUSE_COSTS * (now - self._looked))


def is_its_own(error: StorageUnavailableError) -> bool:
    """Whether an error about a document or a shard is its own, so that another one can be read all the same."""
    return error.errno not in _OF_THE_PROCESS
