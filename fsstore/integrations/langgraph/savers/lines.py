"""The line of a thread: the session that stands for it, which every put changes.

Owns that record. Beside what `fsstore ls` shows of the checkpoint that was put last, it names the one of each namespace
of the graph itself and of its lasting subgraphs. A list leaves out what is damaged; by these names a damaged checkpoint
is not taken for one that never was, and no graph goes on from an older state unawares. A line whose file is damaged is
begun anew: checkpoints do not depend on it, and the next put completes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fsstore.errors import StorageCorruptedError
from fsstore.integrations.langgraph.naming import Place, thread_document
from fsstore.integrations.parts import part
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.mutations import AnyMutation
from fsstore.model.records import JsonObject
from fsstore.model.times import format_time
from fsstore.sessions.mutations import saving_session, updating_session

_NEWEST = "newest"
_SHOWN = (*Place._fields, "source", "step", "run_id", "user_id")
_OF_ONE_TASK = ":"
"""What the namespace of a subgraph has that lives as long as a task: there may be any number of them."""


class Lines:
    """The lines of the threads in one storage."""

    def __init__(self, storage: IUnifiedStorage) -> None:
        self._storage = storage

    async def load(self, thread_id: str) -> JsonObject | None:
        """Return the line of a thread, None when there is none; one that is damaged is set aside, and begun anew."""
        try:
            return await self._storage.load(thread_document(thread_id))
        except StorageCorruptedError:
            await self.renew(thread_id)
            return await self._storage.load(thread_document(thread_id))

    async def renew(self, thread_id: str) -> None:
        """Begin a line anew whose file is damaged. Raises StorageCorruptedError where git has left a conflict in it."""
        line = {"metadata": {"thread_id": thread_id}}
        await self._storage.commit([saving_session(thread_document(thread_id), line, self.now())])

    async def last_put(self, place: Place) -> str | None:
        """Return the id of the checkpoint that was put last into a namespace, as far as the line says."""
        try:
            line = await self._storage.load(thread_document(place.thread_id))
        except StorageCorruptedError:
            # it says nothing; the next put begins it anew
            return None
        found = _newest_in(line).get(_key(place))
        return found if type(found) is str else None

    def change(self, place: Place, metadata: Mapping[str, Any], *, is_known: bool) -> AnyMutation:
        """Return what a put changes in the line of its thread, which must be there, or must not."""
        line: JsonObject = {"metadata": {key: metadata[key] for key in _SHOWN if key in metadata}}
        if _OF_ONE_TASK not in place.checkpoint_ns:
            line[_NEWEST] = {_key(place): place.checkpoint_id}
        name = thread_document(place.thread_id)
        if is_known:
            return updating_session(name, line, self.now())
        return saving_session(name, line, self.now(), expected_version=0)

    def now(self) -> str:
        """Return the present in the form of the store."""
        return format_time(self._storage.clock())


def named_in(line: JsonObject | None, thread_id: str) -> list[str]:
    """Return the ids of the checkpoints that a line names; they need not be there any more."""
    return [
        f"{part(thread_id)}/{key.replace('%2E', '.')}/{part(checkpoint_id)}"
        for key, checkpoint_id in _newest_in(line).items()
        if type(checkpoint_id) is str
    ]


def _newest_in(line: JsonObject | None) -> Mapping[str, Any]:
    data = line["data"] if line else {}
    newest = data.get(_NEWEST) if type(data) is dict else None
    return newest if type(newest) is dict else {}


def _key(place: Place) -> str:
    # a key with a dot would be a path in a patch; no part has that code
    return part(place.checkpoint_ns).replace(".", "%2E")
