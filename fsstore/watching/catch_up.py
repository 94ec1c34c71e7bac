"""How a watch catches up with what it has missed: documents are looked at, round by round, until nothing is left.

Invariants:
- Whether a change is a creation, an update or a deletion is decided when it is given, by whether the watch has given
  the document before (`_inside`).
- A round is what the ledger says has changed since the last change that was given. What changes while the round is
  looked at comes in the next one, so each difference is given once.
- Whether a watch is behind changes only under the guard of the ledger, so no change falls between catching up and
  receiving.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice

from fsstore.model.records import Filters, JsonObject
from fsstore.model.values import copy_value
from fsstore.query.columns import metadata_of
from fsstore.query.conditions import Condition
from fsstore.watching.changes import Change, Kind
from fsstore.watching.source import ChangeSource

_CHUNK = 100
_PAUSE_SECONDS = 0.02


class CatchUp:
    """What a watch has given, and what it must look at to be up to date; it begins behind."""

    def __init__(self, source: ChangeSource, condition: Condition) -> None:
        self.is_behind = True
        # the serial number of the last change that was given, or of the round that is looked at
        self.until = 0
        self._source = source
        self._ledger = source.ledger
        self._condition = condition
        self._has_ended = False
        # ids by name of what the watcher knows to match
        self._inside: dict[str, str] = {}
        self._round: deque[str] = deque()
        self._again: list[str] = []
        self._found: deque[Change] = deque()

    async def begin(self, filters: Filters, since: str | None) -> None:
        """Take the documents that match as given, but those that were updated since that moment."""
        if since is None:
            self._inside = await self._source.inside(filters)
            await self._settle()
        else:
            known = {"$and": [filters, {"created_at": {"$lt": since}}]}
            wanted = {"$and": [filters, {"updated_at": {"$gte": since}}]}
            self._inside = await self._source.inside(known)
            self._round = deque(await self._source.updated(wanted))

    def end(self) -> None:
        """Look at nothing any more; needs the guard."""
        self._has_ended = True
        self._round.clear()
        self.is_behind = False

    def kind(self, name: str, record_id: str, *, matches: bool) -> Kind | None:
        """Return what a change is for the watcher, and remember that it was given; None when it is nothing to it."""
        was_inside = name in self._inside
        if matches:
            self._inside[name] = record_id
            return "updated" if was_inside else "created"
        if was_inside:
            del self._inside[name]
            return "deleted"
        return None

    async def next(self) -> Change | None:
        """Return the next change that was missed; None when the watch has caught up."""
        while not self._found and await self._look_at_some():
            pass
        return self._found.popleft() if self._found else None

    async def _settle(self) -> None:
        """Catch up in silence: what changed while watching began was there before."""
        while await self._look_at_some():
            self._found.clear()

    async def _look_at_some(self) -> bool:
        """Look at some documents that may have changed; False when the watch has caught up."""
        if not self._round and not self._begin_round():
            return False
        with self._ledger.guard:
            names = list(islice(self._round, _CHUNK))
        # a cancelled reader looks at them once more
        documents = await self._source.read(names)
        with self._ledger.guard:
            for name in names:
                self._look_at(name, documents.get(name))
                if self._round:
                    self._round.popleft()
        if self._again and not self._round and not self._found:
            # the files are ahead of the ledger, which will follow
            await asyncio.sleep(_PAUSE_SECONDS)
        return True

    def _begin_round(self) -> bool:
        with self._ledger.guard:
            missed = self._ledger.missed(self.until, self._inside)
            again, self._again = self._again, []
            names = dict.fromkeys([*again, *missed.names])
            self._round, self.until = deque(names), missed.serial
            self.is_behind = bool(names) and not self._has_ended
            return self.is_behind

    def _look_at(self, name: str, document: tuple[JsonObject, object] | None) -> None:
        state = self._ledger.get(name)
        if state is None:
            if name in self._inside:
                self._found.append(Change("deleted", self._inside.pop(name), 0, "external"))
            return
        if self._ledger.last_change(name) > self.until:
            # it comes in the next round
            return
        if document is None:
            # it cannot be read now; it is published once it can
            return
        record, content = document
        if content != state.content:
            self._again.append(name)
            return
        kind = self.kind(name, state.id, matches=self._condition.matches(record))
        if kind is not None:
            self._found.append(Change(kind, state.id, state.version, state.origin, metadata_copy(record)))


def metadata_copy(record: JsonObject) -> JsonObject:
    """Return a record's metadata, as a copy, since the writer of the record may hold it too."""
    metadata = metadata_of(record)
    return copy_value(metadata) if isinstance(metadata, dict) else {}
