"""How a coroutine of a store runs in a thread that has no event loop: in that thread, by a loop of its own.

Owns the event loops of each thread that calls, one for each call within a call, and nothing that runs beside them: no
thread is started, so none is left at the end. A call ends when every task that it started has ended. Invariants:
- A read that need not wait runs in the caller's frame: the loop is only looked at when it has to wait.
- A call within a call, as in the function of an edit or in a signal handler, and one in a thread whose event loop is
  running, has a loop of its own while the outer one stands still: in the same thread, so that the locks which it has
  interrupted are its own.
- Ctrl-C ends a call as it ends a function: what it awaited is cancelled, and its loop is not used again. A commit under
  way goes on in the writer.
- A child of fork makes loops of its own; those of its parent share what the system knows of them, so they are kept as
  they are and never closed. A call that was under way ends in the child, before it takes what wakes its parent.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from asyncio.events import _get_running_loop, _set_running_loop
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import suppress
from functools import partial
from types import coroutine
from typing import Any, Self, TypeVar

from fsstore.errors import StorageClosedError, StorageError
from fsstore.forking import tell_child
from fsstore.sync.interrupts import CtrlC

T = TypeVar("T")

_CTRL_C = CtrlC(__name__)
_LONGEST_END_SECONDS = 1.0

_INHERITED: list[object] = []
"""Loops of a parent process, and their tasks, kept so that nothing closes them."""


class _Loop:
    """An event loop of one thread; closed when the thread ends, or the program."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.loop = asyncio.new_event_loop()
        weakref.finalize(self, _close, self.loop, self.process)


def _close(loop: asyncio.AbstractEventLoop, process: int) -> None:
    if process == os.getpid():
        loop.close()
    else:
        _INHERITED.append(loop)


def _at_exit() -> _Loop:
    """Return a loop for those who call when the program ends, after the others were closed."""
    made = _Loop()
    atexit.register(_close, made.loop, made.process)
    return made


class _Loops(threading.local):
    """The event loops of one thread, and how many of its calls are under way."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.depth = 0
        self.loops: list[_Loop] = []


class _Turn:
    """One call, from its beginning to its end, in which no event loop of this thread runs but its own."""

    __slots__ = ("_depth", "_loops", "_outer", "_process", "_task", "is_orderly", "loop")

    def __init__(self, loops: _Loops) -> None:
        self._loops = loops
        self._process = os.getpid()
        # whether nothing has come in the middle of what its loop does
        self.is_orderly = True

    def __enter__(self) -> Self:
        loops = self._loops
        if loops.process != os.getpid():
            loops.process, loops.depth, loops.loops = os.getpid(), 0, []
        self._depth = depth = loops.depth
        # before anything else, since a signal handler may call in between
        loops.depth = depth + 1
        try:
            self.loop = self._own_loop(loops.loops, depth)
        except BaseException:
            # Ctrl-C, or no more descriptors
            loops.depth = depth
            raise
        return self

    def _own_loop(self, loops: list[_Loop], depth: int) -> asyncio.AbstractEventLoop:
        """Return the loop for calls of a depth, with the one that runs in this thread set aside."""
        while len(loops) <= depth:
            loops.append(_Loop())
        if loops[depth].loop.is_closed():
            loops[depth] = _at_exit()
        self._outer = outer = _get_running_loop()
        if outer is not None:
            self._task = asyncio.current_task(outer)
            if self._task is not None:
                _run_instead(outer, None)
            _set_running_loop(None)
        return loops[depth].loop

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._loops.depth = self._depth
        if not self.is_orderly:
            # which closes it; those of calls within a call are made anew, too
            del self._loops.loops[self._depth :]
        if self._outer is not None:
            _set_running_loop(self._outer)
            if self._task is not None:
                _run_instead(self._outer, self._task)
        is_ours = isinstance(error, StorageError | StopAsyncIteration)
        if self._process != os.getpid() and isinstance(error, Exception) and not is_ours:
            raise StorageClosedError(
                reason="the call was begun in the process that this one was forked from, where it goes on",
                advice="call again in this process",
                outcome="unknown",
            ) from error


def _run_instead(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None) -> None:
    """Let another task, or none, be the one that a loop is running."""
    # Python 3.14 refuses to run a task of another loop beside it; 3.11 knows no such thing, and needs none
    if (swap := getattr(asyncio.tasks, "_swap_current_task", None)) is not None:
        swap(loop, task)


class Calls:
    """Runs the coroutines of one store, each in the thread that calls."""

    def __init__(self) -> None:
        self._loops = _Loops()
        tell_child(self)

    def in_child(self) -> None:
        """End what this thread was waiting for: whatever wakes a loop would wake this process or its parent alone."""
        for under_way in self._loops.loops[: self._loops.depth]:
            _INHERITED.append(under_way)
            if (selector := getattr(under_way.loop, "_selector", None)) is not None:
                selector.close()

    def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Run what a function returns, and return its result or raise its error; waits for it."""
        with _CTRL_C.held(), _Turn(self._loops) as turn:
            return _complete(turn, _awaited(call))

    def read(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do the same for a coroutine that mostly need not wait; it must not ask for its task before it waits."""
        with _Turn(self._loops) as turn:
            started = call()
            # what it may wait for belongs to this loop
            _set_running_loop(turn.loop)
            try:
                waited = started.send(None)
            except StopIteration as done:
                result: T = done.value
                return result
            finally:
                _set_running_loop(None)
            with _CTRL_C.held():
                return _complete(turn, _awaited(partial(_continued, started, waited)))

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


def _complete(turn: _Turn, call: Coroutine[Any, Any, T]) -> T:
    """Run a call to its end, and what it has started; after anything else its loop is not used again."""
    loop, process, turn.is_orderly = turn.loop, os.getpid(), False
    task = loop.create_task(call)
    with _CTRL_C.ending(task):
        try:
            result = loop.run_until_complete(task)
        except BaseException as error:
            if process != os.getpid():
                _INHERITED.append(task)
            elif isinstance(error, Exception) and _is_of(error, task):
                _wait_beside(loop)
                turn.is_orderly = True
            else:
                _give_up(loop)
            raise
        if process == os.getpid():
            _wait_beside(loop)
            turn.is_orderly = True
        return result


def _is_of(error: Exception, task: asyncio.Task[Any]) -> bool:
    """Whether a task has ended with an error, which else was raised by a signal handler beside it."""
    return task.done() and not task.cancelled() and task.exception() is error


def _wait_beside(loop: asyncio.AbstractEventLoop) -> None:
    if beside := asyncio.all_tasks(loop):
        try:
            loop.run_until_complete(asyncio.wait(beside))
        except BaseException:
            _give_up(loop)
            raise


def _give_up(loop: asyncio.AbstractEventLoop) -> None:
    """End what a loop runs that an interrupt may have reached in the middle of its own work.

    Then it may have lost what was to go on next, and a task would never end: it is waited for a second.
    """
    tasks = asyncio.all_tasks(loop)
    try:
        for task in tasks:
            task.cancel()
        # what was to stop the loop, and did not come to it, is passed over
        loop.call_soon(loop.stop)
        loop.run_forever()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=_LONGEST_END_SECONDS))
    finally:
        for task in asyncio.all_tasks(loop):
            # asyncio's own word for a task of which nobody is to hear any more
            setattr(task, "_log_destroy_pending", False)  # noqa: B010 - which its types do not tell of
            with suppress(RuntimeError):
                task.get_coro().close()


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
