"""The event loop that an asynchronous call needs: asyncio's, or one that is made like it (uvloop)."""

from __future__ import annotations

import asyncio

from fsstore.errors import StorageError


def check_loop() -> None:
    """Raise StorageError where no event loop of asyncio runs, as under trio, before anything is begun."""
    try:
        asyncio.get_running_loop()
    except RuntimeError as error:
        raise StorageError(
            reason="no event loop of asyncio is running here",
            advice="call it from asyncio.run; under trio use fsstore.sync in a thread (trio.to_thread.run_sync), and "
            "fsstore.sync in programs without an event loop",
        ) from error
