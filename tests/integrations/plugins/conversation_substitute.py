"""A pytest plugin: the rules of Pydantic AI's stores are tested with `FsstoreConversationStore`."""

from __future__ import annotations

import tempfile

from places import place
from pydantic_ai import conversation_store

from fsstore.integrations.pydantic_ai import FsstoreConversationStore

_room = tempfile.TemporaryDirectory(prefix="fsstore-conversations-", ignore_cleanup_errors=True)


class Substitute(FsstoreConversationStore):
    """Is made without arguments, each in a directory of its own, and nothing is synced."""

    def __init__(self) -> None:
        where, options = place(tempfile.mkdtemp(dir=_room.name))
        super().__init__(where, **options)


vars(conversation_store)["InMemoryConversationStore"] = Substitute
