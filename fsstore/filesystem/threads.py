"""Threads that wait for the disk so that no event loop does, and how the answers of threads reach event loops.

Owns the reader threads and their queue; knows nothing of what they run. A thread pool of the standard library costs
half as much again for each call (84 us against 54), and a call is what each list begins with. Invariants:
- A thread is started when there is more to do than threads that wait for work, up to a number.
- An answer wakes the event loop that asked, and nobody else; one whose loop was closed is nobody's any more.
- After `shutdown` every call has been run, and further ones are refused.
- The threads know nobody who could be dropped while they wait: see `shutdown_later`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias, TypeVar

from fsstore.errors import StorageClosedError, StorageUnavailableError

_logger = logging.getLogger("fsstore")
T = TypeVar("T")

_Job: TypeAlias = tuple[Callable[[], Any], asyncio.Future[Any]]
Answer: TypeAlias = tuple[asyncio.Future[Any], Any]
"""Who waits, and what it gets: an exception is raised there."""


def answer(answers: Iterable[Answer]) -> None:
    """Give futures of event loops what they wait for, from any other thread; each loop is woken once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Answer]] = {}
    for each in answers:
        by_loop.setdefault(each[0].get_loop(), []).append(each)
    for loop, its_own in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, its_own)
        except RuntimeError:
            # nobody is left who could be answered
            _logger.debug("an event loop was closed before %d calls were answered", len(its_own))


def _settle(answers: list[Answer]) -> None:
    for future, result in answers:
        if future.done():
            continue
        if isinstance(result, StopIteration):
            # a future takes none; the interpreter itself treats one that leaves a coroutine so (PEP 479)
            future.set_exception(RuntimeError(f"a function raised {result!r}"))
        elif isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)


def next_in(queue: SimpleQueue[T], timeout_seconds: float) -> T:
    """Take what comes next out of a queue of which nobody else takes; raises Empty when nothing has come in that time.

    CPython up to 3.12 waits for ever where the time is over before it waits at all, if the last thing was taken from a
    queue that was not empty: a thread that is not run for a moment never comes back. After a look nothing is left of
    that, and the time counts.
    """
    with suppress(Empty):
        return queue.get_nowait()
    return queue.get(timeout=timeout_seconds)


class Readers:
    """Up to so many threads."""

    def __init__(self, most: int, *, root: str) -> None:
        self._most = most
        self._root = root
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        # of a thread, not of a call: a collector of garbage may come in between
        self._guard = threading.RLock()
        self._running = 0
        self._afterwards: Callable[[], None] | None = None
        # one for each thread that waits for work, while there may be more threads; a thread takes no guard to say
        # so, since a signal handler that has interrupted whoever holds it may be waiting for the answer
        self._idle: deque[None] = deque(maxlen=most)
        self._is_shut = False

    def submit(self, run: Callable[[], T]) -> asyncio.Future[T]:
        """Run a function in a reader thread; the future, of the running loop, gets what it returns or raises.

        Raises StorageClosedError after `shutdown`, StorageUnavailableError where the system has no thread to give.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._guard:
            if self._is_shut:
                raise StorageClosedError(path=self._root)
            if len(self._threads) < self._most and not self._has_idle():
                self._start()
            self._jobs.put((run, future))
        return future

    def _has_idle(self) -> bool:
        """Whether there was a thread that waits for work, and is now taken."""
        try:
            self._idle.pop()
        except IndexError:
            return False
        return True

    def shutdown(self) -> None:
        """Run what is queued, and end the threads; waits for them."""
        with self._guard:
            self._is_shut = True
            self._jobs.put(None)
        for thread in self._threads:
            # one that Ctrl-C has kept from being started has no number
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join()

    def shutdown_later(self, afterwards: Callable[[], None]) -> None:
        """Do the same without waiting; the last thread to end then runs a function, this one if there is none."""
        with self._guard:
            self._is_shut = True
            self._afterwards = afterwards if self._running else None
            self._jobs.put(None)
        if self._afterwards is None:
            afterwards()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=f"fsstore-reader_{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            # no more threads: those that there are do it
            if not self._threads:
                raise StorageUnavailableError(
                    reason=f"no thread could be started: {error}",
                    path=self._root,
                    advice="try again with fewer threads",
                ) from error
        except BaseException:
            # Ctrl-C, while this waits for the thread to begin
            self._threads.append(thread)
            self._running += 1
            raise
        else:
            self._threads.append(thread)
            self._running += 1

    def _run(self) -> None:
        while self._do(self._jobs.get()):
            pass
        with self._guard:
            self._running -= 1
            afterwards = None if self._running else self._afterwards
        if afterwards is not None:
            afterwards()

    def _do(self, job: _Job | None) -> bool:
        """Do one job; False when it is the last. A call of its own, so that an idle thread keeps nobody's answer."""
        if job is None:
            # the next one ends by it, too, however many there are
            self._jobs.put(None)
            return False
        run, future = job
        result: Any = None
        if not future.cancelled():
            try:
                result = run()
            except BaseException as error:  # noqa: BLE001 - it is the answer of whoever asked
                result = error
        self._idle.append(None)
        answer([(future, result)])
        return True


def submitted(threads: Executor, run: Callable[..., T], *arguments: Any) -> Future[T]:
    """Have threads run a function, or run it at once where they take nothing any more.

    That is so from the end of the main thread on, while other threads of the program may use a store for as long as
    they like, and where no thread can be started.
    """
    try:
        return threads.submit(run, *arguments)
    except RuntimeError:
        future: Future[T] = Future()
        try:
            future.set_result(run(*arguments))
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for it
            future.set_exception(error)
        return future


def in_own_thread(run: Callable[[], T]) -> Future[T]:
    """Run a function in a thread made for it, off the event loop and its executor.

    Whoever waits for it shields it: a cancelled future that has not begun never does. Where no thread can be started,
    as when the program is about to end, it runs at once: whoever closes a store then keeps nobody waiting.
    """
    executor = ThreadPoolExecutor(1, thread_name_prefix="fsstore")
    future = submitted(executor, run)
    executor.shutdown(wait=False)
    return future
