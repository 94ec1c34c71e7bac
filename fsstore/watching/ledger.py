"""What watchers were last told of each document, and who wants to be told. No I/O.

A backend puts every change into its ledger, in the order that holds for each document, and every listener hears of it
at once. Invariants:
- Each change has a serial number; the ledger knows the last one of each document, so a listener that has missed some
  learns which documents to look at. That is one entry a document, however many changes there were.
- The ledger keeps no listener alive: one that nobody holds any more hears of nothing.

Used by several threads: `tell`, `join`, `leave` and `end` take the guard; everything else belongs to the one thread
that tells, or to whoever holds the guard.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from fsstore.model.records import JsonObject
from fsstore.watching.changes import Origin


class Told(NamedTuple):
    """What was last told of a document: equal `content` means equal documents. `mark` is the backend's own."""

    id: str
    version: int
    content: object
    origin: Origin = "external"
    mark: int = 0


class Listener(Protocol):
    """Who hears of changes; called with the guard."""

    def hear(self, serial: int, name: str, told: Told, origin: Origin, record: JsonObject | None) -> None:
        """Take a change in; `record` None means that the document is gone."""

    def end(self, reason: BaseException) -> None:
        """Hear that nothing more will come."""


class Missed(NamedTuple):
    """What has changed since a serial number, the earlier first, and the number it has been asked at."""

    names: list[str]
    serial: int


class Ledger:
    """What was last told of each document, by the backend's name for it, and who wants to be told."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.guard = threading.Lock()
        self.serial = 0
        self._told: dict[str, dict[str, Told]] = {}
        # the serial number of each document's last change, the latest at the end
        self._order: dict[str, int] = {}
        self._last_deletion = 0
        self._watches: weakref.WeakSet[Listener] = weakref.WeakSet()
        self._ended: BaseException | None = None

    # -- what was told ------------------------------------------------------------------------------------------------

    def get(self, name: str) -> Told | None:
        """Return what was last told of a document."""
        return self._told.get(name.rpartition("/")[0], {}).get(name)

    def within(self, directory: str) -> Mapping[str, Told]:
        """Return what was told of the documents of one directory."""
        return self._told.get(directory, {})

    def directories(self) -> list[str]:
        """Return the directories of which documents were told."""
        return [directory for directory, documents in self._told.items() if documents]

    def adopt(self, name: str, told: Told) -> None:
        """Take something as told without telling it: as the ledger begins, or where only the mark is another."""
        self._told.setdefault(name.rpartition("/")[0], {})[name] = told

    def last_change(self, name: str) -> int:
        """Return the serial number of a document's last change; 0 when it has not changed."""
        return self._order.get(name, 0)

    def missed(self, serial: int, inside: Mapping[str, str]) -> Missed:
        """Return what has changed after that change, for a watch with those inside; needs the guard."""
        names = []
        for name in reversed(self._order):
            if self._order[name] <= serial:
                break
            names.append(name)
        gone = [name for name in inside if self.get(name) is None] if self._last_deletion > serial else []
        return Missed([*gone, *reversed(names)], self.serial)

    # -- telling ------------------------------------------------------------------------------------------------------

    def tell(self, name: str, told: Told | None, origin: Origin, record: JsonObject | None = None) -> None:
        """Tell everybody what a document is now, or that it is gone; nothing is told of one that never was."""
        with self.guard:
            before = self.get(name)
            if before is None and told is None:
                return
            self.serial += 1
            self._order.pop(name, None)
            if told is None:
                del self._told[name.rpartition("/")[0]][name]
                self._last_deletion = self.serial
            else:
                self.adopt(name, told)
                self._order[name] = self.serial
            known = told or before
            if known is not None:
                for watch in list(self._watches):
                    watch.hear(self.serial, name, known, origin, record)

    # -- those who listen ---------------------------------------------------------------------------------------------

    def join(self, watch: Listener) -> int:
        """Let a watch hear from now on; returns the number of the last change that it does not hear of."""
        with self.guard:
            self._watches.add(watch)
            if self._ended is not None:
                watch.end(self._ended)
            return self.serial

    def leave(self, watch: Listener) -> None:
        """Let a watch hear no more."""
        with self.guard:
            self._watches.discard(watch)

    def end(self, reason: BaseException) -> None:
        """Nothing will change any more: every watch ends, with the error unless it is that the store is closed."""
        with self.guard:
            self._ended = self._ended or reason
            for watch in list(self._watches):
                watch.end(self._ended)
