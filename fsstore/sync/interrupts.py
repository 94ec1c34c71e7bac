"""Ctrl-C while calls are under way in the main thread: it ends the innermost one, and nothing in its middle.

The system's own handler raises wherever the thread is at that moment. It may leave a lock taken for ever that another
thread needs, or an event loop without what was to go on next. So a call that is waited for is cancelled, as
`asyncio.Runner` does, and raises KeyboardInterrupt at its end. Raised at once it is in a function of the caller, as in
that of an edit, and when it comes once more. Where a program has a handler of its own, nothing is changed.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_OURS = frozenset(
    {"fsstore", "aiofiles", "filelock", "psycopg", "psycopg_pool", "pydantic", "pydantic_core", "watchfiles"}
)


class CtrlC:
    """What SIGINT does in this process while it is `held`."""

    def __init__(self, boundary: str) -> None:
        """`boundary` is the module that holds it: what a call runs comes behind that one's functions."""
        self._boundary = boundary
        # of those that are under way; None before one has begun, or after its end
        self._calls: list[asyncio.Task[Any] | None] = []
        self._has_come = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep it for the end, and raise KeyboardInterrupt then; 20 µs, most of it to exchange the handler twice."""
        if threading.current_thread() is not threading.main_thread() or not self._takes_over():
            yield
            return
        self._calls.append(None)
        try:
            yield
        finally:
            self._calls.pop()
            if not self._calls and signal.getsignal(signal.SIGINT) == self._came:
                signal.signal(signal.SIGINT, signal.default_int_handler)
            has_come, self._has_come = self._has_come, False
            if has_come:
                raise KeyboardInterrupt

    @contextmanager
    def ending(self, call: asyncio.Task[Any]) -> Iterator[None]:
        """While it is held, have it end a call."""
        if not self._calls or threading.current_thread() is not threading.main_thread():
            yield
            return
        self._calls[-1] = call
        if self._has_come:
            call.cancel()
        try:
            yield
        finally:
            self._calls[-1] = None

    def _takes_over(self) -> bool:
        current = signal.getsignal(signal.SIGINT)
        if current is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._came)
            return True
        return current == self._came

    def _came(self, _number: int, frame: FrameType | None) -> None:
        if self._has_come or not self._calls or self._is_of_a_caller(frame):
            raise KeyboardInterrupt
        self._has_come = True
        if (call := self._calls[-1]) is not None:
            call.cancel()
            # which may be waiting for the system
            call.get_loop().call_soon_threadsafe(lambda: None)

    def _is_of_a_caller(self, frame: FrameType | None) -> bool:
        """Whether a function of somebody else runs within the innermost call."""
        while frame is not None and (module := str(frame.f_globals.get("__name__", ""))) != self._boundary:
            package = module.partition(".")[0]
            if package not in _OURS and package not in sys.stdlib_module_names:
                return True
            frame = frame.f_back
        return False
