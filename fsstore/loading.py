"""How modules that take long to import are loaded: in a thread, so that no event loop stands still meanwhile.

Knows no module by name. A module that is there already costs a look; where no thread can be started, as when the
program is about to end, it is imported at once.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from types import ModuleType


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
