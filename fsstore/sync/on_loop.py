"""How a coroutine of a service runs on the event loop on which the service lives, while its caller waits.

Services of other people may belong to one loop, with locks and connections that no other loop can use. So all calls of
one service run on one: its own as long as that runs, else one in a thread that is started for it. Invariants:
- A call never waits for the loop that its own thread runs, nor for one that has ended: both are errors.
- The thread ends at `close`, when nobody has its owner any more, or with the program, whichever comes first; it is a
  daemon, since a program would wait for any other thread before it lets anybody close anything.
- A child of fork goes on with a loop of its own: its parent's loops did not come along.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import TypeVar

from fsstore.errors import Outcome, StorageClosedError, StorageError, StorageUnavailableError
from fsstore.forking import tell_child

T = TypeVar("T")
Call = Callable[[], Awaitable[T]]

_LOOK_SECONDS = 0.2
"""How often a call that waits looks whether its loop still runs; no call takes longer for it."""
_EXIT_SECONDS = 30.0
"""How long a program that ends waits for the calls that are under way."""


class LoopCalls:
    """Runs the coroutines of one service on one event loop; any thread may call."""

    def __init__(self, home: asyncio.AbstractEventLoop | None) -> None:
        """Take the loop on which the service lives, if any; where that does not run, one of its own is begun."""
        self._home = home
        self._own: _OwnLoop | None = None
        self._closed = False
        # of a thread, not of a call: a signal handler may come in between
        self._guard = threading.RLock()
        tell_child(self)

    def run(self, call: Call[T]) -> T:
        """Run what a function returns, and return its result or raise its error; waits for it.

        Raises StorageError in the very loop on which it would run, StorageClosedError when that ends before the call.
        """
        loop = self._loop()
        if running_loop() is loop:
            raise _would_wait_for_itself()
        return _answer(loop, _submit(loop, call))

    read = run
    """The same, under the name by which `Calls` has a quicker way."""

    def close(self) -> None:
        """End the thread, if one was started, and refuse later calls; closing twice is allowed.

        Raises StorageError in its own loop.
        """
        # looked at once: another thread may be closing it, too
        own = self._own
        if own is not None and running_loop() is own.loop:
            raise _would_wait_for_itself()
        with self._guard:
            self._closed = True
            own, self._own = self._own, None
        if own is not None:
            own.end()

    def in_child(self) -> None:
        """Leave the loops to the parent: none of them runs here, whatever they say, and the guard may be held."""
        self._guard = threading.RLock()
        self._own = self._home = None

    def _loop(self) -> asyncio.AbstractEventLoop:
        with self._guard:
            if self._closed:
                raise StorageClosedError
            if self._home is not None and self._home.is_running():
                return self._home
            if self._own is None:
                self._own = own = _OwnLoop()
                # at exit the loop itself takes care, and waits
                weakref.finalize(self, own.ask_to_end).atexit = False
            return self._own.loop


class _OwnLoop:
    """A thread with an event loop. It knows nothing of its owner, so that one which nobody has is collected."""

    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        self.process = os.getpid()
        self._begun: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="fsstore-legacy", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            raise StorageUnavailableError(
                reason=f"no thread could be started: {error}", path="thread", advice="try again with fewer threads"
            ) from error
        _result(self._begun)
        atexit.register(self._end_at_exit)

    def ask_to_end(self) -> None:
        """Have the thread ended, without waiting: a collector of garbage may come this way."""
        if self.process == os.getpid():
            with suppress(RuntimeError):  # it has ended
                self.loop.call_soon_threadsafe(self._ending.set)

    def end(self) -> None:
        """End the thread, and cancel what it is doing."""
        if self.process == os.getpid():
            self.ask_to_end()
            self._thread.join()

    def _end_at_exit(self) -> None:
        if self.process == os.getpid():
            self.ask_to_end()
            self._thread.join(_EXIT_SECONDS)

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._live())
        except OSError as error:
            # no more descriptors: who waits for the beginning would wait for ever
            if self._begun.done():
                raise
            self._begun.set_exception(
                StorageUnavailableError(
                    reason=f"no event loop could be started: {error}",
                    path="thread",
                    errno=error.errno,
                    advice="try again with fewer open files",
                )
            )
        finally:
            atexit.unregister(self._end_at_exit)

    async def _live(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._begun.set_result(None)
        await self._ending.wait()


def _submit(loop: asyncio.AbstractEventLoop, call: Call[T]) -> Future[T]:
    """Have a loop make a call; the answer may be cancelled until the call has begun, and then it does not begin."""
    answer: Future[T] = Future()

    async def run() -> T:
        return await call()

    def begin() -> None:
        if answer.set_running_or_notify_cancel():
            task = loop.create_task(run())
            task.add_done_callback(finish)
            # a loop alone lets a task be collected; whoever waits for the answer keeps this one
            answer.add_done_callback(lambda _: task)

    def finish(done: asyncio.Task[T]) -> None:
        if done.cancelled():
            reason = "the call was cancelled in the event loop on which it runs, as when that ends"
            answer.set_exception(_ended(reason, outcome="unknown"))
        elif (error := done.exception()) is not None:
            answer.set_exception(error)
        else:
            answer.set_result(done.result())

    try:
        loop.call_soon_threadsafe(begin)
    except RuntimeError as error:
        raise _ended(outcome="not applied") from error
    return answer


def _answer(loop: asyncio.AbstractEventLoop, answer: Future[T]) -> T:
    """Wait for an answer, as long as there is a loop that can give it."""
    looks, process = 0, os.getpid()
    try:
        # looked at twice: between two `run_until_complete` a loop stands still for a moment
        while not wait([answer], timeout=_LOOK_SECONDS).done and looks < 2:  # noqa: PLR2004
            # in a child that a signal handler has forked right here, it only seems to run
            looks = 0 if loop.is_running() and process == os.getpid() else looks + 1
    finally:
        # after Ctrl-C, too, a call that has not begun does not begin; one that has is not interrupted
        has_not_begun = answer.cancel()
    if not answer.done() or has_not_begun:
        raise _ended(outcome="not applied" if has_not_begun else "unknown")
    return answer.result()


def _result(future: Future[T]) -> T:
    """Return a result as soon as there is one; StorageClosedError in a child that was forked in the meantime."""
    process = os.getpid()
    while not wait([future], timeout=_LOOK_SECONDS).done:
        if process != os.getpid():
            raise _ended("it was called in the process that this one was forked from", outcome="unknown")
    return future.result()


def _ended(
    reason: str = "the event loop on which it runs ended before the call did", *, outcome: Outcome
) -> StorageClosedError:
    return StorageClosedError(
        reason=reason,
        advice="let the loop run until all calls are done; read the session to see what became of a write",
        outcome=outcome,
    )


def _would_wait_for_itself() -> StorageError:
    return StorageError(
        reason="a blocking call in the event loop on which the service runs would wait for itself",
        advice="await the service itself there, or call the adapter in another thread (asyncio.to_thread)",
    )


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that this thread runs, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
