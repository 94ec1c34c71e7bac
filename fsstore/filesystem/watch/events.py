"""Events of the system about a store's directories; the only importer of watchfiles.

Events are hints and nothing more: they are late, they come twice, and where too many come at once they are lost in
silence. On some mounts none come at all. So nothing here says what has happened, only where to look.

Owns one thread per set of directories that is followed; it ends when another set is followed, or at the end. The
directories themselves are followed, not what lies below them: what happens in `.fsstore/`, and in foreign directories,
wakes nobody.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

_logger = logging.getLogger("fsstore")
_GROUP_MS, _STEP_MS, _LONGEST_MS = 50, 25, 100
_WRITTEN = 2
"""How watchfiles says that a file was written in place, or its times were set."""


class Hint(NamedTuple):
    """Something has happened to a path; `is_written`, if what had that name before still has it."""

    path: str
    is_written: bool


class EventBatch(NamedTuple):
    """What events report. `begun` comes once for a set of directories: from then on events are to be expected."""

    hints: list[Hint]
    begun: bool = False
    error: str = ""


class HintSource(Protocol):
    """Where hints come from."""

    def follow(self, paths: Sequence[str]) -> None:
        """Give hints about these directories from now on, and no longer about others."""

    def close(self) -> None:
        """Give no more hints; waits for the threads."""


Report = Callable[[EventBatch], None]
MakeHintSource = Callable[[Report], HintSource]


class Events:
    """A source of hints: what the system reports through watchfiles."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._threads: list[tuple[threading.Thread, threading.Event]] = []

    def follow(self, paths: Sequence[str]) -> None:
        """Give hints about these directories from now on."""
        # the earlier ones are read until the new ones are followed, so that nothing is lost in between
        earlier = [ending for _, ending in self._threads]
        self._threads = [(thread, ending) for thread, ending in self._threads if thread.is_alive()]
        ending = threading.Event()
        thread = threading.Thread(
            target=self._listen, args=(list(paths), ending, earlier), name="fsstore-events", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            self._report(EventBatch([], error=str(error)))
        else:
            self._threads.append((thread, ending))

    def close(self) -> None:
        """End the threads."""
        for _, ending in self._threads:
            ending.set()
        for thread, _ in self._threads:
            thread.join()
        self._threads = []

    def _listen(self, paths: list[str], ending: threading.Event, earlier: list[threading.Event]) -> None:
        try:
            self._pass_on(paths, ending, earlier)
        except (OSError, RuntimeError) as error:
            # no more watches are allowed, or a directory has just gone: the scanner looks more often
            _logger.info("no events about %s: %s", paths[0], error)
            self._report(EventBatch([], error=str(error)))

    def _pass_on(self, paths: list[str], ending: threading.Event, earlier: list[threading.Event]) -> None:
        from watchfiles import watch  # noqa: PLC0415 - only those who watch pay for loading it

        is_last = begun = False
        for changes in watch(
            *paths,
            watch_filter=None,
            debounce=_GROUP_MS,
            step=_STEP_MS,
            rust_timeout=_LONGEST_MS,
            yield_on_timeout=True,
            force_polling=False,
            recursive=False,
            # True would also pass over directories that get no watch because there are too many
            ignore_permission_denied=False,
        ):
            if changes or not begun:
                self._report(EventBatch([Hint(path, change == _WRITTEN) for change, path in changes], begun=not begun))
            begun = True
            for other in earlier:
                other.set()
            if is_last:
                return
            # what has come until now is given by the next turn
            is_last = ending.is_set()
