"""The face of checkpoints that LangGraph knows: `FsstoreSaver`, by plain calls and by coroutines.

Every method is one line over `Checkpoints`, `Pruning` or `deltas`; a plain call runs the same coroutine in its own
thread.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from langgraph.checkpoint.base import BaseCheckpointSaver

from fsstore.integrations.langgraph.savers.checkpoints import Checkpoints
from fsstore.integrations.langgraph.savers.deltas import delta_history
from fsstore.integrations.langgraph.savers.pruning import Pruning
from fsstore.integrations.open_stores import Holder, OpenStore
from fsstore.interfaces import IUnifiedStorage
from fsstore.options import FileOptions
from fsstore.sync.calls import Calls

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import (
        ChannelVersions,
        Checkpoint,
        CheckpointMetadata,
        CheckpointTuple,
        DeltaChannelHistory,
    )
    from langgraph.checkpoint.serde.base import SerializerProtocol


class FsstoreSaver(Holder, BaseCheckpointSaver[str]):
    """Checkpoints of graphs in a store, for `compile(checkpointer=...)`.

    `url` is a path or URL, as `fsstore.open_storage` takes it, with the same options; without it the checkpoints are in
    memory, and gone with the object. All savers and stores of a process share one open store for each path. Any thread
    and any event loop may call, plainly or by coroutine. Close it, or use it with `with` or `async with`.
    """

    def __init__(
        self,
        url: str | os.PathLike[str] = "memory:",
        *,
        serde: SerializerProtocol | None = None,
        **options: Unpack[FileOptions],
    ) -> None:
        super().__init__(serde=serde)
        self._store = OpenStore(url, **options)

    # -- by coroutine -------------------------------------------------------------------------------------------------

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that the config names, the newest of its namespace where it names none."""
        return await self._checkpoints().get(config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Give the checkpoints that match, the newest first. Between two of them nothing is held."""
        async for found in self._checkpoints().stream(config, filter, before, limit):
            yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,  # noqa: ARG002 - a value that did not change is stored once, by its content
    ) -> RunnableConfig:
        """Store a checkpoint; one commit. Raises StorageValidationError, or what the serializer raises."""
        named: RunnableConfig = await self._checkpoints().put(config, checkpoint, metadata)
        return named

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task has written after a checkpoint; one commit."""
        await self._checkpoints().put_writes(config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """Remove a thread and everything that belongs to it; one commit."""
        await self._pruning().delete_thread(str(thread_id))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove the checkpoints of runs; one commit for each thread."""
        await self._pruning().delete_for_runs(run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy everything of a thread under another name; one commit."""
        await self._pruning().copy_thread(str(source_thread_id), str(target_thread_id))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Remove all but the newest checkpoint of each namespace; with `strategy="delete"` everything.

        Ancestors that a delta channel of the newest needs stay. One commit for each thread.
        """
        await self._pruning().prune(thread_ids, strategy)

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return what was written to channels since their last stored values; the interface is in beta."""
        return await delta_history(self._checkpoints(), config, channels)

    # -- by plain call ------------------------------------------------------------------------------------------------

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Do what `aget_tuple` does."""
        return self._store.plain.run(lambda storage: self._on(storage).get(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Do what `alist` does."""
        return Calls().iterate(self.alist(config, filter=filter, before=before, limit=limit))

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,  # noqa: ARG002 - as in `aput`
    ) -> RunnableConfig:
        """Do what `aput` does."""
        named: RunnableConfig = self._store.plain.run(
            lambda storage: self._on(storage).put(config, checkpoint, metadata)
        )
        return named

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Do what `aput_writes` does."""
        self._store.plain.run(lambda storage: self._on(storage).put_writes(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        """Do what `adelete_thread` does."""
        self._store.plain.run(lambda storage: Pruning(self._on(storage)).delete_thread(str(thread_id)))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Do what `adelete_for_runs` does."""
        self._store.plain.run(lambda storage: Pruning(self._on(storage)).delete_for_runs(run_ids))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Do what `acopy_thread` does."""
        source, target = str(source_thread_id), str(target_thread_id)
        self._store.plain.run(lambda storage: Pruning(self._on(storage)).copy_thread(source, target))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Do what `aprune` does."""
        self._store.plain.run(lambda storage: Pruning(self._on(storage)).prune(thread_ids, strategy))

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Do what `aget_delta_channel_history` does."""
        return self._store.plain.run(lambda storage: delta_history(self._on(storage), config, channels))

    # -- the rest -----------------------------------------------------------------------------------------------------

    def get_next_version(self, current: str | None, channel: None) -> str:  # noqa: ARG002 - the interface has it
        """Return the version of a channel after its present one; two processes never make the same."""
        # of a thread that another saver began it may be a number
        number = 0 if current is None else int(str(current).partition(".")[0])
        return f"{number + 1:032}.{random.random():016}"  # noqa: S311 - it need not be secret

    def _checkpoints(self) -> Checkpoints:
        return self._on(self._store.storage)

    def _pruning(self) -> Pruning:
        return Pruning(self._checkpoints())

    def _on(self, storage: IUnifiedStorage) -> Checkpoints:
        return Checkpoints(storage, self.serde)
