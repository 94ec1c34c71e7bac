"""The last published state of each document, and the subscribers to its changes. No I/O.

A backend publishes every change to its ledger, in the order that holds for each document, and every subscriber receives
it at once. Names are keys of the backend's choosing; nothing is read into them. Invariants:
- Each change has a serial number; the ledger knows the last one of each document, so a subscriber that has missed some
  learns which documents to look at. That is one entry a document, however many changes there were.
- The ledger keeps no subscriber alive: one that nobody holds any more receives nothing.

Used by several threads: `publish`, `subscribe`, `unsubscribe` and `end` take the guard; everything else belongs to the
one thread that publishes, or to the holder of the guard.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, TypeAlias

from fsstore.forking import tell_child
from fsstore.model.records import JsonObject
from fsstore.watching.changes import Origin

Whole: TypeAlias = Callable[[], JsonObject | None]
"""Gives the whole of a record of which only a part is at hand, which may take long."""


class KnownState(NamedTuple):
    """A document as it was last published: equal `content` means equal documents."""

    id: str
    version: int
    content: object
    origin: Origin = "external"


class Subscriber(Protocol):
    """Who receives changes; called with the guard."""

    asks_documents: bool
    """Whether it must be given whole records: what an index keeps of them does not do."""

    def receive(self, serial: int, name: str, state: KnownState, origin: Origin, record: JsonObject | None) -> None:
        """Take a change in; `record` None means that the document is gone, and `state` is its last one."""

    def end(self, reason: BaseException) -> None:
        """Learn that nothing more will come."""


class Missed(NamedTuple):
    """What has changed since a serial number, the earlier first, and the number of the last change by now."""

    names: list[str]
    serial: int


class Ledger:
    """The last published state of each document, by the backend's name for it, and who receives what changes."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.guard = threading.Lock()
        self.serial = 0
        self._states: dict[str, KnownState] = {}
        # the serial number of each document's last change, the latest at the end
        self._order: dict[str, int] = {}
        self._last_deletion = 0
        self._watches: weakref.WeakSet[Subscriber] = weakref.WeakSet()
        self._ended: BaseException | None = None
        tell_child(self)

    def in_child(self) -> None:
        """Begin anew with nobody who watches: their threads did not come along, and one of them may hold the guard."""
        self.guard = threading.Lock()
        self._watches = weakref.WeakSet()

    # -- what is known ------------------------------------------------------------------------------------------------

    def get(self, name: str) -> KnownState | None:
        """Return the last published state of a document."""
        return self._states.get(name)

    def names(self) -> set[str]:
        """Return the names of the documents that are there by what was published last; O(documents)."""
        return set(self._states)

    def adopt(self, name: str, state: KnownState) -> None:
        """Take a state as published without publishing it, as the ledger begins; also to correct one in silence."""
        self._states[name] = state

    def last_change(self, name: str) -> int:
        """Return the serial number of a document's last change; 0 when it has not changed."""
        return self._order.get(name, 0)

    def missed(self, serial: int, inside: Iterable[str]) -> Missed:
        """Return what has changed after that change, for a watch with those inside; needs the guard."""
        names = []
        for name in reversed(self._order):
            if self._order[name] <= serial:
                break
            names.append(name)
        gone = [name for name in inside if name not in self._states] if self._last_deletion > serial else []
        return Missed([*gone, *reversed(names)], self.serial)

    # -- publishing ---------------------------------------------------------------------------------------------------

    def publish(
        self,
        name: str,
        state: KnownState | None,
        origin: Origin,
        record: JsonObject | None = None,
        *,
        whole: Whole | None = None,
    ) -> None:
        """Report to every subscriber what a document is now, or that it is gone (once); O(subscribers).

        Where `whole` is given, the record may lack what no index keeps; it is called if a subscriber asks for that.
        """
        with self.guard:
            is_asked = whole is not None and self._asks_documents()
        if whole is not None and is_asked:
            # without the guard, for which an event loop may be waiting
            record, whole = whole(), None
        with self.guard:
            if whole is not None and self._asks_documents():
                # somebody has just come who asks
                record = whole()
            known = state or self._states.get(name)
            if known is None:
                return
            self.serial += 1
            self._order.pop(name, None)
            if state is None:
                del self._states[name]
                self._last_deletion = self.serial
            else:
                self._states[name] = state
                self._order[name] = self.serial
            for watch in list(self._watches):
                watch.receive(self.serial, name, known, origin, record)

    def _asks_documents(self) -> bool:
        return any(watch.asks_documents for watch in self._watches)

    # -- subscribers --------------------------------------------------------------------------------------------------

    def subscribe(self, watch: Subscriber) -> int:
        """Let a watch receive what is published from now on; returns the number of the last change before that."""
        with self.guard:
            self._watches.add(watch)
            if self._ended is not None:
                watch.end(self._ended)
            return self.serial

    def unsubscribe(self, watch: Subscriber) -> None:
        """Let a watch receive nothing more."""
        with self.guard:
            self._watches.discard(watch)

    def end(self, reason: BaseException) -> None:
        """End every watch, since nothing will change any more; with the error unless the store is closed."""
        with self.guard:
            self._ended = self._ended or reason
            for watch in list(self._watches):
                watch.end(self._ended)
