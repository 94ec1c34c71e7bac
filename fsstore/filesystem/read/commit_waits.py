"""Waits of reads for commits: for the end of a batch, and for what is committed to reach the index.

Invariants:
- Nobody reads past a batch that is being put in place, as long as its writer lives: `await_applied` is due first.
- Whoever finds a batch half done, and nobody holding the lock, recovers; who may not write reads the log (`overlay`).
- Counters that somebody has removed are opened anew, by whoever takes the lock, before they count.
- What cannot be put in its place is tried again: at once by whoever asks for it, else once a second.
- Nobody waits longer than for the lock; for the index only a moment (`LockBusyError`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from fsstore.errors import StorageTimeoutError, StorageUnavailableError
from fsstore.filesystem.disk.system import unavailable
from fsstore.filesystem.log.counters import UNNAMED, State
from fsstore.filesystem.log.overlay import Moment, Overlay
from fsstore.filesystem.open_store import OpenStore
from fsstore.filesystem.read.executor import Executor, LockBusyError, typed_errors

_POLL_SECONDS = 0.0005
_POLLS_A_LOOK = 20
_TRY_SECONDS = 1.0


class CommitWaits:
    """The waits of one open store."""

    def __init__(self, store: OpenStore, executor: Executor) -> None:
        self._store = store
        self._root = str(store.tree.root)
        self._executor = executor
        self._rereading: Future[Any] | None = None
        # the counter `applying` for which it is known what waits for its place
        self._applied = -1
        self._next_try = 0.0

    def reread(self, names: Sequence[str]) -> None:
        """Have documents that are not what the index says read again, soon; called in any thread."""
        if self._store.writer is not None:
            self._rereading = self._store.writer.tidy(partial(self._store.reconciler.absorb, names))

    # -- the end of a batch -------------------------------------------------------------------------------------------

    def is_unsettled(self) -> bool:
        """Whether `await_applied` is due before anything is read."""
        overlay = self._store.overlay
        try:
            if overlay is None:
                return self._store.counters.applying() != self._applied or bool(self._store.documents.waiting)
            return not overlay.is_quiet or not self._store.recovery.waiting.is_known
        except OSError as error:
            raise unavailable(error, self._root) from error

    async def await_applied(self, record_id: str | None = None, *, at_once: bool = False) -> None:
        """Wait until the batch that is being put in place is whole; if its writer died, recover, or read the log.

        Then it is known which documents wait for their places, and what waits was tried again to put in place: if the
        document of that id does, or with `at_once`, then at once, else once a second.
        """
        if at_once:
            self._next_try = 0.0
        with typed_errors(self._root):
            if self._store.overlay is not None:
                await self.await_settled(self._store.overlay)
            else:
                await self._await_even()
            applying = self._store.counters.applying()
            if applying != self._applied or not self._store.recovery.waiting.is_known:
                # what waits changes only while a batch, or a recovery, is being put in place
                if not self._store.recovery.waiting.is_known:
                    await self._executor.in_thread(self._store.recovery.waiting.look)
                self._applied = applying & ~1
            if self._is_try_due(record_id):
                self._next_try = time.monotonic() + _TRY_SECONDS
                await self._place_waiting()

    async def await_settled(self, overlay: Overlay) -> Moment:
        """Wait until what a living writer puts in place is whole; what a dead one has left is read from the log."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._store.options.lock_timeout_seconds
        while (moment := await self._executor.in_thread(overlay.look)) is None:
            if loop.time() >= deadline:
                raise self._timeout()
            await asyncio.sleep(_POLL_SECONDS)
        return moment

    async def recover_if_left(self) -> None:
        """Recover if a writer died in mid-commit; one that is alive is not waited for."""
        writer = self._store.writer
        with typed_errors(self._root):
            if writer is not None and self._store.counters.look().unfinished and not writer.lock_is_held():
                # taking the lock is all it needs: whoever takes it recovers first
                await self._executor.under_lock(lambda: None)

    async def _await_even(self) -> None:
        applying = self._store.counters.applying
        while (seen := applying()) & 1:
            if seen == UNNAMED:
                await self._renew_counters()
                continue
            if not await self._await_end(
                lambda seen=seen: applying() == seen,  # type: ignore[misc]
                self._store.options.lock_timeout_seconds,
            ):
                raise self._timeout()
            if applying() != UNNAMED:
                return

    async def _renew_counters(self) -> None:
        """Have counters opened anew that somebody has removed: whoever takes the lock does that, in its turn.

        Who cannot write opens what is there.
        """
        if self._store.writer is None:
            await self._executor.in_thread(self._store.counters.open)
        else:
            await self._executor.under_lock(lambda: None)

    def _is_try_due(self, record_id: str | None) -> bool:
        documents = self._store.documents
        if not documents.waiting or self._store.writer is None:
            return False
        is_asked_for = record_id is not None and documents.name(record_id) in documents.waiting
        return is_asked_for or time.monotonic() >= self._next_try

    async def _place_waiting(self) -> None:
        """Try again to put in place what waits: what was in the way may be gone."""
        # what goes wrong is said by whoever reads what still waits
        with suppress(LockBusyError, StorageTimeoutError, StorageUnavailableError):
            await self._executor.soon_under_lock(self._store.recovery.run)

    # -- what has reached the index -----------------------------------------------------------------------------------

    async def await_indexed(self) -> State:
        """Wait until what is committed has reached the index, and return the counters as they are then.

        Raises LockBusyError.
        """
        if self._rereading is not None and not self._rereading.done():
            # what was found to be outdated; a watcher may have had it reported. If this fails, no answer is wrong by it
            with suppress(StorageTimeoutError, StorageUnavailableError):
                await self._executor.soon_under_lock(lambda: None)
        counters, writer = self._store.counters, self._store.writer
        state = counters.look()
        if state.indexing == UNNAMED:
            await self._renew_counters()
            state = counters.look()
        if not state.indexing & 1 or writer is None:
            return state
        if writer.is_holding:
            # a call comes after all commits, and after the index has them
            await self._executor.soon_under_lock(lambda: None)
        else:
            self._executor.check_holder()
            # another process updates the index soon if that is requested
            with suppress(OSError):
                counters.increase("index_requests")
            moment_seconds = self._executor.moment_seconds
            if not await self._await_end(lambda: counters.look().indexing == state.indexing, moment_seconds):
                raise self._executor.busy_holder()
        state = counters.look()
        # removed while they were waited for
        return await self.await_indexed() if state.indexing == UNNAMED else state

    async def _await_end(self, is_busy: Callable[[], bool], timeout_seconds: float) -> bool:
        """Wait for a commit of somebody's, and recover where its writer has died; False if it took too long."""
        loop, writer = asyncio.get_running_loop(), self._store.writer
        deadline, looks = loop.time() + timeout_seconds, 0
        while is_busy():
            looks += 1
            is_late = loop.time() >= deadline
            # however little time there is: what a dead writer has begun ends by itself in none
            if (is_late or looks % _POLLS_A_LOOK == 0) and writer is not None and not writer.lock_is_held():
                await self._executor.under_lock(lambda: None)
                return True
            if is_late:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True

    def _timeout(self) -> StorageTimeoutError:
        timeout_seconds = self._store.options.lock_timeout_seconds
        return StorageTimeoutError(reason="the end of a commit", path=self._root, timeout_seconds=timeout_seconds)
