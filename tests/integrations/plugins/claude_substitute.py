"""A pytest plugin: the SDK's own tests get `FsstoreSessionStore` where they ask for `InMemorySessionStore`."""

from __future__ import annotations

import atexit
import tempfile
from contextlib import ExitStack
from typing import Any

import claude_agent_sdk
import claude_agent_sdk._internal.session_store
from places import place

from fsstore.integrations.claude_agent import FsstoreSessionStore

_ROOM = ExitStack()
atexit.register(_ROOM.close)


class Substitute(FsstoreSessionStore):
    """Has a directory of its own, in which nothing is synced, and the calls of `InMemorySessionStore` for tests."""

    def __init__(self) -> None:
        where, options = place(_ROOM.enter_context(tempfile.TemporaryDirectory()))
        super().__init__(where, **options)

    def get_entries(self, key: Any) -> list[Any]:
        """Return the entries of a transcript."""
        parts = [key["project_key"], key["session_id"], *([key["subpath"]] if key.get("subpath") else [])]
        record = self._store.plain.load("/".join(parts))
        return [] if record is None else list(record["data"]["entries"])

    @property
    def size(self) -> int:
        """How many transcripts of sessions there are."""
        return self._store.plain.count({"type": "session"})

    def clear(self) -> None:
        """Remove everything."""
        plain = self._store.plain
        plain.batch_delete([record["id"] for record in plain.list()])


claude_agent_sdk.InMemorySessionStore = Substitute
claude_agent_sdk._internal.session_store.InMemorySessionStore = Substitute
