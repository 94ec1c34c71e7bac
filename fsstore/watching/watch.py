"""Giving watchers what changes: a watch, its bounded queue, and how it catches up.

A backend puts every change into a `Ledger`; every `Watch` on it hears of it at once and gives it to whoever iterates.
No I/O here: what a watch has to ask of the documents it asks its `Watched`.

Invariants:
- A watch gives each change once. Whether it is a creation, an update or a deletion is decided when it is given, by
  whether the watch has given the document before (`_inside`).
- A queue that is full is dropped, and the watch is behind: then it gives a `Gap`, and what the ledger says has changed
  since the last change that it gave, document by document, until it has caught up. Memory is bounded by the
  queue, and one entry a document.

Who tells and who iterates may be different threads: the guard of the ledger stands before everything that both touch.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple, Protocol, Self

from fsstore.errors import StorageClosedError, StorageValidationError
from fsstore.model.records import Filters, JsonObject
from fsstore.model.times import canonical_time
from fsstore.model.values import copy_value
from fsstore.query.columns import metadata_of
from fsstore.query.conditions import Condition
from fsstore.watching.changes import Change, Gap, Kind, Origin
from fsstore.watching.ledger import Ledger, Told

MAX_QUEUED = 10_000

_CHUNK = 100
_PAUSE_SECONDS = 0.02


class _Heard(NamedTuple):
    """A change on its way to a watcher; `metadata` None means that the document does not match."""

    serial: int
    name: str
    id: str
    version: int
    origin: Origin
    metadata: JsonObject | None
    left: JsonObject


class Watched(Protocol):
    """What a watch asks of its backend."""

    @property
    def ledger(self) -> Ledger:
        """Where its changes are told."""

    async def ready(self) -> None:
        """Wait until the ledger knows every document."""

    async def inside(self, filters: Filters) -> dict[str, str]:
        """Return the ids of the documents that match, by name."""

    async def updated(self, filters: Filters) -> list[str]:
        """Return the names of the documents that match, the one that was updated longest ago first."""

    async def read(self, names: list[str]) -> dict[str, tuple[JsonObject, object]]:
        """Return record and content (as in `Told`) of those documents that can be read."""


class Watch:
    """The changes of a store, for `async for`; give it up with `aclose`, or use it with `async with`.

    Watching begins with `async with`, with `started`, or with the first iteration, and what changes from then on is
    told. It ends, without an error, when the store is closed. Of one watch one task at a time may ask for the next.
    """

    def __init__(
        self,
        watched: Watched,
        condition: Condition,
        filters: Filters,
        since: datetime | str | None,
        *,
        max_queued: int = MAX_QUEUED,
    ) -> None:
        if type(max_queued) is not int or max_queued < 1:
            raise StorageValidationError(
                reason=f"must be a positive whole number, not {max_queued!r}", path="max_queued"
            )
        self._watched = watched
        self._ledger = watched.ledger
        self._condition = condition
        self._filters = filters
        self._since = _moment(since)
        self._max_queued = max_queued
        self._process = os.getpid()
        self._has_started = False
        self._ended: BaseException | None = None
        # ids by name of what the watcher knows to match
        self._inside: dict[str, str] = {}
        self._queue: deque[_Heard] = deque()
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None
        # of a watch that is behind: what was dropped, what is to be looked at, and what has been found
        self._is_behind = True
        self._dropped = 0
        self._round: deque[str] = deque()
        self._until = 0
        self._again: list[str] = []
        self._found: deque[Change] = deque()

    # -- iterating ----------------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change | Gap:
        """Return the next change, or a `Gap`; waits for it."""
        await self.started()
        while True:
            self._check()
            with self._ledger.guard:
                news: Change | Gap | None = self._next_heard()
            if news is None and self._is_behind and self._ended is None:
                news = await self._next_missed()
            if news is not None:
                return news
            if self._ended is not None:
                await self.aclose()
                self._check()
                raise StopAsyncIteration
            await self._wait()

    async def started(self) -> None:
        """Wait until watching has begun: changes from now on are told. O(documents that match)."""
        self._check()
        if self._has_started:
            return
        await self._watched.ready()
        self._until = self._ledger.join(self)
        self._check()
        try:
            if self._since is None:
                self._inside = await self._watched.inside(self._filters)
                await self._settle()
            else:
                known = {"$and": [self._filters, {"created_at": {"$lt": self._since}}]}
                wanted = {"$and": [self._filters, {"updated_at": {"$gte": self._since}}]}
                self._inside = await self._watched.inside(known)
                self._round = deque(await self._watched.updated(wanted))
        except BaseException:
            self._ledger.leave(self)
            raise
        self._has_started = True

    async def aclose(self) -> None:
        """Hear of nothing any more; whoever waits for a change gets the end."""
        self._ledger.leave(self)
        with self._ledger.guard:
            self._queue.clear()
            self._round.clear()
            self._is_behind = False
            self.end(StorageClosedError(path=self._ledger.place))

    async def __aenter__(self) -> Self:
        await self.started()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _check(self) -> None:
        if self._process != os.getpid():
            # the threads that would tell it anything did not come along
            raise StorageClosedError(path=self._ledger.place)
        if self._ended is not None and not isinstance(self._ended, StorageClosedError):
            raise self._ended

    # -- hearing; called with the guard, by whoever tells -------------------------------------------------------------

    def hear(self, serial: int, name: str, told: Told, origin: Origin, record: JsonObject | None) -> None:
        """Take a change of the ledger in; `record` None means that the document is gone."""
        if self._is_behind or self._ended is not None:
            return
        if len(self._queue) >= self._max_queued:
            self._dropped = len(self._queue) + 1
            self._queue.clear()
            self._is_behind = True
        else:
            matches = record is not None and self._condition.matches(record)
            metadata = {} if record is None else _metadata(record)
            self._queue.append(
                _Heard(serial, name, told.id, told.version, origin, metadata if matches else None, metadata)
            )
        self._wake()

    def end(self, reason: BaseException) -> None:
        """Give what is queued, and then no more."""
        self._ended = self._ended or reason
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            with suppress(RuntimeError):
                # a loop that was closed has nobody who waits
                waiting[0].call_soon_threadsafe(_resolve, waiting[1])

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        with self._ledger.guard:
            if self._queue or self._is_behind or self._ended is not None:
                return
            self._waiting = loop, future
        try:
            await future
        finally:
            self._waiting = None

    # -- giving -------------------------------------------------------------------------------------------------------

    def _next_heard(self) -> Change | None:
        while self._queue:
            heard = self._queue.popleft()
            self._until = heard.serial
            kind = self._kind(heard.name, heard.id, matches=heard.metadata is not None)
            if kind is not None:
                return Change(kind, heard.id, heard.version, heard.origin, heard.left)
        return None

    def _kind(self, name: str, record_id: str, *, matches: bool) -> Kind | None:
        was_inside = name in self._inside
        if matches:
            self._inside[name] = record_id
            return "updated" if was_inside else "created"
        if was_inside:
            del self._inside[name]
            return "deleted"
        return None

    # -- catching up --------------------------------------------------------------------------------------------------

    async def _next_missed(self) -> Change | Gap | None:
        """Return what comes next of what was missed; None when the watch has caught up."""
        if self._dropped:
            gap, self._dropped = Gap(self._dropped), 0
            return gap
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
        names = [self._round[at] for at in range(min(_CHUNK, len(self._round)))]
        # a cancelled reader looks at them once more
        documents = await self._watched.read(names)
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
            missed = self._ledger.missed(self._until, self._inside)
            again, self._again = self._again, []
            names = dict.fromkeys([*again, *missed.names])
            self._round, self._until = deque(names), missed.serial
            self._is_behind = bool(names) and self._ended is None
            return self._is_behind

    def _look_at(self, name: str, document: tuple[JsonObject, object] | None) -> None:
        told = self._ledger.get(name)
        if told is None:
            if name in self._inside:
                self._found.append(Change("deleted", self._inside.pop(name), 0, "external"))
            return
        if self._ledger.last_change(name) > self._until:
            # it comes in the next round
            return
        if document is None:
            # it can not be read now; the ledger will say when it can
            return
        record, content = document
        if content != told.content:
            self._again.append(name)
            return
        kind = self._kind(name, told.id, matches=self._condition.matches(record))
        if kind is not None:
            self._found.append(Change(kind, told.id, told.version, told.origin, _metadata(record)))


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _metadata(record: JsonObject) -> JsonObject:
    metadata = metadata_of(record)
    # a copy, since whoever wrote the record may hold it too
    return copy_value(metadata) if isinstance(metadata, dict) else {}


def _moment(since: datetime | str | None) -> str | None:
    """Return a moment as records have it. Raises StorageValidationError for what is no time."""
    return None if since is None else canonical_time(since, "since", None)
