"""Checkpoints in a storage: how one is put, found, listed, and what tasks write after it.

Owns the records (see `naming` for their ids) and the commits that make them. Invariants:
- A checkpoint, its new blobs and the line of its thread become true in one commit, which also checks that the blobs it
  shares with others are still there: whatever removes blobs meanwhile, no checkpoint is without its values.
- What a task writes is one record, so that tasks do not wait for each other.
- Nothing is held between two checkpoints of a list: each is loaded when it is asked for.

A crash leaves a checkpoint with everything it needs, or nothing of it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    CheckpointTuple,
    PendingWrite,
    get_checkpoint_id,
    get_checkpoint_metadata,
    writes_sort_key,
)

from fsstore.errors import StorageConflictError, StorageCorruptedError, StorageNotFoundError, StorageValidationError
from fsstore.integrations.langgraph.naming import (
    BLOB,
    CHECKPOINT,
    WRITES,
    Place,
    blob_document,
    thread_document,
)
from fsstore.integrations.langgraph.savers.contents import Serializer, referred, restored, stored_contents
from fsstore.integrations.langgraph.savers.lines import Lines
from fsstore.integrations.langgraph.savers.selecting import (
    NEWEST_FIRST,
    filter_of,
    plain_metadata,
    satisfies,
)
from fsstore.integrations.langgraph.savers.values import NotWrittenError, read, written
from fsstore.integrations.langgraph.shapes import ADVICE, checked
from fsstore.integrations.parts import part
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.expected import Expected
from fsstore.model.mutations import AnyMutation, Check, Mutation, saving
from fsstore.model.records import JsonObject

T = TypeVar("T")

_unreadable = logging.getLogger("fsstore.unreadable")

_TRIES = 100
"""How often others may change what a put or a get has seen before it gives up."""


def place_of(config: Any) -> Place:
    """Return the place that a config names."""
    configurable = config["configurable"]
    namespace, checkpoint = configurable.get("checkpoint_ns"), get_checkpoint_id(config)
    return Place(str(configurable["thread_id"]), str(namespace or ""), str(checkpoint or ""))


def config_of(place: Place) -> Any:
    """Return the config that names a place."""
    return {"configurable": place._asdict()}


class Checkpoints:
    """The checkpoints in one storage, as a serializer writes and reads them."""

    def __init__(self, storage: IUnifiedStorage, serde: Serializer) -> None:
        self.storage = storage
        self.lines = Lines(storage)
        self._serde = serde

    # -- putting ------------------------------------------------------------------------------------------------------

    async def put(self, config: Any, checkpoint: Any, metadata: Any) -> Any:
        """Store a checkpoint; one commit. Returns the config that names it."""
        parent = place_of(config)
        place = parent._replace(checkpoint_id=checkpoint["id"])
        full = get_checkpoint_metadata(config, metadata)
        contents = stored_contents(self._serde, checkpoint["channel_values"])
        rest = {key: value for key, value in checkpoint.items() if key != "channel_values"}
        record: JsonObject = {
            "id": place.id,
            "type": CHECKPOINT,
            "thread_id": place.thread_id,
            "session_id": place.family,
            "data": {
                "metadata": plain_metadata(full) | place._asdict(),
                "parent_checkpoint_id": parent.checkpoint_id or None,
                "checkpoint": written(self._serde.dumps_typed(rest)),
                "checkpoint_metadata": written(self._serde.dumps_typed(full)),
                "channel_values": contents.values,
            },
        }
        await self._commit_with_blobs(place, contents.blobs, record)
        return config_of(place)

    async def put_writes(self, config: Any, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str) -> None:
        """Store what a task has written; one commit. What it has written before stays, but for errors and the like."""
        place = place_of(config)
        if not place.checkpoint_id:
            raise StorageValidationError(
                reason="there is no checkpoint that this was written after",
                path="config.configurable.checkpoint_id",
                advice="give the config that `put` returned",
            )
        new = {
            WRITES_IDX_MAP.get(channel, at): {
                "channel": channel,
                "task_path": task_path,
                "value": written(self._serde.dumps_typed(value)),
            }
            for at, (channel, value) in enumerate(writes)
        }

        def rule(current: JsonObject | None) -> JsonObject:
            there = {write["idx"]: write for write in checked(current)["data"]["writes"]} if current else {}
            made = {idx: {"idx": idx, **write} for idx, write in new.items() if idx < 0 or idx not in there}
            return {
                **(current or {"thread_id": place.thread_id, "session_id": place.id}),
                "type": WRITES,
                "data": {
                    "metadata": {**place._asdict(), "task_id": task_id},
                    "writes": [write for _, write in sorted((there | made).items())],
                },
            }

        await self.storage.commit([Mutation(f"{place.id}/{part(task_id)}", rule)])

    async def _commit_with_blobs(
        self, place: Place, blobs: Mapping[str, tuple[str, bytes]], record: JsonObject
    ) -> None:
        """Commit a checkpoint with the blobs it refers to, which are written where they are not there yet."""
        thread_id, line = place.thread_id, thread_document(place.thread_id)
        names = {blob_document(thread_id, digest): typed for digest, typed in blobs.items()}
        absent = {name for name in names if not await self.storage.exists(name)}
        is_known = True
        for attempt in range(1, _TRIES + 1):
            made: list[AnyMutation] = [self.lines.change(place, record["data"]["metadata"], is_known=is_known)]
            for name, typed in names.items():
                made.append(
                    _saving_blob(name, thread_id, typed) if name in absent else Check(name, Expected(exists=True))
                )
            try:
                await self.storage.commit([*made, saving(record)])
                return
            except (StorageNotFoundError, StorageConflictError, StorageCorruptedError) as error:
                is_damaged = isinstance(error, StorageCorruptedError)
                if attempt == _TRIES or (is_damaged and error.id not in (line, *names)):
                    raise
                if error.id in names:
                    # it was removed meanwhile, or its file is damaged, and is set aside when it is written anew
                    absent.add(error.id)
                elif is_damaged:
                    await self.lines.renew(thread_id)
                else:
                    # somebody else has made the line of the thread, or removed it
                    is_known = not is_known

    # -- getting ------------------------------------------------------------------------------------------------------

    async def get(self, config: Any) -> CheckpointTuple | None:
        """Return the checkpoint that a config names, the newest of its namespace where it names none."""
        place = place_of(config)

        async def look() -> CheckpointTuple | None:
            record = await self.record(place)
            return None if record is None else await self._tuple(record)

        return await with_blobs(look)

    async def record(self, place: Place) -> JsonObject | None:
        """Return the record of a checkpoint, of the newest of its namespace where none is named."""
        if place.checkpoint_id:
            return await self.load(place.id)
        found = await self.storage.list({"type": CHECKPOINT, "session_id": place.family}, 1, order_by=NEWEST_FIRST)
        newest = checked(found[0]) if found else None
        last = await self.lines.last_put(place)
        if last is None or (newest is not None and place_in(newest).checkpoint_id >= last):
            return newest
        # a list leaves out what is damaged, and nobody must go on from what is older
        return await self.load(place._replace(checkpoint_id=last).id) or newest

    async def load(self, name: str) -> JsonObject | None:
        """Return the record of a checkpoint, None when there is none. Raises StorageCorruptedError."""
        record = await self.storage.load(name)
        return checked(record) if record is not None and record["type"] == CHECKPOINT else None

    async def stream(
        self, config: Any, filters: Mapping[str, Any] | None, before: Any, limit: int | None
    ) -> AsyncIterator[CheckpointTuple]:
        """Give the checkpoints that match, the newest first.

        One that is removed meanwhile is left out; one that cannot be read, too, with a warning.
        """
        wanted = filter_of(config, filters, before)
        left = limit
        for summary in await self.storage.list_metadata(wanted, order_by=NEWEST_FIRST):
            if left is not None and left <= 0:
                return
            found = await self._listed(summary["id"], filters)
            if found is None:
                continue
            yield found
            left = None if left is None else left - 1

    async def _listed(self, name: str, filters: Mapping[str, Any] | None) -> CheckpointTuple | None:
        """Return a checkpoint for a list, None for one that does not belong into it, is gone, or cannot be read."""
        try:
            record = await self.load(name)
            if record is None or not satisfies(self.metadata(record), filters):
                return None
            return await self._tuple(record)
        except (_BlobGoneError, StorageCorruptedError) as error:
            # one that was removed meanwhile lacks its blobs, too
            if await self.storage.exists(name):
                _unreadable.warning("the checkpoint %s is left out of a list: %s", name, error)
            return None

    async def _tuple(self, record: JsonObject) -> CheckpointTuple:
        place, data = place_in(record), record["data"]
        values = {name: await self.value(record, value) for name, value in data["channel_values"].items()}
        parent = parent_of(record)
        rest = self._serde.loads_typed(_typed(record, data["checkpoint"]))
        checkpoint: Any = {**rest, "channel_values": values}
        return CheckpointTuple(
            config=config_of(place),
            checkpoint=checkpoint,
            metadata=self.metadata(record),
            parent_config=None if parent is None else config_of(parent),
            pending_writes=await self.writes_after(place),
        )

    def metadata(self, record: JsonObject) -> Any:
        """Return the metadata of a checkpoint as it was given."""
        return self._serde.loads_typed(_typed(record, record["data"]["checkpoint_metadata"]))

    async def value(self, record: JsonObject, value: Any) -> Any:
        """Return a value that a checkpoint has, as it was given; to be called in `with_blobs`."""
        blobs = {}
        for digest in referred([value]):
            name = blob_document(place_in(record).thread_id, digest)
            blob = await self.storage.load(name)
            if blob is None:
                raise _BlobGoneError(record["id"], name)
            blobs[digest] = checked(blob)["data"]["value"]
        try:
            return restored(self._serde, value, blobs)
        except NotWrittenError as error:
            raise _corrupted(record, error) from error

    async def writes_after(self, place: Place) -> list[PendingWrite]:
        """Return what tasks have written after a checkpoint, in the order of their paths."""
        found = []
        for record in map(checked, await self.storage.list({"type": WRITES, "session_id": place.id})):
            task_id = record["data"]["metadata"]["task_id"]
            for write in record["data"]["writes"]:
                key = writes_sort_key(write["task_path"], task_id, write["idx"])
                found.append((key, (task_id, write["channel"], _typed(record, write["value"]))))
        return [
            (task_id, channel, self._serde.loads_typed(typed))
            for _, (task_id, channel, typed) in sorted(found, key=lambda pair: pair[0])
        ]


class _BlobGoneError(Exception):
    """A blob that a checkpoint refers to is not there."""

    def __init__(self, checkpoint: str, name: str) -> None:
        super().__init__(f"it refers to {name}, which is not there")
        self.checkpoint = checkpoint


async def with_blobs(look: Callable[[], Awaitable[T]]) -> T:
    """Return what a look finds; a checkpoint may be removed meanwhile, with its blobs, and then it looks again."""
    for _ in range(1, _TRIES):
        with suppress(_BlobGoneError):
            return await look()
    try:
        return await look()
    except _BlobGoneError as error:
        # it is still there, so they are lost
        raise StorageCorruptedError(
            id=error.checkpoint,
            reason=str(error),
            advice="restore it from a backup, or go on from an earlier checkpoint",
        ) from error


def _typed(record: JsonObject, tree: Any) -> tuple[str, bytes]:
    """Return what the serializer had given. Raises StorageCorruptedError for what was never written so."""
    try:
        return read(tree)
    except NotWrittenError as error:
        raise _corrupted(record, error) from error


def _corrupted(record: JsonObject, error: NotWrittenError) -> StorageCorruptedError:
    return StorageCorruptedError(id=record["id"], reason=str(error), advice=ADVICE)


def place_in(record: JsonObject) -> Place:
    """Return the place of a checkpoint, given its record or the summary of one."""
    metadata = record["data"]["metadata"] if "data" in record else record["metadata"]
    try:
        return Place(*(metadata[name] for name in Place._fields))
    except KeyError as error:
        raise StorageCorruptedError(
            id=record["id"], reason=f"its metadata lacks {error.args[0]!r}", advice=ADVICE
        ) from error


def parent_of(record: JsonObject) -> Place | None:
    """Return the place of the parent of a checkpoint, which need not be there."""
    parent = record["data"]["parent_checkpoint_id"]
    return None if parent is None else place_in(record)._replace(checkpoint_id=parent)


def _saving_blob(name: str, thread_id: str, typed: tuple[str, bytes]) -> AnyMutation:
    data = {"metadata": {"thread_id": thread_id}, "value": written(typed)}
    return saving({"id": name, "type": BLOB, "thread_id": thread_id, "data": data})
