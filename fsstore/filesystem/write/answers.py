"""Answers on their way from the writer thread to the event loops that wait for them."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

_logger = logging.getLogger("fsstore")


class Answers:
    """Carries results from the writer thread to the event loops that wait, waking each loop once a group."""

    def __init__(self) -> None:
        self._pending: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}

    def add(self, future: asyncio.Future[Any], result: Any) -> None:
        """Keep an answer until the group is done."""
        self._pending.setdefault(future.get_loop(), []).append((future, result))

    def send(self) -> None:
        """Wake the loops."""
        pending, self._pending = self._pending, {}
        for loop, answers in pending.items():
            try:
                loop.call_soon_threadsafe(_answer, answers)
            except RuntimeError:
                # the loop was closed while its commit was under way: nobody is left to be told
                _logger.debug("an event loop was closed before %d commits were answered", len(answers))


def _answer(answers: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in answers:
        if future.done():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
