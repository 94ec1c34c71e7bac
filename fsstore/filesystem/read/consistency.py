"""Reads that wait for something: for another thread, for the end of a batch, for an index that agrees with the files.

Joins the event loop and the reader threads. Invariants:
- The index is reconciled before its first use, and again whenever it has become stale or is another one. An answer
  counts only if the index is still the same afterwards.
- While the index file can not be used, one in memory answers, which is reconciled again after every commit.
- A read of many documents never mixes the two sides of a batch; the counters tell whether one was put in place
  meanwhile.
- Whoever finds a batch half done, and nobody holding the lock, recovers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

from fsstore.errors import StorageError, StorageTimeoutError, StorageUnavailableError
from fsstore.filesystem.disk.system import unavailable
from fsstore.filesystem.index.connection import IndexDamagedError, IndexUnavailableError
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.reconcile import Steps
from fsstore.filesystem.open_store import OpenStore
from fsstore.interfaces import Progress
from fsstore.watching.changes import Absorbed

T = TypeVar("T")

_TRIES = 5
_ABSORBED_AT_ONCE, _CONFIRMED_AT_ONCE = 200, 5_000
_POLL_SECONDS = 0.0005
_POLLS_A_LOOK = 20


class Reading:
    """The waiting side of one open store."""

    def __init__(self, store: OpenStore) -> None:
        self._store = store
        self._root = str(store.tree.root)
        # for which the index is known to agree with the documents
        self._reconciled: _IndexState | None = None
        self._reconciling: asyncio.Task[None] | None = None
        self._rereading: Future[Any] | None = None

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

        A store that can not be written has no writer: there its one reader thread, whose index it is, does it.
        """
        if self._store.writer is None:
            return await self.in_thread(run)
        return await asyncio.wrap_future(self._store.writer.call(run))

    def reread(self, names: Sequence[str]) -> None:
        """Have documents that are not what the index says read again, soon; called in any thread."""
        if self._store.writer is not None:
            self._rereading = self._store.writer.call(partial(self._store.reconciler.absorb, names))

    # -- the end of a batch -------------------------------------------------------------------------------------------

    async def await_applied(self) -> None:
        """Wait until the batch that is being put in place is whole; if its writer died, recover."""
        seen = self._store.counters.applying()
        await self._await(lambda: bool(seen & 1) and self._store.counters.applying() == seen)

    async def recover_if_left(self) -> None:
        """Recover if a writer died in mid-commit; one that is alive is not waited for."""
        writer = self._store.writer
        if writer is not None and self._store.counters.read().unfinished and not writer.lock_is_held():
            # taking the lock is all it needs: whoever takes it recovers first
            await self.under_lock(lambda: None)

    async def _await_indexed(self) -> None:
        """Wait until what is committed has reached the index."""
        if self._rereading is not None and not self._rereading.done():
            # what was found to be outdated, and may have been told to a watcher; if it fails, no answer is wrong by it
            with suppress(StorageTimeoutError, StorageUnavailableError):
                await self.under_lock(lambda: None)
        seen, writer = self._store.counters.read().indexing, self._store.writer
        if not seen & 1 or writer is None:
            return
        if writer.is_holding:
            # a call comes after all commits, and after the index has heard of them
            await self.under_lock(lambda: None)
            return
        # another process lets the index know soon if it is asked
        with suppress(OSError):
            self._store.counters.increase("index_requests")
        await self._await(lambda: self._store.counters.read().indexing == seen)

    async def _await(self, is_busy: Callable[[], bool]) -> None:
        timeout_seconds = self._store.options.lock_timeout_seconds
        loop = asyncio.get_running_loop()
        deadline, looks = loop.time() + timeout_seconds, 0
        while is_busy():
            looks += 1
            if looks % _POLLS_A_LOOK == 0 and self._store.writer is not None and not self._store.writer.lock_is_held():
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
            if whole:
                await self.await_applied()
            before = self._store.counters.applying()
            await self._await_indexed()
            await self._indexed()
            agreed = self._reconciled
            try:
                answer = await self._in_index(work)
            except IndexDamagedError as error:
                await self._renew(error)
            except IndexUnavailableError as error:
                self._store.index_file.fall_back(error)
            else:
                is_whole = not whole or self._store.counters.applying() == before & ~1
                # the index may have been replaced just before it was asked
                if is_whole and self._index_state() == agreed:
                    return answer
        return await self._at_once(work)

    async def _at_once(self, work: Callable[[Index], T]) -> T:
        """Reconcile and ask while nobody can commit, since one commit chases the other, or one trouble."""

        def under_lock() -> T:
            if self._reconciled != self._index_state():
                self._catch_up()
            return self._store.index_file.use(work)

        with self._telling():
            return await self.under_lock(under_lock)

    async def _in_index(self, work: Callable[[Index], T]) -> T:
        return await self.in_thread(lambda: self._store.index_file.use(work))

    async def _renew(self, error: IndexDamagedError) -> None:
        try:
            await self.under_lock(partial(self._store.index_file.renew, error))
        except IndexUnavailableError as unavailable:
            self._store.index_file.fall_back(unavailable)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (IndexDamagedError, IndexUnavailableError) as error:
            raise StorageUnavailableError(reason=f"the index can not be used: {error}", path=self._root) from error

    # -- reconciling --------------------------------------------------------------------------------------------------

    async def refresh(self, progress: Progress | None = None) -> Absorbed:
        """Compare every document with the index and absorb what differs."""
        self._store.index_file.try_file()
        await self._await_indexed()
        return await self._refresh(progress)

    async def _refresh(self, progress: Progress | None = None) -> Absorbed:
        for _ in range(_TRIES):
            before = self._index_state()
            try:
                absorbed = await self._compared(progress)
            except IndexDamagedError as error:
                await self._renew(error)
            except IndexUnavailableError as error:
                self._store.index_file.fall_back(error)
            else:
                if self._index_state() == before and not before.commits & 1:
                    self._reconciled = before
                    return absorbed
        with self._telling():
            return await self.under_lock(self._catch_up)

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
        state = self._index_state()
        differing, confirmed, since_ns = index_file.use(reconciler.compare)
        reconciler.confirm(confirmed, since_ns)
        absorbed = reconciler.absorb(differing)
        self._reconciled = state
        return absorbed

    async def _indexed(self) -> None:
        """Have the index reconciled; callers that come together share one reconciliation."""
        if self._reconciled == self._index_state():
            return
        task = self._reconciling
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            task = self._reconciling = asyncio.create_task(self._reconcile())
            # heard here, since all who wait may have been cancelled
            task.add_done_callback(_hear)
        # shielded: one caller's cancellation must not end what others wait for
        await asyncio.shield(task)

    async def _reconcile(self) -> None:
        if self._reconciled is None and self._store.options.reconcile == "off":
            before = self._index_state()
            with suppress(IndexDamagedError, IndexUnavailableError):
                if await self._in_index(lambda index: index.get_meta("complete")):
                    self._reconciled = before
                    return
        if self._reconciled is not None and self._reconciled.generation < 0:
            self._store.index_file.try_file()
        await self._refresh()

    def _index_state(self) -> _IndexState:
        # the file too, since the counters may have been removed together with the index, and begin anew
        counters, index_file = self._store.counters.read(), self._store.index_file
        return _IndexState(counters.stale, index_file.generation(), counters.indexing if index_file.in_memory else 0)


class _IndexState(NamedTuple):
    """What changes when the index may no longer agree with the documents.

    Other processes write no index in memory, so there it is every commit that does it.
    """

    stale: int
    generation: int
    commits: int


def _hear(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
