"""What a backend brings so that it can be watched."""

from __future__ import annotations

from typing import Protocol

from fsstore.model.records import Filters, JsonObject
from fsstore.watching.ledger import Ledger


class ChangeSource(Protocol):
    """A store as its watches see it: where changes are published, and how to look at documents.

    Names are the keys under which the backend publishes documents to the ledger.
    """

    @property
    def ledger(self) -> Ledger:
        """Where changes are published."""
        ...

    async def ready(self) -> None:
        """Wait until the ledger knows every document."""
        ...

    async def inside(self, filters: Filters) -> dict[str, str]:
        """Return the ids of the documents that match, by name."""
        ...

    async def updated(self, filters: Filters) -> list[str]:
        """Return the names of the documents that match, the one that was updated longest ago first."""
        ...

    async def read(self, names: list[str]) -> dict[str, tuple[JsonObject, object]]:
        """Return record and content (as in `KnownState`) of those documents that can be read."""
        ...
