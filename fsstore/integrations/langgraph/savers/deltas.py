"""What was written to channels whose values are not stored in each checkpoint, from parent to parent.

A walk loads the wanted channels alone. A chain that ends, or runs in a circle, ends the walk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langgraph.checkpoint.base import DeltaChannelHistory, PendingWrite

from fsstore.integrations.langgraph.naming import Place
from fsstore.integrations.langgraph.savers.checkpoints import Checkpoints, parent_of, place_of, with_blobs


async def delta_history(
    checkpoints: Checkpoints, config: Any, channels: Sequence[str]
) -> Mapping[str, DeltaChannelHistory]:
    """Return what was written to channels since their last stored values. Raises StorageCorruptedError."""
    return await with_blobs(lambda: _walk(checkpoints, place_of(config), channels))


async def _walk(checkpoints: Checkpoints, place: Place, channels: Sequence[str]) -> Mapping[str, DeltaChannelHistory]:
    target = await checkpoints.record(place) if channels else None
    collected: dict[str, list[PendingWrite]] = {channel: [] for channel in channels}
    seeds: dict[str, Any] = {}
    remaining, seen = set(channels), set[str]()
    while target is not None and remaining:
        parent = parent_of(target)
        # a checkpoint may be put again below its own children
        if parent is None or parent.id in seen:
            break
        seen.add(parent.id)
        target = await checkpoints.load(parent.id)
        if target is None:
            break
        for write in reversed(await checkpoints.writes_after(parent)):
            if write[1] in remaining:
                collected[write[1]].append(write)
        values = target["data"]["channel_values"]
        for channel in remaining & values.keys():
            seeds[channel] = await checkpoints.value(target, values[channel])
        remaining -= seeds.keys()
    return {channel: _history(collected[channel], channel, seeds) for channel in channels}


def _history(writes: list[PendingWrite], channel: str, seeds: Mapping[str, Any]) -> DeltaChannelHistory:
    history = DeltaChannelHistory(writes=writes[::-1])
    if channel in seeds:
        history["seed"] = seeds[channel]
    return history
