"""The documents that are suspect: why each is looked at, what was seen of it so far, and when it is due.

Each is in here once, in the order in which it came, or at the time to which it was postponed. Belongs to the thread of
`watcher`.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fsstore.filesystem.disk.signatures import Signature

_SLICE = 100


@dataclass(slots=True)
class Suspect:
    """Why a document is looked at, and what was seen of it so far."""

    is_written: bool = False
    """An event says that it was written in place: within a tick of the clock that shows in no signature."""
    is_hinted: bool = False
    missing_since: float = 0.0
    mark: int = -1
    is_external: bool = False
    judged: Signature | None = None
    """The file for which `indexing` was looked at."""
    indexing: int = -1
    indexing_since: float = 0.0


class Suspects:
    """What is to be looked at, now or later."""

    def __init__(self) -> None:
        self._suspects: dict[str, Suspect] = {}
        self._due: deque[str] = deque()
        self._later: list[tuple[float, str]] = []

    def add(self, names: Iterable[str], *, is_written: bool = False, is_hinted: bool = False) -> None:
        """Have documents looked at; one that was postponed keeps its time."""
        for name in names:
            suspect = self._suspects.get(name)
            if suspect is None:
                suspect = self._suspects[name] = Suspect()
                self._due.append(name)
            suspect.is_written |= is_written
            suspect.is_hinted |= is_hinted

    @property
    def is_idle(self) -> bool:
        """Whether none can be looked at now."""
        return not self._due

    def due(self) -> float:
        """Return when the next one is due."""
        if self._due:
            return 0.0
        return self._later[0][0] if self._later else float("inf")

    def take(self) -> dict[str, Suspect]:
        """Take out some of those that are due: what is reported of them from here on makes another suspect."""
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            self._due.append(heapq.heappop(self._later)[1])
        names = [self._due.popleft() for _ in range(min(_SLICE, len(self._due)))]
        return {name: self._suspects.pop(name) for name in names}

    def postpone(self, suspects: Mapping[str, Suspect], seconds: float) -> None:
        """Put back those that were taken, for so many seconds."""
        when = time.monotonic() + seconds
        for name, suspect in suspects.items():
            later = self._suspects.get(name)
            if later is not None:
                # something was reported of it meanwhile, which is due already
                suspect.is_written |= later.is_written
                suspect.is_hinted |= later.is_hinted
            elif seconds:
                heapq.heappush(self._later, (when, name))
            else:
                self._due.append(name)
            self._suspects[name] = suspect
