"""An index that agrees with the documents: reconciled where it is stale, and replaced where it is damaged.

Knows the state of the index for which that holds. Invariants:
- The index is reconciled before its first use, and again whenever it has become stale or is another one; whether an
  answer counts shows afterwards, since the index may have been replaced just before it was asked.
- While the index file cannot be used, one in memory answers, which is reconciled again after every commit.
- Callers that come together share one reconciliation, and the cancellation of one does not end it.
- A state counts as reconciled only if it was the same before the documents were compared, so that a commit, or another
  index, that came meanwhile is compared again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple, TypeVar

from fsstore.errors import StorageError, StorageUnavailableError
from fsstore.filesystem.index.connection import IndexDamagedError, IndexUnavailableError
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.reconcile import Steps
from fsstore.filesystem.log.counters import State
from fsstore.filesystem.open_store import OpenStore
from fsstore.filesystem.read.commit_waits import CommitWaits
from fsstore.filesystem.read.executor import Executor, LockBusyError, typed_errors
from fsstore.filesystem.read.first_index import MANY, make_index
from fsstore.interfaces import Progress
from fsstore.watching.changes import Absorbed

T = TypeVar("T")

_TRIES = 5
_ABSORBED_AT_ONCE, _CONFIRMED_AT_ONCE = 200, 5_000


class IndexState(NamedTuple):
    """What changes when the index may no longer agree with the documents.

    Other processes write no index in memory, so there it is every commit that does it, and what is shown of the log.
    """

    root: tuple[int, int]
    stale: int
    fallbacks: int
    generation: int
    commits: int
    shown: object

    @property
    def trusted(self) -> tuple[int, int, int]:
        """What changes when what was asked of the index was no answer."""
        return self.stale, self.fallbacks, self.generation


class FreshIndex:
    """The index of one open store, as reads ask it."""

    def __init__(self, store: OpenStore, executor: Executor, commits: CommitWaits) -> None:
        self._store = store
        self._root = str(store.tree.root)
        self._executor = executor
        self._commits = commits
        self.reconciled: IndexState | None = None
        """The state for which it is known to agree with the documents."""
        # whether it is believed as it was found; no more where a comparison has found what it lacks
        self._may_be_trusted = store.options.reconcile == "off"
        self._reconciling: asyncio.Task[None] | None = None

    def in_index(self, work: Callable[[Index], T]) -> Awaitable[T]:
        """Let a reader thread ask the index as it is. Raises IndexDamagedError, IndexUnavailableError."""
        return self._executor.in_thread(partial(self._store.index_file.use, work))

    # -- what an answer is held against -------------------------------------------------------------------------------

    def state(self, counters: State) -> IndexState:
        """Return the state of the index at the moment of these counters. Raises StorageUnavailableError."""
        # the file too, since the counters may have been removed together with the index, and begin anew
        index_file, overlay = self._store.index_file, self._store.overlay
        commits = counters.indexing if index_file.in_memory else 0
        if overlay is not None and overlay.is_abandoned:
            # whoever began that commit does not end it
            commits &= ~1
        shown = overlay.segments if overlay is not None else ()
        root = self._store.documents.root.check()
        return IndexState(root, counters.stale, index_file.fallbacks, index_file.generation(), commits, shown)

    def is_still(self, agreed: IndexState | None) -> bool:
        """Whether the index is still the one that agreed, and nothing has made it stale."""
        return self.state(self._store.counters.look()) == agreed

    def is_trusted(self, agreed: IndexState | None) -> bool:
        """Do the same, but do not mind commits that came since."""
        now = self.state(self._store.counters.look())
        return agreed is not None and now.trusted == agreed.trusted

    # -- before an answer ---------------------------------------------------------------------------------------------

    async def await_agreed(self) -> IndexState | None:
        """Wait until the index has what is committed and agrees with the documents, and return its state.

        Raises LockBusyError.
        """
        await self.reconcile_if_stale(await self._commits.await_indexed())
        return self.reconciled

    async def reconcile_if_stale(self, counters: State) -> None:
        """Have the index reconciled; callers that come together share one reconciliation."""
        if self.reconciled == self.state(counters):
            return
        task = self._reconciling
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            task = self._reconciling = asyncio.create_task(self._agree())
            # its error is fetched here, since all who wait may have been cancelled
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        # shielded: one caller's cancellation must not end what others wait for
        await asyncio.shield(task)

    async def look_again(self) -> None:
        """Look, from time to time, whether what could not be read can be by now, and have it indexed."""
        if not self._store.documents.unreadable.is_due():
            return
        # whoever asks gets an answer all the same
        with suppress(StorageError, IndexDamagedError, IndexUnavailableError, LockBusyError):
            names = await self.in_index(self._store.reconciler.look_again)
            for at in range(0, len(names), _ABSORBED_AT_ONCE):
                part = names[at : at + _ABSORBED_AT_ONCE]
                await self._executor.soon_under_lock(partial(self._store.reconciler.absorb, part))

    # -- under the lock -----------------------------------------------------------------------------------------------

    async def at_last(self, run: Callable[[], T]) -> T:
        """Do under the store lock what failed beside commits: one trouble chased the other. Raises LockBusyError."""
        try:
            return await self._executor.soon_under_lock(run)
        except (IndexDamagedError, IndexUnavailableError) as error:
            raise self.unusable(error) from error

    def caught_up(self, work: Callable[[Index], T]) -> T:
        """Ask the index as the holder of the store lock, reconciled if it is stale."""
        if self.reconciled != self.state(self._store.counters.read()):
            self._catch_up()
        return self._store.index_file.use(work)

    def _catch_up(self) -> Absorbed:
        """Reconcile in one go, as the holder of the store lock."""
        index_file, reconciler = self._store.index_file, self._store.reconciler
        state = self.state(self._store.counters.read())
        differing, confirmed, since_ns = index_file.use(reconciler.compare)
        reconciler.confirm(confirmed, since_ns)
        absorbed = reconciler.absorb(differing)
        self.reconciled = state
        return absorbed

    # -- an index that cannot be used ---------------------------------------------------------------------------------

    async def replace(self, error: IndexDamagedError | IndexUnavailableError) -> None:
        """Go on with a new file, or in memory where the file cannot be used. Raises LockBusyError."""
        try:
            if isinstance(error, IndexDamagedError):
                await self._executor.soon_under_lock(partial(self._store.index_file.renew, error))
                return
        except (IndexDamagedError, IndexUnavailableError) as unusable:
            # the new one, too
            error = unusable
        try:
            self._store.index_file.fall_back(error)
        except (IndexDamagedError, IndexUnavailableError) as unusable:
            raise self.unusable(unusable) from unusable

    def unusable(self, error: Exception) -> StorageUnavailableError:
        """Return the error of a store of which neither the file nor memory holds an index."""
        return StorageUnavailableError(reason=f"the index cannot be used: {error}", path=self._root)

    # -- reconciling --------------------------------------------------------------------------------------------------

    async def refresh(self, progress: Progress | None = None) -> Absorbed:
        """Compare every document with the index and absorb what differs."""
        with typed_errors(self._root):
            self._store.index_file.try_file()
            await self._commits.await_applied(at_once=True)
            try:
                await self._commits.await_indexed()
                return await self.reconcile(progress)
            except LockBusyError:
                # what is found is in the copy alone, so the file must not answer before it has that too
                self.reconciled, self._may_be_trusted = None, False
                catch_up = partial(self._store.private_index.catch_up, None, Steps(progress))
                return await self._executor.in_thread(catch_up)

    async def _agree(self) -> None:
        """Reconcile, but not what the options let be trusted, and with another try of the file in place of memory."""
        if self.reconciled is None and self._may_be_trusted:
            before = self.state(self._store.counters.read())
            with suppress(IndexDamagedError, IndexUnavailableError):
                # what a writer that died has left to recovery is not in it
                if await self.in_index(lambda index: index.get_meta("complete")) == str(before.stale):
                    self.reconciled = before
                    return
        if self.reconciled is not None and self.reconciled.generation < 0:
            self._store.index_file.try_file()
        await self.reconcile()

    async def reconcile(self, progress: Progress | None = None) -> Absorbed:
        """Compare every document with the index as it is, again if commits come between. Raises LockBusyError."""
        self._executor.check_holder()
        counters = self._store.counters
        if self._store.writer is None:
            before = self.state(counters.read())
            absorbed = await self._compared(progress)
            self.reconciled = before
            return absorbed
        absorbed = Absorbed()
        for _ in range(_TRIES):
            before = self.state(counters.read())
            try:
                absorbed.add(await self._compared(progress))
            except (IndexDamagedError, IndexUnavailableError) as error:
                await self.replace(error)
            else:
                if self.state(counters.read()) == before and not before.commits & 1:
                    self.reconciled = before
                    return absorbed
                progress = None
        absorbed.add(await self.at_last(self._catch_up))
        return absorbed

    async def _compared(self, progress: Progress | None) -> Absorbed:
        absorbed, index_file, reconciler = Absorbed(), self._store.index_file, self._store.reconciler
        steps, generation, stale = Steps(progress), index_file.generation(), self._store.counters.read().stale
        differing, confirmed, since_ns = await self.in_index(lambda index: reconciler.compare(index, steps.compared))
        if len(differing) >= MANY:
            made = await make_index(self._executor, self._store, generation, differing, steps)
            if made is not None:
                # there is another index now, and it is compared in its turn
                return Absorbed(changed=made)
        for at in range(0, len(confirmed), _CONFIRMED_AT_ONCE):
            names = confirmed[at : at + _CONFIRMED_AT_ONCE]
            await self._executor.changing_index(partial(reconciler.confirm, names, since_ns))
        for at in range(0, len(differing), _ABSORBED_AT_ONCE):
            names = differing[at : at + _ABSORBED_AT_ONCE]
            absorbed.add(await self._executor.changing_index(partial(reconciler.absorb, names)))
            if progress is not None:
                await self._executor.in_thread(partial(steps.read, -(-len(differing) // _ABSORBED_AT_ONCE)))
        if await self.in_index(lambda index: index.get_meta("complete")) != str(stale):
            # whoever trusts it as it is can wait for that
            with suppress(LockBusyError, IndexUnavailableError):
                await self._executor.changing_index(partial(index_file.mark_complete, generation, stale))
        if index_file.has_idle_memory:
            await self._executor.in_thread(index_file.forget_memory)
        return absorbed
