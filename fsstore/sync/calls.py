"""How a coroutine of a store runs in a thread that has no event loop: in that thread, by a loop of its own.

Owns one event loop for each thread that calls, and nothing that runs beside it: no thread is started, so none is left
at the end. A call ends when every task that it started has ended. Invariants:
- A read that need not wait runs in the caller's frame: the loop is only looked at when it has to wait.
- In a thread whose event loop is running, as in the function of an edit, the call runs in a thread of its own, since a
  loop cannot run inside another one.
- Ctrl-C ends a call as it ends a function: what it awaited is cancelled. A commit under way goes on in the writer.
- A child of fork makes loops of its own; those of its parent share what the system knows of them, so they are kept as
  they are and never closed.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import weakref
from asyncio.events import _set_running_loop
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_INHERITED: list[asyncio.AbstractEventLoop] = []
"""Loops of a parent process, kept so that nothing closes them."""


class _Loop:
    """The event loop of one thread; closed when the thread ends."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.loop = asyncio.new_event_loop()
        weakref.finalize(self, _close, self.loop, self.process)


def _close(loop: asyncio.AbstractEventLoop, process: int) -> None:
    if process == os.getpid():
        loop.close()
    else:
        _INHERITED.append(loop)


class Calls:
    """Runs the coroutines of one store, each in the thread that calls."""

    def __init__(self) -> None:
        self._local = threading.local()

    def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Run what a function returns, and return its result or raise its error; waits for it."""
        if _is_in_loop():
            return self._elsewhere(partial(self.run, call))
        return self._complete(self._loop(), _awaited(call))

    def read(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do the same for a coroutine that mostly need not wait; it must not ask for its task before it waits."""
        if _is_in_loop():
            return self._elsewhere(partial(self.read, call))
        loop, started = self._loop(), call()
        # what it may wait for belongs to this loop
        _set_running_loop(loop)
        try:
            waited = started.send(None)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            _set_running_loop(None)
        return self._complete(loop, _awaited(partial(_continued, started, waited)))

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """Give what an asynchronous generator gives, one by one; it is closed when the iterator is."""
        try:
            while True:
                try:
                    yield self.run(items.__anext__)
                except StopAsyncIteration:
                    return
        finally:
            if (close := getattr(items, "aclose", None)) is not None:
                self.run(close)

    def _loop(self) -> asyncio.AbstractEventLoop:
        own: _Loop | None = getattr(self._local, "own", None)
        if own is None or own.process != os.getpid():
            own = self._local.own = _Loop()
        return own.loop

    def _complete(self, loop: asyncio.AbstractEventLoop, call: Coroutine[Any, Any, T]) -> T:
        task = loop.create_task(call)
        try:
            return loop.run_until_complete(task)
        except BaseException:
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    loop.run_until_complete(task)
            raise
        finally:
            if beside := asyncio.all_tasks(loop):
                loop.run_until_complete(asyncio.wait(beside))

    def _elsewhere(self, call: Callable[[], T]) -> T:
        # with what the caller's context says, such as which session it edits
        with ThreadPoolExecutor(1, thread_name_prefix="fsstore-call") as thread:
            return thread.submit(contextvars.copy_context().run, call).result()


def _is_in_loop() -> bool:
    return asyncio._get_running_loop() is not None  # noqa: SLF001 - the same without an exception to catch


async def _awaited(call: Callable[[], Awaitable[T]]) -> T:
    return await call()


@coroutine
def _continued(started: Coroutine[Any, Any, T], waited: Any) -> Generator[Any, Any, T]:
    """Await a coroutine that was started, and waits for something, to its end."""
    while True:
        try:
            try:
                sent = yield waited
            except BaseException as error:  # noqa: BLE001 - it is the coroutine's to handle
                waited = started.throw(error)
            else:
                waited = started.send(sent)
        except StopIteration as done:
            result: T = done.value
            return result
