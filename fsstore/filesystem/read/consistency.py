"""Reads that ask the index: from its file, from a copy in memory where the lock is not to be had, or from the log.

Puts together where a read runs (`executor`), what it waits for (`commit_waits`), and an index that agrees with the
files (`fresh_index`). Invariants:
- An answer counts only if the index is still the same afterwards, and the store still at its path: one that is gone
  raises.
- Nobody waits long for the store lock to ask the index: where that must be written first, or lacks what is committed,
  and the holder of the lock does not let go in a moment, a copy in memory answers (`private_index`).
- A read of many documents never mixes the two sides of a batch (`isolation`).
- Who may not write asks an index in memory, and begins anew until what is shown of the log has not changed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from fsstore.errors import StorageTimeoutError
from fsstore.filesystem.index.connection import IndexDamagedError, IndexUnavailableError
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.log.counters import even
from fsstore.filesystem.log.overlay import Overlay
from fsstore.filesystem.open_store import OpenStore
from fsstore.filesystem.read.commit_waits import CommitWaits
from fsstore.filesystem.read.executor import Executor, LockBusyError, typed_errors
from fsstore.filesystem.read.fresh_index import FreshIndex
from fsstore.filesystem.read.isolation import Isolation, OutdatedError, Undisturbed

T = TypeVar("T")

_TRIES = 5


class Reading:
    """The reads of one open store that ask its index, and what they are made of."""

    def __init__(self, store: OpenStore) -> None:
        self._store = store
        self._root = str(store.tree.root)
        self.executor = Executor(store)
        self.commits = CommitWaits(store, self.executor)
        self.fresh_index = FreshIndex(store, self.executor, self.commits)
        # the counters when the copy in memory was last compared, while a commit was under way
        self._private_moment: object = None

    async def ask(self, work: Callable[[Index], T]) -> T:
        """Let a reader thread ask the index, which is reconciled first if it is stale, and replaced if it is damaged.

        What reads documents too belongs into `ask_whole`.
        """
        with typed_errors(self._root):
            await self.fresh_index.look_again()
            if self._store.overlay is not None:
                return await self._ask_overlaid(self._store.overlay, work)
            try:
                answer = await self._ask_file(work)
            except LockBusyError:
                return await self._ask_private(lambda index, _: work(index), has_documents=False)
            await self._forget_private()
            return answer

    async def ask_whole(self, work: Callable[[Index, Isolation], T], *, goes_on: bool = False) -> T:
        """Do the same with work that reads many documents, and keeps to one side of each batch by its `Isolation`.

        `goes_on` says that the answer need not have what was committed since the one before it, but for batches.
        """
        with typed_errors(self._root):
            await self.fresh_index.look_again()
            if self._store.overlay is not None:
                isolation: Isolation = Undisturbed(self._store, 0)
                return await self._ask_overlaid(self._store.overlay, partial(_isolated, work, isolation))
            try:
                answer = await self._ask_file_whole(work)
            except LockBusyError:
                return await self._ask_private(work, has_documents=True, goes_on=goes_on)
            await self._forget_private()
            return answer

    async def ask_as_it_is(self, work: Callable[[Index], T | None]) -> T | None:
        """Let a reader thread ask the index as it is, which need not agree with the documents; None where it cannot."""
        try:
            return await self.fresh_index.in_index(work)
        except (IndexDamagedError, IndexUnavailableError):
            # whoever needs it has it replaced
            return None

    # -- of the index file --------------------------------------------------------------------------------------------

    async def _ask_file(self, work: Callable[[Index], T]) -> T:
        await self.commits.await_applied()
        for _ in range(_TRIES):
            agreed = await self.fresh_index.await_agreed()
            try:
                answer = await self.fresh_index.in_index(work)
            except (IndexDamagedError, IndexUnavailableError) as error:
                await self.fresh_index.replace(error)
            else:
                # the index may have been replaced just before it was asked
                if self.fresh_index.is_still(agreed):
                    return answer
        # one trouble chases the other: nobody can commit meanwhile
        return await self.fresh_index.at_last(partial(self.fresh_index.caught_up, work))

    async def _ask_file_whole(self, work: Callable[[Index, Isolation], T]) -> T:
        for _ in range(_TRIES):
            await self.commits.await_applied()
            # before the index is awaited: a batch that is put in place after that need not be in it
            before = self._store.counters.applying()
            agreed = await self.fresh_index.await_agreed()
            isolation = Isolation(self._store, before, begun=partial(self.fresh_index.is_still, agreed))
            try:
                if before & 1:
                    continue
                answer = await self.fresh_index.in_index(partial(_isolated, work, isolation))
            except (IndexDamagedError, IndexUnavailableError) as error:
                await self.fresh_index.replace(error)
            except OutdatedError:
                continue
            else:
                # commits that came meanwhile do not matter, but a recovery may have put in place what no batch has
                if self.fresh_index.is_trusted(agreed):
                    return answer
        return await self.fresh_index.at_last(partial(self._caught_up_whole, work))

    def _caught_up_whole(self, work: Callable[[Index, Isolation], T]) -> T:
        isolation = Isolation(self._store, even(self._store.counters.applying()))
        try:
            return self.fresh_index.caught_up(partial(_isolated, work, isolation))
        except OutdatedError as error:
            raise StorageTimeoutError(
                reason="a moment without batches",
                path=self._root,
                timeout_seconds=self._store.options.lock_timeout_seconds,
            ) from error

    # -- of a copy in memory, or of the log ---------------------------------------------------------------------------

    async def _ask_private(
        self, work: Callable[[Index, Isolation], T], *, has_documents: bool, goes_on: bool = False
    ) -> T:
        """Answer without the store lock: from an index in memory, compared with all documents.

        `has_documents` says that the work reads documents, and keeps to one side of each batch by itself. Only one that
        is never still, since batches come all the time, waits for the lock in the end.
        """
        private = self._store.private_index
        for _ in range(_TRIES):
            await self.commits.await_applied()
            before, root = self._store.counters.look(), self._store.documents.root.check()
            if before.applying & 1:
                continue
            moment = (root, before.stale, before.indexing, before.applying)
            isolation = Isolation(self._store, before.applying)
            try:
                if not (goes_on and moment == self._private_moment):
                    # while a commit is under way, no counter tells one from the next
                    told = None if before.indexing & 1 else moment
                    # until it is done, whoever goes on would ask a copy of an earlier moment
                    self._private_moment = None
                    await self.executor.in_thread(partial(private.catch_up, told, asked=private.begun))
                    self._private_moment = moment
                answer = await self.executor.in_thread(partial(private.use, partial(_isolated, work, isolation)))
            except IndexDamagedError:
                self._private_moment = None
                await self.executor.in_thread(private.forget)
                continue
            except OutdatedError:
                continue
            after = self._store.counters.look()
            is_still = has_documents or after.applying == before.applying
            if is_still and after.stale == before.stale and self._store.documents.root.check() == root:
                return answer
        try:
            return await self.executor.under_lock(partial(self._caught_up_whole, work))
        except (IndexDamagedError, IndexUnavailableError) as error:
            raise self.fresh_index.unusable(error) from error

    async def _forget_private(self) -> None:
        self._private_moment = None
        if self._store.private_index.is_kept:
            await self.executor.in_thread(self._store.private_index.forget)

    async def _ask_overlaid(self, overlay: Overlay, work: Callable[[Index], T]) -> T:
        """Answer where nothing can be written: the index in memory is brought up to date, however often."""
        counters, fresh_index = self._store.counters, self.fresh_index
        for _ in range(_TRIES):
            moment = await self.commits.await_settled(overlay)
            state = counters.read()
            before = fresh_index.state(state)
            try:
                if before.commits & 1:
                    # a writer goes on committing, and the counters do not tell each of its commits
                    await fresh_index.reconcile()
                else:
                    await fresh_index.reconcile_if_stale(state)
                answer = await fresh_index.in_index(work)
            except (IndexDamagedError, IndexUnavailableError) as error:
                await fresh_index.replace(error)
                continue
            is_current = before.commits & 1 or fresh_index.state(counters.read()) == before == fresh_index.reconciled
            if await self.executor.in_thread(overlay.look) == moment and is_current:
                return answer
        return await fresh_index.at_last(partial(fresh_index.caught_up, work))


def _isolated(work: Callable[[Index, Isolation], T], isolation: Isolation, index: Index) -> T:
    return work(index, isolation)
