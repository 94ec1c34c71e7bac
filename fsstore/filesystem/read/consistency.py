"""Reads that wait for something: for another thread, for the end of a batch, for an index that agrees with the files.

Joins the event loop and the reader threads. Invariants:
- The index is reconciled before its first use, and again whenever it has become stale or is another one. An answer
  counts only if the index is still the same afterwards, and the store still at its path: one that is gone raises.
- While the index file cannot be used, one in memory answers, which is reconciled again after every commit.
- Nobody waits long for the store lock to ask the index: where that must be written first, or lacks what is committed,
  and the holder of the lock does not let go in a moment, a copy in memory answers (`private_index`).
- A read of many documents never mixes the two sides of a batch (`isolation`).
- Whoever finds a batch half done, and nobody holding the lock, recovers; who may not write reads the log (`overlay`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial, wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeAlias, TypeVar

from fsstore.errors import StorageError, StorageTimeoutError, StorageUnavailableError
from fsstore.filesystem.disk.system import unavailable
from fsstore.filesystem.documents.layout import LOCK
from fsstore.filesystem.index.connection import IndexDamagedError, IndexUnavailableError
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.reconcile import Steps
from fsstore.filesystem.log.counters import UNNAMED, State, even
from fsstore.filesystem.log.overlay import Moment, Overlay
from fsstore.filesystem.open_store import OpenStore
from fsstore.filesystem.read.first_index import MANY, make_index
from fsstore.filesystem.read.isolation import Isolation, OutdatedError, Undisturbed
from fsstore.interfaces import Progress
from fsstore.watching.changes import Absorbed

T = TypeVar("T")
P = ParamSpec("P")

_TRIES = 5
_ABSORBED_AT_ONCE, _CONFIRMED_AT_ONCE = 200, 5_000
_POLL_SECONDS = 0.0005
_POLLS_A_LOOK = 20
_TRY_SECONDS = 1.0
_MOMENT_SECONDS = 1.0
"""As long as a holder keeps the lock that is at work."""


Method: TypeAlias = Callable[Concatenate["Reading", P], Coroutine[Any, Any, T]]


def _typed(method: Method[P, T]) -> Method[P, T]:
    """Let a method raise StorageUnavailableError for what the system refuses, such as to read the counters."""

    @wraps(method)
    async def call(self: Reading, /, *arguments: P.args, **options: P.kwargs) -> T:
        try:
            return await method(self, *arguments, **options)
        except StorageError:
            raise
        except OSError as error:
            raise unavailable(error, self._root) from error

    return call


class LockBusyError(Exception):
    """The store lock was not to be had in a moment; nothing was done."""


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
        # of the lock's holder that was waited for in vain: how often the lock was taken then
        self._busy = -1
        # the counters when the copy in memory was last compared, while a commit was under way
        self._private_moment: object = None

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

        A store that cannot be written has no writer: there its one reader thread does it, and keeps writers out as far
        as that can be done. Raises StorageTimeoutError.
        """
        writer, overlay = self._store.writer, self._store.overlay
        if writer is not None:
            return await asyncio.wrap_future(writer.call(run))
        if overlay is not None:
            timeout_seconds = self._store.options.lock_timeout_seconds
            run = partial(overlay.while_nobody_writes, run, timeout_seconds=timeout_seconds)
        return await self.in_thread(run)

    async def _changing_index(self, run: Callable[[], T]) -> T:
        """Do the same for what changes the index alone: one in memory is nobody else's, and needs no lock.

        Raises LockBusyError.
        """
        if self._store.writer is None:
            return await self.in_thread(run)
        return await self.soon_under_lock(run)

    async def soon_under_lock(self, run: Callable[[], T]) -> T:
        """Run a function under the store lock if that can be had in a moment. Raises LockBusyError."""
        writer = self._store.writer
        if writer is None:
            return await self.under_lock(run)
        self._check_holder()
        queued = writer.call(run)
        done = asyncio.wrap_future(queued)
        try:
            await asyncio.wait([done], timeout=self._moment_seconds)
        except asyncio.CancelledError:
            done.cancel()
            raise
        # one that has begun has the lock, and comes to its end
        if not done.done() and queued.cancel():
            raise self._busy_holder()
        try:
            return await done
        except StorageTimeoutError as error:
            if error.path != self._store.tree.path(LOCK):
                raise
            raise self._busy_holder() from error

    @property
    def _moment_seconds(self) -> float:
        return min(_MOMENT_SECONDS, self._store.options.lock_timeout_seconds / 2)

    def _busy_holder(self) -> LockBusyError:
        self._busy = self._store.counters.read().lock_acquisitions
        return LockBusyError()

    def _check_holder(self) -> None:
        """Raise LockBusyError if the lock is held by the very one that was waited for in vain."""
        writer = self._store.writer
        if self._busy < 0 or writer is None:
            return
        if self._store.counters.read().lock_acquisitions == self._busy and writer.lock_is_held():
            raise LockBusyError
        self._busy = -1

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
                return self._store.counters.applying() != self.applied or bool(self._store.documents.waiting)
            return not overlay.is_quiet or not self._store.recovery.waiting.is_known
        except OSError as error:
            raise unavailable(error, self._root) from error

    @_typed
    async def await_applied(self, record_id: str | None = None) -> None:
        """Wait until the batch that is being put in place is whole; if its writer died, recover, or read the log.

        Then it is known which documents wait for their places, and what waits was tried again to put in place: at once
        if the document of that id does, else once a second.
        """
        if self._store.overlay is not None:
            await self._await_settled(self._store.overlay)
        else:
            await self._await_even()
        applying = self._store.counters.applying()
        if applying != self.applied or not self._store.recovery.waiting.is_known:
            # what waits changes only while a batch, or a recovery, is being put in place
            if not self._store.recovery.waiting.is_known:
                await self.in_thread(self._store.recovery.waiting.look)
            self.applied = applying & ~1
        documents, now = self._store.documents, time.monotonic()
        is_asked_for = record_id is not None and documents.name(record_id) in documents.waiting
        if documents.waiting and self._store.writer is not None and (is_asked_for or now >= self._next_try):
            self._next_try = now + _TRY_SECONDS
            await self._place_waiting()

    async def _await_even(self) -> None:
        applying = self._store.counters.applying
        while (seen := applying()) & 1:
            if seen == UNNAMED:
                await self._renew_counters()
                continue
            await self._await(lambda seen=seen: applying() == seen)  # type: ignore[misc]
            if applying() != UNNAMED:
                return

    async def _renew_counters(self) -> None:
        """Have counters opened anew that somebody has removed: whoever takes the lock does that, in its turn.

        Who cannot write opens what is there.
        """
        if self._store.writer is None:
            await self.in_thread(self._store.counters.open)
        else:
            await self.under_lock(lambda: None)

    async def _await_settled(self, overlay: Overlay) -> Moment:
        """Wait until what a living writer puts in place is whole; what a dead one has left is read from the log."""
        timeout_seconds, loop = self._store.options.lock_timeout_seconds, asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        while (moment := await self.in_thread(overlay.look)) is None:
            if loop.time() >= deadline:
                raise StorageTimeoutError(
                    reason="the end of a commit", path=self._root, timeout_seconds=timeout_seconds
                )
            await asyncio.sleep(_POLL_SECONDS)
        return moment

    async def _place_waiting(self) -> None:
        """Try again to put in place what waits: what was in the way may be gone."""
        # what goes wrong is said by whoever reads what still waits
        with suppress(LockBusyError, StorageTimeoutError, StorageUnavailableError):
            await self.soon_under_lock(self._store.recovery.run)

    @_typed
    async def recover_if_left(self) -> None:
        """Recover if a writer died in mid-commit; one that is alive is not waited for."""
        writer = self._store.writer
        if writer is not None and self._store.counters.look().unfinished and not writer.lock_is_held():
            # taking the lock is all it needs: whoever takes it recovers first
            await self.under_lock(lambda: None)

    async def _await_indexed(self) -> State:
        """Wait until what is committed has reached the index, and return the counters as they are then.

        Raises LockBusyError.
        """
        if self._rereading is not None and not self._rereading.done():
            # what was found to be outdated, and may have been told to a watcher; if it fails, no answer is wrong by it
            with suppress(StorageTimeoutError, StorageUnavailableError):
                await self.soon_under_lock(lambda: None)
        counters, writer = self._store.counters, self._store.writer
        state = counters.look()
        if state.indexing == UNNAMED:
            await self._renew_counters()
            state = counters.look()
        if not state.indexing & 1 or writer is None:
            return state
        if writer.is_holding:
            # a call comes after all commits, and after the index has them
            await self.soon_under_lock(lambda: None)
        else:
            self._check_holder()
            # another process updates the index soon if that is requested
            with suppress(OSError):
                counters.increase("index_requests")
            if not await self._await_end(lambda: counters.look().indexing == state.indexing, self._moment_seconds):
                raise self._busy_holder()
        state = counters.look()
        # removed while they were waited for
        return await self._await_indexed() if state.indexing == UNNAMED else state

    async def _await(self, is_busy: Callable[[], bool]) -> None:
        timeout_seconds = self._store.options.lock_timeout_seconds
        if not await self._await_end(is_busy, timeout_seconds):
            raise StorageTimeoutError(reason="the end of a commit", path=self._root, timeout_seconds=timeout_seconds)

    async def _await_end(self, is_busy: Callable[[], bool], timeout_seconds: float) -> bool:
        """Wait for a commit of somebody's, and recover where its writer has died; False if it took too long."""
        loop, writer = asyncio.get_running_loop(), self._store.writer
        deadline, looks = loop.time() + timeout_seconds, 0
        while is_busy():
            looks += 1
            if looks % _POLLS_A_LOOK == 0 and writer is not None and not writer.lock_is_held():
                await self.under_lock(lambda: None)
                return True
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True

    # -- the index ----------------------------------------------------------------------------------------------------

    @_typed
    async def ask(self, work: Callable[[Index], T]) -> T:
        """Let a reader thread ask the index, which is reconciled first if it is stale, and replaced if it is damaged.

        What reads documents too belongs into `ask_whole`.
        """
        await self._look_again()
        if self._store.overlay is not None:
            return await self._ask_overlaid(self._store.overlay, work)
        try:
            answer = await self._ask_file(work)
        except LockBusyError:
            return await self._ask_private(lambda index, _: work(index), has_documents=False)
        await self._forget_private()
        return answer

    async def _ask_file(self, work: Callable[[Index], T]) -> T:
        await self.await_applied()
        for _ in range(_TRIES):
            agreed = await self._await_agreed()
            try:
                answer = await self._in_index(work)
            except (IndexDamagedError, IndexUnavailableError) as error:
                await self._replace_index(error)
            else:
                # the index may have been replaced just before it was asked
                if self._index_state(self._store.counters.look()) == agreed:
                    return answer
        # one trouble chases the other: nobody can commit meanwhile
        return await self._at_last(partial(self._caught_up, work))

    async def _ask_private(
        self, work: Callable[[Index, Isolation], T], *, has_documents: bool, goes_on: bool = False
    ) -> T:
        """Answer without the store lock: from an index in memory, compared with all documents.

        `has_documents` says that the work reads documents, and keeps to one side of each batch by itself. Only one that
        is never still, since batches come all the time, waits for the lock in the end.
        """
        private = self._store.private_index
        for _ in range(_TRIES):
            await self.await_applied()
            before, root = self._store.counters.look(), self._store.documents.root.check()
            if before.applying & 1:
                continue
            moment: tuple[object, ...] | None = (root, before.stale, before.indexing, before.applying)
            if before.indexing & 1 and not (goes_on and moment == self._private_moment):
                # no counter tells one commit from the next
                self._private_moment, moment = moment, None
            isolation = Isolation(self._store, before.applying)
            try:
                if moment is None or not before.indexing & 1:
                    await self.in_thread(partial(private.catch_up, moment, asked=private.begun))
                answer = await self.in_thread(partial(private.use, partial(_isolated, work, isolation)))
            except IndexDamagedError:
                self._private_moment = None
                await self.in_thread(private.forget)
                continue
            except OutdatedError:
                continue
            after = self._store.counters.look()
            is_still = has_documents or after.applying == before.applying
            if is_still and after.stale == before.stale and self._store.documents.root.check() == root:
                return answer
        try:
            return await self.under_lock(partial(self._caught_up_whole, work))
        except (IndexDamagedError, IndexUnavailableError) as error:
            raise self._unusable(error) from error

    async def _forget_private(self) -> None:
        self._private_moment = None
        if self._store.private_index.is_kept:
            await self.in_thread(self._store.private_index.forget)

    async def ask_as_it_is(self, work: Callable[[Index], T | None]) -> T | None:
        """Let a reader thread ask the index as it is, which need not agree with the documents; None where it cannot."""
        try:
            return await self._in_index(work)
        except (IndexDamagedError, IndexUnavailableError):
            # whoever needs it has it replaced
            return None

    async def _ask_overlaid(self, overlay: Overlay, work: Callable[[Index], T]) -> T:
        """Do the same where nothing can be written: the index in memory is brought up to date, however often."""
        counters = self._store.counters
        for _ in range(_TRIES):
            moment = await self._await_settled(overlay)
            state = counters.read()
            before = self._index_state(state)
            try:
                if before.commits & 1:
                    # a writer goes on committing, and the counters do not tell each of its commits
                    await self._refresh()
                else:
                    await self._reconcile_if_stale(state)
                answer = await self._in_index(work)
            except (IndexDamagedError, IndexUnavailableError) as error:
                await self._replace_index(error)
                continue
            is_current = before.commits & 1 or self._index_state(counters.read()) == before == self._reconciled
            if await self.in_thread(overlay.look) == moment and is_current:
                return answer
        return await self._at_last(partial(self._caught_up, work))

    async def _look_again(self) -> None:
        """Look, from time to time, whether what could not be read can be by now, and have it indexed."""
        if not self._store.documents.unreadable.is_due():
            return
        # whoever asks gets an answer all the same
        with suppress(StorageError, IndexDamagedError, IndexUnavailableError, LockBusyError):
            names = await self._in_index(self._store.reconciler.look_again)
            for at in range(0, len(names), _ABSORBED_AT_ONCE):
                part = names[at : at + _ABSORBED_AT_ONCE]
                await self.soon_under_lock(partial(self._store.reconciler.absorb, part))

    @_typed
    async def ask_whole(self, work: Callable[[Index, Isolation], T], *, goes_on: bool = False) -> T:
        """Do the same with work that reads many documents, and keeps to one side of each batch by its `Isolation`.

        `goes_on` says that the answer need not have what was committed since the one before it, but for batches.
        """
        await self._look_again()
        if self._store.overlay is not None:
            isolation: Isolation = Undisturbed(self._store, 0)
            return await self._ask_overlaid(self._store.overlay, partial(_isolated, work, isolation))
        try:
            answer = await self._ask_file_whole(work)
        except LockBusyError:
            return await self._ask_private(work, has_documents=True, goes_on=goes_on)
        await self._forget_private()
        return answer

    async def _ask_file_whole(self, work: Callable[[Index, Isolation], T]) -> T:
        for _ in range(_TRIES):
            await self.await_applied()
            # before the index is awaited: a batch that is put in place after that need not be in it
            before = self._store.counters.applying()
            agreed = await self._await_agreed()
            isolation = Isolation(self._store, before, begun=partial(self._is_agreed, agreed))
            try:
                if before & 1:
                    continue
                answer = await self._in_index(partial(_isolated, work, isolation))
            except (IndexDamagedError, IndexUnavailableError) as error:
                await self._replace_index(error)
            except OutdatedError:
                continue
            else:
                # commits that came meanwhile do not matter, but a recovery may have put in place what no batch has
                after = self._index_state(self._store.counters.look())
                if agreed is not None and after.trusted == agreed.trusted:
                    return answer
        return await self._at_last(partial(self._caught_up_whole, work))

    async def _await_agreed(self) -> _IndexState | None:
        await self._reconcile_if_stale(await self._await_indexed())
        return self._reconciled

    def _is_agreed(self, agreed: _IndexState | None) -> bool:
        return self._index_state(self._store.counters.look()) == agreed

    def _in_index(self, work: Callable[[Index], T]) -> Awaitable[T]:
        return self.in_thread(partial(self._store.index_file.use, work))

    async def _replace_index(self, error: IndexDamagedError | IndexUnavailableError) -> None:
        """Go on with a new file, or in memory where the file cannot be used. Raises LockBusyError."""
        try:
            if isinstance(error, IndexDamagedError):
                await self.soon_under_lock(partial(self._store.index_file.renew, error))
                return
        except (IndexDamagedError, IndexUnavailableError) as unusable:
            # the new one, too
            error = unusable
        try:
            self._store.index_file.fall_back(error)
        except (IndexDamagedError, IndexUnavailableError) as unusable:
            raise self._unusable(unusable) from unusable

    def _unusable(self, error: Exception) -> StorageUnavailableError:
        return StorageUnavailableError(reason=f"the index cannot be used: {error}", path=self._root)

    async def _at_last(self, run: Callable[[], T]) -> T:
        try:
            return await self.soon_under_lock(run)
        except (IndexDamagedError, IndexUnavailableError) as error:
            raise self._unusable(error) from error

    def _caught_up(self, work: Callable[[Index], T]) -> T:
        if self._reconciled != self._index_state(self._store.counters.read()):
            self._catch_up()
        return self._store.index_file.use(work)

    def _caught_up_whole(self, work: Callable[[Index, Isolation], T]) -> T:
        isolation = Isolation(self._store, even(self._store.counters.applying()))
        try:
            return self._caught_up(partial(_isolated, work, isolation))
        except OutdatedError as error:
            raise StorageTimeoutError(
                reason="a moment without batches",
                path=self._root,
                timeout_seconds=self._store.options.lock_timeout_seconds,
            ) from error

    # -- reconciling --------------------------------------------------------------------------------------------------

    @_typed
    async def refresh(self, progress: Progress | None = None) -> Absorbed:
        """Compare every document with the index and absorb what differs."""
        self._store.index_file.try_file()
        self._next_try = 0.0
        await self.await_applied()
        try:
            await self._await_indexed()
            return await self._refresh(progress)
        except LockBusyError:
            # what is found is in the copy alone, so the file must not answer before it has that too
            self._reconciled = None
            return await self.in_thread(partial(self._store.private_index.catch_up, None, Steps(progress)))

    async def _refresh(self, progress: Progress | None = None) -> Absorbed:
        self._check_holder()
        counters = self._store.counters
        if self._store.writer is None:
            before = self._index_state(counters.read())
            absorbed = await self._compared(progress)
            self._reconciled = before
            return absorbed
        absorbed = Absorbed()
        for _ in range(_TRIES):
            before = self._index_state(counters.read())
            try:
                absorbed.add(await self._compared(progress))
            except (IndexDamagedError, IndexUnavailableError) as error:
                await self._replace_index(error)
            else:
                if self._index_state(counters.read()) == before and not before.commits & 1:
                    self._reconciled = before
                    return absorbed
                progress = None
        absorbed.add(await self._at_last(self._catch_up))
        return absorbed

    async def _compared(self, progress: Progress | None) -> Absorbed:
        absorbed, index_file, reconciler = Absorbed(), self._store.index_file, self._store.reconciler
        steps, generation = Steps(progress), index_file.generation()
        differing, confirmed, since_ns = await self._in_index(lambda index: reconciler.compare(index, steps.compared))
        if len(differing) >= MANY:
            made = await make_index(self, self._store, generation, differing, steps)
            if made is not None:
                # there is another index now, and it is compared in its turn
                return Absorbed(changed=made)
        for at in range(0, len(confirmed), _CONFIRMED_AT_ONCE):
            names = confirmed[at : at + _CONFIRMED_AT_ONCE]
            await self._changing_index(partial(reconciler.confirm, names, since_ns))
        for at in range(0, len(differing), _ABSORBED_AT_ONCE):
            names = differing[at : at + _ABSORBED_AT_ONCE]
            absorbed.add(await self._changing_index(partial(reconciler.absorb, names)))
            if progress is not None:
                await self.in_thread(partial(steps.read, -(-len(differing) // _ABSORBED_AT_ONCE)))
        if not await self._in_index(lambda index: index.get_meta("complete")):
            await self._changing_index(index_file.mark_complete)
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
        index_file, overlay = self._store.index_file, self._store.overlay
        commits = state.indexing if index_file.in_memory else 0
        if overlay is not None and overlay.is_abandoned:
            # whoever began that commit does not end it
            commits &= ~1
        shown = overlay.segments if overlay is not None else ()
        root = self._store.documents.root.check()
        return _IndexState(root, state.stale, index_file.generation(), commits, shown)


class _IndexState(NamedTuple):
    """What changes when the index may no longer agree with the documents.

    Other processes write no index in memory, so there it is every commit that does it, and what is shown of the log.
    """

    root: tuple[int, int]
    stale: int
    generation: int
    commits: int
    shown: object

    @property
    def trusted(self) -> tuple[int, int]:
        """What changes when what was asked of the index was no answer."""
        return self.stale, self.generation


def _isolated(work: Callable[[Index, Isolation], T], isolation: Isolation, index: Index) -> T:
    return work(index, isolation)
