"""A pytest plugin: the rules of py-key-value's stores are tested with `FsstoreKeyValueStore`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from key_value.aio.stores import filetree
from places import place

from fsstore.integrations.key_value import FsstoreKeyValueStore


class Substitute(FsstoreKeyValueStore):
    """Takes the arguments of `FileTreeStore`, and nothing is synced."""

    def __init__(self, *, data_directory: Path, seed: Any = None, **_: Any) -> None:
        where, options = place(data_directory)
        super().__init__(where, seed=seed, **options)


vars(filetree)["FileTreeStore"] = Substitute
