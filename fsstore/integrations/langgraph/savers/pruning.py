"""What removes checkpoints, and what copies them: whole threads, runs, all but the newest.

Whatever goes, goes in one commit for each thread, with what tasks wrote after it and with the blobs that nobody refers
to any more: the disk is free at once. The commit is refused, and made anew, where a checkpoint was put into the thread
meanwhile, since that may refer to such a blob. A crash leaves all of it, or nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeAlias

from langgraph.checkpoint.base import CheckpointMetadata

from fsstore.errors import StorageConflictError, StorageValidationError
from fsstore.integrations.langgraph.naming import (
    BLOB,
    CHECKPOINT,
    WRITES,
    Place,
    blob_document,
    thread_document,
)
from fsstore.integrations.langgraph.savers.checkpoints import Checkpoints, parent_of, place_in
from fsstore.integrations.langgraph.savers.contents import referred
from fsstore.integrations.langgraph.savers.lines import named_in
from fsstore.integrations.langgraph.shapes import checked
from fsstore.model.expected import Expected
from fsstore.model.mutations import AnyMutation, Check, Delete, saving
from fsstore.model.records import JsonObject, Records
from fsstore.sessions.mutations import copied_session, saving_session

Choice: TypeAlias = Callable[[Records], Awaitable[set[str]]]
"""Returns the ids of the checkpoints to keep, given the summaries of all of a thread."""

_TRIES = 100
_MOST_AT_ONCE = 500
_TYPES = [CHECKPOINT, WRITES, BLOB]


class Pruning:
    """Removes and copies what is in one storage."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._storage = checkpoints.storage

    async def delete_thread(self, thread_id: str) -> None:
        """Remove a thread with everything that belongs to it."""
        await self._reduce(thread_id, _nothing)

    async def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove the checkpoints that the runs made."""
        runs = sorted(set(map(str, run_ids)))
        found: Records = []
        for at in range(0, len(runs), _MOST_AT_ONCE):
            among = {"$in": runs[at : at + _MOST_AT_ONCE]}
            found += await self._storage.list_metadata({"type": CHECKPOINT, "data.metadata.run_id": among})
        wanted = set(runs)

        async def others(summaries: Records) -> set[str]:
            return {summary["id"] for summary in summaries if summary["metadata"].get("run_id") not in wanted}

        for thread_id in sorted({place_in(summary).thread_id for summary in found}):
            await self._reduce(thread_id, others)

    async def prune(self, thread_ids: Sequence[str], strategy: str) -> None:
        """Remove all but the newest checkpoint of each namespace, or everything."""
        choices = {"keep_latest": self._newest, "delete": _nothing}
        if strategy not in choices:
            raise StorageValidationError(reason=f"must be 'keep_latest' or 'delete', not {strategy!r}", path="strategy")
        for thread_id in thread_ids:
            await self._reduce(str(thread_id), choices[strategy])

    async def copy_thread(self, source: str, target: str) -> None:
        """Copy a thread under another name; one commit."""
        records = await self._storage.list({"thread_id": source, "type": {"$in": _TYPES}})
        line = await self._checkpoints.lines.load(source)
        await self._check_readable(named_in(line, source))
        changes: list[AnyMutation] = [saving(_renamed(checked(record), target)) for record in records]
        if changes:
            data = copied_session(thread_document(target), line["data"] if line else {"metadata": {}})
            data["metadata"]["thread_id"] = target
            now = self._checkpoints.lines.now()
            await self._storage.commit([*changes, saving_session(thread_document(target), data, now)])

    async def _reduce(self, thread_id: str, choose: Choice) -> None:
        """Remove what is not chosen, and what then belongs to nothing."""
        for attempt in range(1, _TRIES + 1):
            line = await self._checkpoints.lines.load(thread_id)
            found = await self._storage.list_metadata({"thread_id": thread_id, "type": {"$in": _TYPES}})
            kept = await choose([summary for summary in found if summary["type"] == CHECKPOINT])
            unchanged = Expected(0 if line is None else line["version"])
            left_out = [name for name in named_in(line, thread_id) if name not in {each["id"] for each in found}]
            superfluous = await self._superfluous(found, kept, thread_id)
            if choose is _nothing:
                superfluous += left_out
            else:
                await self._check_readable(left_out)
            changes: list[AnyMutation] = [Delete(name) for name in superfluous]
            guard = Check if kept else Delete
            changes.append(guard(thread_document(thread_id), unchanged))
            try:
                await self._storage.commit(changes)
                return
            except StorageConflictError:
                # a checkpoint was put meanwhile
                if attempt == _TRIES:
                    raise

    async def _check_readable(self, names: Sequence[str]) -> None:
        """Raise StorageCorruptedError where a list leaves one out that is damaged: its blobs are not known."""
        for name in names:
            await self._checkpoints.load(name)

    async def _superfluous(self, found: Records, kept: set[str], thread_id: str) -> list[str]:
        used: set[str] = set()
        for name in kept:
            record = await self._checkpoints.load(name)
            values = record["data"]["channel_values"].values() if record else ()
            used.update(blob_document(thread_id, digest) for digest in referred(values))
        return [summary["id"] for summary in found if not _is_needed(summary, kept, used)]

    async def _newest(self, summaries: Records) -> set[str]:
        newest: dict[str, Place] = {}
        for place in map(place_in, summaries):
            if place.checkpoint_id > newest.get(place.checkpoint_ns, place._replace(checkpoint_id="")).checkpoint_id:
                newest[place.checkpoint_ns] = place
        kept: set[str] = set()
        for place in newest.values():
            kept.update(await self._with_deltas(place))
        return kept

    async def _with_deltas(self, place: Place) -> Iterable[str]:
        """Return a checkpoint, and its ancestors up to the last stored value of each of its delta channels."""
        record = await self._checkpoints.load(place.id)
        if record is None:
            return []
        needed: list[str] = [place.id]
        metadata: CheckpointMetadata = self._checkpoints.metadata(record)
        remaining = set(metadata.get("counters_since_delta_snapshot") or ())
        while record is not None:
            remaining -= record["data"]["channel_values"].keys()
            parent = parent_of(record)
            if not remaining or parent is None or parent.id in needed:
                break
            record = await self._checkpoints.load(parent.id)
            needed.append(parent.id)
        return needed


async def _nothing(summaries: Records) -> set[str]:  # noqa: ARG001 - as the other choices have it
    return set()


def _is_needed(summary: JsonObject, kept: set[str], used: set[str]) -> bool:
    if summary["type"] == CHECKPOINT:
        return summary["id"] in kept
    return summary["session_id"] in kept if summary["type"] == WRITES else summary["id"] in used


def _renamed(record: JsonObject, target: str) -> JsonObject:
    """Return a record of a thread as one of another."""
    data = {**record["data"], "metadata": {**record["data"]["metadata"], "thread_id": target}}
    made = {"type": record["type"], "thread_id": target, "data": data}
    if record["type"] == BLOB:
        return {**made, "id": blob_document(target, record["id"].rpartition("/")[2])}
    place = Place(target, data["metadata"]["checkpoint_ns"], data["metadata"]["checkpoint_id"])
    if record["type"] == CHECKPOINT:
        return {**made, "id": place.id, "session_id": place.family}
    return {**made, "id": f"{place.id}/{record['id'].rpartition('/')[2]}", "session_id": place.id}
