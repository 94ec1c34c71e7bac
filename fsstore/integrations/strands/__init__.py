"""Sessions and blobs of Strands in a store: `FsstoreRepository` for agents, `FsstoreStorage` for snapshots."""

from __future__ import annotations

from fsstore.integrations import missing

try:
    import strands.storage  # noqa: F401 - it is needed
except ModuleNotFoundError as error:
    raise missing(error, "strands-agents>=1.62.0") from error

from fsstore.integrations.strands.blobs import FsstoreStorage as FsstoreStorage
from fsstore.integrations.strands.repository import FsstoreRepository as FsstoreRepository

__all__ = ["FsstoreRepository", "FsstoreStorage"]
