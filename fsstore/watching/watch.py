"""Giving watchers what changes: a watch, and its bounded queue.

A backend publishes every change to a `Ledger`; every `Watch` on it receives it at once and gives it to the caller that
iterates. No I/O here: what a watch must know of documents it requests from its `ChangeSource`.

Invariants:
- A watch gives each change once, as what it is for the watcher (`CatchUp.kind`).
- A queue that is full is dropped, and the watch is behind: then it gives a `Gap`, and catches up. Memory is bounded by
  the queue, and one entry a document.

Who publishes and who iterates may be different threads: the guard of the ledger stands before everything that both
touch.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple, Self

from fsstore.errors import StorageClosedError, StorageValidationError
from fsstore.loops import check_loop
from fsstore.model.records import Filters, JsonObject
from fsstore.model.times import canonical_time
from fsstore.query.conditions import Condition
from fsstore.query.plan import asks_documents
from fsstore.watching.catch_up import CatchUp, metadata_copy
from fsstore.watching.changes import Change, Gap, Origin
from fsstore.watching.ledger import KnownState
from fsstore.watching.source import ChangeSource

MAX_QUEUED = 10_000


class _Received(NamedTuple):
    """A change on its way to a watcher."""

    serial: int
    name: str
    state: KnownState
    origin: Origin
    matches: bool
    metadata: JsonObject


class Watch:
    """The changes of a store, for `async for`; give it up with `aclose`, or use it with `async with`.

    Watching begins with `async with`, with `started`, or with the first iteration, and what changes from then on is
    reported. It ends, without an error, when the store is closed, also where that was before the first iteration; only
    `async with` and `started` raise StorageClosedError then. One task at a time may iterate over a watch.
    """

    def __init__(
        self,
        source: ChangeSource,
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
        self._source = source
        self._ledger = source.ledger
        self._condition = condition
        self.asks_documents = asks_documents(condition)
        self._filters = filters
        self._since = None if since is None else canonical_time(since, "since", None)
        self._max_queued = max_queued
        # how the metadata of a document is given, with its id
        self.show: Callable[[str, JsonObject], JsonObject] | None = None
        self._process = os.getpid()
        self._has_started = False
        self._ended: BaseException | None = None
        self._queue: deque[_Received] = deque()
        self._dropped = 0
        self._catch_up = CatchUp(source, condition)
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None

    # -- iterating ----------------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change | Gap:
        """Return the next change, or a `Gap`; waits for it."""
        try:
            return await self._next()
        except StorageClosedError as closed:
            if closed.reason is not None:
                # it says what the caller can do, as in a child of fork
                raise
            await self.aclose()
            raise StopAsyncIteration from closed

    async def _next(self) -> Change | Gap:
        await self.started()
        while True:
            self._check()
            with self._ledger.guard:
                news: Change | Gap | None = self._next_received()
            if news is None and self._catch_up.is_behind and self._ended is None:
                news = self._gap() or await self._catch_up.next()
            if news is not None:
                return self._shown(news)
            if self._ended is not None:
                await self.aclose()
                self._check()
                raise StopAsyncIteration
            await self._wait()

    async def started(self) -> None:
        """Wait until watching has begun: changes from now on are reported. O(documents that match)."""
        check_loop()
        self._check()
        if self._has_started:
            return
        await self._source.ready()
        self._catch_up.until = self._ledger.subscribe(self)
        self._check()
        try:
            await self._catch_up.begin(self._filters, self._since)
        except BaseException:
            self._ledger.unsubscribe(self)
            raise
        self._has_started = True

    async def aclose(self) -> None:
        """Receive nothing any more; a caller that waits for a change gets the end."""
        if self._process != os.getpid():
            # callers that wait do so in the parent
            return
        self._ledger.unsubscribe(self)
        with self._ledger.guard:
            self._queue.clear()
            self.end(StorageClosedError(path=self._ledger.place))

    async def __aenter__(self) -> Self:
        await self.started()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _check(self) -> None:
        if self._process != os.getpid():
            # the threads that publish did not come along
            raise StorageClosedError(
                path=self._ledger.place,
                reason="this process was forked from the one that watches",
                advice="call watch() again in this process",
            )
        if self._ended is not None and not isinstance(self._ended, StorageClosedError):
            raise self._ended

    # -- receiving; called with the guard, by the publisher ---------------------------------------------------------

    def receive(self, serial: int, name: str, state: KnownState, origin: Origin, record: JsonObject | None) -> None:
        """Take a change of the ledger in; `record` None means that the document is gone."""
        if self._catch_up.is_behind or self._ended is not None:
            return
        if len(self._queue) >= self._max_queued:
            self._dropped = len(self._queue) + 1
            self._queue.clear()
            self._catch_up.is_behind = True
        else:
            matches = record is not None and self._condition.matches(record)
            metadata = {} if record is None else metadata_copy(record)
            self._queue.append(_Received(serial, name, state, origin, matches, metadata))
        self._wake()

    def end(self, reason: BaseException) -> None:
        """Give what is queued, and then no more."""
        self._ended = self._ended or reason
        self._catch_up.end()
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
            if self._queue or self._catch_up.is_behind or self._ended is not None:
                return
            self._waiting = loop, future
        try:
            await future
        finally:
            self._waiting = None

    # -- giving -------------------------------------------------------------------------------------------------------

    def _next_received(self) -> Change | None:
        while self._queue:
            received = self._queue.popleft()
            state = received.state
            self._catch_up.until = received.serial
            kind = self._catch_up.kind(received.name, state.id, matches=received.matches)
            if kind is not None:
                return Change(kind, state.id, state.version, received.origin, received.metadata)
        return None

    def _shown(self, news: Change | Gap) -> Change | Gap:
        if self.show is None or isinstance(news, Gap) or news.kind == "deleted":
            return news
        return replace(news, metadata=self.show(news.id, news.metadata))

    def _gap(self) -> Gap | None:
        dropped, self._dropped = self._dropped, 0
        return Gap(dropped) if dropped else None


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
