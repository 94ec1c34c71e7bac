"""Reads that wait for something: for another thread, for the end of a batch, for an index that agrees with the files.

Joins the event loop and the reader threads. Invariants:
- The index is reconciled before its first use, and again whenever it has become stale or is another one. An answer
  counts only if the index is still the same afterwards.
- While the index file cannot be used, one in memory answers, which is reconciled again after every commit.
- A read of many documents never mixes the two sides of a batch; the counters tell whether one was put in place
  meanwhile.
- Whoever finds a batch half done, and nobody holding the lock, recovers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

from fsstore.errors import StorageError, StorageTimeoutError, StorageUnavailableError
from fsstore.filesystem.disk.system import unavailable
from fsstore.filesystem.index.connection import IndexDamagedError, IndexUnavailableError
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.reconcile import Steps
from fsstore.filesystem.log.counters import State
from fsstore.filesystem.open_store import OpenStore
from fsstore.interfaces import Progress
from fsstore.watching.changes import Absorbed

T = TypeVar("T")

_TRIES = 5
_ABSORBED_AT_ONCE, _CONFIRMED_AT_ONCE = 200, 5_000
_POLL_SECONDS = 0.0005
_POLLS_A_LOOK = 20
_TRY_SECONDS = 1.0


class Reading:
    """The waiting side of one open store."""

    def __init__(self, store: OpenStore) -> None:
        self._store = store
        self._root = str(store.tree.root)
        # for which the index is known to agree with the documents
        self._reconciled: _IndexState | None = None
        self._reconciling: asyncio.Task[None] | None = None
        self._rereading: Future[Any] | None = None
        # the counter `applying` for which it is known what waits for its place
        self.applied = -1
        self._next_try = 0.0

    # -- other threads ------------------------------------------------------------------------------------------------

    async def in_thread(self, run: Callable[[], T]) -> T:
        """Run a function in a reader thread. Raises StorageUnavailableError for what the system refuses."""
        try:
            return await self._store.readers.submit(run)
        except StorageError:
            raise
        except OSError as error:
            raise unavailable(error, self._root) from error

    async def under_lock(self, run: Callable[[], T]) -> T:
        """Run a function in the writer thread, under the store lock.

        A store that cannot be written has no writer: there its one reader thread, whose index it is, does it.
        """
        if self._store.writer is None:
            return await self.in_thread(run)
        return await asyncio.wrap_future(self._store.writer.call(run))

    def reread(self, names: Sequence[str]) -> None:
        """Have documents that are not what the index says read again, soon; called in any thread."""
        if self._store.writer is not None:
            self._rereading = self._store.writer.call(partial(self._store.reconciler.absorb, names))

    # -- the end of a batch -------------------------------------------------------------------------------------------

    async def await_applied(self, record_id: str | None = None) -> None:
        """Wait until the batch that is being put in place is whole; if its writer died, recover.

        Then it is known which documents wait for their places, and what waits was tried again to put in place: at once
        if the document of that id does, else once a second.
        """
        counters = self._store.counters
        seen = counters.applying()
        if seen & 1:
            await self._await(lambda: counters.applying() == seen)
            seen = counters.applying()
        if seen != self.applied:
            # what waits changes only while a batch, or a recovery, is being put in place
            if not self._store.recovery.waiting.is_known:
                await self.in_thread(self._store.recovery.waiting.look)
            self.applied = seen & ~1
        documents, now = self._store.documents, time.monotonic()
        is_asked_for = record_id is not None and documents.name(record_id) in documents.waiting
        if documents.waiting and self._store.writer is not None and (is_asked_for or now >= self._next_try):
            self._next_try = now + _TRY_SECONDS
            await self._place_waiting()

    async def _place_waiting(self) -> None:
        """Try again to put in place what waits: what was in the way may be gone."""
        # what goes wrong is said by whoever reads what still waits
        with suppress(StorageTimeoutError, StorageUnavailableError):
            await self.under_lock(self._store.recovery.run)

    async def recover_if_left(self) -> None:
        """Recover if a writer died in mid-commit; one that is alive is not waited for."""
        writer = self._store.writer
        if writer is not None and self._store.counters.read().unfinished and not writer.lock_is_held():
            # taking the lock is all it needs: whoever takes it recovers first
            await self.under_lock(lambda: None)

    async def _await_indexed(self) -> State:
        """Wait until what is committed has reached the index, and return the counters as they are then."""
        if self._rereading is not None and not self._rereading.done():
            # what was found to be outdated, and may have been told to a watcher; if it fails, no answer is wrong by it
            with suppress(StorageTimeoutError, StorageUnavailableError):
                await self.under_lock(lambda: None)
        counters, writer = self._store.counters, self._store.writer
        state = counters.read()
        if not state.indexing & 1 or writer is None:
            return state
        if writer.is_holding:
            # a call comes after all commits, and after the index has them
            await self.under_lock(lambda: None)
        else:
            # another process updates the index soon if that is requested
            with suppress(OSError):
                counters.increase("index_requests")
            await self._await(lambda: counters.read().indexing == state.indexing)
        return counters.read()

    async def _await(self, is_busy: Callable[[], bool]) -> None:
        timeout_seconds, writer = self._store.options.lock_timeout_seconds, self._store.writer
        loop = asyncio.get_running_loop()
        deadline, looks = loop.time() + timeout_seconds, 0
        while is_busy():
            looks += 1
            if looks % _POLLS_A_LOOK == 0 and writer is not None and not writer.lock_is_held():
                await self.under_lock(lambda: None)
                return
            if loop.time() >= deadline:
                raise StorageTimeoutError(
                    reason="the end of a commit", path=self._root, timeout_seconds=timeout_seconds
                )
            await asyncio.sleep(_POLL_SECONDS)

    # -- the index ----------------------------------------------------------------------------------------------------

    async def ask(self, work: Callable[[Index], T], *, whole: bool = False) -> T:
        """Let a reader thread ask the index, which is reconciled first if it is stale, and replaced if it is damaged.

        With `whole`, for what reads many documents, no batch is put in place meanwhile.
        """
        for _ in range(_TRIES):
            await self.await_applied()
            # before the index is awaited: a batch that is put in place after that need not be in it
            before = self._store.counters.applying()
            await self._reconcile_if_stale(await self._await_indexed())
            agreed = self._reconciled
            try:
                answer = await self._in_index(work)
            except (IndexDamagedError, IndexUnavailableError) as error:
                await self._replace_index(error)
            else:
                after = self._store.counters.read()
                is_whole = not whole or (after.applying == before and not before & 1)
                # the index may have been replaced just before it was asked
                if is_whole and self._index_state(after) == agreed:
                    return answer
        # one commit chases the other, or one trouble: nobody can commit meanwhile
        return await self._at_last(partial(self._caught_up, work))

    def _in_index(self, work: Callable[[Index], T]) -> Awaitable[T]:
        return self.in_thread(partial(self._store.index_file.use, work))

    async def _replace_index(self, error: IndexDamagedError | IndexUnavailableError) -> None:
        """Go on with a new file, or in memory where the file cannot be used."""
        try:
            if isinstance(error, IndexDamagedError):
                await self.under_lock(partial(self._store.index_file.renew, error))
                return
        except IndexUnavailableError as unusable:
            error = unusable
        self._store.index_file.fall_back(error)

    async def _at_last(self, run: Callable[[], T]) -> T:
        try:
            return await self.under_lock(run)
        except (IndexDamagedError, IndexUnavailableError) as error:
            raise StorageUnavailableError(reason=f"the index cannot be used: {error}", path=self._root) from error

    def _caught_up(self, work: Callable[[Index], T]) -> T:
        if self._reconciled != self._index_state(self._store.counters.read()):
            self._catch_up()
        return self._store.index_file.use(work)

    # -- reconciling --------------------------------------------------------------------------------------------------

    async def refresh(self, progress: Progress | None = None) -> Absorbed:
        """Compare every document with the index and absorb what differs."""
        self._store.index_file.try_file()
        self._next_try = 0.0
        await self.await_applied()
        await self._await_indexed()
        return await self._refresh(progress)

    async def _refresh(self, progress: Progress | None = None) -> Absorbed:
        counters = self._store.counters
        for _ in range(_TRIES):
            before = self._index_state(counters.read())
            try:
                absorbed = await self._compared(progress)
            except (IndexDamagedError, IndexUnavailableError) as error:
                await self._replace_index(error)
            else:
                if self._index_state(counters.read()) == before and not before.commits & 1:
                    self._reconciled = before
                    return absorbed
        return await self._at_last(self._catch_up)

    async def _compared(self, progress: Progress | None) -> Absorbed:
        absorbed, index_file, reconciler = Absorbed(), self._store.index_file, self._store.reconciler
        steps = Steps(progress)
        differing, confirmed, since_ns = await self._in_index(lambda index: reconciler.compare(index, steps.compared))
        for at in range(0, len(confirmed), _CONFIRMED_AT_ONCE):
            names = confirmed[at : at + _CONFIRMED_AT_ONCE]
            await self.under_lock(partial(reconciler.confirm, names, since_ns))
        for at in range(0, len(differing), _ABSORBED_AT_ONCE):
            absorbed.add(await self.under_lock(partial(reconciler.absorb, differing[at : at + _ABSORBED_AT_ONCE])))
            if progress is not None:
                await self.in_thread(partial(steps.read, -(-len(differing) // _ABSORBED_AT_ONCE)))
        if not await self._in_index(lambda index: index.get_meta("complete")):
            await self.under_lock(index_file.mark_complete)
        if index_file.has_idle_memory:
            await self.in_thread(index_file.forget_memory)
        return absorbed

    def _catch_up(self) -> Absorbed:
        """Reconcile in one go, as the holder of the store lock."""
        index_file, reconciler = self._store.index_file, self._store.reconciler
        state = self._index_state(self._store.counters.read())
        differing, confirmed, since_ns = index_file.use(reconciler.compare)
        reconciler.confirm(confirmed, since_ns)
        absorbed = reconciler.absorb(differing)
        self._reconciled = state
        return absorbed

    async def _reconcile_if_stale(self, state: State) -> None:
        """Have the index reconciled; callers that come together share one reconciliation."""
        if self._reconciled == self._index_state(state):
            return
        task = self._reconciling
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            task = self._reconciling = asyncio.create_task(self._reconcile())
            # its error is fetched here, since all who wait may have been cancelled
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        # shielded: one caller's cancellation must not end what others wait for
        await asyncio.shield(task)

    async def _reconcile(self) -> None:
        if self._reconciled is None and self._store.options.reconcile == "off":
            before = self._index_state(self._store.counters.read())
            with suppress(IndexDamagedError, IndexUnavailableError):
                if await self._in_index(lambda index: index.get_meta("complete")):
                    self._reconciled = before
                    return
        if self._reconciled is not None and self._reconciled.generation < 0:
            self._store.index_file.try_file()
        await self._refresh()

    def _index_state(self, state: State) -> _IndexState:
        # the file too, since the counters may have been removed together with the index, and begin anew
        index_file = self._store.index_file
        return _IndexState(state.stale, index_file.generation(), state.indexing if index_file.in_memory else 0)


class _IndexState(NamedTuple):
    """What changes when the index may no longer agree with the documents.

    Other processes write no index in memory, so there it is every commit that does it.
    """

    stale: int
    generation: int
    commits: int
