"""Entries of py-key-value, next to its stores."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.in_turn import Figures, bytes_in, in_turn, message, note

_ROUNDS = 5


async def key_value(room: Path, sizes: tuple[int, ...]) -> Figures:
    """Measure stores of entries."""
    from key_value.aio.stores.filetree import FileTreeStore  # noqa: PLC0415 - only this part needs it

    from fsstore.integrations.key_value import FsstoreKeyValueStore  # noqa: PLC0415 - the same

    figures: Figures = {}
    for size in sizes:
        for turn in range(_ROUNDS):
            directory = room / f"{size}-{turn}"
            async with FsstoreKeyValueStore(directory / "ours") as ours:
                theirs = FileTreeStore(data_directory=directory / "theirs")
                await _measure_entries(figures, {"FsstoreKeyValueStore": ours, "FileTreeStore": theirs}, size)
            for name, place in (("FsstoreKeyValueStore", "ours"), ("FileTreeStore", "theirs")):
                note(figures, f"KB on disk, {size}", name, bytes_in(directory / place) / 1000)
    return figures


async def _measure_entries(figures: Figures, stores: Mapping[str, Any], size: int) -> None:
    keys = [f"k_{at}" for at in range(size)]
    for store in stores.values():
        await store.put_many(keys, [message(at) for at in range(size)], collection="c", ttl=3600)
    some = keys[:: max(1, size // 10)][:10]
    each = stores.items()
    value = message(size)
    for call, what in (
        (lambda store: partial(store.put, some[0], value, collection="c", ttl=3600), "put"),
        (lambda store: partial(store.get, some[0], collection="c"), "get"),
        (lambda store: partial(store.put_many, some, [value] * len(some), collection="c"), "put_many, 10"),
        (lambda store: partial(store.get_many, some, collection="c"), "get_many, 10"),
        (lambda store: store.cull, "cull, nothing to remove"),
    ):
        await in_turn(figures, f"{what}, of {size}", {name: call(store) for name, store in each})
