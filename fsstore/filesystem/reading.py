"""Reads that wait for something: for another thread, for the end of a batch, for an index that agrees with the files.

Joins the event loop and the reader threads. Invariants:
- The index is reconciled before its first use, and again whenever it has become stale or is another file.
- A read of many documents never mixes the two sides of a batch; the sequence file tells whether one was put in place
  meanwhile.
- Whoever finds a batch half done, and nobody holding the lock, recovers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from fsstore.errors import StorageClosedError, StorageTimeoutError, StorageUnavailableError
from fsstore.filesystem.index import Index, IndexDamagedError, IndexUnavailableError
from fsstore.filesystem.parts import Parts
from fsstore.filesystem.reconcile import Absorbed, Progress

T = TypeVar("T")

_TRIES = 5
_ABSORBED_AT_ONCE = 200
_POLL_SECONDS = 0.0005
_POLLS_A_LOOK = 20


class Reading:
    """The waiting side of one open store."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._root = str(parts.tree.root)
        # counter and file for which the index is known to agree with the documents
        self._reconciled: tuple[int, int] | None = None
        self._reconciling: asyncio.Task[None] | None = None

    # -- other threads ------------------------------------------------------------------------------------------------

    async def in_thread(self, run: Callable[[], T]) -> T:
        """Run a function in a reader thread."""
        try:
            future = self._parts.readers.submit(run)
        except RuntimeError as error:
            # the pool takes no more work once the store is being closed
            raise StorageClosedError(self._root) from error
        return await asyncio.wrap_future(future)

    async def under_lock(self, run: Callable[[], T]) -> T:
        """Run a function in the writer thread, under the store lock.

        A store that can not be written has no writer: there its one reader thread, whose index it is, does it.
        """
        if self._parts.writer is None:
            return await self.in_thread(run)
        return await asyncio.wrap_future(self._parts.writer.call(run))

    # -- the end of a batch -------------------------------------------------------------------------------------------

    async def await_applied(self) -> None:
        """Wait until the batch that is being put in place is whole; if its writer died, recover."""
        seen = self._parts.sequence.applying()
        await self._await(lambda: bool(seen & 1) and self._parts.sequence.applying() == seen)

    async def await_finished(self) -> None:
        """Wait until the commit that is under way is done; if its writer died, recover."""
        seen = self._parts.sequence.read()
        await self._await(lambda: seen.unfinished and self._parts.sequence.read()[:2] == seen[:2])

    async def _await(self, is_busy: Callable[[], bool]) -> None:
        timeout_seconds = self._parts.options.lock_timeout_seconds
        loop = asyncio.get_running_loop()
        deadline, looks = loop.time() + timeout_seconds, 0
        while is_busy():
            looks += 1
            if looks % _POLLS_A_LOOK == 0 and self._parts.writer is not None and not self._parts.writer.lock_is_held():
                # taking the lock is all it needs: whoever takes it recovers first
                await self.under_lock(lambda: None)
                return
            if loop.time() >= deadline:
                raise StorageTimeoutError("the end of a commit", path=self._root, timeout_seconds=timeout_seconds)
            await asyncio.sleep(_POLL_SECONDS)

    # -- the index ----------------------------------------------------------------------------------------------------

    async def with_index(self, work: Callable[[Index], T]) -> T:
        """Let a reader thread ask the reconciled index; a damaged one is made anew and reconciled first."""
        for _ in range(_TRIES):
            await self._indexed()
            try:
                return await self._ask(work)
            except IndexDamagedError as error:
                await self._renew(error)
        raise StorageUnavailableError("the index is damaged again and again", path=self._root)

    async def consistently(self, work: Callable[[Index], T]) -> T:
        """Do a read of many documents so that no batch is put in place meanwhile."""
        for _ in range(_TRIES):
            await self.await_applied()
            before = self._parts.sequence.applying()
            result = await self.with_index(work)
            if self._parts.sequence.applying() == before and not before & 1:
                return result
        # one batch chases the other: hold them up for the time of one read
        try:
            return await self.under_lock(lambda: work(self._parts.sidecar.index(writing=True)))
        except (IndexDamagedError, IndexUnavailableError) as error:
            raise StorageUnavailableError(f"the index can not be used: {error}", path=self._root) from error

    async def _ask(self, work: Callable[[Index], T]) -> T:
        try:
            return await self.in_thread(lambda: self._parts.sidecar.use(work))
        except IndexUnavailableError as error:
            raise StorageUnavailableError(f"the index can not be used: {error}", path=self._root) from error

    async def _renew(self, error: IndexDamagedError) -> None:
        await self.under_lock(partial(self._parts.sidecar.renew, error))

    async def refresh(self, progress: Progress | None = None) -> Absorbed:
        """Compare every document with the index and absorb what differs."""
        for _ in range(_TRIES):
            before = self._index_state()
            try:
                absorbed = await self._refresh(progress)
            except IndexDamagedError as error:
                await self._renew(error)
                continue
            if self._index_state() == before:
                self._reconciled = before
                return absorbed
        raise StorageUnavailableError("the index can not be brought up to date", path=self._root)

    async def _refresh(self, progress: Progress | None) -> Absorbed:
        absorbed, reconciler = Absorbed(), self._parts.reconciler
        differing = await self._ask(lambda index: list(reconciler.differing(index, progress)))
        for at in range(0, len(differing), _ABSORBED_AT_ONCE):
            absorbed.add(await self._absorb(differing[at : at + _ABSORBED_AT_ONCE]))
        if not await self._ask(lambda index: index.get_meta("complete")):
            await self.under_lock(self._parts.sidecar.mark_complete)
        return absorbed

    async def _absorb(self, names: Sequence[str]) -> Absorbed:
        return await self.under_lock(partial(self._parts.reconciler.absorb, names))

    async def _indexed(self) -> None:
        """Have the index reconciled; callers that come together share one reconciliation."""
        while self._reconciled != self._index_state():
            task = self._reconciling
            if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
                task = self._reconciling = asyncio.create_task(self._reconcile())
                # heard here, since all who wait may have been cancelled
                task.add_done_callback(_hear)
            # shielded: one caller's cancellation must not end what others wait for
            await asyncio.shield(task)

    def _index_state(self) -> tuple[int, int]:
        # the file too, since the counters may have been removed together with the index, and begin anew
        return self._parts.sequence.read().stale, self._parts.sidecar.generation()

    async def _reconcile(self) -> None:
        if self._reconciled is None and self._parts.options.reconcile == "off":
            before = self._index_state()
            try:
                if await self._ask(lambda index: index.get_meta("complete")):
                    self._reconciled = before
                    return
            except IndexDamagedError as error:
                await self._renew(error)
        await self.refresh()


def _hear(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
