"""The ids and types of what LangGraph keeps in a store. Pure.

    THREAD/thread                       the thread, a session: one line in `fsstore ls`
    THREAD/NAMESPACE/CHECKPOINT         a checkpoint; the namespace of a graph itself is empty
    THREAD/NAMESPACE/CHECKPOINT/TASK    what a task has written after it
    THREAD/blob/HASH                    a large value, or 64 items of a long list, by its content

A slash stands between parts only (see `parts`). The column `thread_id` of each record is the thread; `session_id` is
the namespace of a checkpoint (`THREAD/NAMESPACE`), and the checkpoint of what was written after it: an index finds
records by either.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from fsstore.integrations.parts import part

THREAD = "session"
CHECKPOINT = "langgraph.checkpoint"
WRITES = "langgraph.writes"
BLOB = "langgraph.blob"
ITEM = "langgraph.item"


class Place(NamedTuple):
    """Where checkpoints of one namespace of a thread are, or one of them."""

    thread_id: str
    checkpoint_ns: str = ""
    checkpoint_id: str = ""

    @property
    def family(self) -> str:
        """What the checkpoints of the namespace have in common."""
        return f"{part(self.thread_id)}/{part(self.checkpoint_ns)}"

    @property
    def id(self) -> str:
        """The id of the checkpoint."""
        return f"{self.family}/{part(self.checkpoint_id)}"


def thread_document(thread_id: str) -> str:
    """Return the id of the session that stands for a thread."""
    return f"{part(thread_id)}/thread"


def blob_document(thread_id: str, digest: str) -> str:
    """Return the id of a blob."""
    return f"{part(thread_id)}/blob/{digest}"


def digest_of(typed: tuple[str, bytes]) -> str:
    """Return the name of a content: equal contents have one."""
    return blake2b(typed[0].encode() + b"\0" + typed[1], digest_size=20).hexdigest()
