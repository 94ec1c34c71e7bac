"""The memory of LangGraph in a store: `FsstoreSaver` keeps checkpoints, `FsstoreStore` items.

Both speak plain calls and coroutines, share one open store for each path with everything else in the process, and may
keep what they have in one store, beside sessions.
"""

from __future__ import annotations

from fsstore.integrations import missing

try:
    import langgraph.checkpoint.base
    import langgraph.store.base  # noqa: F401 - both are needed
except ModuleNotFoundError as error:
    raise missing(error, "langgraph-checkpoint>=4.3.2") from error

from fsstore.integrations.langgraph.savers.saver import FsstoreSaver as FsstoreSaver
from fsstore.integrations.langgraph.stores.store import FsstoreStore as FsstoreStore

__all__ = ["FsstoreSaver", "FsstoreStore"]
