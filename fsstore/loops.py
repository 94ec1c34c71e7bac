"""The event loop of a caller: that one of asyncio runs, and that no import makes it stand still.

An asynchronous call needs asyncio's loop, or one that is made like it (uvloop). Modules that take long to import are
loaded in a thread; no module is known here by name. One that is there already costs a look; where no thread can be
started, as when the program is about to end, it is imported at once.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from types import ModuleType

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


async def loaded(name: str) -> ModuleType:
    """Return a module, imported in a thread of its own if it is not there yet; raises what importing it raises.

    Cancelling whoever waits does not stop the import, which is done once.
    """
    if is_loaded(name):
        return sys.modules[name]
    executor = ThreadPoolExecutor(1, thread_name_prefix="fsstore-import")
    try:
        importing = executor.submit(import_module, name)
    except RuntimeError:
        return import_module(name)
    finally:
        executor.shutdown(wait=False)
    return await asyncio.wrap_future(importing)


def is_loaded(name: str) -> bool:
    """Whether a module is there, whole: another thread may be importing it at this moment."""
    found = sys.modules.get(name)
    return found is not None and not getattr(found.__spec__, "_initializing", False)
